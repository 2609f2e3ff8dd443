//! Where a process's time went: processor time by thread, and the server's own account of its statements.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

/// Below this share of all, a thread is not shown.
const SHOWN_SHARE: f64 = 0.01;
/// The statements shown.
const SHOWN_STATEMENTS: u32 = 10;

/// Processor time of a process's threads, summed by their names.
pub type ByThread = BTreeMap<String, Duration>;

/// The processor time of the threads so far. Those that have ended are not in it.
pub fn by_thread(pid: u32) -> ByThread {
    let mut sums = ByThread::new();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return sums };
    for task in tasks.flatten() {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        // Nanoseconds on a processor (Linux, Documentation/scheduler/sched-stats.rst).
        let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let nanos = stat.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0);
        *sums.entry(name.trim().to_owned()).or_default() += Duration::from_nanos(nanos);
    }
    sums
}

/// What each kind of thread used for one job, in microseconds, most first.
pub fn thread_table(before: &ByThread, after: &ByThread, jobs: f64) -> String {
    let mut used: Vec<(&String, f64)> = after
        .iter()
        .map(|(name, now)| (name, now.saturating_sub(before.get(name).copied().unwrap_or_default())))
        .map(|(name, time)| (name, time.as_secs_f64() * 1e6 / jobs))
        .collect();
    used.sort_by(|a, b| b.1.total_cmp(&a.1));
    let sum: f64 = used.iter().map(|(_, time)| time).sum();
    let mut table = String::new();
    for (name, time) in used.into_iter().filter(|(_, time)| *time > sum * SHOWN_SHARE) {
        let _ = writeln!(table, "    {time:8.2} us  {name}");
    }
    table
}

/// Starts the server's account of statements anew, where it keeps one.
pub async fn forget_statements(conn: &mut Conn) {
    let _ = conn
        .query_drop("UPDATE performance_schema.setup_consumers SET enabled = 'YES' WHERE name LIKE '%statements_cpu'")
        .await;
    let _ = conn.query_drop("TRUNCATE performance_schema.events_statements_summary_by_digest").await;
}

/// The statements that took the server longest, with microseconds for each job; empty where it keeps no account.
pub async fn statement_table(conn: &mut Conn, jobs: f64) -> String {
    let sql = |cpu: &str| {
        format!(
            "SELECT count_star, sum_timer_wait / 1e6, {cpu} / 1e6, LEFT(digest_text, 110) \
             FROM performance_schema.events_statements_summary_by_digest \
             WHERE digest_text IS NOT NULL ORDER BY sum_timer_wait DESC LIMIT {SHOWN_STATEMENTS}"
        )
    };
    let mut rows: Vec<(u64, f64, f64, String)> = conn.query(sql("sum_cpu_time")).await.unwrap_or_default();
    if rows.is_empty() {
        rows = conn.query(sql("0")).await.unwrap_or_default();
    }
    let mut table = String::new();
    for (count, wait, cpu, text) in rows {
        let _ = writeln!(table, "    {count:6} times {:8.2} us {:8.2} us cpu  {text}", wait / jobs, cpu / jobs);
    }
    table
}
