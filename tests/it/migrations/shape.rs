//! `schema.sql` and the migrations give the same tables, and people's own parts of them stay.

use super::ancestor::{MAKES, ancestor};
use super::migrate;
use crate::support::database::TestDatabase;
use mysql_async::Row;

const TABLES: &str = "TABLE_NAME IN ('queued_job', 'queued_job_log', 'queued_job_migration')";

/// All that the information schema says of our tables, line by line.
pub async fn shape(database: &TestDatabase) -> Vec<String> {
    let here = format!("TABLE_SCHEMA = DATABASE() AND {TABLES}");
    let mut lines = Vec::new();
    for sql in [
        format!(
            "SELECT TABLE_NAME, ORDINAL_POSITION, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, \
             CHARACTER_SET_NAME, COLLATION_NAME, COLUMN_COMMENT, DATETIME_PRECISION FROM information_schema.COLUMNS \
             WHERE {here} ORDER BY 1, 2"
        ),
        format!(
            "SELECT TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, NON_UNIQUE, SUB_PART, INDEX_TYPE, COLLATION \
             FROM information_schema.STATISTICS WHERE {here} ORDER BY 1, 2, 3"
        ),
        format!(
            "SELECT TABLE_NAME, ENGINE, ROW_FORMAT, TABLE_COLLATION, CREATE_OPTIONS, TABLE_COMMENT \
             FROM information_schema.TABLES WHERE {here} ORDER BY 1"
        ),
        "SELECT version FROM queued_job_migration ORDER BY 1".to_owned(),
    ] {
        let rows: Vec<Row> = database.query(&sql).await;
        lines.extend(rows.into_iter().map(|row| format!("{:?}", row.unwrap())));
    }
    lines
}

/// The tables are those of `schema.sql`.
pub async fn assert_same_shape(database: &TestDatabase, how: &str) {
    let fresh = TestDatabase::with_schema_on(database.server()).await;
    let (expected, found) = (shape(&fresh).await, shape(database).await);
    let differences: Vec<_> = expected.iter().zip(&found).filter(|(wanted, found)| wanted != found).collect();
    assert!(expected.len() == found.len() && differences.is_empty(), "{how}: {differences:#?}");
}

#[tokio::test]
async fn schema_and_migrations_give_the_same_tables() {
    for make in MAKES {
        let database = ancestor(make).await;
        let said = migrate(&database).await;
        assert!(said.starts_with("upgraded the ancestor's tables in "), "{said}");
        assert_same_shape(&database, &format!("{make:?}")).await;
    }
    let database = TestDatabase::create().await;
    let said = migrate(&database).await;
    assert!(said.starts_with("created the tables in "), "{said}");
    assert_same_shape(&database, "from nothing").await;
}

#[tokio::test]
async fn the_databases_own_character_set_is_not_ours() {
    let database = TestDatabase::create().await;
    database.execute(&format!("ALTER DATABASE {} CHARACTER SET latin1", database.name())).await;
    migrate(&database).await;
    assert_same_shape(&database, "in a latin1 database").await;
}

#[tokio::test]
async fn a_second_run_changes_nothing() {
    let database = ancestor(MAKES[1]).await;
    migrate(&database).await;
    let applied = "SELECT applied_at FROM queued_job_migration";
    let made = "SELECT CREATE_TIME FROM information_schema.TABLES \
                WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'queued_job'";
    let before: [mysql_async::Value; 2] = [database.query_one(applied).await, database.query_one(made).await];
    let said = migrate(&database).await;
    assert!(said.contains("are up to date (version "), "{said}");
    let after: [mysql_async::Value; 2] = [database.query_one(applied).await, database.query_one(made).await];
    assert_eq!(before, after);
}
