//! A semi-synchronous pair: the primary dies, the replica is promoted by hand, and the services go on there.

use super::load::{Found, Load, check};
use super::{NO_SWEEP, SOON, count, following, report};
use crate::support::pair::Pair;
use crate::support::proxy::Proxy;
use crate::support::receiver::{Answer, Receiver};
use crate::support::wait::until;
use std::time::{Duration, Instant};

const SLOW: &str = "/slow";

/// Two of them: neither takes the other for dead, though the locks of both are gone with the primary.
#[tokio::test]
async fn the_services_go_on_with_the_replica_that_was_promoted() {
    let mut pair = Pair::start().await;
    let receiver = Receiver::start().await;
    receiver.on_call(SLOW, |_| Answer::ok().after(Duration::from_secs(3)));
    let ini = pair.cluster.ini(&[0, 1], NO_SWEEP);
    let services = [following(&ini).await, following(&ini).await];
    let load = Load::start(&pair.cluster, &receiver.url(""));
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
    let written = load.stop().await;
    let found = check(&pair.cluster, &receiver, &written).await;
    report("promotion", &format!("{found:?}; 100 calls {took:.1} s after it"));
    assert_eq!(found, Found { extra_calls: 0, taken_back: 0, ..found });
    for service in services {
        assert_eq!(count(&service, "working on another server now"), 1, "{:#?}", service.lines());
    }
}

/// Nobody enqueues, and our connections to the old primary stand. One service knows both hosts, the other one address
/// behind which another server answers from now on, as after a change of DNS.
#[tokio::test]
async fn idle_services_leave_a_server_that_takes_no_writes_any_more() {
    let pair = Pair::start().await;
    let receiver = Receiver::start().await;
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
    pair.cluster.enqueue(&receiver.url("/"), 1).await;
    receiver.wait_for(1, SOON).await;
}

fn slow_calls(receiver: &Receiver) -> usize {
    receiver.requests().iter().filter(|request| request.path.starts_with(SLOW)).count()
}
