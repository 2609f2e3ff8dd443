//! Facts to judge: those of a server on which nothing is wrong.

use super::Terms;
use super::facts::{ColumnFacts, Facts, IndexFacts, LogFacts};
use super::finding::Finding;
use super::wanted::wanted_columns;
use crate::store::schema::SchemaState;
use crate::store::server::{LogHead, ServerFacts};

const GOOD: [(&str, &str); 9] = [
    ("version", "8.4.3"),
    ("log_bin", "ON"),
    ("binlog_format", "ROW"),
    ("binlog_row_image", "FULL"),
    ("read_only", "OFF"),
    ("server_id", "1"),
    ("sync_binlog", "1"),
    ("innodb_flush_log_at_trx_commit", "1"),
    ("binlog_expire_logs_seconds", "2592000"),
];

/// A good server but for these variables.
pub(super) fn server(other: &[(&str, &str)]) -> ServerFacts {
    let all = GOOD.iter().chain(other).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    ServerFacts::of_variables(all.collect())
}

pub(super) fn facts() -> Facts {
    let tables = ["queued_job", "queued_job_log", "queued_job_migration"];
    let head = LogHead { file: "binlog.000001".to_owned(), offset: 4 };
    let column = |wanted: &super::wanted::WantedColumn| ColumnFacts {
        table: wanted.table.clone(),
        name: wanted.name.clone(),
        column_type: wanted.column_type.clone(),
    };
    Facts {
        server: server(&[]),
        account: "'queue'@'%'".to_owned(),
        database: "shop".to_owned(),
        log: Ok(Some(LogFacts { head, only: String::new(), ignored: String::new() })),
        server_grants: vec!["GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.*".to_owned()],
        schema: Ok(SchemaState::Current),
        probes: Vec::new(),
        engines: tables.map(|table| (table.to_owned(), Some("InnoDB".to_owned()))).to_vec(),
        columns: wanted_columns().iter().map(column).collect(),
        indexes: vec![
            index("queued_job", "PRIMARY", "id"),
            index("queued_job", "state_run_at", "state,run_at"),
            index("queued_job_log", "job_id", "job_id"),
        ],
    }
}

pub(super) fn index(table: &str, name: &str, columns: &str) -> IndexFacts {
    IndexFacts { table: table.to_owned(), name: name.to_owned(), columns: columns.to_owned(), is_used: true }
}

pub(super) fn terms() -> Terms {
    Terms { ini: "db.ini".to_owned(), server_id: None }
}

/// How bad the findings are, in a row.
pub(super) fn whats(found: &[Finding]) -> String {
    found.iter().map(|finding| finding.severity.to_string()).collect::<Vec<_>>().join(" ")
}
