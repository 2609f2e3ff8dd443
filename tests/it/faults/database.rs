//! The database killed, restarted, made read-only, full of others' connections; our sessions killed.

use super::batches::Batches;
use super::checker::{Found, check};
use super::load::Load;
use super::{ENOUGH, NO_SWEEP, all_following, all_stop, base, following, ledger, report, stage_on, times};
use crate::support::database::TestDatabase;
use crate::support::server::OwnServer;
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_killed_or_restarted_under_load_costs_no_job_and_doubles_none() {
    killed_or_restarted(Batches::Any).await;
}

pub(super) async fn killed_or_restarted(batches: Batches) {
    let mut server = OwnServer::start(&[]).await;
    let (database, receiver) = batches.stage_on(server.access()).await;
    let ini = database.ini(&batches.settings());
    let (mut first, mut second) = (following(&ini).await, following(&ini).await);
    let load = batches.load(&database, &base(&receiver));
    let (mut outage, mut recovery) = (Duration::ZERO, Duration::ZERO);
    for round in 0..times(2, 12) {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let down = Instant::now();
        if round % 2 == 0 {
            server.kill().await;
        } else {
            server.stop().await;
        }
        server.start_again().await;
        outage = outage.max(down.elapsed());
        let (up, calls) = (Instant::now(), receiver.count());
        receiver.wait_for(calls + 1, Duration::from_secs(20)).await;
        recovery = recovery.max(up.elapsed());
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    // Both services live, and the results that they could not write meanwhile are written later.
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    batches.assert_formed(&database).await;
    report(
        &batches.name("database killed"),
        format!("{found:?}, longest outage {outage:?}, first call after {recovery:?}"),
    );
    for service in [&mut first, &mut second] {
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
        // An outage may be long enough for a sweep to be the first that is back.
        ledger::assert_lost_only_to(service, &ledger::BROKEN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_our_connections_may_be_killed() {
    connections_killed(1).await.assert_doubled_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_connection_of_two_dispatchers_may_be_killed() {
    connections_killed(2).await.assert_taken_only_from_the_silent();
}

async fn connections_killed(dispatchers: usize) -> Found {
    let server = OwnServer::start(&[]).await;
    let (database, receiver) = stage_on(server.access()).await;
    let services = all_following(&database.ini(NO_SWEEP), dispatchers).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let mut killed = 0;
    for _ in 0..times(8, 80) {
        tokio::time::sleep(Duration::from_millis(250)).await;
        killed += kill_connections(&database).await;
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert!(killed > 40, "{killed} killed");
    report("connections killed", format!("{dispatchers} dispatchers, {found:?}, {killed} connections"));
    all_stop(services, &ledger::BROKEN).await;
    found
}

/// All connections to the database but one, the applications' too; how many.
async fn kill_connections(database: &TestDatabase) -> usize {
    let sql = format!(
        "SELECT id FROM information_schema.processlist WHERE (db = '{}' OR command LIKE 'Binlog Dump%') \
         AND id <> CONNECTION_ID()",
        database.name()
    );
    let mut conn = database.conn().await;
    let connections: Vec<u64> = conn.query(sql).await.unwrap();
    for id in &connections {
        // It may have ended by itself.
        let _ = conn.query_drop(format!("KILL {id}")).await;
    }
    connections.len()
}
