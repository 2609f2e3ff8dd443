//! What is known of each job: its row, its lines in the log table, and the handler's own record of calls.

use super::super::database::TestDatabase;
use super::super::receiver::Receiver;
use super::plan::{Plan, attempt_of};
use mysql_async::Row;
use std::collections::{BTreeMap, HashMap};

/// `remaining_retries` of a row that does not say.
const DEFAULT_RETRIES: i32 = 5;

/// What a result says whose try came to no handler.
const UNREACHED: [&str; 4] = [
    "connection failed",
    "(the call broke off by a fault of",
    "(the body did not come from the database",
    "the body could not be loaded",
];

/// One job, from all three witnesses.
#[derive(Debug, Clone)]
pub struct Story {
    pub id: u64,
    /// Path and query of its URL.
    pub path: String,
    /// What its handler answers, where that is told by the path.
    pub plan: Option<Plan>,
    pub state: String,
    pub result_code: Option<i32>,
    pub attempt: u32,
    /// `remaining_retries` when it was inserted and now.
    pub retries: i32,
    pub remaining: i32,
    pub response: String,
    /// Whether `claim_expires_at` is set: only while it is executing.
    pub expires: bool,
    /// Whether the times of the last start and finish are there and in order.
    pub times_in_order: bool,
    pub lines: Lines,
    /// What was told last, by the times of the lines; but for results that came too late.
    pub last_line: String,
    /// How often the handler was called for each try.
    pub calls: BTreeMap<u32, u32>,
}

/// How many lines of each kind the log table has of one job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lines {
    pub calling: u32,
    pub succeeded: u32,
    pub temporary: u32,
    pub permanent: u32,
    pub given_back: u32,
    /// Those that were given up among them.
    pub taken_back: u32,
    pub given_up: u32,
    pub refused: u32,
    /// Results of tries that came to no handler, as they say themselves.
    pub unreached: u32,
}

impl Lines {
    /// Results that were recorded.
    pub fn results(self) -> u32 {
        self.succeeded + self.temporary + self.permanent
    }
}

impl Story {
    pub fn all_calls(&self) -> u32 {
        self.calls.values().sum()
    }
}

/// Which jobs are looked at.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// All of the table; there are no other calls and no other lines.
    All,
    /// Those whose URLs are like this. The handlers may have calls of others, and the log lines.
    Like(&'a str),
}

/// The jobs, as their rows, their lines and the handlers tell. Times are compared in no zone, where an hour may come twice.
pub async fn read_stories(database: &TestDatabase, receivers: &[&Receiver], scope: Scope<'_>) -> Vec<Story> {
    let like = if let Scope::Like(pattern) = scope { pattern } else { "%" };
    let rows: Vec<Row> = database
        .query(&format!(
            "SELECT id, url, CAST(state AS CHAR), result_code, attempt, remaining_retries, \
             COALESCE(last_response, ''), claim_expires_at IS NOT NULL, \
             COALESCE(UNIX_TIMESTAMP(last_finished_at) >= UNIX_TIMESTAMP(last_started_at), 0) FROM queued_job \
             WHERE url LIKE '{like}' ORDER BY id"
        ))
        .await;
    let mut lines = read_lines(database).await;
    let mut last_lines = read_last_lines(database).await;
    let mut calls = calls_by_job(receivers);
    let mut stories: Vec<Story> = rows.iter().map(of_row).collect();
    for story in &mut stories {
        story.lines = lines.remove(&story.id).unwrap_or_default();
        story.last_line = last_lines.remove(&story.id).unwrap_or_default();
        story.calls = calls.remove(&(story.id, story.path.clone())).unwrap_or_default();
    }
    if let Scope::All = scope {
        assert!(calls.is_empty(), "calls of jobs that are not in the table: {calls:?}");
        assert!(lines.is_empty(), "lines of jobs that are not in the table: {lines:?}");
    }
    stories
}

fn of_row(row: &Row) -> Story {
    let url: String = row.get(1).unwrap();
    let plan = Plan::of_url(&url);
    let from_the_path = url.splitn(4, '/').nth(3).unwrap_or_default();
    Story {
        id: row.get(0).unwrap(),
        path: format!("/{from_the_path}"),
        plan,
        state: row.get(2).unwrap(),
        result_code: row.get(3).unwrap(),
        attempt: row.get(4).unwrap(),
        retries: plan.map_or(DEFAULT_RETRIES, Plan::retries),
        remaining: row.get(5).unwrap(),
        response: row.get(6).unwrap(),
        expires: row.get(7).unwrap(),
        times_in_order: row.get(8).unwrap(),
        lines: Lines::default(),
        last_line: String::new(),
        calls: BTreeMap::new(),
    }
}

async fn read_lines(database: &TestDatabase) -> HashMap<u64, Lines> {
    let kinds = ["Calling job", "Job succeeded", "Job failed temporarily", "Job failed due to timeout"];
    let more =
        ["Job failed permanently", "Job given back", "Job taken back", "%and no retry was left", "Result refused"];
    let kinds: Vec<String> = kinds.into_iter().chain(more).map(str::to_owned).collect();
    let unreached = UNREACHED.map(|why| format!("Job failed temporarily: {why}"));
    let kinds = kinds.into_iter().chain(unreached);
    let sums: Vec<String> = kinds.map(|kind| format!("CAST(SUM(msg LIKE '%] {kind}%') AS UNSIGNED)")).collect();
    let sql = format!("SELECT job_id, {} FROM queued_job_log GROUP BY job_id", sums.join(", "));
    database.query::<Row>(&sql).await.iter().map(|row| (row.get(0).unwrap(), lines_of_row(row))).collect()
}

async fn read_last_lines(database: &TestDatabase) -> HashMap<u64, String> {
    let lines = "SELECT job_id, msg FROM (SELECT job_id, msg, ROW_NUMBER() OVER \
                 (PARTITION BY job_id ORDER BY UNIX_TIMESTAMP(created_at) DESC, id DESC) AS place FROM queued_job_log \
                 WHERE msg NOT LIKE '%] Result refused%') AS told WHERE place = 1";
    database.query::<(u64, String)>(lines).await.into_iter().collect()
}

fn lines_of_row(row: &Row) -> Lines {
    let count = |column: usize| row.get::<u32, _>(column).unwrap();
    Lines {
        calling: count(1),
        succeeded: count(2),
        temporary: count(3) + count(4),
        permanent: count(5),
        given_back: count(6),
        taken_back: count(7),
        given_up: count(8),
        refused: count(9),
        unreached: (0..UNREACHED.len()).map(|why| count(10 + why)).sum(),
    }
}

/// By number and path: a number may be that of several jobs, one after the other or in several databases.
fn calls_by_job(receivers: &[&Receiver]) -> HashMap<(u64, String), BTreeMap<u32, u32>> {
    let mut calls: HashMap<_, BTreeMap<u32, u32>> = HashMap::new();
    for request in receivers.iter().flat_map(|receiver| receiver.requests()) {
        let (job, attempt) = (request.job_id().expect("a call names its job"), attempt_of(&request));
        *calls.entry((job, request.path)).or_default().entry(attempt).or_default() += 1;
    }
    calls
}
