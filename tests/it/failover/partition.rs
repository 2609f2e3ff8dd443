//! A group whose primary is cut off from the others by the network, while we and the applications reach all of them.

use super::{NO_SWEEP, SOON, all_stop, count, following, load, report};
use crate::support::cluster::{ELECTED, writable};
use crate::support::database::TestServer;
use crate::support::group::Group;
use crate::support::left_out::{left_out, only_in_full};
use crate::support::turn::Turn;
use crate::support::wait::until;
use std::time::Instant;

/// Where the primary stands last in the applications' list, so that they leave it as soon as it keeps them waiting.
const PRIMARY: usize = 2;

/// The primary is cut off for long enough to be expelled, and comes back as what it then is.
async fn the_primary_is_cut_off(what: &str, options: &[&str]) {
    if !only_in_full(what) {
        return;
    }
    let _turn = Turn::take_all().await;
    let Some((group, islands)) = Group::start_on_islands(options).await else {
        report(what, "left out: it takes Group Replication, and root and ip for networks of our own");
        if TestServer::get().is_mysql() {
            left_out("a group that is parted: networks of our own take root and ip");
        }
        return;
    };
    group.switch_to(PRIMARY).await;
    let receiver = load::handler().await;
    let ini = group.cluster.ini(&[2, 1, 0], NO_SWEEP);
    let services = [following(&ini).await, following(&ini).await];
    let load = load::start(&group.cluster, &receiver);
    load.until_more(200, SOON).await;

    islands.pull_out(PRIMARY);
    let cut_off = Instant::now();
    let others = [0, 1].map(|member| group.cluster.opts(member));
    until("another member takes writes", ELECTED, async || {
        writable(others[0].clone()).await.is_some() || writable(others[1].clone()).await.is_some()
    })
    .await;
    let elected = cut_off.elapsed().as_secs_f32();
    load.until_more(100, ELECTED).await;
    for service in &services {
        service.wait_for_line("working on another server now", ELECTED).await;
    }
    let left = cut_off.elapsed().as_secs_f32();
    let calls = receiver.count();
    receiver.wait_for(calls + 100, SOON).await;

    islands.plug_in(PRIMARY);
    let old = group.cluster.opts(PRIMARY);
    until("the old primary takes no writes any more", ELECTED, async || writable(old.clone()).await.is_none()).await;
    load.until_more(200, SOON).await;
    let calls = receiver.count();
    receiver.wait_for(calls + 100, SOON).await;
    let found = load::stop_and_check(&group.cluster, &receiver, load).await;
    report(what, &format!("{found:?}; election after {elected:.1} s, the old primary left after {left:.1} s"));
    found.assert_doubled_nothing();
    for service in &services {
        assert_eq!(count(service, "working on another server now"), 1, "{:#?}", service.lines());
    }
    all_stop(services).await;
}

/// It lets whoever writes to it wait, for as long as it is cut off.
#[tokio::test]
async fn a_primary_that_lost_its_majority_and_waits_for_it_is_left() {
    the_primary_is_cut_off("a primary without its majority", &[]).await;
}

/// It gives up after a while, and only reads from then on.
#[tokio::test]
async fn a_primary_that_lost_its_majority_and_gives_up_is_left() {
    let gives_up = "--loose-group-replication-unreachable-majority-timeout=10";
    the_primary_is_cut_off("a primary that gives up", &[gives_up]).await;
}
