//! Everything that may stand in a log, together and under load, with the real service.

use super::checker::check;
use super::load::Load;
use super::menagerie::{
    alter, foreign_tables, huge_rows, rename_for_a_moment, shadow_table, toggle_checksums, wide_table,
};
use super::{ENOUGH, NO_SWEEP, SETTLES, base, following, ledger, report, stage_on, times};
use crate::cdc::unknown::disguise_keys;
use crate::support::database::TestServer;
use crate::support::factory::job;
use crate::support::proxy::Proxy;
use crate::support::server::OwnServer;
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use std::time::Duration;

/// What each writer's sessions set: every form of logging that a session may choose.
fn settings(writer: usize) -> String {
    let mysql = TestServer::get().is_mysql();
    match writer {
        0 => "SET SESSION binlog_row_image = 'MINIMAL'",
        1 => "SET SESSION binlog_row_image = 'NOBLOB', time_zone = '-11:00'",
        2 => "SET SESSION binlog_format = 'STATEMENT'",
        3 => "SET SESSION binlog_format = 'MIXED', sql_mode = ''",
        4 if mysql => "SET SESSION binlog_transaction_compression = ON",
        _ => "SET SESSION time_zone = '+05:45'",
    }
    .to_owned()
}

fn options() -> Vec<String> {
    let mut options = vec!["--max-allowed-packet=128M".to_owned()];
    if TestServer::get().is_mariadb() {
        options.extend(["--log-bin-compress=1".to_owned(), "--log-bin-compress-min-len=10".to_owned()]);
    } else {
        options.push("--log-bin-trust-function-creators=1".to_owned());
    }
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_stands_in_the_log_under_load_no_job_is_lost_or_doubled() {
    let options = options();
    let server = OwnServer::start(&options.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (database, receiver) = stage_on(server.access()).await;
    let ini = database.ini(NO_SWEEP);
    let (mut first, mut second) = (following(&ini).await, following(&ini).await);
    let load = Load::start_with(&database, &base(&receiver), (6, 40), settings);
    for round in 0..times(1, 10) {
        foreign_tables(&database, round).await;
        wide_table(&database, round).await;
        toggle_checksums(&database).await;
        alter(&database).await;
        huge_rows(&database, &receiver, round).await;
        rename_for_a_moment(&database).await;
        shadow_table(&database).await;
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    report("zoo", format!("{found:?}"));
    // The table begins anew, and so do its numbers.
    let before = receiver.count();
    database.execute("TRUNCATE queued_job").await;
    job().url(receiver.url("/work")).insert_times(&database, 10).await;
    until("jobs of the emptied table are called", SETTLES, async || receiver.count() == before + 10).await;
    for service in [&mut first, &mut second] {
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
        // A statement in the log names no job.
        ledger::assert_lost_only_to(service, &["lost_to_decode"]);
        assert!(!ledger::counted(service).contains_key("stream_panics"));
    }
    assert_eq!(receiver.count(), before + 10, "each once");
}

/// What is logged as rows, in all its forms, is seen by itself: nothing rings for a sweep, and there is no other dispatcher.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_every_form_in_the_log_under_load_are_seen_without_a_sweep() {
    let options = options();
    let server = OwnServer::start(&options.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (database, receiver) = stage_on(server.access()).await;
    let mut service = following(&database.ini(NO_SWEEP)).await;
    // The last sweep of the start is over.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let by_rows = [0, 1, 4, 5];
    let load = Load::start_with(&database, &base(&receiver), (4, 60), |writer| settings(by_rows[writer]));
    for round in 0..times(1, 10) {
        foreign_tables(&database, round).await;
        wide_table(&database, round).await;
        toggle_checksums(&database).await;
        huge_rows(&database, &receiver, round).await;
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    found.assert_doubled_nothing();
    report("rows of every form", format!("{found:?}"));
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
    ledger::assert_swept_only_at_the_start(&service);
}

/// Events of a kind that nobody knows, between those of the jobs.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_unknown_kinds_under_load_hide_no_job() {
    // What is changed on its way would not fit its checksum.
    let server = OwnServer::start(&["--binlog-checksum=NONE"]).await;
    let (database, receiver) = stage_on(server.access()).await;
    database.execute("CREATE TABLE noise (id INT AUTO_INCREMENT PRIMARY KEY)").await;
    let proxy = Proxy::start(database.server().address()).await;
    disguise_keys(&database, &proxy).await;
    let mut service = following(&database.ini_at(proxy.port(), NO_SWEEP)).await;
    // The last sweep of the start is over.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    let mut noisy = database.conn().await;
    noisy.query_drop("SET SESSION binlog_format = 'MIXED'").await.unwrap();
    for _ in 0..times(ENOUGH, 20 * ENOUGH) + 50 {
        // Of a few the proxy sees a part at a time. The key is told before the statement, in an event of its own.
        noisy.query_drop("INSERT INTO noise VALUES ()").await.unwrap();
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    found.assert_doubled_nothing();
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    let unknown = ledger::counted(&service).get("events_unknown").copied().unwrap_or(0);
    assert!(unknown >= ENOUGH as u64, "{unknown} unknown events");
    report("unknown events", format!("{found:?}, {unknown} of them"));
    ledger::assert_nothing_lost(&service);
    ledger::assert_swept_only_at_the_start(&service);
}
