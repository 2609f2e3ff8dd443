//! Load: applications that enqueue at a steady rate, whatever happens to the database, and follow it to another server.

use super::SETTLES;
use super::orphans::OrphanWatch;
use super::plan::Plan;
use crate::support::cluster::{Cluster, DATABASE, writable};
use crate::support::database::TestDatabase;
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A load is of so many committed jobs a second, or more.
const JOBS_PER_SECOND: u32 = 200;
/// One transaction in so many is rolled back.
const ROLLED_BACK: u32 = 10;
/// An application does not wait for its database for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the writers saw.
#[derive(Debug, Default, Clone)]
pub struct Written {
    /// Jobs whose commit was answered, and the ends of their URLs: they must run.
    pub committed: Vec<(u64, String)>,
    /// The paths of jobs whose transaction was rolled back, or broke before its end: they must never be called.
    pub rolled_back: Vec<String>,
    /// Transactions that failed, and may or may not have been committed.
    pub failed: usize,
    /// How many jobs were committed a second, while the database took them.
    pub per_second: usize,
    /// The watch that began with the load; it goes on for as long as this is kept.
    pub watch: Option<Arc<OrphanWatch>>,
}

/// Running writers.
pub struct Load {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicUsize>,
    writers: Vec<JoinHandle<Written>>,
    watch: Option<Arc<OrphanWatch>>,
}

/// What all writers do.
struct Orders<Prelude> {
    /// Where they may find their database; the first that takes writes is used, where there are several.
    hosts: Vec<Opts>,
    url: String,
    /// Jobs in each transaction.
    rows: u32,
    /// How many writers there are, and how many transactions each makes in a second.
    rate: (usize, u32),
    /// What every session of a writer sets first.
    prelude: Prelude,
}

/// One writer.
struct Writer {
    hosts: Vec<Opts>,
    url: String,
    number: usize,
    rows: u32,
    prelude: String,
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicUsize>,
}

impl Load {
    /// So many writers, each with so many transactions per second, of all plans; every tenth is rolled back.
    pub fn start(database: &TestDatabase, url: &str, rate: (usize, u32)) -> Load {
        Load::start_with(database, url, rate, |_| "DO 0".to_owned())
    }

    /// The same with so many jobs in each transaction.
    pub fn start_in_bulk(database: &TestDatabase, url: &str, rate: (usize, u32), rows: u32) -> Load {
        Load::start_on(database, (url, rows), rate, |_| "DO 0".to_owned())
    }

    /// One job each, with a statement for each writer that its sessions begin with.
    pub fn start_with(
        database: &TestDatabase,
        url: &str,
        rate: (usize, u32),
        prelude: impl Fn(usize) -> String,
    ) -> Load {
        Load::start_on(database, (url, 1), rate, prelude)
    }

    /// Applications that know all members of a cluster. No watch looks for orphans: the locks are gone with a server.
    pub fn start_on_cluster(cluster: &Cluster, url: &str, rate: (usize, u32)) -> Load {
        let hosts = (0..cluster.members.len()).map(|member| cluster.access(member).opts(Some(DATABASE))).collect();
        let prelude = |_| "DO 0".to_owned();
        Load::start_writers(&Orders { hosts, url: url.to_owned(), rows: 1, rate, prelude }, None)
    }

    fn start_on(
        database: &TestDatabase,
        (url, rows): (&str, u32),
        rate: (usize, u32),
        prelude: impl Fn(usize) -> String,
    ) -> Load {
        let hosts = vec![database.server().opts(Some(database.name()))];
        let watch = OrphanWatch::start(database);
        Load::start_writers(&Orders { hosts, url: url.to_owned(), rows, rate, prelude }, Some(watch))
    }

