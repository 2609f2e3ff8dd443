//! The scenarios.

mod arrivals;
mod backlog;
mod quiet;
mod slow;

use super::bench::{Bench, Options};
use super::inside::{ByThread, by_thread, statement_table, thread_table};
use super::process::Process;
use super::report::Figures;
use clap::ValueEnum;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
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
    /// Jobs for later: `run_at` to arrival.
    Timers,
    /// Five thousand calls of two seconds, and INSERT-return to arrival beside them.
    Slow,
    /// A backlog for one, two and four services.
    Several,
    /// A backlog beside many rows that are done or wait.
    Scale,
    /// Nothing to do.
    Idle,
    /// Events of other tables.
    Foreign,
    /// From the start of the program to following the log.
    Start,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 11] = [
        Scenario::Backlog,
        Scenario::Latency,
        Scenario::Thousand,
        Scenario::Steady,
        Scenario::Timers,
        Scenario::Slow,
        Scenario::Several,
        Scenario::Scale,
        Scenario::Idle,
        Scenario::Foreign,
        Scenario::Start,
    ];

    /// The name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Runs it once.
    pub async fn run(self, bench: &Bench, options: &Options) -> Figures {
        bench.empty().await;
        match self {
            Scenario::Backlog => backlog::backlog(bench, options).await,
            Scenario::Latency => arrivals::arrivals(bench, (1, 20), options.seconds).await,
            Scenario::Thousand => arrivals::arrivals(bench, (1, 1_000), options.seconds).await,
            Scenario::Steady => arrivals::arrivals(bench, (32, 5_000), options.seconds).await,
            Scenario::Timers => arrivals::timers(bench, options.jobs.min(500)).await,
            Scenario::Slow => slow::slow(bench, options).await,
            Scenario::Several => backlog::several(bench, options).await,
            Scenario::Scale => backlog::scale(bench, options).await,
            Scenario::Idle => quiet::idle(bench, options.seconds).await,
            Scenario::Foreign => quiet::foreign(bench, options.events).await,
            Scenario::Start => quiet::start(bench).await,
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

    fn service(&self) -> &Process {
        &self.service.0
    }

    fn into_service(self) -> Process {
        self.service.0
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

/// Until the service follows the log and the first calls went through.
async fn warm_up(bench: &Bench) {
    let mut conn = bench.conn().await;
    for _ in 0..20 {
        insert_many(&mut conn, bench, 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bench.handler.wait_for(20).await;
}
