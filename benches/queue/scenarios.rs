//! The scenarios.
#![allow(clippy::cast_precision_loss, reason = "counts of jobs are far below 2^52")]

use super::bench::{Bench, Options};
use super::inside::{ByThread, by_thread, forget_statements, statement_table, thread_table};
use super::process::Process;
use super::report::{Figures, quantile};
use clap::ValueEnum;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// A backlog that is there before the service starts.
    Backlog,
    /// One INSERT each 50 ms: INSERT-return to arrival.
    Latency,
    /// A thousand INSERTs per second, singly.
    Thousand,
    /// Five thousand jobs per second, from several writers.
    Steady,
    /// Nothing to do.
    Idle,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 5] =
        [Scenario::Backlog, Scenario::Latency, Scenario::Thousand, Scenario::Steady, Scenario::Idle];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Backlog => "backlog",
            Scenario::Latency => "latency",
            Scenario::Thousand => "thousand",
            Scenario::Steady => "steady",
            Scenario::Idle => "idle",
        }
    }

    /// Runs it once.
    pub async fn run(self, bench: &Bench, options: &Options) -> Figures {
        bench.empty().await;
        match self {
            Scenario::Backlog => backlog(bench, options).await,
            Scenario::Latency => arrivals(bench, (1, 20), options.seconds).await,
            Scenario::Thousand => arrivals(bench, (1, 1_000), options.seconds).await,
            Scenario::Steady => arrivals(bench, (8, 5_000), options.seconds).await,
            Scenario::Idle => idle(bench, options.seconds).await,
        }
    }
}

/// A call's body: 100 bytes.
fn body() -> String {
    "x".repeat(100)
}

/// How much processor time a scenario took.
struct Meter {
    service: (Process, Duration),
    database: (Process, Duration),
    threads: [ByThread; 2],
    begun: Instant,
}

impl Meter {
    fn begin(service: Process, bench: &Bench) -> Meter {
        let database = bench.database();
        let (service_cpu, database_cpu) = (service.cpu(), database.cpu());
        let threads = [by_thread(service.pid()), by_thread(database.pid())];
        Meter { service: (service, service_cpu), database: (database, database_cpu), threads, begun: Instant::now() }
    }

    /// Shows where service and database spent their time.
    async fn show_inside(&self, conn: &mut Conn, jobs: f64) {
        let [service, database] = &self.threads;
        eprintln!("  service, by thread, for each job");
        eprint!("{}", thread_table(service, &by_thread(self.service.0.pid()), jobs));
        eprintln!("  database, by thread, for each job");
        eprint!("{}", thread_table(database, &by_thread(self.database.0.pid()), jobs));
        eprintln!("  database, by statement, for each job");
        eprint!("{}", statement_table(conn, jobs).await);
    }

    fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Microseconds of processor time per job, and the service's memory.
    fn figures(&self, jobs: f64) -> Figures {
        let used =
            |(process, before): &(Process, Duration)| process.cpu().saturating_sub(*before).as_secs_f64() * 1e6 / jobs;
        vec![
            ("service_cpu_us", used(&self.service)),
            ("database_cpu_us", used(&self.database)),
            ("service_mib", self.service.0.memory_mib()),
        ]
    }
}

async fn backlog(bench: &Bench, options: &Options) -> Figures {
    let jobs = options.jobs;
    let mut conn = bench.conn().await;
    insert_many(&mut conn, bench, jobs).await;
    if options.inside {
        forget_statements(&mut conn).await;
    }
    let meter = Meter::begin(bench.start_service(), bench);
    bench.handler.wait_for(1).await;
    let first_call = meter.seconds();
    wait_until_done(bench, &mut conn, jobs).await;
    let seconds = meter.seconds() - first_call;
    if options.inside {
        meter.show_inside(&mut conn, f64::from(jobs)).await;
    }
    let mut figures = vec![("jobs_per_s", f64::from(jobs) / seconds), ("first_call_ms", first_call * 1e3)];
    figures.push(("calls_per_job", bench.handler.calls() as f64 / f64::from(jobs)));
    figures.extend(meter.figures(f64::from(jobs)));
    figures
}

