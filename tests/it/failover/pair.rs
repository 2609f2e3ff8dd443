//! A semi-synchronous pair: the primary dies, the replica is promoted by hand, and the services go on there.

use super::{NO_SWEEP, SOON, all_stop, count, following, load, report};
use crate::support::checker::plan::answer_by_plan_and;
use crate::support::cluster::DATABASE;
use crate::support::left_out::only_in_full;
use crate::support::pair::Pair;
use crate::support::proxy::Proxy;
use crate::support::receiver::{Gate, Receiver};
use crate::support::turn::Turn;
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};

/// Calls of the load have other queries.
const SLOW: &str = "/work?slow";
/// A job that is done.
const WORK: &str = "/work?one";

/// Two of them: neither takes the other for dead, though the locks of both are gone with the primary.
#[tokio::test]
async fn the_services_go_on_with_the_replica_that_was_promoted() {
    let _turn = Turn::take_all().await;
    let mut pair = Pair::start().await;
    let receiver = load::handler().await;
    answer_by_plan_and(&receiver, |answer, call| {
        if call.path.starts_with(SLOW) { answer.after(Duration::from_secs(3)) } else { answer }
    });
    let ini = pair.cluster.ini(&[0, 1], NO_SWEEP);
    let services = [following(&ini).await, following(&ini).await];
    let load = load::start(&pair.cluster, &receiver);
    load.until_more(200, SOON).await;
    // Calls that outlast the change, of both.
    pair.cluster.enqueue(&receiver.url(SLOW), 20).await;
    until("they are under way", SOON, async || slow_calls(&receiver) == 20).await;
    pair.cluster.members[0].kill().await;
    pair.promote().await;
    let promoted_at = Instant::now();
    let calls = receiver.count();
    load.until_more(100, SOON).await;
    receiver.wait_for(calls + 100, SOON).await;
    let took = promoted_at.elapsed().as_secs_f32();
    let found = load::stop_and_check(&pair.cluster, &receiver, load).await;
    report("promotion", &format!("{found:?}; 100 calls {took:.1} s after it"));
    found.assert_doubled_nothing();
    for service in &services {
        assert_eq!(count(service, "working on another server now"), 1, "{:#?}", service.lines());
    }
    all_stop(services).await;
}

/// No lock shows which services live until all of them had the time to come to the new server.
#[tokio::test]
async fn jobs_of_a_service_that_dies_with_its_server_are_taken_back_a_little_later() {
    if !only_in_full("a death with the server") {
        return;
    }
    let mut pair = Pair::start().await;
    let receiver = Receiver::start().await;
    let gate = Gate::closed();
    let gated = gate.clone();
    answer_by_plan_and(&receiver, move |answer, _| answer.behind(&gated));
    let ini = pair.cluster.ini(&[0, 1], NO_SWEEP);
    let mut dying = following(&ini).await;
    pair.cluster.enqueue(&receiver.url(SLOW), 5).await;
    until("they are under way", SOON, async || slow_calls(&receiver) == 5).await;
    let service = following(&ini).await;
    dying.kill().await;
    pair.cluster.members[0].kill().await;
    pair.promote().await;
    service.wait_for_line("working on another server now", SOON).await;
    let moved = Instant::now();
    gate.open();
    service.wait_for_line("jobs taken back", SOON * 2).await;
    let took = moved.elapsed();
    report("a death with the server", &format!("taken back {:.1} s after the failover", took.as_secs_f32()));
    assert!(took > Duration::from_secs(8), "a free lock was believed after {took:?}");
    assert!(took < Duration::from_secs(15), "taken back after {took:?}");
    let found = load::check_on(&pair.cluster, 1, &receiver).await;
    assert_eq!((found.jobs, found.calls, found.extra_calls, found.taken_back), (5, 10, 5, 5), "{found:?}");
    all_stop([service]).await;
}

/// As a primary does that has lost the majority of its group: it reads, is not read-only, and lets every write wait.
#[tokio::test]
async fn a_server_that_lets_writes_wait_for_ever_is_left_for_one_that_does_not() {
    if !only_in_full("writes that wait for ever") {
        return;
    }
    let pair = Pair::start().await;
    let receiver = load::handler().await;
    let service = following(&pair.cluster.ini(&[0, 1], NO_SWEEP)).await;
    let url = receiver.url(WORK);
    let later = format!(
        "INSERT INTO {DATABASE}.queued_job (http_method, url, body, run_at) \
         VALUES ('post', '{url}', 'x', NOW(6) + INTERVAL 5 SECOND)"
    );
    pair.cluster.execute(&later).await;
    let mut locking = Conn::new(pair.cluster.opts(0)).await.unwrap();
    locking.query_drop("FLUSH TABLES WITH READ LOCK").await.unwrap();
    pair.promote().await;
    assert_eq!(receiver.count(), 0);
    receiver.wait_for(1, SOON * 3).await;
    assert_eq!(count(&service, "working on another server now"), 1, "{:#?}", service.lines());
    load::assert_called_once(&pair.cluster, 1, &receiver, 1).await;
}

