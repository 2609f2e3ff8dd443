//! One connection with a role of its own, opened when it is needed and replaced when it broke.

use super::error::StoreError;
use super::servers::Servers;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long one deed (its statements together) may take before its connection is given up.
const DEED_DEADLINE: Duration = Duration::from_secs(30);

/// A connection with one role. Used by one task at a time.
///
/// A deed takes the connection out and puts it back only when it went well. So a deed that failed, or whose
/// future was dropped half-way, never leaves a connection in an unknown state behind: the next deed opens a
/// new one, and the server rolls the old one back.
#[derive(Debug)]
pub struct Session {
    servers: Arc<Servers>,
    conn: Option<Conn>,
    /// Which of the hosts the connection was made to.
    host: usize,
}

impl Session {
    pub(super) fn new(servers: Arc<Servers>) -> Session {
        Session { servers, conn: None, host: 0 }
    }

    /// A session like this one, for another role.
    #[must_use]
    pub fn another(&self) -> Session {
        Session::new(Arc::clone(&self.servers))
    }

    /// Takes the connection out, opening one if there is none.
    pub(super) async fn lease(&mut self) -> Result<Lease<'_>, StoreError> {
        let conn = if let Some(conn) = self.conn.take() {
            conn
        } else {
            let (host, conn) = self.servers.open().await?;
            self.host = host;
            conn
        };
        Ok(Lease { conn, home: &mut self.conn })
    }

    /// Forgets the connection, so that the next deed opens a new one.
    pub fn disconnect(&mut self) {
        self.conn = None;
    }

    /// Told whenever a connection of the service was made to another host than the one before.
    pub(super) fn moves(&self) -> watch::Receiver<usize> {
        self.servers.moves()
    }

    /// Forgets a connection to another host than the one that is used now.
    pub(super) fn follow_the_others(&mut self) {
        if self.host != self.servers.current() {
            self.disconnect();
        }
    }

    /// The server's number of this connection, while there is one.
    #[must_use]
    pub fn connection_id(&self) -> Option<u32> {
        self.conn.as_ref().map(Conn::id)
    }
}

/// A connection taken out of its session for one deed.
pub(super) struct Lease<'session> {
    conn: Conn,
    home: &'session mut Option<Conn>,
}

impl Lease<'_> {
    /// The connection.
    pub(super) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// The deed went well: the connection may be used again.
    pub(super) fn keep(self) {
        *self.home = Some(self.conn);
    }
}

/// Bounds a deed in time: past the deadline it is dropped, and its connection with it.
pub(super) async fn within_deadline<T>(deed: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(DEED_DEADLINE, deed).await.unwrap_or(Err(StoreError::Deadline(DEED_DEADLINE.as_secs())))
}

/// The isolation for our sessions. READ COMMITTED locks no gaps, so it never blocks the applications' INSERTs;
/// under statement-based logging the servers refuse it (error 1665), and only the default is left.
pub(super) async fn choose_isolation(conn: &mut Conn) -> Result<(), StoreError> {
    let format: Option<(String, String)> = conn.query_first("SHOW VARIABLES LIKE 'binlog_format'").await?;
    if format.is_none_or(|(_, value)| !value.eq_ignore_ascii_case("STATEMENT")) {
        conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    }
    Ok(())
}
