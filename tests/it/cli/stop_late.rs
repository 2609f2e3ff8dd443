//! A stop at the worst moments ends within `drain_secs` and two seconds, and loses nothing.

use super::stop::{BEYOND_DRAIN, assert_ends_in_time, draining};
use super::{SOON, times};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::{CutPoint, Fault, Mode, Proxy, Way};
use crate::support::receiver::{Answer, Gate, Received, Receiver};
use crate::support::service::Service;
use crate::support::turn::Turn;
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use rustix::process::Signal;
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

async fn count(database: &TestDatabase, condition: &str) -> u64 {
    database.query_one(&format!("SELECT COUNT(*) FROM queued_job WHERE {condition}")).await
}

#[tokio::test]
async fn while_a_database_that_refuses_is_waited_for() {
    let database = TestDatabase::with_schema().await;
    let proxy = Proxy::start(database.server().address()).await;
    proxy.refuse().await;
    let mut service = Service::run(&database.ini_at(proxy.port(), &draining(0)));
    service.wait_for_line("the database is not there yet", SOON).await;
    assert_eq!(assert_ends_in_time(&mut service, Signal::TERM, 0).await, Some(0));
}

#[tokio::test]
async fn while_a_database_that_never_greets_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let ini = folder.path().join("db.ini");
    let port = silent.local_addr().unwrap().port();
    let db = format!("host: 127.0.0.1\nport: {port}\nuser: a\ndb: b\n{}\n", draining(0));
    std::fs::write(&ini, format!("[db]\n{db}")).unwrap();
    for command in ["run", "once"] {
        let mut service = Service::start([command.as_ref(), ini.as_os_str()]);
        let connection = silent.accept().await.unwrap();
        assert_eq!(assert_ends_in_time(&mut service, Signal::INT, 0).await, Some(0));
        drop(connection);
    }
}

#[tokio::test]
async fn while_the_database_is_away_and_nothing_is_in_flight() {
    let database = TestDatabase::with_schema().await;
    let proxy = Proxy::start(database.server().address()).await;
    let mut service = Service::run(&database.ini_at(proxy.port(), &draining(0)));
    service.wait_for_line("following the log", SOON).await;
    proxy.refuse().await;
    proxy.cut_all();
    service.wait_for_line("the log is not being followed", SOON).await;
    assert_eq!(assert_ends_in_time(&mut service, Signal::TERM, 0).await, Some(0));
}

/// Its result can't be written, so that the end is no clean one; the next start calls the job again.
async fn with_a_call_in_flight(lose: impl AsyncFnOnce(&Proxy)) {
    let _turn = Turn::take().await;
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let gate = Gate::closed();
    receiver.on_turns("/", [Answer::ok().behind(&gate), Answer::ok()]);
    let proxy = Proxy::start(database.server().address()).await;
    let mut service = Service::run(&database.ini_at(proxy.port(), &draining(1)));
    service.wait_for_line("following the log", SOON).await;
    let id = job().url(receiver.url("/")).insert(&database).await;
    receiver.wait_for(1, SOON).await;
    lose(&proxy).await;
    gate.open();
    service.wait_for_line("Job succeeded", SOON).await;
    assert_eq!(assert_ends_in_time(&mut service, Signal::TERM, 1).await, Some(1));
    service.wait_for_line("the service had to stop while the database was away", SOON).await;
    assert_eq!(count(&database, &format!("id = {id} AND state = 'executing'")).await, 1);
    drop(proxy);
    let _again = Service::run(&database.ini(&draining(1)));
    until("the job is done", SOON, async || count(&database, "state = 'completed'").await == 1).await;
    assert_eq!(receiver.count(), 2);
}

#[tokio::test]
async fn while_the_database_refuses_and_a_result_is_unwritten() {
    with_a_call_in_flight(async |proxy| {
        proxy.refuse().await;
        proxy.cut_all();
    })
    .await;
}

#[tokio::test]
async fn while_the_database_hangs_and_a_result_is_unwritten() {
    with_a_call_in_flight(async |proxy| proxy.stall()).await;
}

