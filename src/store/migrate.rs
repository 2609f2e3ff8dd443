//! Migrate: create the tables, or bring older ones to this version's shape, in place.
//!
//! The servers commit each DDL statement by itself, so a migration can be cut off between two statements. Each
//! one is written to be repeated: what was applied before is recognised and passed over.

use super::error::StoreError;
use super::options::{SESSION_MODE, TABLE_WAIT_SECS};
use super::schema::{CURRENT_VERSION, SchemaState, schema_state};
use super::script::{TABLE_LOCK_SECS, run_script, run_statement};
use super::server::require_supported;
use super::session::Session;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

pub use super::script::statements;

/// The tables of this version.
pub const SCHEMA: &str = include_str!("../../schema.sql");

/// The numbered steps from older tables to this version's.
pub const MIGRATIONS: [(u32, &str); CURRENT_VERSION as usize] =
    [(1, include_str!("migrations/0001_from_the_ancestor.sql"))];

/// How a line of `schema.sql` begins that tells its version.
const VERSION_LINE: &str = "INSERT IGNORE";
/// How long another migration may take, in seconds, before this one gives up waiting.
const LOCK_WAIT_SECS: u32 = 60;

/// How long a client that runs the printed SQL waits for a row that others keep locked, in seconds.
const ROW_LOCK_SECS: u32 = 86_400;

/// Brings the tables to this version's shape; how they stood before.
///
/// One at a time per database, held by a named lock. No deadline: rebuilding a large table takes its time.
pub async fn migrate(session: &mut Session) -> Result<SchemaState, StoreError> {
    let mut lease = session.lease().await?;
    let conn = lease.conn();
    require_supported(conn).await?;
    lock_migrations(conn).await?;
    conn.query_drop(format!("SET SESSION lock_wait_timeout = {TABLE_LOCK_SECS}")).await?;
    let before = schema_state(conn).await?;
    match before {
        SchemaState::Current | SchemaState::Newer(_) => {}
        SchemaState::Missing => run_script(conn, SCHEMA).await?,
        SchemaState::WithoutLog => run_script(conn, &schema_without_versions()).await?,
        SchemaState::Ancestor => upgrade(conn, 0).await?,
        SchemaState::Older(version) => upgrade(conn, version).await?,
    }
    conn.query_drop("DO RELEASE_LOCK(CONCAT('strings-queue:migrate:', CRC32(DATABASE())))").await?;
    conn.query_drop(format!("SET SESSION lock_wait_timeout = {TABLE_WAIT_SECS}")).await?;
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
    // The tables that are missing; those that are there stay as they are.
    run_script(conn, &schema_without_versions()).await?;
    for (version, script) in MIGRATIONS.into_iter().filter(|(version, _)| *version > from) {
        run_script(conn, script).await?;
        run_statement(conn, &format!("INSERT IGNORE INTO queued_job_migration (version) VALUES ({version})")).await?;
    }
    Ok(())
}

/// The SQL of an upgrade from that version, for a client's session whatever its settings are.
#[must_use]
pub fn upgrade_sql(from: u32) -> String {
    let missing = MIGRATIONS.into_iter().filter(|(version, _)| *version > from).map(|(_, script)| script);
    let scripts: String = missing.collect::<Vec<_>>().join("\n");
    format!(
        "-- Where this is cut off, `strings-queue migrate` goes on from there.\nSET SESSION {SESSION_MODE}, \
         sql_safe_updates = 0, innodb_lock_wait_timeout = {ROW_LOCK_SECS};\n\n{}\n{scripts}\n{}",
        schema_without_versions(),
        versions_of_schema()
    )
}

/// The table of versions without a version: a migration counts only when it is done.
fn schema_without_versions() -> String {
    schema_lines(|line| !line.starts_with(VERSION_LINE))
}

fn versions_of_schema() -> String {
    schema_lines(|line| line.starts_with(VERSION_LINE))
}

fn schema_lines(wanted: impl Fn(&&str) -> bool) -> String {
    SCHEMA.lines().filter(wanted).fold(String::new(), |script, line| script + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_from_one_without_a_gap() {
        let numbers: Vec<u32> = MIGRATIONS.iter().map(|(version, _)| *version).collect();
        assert_eq!(numbers, (1..=CURRENT_VERSION).collect::<Vec<_>>());
    }
}
