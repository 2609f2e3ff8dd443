//! How many calls there are at once, and that one host's slots are its own.

use super::{QUIET, Rig, SOON, insert_many};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::{Answer, Gate, Receiver};
use crate::support::service::{Service, wrapped_program};
use crate::support::turn::Turn;
use crate::support::wait::{throughout, until};
use std::time::Duration;

/// With these jobs in the table before it starts, so that the first claims see them all.
async fn rig_with(jobs: &[(usize, String)], settings: &str) -> Rig {
    let database = TestDatabase::with_schema().await;
    for (count, url) in jobs {
        insert_many(&database, *count, url, "'x'").await;
    }
    let service = Service::run(&database.ini(&format!("{QUIET}{settings}")));
    Rig { database, service }
}

async fn until_all_done(rig: &Rig, count: i64) {
    until("all jobs are done", SOON, async || {
        let done: i64 = rig.database.query_one("SELECT COUNT(*) FROM queued_job WHERE state = 'completed'").await;
        done == count
    })
    .await;
}

#[tokio::test]
async fn there_are_never_more_calls_at_once_than_the_limit_to_one_host() {
    let (receiver, gate) = (Receiver::start().await, Gate::closed());
    receiver.on("/", Answer::ok().behind(&gate));
    let rig = rig_with(&[(20, receiver.url("/"))], "[dispatch]\nmax_in_flight_per_host: 3\n").await;
    until("the host's slots are used", SOON, async || receiver.in_flight() == 3).await;
    insert_many(&rig.database, 10, &receiver.url("/"), "'x'").await;
    throughout("three at once", Duration::from_millis(300), async || receiver.in_flight() == 3).await;
    gate.open();
    until_all_done(&rig, 30).await;
    assert_eq!((receiver.max_in_flight(), receiver.count()), (3, 30));
}

#[tokio::test]
async fn there_are_never_more_calls_at_once_than_the_limit_to_all_hosts() {
    let (receiver, gate) = (Receiver::start().await, Gate::closed());
    receiver.on("/", Answer::ok().behind(&gate));
    // One receiver by three names, which are three hosts.
    let port = receiver.address().port();
    let jobs = ["127.0.0.1", "localhost", "0.0.0.0"].map(|host| (10, format!("http://{host}:{port}/")));
    let rig = rig_with(&jobs, "[dispatch]\nmax_in_flight: 7\nmax_in_flight_per_host: 4\n").await;
    until("all slots are used", SOON, async || receiver.in_flight() == 7).await;
    throughout("seven at once", Duration::from_millis(300), async || receiver.in_flight() == 7).await;
    gate.open();
    until_all_done(&rig, 30).await;
    assert_eq!((receiver.max_in_flight(), receiver.count()), (7, 30));
}

#[tokio::test]
async fn a_slow_host_does_not_hold_up_another() {
    let (slow, quick, gate) = (Receiver::start().await, Receiver::start().await, Gate::closed());
    slow.on("/", Answer::ok().behind(&gate));
    let jobs = [(200, slow.url("/")), (50, quick.url("/"))];
    let rig = rig_with(&jobs, "[dispatch]\nmax_in_flight: 6\nmax_in_flight_per_host: 4\nbatch_size: 10\n").await;
    until_all_done(&rig, 50).await;
    for _ in 0..10 {
        rig.finish(job().url(quick.url("/"))).await.assert_done();
    }
    assert_eq!((slow.in_flight(), slow.count(), quick.count()), (4, 4, 60));
    gate.open();
    until_all_done(&rig, 260).await;
    assert_eq!((slow.max_in_flight(), slow.count()), (4, 200));
}

#[tokio::test]
async fn calls_have_as_many_files_as_the_machine_allows() {
    let (receiver, gate) = (Receiver::start().await, Gate::closed());
    receiver.on("/", Answer::ok().behind(&gate));
    let database = TestDatabase::with_schema().await;
    // Each call takes a file; what a shell gives to its programs is often less than they may take.
    let mut command = wrapped_program(["prlimit", "--nofile=64:4096"].map(Into::into));
    command.arg("run").arg(database.ini(QUIET));
    let rig = Rig { service: Service::spawn(command), database };
    insert_many(&rig.database, 120, &receiver.url("/"), "'x'").await;
    until("all are called at once", SOON, async || receiver.in_flight() == 120).await;
    gate.open();
    until_all_done(&rig, 120).await;
    assert_eq!(receiver.count(), 120);
}

/// Such handlers are neither quick, so that nothing is claimed ahead, nor slow enough to stand aside; their calls end one
/// by one.
#[tokio::test]
async fn claims_for_a_handler_that_takes_a_while_are_worth_their_transactions() {
    let _turn = Turn::take().await;
    let (receiver, gate) = (Receiver::start().await, Gate::closed());
    let closed = gate.clone();
    receiver.on_call("/", move |call| {
        let spread = call.job_id().unwrap() * 7_919 % 100;
        Answer::ok().behind(&closed).after(Duration::from_millis(110 + spread))
    });
    let rig = rig_with(&[(1_000, receiver.url("/")), (1_000, receiver.url("/"))], "").await;
    // On a busy machine the first answers may leave before the last slot's request is there.
    until("all slots are used", SOON, async || receiver.in_flight() == 128).await;
    gate.open();
    until_all_done(&rig, 2_000).await;
    let claims: usize = rig.database.query_one("SELECT COUNT(DISTINCT claim_token) FROM queued_job").await;
    assert!(claims <= 2_000 / 3, "{claims} claims for 2,000 jobs");
    assert_eq!((receiver.count(), receiver.max_in_flight()), (2_000, 128));
}
