//! Rows of the ancestor in every state: what they become, and which of them the service calls.

use super::ancestor::{Due, MAKES, Make, OldJob, ancestor, insert_zero_dates, old_jobs, path};
use super::{SOON, command, migrate, states};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::Receiver;
use crate::support::service::Service;
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use std::path::PathBuf;
use strings_queue::store::migrate::SCHEMA;

fn settings(database: &TestDatabase) -> PathBuf {
    database.ini("[sweep]\ninterval_secs: 3600")
}

/// The ancestor's tables with a row in each state, the keys in the order of the list.
async fn with_old_jobs(make: Make, receiver: &Receiver) -> (TestDatabase, Vec<OldJob>) {
    let database = ancestor(make).await;
    let all = old_jobs(|path| receiver.url(path));
    for old in &all {
        old.row.insert(&database).await;
    }
    (database, all)
}

#[tokio::test]
async fn each_old_row_becomes_what_it_was_and_only_those_that_are_due_are_called() {
    for make in MAKES {
        let receiver = Receiver::start().await;
        let (database, all) = with_old_jobs(make, &receiver).await;
        migrate(&database).await;
        let expected: Vec<&str> = all.iter().map(|old| old.state).collect();
        assert_eq!(states(&database).await, expected, "{make:?}");
        let done = command("once", &settings(&database)).await;
        assert_eq!(done.code, Some(0), "{make:?}: {}", done.stderr);
        for (index, old) in all.iter().enumerate() {
            let calls = receiver.requests_for(&path(index)).len();
            assert_eq!(calls, usize::from(old.due == Due::Now), "{make:?}: {}", old.what);
        }
    }
}

#[tokio::test]
async fn the_service_takes_up_where_the_ancestor_ended() {
    let receiver = Receiver::start().await;
    let (database, all) = with_old_jobs(MAKES[0], &receiver).await;
    migrate(&database).await;
    let due_at_once = all.iter().filter(|old| old.due == Due::Now).count();
    // One of those that are not due comes due while the service runs.
    let later = all.iter().position(|old| old.what == "to be retried, not due yet").unwrap();
    let sooner = format!("UPDATE queued_job SET run_at = NOW(6) + INTERVAL 2 SECOND WHERE id = {}", later + 1);
    database.execute(&sooner).await;
    let mut service = Service::run(&settings(&database));
    service.wait_for_line("following the log", SOON).await;
    let fresh = job().url(receiver.url("/fresh")).insert(&database).await;
    until("all that is due is done", SOON, async || {
        let done: usize = database.query_one("SELECT COUNT(*) FROM queued_job WHERE state = 'completed'").await;
        done == 3 + due_at_once + 2
    })
    .await;
    assert_eq!(service.stop(SOON).await, Some(0));
    assert_eq!(receiver.count(), due_at_once + 2);
    assert!(fresh > all.len() as u64, "keys go on where they were");
}

#[tokio::test]
async fn attempts_and_times_go_on_from_what_the_ancestor_wrote() {
    let receiver = Receiver::start().await;
    let (database, all) = with_old_jobs(MAKES[2], &receiver).await;
    migrate(&database).await;
    let at = |what: &str| all.iter().position(|old| old.what == what).unwrap();
    let due_in = |what: &str| {
        let key = at(what) + 1;
        format!("SELECT TIMESTAMPDIFF(SECOND, last_finished_at, run_at) FROM queued_job WHERE id = {key}")
    };
    assert_eq!(database.query_one::<i64>(&due_in("to be retried, not due yet")).await, 3600);
    assert_eq!(database.query_one::<i64>(&due_in("to be retried, and due")).await, 60);
    assert_eq!(database.query_one::<i64>(&due_in("a negative delay")).await, 0);
    assert_eq!(database.query_one::<i64>(&due_in("a delay of 68 years")).await, 365 * 86_400);
    let kept: (i64, i64) = database
        .query_one(
            "SELECT CAST(SUM(remaining_retries = 10) AS SIGNED), CAST(SUM(created_at = last_started_at) AS SIGNED) \
             FROM queued_job",
        )
        .await;
    let with_a_start = i64::try_from(all.len()).unwrap() - 4;
    assert_eq!(kept, (8, with_a_start));
    command("once", &settings(&database)).await;
    let attempt = |what: &str| {
        let request = receiver.requests_for(&path(at(what))).remove(0);
        request.header("Strings-Queue-Attempt").unwrap().to_owned()
    };
    assert_eq!(attempt("new"), "1");
    assert_eq!(attempt("its poller was killed in the first call"), "2");
}

#[tokio::test]
async fn texts_keep_their_letters_and_huge_ones_are_cut() {
    for make in MAKES {
        let database = ancestor(make).await;
        // Of one byte each, more of these have room than of two.
        let (huge, left) = if make.charset == "latin1" { (40_000, 16_000) } else { (32_000, 32_000) };
        job().body("Müßiggang").set("last_response", "ä".repeat(huge)).insert(&database).await;
        database
            .execute(&format!(
                "INSERT INTO queued_job_log (job_id, msg) VALUES (1, NULL), (1, 'größer'), (1, REPEAT('ö', {huge})), \
                   (NULL, 'of no job'), (NULL, NULL)",
            ))
            .await;
        migrate(&database).await;
        let row: (String, usize, String) =
            database.query_one("SELECT body, CHAR_LENGTH(last_response), LEFT(last_response, 2) FROM queued_job").await;
        assert_eq!(row, ("Müßiggang".into(), left, "ää".into()), "{make:?}");
        let log = "SELECT job_id, LEFT(msg, 6), CHAR_LENGTH(msg) FROM queued_job_log ORDER BY id";
        let lines: Vec<(u64, String, usize)> = database.query(log).await;
        let line = |job, text: &str, length| (job, text.to_owned(), length);
        let expected =
            [line(1, "", 0), line(1, "größer", 6), line(1, "öööööö", left), line(0, "of no ", 9), line(0, "", 0)];
        assert_eq!(lines, expected, "{make:?}");
    }
}

