//! Group Replication: the members elect a new primary, and two services follow it.

use super::{NO_SWEEP, SOON, all_stop, count, following, load, report};
use crate::faults::checker::Found;
use crate::faults::load::Load;
use crate::support::checker::plan::answer_by_plan_and;
use crate::support::cluster::{Cluster, DATABASE, ELECTED};
use crate::support::group::Group;
use crate::support::left_out::only_in_full;
use crate::support::receiver::Receiver;
use crate::support::service::Service;
use crate::support::turn::Turn;
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// How long a stop is patient.
const DRAIN: Duration = Duration::from_secs(5);

/// What every scenario stands on.
struct Scene {
    turn: Turn,
    group: Group,
    receiver: Receiver,
    services: [Service; 2],
    load: Load,
}

impl Scene {
    /// Services with the primary last in their list, under load.
    async fn start() -> Option<Scene> {
        let turn = Turn::take_all().await;
        let group = Group::start().await;
        if group.is_none() {
            report("a group", "left out: the server has no Group Replication");
        }
        let group = group?;
        let receiver = load::handler().await;
        let settings = format!("{NO_SWEEP}[dispatch]\ndrain_secs: {}\n", DRAIN.as_secs());
        let ini = group.cluster.ini(&[2, 1, 0], &settings);
        let services = [following(&ini).await, following(&ini).await];
        let load = load::start(&group.cluster, &receiver);
        load.until_more(200, SOON).await;
        Some(Scene { turn, group, receiver, services, load })
    }

    /// What was committed from now on is called too; how long it took until the first call.
    async fn until_it_goes_on(&self) -> Duration {
        let begun = Instant::now();
        let calls = self.receiver.count();
        self.receiver.wait_for(calls + 1, ELECTED).await;
        let first = begun.elapsed();
        self.load.until_more(100, ELECTED).await;
        self.receiver.wait_for(calls + 100, ELECTED).await;
        first
    }

    /// Stops the load and holds what must be so, of each service too; no job of a live dispatcher is called twice.
    async fn finish(self, judge: impl Fn(&Service)) -> Found {
        let found = load::stop_and_check(&self.group.cluster, &self.receiver, self.load).await;
        found.assert_doubled_nothing();
        self.services.iter().for_each(judge);
        all_stop(self.services).await;
        drop(self.turn);
        found
    }
}

/// The primary stands last in the list at the start, is changed by plan, and the new one is killed.
#[tokio::test]
async fn the_services_follow_the_elected_primary_and_lose_nothing() {
    let Some(mut scene) = Scene::start().await else { return };
    scene.group.switch_to(1).await;
    scene.until_it_goes_on().await;

    let killed_at = Instant::now();
    scene.group.cluster.members[1].kill().await;
    let primary = scene.group.cluster.primary().await;
    assert_ne!(primary, 1);
    let elected = killed_at.elapsed().as_secs_f32();
    let first = scene.until_it_goes_on().await.as_secs_f32();
    // The first calls may all be those of one of the two.
    let moves = |service: &Service| count(service, "working on another server now");
    for service in &scene.services {
        until("it works on the second new primary", ELECTED, async || moves(service) == 2).await;
    }

    let Scene { turn, group, receiver, services, load } = scene;
    let found = load::stop_and_check(&group.cluster, &receiver, load).await;
    found.assert_doubled_nothing();
    for service in &services {
        assert_eq!(moves(service), 2, "{:#?}", service.lines());
    }
    a_service_dies(&group.cluster, &receiver, services).await;
    drop(turn);
    report("kill of the primary", &format!("{found:?}; election after {elected:.1} s, first call {first:.1} s later"));
}

