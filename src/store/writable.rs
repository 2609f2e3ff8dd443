//! Writable: whether the jobs' table takes our writes at all, so that what is refused is the fault of rows.

use super::bounds::within_deadline;
use super::error::StoreError;
use super::session::Session;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// A deed on no row. Servers refuse it as they would refuse the same on any row, where the fault is the table's. Lines are
/// another matter: a result is written without them where they are refused.
const ON_NO_ROW: &str = "UPDATE queued_job SET state = 'executing' WHERE 1 = 0";

/// Tries to write nothing; an error says that nobody's rows would be written now, whatever they hold.
pub async fn try_to_write(session: &mut Session) -> Result<(), StoreError> {
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        write_nothing(lease.conn()).await?;
        lease.keep();
        Ok(())
    })
    .await
}

/// The same on a connection that has no transaction under way.
pub(super) async fn write_nothing(conn: &mut Conn) -> Result<(), StoreError> {
    Ok(conn.query_drop(ON_NO_ROW).await?)
}
