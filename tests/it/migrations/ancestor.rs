//! The ancestor's tables, and rows in every state that it left behind.

use crate::support::database::TestDatabase;
use crate::support::factory::{JobRow, job};
use mysql_async::prelude::Queryable;

/// How an ancestor's tables may have been made.
#[derive(Debug, Clone, Copy)]
pub struct Make {
    pub engine: &'static str,
    pub charset: &'static str,
}

pub const MAKES: [Make; 4] = [
    Make { engine: "InnoDB", charset: "latin1" },
    Make { engine: "InnoDB", charset: "utf8mb3" },
    Make { engine: "MyISAM", charset: "latin1" },
    Make { engine: "MyISAM", charset: "utf8mb4" },
];

/// When an old job is to be called after the upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Now,
    /// Not for the time of a test.
    Later,
    Never,
}

/// A row of the ancestor, and what must become of it.
pub struct OldJob {
    pub what: &'static str,
    pub row: JobRow,
    pub state: &'static str,
    pub due: Due,
}

/// An empty database with the ancestor's two tables.
pub async fn ancestor(make: Make) -> TestDatabase {
    let database = TestDatabase::create().await;
    create_tables(&database, make).await;
    database
}

pub async fn create_tables(database: &TestDatabase, Make { engine, charset }: Make) {
    let made = format!("ENGINE = {engine} DEFAULT CHARACTER SET {charset}");
    let tables = format!(
        "CREATE TABLE queued_job (id bigint(20) unsigned not null auto_increment, \
           organization_id bigint(20) unsigned null, http_method varchar(10) not null, url text not null, body text, \
           timeout_secs int(11) not null default 60, last_started_at timestamp null, \
           last_finished_at timestamp null, last_response text, result_code int(11) null, \
           remaining_retries int(11) not null default 10, retry_delay_secs int(11) not null default 60, \
           primary key (id)) {made}; \
         CREATE TABLE queued_job_log (id bigint(20) unsigned not null auto_increment, \
           job_id bigint(20) unsigned null, msg text, created_at timestamp, primary key (id)) {made}"
    );
    database.execute(&tables).await;
}

/// One row in each state. The URL of each ends in its number here.
pub fn old_jobs(url: impl Fn(&str) -> String) -> Vec<OldJob> {
    let mut all = never_run();
    all.extend(ended());
    all.extend(failed_for_now());
    for (index, old) in all.iter_mut().enumerate() {
        old.row = old.row.clone().url(url(&path(index)));
    }
    all
}

/// The path of the URL of the row at this index.
pub fn path(index: usize) -> String {
    format!("/{index}")
}

fn never_run() -> Vec<OldJob> {
    vec![
        old("new", job(), "available", Due::Now),
        old("new, with no retries left", job().retries(-1), "available", Due::Now),
        old("its poller was killed in the first call", started(job(), 86_400), "available", Due::Now),
    ]
}

fn ended() -> Vec<OldJob> {
    let huge = "ü".repeat(32_000);
    vec![
        old("succeeded", ran(job(), 0, 3600), "completed", Due::Never),
        old("succeeded with retries spent", ran(job().retries(-2), 0, 3600), "completed", Due::Never),
        old("failed permanently", ran(job(), 1, 3600), "discarded", Due::Never),
        old("failed temporarily, none left", ran(job().retries(0), 2, 3600), "discarded", Due::Never),
        old("failed temporarily, less than none left", ran(job().retries(-3), 2, 3600), "discarded", Due::Never),
        old("a result that nobody knows", ran(job(), 7, 3600), "discarded", Due::Never),
        old("a huge response", ran(job(), 1, 60).set("last_response", huge), "discarded", Due::Never),
        old("finished, and no times", job().set("result_code", 0), "completed", Due::Never),
    ]
}

fn failed_for_now() -> Vec<OldJob> {
    let failed = |delay: i64, ago: u64| ran(job().retries(3).retry_delay(delay), 2, ago);
    vec![
        old("to be retried, and due", failed(60, 600), "retryable", Due::Now),
        old("to be retried, not due yet", failed(3600, 10), "retryable", Due::Later),
        old("its poller was killed in a retry", started(failed(60, 600), 300), "retryable", Due::Now),
        old("to be retried at once", failed(0, 0), "retryable", Due::Now),
        old("a negative delay", failed(-5, 0), "retryable", Due::Now),
        old("a delay of 68 years", failed(i64::from(i32::MAX), 5), "retryable", Due::Later),
        old("to be retried, and no times", job().set("result_code", 2), "retryable", Due::Later),
    ]
}

fn old(what: &'static str, row: JobRow, state: &'static str, due: Due) -> OldJob {
    OldJob { what, row, state, due }
}

fn started(row: JobRow, secs_ago: u64) -> JobRow {
    row.set_expression("last_started_at", "NOW() - INTERVAL ? SECOND", vec![secs_ago.into()])
}

/// Called and answered so many seconds ago.
fn ran(row: JobRow, result_code: i64, secs_ago: u64) -> JobRow {
    started(row, secs_ago + 1)
        .set_expression("last_finished_at", "NOW() - INTERVAL ? SECOND", vec![secs_ago.into()])
        .set("last_response", "so it ended")
        .set("result_code", result_code)
}

/// A finished row and one to be retried with the zero dates of times without strict mode; their keys.
pub async fn insert_zero_dates(database: &TestDatabase, url: &str) {
    let mut conn = database.conn().await;
    conn.query_drop("SET SESSION sql_mode = ''").await.unwrap();
    let zero = "'0000-00-00 00:00:00', '0000-00-00 00:00:00'";
    conn.query_drop(format!(
        "INSERT INTO queued_job (http_method, url, last_started_at, last_finished_at, result_code) \
         VALUES ('post', '{url}', {zero}, 0), ('post', '{url}', {zero}, 2), ('post', '{url}', {zero}, NULL); \
         INSERT INTO queued_job_log (job_id, msg, created_at) VALUES (1, 'of no time', '0000-00-00 00:00:00')"
    ))
    .await
    .unwrap();
}
