//! The seam: one request, two clients that can serve it.

use super::error::StreamError;
use super::follower::Follower;
use super::{plain, secure};
use crate::config::{DatabaseConfig, HostPort};
use crate::followed::BinlogPosition;
use std::time::Duration;

/// How much longer than a heartbeat's interval a stream may be silent; the plain client's library has it so.
pub(super) const SILENCE_BEYOND_HEARTBEAT: Duration = Duration::from_secs(10);

/// Which library reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinlogStream {
    /// `mysql_cdc`, on a thread of its own: plain TCP, and an account with a password.
    Plain,
    /// `mysql_async`: TLS, Unix sockets, every authentication plugin.
    Secure,
}

/// What stream is wanted.
#[derive(Debug, Clone)]
pub(super) struct StreamRequest {
    pub(super) database: DatabaseConfig,
    pub(super) host: HostPort,
    pub(super) encrypted: bool,
    pub(super) start: BinlogPosition,
    pub(super) server_id: u32,
    pub(super) heartbeat: Duration,
    /// How long a whole event may take: the plain client's library goes by each of its pieces, and needs no more than usual.
    pub(super) patience: Duration,
}

impl BinlogStream {
    /// The client for these settings.
    #[must_use]
    pub fn for_database(database: &DatabaseConfig, encrypted: bool) -> BinlogStream {
        // The plain client's library answers for an account without a password as if it had one.
        let has_password = database.password.as_ref().is_some_and(|password| !password.reveal().is_empty());
        if encrypted || database.socket.is_some() || !has_password { BinlogStream::Secure } else { BinlogStream::Plain }
    }

    /// Reads the log into the follower until the stream breaks, and says why it did. Cancel safe: a dropped
    /// stream is closed, at the latest with the next heartbeat.
    pub(super) async fn read(self, request: StreamRequest, follower: Follower) -> (Option<Follower>, StreamError) {
        match self {
            BinlogStream::Plain => plain::read(request, follower).await,
            BinlogStream::Secure => secure::read(request, follower).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::config::Secret;

    #[test]
    fn plain_tcp_with_a_password_is_for_the_plain_client() {
        let mut database = testing::database();
        assert_eq!(BinlogStream::for_database(&database, false), BinlogStream::Secure);
        database.password = Some(Secret::new("p"));
        assert_eq!(BinlogStream::for_database(&database, false), BinlogStream::Plain);
        assert_eq!(BinlogStream::for_database(&database, true), BinlogStream::Secure);
        database.socket = Some("/run/mysqld.sock".into());
        assert_eq!(BinlogStream::for_database(&database, false), BinlogStream::Secure);
    }
}
