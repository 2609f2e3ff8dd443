//! Load: applications that enqueue at a steady rate and follow the server that takes writes; and what must hold of
//! their jobs.

use super::SOON;
use crate::support::cluster::{Cluster, DATABASE, writable};
use crate::support::receiver::Receiver;
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// With one transaction each, this often: 250 a second.
const WRITERS: usize = 5;
const PACE: Duration = Duration::from_millis(20);
/// How long an application waits for its database before it looks for another.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the writers saw.
#[derive(Debug, Default, Clone)]
pub struct Written {
    /// The paths of jobs whose commit was answered: they must run.
    pub committed: Vec<String>,
    /// The paths of jobs whose transaction was rolled back: they must never be called.
    pub rolled_back: Vec<String>,
}

/// Running writers.
pub struct Load {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicUsize>,
    writers: Vec<JoinHandle<Written>>,
}

struct Writer {
    hosts: Vec<Opts>,
    url: String,
    number: usize,
}

impl Load {
    pub fn start(cluster: &Cluster, url: &str) -> Load {
        let (stop, committed) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let hosts: Vec<Opts> = (0..cluster.members.len()).map(|member| cluster.opts(member)).collect();
        let writer = |number| Writer { hosts: hosts.clone(), url: url.to_owned(), number };
        let writers = (0..WRITERS)
            .map(|number| tokio::spawn(writer(number).write(Arc::clone(&stop), Arc::clone(&committed))))
            .collect();
        Load { stop, committed, writers }
    }

    /// How many jobs were committed so far.
    pub fn committed(&self) -> usize {
        self.committed.load(Ordering::SeqCst)
    }

    /// Waits until so many more are committed.
    pub async fn until_more(&self, jobs: usize, deadline: Duration) {
        let enough = self.committed() + jobs;
        until("more jobs are committed", deadline, async || self.committed() >= enough).await;
    }

    pub async fn stop(self) -> Written {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Written::default();
        for writer in self.writers {
            let written = writer.await.unwrap();
            all.committed.extend(written.committed);
            all.rolled_back.extend(written.rolled_back);
        }
        all
    }
}

impl Writer {
    async fn write(self, stop: Arc<AtomicBool>, committed: Arc<AtomicUsize>) -> Written {
        let mut written = Written::default();
        let mut conn: Option<Conn> = None;
        let mut pace = tokio::time::interval(PACE);
        for count in 0u32.. {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            pace.tick().await;
            let path = format!("/{}-{count}", self.number);
            let roll_back = count % 10 == 9;
            // One that fails may be committed or not: it is in neither list.
            if let Ok(Some(used)) = timeout(PATIENCE, self.insert(conn.take(), &path, roll_back)).await {
                conn = Some(used);
                if roll_back {
                    written.rolled_back.push(path);
                } else {
                    written.committed.push(path);
                    committed.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        written
    }

    async fn insert(&self, conn: Option<Conn>, path: &str, roll_back: bool) -> Option<Conn> {
        let mut conn = match conn {
            Some(conn) => conn,
            None => self.connect().await?,
        };
        conn.query_drop("START TRANSACTION").await.ok()?;
        let sql = format!("INSERT INTO {DATABASE}.queued_job (http_method, url, body) VALUES ('post', ?, 'x')");
        conn.exec_drop(sql, (format!("{}{path}", self.url),)).await.ok()?;
        conn.query_drop(if roll_back { "ROLLBACK" } else { "COMMIT" }).await.ok()?;
        Some(conn)
    }

    async fn connect(&self) -> Option<Conn> {
        for opts in &self.hosts {
            if let Ok(Some(conn)) = timeout(PATIENCE / 3, writable(opts.clone())).await {
                return Some(conn);
            }
        }
        None
    }
}

/// What was found, for the scenario's own bounds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub jobs: usize,
    /// Calls beyond one for each job.
    pub extra_calls: usize,
    /// Claims that were taken back from a dispatcher.
    pub taken_back: usize,
}

async fn until_all_are_done(cluster: &Cluster) {
    let open = format!(
        "SELECT CONCAT_WS(' ', id, state, attempt, claimed_by, claim_expires_at, run_at, NOW(6), url) \
         FROM {DATABASE}.queued_job WHERE state <> 'completed' LIMIT 20"
    );
    let deadline = Instant::now() + SOON * 2;
    loop {
        let rows: Vec<String> = cluster.query(&open).await;
        if rows.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "not done: {rows:#?}");
        tokio::time::sleep(PACE).await;
    }
}

/// Waits until every job is done, and holds what must be so: each that was committed was called and is done, none that
/// was rolled back was called, and the log table tells of each call that has a result.
pub async fn check(cluster: &Cluster, receiver: &Receiver, written: &Written) -> Found {
    until_all_are_done(cluster).await;
    let rows: Vec<(u64, String, u32)> =
        cluster.query(&format!("SELECT id, url, attempt FROM {DATABASE}.queued_job")).await;
    let sums = ["Calling job", "Job succeeded", "Job taken back"]
        .map(|part| format!("CAST(SUM(msg LIKE '%{part}%') AS UNSIGNED)"))
        .join(", ");
    let lines: Vec<(u64, usize, usize, usize)> =
        cluster.query(&format!("SELECT job_id, {sums} FROM {DATABASE}.queued_job_log GROUP BY job_id")).await;
    let lines: HashMap<u64, (usize, usize, usize)> =
        lines.into_iter().map(|(id, calling, done, taken)| (id, (calling, done, taken))).collect();
    let mut calls: HashMap<String, usize> = HashMap::new();
    for request in receiver.requests() {
        *calls.entry(request.path).or_default() += 1;
    }
    let mut found = Found { jobs: rows.len(), ..Found::default() };
    let mut known: HashMap<String, u64> = HashMap::new();
    for (id, url, attempt) in rows {
        let path = format!("/{}", url.rsplit('/').next().unwrap());
        let called = calls.get(&path).copied().unwrap_or(0);
        let (calling, done, taken) = lines.get(&id).copied().unwrap_or_default();
        assert!(called >= 1 && done == 1, "job {id}: called {called} times, done {done} times");
        assert!((1..=called).contains(&calling), "job {id}: called {called} times, and {calling} lines say so");
        assert!(attempt as usize == 1 + taken && called <= 1 + taken, "job {id}: {called} calls, {attempt}, {taken}");
        found.extra_calls += called - 1;
        found.taken_back += taken;
        assert!(known.insert(path, id).is_none(), "job {id} is there twice");
    }
    let lost: Vec<&String> = written.committed.iter().filter(|path| !known.contains_key(*path)).collect();
    assert!(lost.is_empty(), "committed and lost: {lost:?}");
    let wrong: Vec<&String> = written.rolled_back.iter().filter(|path| calls.contains_key(*path)).collect();
    assert!(wrong.is_empty(), "rolled back and called: {wrong:?}");
    found
}
