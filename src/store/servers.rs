//! The database servers of the settings: which one is used now, and how a connection to it is opened.

use super::error::StoreError;
use super::options::connect_options;
use super::session::choose_isolation;
use crate::config::{DatabaseConfig, HostPort, SslMode};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error as DriverFailure};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How long making one connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// The servers of the settings. With more than one, the writable one is used.
#[derive(Debug)]
pub struct Servers {
    database: DatabaseConfig,
    current: watch::Sender<usize>,
    encrypted: AtomicBool,
}

impl Servers {
    pub(super) fn new(database: DatabaseConfig) -> Servers {
        let encrypted = wants_tls(&database);
        Servers { database, current: watch::Sender::new(0), encrypted: AtomicBool::new(encrypted) }
    }

    /// The `[db]` settings.
    #[must_use]
    pub fn database(&self) -> &DatabaseConfig {
        &self.database
    }

    /// The server that the last connection was made to.
    #[must_use]
    pub fn current_host(&self) -> HostPort {
        let hosts = &self.database.hosts;
        let local = || HostPort { host: "localhost".to_owned(), port: 3306 };
        hosts.get(self.current()).cloned().unwrap_or_else(local)
    }

    /// Whether connections are encrypted: as `ssl_mode` demands, or, where it only prefers, as the server can.
    #[must_use]
    pub fn encrypts(&self) -> bool {
        self.encrypted.load(Ordering::Relaxed)
    }

    /// The place in the settings of the host that is used now.
    pub(super) fn current(&self) -> usize {
        *self.current.borrow()
    }

    /// Told whenever another host is used.
    pub(super) fn moves(&self) -> watch::Receiver<usize> {
        self.current.subscribe()
    }

    /// Opens a connection to the server used now, or to the next one that can be written to; with its place in the
    /// settings.
    pub(super) async fn open(&self) -> Result<(usize, Conn), StoreError> {
        let count = self.database.hosts.len().max(1);
        let first = self.current();
        let mut failure = None;
        for index in (0..count).map(|step| (first + step) % count) {
            match self.open_at(index, count > 1).await {
                Ok(conn) => {
                    self.current.send_if_modified(|now| std::mem::replace(now, index) != index);
                    return Ok((index, conn));
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| StoreError::Settings("no database host is set".to_owned())))
    }

    async fn open_at(&self, index: usize, must_be_writable: bool) -> Result<Conn, StoreError> {
        let host = self.database.hosts.get(index).cloned().unwrap_or_else(|| self.current_host());
        let opening = async {
            let mut conn = self.connect(&host).await?;
            choose_isolation(&mut conn).await?;
            if must_be_writable {
                refuse_read_only(&mut conn, &host).await?;
            }
            Ok(conn)
        };
        tokio::time::timeout(CONNECT_DEADLINE, opening)
            .await
            .unwrap_or(Err(StoreError::Deadline(CONNECT_DEADLINE.as_secs())))
    }

    /// Where TLS is only preferred, each connection asks for it anew: one server's lack of it binds no other.
    async fn connect(&self, host: &HostPort) -> Result<Conn, StoreError> {
        let wanted = wants_tls(&self.database);
        let (encrypted, conn) = match Conn::new(connect_options(&self.database, host, wanted)).await {
            Err(DriverFailure::Driver(DriverError::NoClientSslFlagFromServer))
                if self.database.ssl_mode == SslMode::Preferred =>
            {
                (false, Conn::new(connect_options(&self.database, host, false)).await?)
            }
            other => (wanted, other?),
        };
        self.encrypted.store(encrypted, Ordering::Relaxed);
        Ok(conn)
    }
}

fn wants_tls(database: &DatabaseConfig) -> bool {
    database.ssl_mode != SslMode::Disabled && database.socket.is_none()
}

/// A member of a group that only reads is no place for us.
async fn refuse_read_only(conn: &mut Conn, host: &HostPort) -> Result<(), StoreError> {
    let read_only: Option<u8> = conn.query_first("SELECT @@GLOBAL.read_only").await?;
    if read_only == Some(1) {
        return Err(StoreError::Connection(format!("{}:{} is read-only", host.host, host.port)));
    }
    Ok(())
}
