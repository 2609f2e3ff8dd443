//! Counters of what the service did, cheap enough to be always on.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted. The log shows what was counted when the service stops.
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
    /// Jobs given back uncalled, or by a stop.
    JobsReleased,
    /// Jobs taken from a dead dispatcher.
    JobsRescued,
    /// Those of them that had no retry left: discarded.
    JobsGivenUp,
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
    /// Events of kinds that we do not know; they may have been anything.
    EventsUnknown,
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

impl Counter {
    /// All of them, in their order.
    pub const ALL: [Counter; 20] = [
        Counter::JobsClaimed,
        Counter::JobsSucceeded,
        Counter::JobsFailedTemporarily,
        Counter::JobsFailedPermanently,
        Counter::JobsReleased,
        Counter::JobsRescued,
        Counter::JobsGivenUp,
        Counter::FinishesRefused,
        Counter::ClaimsRepeated,
        Counter::ClaimsWasted,
        Counter::Sweeps,
        Counter::EventsRead,
        Counter::EventsUnknown,
        Counter::StreamBreaks,
        Counter::StreamPanics,
        Counter::LostToGap,
        Counter::LostToDecode,
        Counter::LostToVisibility,
        Counter::LostToDown,
        Counter::LostToDegraded,
    ];

    /// Its name, as logs and their readers know it: `jobs_claimed`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Counter::JobsClaimed => "jobs_claimed",
            Counter::JobsSucceeded => "jobs_succeeded",
            Counter::JobsFailedTemporarily => "jobs_failed_temporarily",
            Counter::JobsFailedPermanently => "jobs_failed_permanently",
            Counter::JobsReleased => "jobs_released",
            Counter::JobsRescued => "jobs_rescued",
            Counter::JobsGivenUp => "jobs_given_up",
            Counter::FinishesRefused => "finishes_refused",
            Counter::ClaimsRepeated => "claims_repeated",
            Counter::ClaimsWasted => "claims_wasted",
            Counter::Sweeps => "sweeps",
            Counter::EventsRead => "events_read",
            Counter::EventsUnknown => "events_unknown",
            Counter::StreamBreaks => "stream_breaks",
            Counter::StreamPanics => "stream_panics",
            Counter::LostToGap => "lost_to_gap",
            Counter::LostToDecode => "lost_to_decode",
            Counter::LostToVisibility => "lost_to_visibility",
            Counter::LostToDown => "lost_to_down",
            Counter::LostToDegraded => "lost_to_degraded",
        }
    }
}

const COUNTERS: usize = Counter::ALL.len();

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

    /// Those that counted something, for people and for programs: `jobs_claimed=2 sweeps=1`.
    #[must_use]
    pub fn counted(&self) -> String {
        let counted = Counter::ALL.into_iter().filter(|counter| self.get(*counter) > 0);
        counted.map(|counter| format!("{}={}", counter.name(), self.get(counter))).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_a_place_of_its_own() {
        for (place, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, place);
        }
    }

    #[test]
    fn only_what_counted_is_shown() {
        let metrics = Metrics::default();
        metrics.add(Counter::Sweeps, 2);
        metrics.increment(Counter::LostToGap);
        assert_eq!(metrics.counted(), "sweeps=2 lost_to_gap=1");
    }
}
