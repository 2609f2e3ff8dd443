//! Cutting a connection at a chosen byte: for "the answer to the COMMIT never came".

use super::Way;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutPoint {
    /// Before the bytes are passed on: the other side never sees them.
    BeforePassing,
    /// The bytes are passed on, and what the other side answers is not.
    BeforeAnswer,
    /// As [`CutPoint::BeforeAnswer`], but nobody learns of it: from then on all bytes of all connections vanish.
    Silence,
}

/// Tells when the cut has happened.
pub struct Trap(watch::Receiver<bool>);

impl Trap {
    pub fn has_sprung(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the cut.
    pub async fn sprung(&mut self, deadline: Duration) {
        let sprung = timeout(deadline, self.0.wait_for(|sprung| *sprung)).await;
        assert!(matches!(sprung, Ok(Ok(_))), "the bytes did not come within {deadline:?}");
    }
}

/// The proxy's side of a trap.
pub(super) struct Armed {
    way: Way,
    pattern: Vec<u8>,
    pub(super) point: CutPoint,
    sprung: watch::Sender<bool>,
}

pub(super) fn arm(way: Way, pattern: &[u8], point: CutPoint) -> (Trap, Arc<Armed>) {
    assert!(!pattern.is_empty(), "a pattern to cut at");
    let (sprung, trap) = watch::channel(false);
    (Trap(trap), Arc::new(Armed { way, pattern: pattern.to_owned(), point, sprung }))
}

impl Armed {
    /// Whether the pattern ends in the fresh bytes, the last of those seen.
    pub(super) fn matches(&self, way: Way, seen: &[u8], fresh: usize) -> bool {
        let first = (seen.len() - fresh).saturating_sub(self.pattern.len() - 1);
        way == self.way && seen[first..].windows(self.pattern.len()).any(|window| window == self.pattern)
    }

    pub(super) fn length(&self) -> usize {
        self.pattern.len()
    }

    pub(super) fn spring(&self) {
        self.sprung.send_replace(true);
    }
}