/// One of the two dies with calls under way; the other one takes its jobs back, and calls them.
async fn a_service_dies(cluster: &Cluster, receiver: &Receiver, [mut dying, other]: [Service; 2]) {
    let primary = cluster.primary().await;
    answer_by_plan_and(receiver, |answer, _| answer.after(Duration::from_secs(3)));
    let mut conn = Conn::new(cluster.opts(primary)).await.unwrap();
    let its =
        format!("SELECT COUNT(*) FROM {DATABASE}.queued_job WHERE claimed_by LIKE '%:{}:%' AND state = ", dying.pid());
    let mut of_the_dying = 0;
    let calls = receiver.count();
    for round in 1.. {
        cluster.enqueue(&receiver.url("/work?dies"), 20).await;
        receiver.wait_for(calls + 20 * round, SOON).await;
        of_the_dying = conn.query_first(format!("{its} 'executing'")).await.unwrap().unwrap_or(0);
        if of_the_dying > 0 {
            break;
        }
    }
    dying.kill().await;
    let found = load::check_on(cluster, primary, receiver).await;
    assert_eq!((found.extra_calls, found.taken_back), (of_the_dying, of_the_dying), "{found:?}");
    all_stop([other]).await;
}

/// The old primary comes back and serves as a secondary; all members are gone for a while; the primary freezes, is
/// expelled, and wakes up with our connections to it.
#[tokio::test]
async fn the_services_survive_a_rejoin_an_outage_and_an_expulsion() {
    if !only_in_full("rejoin, outage, expulsion") {
        return;
    }
    let Some(mut scene) = Scene::start().await else { return };
    scene.group.cluster.members[0].kill().await;
    scene.group.cluster.primary().await;
    scene.until_it_goes_on().await;
    scene.group.cluster.members[0].start_again().await;
    scene.group.join(0).await;
    scene.until_it_goes_on().await;

    scene.group.lose_all_and_begin_again().await;
    scene.until_it_goes_on().await;

    let frozen_at = Instant::now();
    let frozen = scene.group.cluster.primary().await;
    scene.group.cluster.members[frozen].signal(Signal::STOP);
    let primary = scene.group.cluster.primary().await;
    assert_ne!(primary, frozen);
    let elected = frozen_at.elapsed().as_secs_f32();
    let first = scene.until_it_goes_on().await.as_secs_f32();
    scene.group.cluster.members[frozen].signal(Signal::CONT);
    scene.until_it_goes_on().await;
    let found = scene.finish(|_| ()).await;
    let figures = format!("{found:?}; election after {elected:.1} s, first call {first:.1} s later");
    report("rejoin, outage, expulsion", &figures);
}

/// One of the two is told to stop while there is no member that takes writes; the other one does what it left.
#[tokio::test]
async fn a_stop_during_an_election_ends_in_time() {
    if !only_in_full("a stop during an election") {
        return;
    }
    let Some(mut scene) = Scene::start().await else { return };
    let [mut stops, other] = scene.services;
    let of_the_one = format!(
        "SELECT COUNT(*) FROM {DATABASE}.queued_job WHERE state = 'executing' AND claimed_by LIKE '%:{}:%'",
        stops.pid().as_raw_pid()
    );
    scene.group.cluster.members[0].kill().await;
    let told = Instant::now();
    let code = stops.stop(SOON).await;
    let took = told.elapsed();
    assert!(took < DRAIN + Duration::from_secs(2), "{took:?}:\n{}", stops.lines().join("\n"));
    scene.group.cluster.primary().await;
    let left: u32 = scene.group.cluster.query_one(&of_the_one).await;
    assert!(code == Some(0) && left == 0 || code == Some(1), "{code:?}, {left} claims left");
    let calls = scene.receiver.count();
    scene.load.until_more(100, ELECTED).await;
    scene.receiver.wait_for(calls + 100, ELECTED).await;
    let found = load::stop_and_check(&scene.group.cluster, &scene.receiver, scene.load).await;
    assert!(found.extra_calls <= left && found.taken_back <= left, "{found:?}, {left} claims left");
    report(
        "a stop during an election",
        &format!("{found:?}; ended after {took:.1?}, exit code {code:?}, {left} claims left"),
    );
    all_stop([other]).await;
    drop(scene.turn);
}
