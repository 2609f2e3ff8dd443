//! Why the log can't be followed.

use crate::store::StoreError;
use std::time::Duration;
use thiserror::Error;

/// The server's code for everything that keeps it from sending the log (`ER_MASTER_FATAL_ERROR_READING_BINLOG`).
const FATAL_READING_BINLOG: u16 = 1236;

/// What broke a stream, or kept it from being opened. No text holds the password.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The server could not be reached, or did not let us in.
    #[error("connecting failed: {0}")]
    Connect(String),
    /// The plain client can't talk to this account: it knows two authentication plugins only.
    #[error("the plain client can't authenticate this account, going on with the other one: {0}")]
    PlainUnfit(String),
    /// The server refused to send, or stopped.
    #[error("the server says: {message} (error {code})")]
    Server {
        /// Its error code.
        code: u16,
        /// Its words.
        message: String,
    },
    /// Neither an event nor a heartbeat came for this long.
    #[error("no event and no heartbeat for {} s", .0.as_secs())]
    Silent(Duration),
    /// The connection ended.
    #[error("the connection was closed: {0}")]
    Closed(String),
    /// A packet is no event.
    #[error("a packet of the stream is malformed")]
    Malformed,
    /// The client library panicked.
    #[error("the replication client panicked: {0}")]
    Panicked(String),
    /// The position can't be asked for by this protocol.
    #[error("the position is beyond 4 GiB in its file")]
    BeyondReach,
    /// The server keeps no binary log, or does not show it to this account.
    #[error("the server has no binary log, or does not show its position to this account")]
    NoLog,
    /// The table is not there, or has no `id`.
    #[error("the table has no column `id`")]
    NoTable,
    /// SQL that the follower needs failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The service works on another server now, and the log is to be read there.
    #[error("the service works on another server now")]
    Moved,
    /// The server began its log anew, and sends nothing of it to those who read the former one.
    #[error("the server began its log anew, or turned it off")]
    BegunAnew,
    /// We were told to stop.
    #[error("stopped")]
    Stopped,
}

impl StreamError {
    /// Whether another client with our server id took our place.
    #[must_use]
    pub fn is_duplicate_server_id(&self) -> bool {
        // MySQL: "A replica with the same server_uuid/server_id …"; MariaDB: "A slave with the same server_uuid or
        // server_id …" (error 1236, or MariaDB's ER_SLAVE_SAME_ID).
        matches!(self, StreamError::Server { message, .. } if message.contains("same server_"))
    }

    /// Whether the server no longer has the position that we asked for.
    #[must_use]
    pub fn is_position_lost(&self) -> bool {
        matches!(self, StreamError::BeyondReach | StreamError::BegunAnew)
            || matches!(self, StreamError::Server { code: FATAL_READING_BINLOG, .. }) && !self.is_duplicate_server_id()
    }

    /// Whether the other end closed the connection without a word.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, StreamError::Closed(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, message: &str) -> StreamError {
        StreamError::Server { code, message: message.into() }
    }

    #[test]
    fn a_taken_place_is_told_from_a_lost_position() {
        for message in [
            "A replica with the same server_uuid/server_id as this replica has connected to the source;",
            "A slave with the same server_uuid or server_id as this slave has connected to the master;",
        ] {
            assert!(server(1236, message).is_duplicate_server_id());
            assert!(!server(1236, message).is_position_lost());
        }
        assert!(server(1236, "Could not find first log file name in binary log index file").is_position_lost());
        assert!(!server(1927, "Connection was killed").is_position_lost());
        assert!(StreamError::BeyondReach.is_position_lost());
    }
}
