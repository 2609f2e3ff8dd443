//! The stream breaks and is taken up again.

use super::for_both_clients;
use super::rig::{Rig, SOON, Setup};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::{Mode, Proxy, Way};
use crate::support::wait::until;
use futures_core::Stream;
use mysql_async::{BinlogStreamRequest, Conn};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strings_queue::cdc::BinlogStream;
use strings_queue::metrics::Counter;
use strings_queue::wakeup::SweepCause;
use tokio::sync::RwLock;

for_both_clients! {
    the_log_goes_on_in_another_file
    checksums_come_and_go
    a_killed_connection_loses_nothing
    a_cut_connection_loses_nothing
    a_purged_position_is_a_gap
    silence_is_noticed
    clients_with_one_server_id_go_apart
    a_replica_with_our_server_id_that_comes_again_and_again_is_left_alone
}

/// A purge makes gaps for all whose stream is broken at that time: tests that want none hold this for reading.
pub(super) static PURGE: RwLock<()> = RwLock::const_new(());

async fn the_log_goes_on_in_another_file(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    let mut ids = job().insert_times(&database, 2).await;
    for _ in 0..3 {
        database.execute("FLUSH BINARY LOGS").await;
        ids.extend(job().insert_times(&database, 2).await);
    }
    rig.assert_rung(&database, &ids).await;
    assert_eq!(rig.metrics.get(Counter::StreamBreaks), 0);
}

async fn checksums_come_and_go(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    let mut ids = job().insert_times(&database, 2).await;
    for checksum in ["NONE", "CRC32", "NONE", "CRC32"] {
        database.execute(&format!("SET GLOBAL binlog_checksum = {checksum}")).await;
        ids.extend(job().insert_times(&database, 2).await);
    }
    rig.assert_rung(&database, &ids).await;
}

async fn a_killed_connection_loses_nothing(client: BinlogStream) {
    let _no_purge = PURGE.read().await;
    let database = TestDatabase::with_schema().await;
    let user = database.name();
    database
        .execute(&format!(
            "CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'pass word'; GRANT ALL ON *.* TO {user}@'127.0.0.1'"
        ))
        .await;
    let rig = Setup::new(&database, client).await.user(user, "pass word").start();
    rig.until_following().await;
    let mut ids = Vec::new();
    for round in 1..=3 {
        ids.extend(job().insert_times(&database, 3).await);
        // One that is killed before it is open counts as no break.
        rig.until_following().await;
        kill_dump_of(&database, user).await;
        ids.extend(job().insert_times(&database, 3).await);
        rig.until_breaks(round).await;
        ids.extend(job().insert_times(&database, 3).await);
    }
    rig.until_swept_for(SweepCause::Resumed).await;
    let heard = rig.heard_until_now(&database).await;
    for id in ids {
        assert!(heard.jobs.contains(&id), "{id} was lost: {heard:?}");
    }
    assert!(!heard.sweeps.contains(&SweepCause::Gap), "{heard:?}");
    database.execute(&format!("DROP USER {user}@'127.0.0.1'")).await;
}

/// Kills the newest one: the server may not be done yet with one that was killed before.
async fn kill_dump_of(database: &TestDatabase, user: &str) {
    let sql = format!(
        "SELECT id FROM information_schema.processlist WHERE user = '{user}' AND command LIKE 'Binlog Dump%' \
         ORDER BY id DESC LIMIT 1"
    );
    let stream: u64 = database.query_one(&sql).await;
    database.execute(&format!("KILL {stream}")).await;
}

async fn a_cut_connection_loses_nothing(client: BinlogStream) {
    let _no_purge = PURGE.read().await;
    let database = TestDatabase::with_schema().await;
    let proxy = Proxy::start(database.server().address()).await;
    let rig = Setup::new(&database, client).await.port(proxy.port()).start();
    rig.until_following().await;
    let mut ids = job().insert_times(&database, 3).await;
    proxy.refuse().await;
    proxy.cut_all();
    rig.until_broken(SOON).await;
    ids.extend(job().insert_times(&database, 3).await);
    proxy.accept().await;
    rig.until_swept_for(SweepCause::Resumed).await;
    let heard = rig.heard_until_now(&database).await;
    assert_eq!(heard.jobs, ids, "each once: the place was kept");
    assert!(!heard.sweeps.contains(&SweepCause::Gap));
}

