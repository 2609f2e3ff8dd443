//! `migrate`: what it says, and what it leaves alone.

use super::{Ended, run};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::Proxy;
use crate::support::service::Service;
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use rustix::process::Signal;
use std::ffi::OsStr;
use std::path::Path;

const ANCESTOR: &str = "CREATE TABLE queued_job (id bigint(20) unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, \
    organization_id bigint(20) unsigned NULL, http_method varchar(10) NOT NULL, url text NOT NULL, body text, \
    timeout_secs int(11) NOT NULL DEFAULT 60, last_started_at timestamp NULL, last_finished_at timestamp NULL, \
    last_response text, result_code int(11) NULL, remaining_retries int(11) NOT NULL DEFAULT 10, \
    retry_delay_secs int(11) NOT NULL DEFAULT 60); \
    CREATE TABLE queued_job_log (id bigint(20) unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, \
    job_id bigint(20) unsigned NOT NULL, msg text, created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP); \
    INSERT INTO queued_job (http_method, url, result_code) VALUES ('get', 'http://127.0.0.1:9/', 0)";

async fn migrate(arguments: &[&str], ini: &Path) -> Ended {
    let line = ["migrate"].iter().chain(arguments).map(OsStr::new);
    run(line.chain([ini.as_os_str()])).await
}

async fn tables(database: &TestDatabase) -> Vec<String> {
    database.query("SHOW TABLES").await
}

#[tokio::test]
async fn it_creates_the_tables_and_then_has_nothing_to_do() {
    let database = TestDatabase::create().await;
    let ini = database.ini("");
    let created = migrate(&[], &ini).await;
    created.assert_clean();
    assert!(created.stdout.starts_with(&format!("created the tables in {} (version ", database.name())), "{created}");
    let id = job().insert(&database).await;
    let again = migrate(&[], &ini).await;
    again.assert_clean();
    assert!(again.stdout.starts_with(&format!("the tables in {} are up to date", database.name())), "{again}");
    assert_eq!(database.query::<u64>("SELECT id FROM queued_job").await, [id]);
}

#[tokio::test]
async fn what_print_shows_creates_the_same_tables_and_changes_nothing_itself() {
    let (migrated, printed) = (TestDatabase::create().await, TestDatabase::create().await);
    migrate(&[], &migrated.ini("")).await.assert_clean();
    let shown = migrate(&["--print"], &printed.ini("")).await;
    shown.assert_clean();
    assert!(tables(&printed).await.is_empty());
    printed.execute(&shown.stdout).await;
    for table in ["queued_job", "queued_job_log", "queued_job_migration"] {
        let sql = format!("SHOW CREATE TABLE {table}");
        let one: (String, String) = migrated.query_one(&sql).await;
        assert_eq!(one, printed.query_one(&sql).await);
    }
    let nothing = migrate(&["--print"], &migrated.ini("")).await;
    assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(0), ""), "{nothing}");
}

#[tokio::test]
async fn print_without_settings_shows_the_schema() {
    let shown = run(["migrate", "--print"]).await;
    shown.assert_clean();
    let schema = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schema.sql")).unwrap();
    assert_eq!(shown.stdout, schema);
}

#[tokio::test]
async fn the_ancestors_tables_are_upgraded_by_it_or_by_what_it_prints() {
    let (migrated, printed) = (TestDatabase::create().await, TestDatabase::create().await);
    for database in [&migrated, &printed] {
        database.execute(ANCESTOR).await;
    }
    let shown = migrate(&["--print"], &printed.ini("")).await;
    shown.assert_clean();
    printed.execute(&shown.stdout).await;
    let told = migrate(&[], &migrated.ini("")).await;
    told.assert_clean();
    assert!(told.stdout.starts_with("upgraded the ancestor's tables in "), "{told}");
    for database in [&migrated, &printed] {
        let state: String = database.query_one("SELECT CAST(state AS CHAR) FROM queued_job").await;
        assert_eq!(state, "completed");
        let again = migrate(&[], &database.ini("")).await;
        assert!(again.stdout.contains("are up to date"), "{again}");
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_a_failure() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::start(database.server().address()).await;
    proxy.refuse().await;
    for arguments in [[].as_slice(), &["--print"]] {
        let ended = migrate(arguments, &database.ini_at(proxy.port(), "")).await;
        ended.assert_failed(1, "the connection to the database failed");
    }
}

#[tokio::test]
async fn a_signal_ends_one_that_waits_and_it_can_be_run_again() {
    let database = TestDatabase::create().await;
    database.execute(ANCESTOR).await;
    let mut other = database.conn().await;
    other.query_drop("LOCK TABLES queued_job WRITE, queued_job_log WRITE").await.unwrap();
    let ini = database.ini("");
    let mut waiting = Service::start([OsStr::new("migrate"), ini.as_os_str()]);
    until("the migration waits for the tables", super::SOON, async || {
        let sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND state LIKE 'Waiting%'";
        database.query_one::<u64>(sql).await > 0
    })
    .await;
    waiting.signal(Signal::INT);
    assert_eq!(waiting.wait_for_exit(super::SOON).await.code(), Some(1));
    waiting.wait_for_line("stopped before the end", super::SOON).await;
    other.query_drop("UNLOCK TABLES").await.unwrap();
    assert_eq!(migrate(&[], &ini).await.code, Some(0));
}
