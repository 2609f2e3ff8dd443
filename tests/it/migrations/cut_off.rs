//! An upgrade that is cut off, at each statement and in each way, and run again.

use super::ancestor::{MAKES, Make, OldJob, ancestor, create_tables, old_jobs};
use super::shape::assert_same_shape;
use super::{SOON, command, migrate, states};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::{CutPoint, Proxy, Way};
use crate::support::service::Service;
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::ffi::OsStr;
use strings_queue::store::migrate::{MIGRATIONS, SCHEMA, statements};

fn upgrade_statements() -> Vec<&'static str> {
    MIGRATIONS.into_iter().flat_map(|(_, script)| statements(script)).collect()
}

async fn insert_all(database: &TestDatabase) -> Vec<OldJob> {
    let all = old_jobs(|_| "http://127.0.0.1:9/".to_owned());
    for old in &all {
        old.row.insert(database).await;
    }
    database.execute("INSERT INTO queued_job_log (job_id, msg) VALUES (1, 'a line')").await;
    all
}

/// Old rows are what they were, rows that came meanwhile are available, and the tables are ours.
async fn assert_upgraded(database: &TestDatabase, all: &[OldJob], arrived: usize, how: &str) {
    let mut expected: Vec<&str> = all.iter().map(|old| old.state).collect();
    expected.extend(std::iter::repeat_n("available", arrived));
    assert_eq!(states(database).await, expected, "{how}");
    assert_same_shape(database, how).await;
}

#[tokio::test]
async fn after_any_statement_it_can_be_run_again() {
    let count = upgrade_statements().len();
    assert!(count > 4, "the script is cut into its statements");
    for done in 0..=count {
        cut_off_after(done, MAKES[0], "").await;
    }
    // Every other statement for another make.
    for done in (0..=count).step_by(2) {
        cut_off_after(done, MAKES[2], "").await;
    }
}

/// `schema.sql` says which version it makes, and leaves the tables that it finds as they are.
#[tokio::test]
async fn after_any_statement_it_can_be_run_again_where_a_version_stood_there_before() {
    for done in 0..upgrade_statements().len() {
        cut_off_after(done, MAKES[0], SCHEMA).await;
    }
}

async fn cut_off_after(done: usize, make: Make, before: &str) {
    let database = ancestor(make).await;
    let all = insert_all(&database).await;
    for statement in statements(before) {
        database.execute(statement).await;
    }
    for statement in &upgrade_statements()[..done] {
        database.execute(statement).await;
    }
    job().insert(&database).await;
    let how = format!("{make:?}, cut off after {done} statements");
    let refused = command("once", &database.ini("")).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("migrate"), "{how}: {}", refused.stderr);
    migrate(&database).await;
    assert_upgraded(&database, &all, 1, &how).await;
}

#[tokio::test]
async fn a_connection_lost_in_any_statement_ends_it_with_an_error_and_it_can_be_run_again() {
    for statement in upgrade_statements() {
        let database = ancestor(MAKES[0]).await;
        let all = insert_all(&database).await;
        let proxy = Proxy::start(database.server().address()).await;
        let code = statement.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
        let mut trap = proxy.cut_on(Way::ToServer, code.trim().as_bytes(), CutPoint::BeforeAnswer);
        let cut = command("migrate", &database.ini_at(proxy.port(), "")).await;
        trap.sprung(SOON).await;
        assert_eq!(cut.code, Some(1), "{statement}: {}", cut.stderr);
        // The server may still be at it: the second waits until the first is gone.
        migrate(&database).await;
        assert_upgraded(&database, &all, 0, statement).await;
    }
}

/// Holds up every ALTER of the table, and no INSERT or UPDATE, until it is dropped.
async fn hold_alters_up(database: &TestDatabase) -> Conn {
    let mut conn = database.conn().await;
    conn.query_drop("START TRANSACTION; UPDATE queued_job SET url = url WHERE id = 0").await.unwrap();
    conn
}

/// The server's number of the session that waits in an ALTER of the database.
async fn waiting_alter(database: &TestDatabase) -> Option<u64> {
    let sql = format!(
        "SELECT id FROM information_schema.processlist WHERE db = '{}' AND info LIKE '%ALTER TABLE queued_job%' \
         AND state LIKE '%metadata lock%'",
        database.name()
    );
    database.query(&sql).await.pop()
}

