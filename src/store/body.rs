//! Load the body of a claimed job that was too large to come with its claim.

use super::bounds::within_deadline;
use super::error::StoreError;
use super::row::ClaimedJob;
use super::session::Session;
use mysql_async::prelude::Queryable;

/// The stored bytes; none when the row is no longer ours.
///
/// A consistent read through the primary key; takes no lock. The column is named plainly: the result of any function
/// on it would be NULL where it is larger than the server's `max_allowed_packet`, as a stored body may be.
pub async fn load_body(session: &mut Session, job: &ClaimedJob) -> Result<Option<Vec<u8>>, StoreError> {
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        // Not prepared: the server may have no room for one more.
        let sql = format!("SELECT body FROM queued_job WHERE id = {} AND claim_token = {}", job.id, job.token.0);
        let body: Option<Option<Vec<u8>>> = lease.conn().query_first(sql).await?;
        lease.keep();
        Ok(body.map(Option::unwrap_or_default))
    })
    .await
}
