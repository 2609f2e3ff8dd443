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

/// A line of no job.
const NO_LINE: &str = "INSERT INTO queued_job_log (job_id, msg, created_at) SELECT 1, '', NOW(6) FROM DUAL WHERE 1 = 0";

/// Whether jobs can be worked off: an error says that nobody's claims or results would be written, until somebody mends that,
/// or for now. A table that is locked is waited for, and no error.
pub async fn try_to_work(session: &mut Session) -> Result<(), StoreError> {
    let tried = within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        write_nothing(lease.conn()).await?;
        lease.conn().query_drop(NO_LINE).await?;
        lease.keep();
        Ok(())
    });
    match tried.await {
        Err(error) if !error.is_transient() || error.says_no_writes() => Err(error),
        _ => Ok(()),
    }
}

/// Writes nothing, on a connection that has no transaction under way.
pub(super) async fn write_nothing(conn: &mut Conn) -> Result<(), StoreError> {
    Ok(conn.query_drop(ON_NO_ROW).await?)
}
