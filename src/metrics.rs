//! Counters of what the service did, cheap enough to be always on.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted. The names are those under which each is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Jobs claimed.
    JobsClaimed,
    /// Calls that came to success.
    JobsSucceeded,
    /// Calls that failed for now.
    JobsFailedTemporarily,
    /// Calls that failed for good.
    JobsFailedPermanently,
    /// Jobs given back by a stop.
    JobsReleased,
    /// Jobs taken from a dead dispatcher.
    JobsRescued,
    /// Results refused because the claim was no longer ours.
    FinishesRefused,
    /// Hinted jobs that SQL could not see or lock yet, and that were tried again.
    ClaimsRepeated,
    /// Claims of rows another dispatcher had already.
    ClaimsWasted,
    /// Sweeps made.
    Sweeps,
    /// Events of any table read from the log.
    EventsRead,
    /// Times the log stream had to be taken up again.
    StreamBreaks,
    /// Panics caught in the thread that reads the log.
    StreamPanics,
    /// Jobs the sweep found though the log should have shown them: after a gap.
    LostToGap,
    /// … after an event that could not be read.
    LostToDecode,
    /// … which SQL did not show in time.
    LostToVisibility,
    /// … while no dispatcher was running.
    LostToDown,
    /// … while the log could not be followed.
    LostToDegraded,
}

const COUNTERS: usize = Counter::LostToDegraded as usize + 1;

/// The counters of one service. Share it in an `Arc`.
#[derive(Debug, Default)]
pub struct Metrics([AtomicU64; COUNTERS]);

impl Metrics {
    /// One more.
    pub fn increment(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// So many more.
    pub fn add(&self, counter: Counter, count: u64) {
        self.0[counter as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize].load(Ordering::Relaxed)
    }
}
