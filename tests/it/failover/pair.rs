//! A semi-synchronous pair: the primary dies, the replica is promoted by hand, and the service goes on there.

use super::load::{Found, Load, check};
use super::{NO_SWEEP, SOON, count, following, report};
use crate::support::pair::Pair;
use crate::support::receiver::Receiver;
use std::time::Instant;

#[tokio::test]
async fn the_service_goes_on_with_the_replica_that_was_promoted() {
    let mut pair = Pair::start().await;
    let receiver = Receiver::start().await;
    let service = following(&pair.cluster.ini(&[0, 1], NO_SWEEP)).await;
    let load = Load::start(&pair.cluster, &receiver.url(""));
    load.until_more(200, SOON).await;
    receiver.wait_for(100, SOON).await;
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
    assert_eq!(count(&service, "working on another server now"), 1, "{:#?}", service.lines());
}
