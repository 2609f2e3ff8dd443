//! Whether the log is being followed, for those who must know.

use std::time::Instant;

/// Whether the log is being followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogStatus {
    /// Events come in.
    Following,
    /// They do not: sweep more often.
    Broken {
        /// Since when.
        since: Instant,
        /// Why, in one line.
        reason: String,
    },
}

impl LogStatus {
    /// Before the first stream.
    #[must_use]
    pub fn starting() -> LogStatus {
        LogStatus::Broken { since: Instant::now(), reason: "not connected yet".into() }
    }

    /// Whether events come in.
    #[must_use]
    pub fn is_following(&self) -> bool {
        matches!(self, LogStatus::Following)
    }

    /// Turns to broken, keeping the moment at which it broke first.
    pub(super) fn break_for(&mut self, reason: String) {
        let since = match self {
            LogStatus::Broken { since, .. } => *since,
            LogStatus::Following => Instant::now(),
        };
        *self = LogStatus::Broken { since, reason };
    }
}
