//! Server: what the database server is and how its log is set up.

use super::bounds::within_deadline;
use super::error::StoreError;
use super::session::Session;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use std::collections::HashMap;
use std::fmt;

/// Which server it is, with its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// MySQL, or a close relative of it.
    MySql {
        /// 8 of 8.4.
        major: u32,
        /// 4 of 8.4.
        minor: u32,
    },
    /// MariaDB.
    MariaDb {
        /// 10 of 10.11.
        major: u32,
        /// 11 of 10.11.
        minor: u32,
    },
}

/// Where the server writes its log now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHead {
    /// The file's name.
    pub file: String,
    /// Bytes from the file's beginning.
    pub offset: u64,
}

/// What tells one server from another behind the same address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerIdentity(String);

/// The server's settings that matter to us.
#[derive(Debug, Clone)]
pub struct ServerFacts {
    /// Which server.
    pub flavour: Flavour,
    variables: HashMap<String, String>,
}

/// The oldest servers that have all we use: SKIP LOCKED, `JSON_TABLE` in an UPDATE.
const OLDEST_MYSQL: [u32; 3] = [8, 0, 19];
const OLDEST_MARIADB: [u32; 3] = [10, 6, 0];

/// The settings under which a server takes no writes. Aurora's readers have the last one alone.
pub(super) const READ_ONLY: [&str; 3] = ["super_read_only", "read_only", "innodb_read_only"];

const VARIABLES: &str = "'version', 'log_bin', 'binlog_format', 'binlog_row_image', 'read_only', 'server_id', \
    'server_uuid', 'hostname', 'port', 'lower_case_table_names', 'wait_timeout', 'max_allowed_packet', \
    'super_read_only', 'innodb_read_only', 'sync_binlog', 'innodb_flush_log_at_trx_commit', \
    'binlog_expire_logs_seconds', 'max_binlog_total_size', 'binlog_space_limit', 'wsrep_on', 'pxc_strict_mode', \
    'log_slave_updates', 'log_replica_updates', 'group_replication_group_name', 'group_replication_start_on_boot', \
    'group_replication_unreachable_majority_timeout', 'group_replication_single_primary_mode', \
    'binlog_storage_engine'";

impl ServerFacts {
    /// Reads the settings from the server.
    pub async fn read(session: &mut Session) -> Result<ServerFacts, StoreError> {
        within_deadline(session.bounds(), async {
            let mut lease = session.lease().await?;
            let facts = server_facts(lease.conn()).await?;
            lease.keep();
            Ok(facts)
        })
        .await
    }

    pub(super) fn of_variables(variables: HashMap<String, String>) -> ServerFacts {
        let version = variables.get("version").map(String::as_str).unwrap_or_default();
        ServerFacts { flavour: flavour_of(version), variables }
    }

    /// A setting's value; empty when the server does not know it.
    #[must_use]
    pub fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Whether a setting is on.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        means_on(self.variable(name))
    }

    /// The setting under which it takes no writes, if there is one.
    #[must_use]
    pub fn read_only_by(&self) -> Option<&'static str> {
        READ_ONLY.into_iter().find(|name| self.is_on(name))
    }

    /// What is wrong with a server that lacks SQL that we use, and what mends it.
    pub(super) fn too_old(&self) -> Option<(String, String)> {
        too_old(self.variable("version"))
    }

    /// MySQL has a universal id; of MariaDB we take number, host and port together.
    #[must_use]
    pub fn identity(&self) -> ServerIdentity {
        ServerIdentity::of(|name| self.variables.get(name).map(String::as_str))
    }
}

impl fmt::Display for ServerIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl ServerIdentity {
    /// From the values of these variables, as far as the server has them.
    pub(super) fn of<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> ServerIdentity {
        let parts = ["server_uuid", "server_id", "hostname", "port"].map(|name| variable(name).unwrap_or_default());
        ServerIdentity(parts.join("/"))
    }

    #[cfg(test)]
    pub(super) fn named(name: &str) -> ServerIdentity {
        ServerIdentity(name.to_owned())
    }
}

/// Whether a switch's value is one of those that turn it on.
pub(super) fn means_on(value: &str) -> bool {
    // MariaDB 12 knows more values of `read_only`: NO_LOCK, NO_LOCK_NO_ADMIN.
    !matches!(value, "" | "OFF" | "0")
}

