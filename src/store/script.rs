//! A script of ours: its statements, one by one, each run so that it can be run again.

use super::columns::columns_of;
use super::error::StoreError;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// "Duplicate column name": the statement was applied before, or a column of somebody's own has the name.
const DUPLICATE_COLUMN: u16 = 1060;
/// "Duplicate key name": the statement was applied before.
const DUPLICATE_KEY: u16 = 1061;
/// The comment above an UPDATE that is run for some rows at a time, each time in a transaction of its own.
const IN_PIECES: &str = "-- In pieces.";
/// How many rows one piece looks at: no lock, no transaction and no event in the log is larger, however large the
/// table is, nor than a group takes (`group_replication_transaction_size_limit`, 150 MB), with bodies of a hundred KiB.
const PIECE_ROWS: u32 = 500;
/// How long one try of a statement waits for applications' transactions to let go of a table, in seconds. Whatever else wants
/// that table waits behind it; between two tries it can get on.
pub(super) const TABLE_LOCK_SECS: u32 = 30;
/// The same where giving up would cost the work of more than that.
const PATIENCE_SECS: u32 = 86_400;
/// How long applications have a table to themselves that some session keeps from us.
const PAUSE: Duration = Duration::from_secs(3);

/// The statements of a script of ours: each ends with a semicolon at a line's end.
pub fn statements(script: &str) -> impl Iterator<Item = &str> {
    script.split(";\n").map(str::trim).filter(|statement| {
        statement.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--"))
    })
}

pub(super) async fn run_script(conn: &mut Conn, script: &str) -> Result<(), StoreError> {
    for statement in statements(script) {
        if statement.lines().any(|line| line == IN_PIECES) {
            run_in_pieces(conn, statement).await?;
        } else {
            run_statement(conn, statement).await?;
        }
    }
    Ok(())
}

/// The UPDATE ends with its WHERE, an OR of which stands in parentheses, and goes through the table in the order of `id`.
async fn run_in_pieces(conn: &mut Conn, update: &str) -> Result<(), StoreError> {
    let table = update.split_whitespace().skip_while(|word| *word != "UPDATE").nth(1).unwrap_or_default();
    let mut from = 0;
    loop {
        let piece = format!(
            "SELECT MAX(id) FROM (SELECT id FROM {table} WHERE id >= {from} ORDER BY id LIMIT {PIECE_ROWS}) AS piece"
        );
        let last: Option<Option<u64>> = loop {
            match conn.query_first(&piece).await.map_err(StoreError::from) {
                Err(error) if error.is_lock_conflict() => wait_for_others(&error).await,
                other => break other?,
            }
        };
        let Some(last) = last.flatten() else { return Ok(()) };
        run_statement(conn, &format!("{update} AND id >= {from} AND id <= {last}")).await?;
        let Some(next) = last.checked_add(1) else { return Ok(()) };
        from = next;
    }
}

/// Waits for rows and tables that others keep locked, however long.
///
/// An ALTER that copies wants the table for itself once more at its end. One that was refused it then would copy for ever:
/// it gets it at its second try, whoever has to wait.
pub(super) async fn run_statement(conn: &mut Conn, statement: &str) -> Result<(), StoreError> {
    let mut is_patient = false;
    loop {
        let begun = Instant::now();
        match conn.query_drop(statement).await.map_err(StoreError::from) {
            Err(error) if error.is_lock_conflict() => {
                if begun.elapsed() > 2 * Duration::from_secs(TABLE_LOCK_SECS.into()) {
                    conn.query_drop(format!("SET SESSION lock_wait_timeout = {PATIENCE_SECS}")).await?;
                    is_patient = true;
                }
                wait_for_others(&error).await;
            }
            Err(error) if error.code() == Some(DUPLICATE_COLUMN) => {
                return refuse_foreign_columns(conn, statement).await;
            }
            Err(error) if error.code() == Some(DUPLICATE_KEY) => return Ok(()),
            Err(error) => return Err(with_mend(error)),
            Ok(()) if is_patient => {
                return Ok(conn.query_drop(format!("SET SESSION lock_wait_timeout = {TABLE_LOCK_SECS}")).await?);
            }
            Ok(()) => return Ok(()),
        }
    }
}

async fn wait_for_others(error: &StoreError) {
    tracing::warn!(%error, "waiting for rows or a table that another session keeps locked");
    sleep(PAUSE).await;
}

/// What applications' own ways with these tables may refuse, with what mends it. The numbers are those of the servers' error
/// references: values that do not fit a type (1264, 1265, 1366, 1406), foreign keys (1451, 1452, 1830, 1832, 1833, 3780).
fn with_mend(error: StoreError) -> StoreError {
    let mend = match error.code() {
        Some(1264 | 1265 | 1366 | 1406) => "mend the values that the column's new type can't hold",
        Some(1451 | 1452 | 1830 | 1832 | 1833 | 3780) => "drop the foreign key, and add it again after the upgrade",
        Some(1799) => {
            "so much was written to the table meanwhile that the server could not keep it; raise \
             innodb_online_alter_log_max_size there (SET GLOBAL), or write less"
        }
        _ => return error,
    };
    StoreError::Schema(format!("{error}; {mend}, then run `migrate` again"))
}

/// A statement adds its columns all together: where only some of them are there, they are somebody's own.
async fn refuse_foreign_columns(conn: &mut Conn, statement: &str) -> Result<(), StoreError> {
    let there = columns_of(conn, "queued_job").await?;
    let is_there = |name: &&str| there.iter().any(|column| column.eq_ignore_ascii_case(name));
    let added = statement.lines().filter_map(|line| line.trim().strip_prefix("ADD COLUMN ")?.split(' ').next());
    let (mut found, missing): (Vec<&str>, Vec<&str>) = added.partition(is_there);
    if missing.is_empty() {
        return Ok(());
    }
    found.sort_unstable();
    Err(StoreError::Schema(format!(
        "queued_job has columns of its own named {}, as the upgrade would name new ones; rename them, then run \
         `migrate` again",
        found.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_run_in_pieces_has_a_condition_that_more_can_be_added_to() {
        for (_, script) in super::super::migrate::MIGRATIONS {
            for statement in statements(script).filter(|statement| statement.contains(IN_PIECES)) {
                let (_, condition) = statement.rsplit_once("WHERE ").unwrap();
                assert!(
                    !condition.contains(" OR ") || condition.starts_with('(') && condition.ends_with(')'),
                    "{condition}"
                );
            }
        }
    }

    #[test]
    fn a_script_is_cut_into_its_statements() {
        let script = "-- a comment\nCREATE TABLE a (b INT);\n\nINSERT INTO a VALUES (1);\n-- the end\n";
        let found: Vec<&str> = statements(script).collect();
        assert_eq!(found, ["-- a comment\nCREATE TABLE a (b INT)", "INSERT INTO a VALUES (1)"]);
    }
}