/// As after a copy of the two tables alone.
#[tokio::test]
async fn tables_of_now_whose_version_was_lost_keep_their_texts() {
    let database = TestDatabase::with_schema().await;
    job().set("last_response", "ä".repeat(32_000)).insert(&database).await;
    database.execute("INSERT INTO queued_job_log (job_id, msg) VALUES (1, REPEAT('ö', 32000))").await;
    database.execute("DROP TABLE queued_job_migration").await;
    migrate(&database).await;
    let lengths = "SELECT (SELECT CHAR_LENGTH(last_response) FROM queued_job), CHAR_LENGTH(msg) FROM queued_job_log";
    assert_eq!(database.query_one::<(u32, u32)>(lengths).await, (32_000, 32_000));
}

/// Which a dump may bring.
#[tokio::test]
async fn a_row_with_the_number_zero_is_upgraded_too() {
    let database = ancestor(MAKES[0]).await;
    let mut conn = database.conn().await;
    conn.query_drop("SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_AUTO_VALUE_ON_ZERO')").await.unwrap();
    conn.query_drop("INSERT INTO queued_job (id, http_method, url, body) VALUES (0, 'post', 'a', 'x')").await.unwrap();
    migrate(&database).await;
    assert_eq!(
        database.query_one::<String>("SELECT CAST(state AS CHAR) FROM queued_job WHERE id = 0").await,
        "available"
    );
}

/// As the servers of its time made the first TIMESTAMP of a table.
#[tokio::test]
async fn lines_keep_their_times_where_an_update_would_change_them() {
    let database = ancestor(MAKES[0]).await;
    let of_its_time = "ALTER TABLE queued_job_log MODIFY created_at timestamp not null default current_timestamp \
                       on update current_timestamp";
    database.execute(of_its_time).await;
    let at = "'2014-05-06 07:08:09'";
    let lines =
        format!("(1, REPEAT('x', 32000), {at}), (NULL, 'of no job', {at}), (1, NULL, {at}), (1, 'short', {at})");
    database.execute(&format!("INSERT INTO queued_job_log (job_id, msg, created_at) VALUES {lines}")).await;
    migrate(&database).await;
    let kept = format!("SELECT COUNT(*) FROM queued_job_log WHERE created_at = {at}");
    assert_eq!(database.query_one::<u32>(&kept).await, 4);
}

/// `schema.sql` leaves tables that it finds as they are, and says nothing.
#[tokio::test]
async fn tables_that_schema_sql_was_fed_over_are_the_ancestors_still() {
    let database = ancestor(MAKES[0]).await;
    job().insert(&database).await;
    database.execute(SCHEMA).await;
    let said = command("once", &settings(&database)).await;
    assert!(said.code == Some(1) && said.stderr.contains("the tables are the ancestor's"), "{}", said.stderr);
    migrate(&database).await;
    assert_eq!(states(&database).await, ["available"]);
}

#[tokio::test]
async fn zero_dates_hold_nothing_up() {
    for make in [MAKES[0], MAKES[2]] {
        let receiver = Receiver::start().await;
        let database = ancestor(make).await;
        insert_zero_dates(&database, &receiver.url("/")).await;
        migrate(&database).await;
        assert_eq!(states(&database).await, ["completed", "retryable", "available"], "{make:?}");
        let attempts: Vec<u32> = database.query("SELECT attempt FROM queued_job ORDER BY id").await;
        assert_eq!(attempts, [1, 1, 0], "{make:?}");
        database.execute("UPDATE queued_job SET run_at = NOW(6) WHERE state = 'retryable'").await;
        let done = command("once", &settings(&database)).await;
        assert_eq!((done.code, receiver.count()), (Some(0), 2), "{make:?}: {}", done.stderr);
    }
}

#[tokio::test]
async fn bodies_larger_than_the_ancestors_text_are_taken_and_sent_whole() {
    let receiver = Receiver::start().await;
    let database = ancestor(MAKES[3]).await;
    migrate(&database).await;
    let bodies = [70_000, 3_000_000].map(|length| "größer ".bytes().cycle().take(length).collect::<Vec<u8>>());
    for (index, body) in bodies.iter().enumerate() {
        let body = String::from_utf8_lossy(body).into_owned();
        job().url(receiver.url(&path(index))).body(body).insert(&database).await;
    }
    assert_eq!(command("once", &settings(&database)).await.code, Some(0));
    for (index, body) in bodies.iter().enumerate() {
        let sent = receiver.requests_for(&path(index)).remove(0).body;
        assert_eq!(sent, String::from_utf8_lossy(body).as_bytes(), "body {index}");
    }
}