/// A migration that waits in an ALTER of the database, in another session than this one.
async fn waiting_migration(database: &TestDatabase, other: Option<u64>) -> Service {
    let ini = database.ini("");
    let migration = Service::start([OsStr::new("migrate"), ini.as_os_str()]);
    until("it waits", SOON, async || waiting_alter(database).await.is_some_and(|id| Some(id) != other)).await;
    migration
}

#[tokio::test]
async fn a_session_killed_and_a_program_killed_leave_what_can_be_run_again() {
    let database = ancestor(MAKES[0]).await;
    let all = insert_all(&database).await;
    let held = hold_alters_up(&database).await;
    let mut first = waiting_migration(&database, None).await;
    let session = waiting_alter(&database).await.unwrap();
    database.execute(&format!("KILL {session}")).await;
    assert_eq!(first.wait_for_exit(SOON).await.code(), Some(1));
    let mut second = waiting_migration(&database, Some(session)).await;
    second.kill().await;
    held.disconnect().await.unwrap();
    migrate(&database).await;
    assert_upgraded(&database, &all, 0, "killed").await;
}

/// In full only: it takes half a minute.
#[tokio::test]
async fn what_is_inserted_while_it_waits_for_a_table_gets_on_between_its_tries() {
    if std::env::var_os("STRINGS_QUEUE_SLOW").is_none() {
        return;
    }
    let database = ancestor(MAKES[0]).await;
    let all = insert_all(&database).await;
    let held = hold_alters_up(&database).await;
    let mut migration = waiting_migration(&database, None).await;
    job().insert(&database).await;
    migration.wait_for_line("another session keeps locked", SOON).await;
    held.disconnect().await.unwrap();
    assert_eq!(migration.wait_for_exit(SOON).await.code(), Some(0));
    assert_upgraded(&database, &all, 1, "waited").await;
}

#[tokio::test]
async fn the_making_of_new_tables_can_be_cut_off_too() {
    let schema: Vec<&str> = statements(strings_queue::store::migrate::SCHEMA).collect();
    for done in 1..schema.len() {
        let database = TestDatabase::create().await;
        for statement in &schema[..done] {
            database.execute(statement).await;
        }
        job().insert(&database).await;
        migrate(&database).await;
        assert_upgraded(&database, &[], 1, &format!("after {done} statements")).await;
    }
}

#[tokio::test]
async fn an_ancestor_without_a_log_table_is_upgraded() {
    let database = TestDatabase::create().await;
    create_tables(&database, MAKES[0]).await;
    let all = insert_all(&database).await;
    database.execute("DROP TABLE queued_job_log").await;
    migrate(&database).await;
    assert_upgraded(&database, &all, 0, "no log table").await;
}

#[tokio::test]
async fn rows_are_filled_in_pieces_and_those_that_are_filled_stay() {
    let database = ancestor(MAKES[0]).await;
    let ten = "SELECT 0 AS n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4";
    // 15,625 rows with gaps between their keys.
    database
        .execute(&format!(
            "INSERT INTO queued_job (id, http_method, url, result_code) \
             SELECT 1000 + 3 * (a.n + 5 * b.n + 25 * c.n + 125 * d.n + 625 * e.n + 3125 * f.n), 'post', 'http://x/', 0 \
             FROM ({ten}) a, ({ten}) b, ({ten}) c, ({ten}) d, ({ten}) e, ({ten}) f; \
             CREATE TRIGGER stumble BEFORE UPDATE ON queued_job FOR EACH ROW \
             IF NEW.id > 1000 + 3 * 15620 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'stumbled'; END IF"
        ))
        .await;
    let said = command("migrate", &database.ini("")).await;
    assert!(said.code == Some(1) && said.stderr.contains("stumbled"), "{}", said.stderr);
    let filled = "SELECT COUNT(*) FROM queued_job WHERE state = 'completed'";
    assert_eq!(database.query_one::<u32>(filled).await, 15_500);
    database.execute("DROP TRIGGER stumble").await;
    migrate(&database).await;
    assert_eq!(database.query_one::<u32>(filled).await, 15_625);
}

#[tokio::test]
async fn a_signal_ends_it_and_it_can_be_run_again() {
    let database = ancestor(MAKES[0]).await;
    let all = insert_all(&database).await;
    let held = hold_alters_up(&database).await;
    let mut migration = waiting_migration(&database, None).await;
    assert_eq!(migration.stop(SOON).await, Some(1));
    assert!(migration.lines().iter().any(|line| line.contains("running it again")), "{:?}", migration.lines());
    held.disconnect().await.unwrap();
    migrate(&database).await;
    assert_upgraded(&database, &all, 0, "a signal").await;
}
