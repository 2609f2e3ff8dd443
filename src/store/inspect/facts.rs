//! The facts: what the server says of itself, of our account and of our tables.

use super::probes::{self, Probe, Tried};
use crate::store::bounds::within_deadline;
use crate::store::error::StoreError;
use crate::store::grants::quoted_account;
use crate::store::schema::{SchemaState, schema_state};
use crate::store::server::{Flavour, LogHead, ServerFacts, log_status_sql, server_facts};
use crate::store::session::Session;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

/// All that the judges look at.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) server: ServerFacts,
    /// Our account, quoted for SQL.
    pub(super) account: String,
    pub(super) database: String,
    /// The log; none when the server keeps none, an error number when we may not see it.
    pub(super) log: Result<Option<LogFacts>, u16>,
    /// What our account was granted on the whole server, and its roles: each GRANT up to its TO.
    pub(super) server_grants: Vec<String>,
    /// An error number when it can't be told.
    pub(super) schema: Result<SchemaState, u16>,
    pub(super) probes: Vec<(Probe, Tried)>,
    pub(super) engines: Vec<(String, Option<String>)>,
    pub(super) columns: Vec<ColumnFacts>,
    pub(super) indexes: Vec<IndexFacts>,
}

/// The log as its status query tells it.
#[derive(Debug)]
pub(super) struct LogFacts {
    pub(super) head: LogHead,
    /// The only databases that are logged; empty means all.
    pub(super) only: String,
    /// Databases that are not logged.
    pub(super) ignored: String,
}

/// A column.
#[derive(Debug)]
pub(super) struct ColumnFacts {
    pub(super) table: String,
    pub(super) name: String,
    /// As the server writes it.
    pub(super) column_type: String,
}

/// An index.
#[derive(Debug)]
pub(super) struct IndexFacts {
    pub(super) table: String,
    pub(super) name: String,
    /// Its columns in order, with commas.
    pub(super) columns: String,
    /// Whether the server looks at it for queries.
    pub(super) is_used: bool,
}

impl Facts {
    /// Whether there is a table to follow the log for.
    pub(super) fn has_table(&self) -> bool {
        self.columns.iter().any(|column| column.table == "queued_job" && column.name == "id")
    }
}

const OURS: &str = "TABLE_SCHEMA = DATABASE() AND TABLE_NAME IN ('queued_job', 'queued_job_log', \
     'queued_job_migration')";

/// Reads them all. Waits for no table longer than five seconds, should somebody be altering it.
pub(super) async fn read(session: &mut Session, database: &str) -> Result<Facts, StoreError> {
    within_deadline(session.bounds(), async {
        // Not kept for other deeds: the limit is for these statements alone.
        let mut lease = session.lease().await?;
        let conn = lease.conn();
        conn.query_drop("SET SESSION lock_wait_timeout = 5").await?;
        let server = server_facts(conn).await?;
        let account: Option<String> = conn.query_first("SELECT CURRENT_USER()").await?;
        let facts = Facts {
            account: quoted_account(&account.unwrap_or_default()),
            database: database.to_owned(),
            log: known(log(conn, server.flavour).await)?,
            server_grants: server_grants(conn).await?,
            schema: known(schema_state(conn).await)?,
            probes: probes::try_all(conn).await?,
            engines: engines(conn).await?,
            columns: columns(conn).await?,
            indexes: indexes(conn, &server).await?,
            server,
        };
        lease.keep();
        // With settings of its own, it is of use to nobody else.
        session.disconnect();
        Ok(facts)
    })
    .await
}

/// What the server refused to tell is a fact too; everything else that fails is an error.
fn known<T>(answer: Result<T, StoreError>) -> Result<Result<T, u16>, StoreError> {
    match answer {
        Ok(known) => Ok(Ok(known)),
        Err(StoreError::Server { code, .. }) => Ok(Err(code)),
        Err(error) => Err(error),
    }
}

async fn log(conn: &mut Conn, flavour: Flavour) -> Result<Option<LogFacts>, StoreError> {
    let row: Option<Row> = conn.query_first(log_status_sql(flavour)).await?;
    Ok(row.and_then(|row| {
        let head = LogHead { file: row.get(0)?, offset: row.get(1)? };
        Some(LogFacts { head, only: row.get(2)?, ignored: row.get(3)? })
    }))
}

/// What a role brings along is not among them: MySQL shows it only when the role is named. After the TO, MariaDB shows a
/// hash of the password.
async fn server_grants(conn: &mut Conn) -> Result<Vec<String>, StoreError> {
    let all: Vec<String> = conn.query("SHOW GRANTS").await?;
    let granted = all.iter().filter_map(|line| line.split_once(" TO ")).map(|(granted, _)| granted.to_owned());
    Ok(granted.filter(|granted| granted.ends_with(" ON *.*") || !granted.contains(" ON ")).collect())
}

async fn engines(conn: &mut Conn) -> Result<Vec<(String, Option<String>)>, StoreError> {
    let sql = format!("SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE {OURS} ORDER BY TABLE_NAME");
    Ok(conn.query(sql).await?)
}

async fn columns(conn: &mut Conn) -> Result<Vec<ColumnFacts>, StoreError> {
    let sql = format!(
        "SELECT TABLE_NAME, COLUMN_NAME, CAST(COLUMN_TYPE AS CHAR) FROM information_schema.COLUMNS \
         WHERE {OURS} ORDER BY TABLE_NAME, ORDINAL_POSITION"
    );
    Ok(conn.query_map(sql, |(table, name, column_type)| ColumnFacts { table, name, column_type }).await?)
}

/// Where an index of MySQL holds an expression, it has no column.
async fn indexes(conn: &mut Conn, server: &ServerFacts) -> Result<Vec<IndexFacts>, StoreError> {
    let used = match server.flavour {
        // A server that is refused for its age may know neither.
        _ if server.too_old().is_some() => "1",
        Flavour::MySql { .. } => "IS_VISIBLE = 'YES'",
        Flavour::MariaDb { .. } => "IGNORED = 'NO'",
    };
    let columns = "GROUP_CONCAT(COALESCE(COLUMN_NAME, '(an expression)') ORDER BY SEQ_IN_INDEX SEPARATOR ',')";
    let sql = format!(
        "SELECT TABLE_NAME, INDEX_NAME, {columns}, MIN({used}) \
         FROM information_schema.STATISTICS WHERE {OURS} GROUP BY TABLE_NAME, INDEX_NAME"
    );
    let index = |(table, name, columns, is_used)| IndexFacts { table, name, columns, is_used };
    Ok(conn.query_map(sql, index).await?)
}
