//! Followed: how far the log has been read. A server whose log is begun anew goes on with a file of the same name, and sends
//! those who read the former one nothing but heartbeats; whoever asks it by SQL can tell.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// A place in the log: a file and a byte in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BinlogPosition {
    /// Name of the file, as `SHOW BINARY LOGS` shows it.
    pub file: String,
    /// Byte offset of an event's start.
    pub offset: u64,
}

impl BinlogPosition {
    /// The offset as clients can ask for it: `COM_BINLOG_DUMP` has 32 bits for it.
    #[must_use]
    pub fn requestable_offset(&self) -> Option<u32> {
        u32::try_from(self.offset).ok()
    }

    /// Whether it lies beyond the end of the log: the log was begun anew since.
    #[must_use]
    pub fn is_beyond(&self, head: &BinlogPosition) -> bool {
        match (self.number(), head.number()) {
            (Some(ours), Some(theirs)) => (ours, self.offset) > (theirs, head.offset),
            _ => self.file == head.file && self.offset > head.offset,
        }
    }

    /// The number at the end of the file's name.
    fn number(&self) -> Option<u64> {
        self.file.rsplit_once('.')?.1.parse().ok()
    }
}

impl fmt::Display for BinlogPosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file, self.offset)
    }
}

/// One stream: how far it has come.
#[derive(Debug)]
pub struct Reading {
    /// Which server it is of.
    pub server: String,
    reached: Mutex<BinlogPosition>,
    begun_anew: Notify,
}

impl Reading {
    /// A stream that begins there.
    #[must_use]
    pub fn from(server: String, start: BinlogPosition) -> Reading {
        Reading { server, reached: Mutex::new(start), begun_anew: Notify::new() }
    }

    /// The end of the last transaction that it has shown.
    pub fn reached(&self) -> BinlogPosition {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It has come so far.
    pub fn reach(&self, position: &BinlogPosition) {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.offset = position.offset;
        if reached.file != position.file {
            reached.file.clone_from(&position.file);
        }
    }

    /// The server's log ends before the place that it has come to: what comes there is not shown to it.
    pub fn tell_begun_anew(&self) {
        self.begun_anew.notify_one();
    }

    /// Waits until that is told.
    pub async fn begun_anew(&self) {
        self.begun_anew.notified().await;
    }
}

/// The stream of now, if there is one.
#[derive(Debug, Default)]
pub struct Followed(Mutex<Option<Arc<Reading>>>);

impl Followed {
    /// This is the stream of now; none: there is no one.
    pub fn set(&self, reading: Option<Arc<Reading>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reading;
    }

    /// The stream of now.
    pub fn reading(&self) -> Option<Arc<Reading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, offset: u64) -> BinlogPosition {
        BinlogPosition { file: file.into(), offset }
    }

    #[test]
    fn a_log_begun_anew_is_noticed() {
        assert!(at("b.000002", 4).is_beyond(&at("b.000001", 900)));
        assert!(at("b.000001", 901).is_beyond(&at("b.000001", 900)));
        assert!(!at("b.000001", 900).is_beyond(&at("b.000001", 900)));
        assert!(!at("b.999999", 900).is_beyond(&at("b.1000000", 4)));
    }

    #[test]
    fn a_reading_goes_on_over_files() {
        let reading = Reading::from("a".to_owned(), at("b.000001", 100));
        reading.reach(&at("b.000001", 200));
        assert_eq!(reading.reached(), at("b.000001", 200));
        reading.reach(&at("b.000002", 4));
        assert_eq!(reading.reached(), at("b.000002", 4));
    }
}