fn too_old(version: &str) -> Option<(String, String)> {
    let (name, oldest) = match flavour_of(version) {
        Flavour::MySql { .. } => ("MySQL", OLDEST_MYSQL),
        Flavour::MariaDb { .. } => ("MariaDB", OLDEST_MARIADB),
    };
    (numbers(version) < oldest).then(|| {
        let [major, minor, patch] = oldest;
        let what = format!("the server is {name} {version}, which lacks SQL that we use");
        (what, format!("upgrade the server to {name} {major}.{minor}.{patch} or later"))
    })
}

/// 10.11.19 of `10.11.19-MariaDB-log`. What is no number is taken for new enough.
fn numbers(version: &str) -> [u32; 3] {
    let mut parts = version.split(['.', '-']).map(|part| part.parse().unwrap_or(u32::MAX));
    std::array::from_fn(|_| parts.next().unwrap_or(u32::MAX))
}

/// An error that says what mends it, when the server is too old to work with.
pub(super) async fn require_supported(conn: &mut Conn) -> Result<(), StoreError> {
    let version: Option<String> = conn.query_first("SELECT @@version").await?;
    match too_old(&version.unwrap_or_default()) {
        Some((what, mend)) => Err(StoreError::OldServer(format!("{what}; {mend}"))),
        None => Ok(()),
    }
}

pub(super) async fn server_facts(conn: &mut Conn) -> Result<ServerFacts, StoreError> {
    let sql = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({VARIABLES})");
    let rows: Vec<(String, String)> = conn.query(sql).await?;
    Ok(ServerFacts::of_variables(rows.into_iter().collect()))
}

/// Gives the connection up when its server takes no writes any more: the next deed finds the one that does. Whoever has
/// nothing to write would not notice.
pub async fn leave_read_only(session: &mut Session) -> Result<(), StoreError> {
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        let names = READ_ONLY.join("', '");
        let sql = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('{names}')");
        let switches: Vec<(String, String)> = lease.conn().query(sql).await?;
        if !switches.iter().any(|(_, value)| means_on(value)) {
            lease.keep();
        }
        Ok(())
    })
    .await
}

/// Where the log ends now; none when the server keeps no log. Needs the right to see the log's status.
pub async fn read_log_head(session: &mut Session, flavour: Flavour) -> Result<Option<LogHead>, StoreError> {
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        let row: Option<Row> = lease.conn().query_first(log_status_sql(flavour)).await?;
        lease.keep();
        let head = row.and_then(|row| Some(LogHead { file: row.get(0)?, offset: row.get(1)? }));
        Ok(head.filter(|head| !head.file.is_empty()))
    })
    .await
}

/// MySQL 8.2 has the new name, 8.4 dropped the old one (MySQL 8.4 manual, "SHOW BINARY LOG STATUS").
pub(super) fn log_status_sql(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MySql { major, minor } if (major, minor) >= (8, 2) => "SHOW BINARY LOG STATUS",
        _ => "SHOW MASTER STATUS",
    }
}

fn flavour_of(version: &str) -> Flavour {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version.to_ascii_lowercase().contains("mariadb") {
        Flavour::MariaDb { major, minor }
    } else {
        Flavour::MySql { major, minor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(flavour_of("10.11.19-MariaDB-0+deb12u1-log"), Flavour::MariaDb { major: 10, minor: 11 });
        assert_eq!(flavour_of("9.7.4"), Flavour::MySql { major: 9, minor: 7 });
        assert_eq!(flavour_of("8.0.39-0ubuntu0.22.04.1"), Flavour::MySql { major: 8, minor: 0 });
    }

    #[test]
    fn the_status_query_goes_by_the_version() {
        assert_eq!(log_status_sql(Flavour::MySql { major: 8, minor: 0 }), "SHOW MASTER STATUS");
        assert_eq!(log_status_sql(Flavour::MySql { major: 9, minor: 7 }), "SHOW BINARY LOG STATUS");
        assert_eq!(log_status_sql(Flavour::MariaDb { major: 11, minor: 8 }), "SHOW MASTER STATUS");
    }
}
