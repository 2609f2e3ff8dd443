//! History: the lines of `queued_job_log`.

use super::error::StoreError;
use super::json_rows::{UTF8, quoted, quoted_json};
use super::session::{Session, within_deadline};
use crate::job::JobId;
use mysql_async::prelude::Queryable;
use std::fmt::Write as _;

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
    within_deadline(async {
        let mut lease = session.lease().await?;
        lease.conn().query_drop(sql).await?;
        lease.keep();
        Ok(())
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

/// One INSERT for the lines of those jobs whose rows are so, which it locks through the primary key, in key order.
pub(super) fn history_sql_where(lines: &[HistoryLine], rows: &str) -> Result<String, StoreError> {
    let lines: Vec<(u64, &str)> = lines.iter().map(|line| (line.job.0, line.message.as_str())).collect();
    let json = quoted_json(&lines)?;
    Ok(format!(
        "INSERT INTO queued_job_log (job_id, msg, created_at) SELECT job.id, line.msg, NOW(6) FROM \
         (SELECT id FROM queued_job FORCE INDEX (PRIMARY) WHERE {rows} ORDER BY id LIMIT {} FOR UPDATE) AS job \
         JOIN JSON_TABLE({json}, '$[*]' COLUMNS(job_id BIGINT UNSIGNED PATH '$[0]', msg TEXT {UTF8} PATH '$[1]')) AS line \
           ON line.job_id = job.id",
        u32::MAX
    ))
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
