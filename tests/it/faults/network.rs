//! The network between service and database: cut, stalled, half-open, trickling; answers lost at the worst moment.

use super::batches::Batches;
use super::checker::{Found, check};
use super::load::Load;
use super::plan::answer_by_plan;
use super::watches::until_two_watch_each_other;
use super::{ENOUGH, NO_SWEEP, SETTLES, all_following, all_stop, base, ledger, report, settled, stage, times};
use crate::support::database::TestServer;
use crate::support::proxy::{CutPoint, Fault, Mode, Proxy, Way};
use crate::support::wait::until;
use std::time::Duration;

/// What a deed's statement holds and no other's does.
pub(super) const CLAIM: &[u8] = b"@strings_queue_now = NOW(6)";
pub(super) const FINISH: &[u8] = b"JSON_TABLE";
/// What a finish of results that come to the same holds, with others beside them or without.
const FINISH_OF_ALIKE: &[u8] = b"FORCE INDEX (PRIMARY) SET state = 'completed'";
/// What a write of lines holds, with results or without.
const LINES: &[u8] = b"INSERT INTO queued_job_log";

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_under_load_cost_no_job_and_double_none() {
    connections_cut(Batches::Any, 1).await.assert_doubled_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_two_dispatchers_cut_under_load_cost_no_job() {
    connections_cut(Batches::Any, 2).await.assert_taken_only_from_the_silent();
}

pub(super) async fn connections_cut(batches: Batches, dispatchers: usize) -> Found {
    let (database, receiver) = batches.stage_on(TestServer::get()).await;
    let proxy = Proxy::start(database.server().address()).await;
    let services = all_following(&database.ini_at(proxy.port(), &batches.settings()), dispatchers).await;
    let load = batches.load(&database, &base(&receiver));
    for _ in 0..times(8, 100) {
        tokio::time::sleep(Duration::from_millis(250)).await;
        proxy.cut_all();
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    batches.assert_formed(&database).await;
    report(&batches.name("connections cut"), format!("{dispatchers} dispatchers, {found:?}"));
    all_stop(services, &ledger::BROKEN).await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_or_a_finish_cut_at_its_worst_moment_under_load_is_done_once() {
    cut_at_the_worst_moment(Batches::Any, 1).await.assert_doubled_nothing();
}

/// The lines of these calls are written before their results, and each once.
#[tokio::test(flavor = "multi_thread")]
async fn a_finish_cut_while_other_calls_are_under_way_tells_of_each_once() {
    let (database, receiver) = stage().await;
    answer_by_plan(&receiver, Duration::from_millis(300));
    let proxy = Proxy::start(database.server().address()).await;
    let services = all_following(&database.ini_at(proxy.port(), NO_SWEEP), 1).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let completed = "SELECT COUNT(*) FROM queued_job WHERE state = 'completed'";
    for _ in 0..times(10, 100) {
        proxy.cut_on(Way::ToServer, LINES, CutPoint::BeforeAnswer).sprung(Duration::from_secs(20)).await;
        // Where each try is cut, the pauses grow, and the load piles up.
        let before: usize = database.query_one(completed).await;
        until("results are written again", SETTLES, async || {
            database.query_one::<usize>(completed).await > before + 20
        })
        .await;
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    found.assert_doubled_nothing();
    report("lines of calls under way", format!("{found:?}"));
    all_stop(services, &ledger::BROKEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_and_finishes_of_two_dispatchers_cut_at_their_worst_moment_cost_no_job() {
    cut_at_the_worst_moment(Batches::Any, 2).await.assert_taken_only_from_the_silent();
}

pub(super) async fn cut_at_the_worst_moment(batches: Batches, dispatchers: usize) -> Found {
    let (database, receiver) = batches.stage_on(TestServer::get()).await;
    let proxy = Proxy::start(database.server().address()).await;
    let services = all_following(&database.ini_at(proxy.port(), &batches.settings()), dispatchers).await;
    let load = batches.load(&database, &base(&receiver));
    // Small batches have few results that come to the same.
    let deeds = if batches == Batches::Large { &[CLAIM, FINISH, FINISH_OF_ALIKE][..] } else { &[CLAIM, FINISH] };
    // Before the server has the statement; and when it was carried out, but its answer never comes.
    for _ in 0..times(2, 50) {
        for deed in deeds {
            for point in [CutPoint::BeforePassing, CutPoint::BeforeAnswer] {
                proxy.cut_on(Way::ToServer, deed, point).sprung(Duration::from_secs(20)).await;
            }
        }
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    batches.assert_formed(&database).await;
    report(&batches.name("commit unknown"), format!("{dispatchers} dispatchers, {found:?}"));
    all_stop(services, &[]).await;
    found
}

/// One connection of a dispatcher stalls, trickles, or swallows what comes, in the middle of a deed; all others are well.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_or_a_finish_whose_connection_stalls_trickles_or_swallows_under_load_is_done_once() {
    let (database, receiver) = stage().await;
    let proxy = Proxy::start(database.server().address()).await;
    let services = all_following(&database.ini_at(proxy.port(), NO_SWEEP), 1).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let stalls = Fault::Becomes(Mode::Stall, Duration::from_millis(1_500));
    let trickles = Fault::Becomes(Mode::Trickle { bytes: 16, every: Duration::from_millis(2) }, Duration::from_secs(2));
    // A deed is given up after half a minute; the connection is never whole again.
    let swallows = Fault::Becomes(Mode::Swallow, Duration::from_secs(3_600));
    for _ in 0..times(1, 5) {
        for fault in [stalls, trickles, swallows].into_iter().take(times(2, 3)) {
            for deed in [CLAIM, FINISH] {
                for point in [CutPoint::BeforePassing, CutPoint::BeforeAnswer] {
                    proxy.fault_on(Way::ToServer, deed, (point, fault)).sprung(Duration::from_secs(60)).await;
                }
            }
        }
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    found.assert_doubled_nothing();
    report("a deed's connection disturbed", format!("{found:?}"));
    all_stop(services, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_network_delays_jobs_and_loses_none() {
    let (database, receiver) = stage().await;
    let proxy = Proxy::start(database.server().address()).await;
    let mut service = settled(&database.ini_at(proxy.port(), NO_SWEEP)).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    for _ in 0..times(2, 20) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        proxy.stall();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        proxy.pass();
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    report("network stalled", format!("{found:?}"));
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
}

/// What was sent is gone, and no end of a connection is seen: a deed is given up after half a minute.
#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_are_given_up_and_lose_nothing() {
    let (database, receiver) = stage().await;
    let proxy = Proxy::start(database.server().address()).await;
    let mut service = settled(&database.ini_at(proxy.port(), &format!("{NO_SWEEP}[dispatch]\ndrain_secs: 5\n"))).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    for _ in 0..times(1, 3) {
        let calls = receiver.count();
        receiver.wait_for(calls + ENOUGH, Duration::from_secs(60)).await;
        proxy.half_open();
        tokio::time::sleep(Duration::from_secs(3)).await;
        proxy.pass();
        let calls = receiver.count();
        receiver.wait_for(calls + 200, Duration::from_secs(60)).await;
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    found.assert_doubled_nothing();
    report("half-open", format!("{found:?}"));
    // A deed on a connection that swallowed it may still be waited for: as long as a stop is patient, and two seconds.
    // 1 where the answer to a result that was written is still waited for.
    assert!(matches!(service.stop(Duration::from_secs(5 + 2)).await, Some(0 | 1)));
    ledger::assert_lost_only_to(&service, &ledger::BROKEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trickling_network_under_load_is_slow_and_loses_nothing() {
    let (database, receiver) = stage().await;
    let proxy = Proxy::start(database.server().address()).await;
    let mut service = settled(&database.ini_at(proxy.port(), NO_SWEEP)).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    for _ in 0..times(2, 20) {
        let calls = receiver.count();
        receiver.wait_for(calls + 50, Duration::from_secs(60)).await;
        // So much each second as a few jobs need: whatever is in the middle of its way goes on, slowly.
        proxy.trickle(Duration::from_micros(200));
        tokio::time::sleep(Duration::from_secs(2)).await;
        proxy.pass();
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    report("network trickling", format!("{found:?}"));
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
}

/// The other one goes on meanwhile. What the first had under way may be taken from it when its server notices.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_dispatchers_whose_network_stalls_or_swallows_under_load_holds_up_no_other() {
    let (database, receiver) = stage().await;
    let proxy = Proxy::start(database.server().address()).await;
    let settings = format!("{NO_SWEEP}[dispatch]\ndrain_secs: 5\n");
    let services = [settled(&database.ini_at(proxy.port(), &settings)).await, settled(&database.ini(NO_SWEEP)).await];
    let load = Load::start(&database, &base(&receiver), (4, 60));
    until_two_watch_each_other(&database).await;
    for swallows in [false, true] {
        if swallows {
            proxy.half_open();
        } else {
            proxy.stall();
        }
        let calls = receiver.count();
        tokio::time::sleep(Duration::from_secs(times(6, 15) as u64)).await;
        receiver.wait_for(calls + ENOUGH, Duration::from_secs(20)).await;
        proxy.pass();
        let calls = receiver.count();
        receiver.wait_for(calls + ENOUGH, Duration::from_secs(60)).await;
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert!(found.extra_calls <= found.taken_back, "{found:?}");
    report("one of two stalled and half-open", format!("{found:?}"));
    for mut service in services {
        // As above, a deed may still be waited for.
        assert!(matches!(service.stop(Duration::from_secs(5 + 2)).await, Some(0 | 1)));
        ledger::assert_lost_only_to(&service, &ledger::BROKEN);
    }
}
