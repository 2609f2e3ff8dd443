//! A stop while what the database or the service needs is not there: room on a disk, answers to questions for names.

use super::disk::{DISK_MB, SMALL, large_job_is_refused, mount};
use super::load::Load;
use super::plan::answer_by_plan;
use super::stops::{settings, stop_in_time, the_next_one_does_the_rest};
use super::stops_amid::{assert_told, forget};
use super::{SETTLES, all_following, base, stage, stage_on};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::left_out::{left_out, only_in_full};
use crate::support::names::{NameServer, Told};
use crate::support::server::OwnServer;
use crate::support::service::Service;
use crate::support::wait::until;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_disk_is_full_ends_in_time() {
    let elsewhere = tempfile::tempdir().unwrap();
    // The server runs as another user when we are root.
    std::fs::set_permissions(elsewhere.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let log = format!("--log-bin={}", elsewhere.path().join("binlog").display());
    stop_with_a_full_disk("under the tables", &[&SMALL[..], &[&log]].concat()).await;
}

/// The server lets every commit wait, and looks only once a minute whether there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_disk_under_the_log_is_full_ends_in_time() {
    if only_in_full("a stop while the disk under the log is full") {
        stop_with_a_full_disk("under the log", &SMALL).await;
    }
}

async fn stop_with_a_full_disk(what: &str, options: &[&str]) {
    let Some(disk) = mount(DISK_MB) else { return };
    let mut server = OwnServer::start_in(disk.path(), options).await;
    let (database, receiver) = stage_on(server.access()).await;
    answer_by_plan(&receiver, Duration::from_millis(50));
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let mut services = all_following(&database.ini(&settings()), 1).await;
    receiver.wait_for(20, Duration::from_secs(20)).await;
    disk.fill();
    assert!(large_job_is_refused(&server, &database, &receiver.url("/work?large")).await, "the disk was never full");
    let code = stop_in_time(&mut services[0]).await;
    disk.clear();
    if server.has_died() {
        server.bury().await;
        server.start_again().await;
    }
    load.until_more(20, SETTLES).await;
    let left = assert_told(&database, &format!("a full disk {what}"), (&services[0], code), false).await;
    let found = the_next_one_does_the_rest(&database, &receiver, load).await;
    assert!(found.extra_calls <= left && found.taken_back <= left, "{found:?}, {left} claims left");
}

/// MariaDB joins a batch of results with the table by files there.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_disk_under_temporary_tables_is_full_ends_in_time() {
    let Some(disk) = mount(16) else { return };
    std::fs::set_permissions(disk.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let server = OwnServer::start(&[&format!("--tmpdir={}", disk.path().display())]).await;
    let (database, receiver) = stage_on(server.access()).await;
    answer_by_plan(&receiver, Duration::from_millis(50));
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let mut services = all_following(&database.ini(&settings()), 1).await;
    receiver.wait_for(20, Duration::from_secs(20)).await;
    disk.fill();
    if database.is_mariadb() {
        services[0].wait_for_line("results not stored yet", SETTLES).await;
    }
    let code = stop_in_time(&mut services[0]).await;
    disk.clear();
    // On MySQL too a large transaction may go by a file there.
    let left = assert_told(&database, "a full disk under temporary tables", (&services[0], code), false).await;
    let found = the_next_one_does_the_rest(&database, &receiver, load).await;
    assert!(found.extra_calls <= left && found.taken_back <= left, "{found:?}, {left} claims left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_names_are_looked_up_in_vain_ends_in_time() {
    let Some(names) = NameServer::start().await else {
        return left_out("stalled lookups: a name server of our own takes root");
    };
    names.tell("stalls.test", Told::Silence);
    let (database, receiver) = stage().await;
    answer_by_plan(&receiver, Duration::from_millis(50));
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let mut service = asking(&names, &database, &database.ini(&settings()));
    let stalling = job().url("http://stalls.test/").timeout(600).insert_times(&database, 20).await;
    until("the name is asked for", SETTLES, async || names.questions("stalls.test") > 0).await;
    receiver.wait_for(20, Duration::from_secs(20)).await;
    let code = stop_in_time(&mut service).await;
    assert_told(&database, "a stalled lookup of names", (&service, code), true).await;
    forget(&database, &stalling).await;
    let found = the_next_one_does_the_rest(&database, &receiver, load).await;
    found.assert_doubled_nothing();
}

/// A service that asks this name server, and waits for its answer for longer than a stop may take.
fn asking(names: &NameServer, database: &TestDatabase, ini: &Path) -> Service {
    let mut command = names.program(database.files(), 30);
    command.arg("run").arg(ini);
    Service::spawn(command)
}
