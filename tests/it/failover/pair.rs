//! A semi-synchronous pair: the primary dies, the replica is promoted by hand, and the services go on there.

use super::load::{Found, Load, check};
use super::{NO_SWEEP, SOON, count, following, report};
use crate::support::pair::Pair;
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

fn slow_calls(receiver: &Receiver) -> usize {
    receiver.requests().iter().filter(|request| request.path.starts_with(SLOW)).count()
}
