//! The lock that shows a dispatcher to be alive, when its connections break while the dispatcher lives.

use super::checker::check;
use super::kills::hold_first_tries;
use super::load::{Load, Written};
use super::plan::answer_by_plan_and;
use super::{
    ENOUGH, NO_SWEEP, RESCUED_WITHIN, SETTLES, base, following, ledger, report, stage, stage_alone, stage_without_load,
    times,
};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::Proxy;
use crate::support::receiver::{Answer, Gate};
use crate::support::service::Service;
use crate::support::wait::{eventually, until};
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};

/// The connection that holds the lock of the only dispatcher that has jobs.
async fn lock_holder(database: &TestDatabase, dispatcher: &str) -> Option<u64> {
    database.query_one::<Option<u64>>(&format!("SELECT IS_USED_LOCK('{dispatcher}')")).await
}

async fn kill(database: &TestDatabase, connection: u64) {
    // It may have ended by itself.
    let _ = database.conn().await.query_drop(format!("KILL {connection}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_dispatcher_whose_lock_connection_is_killed_keeps_its_jobs() {
    let (database, receiver) = stage().await;
    let gate = Gate::closed();
    let gated = gate.clone();
    answer_by_plan_and(&receiver, move |answer, _| answer.behind(&gated));
    let ini = database.ini(&format!("{NO_SWEEP}[dispatch]\nmax_in_flight: 4\nmax_in_flight_per_host: 4\n"));
    let (mut first, mut second) = (following(&ini).await, following(&ini).await);
    job().url(receiver.url("/work")).insert_times(&database, 8).await;
    receiver.wait_for(8, Duration::from_secs(20)).await;
    let dispatchers: Vec<String> = database.query("SELECT DISTINCT claimed_by FROM queued_job").await;
    for _ in 0..times(3, 30) {
        for dispatcher in &dispatchers {
            // Between two kills the second connection may not be waiting yet, and the lock is retaken by a new one.
            let held = async || lock_holder(&database, dispatcher).await;
            let holder = eventually("a connection holds the lock", SETTLES, held).await;
            kill(&database, holder).await;
            eventually("another connection holds the lock", SETTLES, async || held().await.filter(|id| *id != holder))
                .await;
        }
    }
    first.wait_for_line("the second one holds it now", SETTLES).await;
    // Longer than a lapse lasts: a rescue would come now.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    gate.open();
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.calls, found.taken_back), (8, 0), "{found:?}");
    for service in [&mut first, &mut second] {
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
        ledger::assert_nothing_lost(service);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_connections_of_one_of_two_dispatchers_cut_under_load_double_nothing() {
    let (database, receiver) = stage().await;
    let proxy = Proxy::start(database.server().address()).await;
    let mut cut = following(&database.ini_at(proxy.port(), NO_SWEEP)).await;
    let mut whole = following(&database.ini(NO_SWEEP)).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    for _ in 0..times(6, 60) {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let made = proxy.connections();
        proxy.cut_all();
        // Both connections of the lock, and those of the deeds.
        until("the service is back", SETTLES, async || proxy.connections() >= made + 4).await;
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    found.assert_taken_only_from_the_silent();
    report("one of two cut", format!("{found:?}"));
    for service in [&mut cut, &mut whole] {
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
        ledger::assert_lost_only_to(service, &ledger::BROKEN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_no_server_takes_as_a_lock_name_holds_up_no_rescue() {
    let (database, receiver) = stage_without_load().await;
    let bad = job().url(receiver.url("/work")).set("state", "executing").set("claimed_by", "");
    let bad = bad.set("claim_token", 7).set_expression("claim_expires_at", "NOW(6) + INTERVAL 1 HOUR", vec![]);
    bad.insert(&database).await;
    let dead = bad.set("claimed_by", "strings-queue:gone:1:0");
    dead.insert(&database).await;
    let mut service = following(&database.ini(NO_SWEEP)).await;
    until("both were taken back and done", SETTLES, async || receiver.count() == 2).await;
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_lost_only_to(&service, &["lost_to_down"]);
}

/// One of two gets no connection for its lock, while those for its deeds stand: the other takes it for dead. It claims
/// nothing then, or every call of it would be made twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_that_looks_dead_to_another_claims_nothing_until_it_has_its_lock_again() {
    let (database, receiver) = stage_without_load().await;
    let proxy = Proxy::start(database.server().address()).await;
    let mut lockless = following(&database.ini_at(proxy.port(), NO_SWEEP)).await;
    let mut other = following(&database.ini(NO_SWEEP)).await;
    // Both have worked, and know of each other.
    job().url(receiver.url("/work")).insert_times(&database, 200).await;
    receiver.wait_for(200, Duration::from_secs(20)).await;
    let dispatcher = format!(":{}:", lockless.pid().as_raw_pid());
    let named = format!("SELECT DISTINCT claimed_by FROM queued_job WHERE claimed_by LIKE '%{dispatcher}%'");
    let dispatcher: String = database.query_one(&named).await;
    answer_by_plan_and(&receiver, |answer, _| answer.after(Duration::from_secs(3)));
    proxy.refuse().await;
    let mut killed = 0;
    until("its lock is free", SETTLES, async || {
        let Some(holder) = lock_holder(&database, &dispatcher).await else { return killed > 0 };
        kill(&database, holder).await;
        killed += 1;
        false
    })
    .await;
    // Longer than a death is waited for.
    tokio::time::sleep(Duration::from_secs(2)).await;
    job().url(receiver.url("/work")).insert_times(&database, 40).await;
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.calls, found.extra_calls, found.taken_back), (240, 0, 0), "{found:?}");
    proxy.accept().await;
    let held = async || lock_holder(&database, &dispatcher).await.is_some();
    until("it has its lock again", SETTLES, held).await;
    for service in [&mut lockless, &mut other] {
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
        ledger::assert_lost_only_to(service, &ledger::BROKEN);
    }
}

/// Its second connection is ended by somebody, as one that has run for long, and no new one is to be had.
#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_that_has_its_lock_and_no_second_connection_for_it_works_on_in_peace() {
    let (database, receiver) = stage_without_load().await;
    let proxy = Proxy::start(database.server().address()).await;
    let mut service = following(&database.ini_at(proxy.port(), NO_SWEEP)).await;
    let mut other = following(&database.ini(NO_SWEEP)).await;
    // Both have worked, and know of each other.
    job().url(receiver.url("/work")).insert_times(&database, 200).await;
    receiver.wait_for(200, Duration::from_secs(20)).await;
    let of = |service: &Service| format!("claimed_by LIKE '%:{}:%'", service.pid().as_raw_pid());
    let named = format!("SELECT MAX(claimed_by) FROM queued_job WHERE {}", of(&service));
    let dispatcher: String = database.query_one(&named).await;
    proxy.refuse().await;
    let holder = lock_holder(&database, &dispatcher).await.expect("it has its lock");
    let ours = format!("CONNECTION_ID() <> ID AND INFO LIKE '%GET_LOCK%' AND INFO NOT LIKE '%{}%'", "CONNECTION_ID");
    let waiting = format!("SELECT ID FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND {ours}");
    let waiting: Vec<u64> = database.query(&waiting).await;
    for connection in waiting.iter().filter(|connection| **connection != holder) {
        kill(&database, *connection).await;
    }
    let before = receiver.count();
    tokio::time::sleep(Duration::from_secs(2)).await;
    job().url(receiver.url("/work")).insert_times(&database, 200).await;
    receiver.wait_for(before + 200, Duration::from_secs(20)).await;
    let lines = service.lines();
    let told = lines.iter().filter(|line| line.contains("a connection of the dispatcher's lock broke")).count();
    assert!((1..=4).contains(&told), "{told} times");
    let claims = format!("SELECT COUNT(*) FROM queued_job WHERE id > 200 AND {}", of(&service));
    assert!(database.query_one::<u64>(&claims).await > 0, "it claims on");
    assert_eq!(lock_holder(&database, &dispatcher).await, Some(holder));
    proxy.accept().await;
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.calls, found.extra_calls, found.taken_back), (400, 0, 0), "{found:?}");
    for service in [&mut service, &mut other] {
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
        ledger::assert_lost_only_to(service, &ledger::BROKEN);
    }
}

