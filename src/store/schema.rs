//! Schema: whether the tables are the ones this version works with.

use super::bounds::within_deadline;
use super::error::StoreError;
use super::server::require_supported;
use super::session::Session;
use crate::job::JobState;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::path::Path;

/// The migration that this version's tables have seen last.
pub const CURRENT_VERSION: u32 = 1;

/// The server's error number of a table that is not there.
const NO_SUCH_TABLE: u16 = 1146;

/// How the tables in the database stand to this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// There is no `queued_job`.
    Missing,
    /// The ancestor's tables, or an upgrade of them that was cut off.
    Ancestor,
    /// An older version's, which has seen this migration last.
    Older(u32),
    /// This version's, but for the table of the log, which is not there.
    WithoutLog,
    /// This version's.
    Current,
    /// A newer version's.
    Newer(u32),
}

impl SchemaState {
    /// An error that says what mends it, unless the tables are this version's or newer. `ini` is the file of settings.
    pub fn require_current(self, ini: &Path) -> Result<(), StoreError> {
        let fault = match self {
            SchemaState::Current | SchemaState::Newer(_) => return Ok(()),
            SchemaState::Missing => "there is no table queued_job".to_owned(),
            SchemaState::Ancestor => "the tables are the ancestor's, not upgraded yet, or not to the end".to_owned(),
            SchemaState::WithoutLog => "there is no table queued_job_log".to_owned(),
            SchemaState::Older(version) => format!("the tables are of the older version {version}"),
        };
        Err(StoreError::Schema(format!("{fault}; run `strings-queue migrate {}`", ini.display())))
    }
}

/// Looks at the tables. A server that we can't work with is an error.
pub async fn read_schema_state(session: &mut Session) -> Result<SchemaState, StoreError> {
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        require_supported(lease.conn()).await?;
        let state = schema_state(lease.conn()).await?;
        lease.keep();
        Ok(state)
    })
    .await
}

pub(super) async fn schema_state(conn: &mut Conn) -> Result<SchemaState, StoreError> {
    let columns: Vec<(String, bool)> = conn.query(columns_sql()).await?;
    let column = |name: &str| columns.iter().find(|(column, _)| column.eq_ignore_ascii_case(name));
    if columns.is_empty() {
        return Ok(SchemaState::Missing);
    }
    // Whatever version stands there: `schema.sql` leaves tables that it finds as they are. The last step of an upgrade
    // has every row have a state.
    match (column("state"), column("run_at")) {
        (None, None) => return Ok(SchemaState::Ancestor),
        (Some((_, is_unfinished)), _) if *is_unfinished => return Ok(SchemaState::Ancestor),
        _ => {}
    }
    Ok(match last_migration(conn).await? {
        None => SchemaState::Ancestor,
        Some(version) if version < CURRENT_VERSION => SchemaState::Older(version),
        Some(CURRENT_VERSION) if !has_log(conn).await? => SchemaState::WithoutLog,
        Some(CURRENT_VERSION) => SchemaState::Current,
        Some(version) => SchemaState::Newer(version),
    })
}

/// The columns, and whether each is as the upgrade makes the state first: one with other values is an application's own.
fn columns_sql() -> String {
    format!(
        "SELECT COLUMN_NAME, IS_NULLABLE = 'YES' AND COLUMN_TYPE = '{})' FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'queued_job'",
        state_type().replace('\'', "''")
    )
}

/// How the type of the state begins where its values are numbered as ours are.
pub(super) fn state_type() -> String {
    let ours: Vec<String> = JobState::ALL.iter().map(|state| format!("'{}'", state.as_str())).collect();
    format!("enum({}", ours.join(","))
}

/// Like the next one; of a table on which we have no right at all nothing can be told.
async fn has_log(conn: &mut Conn) -> Result<bool, StoreError> {
    match conn.query_drop("SELECT 1 FROM queued_job_log LIMIT 0").await.map_err(StoreError::from) {
        Err(StoreError::Server { code: NO_SUCH_TABLE, .. }) => Ok(false),
        Err(error) if !error.says_denied() && !error.is_lock_conflict() => Err(error),
        _ => Ok(true),
    }
}

/// The table is asked itself: `information_schema` shows a table without any right on it as one that is not there.
async fn last_migration(conn: &mut Conn) -> Result<Option<u32>, StoreError> {
    match conn.query_first("SELECT MAX(version) FROM queued_job_migration").await.map_err(StoreError::from) {
        Ok(version) => Ok(version.flatten()),
        Err(StoreError::Server { code: NO_SUCH_TABLE, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
