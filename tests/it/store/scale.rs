//! A large table costs a start, a sweep and a claim no more than a small one: what is counted is rows, not time.

use super::SOON;
use super::crowd::Crowd;
use crate::support::database::TestDatabase;
use crate::support::receiver::{Answer, Gate, Receiver};
use crate::support::server::OwnServer;
use crate::support::service::Service;
use crate::support::turn::Turn;
use crate::support::wait::until;
use std::time::Duration;

const SMALL: Crowd = Crowd { finished: 2_000, available: 6_000, retryable: 3_000, executing: 20 };
/// More would be a scan of something.
const MORE_ROWS: u64 = 30_000;
/// The most memory that the service may have, whatever waits in the table.
const MOST_KIB: u64 = 100 * 1024;

/// The short form has enough rows for a scan to be seen; the full one has as many as years of work leave behind.
fn large() -> Crowd {
    match std::env::var_os("STRINGS_QUEUE_SLOW") {
        Some(_) => Crowd { finished: 10_000_000, available: 1_000_000, retryable: 1_000_000, executing: 20 },
        None => Crowd { finished: 100_000, available: 30_000, retryable: 30_000, executing: 20 },
    }
}

/// What a service cost until all its slots were taken.
struct Cost {
    rows_read: u64,
    kib: u64,
}

/// Starts the service on a table like this, and lets it begin as many calls as it may.
async fn start_on(server: &OwnServer, crowd: Crowd) -> Cost {
    let database = TestDatabase::with_schema_on(server.access()).await;
    let (receiver, gate) = (Receiver::start().await, Gate::closed());
    receiver.on("/", Answer::ok().behind(&gate));
    crowd.fill(&database).await;
    let point =
        format!("UPDATE queued_job SET url = '{}' WHERE state IN ('available', 'executing')", receiver.url("/"));
    database.execute(&point).await;
    let ini = database.ini("[dispatch]\nmax_in_flight: 200\nmax_in_flight_per_host: 200\n[sweep]\ninterval_secs: 3600");
    let before = rows_read(&database).await;
    let mut service = Service::run(&ini);
    receiver.wait_for(200, SOON).await;
    service.wait_for_line("following the log", SOON).await;
    let rows_read = rows_read(&database).await - before;
    let kib = memory(&service);
    gate.open();
    until("many more are done", SOON, async || receiver.count() > 3_000).await;
    let kib = kib.max(memory(&service));
    assert_eq!(service.stop(SOON + Duration::from_secs(5)).await, Some(0));
    Cost { rows_read, kib }
}

async fn rows_read(database: &TestDatabase) -> u64 {
    let counts: Vec<(String, u64)> = database.query("SHOW GLOBAL STATUS LIKE 'Handler_read%'").await;
    counts.into_iter().map(|(_, count)| count).sum()
}

/// The most that the process had in memory so far.
fn memory(service: &Service) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid().as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_start_reads_no_more_of_a_large_table_than_of_a_small_one() {
    let _turn = Turn::take().await;
    let server = OwnServer::start(&["--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"]).await;
    let small = start_on(&server, SMALL).await;
    let large = start_on(&server, large()).await;
    assert!(large.rows_read < small.rows_read + MORE_ROWS, "{} rows against {}", large.rows_read, small.rows_read);
    assert!(large.kib < MOST_KIB, "{} KiB", large.kib);
}
