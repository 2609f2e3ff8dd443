//! Each cause of the loss ledger made to happen: it is counted, as many jobs as there are, and no other is.

use super::checker::check;
use super::load::{Load, Written};
use super::plan::answer_by_plan;
use super::{
    ENOUGH, NO_SWEEP, SETTLES, base, following_in_detail, ledger, settled, stage, stage_on, stage_without_load_on,
    sweeps,
};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::{Proxy, Way};
use crate::support::receiver::Receiver;
use crate::support::server::OwnServer;
use crate::support::service::Service;
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use std::path::PathBuf;
use std::time::Duration;

/// Jobs of which the log does not tell.
const UNSEEN: usize = 200;
/// A job that was claimed and done between the two reads of a look would be found by both sweeps, and counted twice.
const LONGER_THAN_A_LOOK: Duration = Duration::from_millis(100);
const PASSWORD: &str = "aPasswordOfTheTests1";

/// Jobs that were due for long when they came: each of them is a loss, however soon a sweep finds it.
async fn insert_overdue(database: &TestDatabase, receiver: &Receiver) {
    job().url(receiver.url("/work")).due_for(10).insert_times(database, UNSEEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_come_while_no_service_runs_are_lost_to_down() {
    let (database, receiver) = stage().await;
    answer_by_plan(&receiver, LONGER_THAN_A_LOOK);
    insert_overdue(&database, &receiver).await;
    // The load comes when no sweep of the start can find any of it.
    let mut service = settled(&database.ini(NO_SWEEP)).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    assert_eq!(ledger::assert_lost_to(&service, "lost_to_down"), UNSEEN as u64);
}

/// The settings of an account that may read the log until that is taken from it.
async fn reader(database: &TestDatabase) -> PathBuf {
    let more = if database.is_mariadb() { ", BINLOG MONITOR" } else { "" };
    database
        .execute(&format!(
            "CREATE USER 'reader'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; \
             GRANT SELECT, INSERT, UPDATE, REPLICATION CLIENT{more} ON *.* TO 'reader'@'127.0.0.1'; {MAY_FOLLOW}"
        ))
        .await;
    let (login, port) = (format!("user: reader\npasswd: {PASSWORD}"), database.server().port);
    database.ini_as(&login, port, &NO_SWEEP.replace("[retry]", "degraded_interval_secs: 1\n[retry]"))
}

const MAY_FOLLOW: &str = "GRANT REPLICATION SLAVE ON *.* TO 'reader'@'127.0.0.1'";
const MAY_NOT: &str = "REVOKE REPLICATION SLAVE ON *.* FROM 'reader'@'127.0.0.1'";

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_come_while_the_log_can_not_be_followed_are_lost_to_degraded() {
    let server = OwnServer::start(&[]).await;
    let (database, receiver) = stage_on(server.access()).await;
    let mut service = settled(&reader(&database).await).await;
    database.execute(MAY_NOT).await;
    let stream = "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
    database.execute(&format!("KILL {}", database.query_one::<u64>(stream).await)).await;
    service.wait_for_line("the log is not being followed", Duration::from_secs(20)).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let written = load.stop_after(ENOUGH).await;
    check(&database, &receiver, &written).await;
    // On a busy machine, some of the load is overdue when its sweep comes. All of that is told before the second sweep
    // from now on is.
    let count = sweeps::whole(&service).len();
    until("the table is searched twice", SETTLES, async || sweeps::whole(&service).len() >= count + 2).await;
    let of_the_load = ledger::lost(&service).get("lost_to_degraded").copied().unwrap_or(0);
    insert_overdue(&database, &receiver).await;
    check(&database, &receiver, &written).await;
    let breaks = followed(&service);
    database.execute(MAY_FOLLOW).await;
    until("the log is followed again", Duration::from_secs(60), async || followed(&service) > breaks).await;
    // What comes now is no loss.
    let count = receiver.count();
    job().url(receiver.url("/work")).insert(&database).await;
    receiver.wait_for(count + 1, Duration::from_secs(10)).await;
    check(&database, &receiver, &written).await;
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    assert_eq!(ledger::assert_lost_to(&service, "lost_to_degraded"), of_the_load + UNSEEN as u64);
}

/// The sweep of the start that looks once more does not get through, and the next one finds what came since then.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_come_in_an_outage_right_after_a_start_are_lost_to_degraded() {
    let server = OwnServer::start(&[]).await;
    let (database, receiver) = stage_without_load_on(server.access()).await;
    let (mut service, _) = following_in_detail(&reader(&database).await).await;
    // What the first sweep finds was there before.
    let first = async || !sweeps::whole(&service).is_empty();
    until("the first sweep is over", Duration::from_secs(10), first).await;
    let mut application = database.conn().await;
    application.query_drop("LOCK TABLES queued_job WRITE").await.unwrap();
    let waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table%'";
    until("the sweep waits", Duration::from_secs(10), async || database.query_one::<u64>(waiting).await > 0).await;
    database.execute(MAY_NOT).await;
    let stream = "SELECT id FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
    database.execute(&format!("KILL {}", database.query_one::<u64>(stream).await)).await;
    let row = format!("('post', '{}', NOW(6) - INTERVAL 10 SECOND)", receiver.url("/work"));
    let insert = format!("INSERT INTO queued_job (http_method, url, run_at) VALUES {}", vec![row; UNSEEN].join(", "));
    application.query_drop(insert).await.unwrap();
    service.wait_for_line("the sweep failed", Duration::from_secs(20)).await;
    application.query_drop("UNLOCK TABLES").await.unwrap();
    check(&database, &receiver, &Written::default()).await;
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    assert_eq!(ledger::assert_lost_to(&service, "lost_to_degraded"), UNSEEN as u64);
}

/// How often the log was taken up.
fn followed(service: &Service) -> usize {
    service.lines().iter().filter(|line| line.contains("following the log")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_a_statement_in_the_log_does_not_name_are_lost_to_decode() {
    let (database, receiver) = stage().await;
    answer_by_plan(&receiver, LONGER_THAN_A_LOOK);
    let mut service = settled(&database.ini(NO_SWEEP)).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let mut conn = database.conn().await;
    conn.query_drop("SET SESSION binlog_format = 'STATEMENT'").await.unwrap();
    let row = format!("('post', '{}', NOW(6) - INTERVAL 10 SECOND)", receiver.url("/work"));
    let sql = format!("INSERT INTO queued_job (http_method, url, run_at) VALUES {}", vec![row; UNSEEN].join(", "));
    conn.query_drop(sql).await.unwrap();
    check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    assert_eq!(ledger::assert_lost_to(&service, "lost_to_decode"), UNSEEN as u64);
}

/// How the log names our table before its rows: its length, its letters and a zero.
const OUR_TABLE: &[u8] = b"\x0aqueued_job\x00";
const ANOTHER_TABLE: &[u8] = b"\x0aforeigners\x00";

/// No server does this. It is what a fault of ours would look like: the log is followed, and jobs in it are not seen.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_the_log_shows_and_that_are_not_seen_are_lost_to_visibility() {
    // What is changed on its way would not fit its checksum.
    let server = OwnServer::start(&["--binlog-checksum=NONE"]).await;
    let (database, receiver) = stage_without_load_on(server.access()).await;
    let proxy = Proxy::start(database.server().address()).await;
    let ini = database.ini_at(proxy.port(), &NO_SWEEP.replace("3600", "3"));
    let mut service = settled(&ini).await;
    proxy.replace(Way::ToClient, OUR_TABLE, ANOTHER_TABLE);
    insert_overdue(&database, &receiver).await;
    check(&database, &receiver, &Written::default()).await;
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    assert_eq!(ledger::assert_lost_to(&service, "lost_to_visibility"), UNSEEN as u64);
}
