//! A full disk under the database.

use super::checker::check;
use super::load::Load;
use super::{ENOUGH, NO_SWEEP, SETTLES, base, following, ledger, report, stage_on, times};
use crate::support::database::TestDatabase;
use crate::support::server::OwnServer;
use crate::support::service::Service;
use crate::support::tiny_disk::TinyDisk;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tokio::time::timeout;

const DISK_MB: u32 = 320;
const SMALL: [&str; 3] =
    ["--innodb-buffer-pool-size=32M", "--loose-innodb-redo-log-capacity=16M", "--loose-innodb-log-file-size=8M"];

/// What the server can't write to its tables it refuses at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_tables_is_waited_for() {
    let elsewhere = tempfile::tempdir().unwrap();
    // The server runs as another user when we are root.
    std::fs::set_permissions(elsewhere.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let log = format!("--log-bin={}", elsewhere.path().join("binlog").display());
    full_disk(&[&SMALL[..], &[&log]].concat(), Duration::from_millis(600), &ledger::BROKEN).await;
}

/// Where the log can't be written, the server waits, and looks only once a minute whether there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_the_log_is_waited_for() {
    if times(0, 1) == 1 {
        // A server that dies of it leaves a log that breaks off in the middle of an event.
        full_disk(&SMALL, Duration::from_secs(10), &[&ledger::BROKEN[..], &["lost_to_gap"]].concat()).await;
    }
}

/// MariaDB joins a batch of results with the table by files in this folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_temporary_tables_is_waited_for() {
    let Some(disk) = mount(16) else { return };
    std::fs::set_permissions(disk.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let server = OwnServer::start(&[&format!("--tmpdir={}", disk.path().display())]).await;
    let (database, receiver) = stage_on(server.access()).await;
    let mut service = following(&database.ini(NO_SWEEP)).await;
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
        service.wait_for_line("results not stored yet", SETTLES).await;
    }
    assert_all_stored(&service);
    let found = check(&database, &receiver, &written).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    report("full disk under temporary tables", format!("{found:?}"));
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
}

fn mount(megabytes: u32) -> Option<TinyDisk> {
    let disk = TinyDisk::mount(megabytes);
    if disk.is_none() {
        eprintln!("skipped: a file system of its own can't be mounted here (root and mount are needed)");
    }
    disk
}

/// A full disk is no fault of the results: none was stored without its texts.
fn assert_all_stored(service: &Service) {
    let mut lines = service.lines();
    lines.retain(|line| line.contains("could not be stored"));
    assert!(lines.is_empty(), "{lines:#?}");
}

async fn full_disk(options: &[&str], full_for: Duration, lost_to: &[&str]) {
    let Some(disk) = mount(DISK_MB) else { return };
    let mut server = OwnServer::start_in(disk.path(), options).await;
    let (database, receiver) = stage_on(server.access()).await;
    let mut service = following(&database.ini(NO_SWEEP)).await;
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
    assert_all_stored(&service);
    let found = check(&database, &receiver, &written).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    report("full disk", format!("{found:?}, {} INSERTs refused, the server died {deaths} times", written.failed));
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_lost_only_to(&service, lost_to);
}

/// Fills the room that the table's file still has; false when it does not come to an end.
async fn large_job_is_refused(server: &OwnServer, database: &TestDatabase, url: &str) -> bool {
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
