//! A crowded table: many rows in mixed states, mostly finished, as after weeks of work.

use crate::support::database::TestDatabase;

/// How many rows are put in at once.
const PIECE: u64 = 1_000_000;

/// How many rows of each kind.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    pub finished: u64,
    /// Due for up to a day.
    pub available: u64,
    /// Due within the next day.
    pub retryable: u64,
    /// Of dispatchers that are dead.
    pub executing: u64,
}

/// A table of the numbers from 0 on, at least so many.
async fn make_numbers(database: &TestDatabase, count: u64) {
    database.execute("CREATE TABLE number (n INT PRIMARY KEY) ENGINE = InnoDB; INSERT INTO number VALUES (0)").await;
    let mut there = 1;
    while there < count {
        database.execute(&format!("INSERT INTO number SELECT n + {there} FROM number")).await;
        there *= 2;
    }
}

impl Crowd {
    /// Puts the rows in, finished ones before and after the others.
    pub async fn fill(&self, database: &TestDatabase) {
        let largest = self.finished.min(PIECE).max(self.available).max(self.retryable).max(self.executing);
        make_numbers(database, largest).await;
        let half = self.finished / 2;
        self.add_finished(database, half).await;
        add(database, "available", self.available, "- INTERVAL n % 86400 SECOND").await;
        add(database, "executing", self.executing, "- INTERVAL n SECOND").await;
        add(database, "retryable", self.retryable, "+ INTERVAL 1 + n % 86400 SECOND").await;
        self.add_finished(database, self.finished - half).await;
        database.execute("UPDATE queued_job SET claimed_by = 'dead', claim_token = id WHERE state = 'executing'").await;
        database.query::<mysql_async::Row>("ANALYZE TABLE queued_job, queued_job_log").await;
    }

    async fn add_finished(&self, database: &TestDatabase, count: u64) {
        // In pieces, as the work of weeks would have come.
        let pieces = count.div_ceil(PIECE).max(1);
        for _ in 0..pieces {
            add(database, "completed", count / pieces * 9 / 10, "- INTERVAL n SECOND").await;
            add(database, "discarded", count / pieces / 10, "- INTERVAL n SECOND").await;
        }
    }
}

/// Adds rows of one state, `run_at` so far from now.
async fn add(database: &TestDatabase, state: &str, count: u64, run_at: &str) {
    database
        .execute(&format!(
            "INSERT INTO queued_job (http_method, url, body, state, run_at, attempt) \
             SELECT 'post', 'http://127.0.0.1:9/somewhere', 'some post body', '{state}', NOW(6) {run_at}, 1 \
             FROM number WHERE n < {count}"
        ))
        .await;
}

/// The keys of some rows in a state.
pub async fn some(database: &TestDatabase, state: &str, count: u64) -> Vec<u64> {
    let sql = format!("SELECT id FROM queued_job WHERE state = '{state}' ORDER BY run_at LIMIT {count}");
    let mut keys: Vec<u64> = database.query(&sql).await;
    keys.sort_unstable();
    keys
}
