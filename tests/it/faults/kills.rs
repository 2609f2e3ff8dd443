//! The service killed: at random moments, one of two for good, asleep for longer than its claims.

use super::batches::Batches;
use super::checker::check;
use super::load::{Load, Written};
use super::orphans::{self, OrphanWatch};
use super::plan::{Plan, answer_by_plan, answer_by_plan_and, attempt_of};
use super::watches::{has, one_and_other, until_two_watch_each_other};
use super::{ENOUGH, NO_SWEEP, RESCUED_WITHIN, base, following, ledger, report, stage_alone, times};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::{Answer, Gate, Received, Receiver};
use crate::support::service::Service;
use crate::support::wait::{eventually, until};
use rustix::process::Signal;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Claims without a recorded result: what was in flight when the only dispatcher was killed. Its last statement may
/// still be at work in the server, so its connections must be gone first.
async fn left_in_flight(database: &TestDatabase) -> Vec<(u64, u64)> {
    let alive = "SELECT COUNT(*) FROM queued_job WHERE state = 'executing' AND IS_FREE_LOCK(claimed_by) = 0";
    until("the locks of the dead are free", RESCUED_WITHIN, async || database.query_one::<u64>(alive).await == 0).await;
    database.query("SELECT id, claim_token FROM queued_job WHERE state = 'executing'").await
}