/// One of its rows can neither be finished nor taken back. It lives, and what else it has is taken back when it dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_that_has_a_row_that_nobody_can_take_back_is_watched_as_before() {
    let (database, receiver) = stage_alone().await;
    let gate = Gate::closed();
    hold_first_tries(&receiver, &gate);
    receiver.on("/kept", Answer::ok());
    let trigger = "CREATE TRIGGER keeps BEFORE UPDATE ON queued_job FOR EACH ROW \
                   IF NEW.url LIKE '%kept' AND NEW.state <> 'executing' THEN SIGNAL SQLSTATE '45000'; END IF";
    database.conn().await.query_drop(trigger).await.unwrap();
    let ini = database.ini(&format!("{NO_SWEEP}[dispatch]\nclaim_grace_secs: 1\n"));
    let mut services = vec![following(&ini).await, following(&ini).await];
    // Both have worked, and know of each other.
    job().url(receiver.url("/once")).timeout(3_000).insert_times(&database, 12).await;
    receiver.wait_for(12, Duration::from_secs(20)).await;
    let kept = job().url(receiver.url("/kept")).timeout(1).insert(&database).await;
    let owner = format!("SELECT claimed_by FROM queued_job WHERE id = {kept}");
    let owner = eventually("it is called", SETTLES, async || database.query_one::<Option<String>>(&owner).await).await;
    let is_owner = |service: &Service| owner.contains(&format!(":{}:", service.pid().as_raw_pid()));
    let at = services.iter().position(is_owner).expect("one of the two has it");
    let (mut dying, mut other) = (services.remove(at), services.remove(0));
    other.wait_for_line("can't be taken back", SETTLES).await;
    // Whoever waits for a lock has to begin anew.
    let watching = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND state = 'User lock'";
    for connection in database.query::<u64>(watching).await {
        kill(&database, connection).await;
    }
    let jobs = job().url(receiver.url("/work")).timeout(3_000).insert_times(&database, 12).await;
    receiver.wait_for(12 + 1 + jobs.len(), Duration::from_secs(20)).await;
    let waits = async || database.query::<u64>(watching).await.len() >= 4;
    until("each of them is watched again, by itself and by the other", SETTLES, waits).await;
    dying.kill().await;
    let died = Instant::now();
    let has = format!(
        "SELECT COUNT(*) FROM queued_job WHERE state = 'executing' AND claimed_by = '{owner}' AND id <> {kept}"
    );
    let none_is_left = async || database.query_one::<u64>(&has).await == 0;
    until("what it had is taken back", RESCUED_WITHIN, none_is_left).await;
    report("beside a row that nobody can take back", format!("taken back after {:?}", died.elapsed()));
    gate.open();
    database.execute("DROP TRIGGER keeps").await;
    assert_eq!(other.stop(Duration::from_secs(10)).await, Some(0));
}
