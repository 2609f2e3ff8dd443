//! The database's own limits: it only reads for a while, takes no more connections, ends idle ones, has no disk left.

use super::checker::{Found, check};
use super::kills::hold_first_tries;
use super::load::{Load, Written};
use super::plan::answer_by_plan_and;
use super::{
    ENOUGH, NO_SWEEP, SETTLES, all_following, all_stop, base, following, ledger, report, stage_on, stage_without_load,
    stage_without_load_on, times,
};
use crate::support::database::{TestDatabase, TestServer};
use crate::support::factory::job;
use crate::support::left_out::{left_out, only_in_full};
use crate::support::receiver::Gate;
use crate::support::semi_sync::{semi_sync, semi_sync_switch};
use crate::support::server::OwnServer;
use crate::support::service::Service;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::path::PathBuf;
use std::time::Duration;

const PASSWORD: &str = "aPasswordOfTheTests1";

/// How a `db.ini` logs in as an account that, other than root, may neither write to a read-only server nor take the
/// connection that is kept for administrators.
pub(super) async fn plain_account(database: &TestDatabase) -> String {
    database
        .execute(&format!(
            "CREATE USER 'plain'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; \
             GRANT SELECT, INSERT, UPDATE ON *.* TO 'plain'@'127.0.0.1'; \
             GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'plain'@'127.0.0.1'"
        ))
        .await;
    if database.is_mariadb() {
        database.execute("GRANT BINLOG MONITOR ON *.* TO 'plain'@'127.0.0.1'").await;
    }
    format!("user: plain\npasswd: {PASSWORD}")
}

async fn ini_of_plain_account(database: &TestDatabase) -> PathBuf {
    database.ini_as(&plain_account(database).await, database.server().port, NO_SWEEP)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_only_reads_for_a_while_is_waited_for() {
    only_reads_for_a_while(1).await.assert_doubled_nothing();
}

/// As while a database is moved: nobody may write to its tables, the administrators neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_only_reads_for_a_while_is_waited_for() {
    if TestServer::get().is_mariadb() {
        return left_out("a schema that only reads: MariaDB has none");
    }
    let (database, receiver) = stage_without_load().await;
    let gate = Gate::closed();
    let gated = gate.clone();
    answer_by_plan_and(&receiver, move |answer, _| answer.behind(&gated));
    let mut service = following(&database.ini(NO_SWEEP)).await;
    job().url(receiver.url("/work")).insert_times(&database, 20).await;
    job().url(receiver.url("/work")).run_at_in(5_000).insert(&database).await;
    receiver.wait_for(20, Duration::from_secs(20)).await;
    let schema = database.name();
    let mut conn = Conn::new(database.server().opts(None)).await.unwrap();
    conn.query_drop(format!("ALTER SCHEMA {schema} READ ONLY = 1")).await.unwrap();
    gate.open();
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(receiver.count(), 20);
    conn.query_drop(format!("ALTER SCHEMA {schema} READ ONLY = 0")).await.unwrap();
    receiver.wait_for(21, Duration::from_secs(10)).await;
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.calls, found.extra_calls, found.taken_back), (21, 0, 0), "{found:?}");
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_only_reads_for_a_while_is_waited_for_by_two_dispatchers() {
    only_reads_for_a_while(2).await.assert_taken_only_from_the_silent();
}

