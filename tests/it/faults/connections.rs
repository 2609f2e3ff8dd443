//! One connection alone, of those that no claim and no finish needs: the stream's, the lock's, the sweep's, the one that
//! loads bodies, and the one that watches another dispatcher.

use super::checker::check;
use super::kills::hold_first_tries;
use super::load::Load;
use super::plan::{Plan, answer_by_plan_and};
use super::watches::{has, one_and_other, until_two_watch_each_other};
use super::{
    ENOUGH, NO_SWEEP, RESCUED_WITHIN, all_following, all_stop, base, ledger, report, settled, stage, stage_alone, times,
};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::{CutPoint, Fault, Mode, Proxy, Way};
use crate::support::receiver::{Gate, Received, Receiver};
use crate::support::service::Service;
use crate::support::wait::{eventually, until};
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// What the log has before rows of ours.
pub(super) const OUR_ROWS: &[u8] = b"\x0aqueued_job\x00";

/// What takes a dispatcher's lock.
pub(super) const LOCK: &[u8] = b"SELECT IF(IS_USED_LOCK(";

/// What the connections hold that no other's does: the stream when it shows one of our rows, the lock's when it is
/// taken, and the one that waits for the lock.
const LASTING: [(Way, &[u8]); 3] =
    [(Way::ToClient, OUR_ROWS), (Way::ToServer, LOCK), (Way::ToServer, b"SELECT GET_LOCK(?")];

/// What a sweep asks, in its order: where the log ends, whose jobs are to be taken back, who has any, what is due. Where the
/// log ends the stream asks too when it begins, and who has jobs is looked at between sweeps. The last one loads a body.
const SWEPT: [&[u8]; 5] = [
    b" STATUS",
    b"SELECT id, claim_token, claimed_by FROM queued_job",
    b"SELECT claimed_by, GREATEST(",
    b"SELECT id, COALESCE(TIMESTAMPDIFF(",
    b"SELECT body FROM queued_job",
];
/// What takes jobs back: it locks them, changes them, and writes their lines, with the commit.
const RESCUE: [&[u8]; 3] = [b"AND COALESCE(claim_token, 0) IN (", b"result_code = IF(", b"] Job taken back"];
/// How long a call takes that is to be under way when its dispatcher dies.
const SLOW: Duration = Duration::from_secs(3);

/// Sweeps come each second; whoever leaves nothing to them is not needed for a job.
const SWEEPS_OFTEN: &str = "[sweep]\ninterval_secs: 1\n[retry]\njitter: 0\n";
/// A body that does not come with its claim.
const LARGE_BODY: usize = 40_000;

/// The stream's connection, the lock's, and the one that waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_or_a_lock_whose_connection_is_disturbed_under_load_costs_no_job() {
    let (database, receiver) = stage().await;
    let proxy = Proxy::start(database.server().address()).await;
    let services = all_following(&database.ini_at(proxy.port(), NO_SWEEP), 1).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    for _ in 0..times(1, 2) {
        for fault in faults().into_iter().take(times(2, 4)) {
            for (way, holds) in LASTING {
                // What goes to the server says so when it is opened, and not again.
                let anew = way == Way::ToServer;
                disturb(&services[0], &proxy, (way, holds), (CutPoint::BeforePassing, fault), anew).await;
                outlast(fault).await;
                more_calls(&receiver, 100).await;
            }
        }
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    found.assert_doubled_nothing();
    report("the stream's or a lock's connection disturbed", format!("{found:?}"));
    all_stop(services, &ledger::BROKEN).await;
}

/// What a sweep asks and what loads a body, each disturbed at each of its questions.
#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_or_a_body_whose_connection_is_disturbed_under_load_costs_no_job() {
    let (database, receiver) = stage().await;
    let proxy = Proxy::start(database.server().address()).await;
    let services = all_following(&database.ini_at(proxy.port(), SWEEPS_OFTEN), 1).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let large = enqueue_large_bodies(&database, &base(&receiver)).await;
    for fault in faults().into_iter().take(times(1, 4)) {
        for asks in SWEPT {
            for point in [CutPoint::BeforePassing, CutPoint::BeforeAnswer] {
                // Statements with parameters are prepared once for each connection.
                disturb(&services[0], &proxy, (Way::ToServer, asks), (point, fault), true).await;
                outlast(fault).await;
                more_calls(&receiver, 100).await;
            }
        }
    }
    large.abort();
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    found.assert_doubled_nothing();
    report("a sweep's or a body's connection disturbed", format!("{found:?}"));
    all_stop(services, &ledger::BROKEN).await;
}

