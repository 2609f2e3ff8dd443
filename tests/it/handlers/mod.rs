//! The handler contract, by the real program: what we send, what an answer means, what a broken handler does.

mod answers;
mod asked;
mod broken;
mod credentials;
mod denied;
mod limits;
mod misbehaving;
mod names;
mod neighbours;
mod redirects;
mod requests;
mod retries;
mod secrets;
mod tls;
mod unusable;

use crate::support::database::TestDatabase;
use crate::support::factory::JobRow;
use crate::support::service::Service;
use crate::support::wait::eventually;
use std::time::Duration;

/// Long enough for anything that happens at all.
const SOON: Duration = Duration::from_secs(20);
/// The start finds what is there, the log the rest; no sweep helps out, and no delay strays.
const QUIET: &str = "[sweep]\ninterval_secs: 3600\ndegraded_interval_secs: 3600\n[retry]\njitter: 0\n";

/// So many jobs of one kind in one statement, to be retried at once; `body` is an SQL expression.
async fn insert_many(database: &TestDatabase, count: usize, url: &str, body: &str) {
    let sql = format!(
        "INSERT INTO queued_job (http_method, url, body, timeout_secs, retry_delay_secs) \
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) \
         SELECT 'post', '{url}', {body}, 300, 0 FROM numbers"
    );
    database.execute(&sql).await;
}

/// A service at work on a database of its own.
struct Rig {
    database: TestDatabase,
    service: Service,
}

/// A job's row, and its lines in the log.
#[derive(Debug, Clone)]
struct Seen {
    state: String,
    result_code: Option<i32>,
    remaining_retries: i32,
    retry_delay_secs: i32,
    attempt: u32,
    url: String,
    response: String,
    /// From its last message to its `run_at`.
    delay_secs: f64,
    messages: Vec<String>,
}

impl Rig {
    /// With more lines for [`QUIET`], the first of them for `[retry]`.
    async fn start(settings: &str) -> Rig {
        Rig::on(TestDatabase::with_schema().await, settings)
    }

    /// The same on a database that the test has prepared.
    fn on(database: TestDatabase, settings: &str) -> Rig {
        let service = Service::run(&database.ini(&format!("{QUIET}{settings}")));
        Rig { database, service }
    }

    /// Inserts a job and waits until it is called no more.
    async fn finish(&self, row: JobRow) -> Seen {
        let id = row.insert(&self.database).await;
        self.finished(id).await
    }

    /// Inserts a job and waits for the end of its first try.
    async fn first_try(&self, row: JobRow) -> Seen {
        let id = row.insert(&self.database).await;
        self.tried(id, 1).await
    }

    /// Waits until the job is in a final state.
    async fn finished(&self, id: u64) -> Seen {
        self.wait_for(id, "a final state", |seen| ["completed", "discarded"].contains(&seen.state.as_str())).await
    }

    /// Waits until a try has ended.
    async fn tried(&self, id: u64, attempt: u32) -> Seen {
        let ended = |seen: &Seen| seen.attempt >= attempt && seen.state != "executing";
        self.wait_for(id, &format!("the end of try {attempt}"), ended).await
    }

    async fn wait_for(&self, id: u64, what: &str, holds: impl Fn(&Seen) -> bool) -> Seen {
        let mut last = None;
        let found = tokio::time::timeout(SOON, async {
            eventually(what, SOON * 2, async || {
                let seen = self.seen(id).await;
                let found = holds(&seen).then(|| seen.clone());
                last = Some(seen);
                found
            })
            .await
        })
        .await;
        let lines = self.service.lines();
        let last_lines = &lines[lines.len().saturating_sub(20)..];
        found.unwrap_or_else(|_| panic!("no {what}: {last:?}\n{}", last_lines.join("\n")))
    }

    async fn seen(&self, id: u64) -> Seen {
        let columns = "CAST(state AS CHAR), result_code, remaining_retries, retry_delay_secs, attempt, url, \
             COALESCE(last_response, ''), COALESCE(TIMESTAMPDIFF(MICROSECOND, \
             (SELECT MAX(created_at) FROM queued_job_log WHERE job_id = queued_job.id), run_at) / 1e6, 0)";
        let (state, result_code, remaining_retries, retry_delay_secs, attempt, url, response, delay_secs) =
            self.database.query_one(&format!("SELECT {columns} FROM queued_job WHERE id = {id}")).await;
        let messages = self.messages(id).await;
        Seen { state, result_code, remaining_retries, retry_delay_secs, attempt, url, response, delay_secs, messages }
    }

    /// What `queued_job_log` says of the job, without its number in front.
    async fn messages(&self, id: u64) -> Vec<String> {
        let all: Vec<String> =
            self.database.query(&format!("SELECT msg FROM queued_job_log WHERE job_id = {id} ORDER BY id")).await;
        let mark = format!("[JOBID {id}] ");
        all.iter().map(|message| message.strip_prefix(&mark).expect(message).to_owned()).collect()
    }
}

impl Seen {
    fn assert_done(&self) {
        assert_eq!((self.state.as_str(), self.result_code), ("completed", Some(0)), "{self:?}");
    }

    /// Failed for now, and to be tried again.
    fn assert_temporary(&self) {
        assert_eq!((self.state.as_str(), self.result_code), ("retryable", Some(2)), "{self:?}");
    }

    /// Failed for good at the first call, which costs no retry.
    fn assert_permanent(&self) {
        let row = (self.state.as_str(), self.result_code, self.attempt, self.remaining_retries);
        assert_eq!(row, ("discarded", Some(1), 1, 5), "{self:?}");
    }

    /// The next try comes so many seconds after this one.
    fn assert_delay(&self, secs: f64) {
        // The two times are read by two statements of one transaction; the machine may pause between them.
        assert!((self.delay_secs - secs).abs() < 2.0, "{secs} s: {self:?}");
    }

    fn last_message(&self) -> &str {
        self.messages.last().map_or("", String::as_str)
    }
}
