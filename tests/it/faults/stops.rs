//! A stop in the middle of it all ends within `drain_secs` and two seconds; what it leaves is done by the next service.

use super::checker::{Found, check};
use super::load::Load;
use super::plan::{answer_by_plan, answer_by_plan_and};
use super::{ENOUGH, NO_SWEEP, base, following, ledger, report, stage, stage_on, times};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::Proxy;
use crate::support::receiver::{Answer, Gate, Receiver};
use crate::support::server::OwnServer;
use crate::support::service::Service;
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// Jobs of these are answered later, or never, before the stop.
const HANG: &str = "/work?hang";
const HELD: &str = "/work?held";

const DRAIN: Duration = Duration::from_secs(1);
const ENDS_WITHIN: Duration = Duration::from_secs(1 + 2);

pub(super) fn settings() -> String {
    format!("{NO_SWEEP}[dispatch]\ndrain_secs: {}\n", DRAIN.as_secs())
}

/// SIGTERM, and the exit within the promise; the exit code.
pub(super) async fn stop_in_time(service: &mut Service) -> Option<i32> {
    let begun = Instant::now();
    let code = service.stop(Duration::from_secs(20)).await;
    let took = begun.elapsed();
    assert!(took < ENDS_WITHIN, "{took:?}:\n{}", service.lines().join("\n"));
    report("stopped", format!("after {took:?}"));
    code
}

/// How many claims of the service stand.
pub(super) async fn claims_of(database: &TestDatabase, service: &Service) -> u32 {
    let pid = service.pid().as_raw_pid();
    let sql = format!("SELECT COUNT(*) FROM queued_job WHERE state = 'executing' AND claimed_by LIKE '%:{pid}:%'");
    database.query_one(&sql).await
}

/// How many calls did not end in the time that a stop gives them, as the service says: so many may be made twice.
fn cut_off(service: &Service) -> u32 {
    let lines = service.lines();
    let told = lines.iter().filter(|line| line.contains("calls did not end in time"));
    told.map(|line| ledger::field(line, "calls").expect(line).parse::<u32>().unwrap()).sum()
}

