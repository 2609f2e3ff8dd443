//! Pace: how many calls ended lately, and so how many jobs may be claimed ahead of theirs (pure).

use super::portions::Portions;
use std::time::Duration;
use tokio::time::Instant;

/// The most jobs that are claimed ahead of their calls.
pub(super) const MOST_AHEAD: usize = 1_000;
/// Jobs are claimed ahead for as long as this at most, going by the calls that ended in such a time.
pub(super) const AHEAD_FOR: Duration = Duration::from_millis(100);
/// After a call that took longer than that, its host counts as slow for this long.
pub(super) const SLOW_FOR: Duration = Duration::from_secs(1);

/// How many calls ended lately.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    since: Instant,
    ended: usize,
    ended_before: usize,
}

impl Pace {
    fn new(now: Instant) -> Pace {
        Pace { since: now, ended: 0, ended_before: 0 }
    }

    fn count(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age >= AHEAD_FOR {
            let ended_before = if age < AHEAD_FOR * 2 { self.ended } else { 0 };
            *self = Pace { since: now, ended: 0, ended_before };
        }
        self.ended += 1;
    }

    pub(super) fn lately(&self, now: Instant) -> usize {
        let age = now.saturating_duration_since(self.since);
        if age < AHEAD_FOR {
            self.ended.max(self.ended_before)
        } else if age < AHEAD_FOR * 2 {
            self.ended
        } else {
            0
        }
    }
}

/// What is claimed and called, over all hosts or for one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    /// Claimed jobs: those in a call and those that wait for theirs.
    pub(super) held: usize,
    pub(super) calling: usize,
    pub(super) pace: Pace,
    /// Of those calls only that were quick: a call that lasted, such as one that ran into its timeout, says nothing of
    /// when the next one ends, however many end with it.
    pub(super) quick: Pace,
    /// Until when calls are taken to last, because one that ended did.
    slow_until: Instant,
    portions: Portions,
}

impl Use {
    pub(super) fn new(now: Instant) -> Use {
        Use {
            held: 0,
            calling: 0,
            pace: Pace::new(now),
            quick: Pace::new(now),
            slow_until: now,
            portions: Portions::new(now),
        }
    }

    /// How many more jobs may be claimed.
    pub(super) fn room(&self, limit: usize, now: Instant) -> usize {
        (limit + self.quick.lately(now).min(MOST_AHEAD)).saturating_sub(self.held)
    }

    /// Whether calls last, as those showed that ended, and not many are quick.
    pub(super) fn is_slow(&self, limit: usize, now: Instant) -> bool {
        self.slow_until > now && self.quick.lately(now) < limit
    }

    /// Whether all calls last, so that jobs are given in portions.
    pub(super) fn has_portions(&self, now: Instant) -> bool {
        self.slow_until > now && self.quick.lately(now) == 0
    }

    /// How many more jobs may be claimed of one host.
    pub(super) fn room_of_host(&self, limit: usize, now: Instant) -> usize {
        let room = self.room(limit, now);
        if self.has_portions(now) { room.min(self.portions.left(limit, now)) } else { room }
    }

    /// How many more jobs are worth a claim of their own: an eighth of those whose calls ended lately, for as many may end
    /// while that claim is made; no more than a portion where there are portions.
    pub(super) fn worth_a_claim(&self, limit: usize, now: Instant) -> usize {
        let soon = if self.calling > 0 { self.pace.lately(now).min(MOST_AHEAD) / 8 } else { 0 };
        if self.has_portions(now) { soon.min(self.portions.size(limit)) } else { soon }
    }

    /// When there is more for a host that has room, and has had its portion.
    pub(super) fn next_portion(&self, limit: usize, now: Instant) -> Option<Instant> {
        let waits = self.room(limit, now) > 0 && self.room_of_host(limit, now) == 0;
        waits.then(|| self.portions.next())
    }

    /// Holds a slot for one more job.
    pub(super) fn hold(&mut self, now: Instant) {
        self.held += 1;
        self.portions.give(now);
    }

    pub(super) fn leave_call(&mut self) {
        self.calling = self.calling.saturating_sub(1);
    }

    pub(super) fn end_call(&mut self, now: Instant, took: Duration) {
        self.leave_call();
        self.pace.count(now);
        if took <= AHEAD_FOR {
            self.quick.count(now);
        } else {
            self.slow_until = now + SLOW_FOR;
            self.portions.end_call(now, took);
        }
    }
}
