//! A fault of one connection at a chosen byte: for "the answer to the COMMIT never came".

use super::{Mode, Way};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// What becomes of the connection, and for how long; a cut is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is reset.
    Cut,
    /// Its bytes go on so, both ways.
    Becomes(Mode, Duration),
}

/// Where a connection is cut, or something else becomes of it.
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
    pub(super) fault: Fault,
    sprung: watch::Sender<bool>,
}

pub(super) fn arm(way: Way, pattern: &[u8], point: CutPoint, fault: Fault) -> (Trap, Arc<Armed>) {
    assert!(!pattern.is_empty(), "a pattern to wait for");
    let (sprung, trap) = watch::channel(false);
    (Trap(trap), Arc::new(Armed { way, pattern: pattern.to_owned(), point, fault, sprung }))
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