/// The load goes on without a service, and the next one does what is left.
pub(super) async fn the_next_one_does_the_rest(database: &TestDatabase, receiver: &Receiver, load: Load) -> Found {
    let mut next = following(&database.ini(&settings())).await;
    let written = load.stop_after(ENOUGH).await;
    let found = check(database, receiver, &written).await;
    assert_eq!(stop_in_time(&mut next).await, Some(0));
    ledger::assert_lost_only_to(&next, &["lost_to_down"]);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_under_load_double_nothing_that_ended_in_time() {
    let (database, receiver) = stage().await;
    answer_by_plan(&receiver, Duration::from_millis(50));
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let mut late = 0;
    for _ in 0..times(2, 40) {
        let mut service = following(&database.ini(&settings())).await;
        let calls = receiver.count();
        receiver.wait_for(calls + 50, Duration::from_secs(20)).await;
        assert_eq!(stop_in_time(&mut service).await, Some(0));
        // On a busy machine, our own handler may be late.
        late += cut_off(&service);
    }
    let found = the_next_one_does_the_rest(&database, &receiver, load).await;
    assert!(found.extra_calls <= late && found.taken_back == 0, "{found:?}, {late} calls cut off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_handlers_hang_gives_their_jobs_back() {
    let (database, receiver) = stage().await;
    answer_by_plan_and(&receiver, |answer, call| if call.path == HANG { Answer::never() } else { answer });
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let mut service = following(&database.ini(&settings())).await;
    let hanging = job().url(receiver.url(HANG)).timeout(600).insert_times(&database, 10).await;
    let all_hang = async || receiver.requests_for(HANG).len() == 10;
    until("their handlers hang", Duration::from_secs(20), all_hang).await;
    assert_eq!(stop_in_time(&mut service).await, Some(0));
    let sql =
        format!("SELECT COUNT(*) FROM queued_job WHERE state = 'available' AND attempt = 0 AND id IN {hanging:?}");
    assert_eq!(database.query_one::<u64>(&sql.replace('[', "(").replace(']', ")")).await, 10, "they are as before");
    answer_by_plan(&receiver, Duration::ZERO);
    let found = the_next_one_does_the_rest(&database, &receiver, load).await;
    assert_eq!(found.taken_back, 0, "{found:?}");
    // These, and those of the load for which our own handler was late.
    let late = cut_off(&service);
    assert!(found.extra_calls <= late, "{found:?}, {late} calls cut off");
}

/// An application's session that keeps this job's row locked.
async fn locking(database: &TestDatabase, job: u64) -> Conn {
    let mut conn = database.conn().await;
    conn.query_drop(format!("START TRANSACTION; SELECT id FROM queued_job WHERE id = {job} FOR UPDATE")).await.unwrap();
    conn
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_no_row_that_an_application_keeps_locked() {
    let (database, receiver) = stage().await;
    let gate = Gate::closed();
    let held_behind = gate.clone();
    answer_by_plan_and(&receiver, move |answer, call| match call.path.as_str() {
        HANG => Answer::never(),
        HELD => answer.behind(&held_behind),
        _ => answer,
    });
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let mut service = following(&database.ini(&settings())).await;
    let held = job().url(receiver.url(HELD)).timeout(600).insert(&database).await;
    let hanging = job().url(receiver.url(HANG)).timeout(600).insert_times(&database, 10).await;
    let all_called = async || receiver.requests_for(HELD).len() == 1 && receiver.requests_for(HANG).len() == 10;
    until("all of them are being called", Duration::from_secs(20), all_called).await;
    // One row's result is there, and cannot be written; another's job can't be given back. All others can.
    let (mut first, mut second) = (locking(&database, held).await, locking(&database, hanging[0]).await);
    gate.open();
    service.wait_for_line("results wait for rows that another session keeps locked", Duration::from_secs(20)).await;
    assert_eq!(stop_in_time(&mut service).await, Some(1), "two are left as they are");
    let ours = "SELECT id FROM queued_job WHERE state = 'executing' ORDER BY id";
    assert_eq!(database.query::<u64>(ours).await, [held, hanging[0]]);
    for conn in [&mut first, &mut second] {
        conn.query_drop("COMMIT").await.unwrap();
    }
    answer_by_plan(&receiver, Duration::ZERO);
    let found = the_next_one_does_the_rest(&database, &receiver, load).await;
    assert_eq!(found.taken_back, 2, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_network_stalls_swallows_or_refuses_ends_in_time() {
    let (database, receiver) = stage().await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let mut in_flight = 0;
    for fault in 0..3 {
        let proxy = Proxy::start(database.server().address()).await;
        let mut service = following(&database.ini_at(proxy.port(), &settings())).await;
        let calls = receiver.count();
        receiver.wait_for(calls + 20, Duration::from_secs(20)).await;
        match fault {
            0 => proxy.stall(),
            1 => proxy.half_open(),
            _ => {
                proxy.refuse().await;
                proxy.cut_all();
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let code = stop_in_time(&mut service).await;
        // Whatever could not be written stands in its row until the lock is free. What an earlier one left may still
        // stand beside it, and was counted.
        drop(proxy);
        let left = claims_of(&database, &service).await;
        assert!(code == Some(1) || left == 0, "{left} jobs in flight, and the exit code is {code:?}");
        in_flight += left;
    }
    let found = the_next_one_does_the_rest(&database, &receiver, load).await;
    assert!(found.extra_calls <= in_flight && found.taken_back <= in_flight, "{found:?}, {in_flight} in flight");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_database_hangs_or_is_gone_ends_in_time() {
    let mut server = OwnServer::start(&[]).await;
    let (database, receiver) = stage_on(server.access()).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    for hangs in [true, false] {
        let mut service = following(&database.ini(&settings())).await;
        let calls = receiver.count();
        receiver.wait_for(calls + 20, Duration::from_secs(20)).await;
        if hangs {
            server.signal(Signal::STOP);
            stop_in_time(&mut service).await;
            server.signal(Signal::CONT);
        } else {
            server.kill().await;
            stop_in_time(&mut service).await;
            server.start_again().await;
        }
    }
    let found = the_next_one_does_the_rest(&database, &receiver, load).await;
    assert!(found.extra_calls <= found.taken_back, "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_before_the_database_was_ever_there_ends_at_once() {
    let mut server = OwnServer::start(&[]).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    let ini = database.ini(&settings());
    server.kill().await;
    let mut service = Service::run(&ini);
    service.wait_for_line("the database is not there yet", Duration::from_secs(20)).await;
    assert_eq!(stop_in_time(&mut service).await, Some(0));
    server.start_again().await;
}
