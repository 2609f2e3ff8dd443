//! Columns: those of our tables as SQL tells them, for the log has no names.

use super::bounds::within_deadline;
use super::error::StoreError;
use super::schema::state_type;
use super::session::Session;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// The columns of `queued_job` as the log has them: in their order, without names.
#[derive(Debug, Default)]
pub struct LoggedColumns {
    /// Their names; none when there is no such table.
    pub names: Vec<String>,
    /// Whether the numbers by which the log has the values of `state` are those of
    /// [`JobState::from_ordinal`](crate::job::JobState::from_ordinal). Others may
    /// follow ours.
    pub has_our_states: bool,
    /// Times in the format of `MariaDB` 5.3: their places from 0, and how many bytes each has, which the log does not tell.
    pub old_times: Vec<(usize, usize)>,
}

/// Reads the columns of `queued_job`.
///
/// `MariaDB` keeps a hidden column, behind all others, for each unique key over a text (`HASH` among its indexes, and
/// nowhere else to be seen), and two for a table that keeps its former rows (`SYSTEM VERSIONING` without columns of its own
/// for the times): those come last, by names of ours.
///
/// The log shows a change of the table before the information schema does; reading from the table first waits
/// until the change is done.
pub async fn read_columns(session: &mut Session) -> Result<LoggedColumns, StoreError> {
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        match lease.conn().query_drop("SELECT 1 FROM queued_job LIMIT 0").await.map_err(StoreError::from) {
            // No such table is told below.
            Err(error) if error.code() != Some(1146) => return Err(error),
            _ => {}
        }
        let mut columns = LoggedColumns::default();
        for (name, column_type) in lease.conn().query::<(String, String), _>(COLUMNS_AND_TYPES).await? {
            columns.has_our_states |= name.eq_ignore_ascii_case("state") && has_our_states(&column_type);
            columns.old_times.extend(old_time(&column_type).map(|bytes| (columns.names.len(), bytes)));
            columns.names.push(name);
        }
        if !columns.names.is_empty() {
            let hashed: Option<u64> = lease.conn().query_first(HASHED_KEYS).await?;
            let versioned: Option<u64> = lease.conn().query_first(VERSIONED).await?;
            let hidden = hashed.unwrap_or_default() + 2 * versioned.unwrap_or_default();
            columns.names.extend((1..=hidden).map(|number| format!("(hidden {number})")));
        }
        lease.keep();
        Ok(columns)
    })
    .await
}

fn has_our_states(column_type: &str) -> bool {
    column_type.starts_with(&state_type())
}

/// How many bytes a time in the format of `MariaDB` 5.3 has, such as `timestamp(6) /* mariadb-5.3 */`, by the digits of
/// its fraction (`sql/field.cc` there). Without a fraction, the log tells it as ever.
fn old_time(column_type: &str) -> Option<usize> {
    let (kind, rest) = column_type.strip_suffix(" /* mariadb-5.3 */")?.split_once('(')?;
    let digits: usize = rest.strip_suffix(')')?.parse().ok()?;
    let bytes: [usize; 7] = match kind {
        "timestamp" => [4, 5, 5, 6, 6, 7, 7],
        "time" => [3, 4, 4, 5, 5, 5, 6],
        "datetime" => [5, 6, 6, 7, 7, 7, 8],
        _ => return None,
    };
    bytes.get(digits).copied()
}

const COLUMNS_AND_TYPES: &str = "SELECT COLUMN_NAME, COLUMN_TYPE FROM information_schema.COLUMNS \
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'queued_job' ORDER BY ORDINAL_POSITION";

const HASHED_KEYS: &str = "SELECT COUNT(DISTINCT INDEX_NAME) FROM information_schema.STATISTICS \
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'queued_job' AND INDEX_TYPE = 'HASH'";

/// How many tables of that kind there are by that name.
const VERSIONED: &str = "SELECT COUNT(*) FROM information_schema.TABLES AS t WHERE t.TABLE_SCHEMA = DATABASE() \
    AND t.TABLE_NAME = 'queued_job' AND t.TABLE_TYPE = 'SYSTEM VERSIONED' AND NOT EXISTS (SELECT 1 \
    FROM information_schema.COLUMNS AS c WHERE c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME \
    AND c.GENERATION_EXPRESSION = 'ROW START')";

pub(super) async fn columns_of(conn: &mut Conn, table: &str) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT COLUMN_NAME FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION";
    Ok(conn.exec(sql, (table,)).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_an_old_format_have_their_bytes() {
        let types = ["timestamp(6)", "time(3)", "datetime(6)", "timestamp", "timestamp(9)"];
        let old = types.map(|kind| old_time(&format!("{kind} /* mariadb-5.3 */")));
        assert_eq!(old, [Some(7), Some(5), Some(8), None, None]);
        assert_eq!(old_time("timestamp(6)"), None);
    }

    #[test]
    fn states_are_ours_by_their_order() {
        assert!(has_our_states("enum('available','executing','retryable','completed','discarded','cancelled')"));
        assert!(has_our_states("enum('available','executing','retryable','completed','discarded','cancelled','mine')"));
        assert!(!has_our_states("enum('executing','available','retryable','completed','discarded','cancelled')"));
        assert!(!has_our_states("varchar(20)"));
    }
}
