//! Opening: one connection to one host, ready for use; or why it can't be had.

use super::error::StoreError;
use super::options::connect_options;
use super::server::{READ_ONLY, ServerIdentity, means_on};
use crate::config::{DatabaseConfig, HostPort, SslMode};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error as DriverFailure};
use std::collections::HashMap;
use std::time::Duration;

/// How long making one connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// The same where there are other hosts to look at.
const SHORTER_DEADLINE: Duration = Duration::from_secs(5);

/// A connection, and to whom.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) conn: Conn,
    pub(super) identity: ServerIdentity,
    pub(super) encrypted: bool,
}

/// Connects to a host; where there are others, only if it can be written to. The name is looked up each time, so that
/// a change of its address is followed.
pub(super) async fn open(database: &DatabaseConfig, host: &HostPort) -> Result<Opened, StoreError> {
    let one_of_several = database.hosts.len() > 1;
    let opening = async {
        let (mut conn, encrypted) = connect(database, host).await?;
        let variables = ask(&mut conn).await?;
        let is_on = |name: &str| variables.get(name).is_some_and(|value| means_on(value));
        if one_of_several && READ_ONLY.into_iter().any(is_on) {
            return Err(StoreError::Connection("it is read-only".to_owned()));
        }
        choose_isolation(&mut conn, &variables).await?;
        Ok(Opened { conn, identity: ServerIdentity::of(|name| variables.get(name).map(String::as_str)), encrypted })
    };
    let deadline = if one_of_several { SHORTER_DEADLINE } else { CONNECT_DEADLINE };
    tokio::time::timeout(deadline, opening).await.unwrap_or(Err(StoreError::Deadline(deadline.as_secs())))
}

/// Whether the settings want TLS at all.
pub(super) fn wants_tls(database: &DatabaseConfig) -> bool {
    database.ssl_mode != SslMode::Disabled && database.socket.is_none()
}

/// Where TLS is only preferred, each connection asks for it anew: one server's lack of it binds no other. So does a
/// certificate that can't be read, as one of X.509 version 1, which the servers' manuals show how to make.
async fn connect(database: &DatabaseConfig, host: &HostPort) -> Result<(Conn, bool), StoreError> {
    let wanted = wants_tls(database);
    match Conn::new(connect_options(database, host, wanted)).await {
        Err(failure) if database.ssl_mode == SslMode::Preferred && has_no_tls_for_us(&failure) => {
            Ok((Conn::new(connect_options(database, host, false)).await?, false))
        }
        other => Ok((other?, wanted)),
    }
}

/// Nothing else is asked of a certificate where TLS is preferred.
fn has_no_tls_for_us(failure: &DriverFailure) -> bool {
    matches!(failure, DriverFailure::Driver(DriverError::NoClientSslFlagFromServer))
        || failure.to_string().contains("invalid peer certificate")
}

async fn ask(conn: &mut Conn) -> Result<HashMap<String, String>, StoreError> {
    let sql = format!(
        "SHOW VARIABLES WHERE Variable_name IN \
         ('binlog_format', 'server_uuid', 'server_id', 'hostname', 'port', '{}')",
        READ_ONLY.join("', '")
    );
    let rows: Vec<(String, String)> = conn.query(sql).await?;
    Ok(rows.into_iter().collect())
}

/// The isolation for our sessions. READ COMMITTED locks no gaps, so it never blocks the applications' INSERTs;
/// under statement-based logging the servers refuse it (error 1665), and only the default is left.
async fn choose_isolation(conn: &mut Conn, variables: &HashMap<String, String>) -> Result<(), StoreError> {
    if variables.get("binlog_format").is_none_or(|format| !format.eq_ignore_ascii_case("STATEMENT")) {
        conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    }
    Ok(())
}
