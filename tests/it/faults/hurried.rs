//! Rows that an application makes due, whose change the log shows before SQL does.

use super::checker::check;
use super::load::Written;
use super::{NO_SWEEP, ledger, settled, stage_without_load, stage_without_load_on};
use crate::support::factory::job;
use crate::support::semi_sync::{semi_sync, semi_sync_switch};
use crate::support::server::OwnServer;
use mysql_async::prelude::Queryable;
use std::time::Duration;

/// How often an application changes its mind.
const PAIRS: u64 = 300;

/// The same of a row that the log shows as a statement: the sweep that it asks for comes before there is a row to be seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_logged_as_a_statement_before_it_is_committed_is_not_left_to_the_next_sweep() {
    let server = OwnServer::start(&semi_sync()).await;
    let (database, receiver) = stage_without_load_on(server.access()).await;
    let mut service = settled(&database.ini(NO_SWEEP)).await;
    database.execute(&format!("SET GLOBAL {} = 1", semi_sync_switch())).await;
    let mut conn = database.conn().await;
    conn.query_drop("SET SESSION binlog_format = 'STATEMENT'").await.unwrap();
    let url = receiver.url("/work");
    // The server gives up waiting after three seconds.
    conn.query_drop(format!("INSERT INTO queued_job (http_method, url) VALUES ('post', '{url}')")).await.unwrap();
    receiver.wait_for(1, Duration::from_secs(10)).await;
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.jobs, found.calls), (1, 1), "{found:?}");
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_lost_only_to(&service, &["lost_to_decode"]);
}

/// The server waits for an acknowledgement in the middle of the commit: the log has the change, the rows are locked, and
/// SQL shows them as they were before.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_shown_by_the_log_before_it_is_committed_is_not_taken_for_what_was_before() {
    let server = OwnServer::start(&semi_sync()).await;
    let (database, receiver) = stage_without_load_on(server.access()).await;
    let scheduled = job().url(receiver.url("/work?scheduled")).run_at_in(3_600_000).insert(&database).await;
    let ended = job().url(receiver.url("/work?ended")).set("state", "discarded").insert(&database).await;
    let mut service = settled(&database.ini(NO_SWEEP)).await;
    database.execute(&format!("SET GLOBAL {} = 1", semi_sync_switch())).await;
    let mut waiting = Vec::new();
    for (id, change) in [(scheduled, "run_at = NOW(6)"), (ended, "state = 'available', run_at = NOW(6)")] {
        let mut conn = database.conn().await;
        let sql = format!("SET time_zone = '+00:00'; UPDATE queued_job SET {change} WHERE id = {id}");
        waiting.push(tokio::spawn(async move { conn.query_drop(sql).await.unwrap() }));
    }
    // The server gives up waiting after three seconds.
    for change in waiting {
        change.await.unwrap();
    }
    receiver.wait_for(2, Duration::from_secs(10)).await;
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.jobs, found.calls), (2, 2), "{found:?}");
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
}

/// An application enqueues for later, and changes its mind while the row is being looked at.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_made_due_right_after_they_were_enqueued_for_later_are_called_at_once() {
    let (database, receiver) = stage_without_load().await;
    let mut service = settled(&database.ini(NO_SWEEP)).await;
    let mut conn = database.conn().await;
    conn.query_drop("SET time_zone = '+00:00'").await.unwrap();
    let url = receiver.url("/work");
    let later =
        format!("INSERT INTO queued_job (http_method, url, run_at) VALUES ('post', '{url}', NOW(6) + INTERVAL 1 HOUR)");
    for number in 0..PAIRS {
        conn.query_drop(&later).await.unwrap();
        let id = conn.last_insert_id().unwrap();
        // From at once to about as long as a claim takes.
        tokio::time::sleep(Duration::from_micros(100 * (number % 30))).await;
        conn.query_drop(format!("UPDATE queued_job SET run_at = NOW(6) WHERE id = {id}")).await.unwrap();
    }
    receiver.wait_for(usize::try_from(PAIRS).unwrap(), Duration::from_secs(10)).await;
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!(found.jobs as u64, PAIRS, "{found:?}");
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
    ledger::assert_swept_only_at_the_start(&service);
}
