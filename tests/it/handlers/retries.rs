//! Retries: how many, when, and what they cost.

use super::{Rig, SOON, Seen};
use crate::support::factory::{back_date, job};
use crate::support::receiver::{Answer, Gate, Receiver};
use std::time::Duration;

/// The first tries of a job whose handler is never ready, each made due by hand.
async fn tries(rig: &Rig, receiver: &Receiver, count: u32) -> Vec<Seen> {
    receiver.on("/", Answer::status(503));
    let id = job().url(receiver.url("/")).insert(&rig.database).await;
    let mut seen = vec![rig.tried(id, 1).await];
    for attempt in 2..=count {
        back_date(&rig.database, id, 1).await;
        seen.push(rig.tried(id, attempt).await);
    }
    seen
}

#[tokio::test]
async fn a_job_is_called_six_times_by_default_and_then_given_up() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    receiver.on("/", Answer::status(503).body("never"));
    let seen = rig.finish(job().url(receiver.url("/")).retry_delay(0)).await;
    assert_eq!((seen.state.as_str(), seen.result_code), ("discarded", Some(2)));
    assert_eq!((seen.attempt, seen.remaining_retries, seen.response.as_str()), (6, 0, "never"));
    assert_eq!(seen.messages.len(), 12);
    receiver.on("/last", Answer::ok());
    rig.finish(job().url(receiver.url("/last"))).await.assert_done();
    assert_eq!(receiver.requests_for("/").len(), 6);
}

#[tokio::test]
async fn each_retry_costs_one_and_waits_twice_as_long_as_the_one_before() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let seen = tries(&rig, &receiver, 6).await;
    for (index, (one, delay)) in seen.iter().zip([60.0, 120.0, 240.0, 480.0, 960.0]).enumerate() {
        one.assert_temporary();
        one.assert_delay(delay);
        assert_eq!((one.remaining_retries, one.retry_delay_secs), (4 - i32::try_from(index).unwrap(), 60));
    }
    assert_eq!((seen[5].state.as_str(), seen[5].remaining_retries), ("discarded", 0));
}

#[tokio::test]
async fn a_multiplier_of_one_keeps_the_delay_as_the_ancestor_did() {
    let (rig, receiver) = (Rig::start("backoff_multiplier: 1\n").await, Receiver::start().await);
    for seen in tries(&rig, &receiver, 4).await {
        seen.assert_delay(60.0);
    }
}

#[tokio::test]
async fn no_delay_is_longer_than_the_settings_allow() {
    let (rig, receiver) = (Rig::start("max_delay_secs: 100\n").await, Receiver::start().await);
    let seen = tries(&rig, &receiver, 3).await;
    for (one, delay) in seen.iter().zip([60.0, 100.0, 100.0]) {
        one.assert_delay(delay);
    }
}

#[tokio::test]
async fn delays_stray_by_a_tenth_as_it_stands() {
    let database = crate::support::database::TestDatabase::with_schema().await;
    let service = crate::support::service::Service::run(&database.ini("[sweep]\ninterval_secs: 3600"));
    let (rig, receiver) = (Rig { database, service }, Receiver::start().await);
    receiver.on("/", Answer::status(503));
    let mut delays = Vec::new();
    for id in job().url(receiver.url("/")).retry_delay(1_000).insert_times(&rig.database, 20).await {
        delays.push(rig.tried(id, 1).await.delay_secs);
    }
    assert!(delays.iter().all(|delay| (898.0..1_102.0).contains(delay)), "{delays:?}");
    // Twenty delays within 5 % of each other: less than once in a hundred thousand runs.
    let (least, most) = delays.iter().fold((f64::MAX, 0.0_f64), |(a, b), delay| (a.min(*delay), b.max(*delay)));
    assert!(most - least > 50.0, "{delays:?}");
}

#[tokio::test]
async fn a_delay_of_zero_means_at_once() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    receiver.on_turns("/", [Answer::status(503), Answer::status(503), Answer::ok()]);
    for delay in [0, -7] {
        receiver.on_turns("/", [Answer::status(503), Answer::status(503), Answer::ok()]);
        let seen = rig.finish(job().url(receiver.url("/")).retry_delay(delay)).await;
        seen.assert_done();
        assert_eq!((seen.attempt, seen.remaining_retries), (3, 3));
    }
}

#[tokio::test]
async fn a_temporary_failure_without_a_retry_left_is_final() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    receiver.on("/", Answer::status(503));
    for retries in [0, -1, -2_147_483_648] {
        let seen = rig.finish(job().url(receiver.url("/")).retries(retries).retry_delay(0)).await;
        assert_eq!((seen.state.as_str(), seen.result_code, seen.attempt), ("discarded", Some(2), 1));
        assert_eq!(i64::from(seen.remaining_retries), retries);
    }
    assert_eq!(receiver.count(), 3);
}

#[tokio::test]
async fn a_permanent_failure_after_a_temporary_one_leaves_what_is_left() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    receiver.on_turns("/", [Answer::status(503), Answer::status(500)]);
    let seen = rig.finish(job().url(receiver.url("/")).retry_delay(0)).await;
    assert_eq!((seen.state.as_str(), seen.result_code), ("discarded", Some(1)));
    assert_eq!((seen.attempt, seen.remaining_retries), (2, 4));
}

/// An operator stops a job during its call, and lets it begin anew.
#[tokio::test]
async fn a_job_that_is_made_available_again_during_its_call_is_called_again() {
    let (rig, receiver, gate) = (Rig::start("").await, Receiver::start().await, Gate::closed());
    receiver.on("/", Answer::ok().behind(&gate));
    rig.service.wait_for_line("following the log", SOON).await;
    // The last sweep of the start is over.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let id = job().url(receiver.url("/")).insert(&rig.database).await;
    receiver.wait_for(1, SOON).await;
    for state in ["cancelled", "available"] {
        rig.database
            .execute(&format!("UPDATE queued_job SET state = '{state}', claim_token = NULL WHERE id = {id}"))
            .await;
    }
    // Word of it has come, and found the job in its call.
    tokio::time::sleep(Duration::from_millis(500)).await;
    gate.open();
    let seen = rig.finished(id).await;
    seen.assert_done();
    assert_eq!((receiver.count(), seen.attempt), (2, 2), "{seen:?}");
}

/// What stands in the row is the application's, though it looks like what the service would write.
#[tokio::test]
async fn a_job_that_an_application_sends_on_its_way_again_during_its_call_is_called_at_once() {
    let (mut rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let gate = Gate::closed();
    receiver.on_turns("/", [Answer::status(503).behind(&gate), Answer::ok()]);
    let id = job().url(receiver.url("/")).retry_delay(3_600).insert(&rig.database).await;
    receiver.wait_for(1, SOON).await;
    rig.database.execute("UPDATE queued_job SET state = 'retryable', run_at = NOW(6)").await;
    gate.open();
    receiver.wait_for(2, SOON).await;
    rig.finished(id).await.assert_done();
    let refused = format!("SELECT COUNT(*) FROM queued_job_log WHERE job_id = {id} AND msg LIKE '%refused%'");
    assert_eq!(rig.database.query_one::<u64>(&refused).await, 1);
    assert_eq!(rig.service.stop(SOON).await, Some(0));
}
