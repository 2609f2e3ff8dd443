//! Commit visibility: the log shows a row before SQL does, and none is missed.

use super::checker::{Found, check};
use super::load::{Load, Written};
use super::{
    ENOUGH, NO_SWEEP, all_following, all_stop, base, following, ledger, report, settled, stage, stage_on,
    stage_without_load, stage_without_load_on, times,
};
use crate::support::database::{TestDatabase, TestServer};
use crate::support::factory::job;
use crate::support::left_out::only_in_full;
use crate::support::pair::Pair;
use crate::support::receiver::Receiver;
use crate::support::semi_sync::{semi_sync, semi_sync_switch};
use crate::support::server::OwnServer;
use crate::support::wait::throughout;
use mysql_async::prelude::Queryable;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const WRITERS: usize = 8;

/// So many may wait to be called: of more than are remembered, some are read from the table, by a sweep.
const AHEAD: usize = 5_000;
const LOOK: Duration = Duration::from_millis(5);

/// So many single INSERTs of eight writers, as fast as they go and are called; the sweep off.
async fn write_and_check((database, receiver): &(TestDatabase, Receiver), jobs: usize) -> Found {
    // What is inserted after the sweeps of the start has only the log.
    let mut service = settled(&database.ini(NO_SWEEP)).await;
    let (mut writers, written, called) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..WRITERS {
        let (mut conn, url) = (database.conn().await, receiver.url("/work"));
        let (written, called) = (Arc::clone(&written), Arc::clone(&called));
        writers.spawn(async move {
            let sql = "INSERT INTO queued_job (http_method, url) VALUES ('post', ?)";
            for _ in 0..jobs / WRITERS {
                conn.exec_drop(sql, (&url,)).await.unwrap();
                written.fetch_add(1, Ordering::Relaxed);
                while written.load(Ordering::Relaxed) > AHEAD + called.load(Ordering::Relaxed) {
                    tokio::time::sleep(LOOK).await;
                }
            }
        });
    }
    loop {
        tokio::select! {
            writer = writers.join_next() => match writer {
                Some(ended) => ended.unwrap(),
                None => break,
            },
            () = tokio::time::sleep(LOOK) => called.store(receiver.count(), Ordering::Relaxed),
        }
    }
    let found = check(database, receiver, &Written::default()).await;
    assert_eq!((found.jobs, found.extra_calls, found.taken_back), (jobs, 0, 0), "{found:?}");
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
    ledger::assert_swept_only_at_the_start(&service);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_single_insert_of_eight_writers_is_called_once_without_a_sweep() {
    let found = write_and_check(&stage().await, times(2_000, 100_000)).await;
    report("visibility", format!("{found:?}"));
}

/// More than are remembered: the rest is read from the table, as it was meant to be.
#[tokio::test(flavor = "multi_thread")]
async fn more_jobs_at_once_than_are_remembered_are_no_loss_of_the_log() {
    let (database, receiver) = stage().await;
    let mut service = settled(&database.ini(NO_SWEEP)).await;
    let rows = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 500) \
                SELECT 'post', '{url}', NOW(6) - INTERVAL 10 SECOND FROM numbers JOIN (SELECT n FROM numbers LIMIT {more}) AS more";
    // The log's reader remembers ten thousand of one transaction.
    let more = times(24, 50);
    let rows = rows.replace("{url}", &receiver.url("/work")).replace("{more}", &more.to_string());
    database.execute(&format!("INSERT INTO queued_job (http_method, url, run_at) {rows}")).await;
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.jobs, found.extra_calls, found.taken_back), (500 * more, 0, 0), "{found:?}");
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_gathers_commits_shows_every_job() {
    let mysql = ["--binlog-group-commit-sync-delay=20000", "--binlog-group-commit-sync-no-delay-count=6"];
    let mariadb = ["--binlog-commit-wait-count=6", "--binlog-commit-wait-usec=20000"];
    let options = if TestServer::get().is_mysql() { mysql } else { mariadb };
    let server = OwnServer::start(&options).await;
    let found = write_and_check(&stage_on(server.access()).await, times(400, 20_000)).await;
    report("gathered commits", format!("{found:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_sync_its_log_shows_every_job() {
    let server = OwnServer::start(&["--sync-binlog=0"]).await;
    let found = write_and_check(&stage_on(server.access()).await, times(1_000, 50_000)).await;
    report("sync_binlog=0", format!("{found:?}"));
}

/// Each commit shows in the log first and in SQL when the replica has it, which may be a good while later.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_waits_for_its_replica_shows_every_job() {
    let pair = Pair::start().await;
    let found = write_and_check(&stage_on(pair.cluster.access(0)).await, times(1_000, 50_000)).await;
    // Those that the server commits together are counted once.
    let [with, without] = pair.answered().await;
    assert!(
        with * WRITERS as u64 >= found.jobs as u64 && without == 0,
        "{with} with the replica, {without} without it"
    );
    report("semi-sync", format!("{found:?}"));
}

/// The log shows the rows at once; SQL shows them when the acknowledgement has come, or its time is over.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_wait_for_a_replicas_acknowledgement_are_called_when_they_are_committed() {
    let server = OwnServer::start(&semi_sync()).await;
    let (database, receiver) = stage_without_load_on(server.access()).await;
    let mut service = settled(&database.ini(NO_SWEEP)).await;
    let (enable, timeout) = (semi_sync_switch(), semi_sync_switch().replace("enabled", "timeout"));
    // The acknowledgement does not come, and the server waits for it until it is told not to.
    database.execute(&format!("SET GLOBAL {timeout} = 60000; SET GLOBAL {enable} = 1")).await;
    let mut waiting = Vec::new();
    for _ in 0..WRITERS {
        let (mut conn, url) = (database.conn().await, receiver.url("/work"));
        let sql = "INSERT INTO queued_job (http_method, url) VALUES ('post', ?)";
        waiting.push(tokio::spawn(async move { conn.exec_drop(sql, (&url,)).await.unwrap() }));
    }
    throughout("no uncommitted job is called", Duration::from_millis(1_500), async || receiver.count() == 0).await;
    assert!(waiting.iter().all(|writer| !writer.is_finished()), "they wait for the acknowledgement");
    database.execute(&format!("SET GLOBAL {enable} = 0")).await;
    receiver.wait_for(WRITERS, Duration::from_secs(10)).await;
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.jobs, found.extra_calls), (WRITERS, 0), "{found:?}");
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
}