async fn a_purged_position_is_a_gap(client: BinlogStream) {
    let _alone = PURGE.write().await;
    let database = TestDatabase::with_schema().await;
    let proxy = Proxy::start(database.server().address()).await;
    let rig = Setup::new(&database, client).await.port(proxy.port()).start();
    rig.until_following().await;
    job().insert(&database).await;
    proxy.refuse().await;
    proxy.cut_all();
    rig.until_broken(SOON).await;
    purge(&database).await;
    proxy.accept().await;
    rig.until_swept_for(SweepCause::Gap).await;
    rig.until_following().await;
    rig.heard_until_now(&database).await;
}

/// Makes the server forget all files of the log but a new one.
async fn purge(database: &TestDatabase) {
    let old: Vec<mysql_async::Row> = database.query("SHOW BINARY LOGS").await;
    let old: String = old.last().unwrap().get(0).unwrap();
    until("the old files are gone", SOON, async || {
        database.execute("FLUSH BINARY LOGS").await;
        let files: Vec<mysql_async::Row> = database.query("SHOW BINARY LOGS").await;
        let names: Vec<String> = files.iter().map(|row| row.get(0).unwrap()).collect();
        database.execute(&format!("PURGE BINARY LOGS TO '{}'", names.last().unwrap())).await;
        let files: Vec<mysql_async::Row> = database.query("SHOW BINARY LOGS").await;
        files.iter().all(|row| row.get::<String, _>(0).unwrap() > old)
    })
    .await;
}

async fn silence_is_noticed(client: BinlogStream) {
    let _no_purge = PURGE.read().await;
    let database = TestDatabase::with_schema().await;
    let proxy = Proxy::start(database.server().address()).await;
    let rig = Setup::new(&database, client).await.port(proxy.port()).start();
    rig.until_following().await;
    let before = Instant::now();
    proxy.set(Way::ToClient, Mode::Swallow);
    let reason = rig.until_broken(Duration::from_secs(15)).await;
    assert!(reason.contains("no event and no heartbeat"), "{reason}");
    assert!(before.elapsed() > Duration::from_secs(5), "not silence: {:?}", before.elapsed());
    proxy.set(Way::ToClient, Mode::Pass);
    proxy.cut_all();
    let id = job().insert(&database).await;
    until("the job is rung for", Duration::from_secs(20), async || rig.heard().jobs.contains(&id)).await;
}

async fn clients_with_one_server_id_go_apart(client: BinlogStream) {
    let _no_purge = PURGE.read().await;
    let database = TestDatabase::with_schema().await;
    let number = rand::random_range(1_000..100_000_000);
    let first = Setup::new(&database, client).await.server_id(number).start();
    first.until_following().await;
    let second = Setup::new(&database, client).await.server_id(number).start();
    second.until_following().await;
    first.until_breaks(1).await;
    first.until_following().await;
    // Both follow, and neither throws the other out any more.
    let ids = job().insert_times(&database, 3).await;
    for rig in [&first, &second] {
        let heard = rig.heard_until_now(&database).await;
        assert!(ids.iter().all(|id| heard.jobs.contains(id)), "{heard:?}");
    }
    assert_eq!(second.metrics.get(Counter::StreamBreaks), 0);
    assert_eq!(first.metrics.get(Counter::StreamBreaks), 1);
}

/// One that knows no other number than ours, and connects anew whenever it is thrown out.
async fn a_replica_with_our_server_id_that_comes_again_and_again_is_left_alone(client: BinlogStream) {
    let _no_purge = PURGE.read().await;
    let database = TestDatabase::with_schema().await;
    let number = rand::random_range(1_000..100_000_000);
    let rig = Setup::new(&database, client).await.server_id(number).start();
    rig.until_following().await;
    let (opts, connections) = (database.server().opts(None), Arc::new(AtomicU64::new(0)));
    let replica = {
        let connections = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let conn = Conn::new(opts.clone()).await.unwrap();
                connections.fetch_add(1, Ordering::Relaxed);
                if let Ok(mut stream) = conn.get_binlog_stream(BinlogStreamRequest::new(number)).await {
                    while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut stream).poll_next(context)).await {}
                }
            }
        })
    };
    rig.until_breaks(1).await;
    rig.until_following().await;
    let ids = job().insert_times(&database, 3).await;
    let heard = rig.heard_until_now(&database).await;
    assert!(ids.iter().all(|id| heard.jobs.contains(id)), "{heard:?}");
    let thrown_out = connections.load(Ordering::Relaxed);
    // Each has a number of its own now.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.metrics.get(Counter::StreamBreaks), 1);
    assert_eq!(connections.load(Ordering::Relaxed), thrown_out);
    replica.abort();
}