    fn start_writers(orders: &Orders<impl Fn(usize) -> String>, watch: Option<OrphanWatch>) -> Load {
        let ((writers, per_second), rows) = (orders.rate, orders.rows);
        let offered = u32::try_from(writers).unwrap() * per_second * rows * (ROLLED_BACK - 1) / ROLLED_BACK;
        assert!(offered >= JOBS_PER_SECOND, "{offered} jobs a second are no load");
        let (stop, committed) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let pace = Duration::from_secs(1) / per_second;
        let writer = |number| Writer {
            hosts: orders.hosts.clone(),
            url: orders.url.clone(),
            number,
            rows,
            prelude: (orders.prelude)(number),
            stop: Arc::clone(&stop),
            committed: Arc::clone(&committed),
        };
        let writers = (0..writers).map(|number| tokio::spawn(writer(number).write(pace))).collect();
        Load { stop, committed, writers, watch: watch.map(Arc::new) }
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

    /// Stops the writers, once so many jobs were committed; what they wrote.
    pub async fn stop_after(self, jobs: usize) -> Written {
        until("the load is written", SETTLES, async || self.committed() >= jobs).await;
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Written { watch: self.watch, ..Written::default() };
        for writer in self.writers {
            let written = writer.await.unwrap();
            all.committed.extend(written.committed);
            all.rolled_back.extend(written.rolled_back);
            all.failed += written.failed;
            all.per_second += written.per_second;
        }
        all
    }
}

impl Writer {
    async fn write(self, pace: Duration) -> Written {
        let mut written = Written::default();
        let mut conn: Option<Conn> = None;
        let mut next = Instant::now();
        let (mut last, mut able) = (next, Duration::ZERO);
        for count in 0u32.. {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            tokio::time::sleep_until(next.into()).await;
            // What was missed while the database was away is not made up for.
            next = Instant::now().max(next + pace);
            let numbers = count * self.rows..(count + 1) * self.rows;
            let path = |number| format!("{}?{}-{number}", Plan::of_number(number).path(), self.number);
            let paths: Vec<String> = numbers.map(path).collect();
            let roll_back = count % ROLLED_BACK == ROLLED_BACK - 1;
            let done = timeout(PATIENCE, self.insert(conn.take(), &paths, roll_back)).await;
            if let Ok(Ok((first, used))) = done {
                if !roll_back {
                    self.committed.fetch_add(paths.len(), Ordering::SeqCst);
                    written.committed.extend((first..).zip(paths.clone()));
                }
                conn = Some(used);
                able += last.elapsed();
            } else {
                // The database is away: the application goes on with its next job.
                written.failed += 1;
            }
            if roll_back {
                // Whatever became of it, it was not committed.
                written.rolled_back.extend(paths);
            }
            last = Instant::now();
        }
        written.per_second = written.committed.len() * 1_000 / usize::try_from(able.as_millis()).unwrap().max(1);
        written
    }

    async fn connect(&self) -> mysql_async::Result<Conn> {
        let mut conn = match &self.hosts[..] {
            [only] => Conn::new(only.clone()).await?,
            several => first_writable(several).await.ok_or_else(|| std::io::Error::other("no host takes writes"))?,
        };
        conn.query_drop(&self.prelude).await?;
        Ok(conn)
    }

    /// One transaction; the first of its jobs' keys, which follow one another.
    async fn insert(&self, conn: Option<Conn>, paths: &[String], roll_back: bool) -> mysql_async::Result<(u64, Conn)> {
        let mut conn = if let Some(conn) = conn { conn } else { self.connect().await? };
        if roll_back {
            conn.query_drop("START TRANSACTION").await?;
        }
        let rows = vec!["('post', ?, 'x', 120, 0, ?)"; paths.len()].join(", ");
        let sql = format!(
            "INSERT INTO queued_job (http_method, url, body, timeout_secs, retry_delay_secs, remaining_retries) \
             VALUES {rows}"
        );
        let retries = |path: &String| Plan::of_url(path).expect("a path of a plan").retries();
        let values =
            paths.iter().flat_map(|path| [Value::from(format!("{}{path}", self.url)), Value::from(retries(path))]);
        conn.exec_drop(sql, values.collect::<Vec<_>>()).await?;
        let id = conn.last_insert_id().unwrap_or_default();
        if roll_back {
            conn.query_drop("ROLLBACK").await?;
        }
        Ok((id, conn))
    }
}

async fn first_writable(hosts: &[Opts]) -> Option<Conn> {
    for opts in hosts {
        if let Ok(Some(conn)) = timeout(PATIENCE / 5, writable(opts.clone())).await {
            return Some(conn);
        }
    }
    None
}