/// Applications' commits wait, and so do claims and results; all that was logged meanwhile is committed at one time.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_waits_for_late_acknowledgements_under_load_shows_every_job() {
    let server = OwnServer::start(&semi_sync()).await;
    let (database, receiver) = stage_on(server.access()).await;
    let services = all_following(&database.ini(NO_SWEEP), 2).await;
    let (enable, timeout) = (semi_sync_switch(), semi_sync_switch().replace("enabled", "timeout"));
    database.execute(&format!("SET GLOBAL {timeout} = 60000")).await;
    let load = Load::start(&database, &base(&receiver), (8, 50));
    for _ in 0..times(2, 20) {
        tokio::time::sleep(Duration::from_millis(700)).await;
        database.execute(&format!("SET GLOBAL {enable} = 1")).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        database.execute(&format!("SET GLOBAL {enable} = 0")).await;
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    report("late acknowledgements", format!("{found:?}"));
    all_stop(services, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_an_application_keeps_locked_waits_alone() {
    let (database, receiver) = stage_without_load().await;
    let mut service = following(&database.ini(NO_SWEEP)).await;
    let mut keeper = database.conn().await;
    let due_soon = job().url(receiver.url("/work")).run_at_in(3_000);
    let locked = due_soon.insert_times(&database, 20).await.pop().unwrap();
    // A server that knows how few rows there are may want to read them all, and to wait for this one.
    database.execute("ANALYZE TABLE queued_job").await;
    keeper.query_drop("START TRANSACTION").await.unwrap();
    keeper.exec_drop("SELECT id FROM queued_job WHERE id = ? FOR UPDATE", (locked,)).await.unwrap();
    receiver.wait_for(19, Duration::from_secs(20)).await;
    // A sweep meanwhile, more than two seconds after it was due, does not take the waiting one for lost.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let sweeps = "CREATE TABLE queued_job_copy LIKE queued_job; ALTER TABLE queued_job_copy COMMENT 'for queued_job'";
    database.execute(sweeps).await;
    throughout("the locked job waits", Duration::from_millis(500), async || receiver.count() == 19).await;
    assert!(receiver.requests().iter().all(|request| request.job_id() != Some(locked)));
    keeper.query_drop("ROLLBACK").await.unwrap();
    receiver.wait_for(20, Duration::from_secs(5)).await;
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.jobs, found.extra_calls), (20, 0), "{found:?}");
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
}

/// More jobs wait for their time than are read ahead, and then more than are remembered come at once, due already.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_are_due_do_not_wait_behind_those_that_fall_due_later() {
    let (later, due) = (60_000, 25_000);
    if !only_in_full("more jobs for later than are read ahead") {
        return;
    }
    let (database, receiver) = stage().await;
    let rows = |count: usize, run_at: &str| {
        format!(
            "SET SESSION cte_max_recursion_depth = 100000; INSERT INTO queued_job (http_method, url, run_at) \
             WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) \
             SELECT 'post', '{}', {run_at} FROM numbers",
            receiver.url("/work")
        )
    };
    let depth = |sql: String| {
        if TestServer::get().is_mysql() {
            sql
        } else {
            sql.replace("cte_max_recursion_depth", "max_recursive_iterations")
        }
    };
    database.execute(&depth(rows(later, "NOW(6) + INTERVAL 50 MINUTE"))).await;
    let mut service = following(&database.ini(NO_SWEEP)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    database.execute(&depth(rows(due, "NOW(6)"))).await;
    receiver.wait_for(due, Duration::from_secs(120)).await;
    database.execute("DELETE FROM queued_job WHERE state = 'available'").await;
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.jobs, found.calls), (due, u32::try_from(due).unwrap()), "{found:?}");
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
}