/// Nobody enqueues, and our connections to the old primary stand. One service knows both hosts, the other one address
/// behind which another server answers from now on, as after a change of DNS.
#[tokio::test]
async fn idle_services_leave_a_server_that_takes_no_writes_any_more() {
    let pair = Pair::start().await;
    let receiver = load::handler().await;
    let proxy = Proxy::start(pair.cluster.access(0).address()).await;
    let often = "[sweep]\ninterval_secs: 1\n";
    let by_list = following(&pair.cluster.ini(&[0, 1], often)).await;
    let by_name = following(&pair.cluster.ini_for(&proxy.address().to_string(), often)).await;
    pair.cluster.execute_on(0, "SET GLOBAL read_only = ON").await;
    pair.promote().await;
    proxy.lead_to(pair.cluster.access(1).address());
    for service in [&by_list, &by_name] {
        service.wait_for_line("working on another server now", SOON).await;
        until("the log is followed there", SOON, async || count(service, "following the log") == 2).await;
    }
    pair.cluster.enqueue(&receiver.url(WORK), 1).await;
    load::assert_called_once(&pair.cluster, 1, &receiver, 1).await;
    all_stop([by_list, by_name]).await;
}

/// As a reader of Aurora: `read_only` is off, and it takes no writes all the same.
#[tokio::test]
async fn a_server_whose_storage_only_reads_is_passed_over() {
    let mut pair = Pair::start().await;
    let receiver = load::handler().await;
    pair.cluster.members[0].stop().await;
    pair.promote().await;
    pair.cluster.members[0].add_option("--innodb-read-only=1");
    pair.cluster.members[0].start_again().await;
    let service = following(&pair.cluster.ini(&[0, 1], NO_SWEEP)).await;
    let row = format!("('post', '{}', 'x')", receiver.url(WORK));
    let insert = format!("INSERT INTO {DATABASE}.queued_job (http_method, url, body) VALUES {row}");
    pair.cluster.execute_on(1, &insert).await;
    load::assert_called_once(&pair.cluster, 1, &receiver, 1).await;
    all_stop([service]).await;
}

/// One address leads to another server from now on, and the old one still takes writes: our connections to it stand. The
/// one that reads the log breaks, and comes to the other, which has no such place in its log. Nobody works on two.
#[tokio::test]
async fn a_stream_that_comes_to_another_server_behind_one_address_takes_all_connections_there() {
    let pair = Pair::start().await;
    let receiver = load::handler().await;
    let proxy = Proxy::start(pair.cluster.access(0).address()).await;
    // Files of these numbers the other one has not.
    pair.cluster.execute_on(0, "FLUSH BINARY LOGS; FLUSH BINARY LOGS; FLUSH BINARY LOGS").await;
    let service = following(&pair.cluster.ini_for(&proxy.address().to_string(), NO_SWEEP)).await;
    pair.promote().await;
    proxy.lead_to(pair.cluster.access(1).address());
    let mut conn = Conn::new(pair.cluster.opts(0)).await.unwrap();
    let readers: Vec<u64> = conn
        .query(
            "SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%' AND USER <> 'sq_replica'",
        )
        .await
        .unwrap();
    for reader in readers {
        conn.query_drop(format!("KILL {reader}")).await.unwrap();
    }
    service.wait_for_line("working on another server now", SOON).await;
    until("the log is followed there", SOON, async || count(&service, "following the log") == 2).await;
    let ours = format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = '{DATABASE}'");
    until("nobody works on the old one", SOON, async || conn.query_first::<u64, _>(&ours).await.unwrap() == Some(0))
        .await;
    let row = format!("('post', '{}', 'x')", receiver.url(WORK));
    pair.cluster
        .execute_on(1, &format!("INSERT INTO {DATABASE}.queued_job (http_method, url, body) VALUES {row}"))
        .await;
    load::assert_called_once(&pair.cluster, 1, &receiver, 1).await;
    all_stop([service]).await;
}

fn slow_calls(receiver: &Receiver) -> usize {
    receiver.requests().iter().filter(|request| request.path.starts_with(SLOW)).count()
}
