//! Timers: which job is to be looked at when (pure; bounded).

use crate::job::JobId;
use std::collections::{BTreeSet, HashMap};
use tokio::time::Instant;

/// How many timers are kept; about 10 MB.
pub const TIMER_BOUND: usize = 100_000;

/// At most one timer for each job, in the order in which they fire.
#[derive(Debug, Default)]
pub struct Timers {
    in_order: BTreeSet<(Instant, JobId)>,
    by_job: HashMap<JobId, Instant>,
}

impl Timers {
    /// Sets the job's timer, in place of one it had. False when the bound was reached and the latest timer of
    /// all was dropped: the table must be read again before it would have fired.
    #[must_use]
    pub fn set(&mut self, job: JobId, at: Instant) -> bool {
        if let Some(earlier) = self.by_job.insert(job, at) {
            self.in_order.remove(&(earlier, job));
        }
        self.in_order.insert((at, job));
        if self.in_order.len() <= TIMER_BOUND {
            return true;
        }
        if let Some((_, dropped)) = self.in_order.pop_last() {
            self.by_job.remove(&dropped);
        }
        false
    }

    /// When the next timer fires.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.in_order.first().map(|(at, _)| *at)
    }

    /// Takes the next job whose timer has fired by now.
    pub fn pop_due(&mut self, now: Instant) -> Option<JobId> {
        let (at, job) = *self.in_order.first()?;
        if at > now {
            return None;
        }
        self.in_order.pop_first();
        self.by_job.remove(&job);
        Some(job)
    }

    /// Whether the job has one.
    #[must_use]
    pub fn has(&self, job: JobId) -> bool {
        self.by_job.contains_key(&job)
    }

    /// Drops a job's timer.
    pub fn cancel(&mut self, job: JobId) {
        if let Some(at) = self.by_job.remove(&job) {
            self.in_order.remove(&(at, job));
        }
    }

    /// How many timers are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.in_order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timers_fire_in_order_and_once() {
        let now = Instant::now();
        let mut timers = Timers::default();
        assert!(timers.set(JobId(1), now + Duration::from_secs(2)));
        assert!(timers.set(JobId(2), now + Duration::from_secs(1)));
        assert!(timers.set(JobId(1), now));
        assert_eq!(timers.pop_due(now), Some(JobId(1)));
        assert_eq!(timers.pop_due(now), None);
        assert_eq!(timers.pop_due(now + Duration::from_secs(3)), Some(JobId(2)));
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn a_cancelled_timer_does_not_fire() {
        let now = Instant::now();
        let mut timers = Timers::default();
        assert!(timers.set(JobId(1), now));
        timers.cancel(JobId(1));
        assert_eq!(timers.pop_due(now), None);
    }

    #[test]
    fn past_the_bound_the_latest_timer_gives_way() {
        let now = Instant::now();
        let mut timers = Timers::default();
        for number in 0..TIMER_BOUND as u64 {
            assert!(timers.set(JobId(number), now + Duration::from_secs(number)));
        }
        assert!(!timers.set(JobId(u64::MAX), now));
        assert_eq!(timers.len(), TIMER_BOUND);
        assert_eq!(timers.pop_due(now), Some(JobId(0)));
        assert_eq!(timers.pop_due(now), Some(JobId(u64::MAX)));
    }
}