#[tokio::test]
async fn while_a_claim_waits_for_the_table() {
    let _turn = Turn::take().await;
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let mut service = Service::run(&database.ini(&draining(0)));
    service.wait_for_line("following the log", SOON).await;
    let mut other = database.conn().await;
    other.query_drop("LOCK TABLES queued_job WRITE").await.unwrap();
    let insert = format!("INSERT INTO queued_job (http_method, url) VALUES ('get', '{}')", receiver.url("/"));
    other.query_drop(insert).await.unwrap();
    until("the claim waits", SOON, async || {
        // A sweep may wait beside it.
        let sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND state LIKE 'Waiting%' \
                   AND info LIKE '%queued_job FORCE INDEX (PRIMARY)%'";
        database.query_one::<u64>(sql).await > 0
    })
    .await;
    // Nobody knows whether the server will do it yet.
    assert_eq!(assert_ends_in_time(&mut service, Signal::TERM, 0).await, Some(1));
    other.query_drop("UNLOCK TABLES").await.unwrap();
    let _again = Service::run(&database.ini(&draining(0)));
    until("the job is done", SOON, async || count(&database, "state = 'completed'").await == 1).await;
    assert_eq!(receiver.count(), 1);
}

/// The claim was made, and nobody would call its job or give it back.
#[tokio::test]
async fn while_the_answer_to_a_claim_is_lost() {
    let _turn = Turn::take().await;
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let proxy = Proxy::start(database.server().address()).await;
    // There before the service is, for the log shows a new row before SQL does, and a claim would not find it then.
    job().url(receiver.url("/")).insert(&database).await;
    let stalls = Fault::Becomes(Mode::Stall, SOON);
    let mut trap = proxy.fault_on(Way::ToServer, b"FOR UPDATE", (CutPoint::BeforeAnswer, stalls));
    let mut service = Service::run(&database.ini_at(proxy.port(), &draining(1)));
    service.wait_for_line("following the log", SOON).await;
    trap.sprung(SOON).await;
    until("the server has made the claim", SOON, async || count(&database, "state = 'executing'").await == 1).await;
    let begun = Instant::now();
    service.signal(Signal::TERM);
    service.wait_for_line("stopping: waiting for the calls in flight", SOON).await;
    // Only now, or it would ask again before it is told to stop.
    proxy.cut_all();
    let left = (Duration::from_secs(1) + BEYOND_DRAIN).saturating_sub(begun.elapsed());
    assert_eq!(service.wait_for_exit(left).await.code(), Some(0));
    assert_eq!(count(&database, "state = 'available' AND attempt = 0 AND claimed_by IS NULL").await, 1);
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn while_no_handler_ever_answers() {
    let _turn = Turn::take().await;
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    receiver.on("/", Answer::never());
    let ids = job().url(receiver.url("/")).timeout(3_600).insert_times(&database, 100).await;
    let mut service = Service::run(&database.ini(&draining(1)));
    receiver.wait_for(ids.len(), SOON).await;
    assert_eq!(assert_ends_in_time(&mut service, Signal::TERM, 1).await, Some(0));
    assert_eq!(count(&database, "state = 'available' AND attempt = 0 AND claimed_by IS NULL").await, 100);
}

#[tokio::test]
async fn in_the_middle_of_a_large_backlog() {
    let _turn = Turn::take_all().await;
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let rows = times::<u64>(16_384, 131_072);
    job().url(receiver.url("/")).insert(&database).await;
    for _ in 0..rows.ilog2() {
        database.execute("INSERT INTO queued_job (http_method, url) SELECT http_method, url FROM queued_job").await;
    }
    let mut service = Service::run(&database.ini(&draining(1)));
    receiver.wait_for(1_000, SOON).await;
    assert_eq!(assert_ends_in_time(&mut service, Signal::TERM, 1).await, Some(0));
    // Calls that were cut off are among them, as far as the receiver has come to read them.
    let requests = receiver.requests();
    let called: HashSet<u64> = requests.iter().filter_map(Received::job_id).collect();
    assert_eq!(called.len(), requests.len(), "each once");
    let completed: Vec<u64> = database.query("SELECT id FROM queued_job WHERE state = 'completed'").await;
    assert!(completed.iter().all(|id| called.contains(id)), "completed without a call");
    let cut_off = service.lines().iter().any(|line| line.contains("calls did not end in time"));
    assert!(cut_off || completed.len() == called.len(), "{} called, {} completed", called.len(), completed.len());
    let untouched = "state = 'available' AND attempt = 0 AND claimed_by IS NULL";
    assert_eq!(count(&database, untouched).await, rows - completed.len() as u64);
}
