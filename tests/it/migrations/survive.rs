//! What people added to the ancestor's tables stays as it is.

use super::ancestor::{MAKES, ancestor};
use super::{SOON, command, migrate, states};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::Receiver;

async fn with_own_parts() -> TestDatabase {
    let database = ancestor(MAKES[0]).await;
    database
        .execute(
            "ALTER TABLE queued_job ADD COLUMN tenant VARCHAR(20) CHARACTER SET latin1 NOT NULL DEFAULT 'ü' AFTER id, \
               ADD COLUMN doubled INT AS (timeout_secs * 2) STORED, ADD KEY by_tenant (tenant, result_code), \
               ADD KEY by_url (url(60)), ADD FULLTEXT KEY in_body (body); \
             CREATE TABLE of_ours (job BIGINT UNSIGNED NOT NULL, FOREIGN KEY (job) REFERENCES queued_job (id)) \
               ENGINE = InnoDB; \
             CREATE TABLE seen (job BIGINT UNSIGNED, what VARCHAR(10)); \
             CREATE TRIGGER on_insert AFTER INSERT ON queued_job FOR EACH ROW INSERT INTO seen VALUES (NEW.id, 'new'); \
             CREATE TRIGGER on_update AFTER UPDATE ON queued_job FOR EACH ROW \
               INSERT INTO seen VALUES (NEW.id, COALESCE(NEW.result_code, '-'))",
        )
        .await;
    database
}

#[tokio::test]
async fn own_columns_indexes_triggers_and_references_survive() {
    let receiver = Receiver::start().await;
    let database = with_own_parts().await;
    let id = job().url(receiver.url("/")).set("tenant", "Äpfel").insert(&database).await;
    database.execute(&format!("INSERT INTO of_ours VALUES ({id})")).await;
    migrate(&database).await;
    let column: (String, String, i32) = database
        .query_one(
            "SELECT tenant, (SELECT CHARACTER_SET_NAME FROM information_schema.COLUMNS WHERE \
             TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'queued_job' AND COLUMN_NAME = 'tenant'), doubled \
             FROM queued_job",
        )
        .await;
    assert_eq!(column, ("Äpfel".into(), "latin1".into(), 120));
    let indexes: Vec<String> = database
        .query(
            "SELECT DISTINCT INDEX_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() \
             AND TABLE_NAME = 'queued_job' ORDER BY BINARY INDEX_NAME",
        )
        .await;
    assert_eq!(indexes, ["PRIMARY", "by_tenant", "by_url", "in_body", "state_run_at"]);
    let done = command("once", &database.ini("")).await;
    assert_eq!((done.code, receiver.count()), (Some(0), 1), "{}", done.stderr);
    let seen: Vec<String> = database.query("SELECT what FROM seen").await;
    // The INSERT, the upgrade, the claim, the finish.
    assert_eq!(seen, ["new", "-", "-", "0"]);
    let mut conn = database.conn().await;
    let refused = mysql_async::prelude::Queryable::query_drop(&mut conn, "DELETE FROM queued_job").await;
    assert!(refused.is_err_and(|error| error.to_string().contains("foreign key")), "the reference still holds");
}

#[tokio::test]
async fn a_column_of_ones_own_with_a_name_of_ours_stops_it_before_the_table_is_altered() {
    let database = ancestor(MAKES[0]).await;
    database.execute("ALTER TABLE queued_job ADD COLUMN created_at DATETIME NULL, ADD COLUMN attempt INT").await;
    job().insert(&database).await;
    let said = command("migrate", &database.ini("")).await;
    assert_eq!(said.code, Some(1));
    let told = "queued_job has columns of its own named attempt, created_at";
    assert!(said.stderr.contains(told), "{}", said.stderr);
    let columns = "SELECT COUNT(*) FROM information_schema.COLUMNS \
                   WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'queued_job'";
    assert_eq!(database.query_one::<u32>(columns).await, 14);
    database
        .execute("ALTER TABLE queued_job CHANGE created_at made_at DATETIME NULL, CHANGE attempt attempts INT")
        .await;
    tokio::time::timeout(SOON, migrate(&database)).await.unwrap();
    assert_eq!(states(&database).await, ["available"]);
}
