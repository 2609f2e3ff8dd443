//! History: the lines of `queued_job_log`.

use super::bounds::within_deadline;
use super::error::StoreError;
use super::literals::{id_list, quoted};
use super::session::Session;
use crate::job::JobId;
use mysql_async::prelude::Queryable;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::timeout;

/// How long reading the lines of some jobs may take.
const READING: Duration = Duration::from_secs(10);

/// One line for `queued_job_log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// The job it is about.
    pub job: JobId,
    /// The message.
    pub message: String,
    /// When it happened by the database's clock, in microseconds since 1970 UTC; none means now.
    pub at_micros: Option<u64>,
}

/// Writes lines by themselves: a plain INSERT, which locks nothing that is there.
pub async fn write_history(session: &mut Session, lines: &[HistoryLine]) -> Result<(), StoreError> {
    let Some(sql) = history_sql(lines) else { return Ok(()) };
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        lease.conn().query_drop(sql).await?;
        lease.keep();
        Ok(())
    })
    .await
}

/// Takes out those of the lines that are in the log already: they were sent before, and the answer was lost. Lines that
/// do not tell their time are kept. False when the log could not be read within some seconds, as one without its index on
/// `job_id` can't; then all are kept.
///
/// A consistent read by that index; takes no lock.
pub async fn drop_written(session: &mut Session, lines: &mut Vec<HistoryLine>) -> Result<bool, StoreError> {
    let timed: Vec<JobId> = lines.iter().filter(|line| line.at_micros.is_some()).map(|line| line.job).collect();
    if timed.is_empty() {
        return Ok(true);
    }
    within_deadline(session.bounds().of_a_read(), async {
        let mut lease = session.lease().await?;
        let sql = format!(
            "SELECT job_id, CAST(UNIX_TIMESTAMP(created_at) * 1000000 AS UNSIGNED) FROM queued_job_log WHERE job_id IN ({})",
            id_list(&timed)
        );
        let Ok(written) = timeout(READING, lease.conn().query::<(u64, u64), _>(sql)).await else { return Ok(false) };
        let written: HashSet<(u64, u64)> = written?.into_iter().collect();
        lease.keep();
        lines.retain(|line| line.at_micros.is_none_or(|micros| !written.contains(&(line.job.0, micros))));
        Ok(true)
    })
    .await
}

/// One INSERT for all the lines; none when there are none.
pub(super) fn history_sql(lines: &[HistoryLine]) -> Option<String> {
    history_sql_for(lines, |_| true, &[])
}

/// One INSERT for the lines of the jobs that pass, and for some more.
pub(super) fn history_sql_for(
    lines: &[HistoryLine],
    passes: impl Fn(JobId) -> bool,
    more: &[HistoryLine],
) -> Option<String> {
    let mut sql = String::from("INSERT INTO queued_job_log (job_id, msg, created_at) VALUES ");
    let head = sql.len();
    for line in lines.iter().filter(|line| passes(line.job)).chain(more) {
        let separator = if sql.len() == head { "" } else { ", " };
        // Writing to a String does not fail.
        let _ = write!(sql, "{separator}({}, {}, {})", line.job, quoted(&line.message), at_sql(line.at_micros));
    }
    (sql.len() > head).then_some(sql)
}

fn at_sql(at_micros: Option<u64>) -> String {
    match at_micros {
        Some(micros) => format!("FROM_UNIXTIME({}.{:06})", micros / 1_000_000, micros % 1_000_000),
        None => "NOW(6)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(job: u64, at_micros: Option<u64>) -> HistoryLine {
        HistoryLine { job: JobId(job), message: "it's".to_owned(), at_micros }
    }

    #[test]
    fn all_lines_stand_in_one_insert() {
        let sql = history_sql(&[line(1, None), line(2, Some(1_500_000))]).unwrap();
        assert!(sql.ends_with(r"VALUES (1, 'it\'s', NOW(6)), (2, 'it\'s', FROM_UNIXTIME(1.500000))"), "{sql}");
    }

    #[test]
    fn no_lines_are_no_statement() {
        assert_eq!(history_sql(&[]), None);
        assert_eq!(history_sql_for(&[line(1, None)], |_| false, &[]), None);
    }
}