async fn only_reads_for_a_while(dispatchers: usize) -> Found {
    let server = OwnServer::start(&[]).await;
    let (database, receiver) = stage_on(server.access()).await;
    let services = all_following(&ini_of_plain_account(&database).await, dispatchers).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    for _ in 0..times(2, 20) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        database.execute("SET GLOBAL read_only = 1").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        database.execute("SET GLOBAL read_only = 0").await;
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    report("read-only", format!("{dispatchers} dispatchers, {found:?}"));
    for service in &services {
        service.wait_for_line("trying again", SETTLES).await;
    }
    all_stop(services, &[]).await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_gets_no_connection_under_load_waits_for_one() {
    without_a_connection(1).await.assert_doubled_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_dispatchers_that_get_no_connection_under_load_wait_for_one() {
    without_a_connection(2).await.assert_taken_only_from_the_silent();
}

async fn without_a_connection(dispatchers: usize) -> Found {
    let server = OwnServer::start(&["--max-connections=30"]).await;
    let (database, receiver) = stage_on(server.access()).await;
    let services = all_following(&ini_of_plain_account(&database).await, dispatchers).await;
    // The writers keep the connections that they have.
    let load = Load::start(&database, &base(&receiver), (4, 60));
    receiver.wait_for(100, Duration::from_secs(20)).await;
    let mut admin = database.conn().await;
    for _ in 0..times(1, 10) {
        let others = throw_out(&database, &mut admin, &services).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(others);
        let calls = receiver.count();
        receiver.wait_for(calls + 100, Duration::from_secs(30)).await;
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    report("no connection left", format!("{dispatchers} dispatchers, {found:?}"));
    all_stop(services, &ledger::BROKEN).await;
    found
}

/// Takes all connections, and ends those of the services until each was refused one and none has any: one that kept some
/// would rightly take another that has none for dead. Ours are to be kept for so long.
pub(super) async fn throw_out(database: &TestDatabase, admin: &mut Conn, services: &[Service]) -> Vec<Conn> {
    let mut others = take_all_connections(database).await;
    let refused =
        |service: &Service| service.lines().iter().filter(|line| line.contains("oo many connections")).count();
    let told: Vec<usize> = services.iter().map(refused).collect();
    // Others are there before them.
    while kill_ours(admin, &others).await > 0
        || services.iter().zip(&told).any(|(service, told)| refused(service) == *told)
    {
        others.extend(take_all_connections(database).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    others
}

/// Ends the connections of the service's account, but those that we took; how many there were.
async fn kill_ours(admin: &mut Conn, others: &[Conn]) -> usize {
    let others: Vec<u64> = others.iter().map(|conn| conn.id().into()).collect();
    let sql = "SELECT id FROM information_schema.processlist WHERE user = 'plain'";
    let mut ours = admin.query::<u64, _>(sql).await.unwrap();
    ours.retain(|id| !others.contains(id));
    for id in &ours {
        let _ = admin.query_drop(format!("KILL {id}")).await;
    }
    ours.len()
}

/// Connections until the server has no more for a plain account.
async fn take_all_connections(database: &TestDatabase) -> Vec<Conn> {
    let opts = database.server().opts(Some(database.name()));
    let opts = mysql_async::OptsBuilder::from_opts(opts).user(Some("plain")).pass(Some(PASSWORD));
    let mut taken = Vec::new();
    while let Ok(conn) = Conn::new(opts.clone()).await {
        taken.push(conn);
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_idle_connections_after_seconds_does_not_end_ours() {
    let server = OwnServer::start(&["--wait-timeout=2", "--interactive-timeout=2"]).await;
    let (database, receiver) = stage_without_load_on(server.access()).await;
    let mut service = following(&database.ini(NO_SWEEP)).await;
    job().url(receiver.url("/work")).insert(&database).await;
    receiver.wait_for(1, Duration::from_secs(20)).await;
    // Twice as long as the server lets anybody else be idle.
    tokio::time::sleep(Duration::from_secs(5)).await;
    job().url(receiver.url("/work")).insert(&database).await;
    receiver.wait_for(2, Duration::from_secs(5)).await;
    check(&database, &receiver, &Written::default()).await;
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
    let broken = service.lines().into_iter().filter(|line| line.contains("trying again")).collect::<Vec<_>>();
    assert!(broken.is_empty(), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_idle_connections_after_seconds_does_not_end_ours_under_load() {
    let server = OwnServer::start(&["--wait-timeout=2", "--interactive-timeout=2"]).await;
    let (database, receiver) = stage_on(server.access()).await;
    let services = all_following(&database.ini(NO_SWEEP), 2).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    // The deeds' connections are at work, and those of the locks are idle.
    tokio::time::sleep(Duration::from_secs(times(5, 60) as u64)).await;
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    found.assert_doubled_nothing();
    report("idle connections ended", format!("{found:?}"));
    for service in &services {
        let broken = service.lines().into_iter().filter(|line| line.contains("trying again")).collect::<Vec<_>>();
        assert!(broken.is_empty(), "{broken:?}");
    }
    all_stop(services, &[]).await;
}

/// The server does not notice that we have given up a statement that waits for a table, and keeps its connection for as
/// long as it waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_locked_for_minutes_lets_no_connections_pile_up() {
    if !only_in_full("a table that is locked for minutes") {
        return;
    }
    let server = OwnServer::start(&[]).await;
    let (database, receiver) = stage_on(server.access()).await;
    let mut service = following(&ini_of_plain_account(&database).await).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    receiver.wait_for(100, Duration::from_secs(20)).await;
    let ours = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'plain'";
    let (mut admin, mut keeper) = (database.conn().await, database.conn().await);
    let mut connections = async || admin.query_first::<u64, _>(ours).await.unwrap().unwrap();
    let before = connections().await;
    keeper.query_drop("LOCK TABLES queued_job WRITE").await.unwrap();
    let mut most = 0;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        most = most.max(connections().await);
    }
    keeper.query_drop("UNLOCK TABLES").await.unwrap();
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    found.assert_doubled_nothing();
    report("table locked", format!("{before} connections before, {most} at most, {found:?}"));
    // One that waits in vain, and the one after it.
    assert!(most <= 2 * before, "{most} connections, {before} before");
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
}

/// The same where commits wait for a replica that does not acknowledge, while claims expire: `MariaDB` keeps the end of its
/// log to itself then, which each sweep asks for.
#[tokio::test(flavor = "multi_thread")]
async fn commits_that_wait_for_minutes_let_no_connections_pile_up() {
    if !only_in_full("commits that wait for minutes") {
        return;
    }
    let server = OwnServer::start(&semi_sync()).await;
    let (database, receiver) = stage_on(server.access()).await;
    let timeout = semi_sync_switch().replace("enabled", "timeout");
    database.execute(&format!("SET GLOBAL {timeout} = 600000")).await;
    let gate = Gate::closed();
    hold_first_tries(&receiver, &gate);
    let settings = format!("{NO_SWEEP}[dispatch]\nclaim_grace_secs: 1\n");
    let ini = database.ini_as(&plain_account(&database).await, database.server().port, &settings);
    let services = all_following(&ini, 2).await;
    job().url(receiver.url("/work")).timeout(5).retry_delay(0).insert_at_once(&database, 20).await;
    receiver.wait_for(20, Duration::from_secs(20)).await;
    let ours = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'plain'";
    let mut admin = database.conn().await;
    let mut connections = async || admin.query_first::<u64, _>(ours).await.unwrap().unwrap();
    let before = connections().await;
    database.execute(&format!("SET GLOBAL {} = 1", semi_sync_switch())).await;
    gate.open();
    let mut applications = Vec::new();
    for _ in 0..3 {
        let (mut conn, url) = (database.conn().await, receiver.url("/work"));
        let insert = format!("INSERT INTO queued_job (http_method, url, body) VALUES ('post', '{url}', 'x')");
        applications.push(tokio::spawn(async move { conn.query_drop(insert).await.unwrap() }));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut most = 0;
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        most = most.max(connections().await);
    }
    database.execute(&format!("SET GLOBAL {} = 0", semi_sync_switch())).await;
    for application in applications {
        application.await.unwrap();
    }
    let found = check(&database, &receiver, &Written::default()).await;
    report("commits that wait", format!("{before} connections before, {most} at most, {found:?}"));
    assert!(most <= 2 * before, "{most} connections, {before} before");
    assert_eq!((found.jobs, found.extra_calls, found.taken_back), (23, 0, 0), "{found:?}");
    all_stop(services, &ledger::BROKEN).await;
}
