//! Watches for jobs that are executing without a live owner, all through a scenario.

use crate::support::database::TestDatabase;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A running watch.
pub struct OrphanWatch {
    longest: Arc<Mutex<Duration>>,
    task: JoinHandle<()>,
}

impl OrphanWatch {
    /// Watches from now on.
    pub fn start(database: &TestDatabase) -> OrphanWatch {
        let longest = Arc::<Mutex<Duration>>::default();
        let opts = database.server().opts(Some(database.name()));
        let task = tokio::spawn(watch(opts, Arc::clone(&longest)));
        OrphanWatch { longest, task }
    }

    /// The longest time that one claim stood in its row while the lock of its owner was free.
    pub fn longest(&self) -> Duration {
        *self.longest.lock().unwrap()
    }
}

impl Drop for OrphanWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(opts: mysql_async::Opts, longest: Arc<Mutex<Duration>>) {
    let mut since = HashMap::new();
    let mut conn = None;
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some((found, used)) = look(conn.take(), &opts).await else {
            // The database is away: nobody can rescue.
            since.clear();
            continue;
        };
        conn = Some(used);
        let now = Instant::now();
        since = found.into_iter().map(|claim| (claim, since.get(&claim).copied().unwrap_or(now))).collect();
        let oldest = since.values().map(|since| now - *since).max().unwrap_or_default();
        let mut longest = longest.lock().unwrap();
        *longest = oldest.max(*longest);
    }
}

async fn look(conn: Option<Conn>, opts: &mysql_async::Opts) -> Option<(Vec<(u64, u64)>, Conn)> {
    let mut conn = match conn {
        Some(conn) => conn,
        None => Conn::new(opts.clone()).await.ok()?,
    };
    let sql = "SELECT id, claim_token FROM queued_job WHERE state = 'executing' AND IS_FREE_LOCK(claimed_by) = 1";
    Some((conn.query(sql).await.ok()?, conn))
}
