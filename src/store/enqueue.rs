//! Enqueue: what applications do, for the sandbox's demo job.

use super::bounds::within_deadline;
use super::error::StoreError;
use super::row::{column, text};
use super::session::Session;
use crate::job::JobId;
use mysql_async::Row;
use mysql_async::prelude::Queryable;

/// The statement that applications run; the four values are quoted by whoever runs it.
pub async fn enqueue(
    session: &mut Session,
    (method, url): (&str, &str),
    body: &str,
    timeout_secs: u32,
) -> Result<JobId, StoreError> {
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        let sql = "INSERT INTO queued_job (http_method, url, body, timeout_secs) VALUES (?, ?, ?, ?)";
        lease.conn().exec_drop(sql, (method, url, body, timeout_secs)).await?;
        let id = lease.conn().last_insert_id();
        lease.keep();
        id.map(JobId).ok_or_else(|| StoreError::Unexpected("no id for the new job".to_owned()))
    })
    .await
}

/// A job's state and last response, for showing. A consistent read through the primary key.
pub async fn read_outcome(session: &mut Session, job: JobId) -> Result<Option<(String, String)>, StoreError> {
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        let sql = "SELECT CAST(state AS CHAR), COALESCE(last_response, '') FROM queued_job WHERE id = ?";
        let row: Option<Row> = lease.conn().exec_first(sql, (job.0,)).await?;
        lease.keep();
        row.map(|mut row| Ok((column(&mut row, 0)?, text(&mut row, 1)?))).transpose()
    })
    .await
}
