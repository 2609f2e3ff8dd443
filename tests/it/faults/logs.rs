//! The log flushed, purged and begun anew while jobs come in.

use super::checker::check;
use super::load::{Load, Written};
use super::{ENOUGH, NO_SWEEP, SETTLES, base, following, ledger, report, stage_on, times};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::Proxy;
use crate::support::receiver::Receiver;
use crate::support::server::OwnServer;
use crate::support::service::Service;
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_flushed_and_purged_behind_us_under_load_loses_nothing() {
    let server = OwnServer::start(&[]).await;
    let (database, receiver) = stage_on(server.access()).await;
    let mut service = following(&database.ini(NO_SWEEP)).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    for _ in 0..times(8, 80) {
        tokio::time::sleep(Duration::from_millis(250)).await;
        database.execute("FLUSH BINARY LOGS").await;
        purge_all_but_the_last(&database).await;
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    report("log flushed and purged", format!("{found:?}"));
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
}

async fn purge_all_but_the_last(database: &TestDatabase) {
    let mut conn = database.conn().await;
    let files: Vec<mysql_async::Row> = conn.query("SHOW BINARY LOGS").await.unwrap();
    let last: String = files.last().unwrap().get(0).unwrap();
    conn.query_drop(format!("PURGE BINARY LOGS TO '{last}'")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_purged_while_the_stream_is_broken_is_a_gap_that_is_swept_and_counted() {
    let server = OwnServer::start(&[]).await;
    let cut_off = CutOff::start(&server).await;
    cut_off.miss_some_jobs().await;
    // The file with those jobs is gone before the service comes back.
    cut_off.database.execute("FLUSH BINARY LOGS; FLUSH BINARY LOGS").await;
    until("one file is left", SETTLES, async || {
        // A file that the server is still sending is kept, without a word.
        purge_all_but_the_last(&cut_off.database).await;
        cut_off.database.query::<mysql_async::Row>("SHOW BINARY LOGS").await.len() == 1
    })
    .await;
    cut_off.come_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_begun_anew_while_the_stream_is_broken_is_a_gap_that_is_swept_and_counted() {
    let server = OwnServer::start(&[]).await;
    let cut_off = CutOff::start(&server).await;
    cut_off.miss_some_jobs().await;
    let reset = if cut_off.database.is_mysql() { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" };
    cut_off.database.execute(reset).await;
    cut_off.come_back().await;
}

/// A service that the network keeps away from its database for a while.
struct CutOff {
    database: TestDatabase,
    receiver: Receiver,
    proxy: Proxy,
    service: Service,
}

const MISSED: u32 = 20;

impl CutOff {
    async fn start(server: &OwnServer) -> CutOff {
        let (database, receiver) = stage_on(server.access()).await;
        let proxy = Proxy::start(database.server().address()).await;
        let service = following(&database.ini_at(proxy.port(), NO_SWEEP)).await;
        job().url(receiver.url("/work")).insert_times(&database, MISSED as usize).await;
        receiver.wait_for(MISSED as usize, Duration::from_secs(20)).await;
        CutOff { database, receiver, proxy, service }
    }

    async fn miss_some_jobs(&self) {
        self.proxy.refuse().await;
        self.proxy.cut_all();
        // Old enough for the ledger to count them.
        job().url(self.receiver.url("/work")).due_for(10).insert_times(&self.database, MISSED as usize).await;
    }

    async fn come_back(mut self) {
        self.proxy.accept().await;
        self.service.wait_for_line("because=Gap", Duration::from_secs(20)).await;
        job().url(self.receiver.url("/work")).insert_times(&self.database, MISSED as usize).await;
        let found = check(&self.database, &self.receiver, &Written::default()).await;
        assert_eq!((found.jobs, found.calls), (3 * MISSED as usize, 3 * MISSED), "{found:?}");
        let lost = ledger::lost(&self.service);
        assert_eq!(lost, ledger::Counted::from([("lost_to_gap".to_owned(), MISSED.into())]));
        assert_eq!(self.service.stop(Duration::from_secs(10)).await, Some(0));
        assert_eq!(ledger::counted(&self.service)["lost_to_gap"], u64::from(MISSED));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_begun_anew_under_load_loses_nothing() {
    let server = OwnServer::start(&[]).await;
    let (database, receiver) = stage_on(server.access()).await;
    let mut service = following(&database.ini(NO_SWEEP)).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let reset = if database.is_mysql() { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" };
    for _ in 0..times(2, 10) {
        tokio::time::sleep(Duration::from_millis(700)).await;
        // MariaDB begins no log anew while somebody reads it.
        end_streams(&database).await;
        let _ = database.conn().await.query_drop(reset).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    report("log begun anew", format!("{found:?}"));
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_lost_only_to(&service, &["lost_to_gap"]);
}

async fn end_streams(database: &TestDatabase) {
    let mut conn = database.conn().await;
    let sql = "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
    for id in conn.query::<u64, _>(sql).await.unwrap() {
        let _ = conn.query_drop(format!("KILL {id}")).await;
    }
}
