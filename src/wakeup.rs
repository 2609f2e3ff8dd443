//! Hints from whoever sees that there may be work (the log, timers, the sweep) to the dispatcher.
//!
//! A hint is only "look at job N". Ringing never blocks and loses nothing: past the bound, single hints turn
//! into the one fact that there is a backlog, and the dispatcher refills from the table.

use crate::job::JobId;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How many single hints are kept before they turn into "there is a backlog".
pub const HINT_BOUND: usize = 20_000;

/// The bell between those who see work and the dispatcher. Share it in an `Arc`.
#[derive(Debug, Default)]
pub struct Wakeup {
    pending: Mutex<Hints>,
    rung: Notify,
}

/// What was rung since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Jobs to look at, in the order they were rung.
    pub jobs: Vec<JobId>,
    /// More was rung than could be kept: refill from the table.
    pub backlog: bool,
    /// Something happened that single hints do not cover: sweep now, for this reason.
    pub sweep: Option<SweepCause>,
    /// One of the causes asks for more than one sweep.
    pub more_looks: bool,
}

/// Why a sweep is due now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SweepCause {
    /// The service has just started to listen.
    Start,
    /// The log stream broke and was taken up again without a gap.
    Resumed,
    /// The stream was taken up at the head: events in between were never seen.
    Gap,
    /// An event of our table could not be read.
    Unreadable,
    /// A statement that names our table, with no rows in the log.
    Statement,
    /// A prepared XA transaction was committed.
    PreparedCommit,
    /// Another dispatcher ended, and may have left jobs behind.
    PeerGone,
}

impl SweepCause {
    /// Whether one sweep may come too early: the log shows a change before SQL does, and with a replica that has to
    /// acknowledge it, some time before.
    #[must_use]
    pub fn asks_for_more_looks(self) -> bool {
        match self {
            SweepCause::Gap | SweepCause::Unreadable | SweepCause::Statement | SweepCause::PreparedCommit => true,
            SweepCause::Start | SweepCause::Resumed | SweepCause::PeerGone => false,
        }
    }

    /// The cause that one sweep for both has: the first one, unless only the second one is a gap.
    #[must_use]
    pub fn graver(first: Option<SweepCause>, second: Option<SweepCause>) -> Option<SweepCause> {
        match (first, second) {
            (None, _) | (_, Some(SweepCause::Gap)) => second,
            _ => first,
        }
    }
}

impl Hints {
    /// Whether nothing was rung.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && !self.backlog && self.sweep.is_none()
    }
}

impl Wakeup {
    /// "Look at these jobs."
    pub fn ring(&self, jobs: impl IntoIterator<Item = JobId>) {
        {
            let mut pending = self.lock();
            for job in jobs {
                if pending.jobs.len() >= HINT_BOUND {
                    pending.backlog = true;
                    break;
                }
                pending.jobs.push(job);
            }
        }
        self.rung.notify_one();
    }

    /// "There is more work than single hints can say."
    pub fn ring_backlog(&self) {
        self.lock().backlog = true;
        self.rung.notify_one();
    }

    /// "Sweep now." A cause that was rung before and not yet taken stays, unless this one is a gap.
    pub fn ring_sweep(&self, cause: SweepCause) {
        {
            let mut pending = self.lock();
            pending.sweep = SweepCause::graver(pending.sweep, Some(cause));
            pending.more_looks |= cause.asks_for_more_looks();
        }
        self.rung.notify_one();
    }

    /// Waits until something was rung and takes it. Cancel safe: what was not taken stays. For one waiter.
    pub async fn wait(&self) -> Hints {
        loop {
            let hints = self.take();
            if !hints.is_empty() {
                return hints;
            }
            self.rung.notified().await;
        }
    }

    /// Takes what was rung so far, which may be nothing.
    pub fn take(&self) -> Hints {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Hints> {
        // The guarded code cannot panic half-way, so a poisoned lock still holds a whole value.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_ring_before_the_wait_is_not_lost() {
        let wakeup = Wakeup::default();
        wakeup.ring([JobId(7)]);
        assert_eq!(wakeup.wait().await.jobs, [JobId(7)]);
        assert!(wakeup.take().is_empty());
    }

    #[tokio::test]
    async fn a_ring_wakes_the_waiter() {
        let wakeup = Arc::new(Wakeup::default());
        let ringer = Arc::clone(&wakeup);
        let waiter = tokio::spawn(async move { wakeup.wait().await });
        tokio::task::yield_now().await;
        ringer.ring_sweep(SweepCause::Statement);
        assert_eq!(waiter.await.unwrap().sweep, Some(SweepCause::Statement));
    }

    #[test]
    fn past_the_bound_hints_turn_into_a_backlog() {
        let wakeup = Wakeup::default();
        wakeup.ring((0..HINT_BOUND as u64 + 5).map(JobId));
        let hints = wakeup.take();
        assert_eq!(hints.jobs.len(), HINT_BOUND);
        assert!(hints.backlog);
    }

    #[test]
    fn a_gap_is_the_cause_that_stays() {
        let wakeup = Wakeup::default();
        wakeup.ring_sweep(SweepCause::Statement);
        wakeup.ring_sweep(SweepCause::Gap);
        wakeup.ring_sweep(SweepCause::Resumed);
        assert_eq!(wakeup.take().sweep, Some(SweepCause::Gap));
    }

    #[test]
    fn a_cause_that_asks_for_more_looks_is_heard_beside_one_that_does_not() {
        let wakeup = Wakeup::default();
        wakeup.ring_sweep(SweepCause::Start);
        assert!(!wakeup.take().more_looks);
        wakeup.ring_sweep(SweepCause::Start);
        wakeup.ring_sweep(SweepCause::Statement);
        let hints = wakeup.take();
        assert!(hints.sweep == Some(SweepCause::Start) && hints.more_looks);
    }
}
