//! Backlog: which jobs are workable now or soon, oldest first, a page at a time.

use super::bounds::within_deadline;
use super::error::StoreError;
use super::literals::id_list;
use super::row::text;
use super::session::Session;
use crate::job::{JobId, JobState};
use mysql_async::Row;
use mysql_async::prelude::Queryable;
use std::time::Duration;

/// Where the last page of one state ended: `run_at` in the session's own text form, and the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageEnd {
    run_at: String,
    id: u64,
}

impl Default for PageEnd {
    /// Before the first row, which may have a `run_at` of zero: a session without strict mode can store it.
    fn default() -> Self {
        PageEnd { run_at: "0000-00-00 00:00:00".to_owned(), id: 0 }
    }
}

/// A claimable job and how far its `run_at` is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueJob {
    /// The job.
    pub id: JobId,
    /// Microseconds until it is due by the database's clock; negative: overdue for so long.
    pub due_in_micros: i64,
}

impl DueJob {
    /// How long until it is due; zero when it is.
    #[must_use]
    pub fn due_in(self) -> Duration {
        Duration::from_micros(u64::try_from(self.due_in_micros).unwrap_or(0))
    }
}

/// One page of the backlog of one state.
#[derive(Debug, Default)]
pub struct Page {
    /// The jobs, in order of `run_at`.
    pub jobs: Vec<DueJob>,
    /// Where the next page begins; none when this was the last.
    pub end: Option<PageEnd>,
    /// Where it ends itself; none when it is empty.
    pub last: Option<PageEnd>,
}

/// Reads a page of the claimable jobs of one state that are due within the horizon.
///
/// A consistent read in the order of the index on (state, `run_at`, id), from the given place on; takes no lock.
pub async fn read_backlog(
    session: &mut Session,
    state: JobState,
    (from, horizon): (&PageEnd, Duration),
    rows: usize,
) -> Result<Page, StoreError> {
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        let sql = backlog_sql(state, horizon, rows);
        let parameters = (&from.run_at, &from.run_at, from.id);
        let found: Vec<(u64, i64, String)> = lease.conn().exec(sql, parameters).await?;
        lease.keep();
        Ok(page_of(found, rows))
    })
    .await
}

/// The statement of [`read_backlog`], for its EXPLAIN too.
#[must_use]
pub fn backlog_sql(state: JobState, horizon: Duration, rows: usize) -> String {
    format!(
        "SELECT id, COALESCE(TIMESTAMPDIFF(MICROSECOND, NOW(6), run_at), 0), CAST(run_at AS CHAR) \
         FROM queued_job FORCE INDEX (state_run_at) WHERE state = '{}' \
         AND run_at <= NOW(6) + INTERVAL {} MICROSECOND AND run_at >= ? AND (run_at > ? OR id > ?) \
         ORDER BY run_at, id LIMIT {rows}",
        state.as_str(),
        horizon.as_micros()
    )
}

fn page_of(found: Vec<(u64, i64, String)>, rows: usize) -> Page {
    let last = found.last().map(|(id, _, run_at)| PageEnd { run_at: run_at.clone(), id: *id });
    let end = last.clone().filter(|_| found.len() == rows);
    let jobs = found.into_iter().map(|(id, due_in_micros, _)| DueJob { id: JobId(id), due_in_micros }).collect();
    Page { jobs, end, last }
}

/// Reads the URLs of jobs that are not claimed yet, to learn which host each one is for.
///
/// A consistent read through the primary key; takes no lock. Jobs that SQL does not show are left out.
pub async fn read_urls(session: &mut Session, jobs: &[JobId]) -> Result<Vec<(JobId, String)>, StoreError> {
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        let sql = format!(
            "SELECT id, COALESCE(CAST(LEFT(url, 300) AS BINARY), '') FROM queued_job WHERE id IN ({})",
            id_list(jobs)
        );
        let rows: Vec<Row> = lease.conn().query(sql).await?;
        lease.keep();
        rows.into_iter().map(|mut row| Ok((JobId(super::row::column(&mut row, 0)?), text(&mut row, 1)?))).collect()
    })
    .await
}
