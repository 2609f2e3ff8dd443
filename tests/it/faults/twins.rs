//! The same service started twice by mistake: on one configuration, with one number as a replication client.

use super::checker::check;
use super::load::Load;
use super::stops::{settings, stop_in_time, the_next_one_does_the_rest};
use super::{ENOUGH, NO_SWEEP, SETTLES, base, following, ledger, report, stage, times};
use crate::support::database::TestDatabase;
use crate::support::service::Service;
use crate::support::wait::{eventually, until};
use std::path::PathBuf;
use std::time::Duration;

/// What tells that two have the same number.
const CLASH: &str = "another replication client uses our server_id";

fn with_one_number(database: &TestDatabase, settings: &str) -> PathBuf {
    // High enough to be nobody else's on the server that the tests share.
    let number = rand::random_range(1_u32 << 29..1 << 30);
    database.ini(&format!("{settings}[binlog]\nserver_id: {number}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_on_the_same_configuration_shares_the_work() {
    let (database, receiver) = stage().await;
    let ini = with_one_number(&database, NO_SWEEP);
    let (mut first, mut second) = (following(&ini).await, following(&ini).await);
    let load = Load::start(&database, &base(&receiver), (4, 60));
    eventually("one of them takes another number", SETTLES, async || {
        let lines = [first.lines(), second.lines()].concat();
        lines.into_iter().find(|line| line.contains(CLASH))
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

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_two_instances_throw_each_other_out_ends_in_time() {
    let (database, receiver) = stage().await;
    let ini = with_one_number(&database, &settings());
    let load = Load::start(&database, &base(&receiver), (4, 60));
    for _ in 0..times(1, 20) {
        let mut both = [following(&ini).await, Service::run(&ini)];
        let clashes = |service: &Service| service.lines().iter().any(|line| line.contains(CLASH));
        until("one is thrown out", SETTLES, async || both.iter().any(clashes)).await;
        for service in &mut both {
            assert_eq!(stop_in_time(service).await, Some(0));
        }
    }
    let found = the_next_one_does_the_rest(&database, &receiver, load).await;
    found.assert_doubled_nothing();
}