/// The other dispatcher has died, and what takes its jobs back is cut off at each of its statements: the server did not have
/// it, or has done it, and its answer does not come.
#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_cut_at_its_worst_moment_under_load_is_done_once() {
    let (database, receiver) = stage_alone().await;
    let slow = |call: &Received| call.path.contains("?slow");
    answer_by_plan_and(&receiver, move |answer, call| if slow(call) { answer.after(SLOW) } else { answer });
    let proxy = Proxy::start(database.server().address()).await;
    let living = all_following(&database.ini_at(proxy.port(), NO_SWEEP), 1).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    for _ in 0..times(1, 5) {
        for statement in RESCUE {
            for point in [CutPoint::BeforePassing, CutPoint::BeforeAnswer] {
                let mut dying = all_following(&database.ini(NO_SWEEP), 1).await.remove(0);
                let slow_ones = format!(
                    "SELECT COUNT(*) FROM queued_job WHERE state = 'executing' AND url LIKE '%?slow' \
                     AND claimed_by LIKE '%:{}:%'",
                    dying.pid().as_raw_pid()
                );
                until("it has slow calls under way", RESCUED_WITHIN * 10, async || {
                    job().url(receiver.url("/work?slow")).insert_times(&database, 5).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    database.query_one::<u64>(&slow_ones).await > 0
                })
                .await;
                let mut cut = proxy.cut_on(Way::ToServer, statement, point);
                dying.kill().await;
                cut.sprung(RESCUED_WITHIN * 2).await;
                until("its jobs are taken back", RESCUED_WITHIN, async || {
                    database.query_one::<u64>(&slow_ones).await == 0
                })
                .await;
            }
        }
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert!(found.taken_back > 0 && found.extra_calls <= found.taken_back, "{found:?}");
    report("a rescue cut off", format!("{found:?}"));
    all_stop(living, &ledger::BROKEN).await;
}

/// The connection on which one dispatcher waits for the end of the other. Then that one dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_whose_connection_was_disturbed_sees_the_other_die_in_time() {
    let (database, receiver) = stage_alone().await;
    let proxy = Proxy::start(database.server().address()).await;
    let services = [settled(&database.ini_at(proxy.port(), NO_SWEEP)).await, settled(&database.ini(NO_SWEEP)).await];
    let load = Load::start(&database, &base(&receiver), (4, 60));
    until_two_watch_each_other(&database).await;
    let pid = services[1].pid().as_raw_pid();
    let name = format!("SELECT MAX(claimed_by) FROM queued_job WHERE claimed_by LIKE '%:{pid}:%'");
    let name = async || database.query_one::<Option<String>>(&name).await;
    let direct = eventually("it claims", Duration::from_secs(20), name).await;
    // One that stands, and swallows all, shows nothing until the kernel finds it: jobs are taken back when claims expire.
    let seen = faults().into_iter().filter(|fault| !matches!(fault, Fault::Becomes(Mode::Swallow, _)));
    for fault in seen.cycle().take(times(2, 30)) {
        // No other connection of the first one names the second.
        let names = (Way::ToServer, direct.as_bytes());
        disturb(&services[0], &proxy, names, (CutPoint::BeforePassing, fault), true).await;
        until_two_watch_each_other(&database).await;
    }
    // Right after an outage, those that live are given time to come back.
    more_calls(&receiver, 1_200).await;
    let gate = Gate::closed();
    hold_first_tries(&receiver, &gate);
    let held = has(&direct);
    until("it has jobs", RESCUED_WITHIN, async || database.query_one::<u64>(&held).await > 0).await;
    let (mut dead, other) = one_and_other(services, &direct);
    dead.kill().await;
    gate.open();
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert!(found.extra_calls <= found.taken_back, "{found:?}");
    report("the watch's connection disturbed", format!("{found:?}"));
    all_stop(vec![other], &ledger::BROKEN).await;
}

fn faults() -> [Fault; 4] {
    let becomes = |mode, millis| Fault::Becomes(mode, Duration::from_millis(millis));
    let trickle = Mode::Trickle { bytes: 16, every: Duration::from_millis(2) };
    [Fault::Cut, becomes(Mode::Swallow, 3_600_000), becomes(Mode::Stall, 1_500), becomes(trickle, 2_000)]
}

/// Has the fault come to the connection that holds these bytes next; where it has to be opened for that, all are cut.
async fn disturb(service: &Service, proxy: &Proxy, (way, holds): (Way, &[u8]), fault: (CutPoint, Fault), anew: bool) {
    let trap = proxy.fault_on(way, holds, fault);
    if anew {
        proxy.cut_all();
    }
    // A statement that is not answered is given up after half a minute.
    let begun = Instant::now();
    while !trap.has_sprung() {
        if begun.elapsed() > Duration::from_secs(60) {
            let of_one_job = |line: &String| line.contains("[JOBID");
            let lines: Vec<String> = service.lines().into_iter().filter(|line| !of_one_job(line)).collect();
            let last = &lines[lines.len().saturating_sub(60)..];
            panic!("{:?} did not come, {fault:?}:\n{}", String::from_utf8_lossy(holds), last.join("\n"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What disturbs a connection for a while does so; in full, a deed that is swallowed is given up.
async fn outlast(fault: Fault) {
    if let Fault::Becomes(_, lasts) = fault {
        tokio::time::sleep(lasts.min(Duration::from_secs(times(1, 32) as u64))).await;
    }
}

async fn more_calls(receiver: &Receiver, more: usize) {
    let calls = receiver.count();
    receiver.wait_for(calls + more, Duration::from_secs(60)).await;
}

/// One each 100 ms, until it is aborted.
async fn enqueue_large_bodies(database: &TestDatabase, base: &str) -> JoinHandle<()> {
    let (mut conn, url) = (database.conn().await, format!("{base}{}?large", Plan::Work.path()));
    let sql = format!("INSERT INTO queued_job (http_method, url, body) VALUES ('post', ?, REPEAT('x', {LARGE_BODY}))");
    tokio::spawn(async move {
        loop {
            conn.exec_drop(&sql, (&url,)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
}
