//! A full disk under the database.

use super::checker::{Found, check};
use super::load::Load;
use super::{ENOUGH, NO_SWEEP, SETTLES, all_following, all_stop, base, ledger, report, stage_on, times};
use crate::support::database::TestDatabase;
use crate::support::left_out::left_out;
use crate::support::left_out::only_in_full;
use crate::support::server::OwnServer;
use crate::support::service::Service;
use crate::support::tiny_disk::TinyDisk;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tokio::time::timeout;

pub(super) const DISK_MB: u32 = 320;
pub(super) const SMALL: [&str; 3] =
    ["--innodb-buffer-pool-size=32M", "--loose-innodb-redo-log-capacity=16M", "--loose-innodb-log-file-size=8M"];

/// What the server can't write to its tables it refuses at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_tables_is_waited_for() {
    let Some(found) = full_under_the_tables(1).await else { return };
    found.assert_doubled_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_tables_is_waited_for_by_two_dispatchers() {
    let Some(found) = full_under_the_tables(2).await else { return };
    found.assert_taken_only_from_the_silent();
}

async fn full_under_the_tables(dispatchers: usize) -> Option<Found> {
    let elsewhere = tempfile::tempdir().unwrap();
    // The server runs as another user when we are root.
    std::fs::set_permissions(elsewhere.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let log = format!("--log-bin={}", elsewhere.path().join("binlog").display());
    full_disk(&[&SMALL[..], &[&log]].concat(), Duration::from_millis(600), &ledger::BROKEN, dispatchers).await
}

/// Where the log can't be written, the server waits, and looks only once a minute whether there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_log_is_waited_for() {
    let Some(found) = full_under_the_log(1).await else { return };
    found.assert_doubled_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_log_is_waited_for_by_two_dispatchers() {
    let Some(found) = full_under_the_log(2).await else { return };
    found.assert_taken_only_from_the_silent();
}

async fn full_under_the_log(dispatchers: usize) -> Option<Found> {
    if !only_in_full("a full disk under the log") {
        return None;
    }
    // A server that dies of it leaves a log that breaks off in the middle of an event.
    let lost_to = [&ledger::BROKEN[..], &["lost_to_gap"]].concat();
    full_disk(&SMALL, Duration::from_secs(10), &lost_to, dispatchers).await
}

/// MariaDB joins a batch of results with the table by files in this folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_temporary_tables_is_waited_for() {
    let Some(found) = full_under_temporary_tables(1).await else { return };
    found.assert_doubled_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_temporary_tables_is_waited_for_by_two_dispatchers() {
    let Some(found) = full_under_temporary_tables(2).await else { return };
    found.assert_taken_only_from_the_silent();
}

async fn full_under_temporary_tables(dispatchers: usize) -> Option<Found> {
    let disk = mount(16)?;
    std::fs::set_permissions(disk.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let server = OwnServer::start(&[&format!("--tmpdir={}", disk.path().display())]).await;
    let (database, receiver) = stage_on(server.access()).await;
    let services = all_following(&database.ini(NO_SWEEP), dispatchers).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    for round in 0..times(8, 40) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Each thing that then fails has an error of its own.
        disk.fill_up_to(u64::try_from(round % 8).unwrap() * 4096);
        tokio::time::sleep(Duration::from_millis(300)).await;
        disk.clear();
    }
    let written = load.stop_after(ENOUGH).await;
    if database.is_mariadb() {
        services[0].wait_for_line("results not stored yet", SETTLES).await;
    }
    services.iter().for_each(assert_all_stored);
    let found = check(&database, &receiver, &written).await;
    report("full disk under temporary tables", format!("{dispatchers} dispatchers, {found:?}"));
    all_stop(services, &[]).await;
    Some(found)
}

pub(super) fn mount(megabytes: u32) -> Option<TinyDisk> {
    let disk = TinyDisk::mount(megabytes);
    if disk.is_none() {
        left_out("full disks: a file system of its own takes root and mount");
    }
    disk
}

/// A full disk is no fault of the results: none was stored without its texts.
fn assert_all_stored(service: &Service) {
    let mut lines = service.lines();
    lines.retain(|line| line.contains("could not be stored"));
    assert!(lines.is_empty(), "{lines:#?}");
}

async fn full_disk(options: &[&str], full_for: Duration, lost_to: &[&str], dispatchers: usize) -> Option<Found> {
    let disk = mount(DISK_MB)?;
    let mut server = OwnServer::start_in(disk.path(), options).await;
    let (database, receiver) = stage_on(server.access()).await;
    let services = all_following(&database.ini(NO_SWEEP), dispatchers).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let mut deaths = 0;
    for _ in 0..times(1, 5) {
        tokio::time::sleep(Duration::from_millis(600)).await;
        disk.fill();
        assert!(
            large_job_is_refused(&server, &database, &receiver.url("/work?large")).await,
            "the disk was never full"
        );
        tokio::time::sleep(full_for).await;
        disk.clear();
        // MariaDB may give up when it can write nothing at all; whoever supervises it starts it again.
        if server.has_died() {
            server.bury().await;
            server.start_again().await;
            deaths += 1;
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let written = load.stop_after(ENOUGH).await;
    services.iter().for_each(assert_all_stored);
    let found = check(&database, &receiver, &written).await;
    let faults = format!("{} INSERTs refused, the server died {deaths} times", written.failed);
    report("full disk", format!("{dispatchers} dispatchers, {found:?}, {faults}"));
    all_stop(services, lost_to).await;
    Some(found)
}

/// Fills the room that the table's file still has; false when it does not come to an end.
pub(super) async fn large_job_is_refused(server: &OwnServer, database: &TestDatabase, url: &str) -> bool {
    let opts = database.server().opts(Some(database.name()));
    let Ok(mut conn) = Conn::new(opts).await else { return server.has_died() };
    let sql = "INSERT INTO queued_job (http_method, url, body) VALUES ('post', ?, REPEAT('x', 400000))";
    for _ in 0..200 {
        // Where the log is on the disk too, the server does not answer.
        match timeout(Duration::from_secs(2), conn.exec_drop(sql, (url,))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return true,
        }
    }
    false
}
