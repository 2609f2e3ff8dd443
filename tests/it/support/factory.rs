//! Rows of `queued_job`, each with only what the test is about.

use super::database::TestDatabase;
use mysql_async::Value;

/// A POST with a small body to nowhere; see [`JobRow`].
pub fn job() -> JobRow {
    let row = JobRow { columns: Vec::new() };
    row.method("post").url("http://127.0.0.1:9/").body("some post body")
}

/// A row to insert: columns with an SQL expression and its values each.
#[derive(Debug, Clone)]
pub struct JobRow {
    columns: Vec<(String, String, Vec<Value>)>,
}

impl JobRow {
    pub fn method(self, method: &str) -> JobRow {
        self.set("http_method", method)
    }

    pub fn url(self, url: impl AsRef<str>) -> JobRow {
        self.set("url", url.as_ref())
    }

    pub fn body(self, body: impl AsRef<[u8]>) -> JobRow {
        self.set("body", body.as_ref())
    }

    /// `timeout_secs`.
    pub fn timeout(self, secs: i64) -> JobRow {
        self.set("timeout_secs", secs)
    }

    /// `remaining_retries`.
    pub fn retries(self, retries: i64) -> JobRow {
        self.set("remaining_retries", retries)
    }

    /// `retry_delay_secs`.
    pub fn retry_delay(self, secs: i64) -> JobRow {
        self.set("retry_delay_secs", secs)
    }

    /// `run_at`, so many milliseconds after the server's now; before it when negative.
    pub fn run_at_in(self, millis: i64) -> JobRow {
        self.set_expression("run_at", "NOW(6) + INTERVAL ? MICROSECOND", vec![(millis * 1000).into()])
    }

    /// `run_at`, so many seconds ago.
    pub fn due_for(self, secs: i64) -> JobRow {
        self.run_at_in(-secs * 1000)
    }

    /// Any column.
    pub fn set(self, column: &str, value: impl Into<Value>) -> JobRow {
        self.set_expression(column, "?", vec![value.into()])
    }

    /// Any column, by an SQL expression with a `?` for each value.
    pub fn set_expression(mut self, column: &str, expression: &str, values: Vec<Value>) -> JobRow {
        self.columns.retain(|(known, ..)| known != column);
        self.columns.push((column.into(), expression.into(), values));
        self
    }

    /// Inserts the row and gives its key.
    pub async fn insert(&self, database: &TestDatabase) -> u64 {
        self.insert_at_once(database, 1).await
    }

    /// Inserts so many of the row by one statement, and gives the first key.
    pub async fn insert_at_once(&self, database: &TestDatabase, count: usize) -> u64 {
        let values: Vec<Value> = self.columns.iter().flat_map(|(.., values)| values.clone()).collect();
        database.insert(&self.statement(count), vec![values; count].concat()).await
    }

    /// Inserts the row so many times, each in its own transaction, and gives the keys.
    pub async fn insert_times(&self, database: &TestDatabase, times: usize) -> Vec<u64> {
        let mut keys = Vec::with_capacity(times);
        for _ in 0..times {
            keys.push(self.insert(database).await);
        }
        keys
    }

    fn statement(&self, count: usize) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, ..)| name.as_str()).collect();
        let expressions: Vec<&str> = self.columns.iter().map(|(_, expression, _)| expression.as_str()).collect();
        let rows = vec![format!("({})", expressions.join(", ")); count];
        format!("INSERT INTO queued_job ({}) VALUES {}", names.join(", "), rows.join(", "))
    }
}

/// Moves a job's `run_at` so many seconds into the past.
pub async fn back_date(database: &TestDatabase, id: u64, secs: u64) {
    database.execute(&format!("UPDATE queued_job SET run_at = NOW(6) - INTERVAL {secs} SECOND WHERE id = {id}")).await;
}

#[test]
fn a_column_set_again_is_named_once() {
    let row = job().url("http://a/").url("http://b/").due_for(3);
    assert_eq!(
        row.statement(2),
        "INSERT INTO queued_job (http_method, body, url, run_at) VALUES (?, ?, ?, NOW(6) + INTERVAL ? MICROSECOND), \
         (?, ?, ?, NOW(6) + INTERVAL ? MICROSECOND)"
    );
}