async fn insert_many(conn: &mut Conn, bench: &Bench, jobs: u32) {
    let row = format!("('post', '{}', '{}')", bench.handler.url(), body());
    let mut left = jobs as usize;
    while left > 0 {
        let count = left.min(1_000);
        let rows = vec![row.as_str(); count].join(",");
        conn.query_drop(format!("INSERT INTO queued_job (http_method, url, body) VALUES {rows}")).await.unwrap();
        left -= count;
    }
}

/// Asks only once all calls have come, so that the question does not weigh on what is measured.
async fn wait_until_done(bench: &Bench, conn: &mut Conn, jobs: u32) {
    bench.handler.wait_for(u64::from(jobs)).await;
    loop {
        let left: Option<u64> = conn
            .query_first("SELECT id FROM queued_job WHERE state IN ('executing', 'retryable') LIMIT 1")
            .await
            .unwrap();
        if left.is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Writers that INSERT one row at a time at a fixed rate together; from each INSERT's return to its call's arrival.
async fn arrivals(bench: &Bench, (writers, per_second): (u32, u32), seconds: u32) -> Figures {
    let service = bench.start_service();
    warm_up(bench).await;
    bench.handler.reset();
    let meter = Meter::begin(service, bench);
    let mut writing = Vec::new();
    for _ in 0..writers {
        let (conn, url) = (bench.conn().await, bench.handler.url());
        let pace = Duration::from_secs(1) * writers / per_second;
        writing.push(tokio::spawn(write_at_pace(conn, url, pace, seconds)));
    }
    let mut returned = HashMap::new();
    for writer in writing {
        returned.extend(writer.await.unwrap());
    }
    let inserted = returned.len() as f64 / meter.seconds();
    bench.handler.wait_for(returned.len() as u64).await;
    let delays: Vec<f64> = bench
        .handler
        .arrivals()
        .into_iter()
        .filter_map(|(job, arrived)| {
            let inserted: &Instant = returned.get(&job)?;
            // A call may arrive before its INSERT has returned: the log runs ahead of the answer.
            let early = inserted.saturating_duration_since(arrived).as_secs_f64();
            Some((arrived.saturating_duration_since(*inserted).as_secs_f64() - early) * 1e3)
        })
        .collect();
    let mut figures = vec![
        ("inserted_per_s", inserted),
        ("p50_ms", quantile(delays.clone(), 0.5)),
        ("p99_ms", quantile(delays.clone(), 0.99)),
        ("max_ms", quantile(delays, 1.0)),
    ];
    figures.extend(meter.figures(returned.len() as f64));
    figures
}

/// Until the service follows the log and the first calls went through.
async fn warm_up(bench: &Bench) {
    let mut conn = bench.conn().await;
    for _ in 0..20 {
        insert_many(&mut conn, bench, 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bench.handler.wait_for(20).await;
}

async fn write_at_pace(mut conn: Conn, url: String, pace: Duration, seconds: u32) -> Vec<(u64, Instant)> {
    let begun = Instant::now();
    let mut returned = Vec::new();
    let sql = "INSERT INTO queued_job (http_method, url, body) VALUES ('post', ?, ?)";
    while begun.elapsed() < Duration::from_secs(seconds.into()) {
        let due = begun + pace * u32::try_from(returned.len()).unwrap();
        tokio::time::sleep_until(due.into()).await;
        conn.exec_drop(sql, (&url, body())).await.unwrap();
        returned.push((conn.last_insert_id().unwrap(), Instant::now()));
    }
    returned
}

async fn idle(bench: &Bench, seconds: u32) -> Figures {
    let service = bench.start_service();
    warm_up(bench).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut conn = bench.conn().await;
    let before = statements(&mut conn).await;
    let meter = Meter::begin(service, bench);
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let seconds = meter.seconds();
    let mut figures = meter.figures(seconds * 1e6);
    // Asking is one statement itself.
    let asked = (statements(&mut conn).await - before - 1) as f64;
    figures.push(("statements_per_s", asked / seconds));
    figures[0].0 = "service_cores";
    figures[1].0 = "database_cores";
    figures
}

async fn statements(conn: &mut Conn) -> i64 {
    let row: Option<(String, i64)> = conn.query_first("SHOW GLOBAL STATUS LIKE 'Questions'").await.unwrap();
    row.unwrap().1
}
