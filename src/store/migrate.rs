//! Migrate: create the tables, or bring older ones to this version's shape, in place.
//!
//! The servers commit each DDL statement by itself, so a migration can be cut off between two statements. Each
//! one is written to be repeated: what was applied before is recognised and passed over.

use super::error::StoreError;
use super::schema::{CURRENT_VERSION, SchemaState, schema_state};
use super::session::Session;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// The tables of this version.
pub const SCHEMA: &str = include_str!("../../schema.sql");

/// The numbered steps from older tables to this version's.
pub const MIGRATIONS: [(u32, &str); CURRENT_VERSION as usize] =
    [(1, include_str!("migrations/0001_from_the_ancestor.sql"))];

/// "Duplicate column name", "Duplicate key name": the statement was applied before.
const APPLIED_BEFORE: [u16; 2] = [1060, 1061];
/// "Data truncated", "Invalid use of NULL": rows arrived between filling a column and closing it.
const ROWS_ARRIVED: [u16; 2] = [1265, 1138];
/// How often a migration begins again when rows keep arriving.
const ROUNDS: u32 = 20;
/// How long another migration may take, in seconds, before this one gives up waiting.
const LOCK_WAIT_SECS: u32 = 60;

/// Brings the tables to this version's shape; how they stood before.
///
/// One at a time per database, held by a named lock. No deadline: rebuilding a large table takes its time.
pub async fn migrate(session: &mut Session) -> Result<SchemaState, StoreError> {
    let mut lease = session.lease().await?;
    let conn = lease.conn();
    lock_migrations(conn).await?;
    let before = schema_state(conn).await?;
    match before {
        SchemaState::Current | SchemaState::Newer(_) => {}
        SchemaState::Missing => run_script(conn, SCHEMA).await?,
        SchemaState::Ancestor => upgrade(conn, 0).await?,
        SchemaState::Older(version) => upgrade(conn, version).await?,
    }
    conn.query_drop("DO RELEASE_LOCK(CONCAT('strings-queue:migrate:', CRC32(DATABASE())))").await?;
    lease.keep();
    Ok(before)
}

async fn lock_migrations(conn: &mut Conn) -> Result<(), StoreError> {
    let sql = format!("SELECT GET_LOCK(CONCAT('strings-queue:migrate:', CRC32(DATABASE())), {LOCK_WAIT_SECS})");
    let taken: Option<Option<i64>> = conn.query_first(sql).await?;
    if taken.flatten() == Some(1) {
        return Ok(());
    }
    Err(StoreError::Schema("another migration of this database is running; try again when it is done".to_owned()))
}

async fn upgrade(conn: &mut Conn, from: u32) -> Result<(), StoreError> {
    for (version, script) in MIGRATIONS.into_iter().filter(|(version, _)| *version > from) {
        run_until_no_rows_arrive(conn, script).await?;
        // The other tables of this version; those that are there stay as they are.
        run_script(conn, &schema_without_versions()).await?;
        conn.exec_drop("INSERT IGNORE INTO queued_job_migration (version) VALUES (?)", (version,)).await?;
    }
    Ok(())
}

/// The table of versions without a version: a migration counts only when it is done.
fn schema_without_versions() -> String {
    SCHEMA
        .lines()
        .filter(|line| !line.starts_with("INSERT IGNORE"))
        .fold(String::new(), |script, line| script + line + "\n")
}

async fn run_until_no_rows_arrive(conn: &mut Conn, script: &str) -> Result<(), StoreError> {
    for _ in 1..ROUNDS {
        match run_script(conn, script).await {
            Err(error) if error.code().is_some_and(|code| ROWS_ARRIVED.contains(&code)) => {}
            other => return other,
        }
    }
    run_script(conn, script).await
}

async fn run_script(conn: &mut Conn, script: &str) -> Result<(), StoreError> {
    for statement in statements(script) {
        match conn.query_drop(statement).await.map_err(StoreError::from) {
            Err(error) if error.code().is_some_and(|code| APPLIED_BEFORE.contains(&code)) => {}
            other => other?,
        }
    }
    Ok(())
}

/// The statements of a script of ours: each ends with a semicolon at a line's end.
fn statements(script: &str) -> impl Iterator<Item = &str> {
    script.split(";\n").map(str::trim).filter(|statement| {
        statement.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_cut_into_its_statements() {
        let script = "-- a comment\nCREATE TABLE a (b INT);\n\nINSERT INTO a VALUES (1);\n-- the end\n";
        let found: Vec<&str> = statements(script).collect();
        assert_eq!(found, ["-- a comment\nCREATE TABLE a (b INT)", "INSERT INTO a VALUES (1)"]);
    }

    #[test]
    fn migrations_are_numbered_from_one_without_a_gap() {
        let numbers: Vec<u32> = MIGRATIONS.iter().map(|(version, _)| *version).collect();
        assert_eq!(numbers, (1..=CURRENT_VERSION).collect::<Vec<_>>());
    }
}
