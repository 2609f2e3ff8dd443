//! Schema: whether the tables are the ones this version works with.

use super::error::StoreError;
use super::server::{columns_of, require_supported};
use super::session::{Session, within_deadline};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

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
    /// This version's.
    Current,
    /// A newer version's.
    Newer(u32),
}

impl SchemaState {
    /// An error that says what mends it, unless the tables are this version's or newer.
    pub fn require_current(self) -> Result<(), StoreError> {
        let fault = match self {
            SchemaState::Current | SchemaState::Newer(_) => return Ok(()),
            SchemaState::Missing => "there is no table queued_job".to_owned(),
            SchemaState::Ancestor => "the tables are the ancestor's, not upgraded yet".to_owned(),
            SchemaState::Older(version) => format!("the tables are of the older version {version}"),
        };
        Err(StoreError::Schema(format!("{fault}; run `strings-queue migrate db.ini`")))
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
    let columns = columns_of(conn, "queued_job").await?;
    let has = |name: &str| columns.iter().any(|column| column.eq_ignore_ascii_case(name));
    if columns.is_empty() {
        return Ok(SchemaState::Missing);
    }
    // Whatever version stands there: `schema.sql` leaves tables that it finds as they are.
    if !has("state") && !has("run_at") {
        return Ok(SchemaState::Ancestor);
    }
    Ok(match last_migration(conn).await? {
        None => SchemaState::Ancestor,
        Some(version) if version < CURRENT_VERSION => SchemaState::Older(version),
        Some(CURRENT_VERSION) => SchemaState::Current,
        Some(version) => SchemaState::Newer(version),
    })
}

/// The table is asked itself: `information_schema` shows a table without any right on it as one that is not there.
async fn last_migration(conn: &mut Conn) -> Result<Option<u32>, StoreError> {
    match conn.query_first("SELECT MAX(version) FROM queued_job_migration").await.map_err(StoreError::from) {
        Ok(version) => Ok(version.flatten()),
        Err(StoreError::Server { code: NO_SUCH_TABLE, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