/// First tries are not answered before the gate opens.
pub(super) fn hold_first_tries(receiver: &Receiver, gate: &Gate) {
    let gate = gate.clone();
    answer_by_plan_and(receiver, move |answer, call| if attempt_of(call) == 1 { answer.behind(&gate) } else { answer });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_again_and_again_loses_nothing_and_doubles_only_what_was_in_flight() {
    killed_again_and_again(Batches::Any).await;
}

pub(super) async fn killed_again_and_again(batches: Batches) {
    let (database, receiver) = stage_alone().await;
    answer_by_plan(&receiver, batches.calls_take());
    let ini = database.ini(&batches.settings());
    let load = batches.load(&database, &base(&receiver));
    let (mut in_flight, mut at_handler, mut recovery) = (HashSet::new(), 0, Duration::ZERO);
    for round in 0..times(3, 100) {
        let mut service = Service::run(&ini);
        let begun = Instant::now();
        // Half of the kills hit the start, the others a service at work.
        if round % 2 == 1 {
            let calls = receiver.count();
            receiver.wait_for(calls + 1, Duration::from_secs(20)).await;
            recovery = recovery.max(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..900))).await;
        at_handler += receiver.in_flight();
        service.kill().await;
        in_flight.extend(left_in_flight(&database).await);
        // Whoever lives for less than a second rescues nobody, and the watch shall not add such lives up.
        orphans::until_nobody_lives(&database).await;
    }
    let mut service = following(&ini).await;
    // The load's watch saw all of it, and counted the time from each start to the next kill.
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    let in_flight = in_flight.len();
    assert!(in_flight == 0 || found.rescue_after > Duration::ZERO, "the watch saw nothing: {found:?}");
    assert!(found.extra_calls as usize <= in_flight, "{found:?}, in flight at the kills: {in_flight}");
    assert!(found.rescue_after < RESCUED_WITHIN, "no rescue in time: {found:?}");
    assert!(found.orphaned_for < RESCUED_WITHIN || !batches.ends_in_time_too(), "not taken back in time: {found:?}");
    batches.assert_formed(&database).await;
    let kills = format!("{in_flight} in flight, {at_handler} at the handler");
    report(&batches.name("kills"), format!("{found:?}, {kills}, first call {recovery:?}"));
    service.stop(Duration::from_secs(10)).await;
    ledger::assert_lost_only_to(&service, &["lost_to_down"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_one_of_two_dispatchers_dies_for_good_the_other_takes_its_jobs_within_two_seconds() {
    let (database, receiver) = stage_alone().await;
    let gate = Gate::closed();
    // The first tries hang, so that both are full of calls when one dies.
    hold_first_tries(&receiver, &gate);
    let ini = database.ini(&format!("{NO_SWEEP}[dispatch]\nmax_in_flight: 4\nmax_in_flight_per_host: 4\n"));
    let (mut first, mut second) = (following(&ini).await, following(&ini).await);
    job().url(receiver.url("/work")).timeout(3_000).insert_times(&database, 8).await;
    receiver.wait_for(8, Duration::from_secs(20)).await;
    // Full of calls, the other may have had no reason yet to look at these jobs; the last sweep of its start does.
    tokio::time::sleep(Duration::from_millis(1_700)).await;
    // Its claims last for 3,000 seconds, and the next sweep is an hour away: only the watch can notice.
    let watch = OrphanWatch::start(&database);
    let killed = Instant::now();
    first.kill().await;
    second.wait_for_line("jobs taken back", Duration::from_secs(10)).await;
    let taken = killed.elapsed();
    gate.open();
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.jobs, found.taken_back, found.extra_calls), (8, 4, 4), "{found:?}");
    assert!(watch.longest() < RESCUED_WITHIN && taken < RESCUED_WITHIN, "{:?} {taken:?}", watch.longest());
    report("one of two dies", format!("{found:?}, taken back after {taken:?}"));
    assert_eq!(second.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&second);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_one_of_two_dispatchers_dies_for_good_under_load_the_other_does_all_the_work() {
    let (database, receiver) = stage_alone().await;
    answer_by_plan(&receiver, Duration::from_millis(50));
    let ini = database.ini(NO_SWEEP);
    let mut living = following(&ini).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let watch = OrphanWatch::start(&database);
    for _ in 0..times(2, 20) {
        let mut dying = following(&ini).await;
        // Both have worked, and know of each other.
        let calls = receiver.count();
        receiver.wait_for(calls + 200, Duration::from_secs(20)).await;
        dying.kill().await;
        let calls = receiver.count();
        receiver.wait_for(calls + 200, Duration::from_secs(20)).await;
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    // Each claim that a death left without a result was taken back once, and is all that may be called twice.
    assert!(found.extra_calls as usize <= watch.claims() && found.taken_back as usize <= watch.claims(), "{found:?}");
    assert!(found.taken_back > 0 && watch.longest() < RESCUED_WITHIN, "{found:?} {:?}", watch.longest());
    report("one of two dies, under load", format!("{found:?}, taken back after {:?} at most", watch.longest()));
    assert_eq!(living.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_lost_only_to(&living, &["lost_to_down"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_service_takes_its_predecessors_jobs_back_within_two_seconds() {
    let (database, receiver) = stage_alone().await;
    let gate = Gate::closed();
    hold_first_tries(&receiver, &gate);
    let ini = database.ini(NO_SWEEP);
    let mut service = following(&ini).await;
    job().url(receiver.url("/work")).timeout(3_000).insert_times(&database, 8).await;
    receiver.wait_for(8, Duration::from_secs(20)).await;
    service.kill().await;
    let mut next = following(&ini).await;
    let restarted = Instant::now();
    next.wait_for_line("jobs taken back", Duration::from_secs(10)).await;
    let taken = restarted.elapsed();
    gate.open();
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.jobs, found.taken_back, found.extra_calls), (8, 8, 8), "{found:?}");
    assert!(taken < RESCUED_WITHIN, "{taken:?}");
    report("restarted", format!("{found:?}, taken back {taken:?} after the log was followed"));
    assert_eq!(next.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&next);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_dispatchers_share_the_work_and_call_each_job_once() {
    let (database, receiver) = stage_alone().await;
    let ini = database.ini(NO_SWEEP);
    let (mut first, mut second) = (following(&ini).await, following(&ini).await);
    let load = Load::start(&database, &base(&receiver), (8, 50));
    tokio::time::sleep(Duration::from_secs(times(3, 20) as u64)).await;
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    let owners: u64 = database.query_one("SELECT COUNT(DISTINCT claimed_by) FROM queued_job").await;
    assert_eq!(owners, 2, "both worked");
    let mut wasted = 0;
    for service in [&mut first, &mut second] {
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
        ledger::assert_nothing_lost(service);
        wasted += ledger::counted(service).get("claims_wasted").copied().unwrap_or(0);
    }
    // Each leaves the other its jobs once they know each other; else every job would be claimed twice.
    assert!(wasted * 4 < found.jobs as u64, "{wasted} claims in vain: {found:?}");
    report("two dispatchers", format!("{found:?}, {wasted} claims in vain"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_that_slept_through_its_claim_is_refused() {
    let (database, receiver) = stage_alone().await;
    let gate = Gate::closed();
    hold_first_tries(&receiver, &gate);
    let grace = "[sweep]\ninterval_secs: 1\n[dispatch]\nclaim_grace_secs: 1\n";
    let mut sleeper = following(&database.ini(grace)).await;
    let id = job().url(receiver.url(Plan::Work.path())).timeout(3).insert(&database).await;
    receiver.wait_for(1, Duration::from_secs(10)).await;
    sleeper.signal(Signal::STOP);
    let mut other = following(&database.ini(grace)).await;
    until("the other has done it", Duration::from_secs(20), async || {
        let state = format!("SELECT CAST(state AS CHAR) FROM queued_job WHERE id = {id}");
        database.query_one::<String>(&state).await == "completed"
    })
    .await;
    gate.open();
    sleeper.signal(Signal::CONT);
    let line = eventually("the late result is refused", Duration::from_secs(20), async || {
        let sql = format!("SELECT msg FROM queued_job_log WHERE job_id = {id} AND msg LIKE '%Result refused%'");
        database.query::<String>(&sql).await.pop()
    })
    .await;
    assert!(line.contains(&format!("[JOBID {id}]")), "{line}");
    // That the row holds the second answer is the checker's business.
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.calls, found.taken_back), (2, 1), "{found:?}");
    for service in [&mut sleeper, &mut other] {
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
        ledger::assert_nothing_lost(service);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_claims_of_a_frozen_dispatcher_are_taken_back_when_they_expire() {
    let (database, receiver) = stage_alone().await;
    let gate = Gate::closed();
    hold_first_tries(&receiver, &gate);
    // The next sweep is an hour away.
    let ini = database.ini(&format!("{NO_SWEEP}[dispatch]\nclaim_grace_secs: 2\n"));
    let services = [following(&ini).await, following(&ini).await];
    // All claims expire at one time; one of the two may have them all.
    job().url(receiver.url("/work")).timeout(3).retry_delay(0).insert_at_once(&database, 40).await;
    receiver.wait_for(40, Duration::from_secs(10)).await;
    let owner: String = database.query_one("SELECT MIN(claimed_by) FROM queued_job WHERE state = 'executing'").await;
    let (frozen, mut other) = one_and_other(services, &owner);
    frozen.signal(Signal::STOP);
    let held = has(&owner);
    assert!(database.query_one::<u64>(&held).await > 0, "it fell asleep with its claims");
    let first_end = format!("SELECT CAST(MIN(claim_expires_at) AS CHAR) FROM queued_job WHERE claimed_by = '{owner}'");
    let first_end: String = database.query_one(&first_end).await;
    let unexpired = format!("{held} AND claim_expires_at > NOW(6)");
    let none_stands = async || database.query_one::<u64>(&unexpired).await == 0;
    until("its claims expire", Duration::from_secs(20), none_stands).await;
    let expired = Instant::now();
    until("all of them are taken back", RESCUED_WITHIN, async || database.query_one::<u64>(&held).await == 0).await;
    let is_over = format!("SELECT NOW(6) >= '{first_end}'");
    assert!(database.query_one::<bool>(&is_over).await, "taken back before its claims had expired");
    report("frozen", format!("taken back {:?} after the claims had expired", expired.elapsed()));
    gate.open();
    frozen.signal(Signal::CONT);
    check(&database, &receiver, &Written::default()).await;
    assert_eq!(other.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_that_slept_through_its_claims_under_load_is_refused_for_each_of_them() {
    let (database, receiver) = stage_alone().await;
    let gate = Gate::closed();
    let held = |call: &Received| call.path.contains("?held") && attempt_of(call) == 1;
    let behind = gate.clone();
    answer_by_plan_and(&receiver, move |answer, call| if held(call) { answer.behind(&behind) } else { answer });
    // The next sweep is an hour away.
    let ini = database.ini(&format!("{NO_SWEEP}[dispatch]\nclaim_grace_secs: 1\n"));
    let (mut sleeper, mut other) = (following(&ini).await, following(&ini).await);
    // Who sleeps through the second sweep of its start makes it before it has read on in the log.
    tokio::time::sleep(Duration::from_millis(1_700)).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    receiver.wait_for(200, Duration::from_secs(20)).await;
    let jobs = job().url(receiver.url("/work?held")).timeout(2).retry_delay(0).insert_times(&database, 40).await;
    let first_calls = || receiver.requests().iter().filter(|call| held(call)).count();
    until("they are called", Duration::from_secs(10), async || first_calls() == jobs.len()).await;
    sleeper.signal(Signal::STOP);
    // No claim stands for longer than it lasts and a rescue takes.
    let outstayed = "SELECT COUNT(*) FROM queued_job WHERE state = 'executing' \
                     AND claim_expires_at < NOW(6) - INTERVAL 3 SECOND";
    let done = "SELECT COUNT(*) FROM queued_job WHERE url LIKE '%?held' AND state = 'completed'";
    let all_done = async || {
        assert_eq!(database.query_one::<u64>(outstayed).await, 0, "claims that have expired, and no rescue");
        database.query_one::<u64>(done).await == jobs.len() as u64
    };
    until("the other has done them", Duration::from_secs(30), all_done).await;
    gate.open();
    sleeper.signal(Signal::CONT);
    // A claim that was not called yet when the sleeper fell asleep has no result.
    let called = |id: u64| receiver.requests().iter().filter(|call| call.job_id() == Some(id)).count();
    let taken_back = "SELECT DISTINCT job_id, attempt FROM queued_job JOIN queued_job_log ON job_id = queued_job.id \
                      WHERE url LIKE '%?held' AND msg LIKE '%taken back%' ORDER BY job_id";
    let taken_back: Vec<(u64, usize)> = database.query(taken_back).await;
    let slept = taken_back.into_iter().filter(|(id, tries)| called(*id) == *tries).map(|(id, _)| id);
    let slept: Vec<u64> = slept.collect();
    assert!(!slept.is_empty(), "the sleeper had some of them");
    let refused = "SELECT DISTINCT job_id FROM queued_job_log WHERE msg LIKE '%Result refused%' \
                   AND job_id IN (SELECT id FROM queued_job WHERE url LIKE '%?held') ORDER BY job_id";
    let all_refused = async || database.query::<u64>(refused).await == slept;
    until("each of its late results is refused", Duration::from_secs(20), all_refused).await;
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert!(found.extra_calls <= found.taken_back, "{found:?}");
    report("slept through its claims, under load", format!("{found:?}, {} results refused", slept.len()));
    for service in [&mut sleeper, &mut other] {
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
        ledger::assert_nothing_lost(service);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_while_one_of_two_dispatchers_is_frozen_is_called_by_the_other() {
    let (database, receiver) = stage_alone().await;
    let ini = database.ini(NO_SWEEP);
    let (mut frozen, mut other) = (following(&ini).await, following(&ini).await);
    let load = Load::start(&database, &base(&receiver), (4, 60));
    until_two_watch_each_other(&database).await;
    frozen.signal(Signal::STOP);
    let before = receiver.count();
    // What the frozen one had in flight waits for it; whatever else there is does not.
    receiver.wait_for(before + 300, Duration::from_secs(20)).await;
    // A row that it was about to claim is locked.
    let left = "SELECT id FROM queued_job WHERE state IN ('available', 'retryable') \
                AND run_at < NOW(6) - INTERVAL 1 SECOND FOR UPDATE SKIP LOCKED";
    let none_is_left = async || database.query::<u64>(left).await.is_empty();
    until("nothing is left to the frozen one", RESCUED_WITHIN, none_is_left).await;
    frozen.signal(Signal::CONT);
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    report("one of two frozen", format!("{found:?}"));
    for service in [&mut frozen, &mut other] {
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
        ledger::assert_nothing_lost(service);
    }
}

/// Nothing else happens meanwhile that would have the other one look.
#[tokio::test(flavor = "multi_thread")]
async fn scheduled_jobs_of_a_frozen_dispatcher_are_called_by_the_other_when_they_are_due() {
    scheduled_jobs_of_a_frozen_dispatcher(false).await;
}

/// The same where a row is due all the time that nobody takes.
#[tokio::test(flavor = "multi_thread")]
async fn scheduled_jobs_of_a_frozen_dispatcher_are_called_when_they_are_due_beside_a_row_that_is_refused() {
    scheduled_jobs_of_a_frozen_dispatcher(true).await;
}

async fn scheduled_jobs_of_a_frozen_dispatcher(beside_a_refused_row: bool) {
    let (database, receiver) = stage_alone().await;
    if beside_a_refused_row {
        let refuse = "CREATE TRIGGER refuses BEFORE UPDATE ON queued_job FOR EACH ROW \
                      IF OLD.http_method = 'refused' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF";
        database.execute(refuse).await;
        job().method("refused").url(receiver.url("/work")).insert(&database).await;
    }
    let ini = database.ini(NO_SWEEP);
    let (mut frozen, mut other) = (following(&ini).await, following(&ini).await);
    // Both have worked, and know of each other.
    job().url(receiver.url("/work")).insert_times(&database, 200).await;
    receiver.wait_for(200, Duration::from_secs(20)).await;
    let scheduled = job().url(receiver.url("/work")).run_at_in(5_000).insert_times(&database, 40).await;
    let due = Instant::now() + Duration::from_secs(5);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    frozen.signal(Signal::STOP);
    receiver.wait_for(200 + scheduled.len(), Duration::from_secs(20)).await;
    let late = due.elapsed();
    frozen.signal(Signal::CONT);
    assert!(late < RESCUED_WITHIN, "the last was called {late:?} after it was due");
    database.execute("DELETE FROM queued_job WHERE http_method = 'refused'").await;
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    for service in [&mut frozen, &mut other] {
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
        ledger::assert_nothing_lost(service);
    }
}

/// The other one has no slot left for a host that never answers, and many for all others.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_while_one_of_two_dispatchers_is_frozen_is_called_beside_a_host_that_never_answers() {
    let (database, receiver) = stage_alone().await;
    let deaf = Receiver::start().await;
    deaf.on("/", Answer::never());
    let ini = database.ini(&format!("{NO_SWEEP}[dispatch]\ndrain_secs: 1\n"));
    let (mut frozen, mut other) = (following(&ini).await, following(&ini).await);
    job().url(receiver.url("/work")).insert_times(&database, 200).await;
    receiver.wait_for(200, Duration::from_secs(20)).await;
    job().url(deaf.url("/")).timeout(600).insert_times(&database, 400).await;
    deaf.wait_for(256, Duration::from_secs(20)).await;
    frozen.signal(Signal::STOP);
    for _ in 0..40 {
        job().url(receiver.url("/work")).insert(&database).await;
    }
    receiver.wait_for(240, Duration::from_secs(20)).await;
    frozen.signal(Signal::CONT);
    let mut calls = HashMap::new();
    for call in receiver.requests() {
        *calls.entry(call.job_id()).or_insert(0) += 1;
    }
    assert!(calls.len() == 240 && calls.values().all(|count| *count == 1), "{calls:?}");
    for service in [&mut frozen, &mut other] {
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    }
}
