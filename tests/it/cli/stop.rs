//! A stop drains: calls in flight end and are recorded, the rest goes back as it was, and a second signal ends all.

use super::{NO_SWEEP, SOON};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::{Answer, Gate, Receiver};
use crate::support::service::Service;
use crate::support::turn::Turn;
use crate::support::wait::until;
use mysql_async::{Row, Value};
use rustix::process::Signal;
use std::time::Duration;

/// What a stop may take beyond `drain_secs`.
pub const BEYOND_DRAIN: Duration = Duration::from_secs(2);

/// Settings with a drain of so many seconds.
pub fn draining(secs: u64) -> String {
    format!("{NO_SWEEP}\n[dispatch]\ndrain_secs: {secs}")
}

/// Sends the signal and asserts that the service ends within the drain and two seconds; its exit code.
pub async fn assert_ends_in_time(service: &mut Service, signal: Signal, drain_secs: u64) -> Option<i32> {
    service.signal(signal);
    service.wait_for_exit(Duration::from_secs(drain_secs) + BEYOND_DRAIN).await.code()
}

/// All that a person sees of a job.
async fn look(database: &TestDatabase, id: u64, columns: &str) -> Vec<Value> {
    let sql = format!("SELECT CAST(state AS CHAR), attempt, {columns} FROM queued_job WHERE id = {id}");
    database.query_one::<Row>(&sql).await.unwrap()
}

const COLUMNS: &str = "run_at, remaining_retries, retry_delay_secs, result_code, last_response, last_finished_at, url, \
    claimed_by, claim_token, claim_expires_at";

#[tokio::test]
async fn calls_in_flight_end_and_are_recorded_at_either_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
        let gate = Gate::closed();
        receiver.on("/", Answer::ok().behind(&gate));
        let mut service = Service::run(&database.ini(&draining(30)));
        let ids = job().url(receiver.url("/")).insert_times(&database, 5).await;
        receiver.wait_for(ids.len(), SOON).await;
        service.signal(signal);
        service.wait_for_line("stopping: waiting for the calls in flight", SOON).await;
        // Whoever comes now is not called any more.
        let late = job().url(receiver.url("/late")).insert(&database).await;
        gate.open();
        assert_eq!(service.wait_for_exit(SOON).await.code(), Some(0));
        service.wait_for_line("stopped", SOON).await;
        for id in ids {
            assert_eq!(look(&database, id, "last_response").await[0], Value::from("completed"));
        }
        assert_eq!(look(&database, late, "url").await[..2], [Value::from("available"), Value::from(b"0")]);
        assert_eq!(receiver.requests_for("/late").len(), 0);
    }
}

#[tokio::test]
async fn past_the_drain_jobs_go_back_as_they_were() {
    let _turn = Turn::take().await;
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    receiver.on("/never", Answer::never());
    let fresh = job().url(receiver.url("/never")).timeout(600).due_for(60);
    let retried = fresh.clone().set("state", "retryable").set("attempt", 2).retries(3).set("result_code", 2);
    let retried = retried.set("last_response", "busy").set("last_finished_at", "2026-01-02 03:04:05");
    let (fresh, retried) = (fresh.insert(&database).await, retried.insert(&database).await);
    let before =
        (look(&database, fresh, &format!("{COLUMNS}, last_started_at")).await, look(&database, retried, COLUMNS).await);
    let mut service = Service::run(&database.ini(&draining(1)));
    receiver.wait_for(2, SOON).await;
    assert_eq!(look(&database, fresh, COLUMNS).await[0], Value::from("executing"));
    assert_eq!(assert_ends_in_time(&mut service, Signal::TERM, 1).await, Some(0));
    let after =
        (look(&database, fresh, &format!("{COLUMNS}, last_started_at")).await, look(&database, retried, COLUMNS).await);
    assert_eq!(after, before);
    service.wait_for_line("calls did not end in time; giving their jobs back", SOON).await;
    let told: Vec<String> = database.query("SELECT msg FROM queued_job_log WHERE msg LIKE '%given back%'").await;
    assert_eq!(told.len(), 2, "{told:?}");
}

#[tokio::test]
async fn a_job_given_back_is_called_by_the_next_start_under_the_same_number() {
    let _turn = Turn::take().await;
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    receiver.on_turns("/", [Answer::never(), Answer::ok()]);
    let id = job().url(receiver.url("/")).retries(0).insert(&database).await;
    let ini = database.ini(&draining(0));
    let mut first = Service::run(&ini);
    receiver.wait_for(1, SOON).await;
    assert_eq!(assert_ends_in_time(&mut first, Signal::TERM, 0).await, Some(0));
    let _second = Service::run(&ini);
    until("it is done", SOON, async || look(&database, id, "url").await[0] == Value::from("completed")).await;
    let attempts: Vec<String> =
        receiver.requests().iter().map(|call| call.header("strings-queue-attempt").unwrap().to_owned()).collect();
    assert_eq!(attempts, ["1", "1"]);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    receiver.on("/", Answer::never());
    let id = job().url(receiver.url("/")).timeout(3_600).insert(&database).await;
    let mut service = Service::run(&database.ini(&draining(3_000)));
    receiver.wait_for(1, SOON).await;
    service.signal(Signal::INT);
    service.wait_for_line("stopping: waiting for the calls in flight", SOON).await;
    // Far less than the drain, with nothing to wait for.
    assert_eq!(assert_ends_in_time(&mut service, Signal::TERM, 0).await, Some(1));
    service.wait_for_line("second signal: ending at once; jobs in flight will be called again", SOON).await;
    assert_eq!(look(&database, id, "url").await[0], Value::from("executing"));
}
