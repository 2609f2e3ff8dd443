//! The log flushed, purged and begun anew while jobs come in.

use super::checker::check;
use super::load::{Load, Written};
use super::{
    ENOUGH, NO_SWEEP, SETTLES, all_following, all_stop, base, following, ledger, report, settled, stage_on,
    stage_without_load_on, sweeps, times,
};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::left_out::left_out;
use crate::support::proxy::Proxy;
use crate::support::receiver::Receiver;
use crate::support::server::OwnServer;
use crate::support::service::{Service, program};
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use std::os::unix::fs::PermissionsExt;
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

pub(super) async fn purge_all_but_the_last(database: &TestDatabase) {
    let mut conn = database.conn().await;
    let files: Vec<mysql_async::Row> = conn.query("SHOW BINARY LOGS").await.unwrap();
    let last: String = files.last().unwrap().get(0).unwrap();
    conn.query_drop(format!("PURGE BINARY LOGS TO '{last}'")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_purged_while_the_stream_is_broken_is_a_gap_that_is_swept_and_counted() {
    let server = OwnServer::start(&[]).await;
    let cut_off = CutOff::start(&server).await;
    cut_off.miss_jobs().await;
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
    cut_off.miss_jobs().await;
    assert_eq!(begin_anew(&cut_off.database).await, Ok(()));
    cut_off.come_back().await;
}

/// A service that the network keeps away from its database for a while, under load. It is alone: two that lose their
/// connections together take each other for ended, and the sweep for that may find the jobs first.
struct CutOff {
    database: TestDatabase,
    receiver: Receiver,
    proxy: Proxy,
    service: Service,
    load: Load,
}

/// Only the log, or what is done about a gap in it, can serve a job: no sweep comes because the log is not followed.
const ONLY_THE_LOG: &str = "[sweep]\ninterval_secs: 3600\ndegraded_interval_secs: 3600\n[retry]\njitter: 0\n";

/// Jobs that are missed and that were due for long when they came: each of them is a loss.
const MISSED: u64 = 20;

impl CutOff {
    async fn start(server: &OwnServer) -> CutOff {
        let (database, receiver) = stage_on(server.access()).await;
        let proxy = Proxy::start(database.server().address()).await;
        let service = settled(&database.ini_at(proxy.port(), ONLY_THE_LOG)).await;
        let load = Load::start(&database, &base(&receiver), (4, 60));
        receiver.wait_for(ENOUGH, Duration::from_secs(20)).await;
        CutOff { database, receiver, proxy, service, load }
    }

    async fn miss_jobs(&self) {
        self.proxy.refuse().await;
        self.proxy.cut_all();
        until("the server sends its log to nobody", SETTLES, async || streams(&self.database).await.is_empty()).await;
        let before = self.load.committed();
        for _ in 0..MISSED {
            job().url(self.receiver.url("/work")).due_for(10).insert(&self.database).await;
        }
        until("the load is missed", SETTLES, async || self.load.committed() >= before + times(ENOUGH, 5 * ENOUGH))
            .await;
    }

    async fn come_back(mut self) {
        self.proxy.accept().await;
        self.service.wait_for_line("because=Gap", Duration::from_secs(20)).await;
        let before = self.load.committed();
        let found = check(&self.database, &self.receiver, &self.load.stop_after(before + ENOUGH).await).await;
        assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
        assert_eq!(self.service.stop(Duration::from_secs(10)).await, Some(0));
        let lost = ledger::assert_lost_to(&self.service, "lost_to_gap");
        // No more than had come when the log was followed again.
        assert!((MISSED..before as u64 + MISSED).contains(&lost), "{lost} lost to the gap");
        report("log lost while cut off", format!("{found:?}, {lost} jobs lost to the gap"));
    }
}

/// A service that was told of a log begun anew follows that one.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_begun_anew_under_load_loses_nothing() {
    let server = OwnServer::start(&[]).await;
    let (database, receiver) = stage_on(server.access()).await;
    let ini = database.ini(NO_SWEEP);
    let mut services = [following(&ini).await, following(&ini).await];
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let mut told = services.each_ref().map(gaps);
    for _ in 0..times(2, 10) {
        tokio::time::sleep(Duration::from_millis(700)).await;
        // MariaDB begins no log anew while somebody reads it, and the services come back at once.
        until("the log is begun anew", SETTLES, async || {
            end_streams(&database).await;
            begin_anew(&database).await.is_ok()
        })
        .await;
        for (service, told) in services.iter().zip(&mut told) {
            until("the new log is followed", SETTLES, async || gaps(service) > *told).await;
            *told = gaps(service);
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    report("log begun anew", format!("{found:?}"));
    for service in &mut services {
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
        ledger::assert_lost_only_to(service, &["lost_to_gap"]);
    }
}

/// How often the service went on behind a gap in the log.
fn gaps(service: &Service) -> usize {
    let is_gap = |line: &&String| line.contains("following the log") && line.contains("because=Gap");
    service.lines().iter().filter(is_gap).count()
}

/// The server forgets its log; or says why it does not.
async fn begin_anew(database: &TestDatabase) -> Result<(), String> {
    let reset = if database.is_mysql() { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" };
    database.conn().await.query_drop(reset).await.map_err(|error| error.to_string())
}

/// The connections to which the server sends its log.
async fn streams(database: &TestDatabase) -> Vec<u64> {
    database.query("SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'").await
}

async fn end_streams(database: &TestDatabase) {
    for id in streams(database).await {
        // It may have ended by itself.
        let _ = database.conn().await.query_drop(format!("KILL {id}")).await;
    }
}

/// The server goes on with a file of the same name, and tells those who read the former one nothing, not even an end.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_begun_anew_in_silence_is_noticed_at_the_next_sweep() {
    begun_anew_in_silence("DO 0").await;
}

/// The place that the reader had come to is one in the middle of the new log.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_begun_anew_in_silence_that_is_longer_than_the_former_one_is_noticed() {
    begun_anew_in_silence("INSERT INTO noise VALUES (REPEAT('x', 1000000))").await;
}

async fn begun_anew_in_silence(then: &str) {
    let server = OwnServer::start(&[]).await;
    let (database, receiver) = stage_without_load_on(server.access()).await;
    database.execute("CREATE TABLE noise (x LONGTEXT)").await;
    let mut service = settled(&database.ini("[sweep]\ninterval_secs: 4\n[retry]\njitter: 0\n")).await;
    job().url(receiver.url("/work")).insert_times(&database, 50).await;
    receiver.wait_for(50, Duration::from_secs(20)).await;
    assert_eq!(begin_anew(&database).await, Ok(()));
    job().url(receiver.url("/work")).insert(&database).await;
    database.execute(then).await;
    service.wait_for_line("because=Gap", Duration::from_secs(20)).await;
    receiver.wait_for(51, Duration::from_secs(20)).await;
    // Right after a sweep whose time had come: those that the gap asks for are over, or are not due for a while.
    until("the sweeps come in their time again", SETTLES, async || has_swept_in_time(&service)).await;
    let found_by_sweeps = sweeps::with_jobs(&service);
    job().url(receiver.url("/work")).insert(&database).await;
    receiver.wait_for(52, Duration::from_secs(20)).await;
    let found = check(&database, &receiver, &Written::default()).await;
    found.assert_doubled_nothing();
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    // The new log is followed: no sweep was needed.
    assert_eq!(sweeps::with_jobs(&service), found_by_sweeps, "a sweep found it:\n{}", service.lines().join("\n"));
    ledger::assert_lost_only_to(&service, &["lost_to_gap"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_begun_anew_in_silence_under_load_loses_nothing() {
    let server = OwnServer::start(&[]).await;
    let (database, receiver) = stage_on(server.access()).await;
    let services = all_following(&database.ini("[sweep]\ninterval_secs: 4\n[retry]\njitter: 0\n"), 2).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    for _ in 0..times(1, 10) {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let told: Vec<usize> = services.iter().map(gaps).collect();
        until("the log is begun anew", SETTLES, async || begin_anew(&database).await.is_ok()).await;
        for (service, told) in services.iter().zip(told) {
            until("the new log is followed", SETTLES, async || gaps(service) > told).await;
        }
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    report("log begun anew in silence", format!("{found:?}"));
    all_stop(services, &["lost_to_gap"]).await;
}

/// Whether a sweep was made for no other reason than its time since the service went on behind the gap.
fn has_swept_in_time(service: &Service) -> bool {
    let lines = service.lines();
    let behind_the_gap = lines.iter().skip_while(|line| !line.contains("because=Gap"));
    behind_the_gap.filter(|line| sweeps::is_whole(line)).any(|line| line.contains("cause: None"))
}

/// A server that can't begin the next file goes on without its log, and the readers of it hear nothing of that.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_the_server_turned_off_is_noticed_at_the_next_sweep() {
    let elsewhere = tempfile::tempdir().unwrap();
    let may = |mode| std::fs::set_permissions(elsewhere.path(), PermissionsExt::from_mode(mode)).unwrap();
    // The server runs as another user when we are root.
    may(0o777);
    let server = OwnServer::start(&[&format!("--log-bin={}", elsewhere.path().join("binlog").display())]).await;
    let (database, receiver) = stage_without_load_on(server.access()).await;
    if database.is_mysql() {
        return left_out("a log turned off while it is followed: MySQL ends when it can't write its log");
    }
    let ini = database.ini("[sweep]\ninterval_secs: 4\n[retry]\njitter: 0\n");
    let mut service = settled(&ini).await;
    may(0o555);
    // It says that it could not, or does not.
    let _ = database.conn().await.query_drop("FLUSH BINARY LOGS").await;
    job().url(receiver.url("/work")).insert_times(&database, 20).await;
    service.wait_for_line("the server has no binary log", Duration::from_secs(20)).await;
    receiver.wait_for(20, Duration::from_secs(20)).await;
    let checked = program().arg("check").arg(&ini).output().await.unwrap();
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(told.contains("fault: the server has turned its binary log off while it runs"), "{told}");
    let found = check(&database, &receiver, &Written::default()).await;
    found.assert_doubled_nothing();
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_lost_only_to(&service, &["lost_to_gap", "lost_to_degraded"]);
}
