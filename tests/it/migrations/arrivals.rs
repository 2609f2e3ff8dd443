//! Rows that arrive in the middle of an upgrade, two upgrades at once, and a service beside it.

use super::ancestor::{MAKES, ancestor, old_jobs};
use super::shape::assert_same_shape;
use super::{SOON, migrate, states};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::Receiver;
use crate::support::service::Service;
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use std::ffi::OsStr;
use strings_queue::store::migrate::{MIGRATIONS, statements};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_row_that_comes_before_the_state_has_its_default_is_filled_too() {
    let database = ancestor(MAKES[0]).await;
    job().set("result_code", 0).insert(&database).await;
    let opening = statements(MIGRATIONS[0].1).position(|statement| statement.contains("ADD COLUMN state")).unwrap();
    for statement in statements(MIGRATIONS[0].1).take(opening + 1) {
        database.execute(statement).await;
    }
    // An ALTER can't be done while we may still write.
    let mut application = database.conn().await;
    application.query_drop("START TRANSACTION; UPDATE queued_job SET url = url WHERE id = 0").await.unwrap();
    let ini = database.ini("");
    let mut migration = Service::start([OsStr::new("migrate"), ini.as_os_str()]);
    let waiting = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE db = '{}' AND info LIKE '%SET DEFAULT%' \
         AND state LIKE '%metadata lock%'",
        database.name()
    );
    until("the ALTER waits", SOON, async || database.query_one::<i64>(&waiting).await == 1).await;
    application
        .query_drop("INSERT INTO queued_job (http_method, url) VALUES ('post', 'http://127.0.0.1:9/'); COMMIT")
        .await
        .unwrap();
    assert_eq!(migration.wait_for_exit(SOON).await.code(), Some(0), "{:?}", migration.lines());
    assert_eq!(states(&database).await, ["completed", "available"]);
    assert_same_shape(&database, "after an arrival").await;
}

#[tokio::test]
async fn an_application_that_inserts_all_the_while_loses_nothing() {
    for make in [MAKES[0], MAKES[2]] {
        let database = ancestor(make).await;
        let enough = CancellationToken::new();
        let inserting = async {
            let mut inserted = 0;
            while !enough.is_cancelled() {
                job().insert(&database).await;
                inserted += 1;
            }
            inserted
        };
        let upgrading = async {
            until("some rows are there", SOON, async || rows(&database).await > 5).await;
            migrate(&database).await;
            enough.cancel();
        };
        let (inserted, ()) = tokio::join!(inserting, upgrading);
        assert_eq!(states(&database).await, vec!["available"; inserted], "{make:?}");
        assert_same_shape(&database, &format!("{make:?}")).await;
    }
}

async fn rows(database: &TestDatabase) -> u64 {
    database.query_one("SELECT COUNT(*) FROM queued_job").await
}

#[tokio::test]
async fn a_row_that_an_application_keeps_locked_is_waited_for() {
    let database = ancestor(MAKES[0]).await;
    let id = job().set("result_code", 0).set("last_response", "x".repeat(20_000)).insert(&database).await;
    let mut application = database.conn().await;
    application.query_drop(format!("START TRANSACTION; DELETE FROM queued_job WHERE id = {id}")).await.unwrap();
    let ini = database.ini("");
    let mut migration = Service::start([OsStr::new("migrate"), ini.as_os_str()]);
    migration.wait_for_line("waiting for rows or a table that another session keeps locked", SOON).await;
    application.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(migration.wait_for_exit(SOON).await.code(), Some(0), "{:?}", migration.lines());
    assert_eq!(states(&database).await, ["completed"]);
}

#[tokio::test]
async fn two_upgrades_at_once_are_one_after_the_other() {
    let database = ancestor(MAKES[2]).await;
    let all = old_jobs(|_| "http://127.0.0.1:9/".to_owned());
    for old in &all {
        old.row.insert(&database).await;
    }
    let (one, other) = tokio::join!(migrate(&database), migrate(&database));
    let mut said = [one, other];
    said.sort();
    assert!(said[0].contains("are up to date") && said[1].starts_with("upgraded the ancestor's"), "{said:?}");
    let expected: Vec<&str> = all.iter().map(|old| old.state).collect();
    assert_eq!(states(&database).await, expected);
}

#[tokio::test]
async fn a_service_at_work_does_not_notice_a_migration_that_has_nothing_to_do() {
    let database = TestDatabase::with_schema().await;
    let receiver = Receiver::start().await;
    let mut service = Service::run(&database.ini("[sweep]\ninterval_secs: 3600"));
    service.wait_for_line("following the log", SOON).await;
    let row = job().url(receiver.url("/"));
    let (ids, _) = tokio::join!(row.insert_times(&database, 30), migrate(&database));
    until("all are done", SOON, async || states(&database).await == vec!["completed"; ids.len()]).await;
    assert_eq!(receiver.count(), ids.len());
    assert_eq!(service.stop(SOON).await, Some(0));
}
