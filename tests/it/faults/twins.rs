//! The same service started twice by mistake: on one configuration, with one number as a replication client.

use super::checker::check;
use super::load::Load;
use super::{ENOUGH, NO_SWEEP, SETTLES, base, following, ledger, report, stage, times};
use crate::support::wait::eventually;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_on_the_same_configuration_shares_the_work() {
    let (database, receiver) = stage().await;
    // High enough to be nobody else's on the server that the tests share.
    let number = rand::random_range(1_u32 << 29..1 << 30);
    let ini = database.ini(&format!("{NO_SWEEP}[binlog]\nserver_id: {number}\n"));
    let (mut first, mut second) = (following(&ini).await, following(&ini).await);
    let load = Load::start(&database, &base(&receiver), (4, 60));
    eventually("one of them takes another number", SETTLES, async || {
        let lines = [first.lines(), second.lines()].concat();
        lines.into_iter().find(|line| line.contains("another replication client uses our server_id"))
    })
    .await;
    tokio::time::sleep(Duration::from_secs(times(2, 60) as u64)).await;
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    let owners: u64 = database.query_one("SELECT COUNT(DISTINCT claimed_by) FROM queued_job").await;
    assert_eq!(owners, 2, "both worked");
    report("started twice", format!("{found:?}"));
    for service in [&mut first, &mut second] {
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
        ledger::assert_nothing_lost(service);
    }
}
