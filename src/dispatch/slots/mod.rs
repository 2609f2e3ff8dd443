//! Slots: how many calls may be made at once, over all hosts and to each one, and how many jobs may be claimed
//! ahead of them (pure).

mod room;
mod signs;

use super::pace::{AHEAD_FOR, MOST_AHEAD, Use};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A host that is called: its name and port, as the URL has them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostKey(pub Arc<str>);

impl std::fmt::Display for HostKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The slots in use, and those promised to claims that are under way.
///
/// A job is claimed when there is a slot for its call, or, while calls end quickly, a little ahead: as many jobs as
/// had quick calls end in the last moments. So a fast host never waits for the database, and a slow one has nothing
/// claimed that it could not call. What is claimed ahead for one host takes no room from the others, for it may
/// have become slow.
///
/// A job's host is known only when its row was read. So a claim of unread rows is promised no more slots than
/// the busiest host has left. A host that was not seen lately may so get more claimed than its limit, by as much as is
/// claimed ahead for quick ones; what it does not take within a second goes back. Its calls keep to the limit.
///
/// A host whose calls all last gets its jobs in portions, and the others need not wait until all of its slots are filled.
#[derive(Debug)]
pub struct Slots {
    limit: usize,
    limit_per_host: usize,
    promised_unknown: usize,
    all: Use,
    per_host: HashMap<HostKey, Use>,
    now: Instant,
    forget_at: Instant,
}

impl Slots {
    /// All free.
    #[must_use]
    pub fn new(limit: usize, limit_per_host: usize) -> Slots {
        let now = Instant::now();
        Slots {
            limit,
            limit_per_host,
            promised_unknown: 0,
            all: Use::new(now),
            per_host: HashMap::new(),
            now,
            forget_at: now,
        }
    }

    /// What time it is for all that follows. Hosts that have nothing claimed, and had no calls lately, are forgotten.
    pub fn set_now(&mut self, now: Instant) {
        self.now = now;
        if now >= self.forget_at {
            self.forget_at = now + AHEAD_FOR * 2;
            self.per_host.retain(|_, used| used.held > 0 || used.pace.lately(now) > 0);
        }
    }

    /// Holds a slot for a job of the host that is to be claimed. False when there is none.
    #[must_use]
    pub fn take(&mut self, host: &HostKey) -> bool {
        if self.free_for(host) == 0 {
            return false;
        }
        self.hold(host);
        true
    }

    /// Holds a slot for a claimed job, even when there is none left.
    pub fn hold(&mut self, host: &HostKey) {
        let now = self.now;
        self.use_of(host).hold(now);
        if self.use_of(host).held <= self.limit_per_host {
            self.all.held += 1;
        }
    }

    /// Gives back the slot of a job that was not called.
    pub fn give_back(&mut self, host: &HostKey) {
        let Some(used) = self.per_host.get_mut(host) else { return };
        if used.held <= self.limit_per_host {
            self.all.held = self.all.held.saturating_sub(1);
        }
        used.held = used.held.saturating_sub(1);
    }

    /// Whether any call may begin.
    #[must_use]
    pub fn may_call_any(&self) -> bool {
        self.all.calling < self.limit
    }

    /// Whether no more than one call may begin: all together are at their limit, or were until one ended.
    #[must_use]
    pub fn is_last_call(&self) -> bool {
        self.all.calling + 1 >= self.limit
    }

    /// Begins the call of a held job. False when its host, or all together, have as many as they may.
    #[must_use]
    pub fn begin_call(&mut self, host: &HostKey) -> bool {
        let most = self.limit_per_host;
        if !self.may_call_any() || self.per_host.get(host).is_some_and(|used| used.calling >= most) {
            return false;
        }
        self.all.calling += 1;
        self.use_of(host).calling += 1;
        true
    }

    /// Ends a call that took so long, and gives its slot back.
    pub fn end_call(&mut self, host: &HostKey, took: Duration) {
        self.give_back(host);
        self.all.end_call(self.now, took);
        if let Some(used) = self.per_host.get_mut(host) {
            used.end_call(self.now, took);
        }
    }

    /// Gives back the slot of a call that was not made after all. It says nothing of its host.
    pub fn leave_call(&mut self, host: &HostKey) {
        self.give_back(host);
        self.all.leave_call();
        if let Some(used) = self.per_host.get_mut(host) {
            used.leave_call();
        }
    }

    fn use_of(&mut self, host: &HostKey) -> &mut Use {
        let now = self.now;
        self.per_host.entry(host.clone()).or_insert_with(|| Use::new(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const QUICK: Duration = Duration::from_millis(1);

    pub(super) fn host(name: &str) -> HostKey {
        HostKey(name.into())
    }

    pub(super) fn begin(slots: &mut Slots, name: &str) -> bool {
        slots.hold(&host(name));
        slots.begin_call(&host(name))
    }

    #[test]
    fn no_host_takes_more_than_its_limit_and_all_together_no_more_than_theirs() {
        let mut slots = Slots::new(3, 2);
        assert!(slots.take(&host("a")) && slots.take(&host("a")) && !slots.take(&host("a")));
        assert!(slots.take(&host("b")) && !slots.take(&host("c")));
        slots.give_back(&host("a"));
        assert!(slots.take(&host("c")));
    }

    #[test]
    fn no_more_calls_than_slots_are_made_whatever_is_claimed() {
        let mut slots = Slots::new(3, 2);
        assert!(begin(&mut slots, "a") && begin(&mut slots, "a") && !begin(&mut slots, "a"));
        assert!(begin(&mut slots, "b") && !begin(&mut slots, "b"));
        slots.end_call(&host("a"), QUICK);
        assert!(slots.begin_call(&host("a")) && !slots.begin_call(&host("b")));
    }

    #[test]
    fn a_call_that_was_not_made_says_nothing_of_its_host() {
        let mut slots = Slots::new(3, 2);
        assert!(begin(&mut slots, "a") && begin(&mut slots, "a"));
        slots.leave_call(&host("a"));
        assert_eq!((slots.free_for(&host("a")), slots.all.pace.lately(slots.now)), (1, 0));
        assert!(begin(&mut slots, "a") && !begin(&mut slots, "a"));
    }

    #[test]
    fn unread_rows_get_no_more_than_the_busiest_host_has_left() {
        let mut slots = Slots::new(10, 4);
        assert_eq!(slots.free_for_unknown(), 4);
        assert!(slots.take(&host("a")));
        assert_eq!(slots.free_for_unknown(), 3);
        slots.promise_unknown(2);
        assert_eq!((slots.free_for_unknown(), slots.free()), (1, 7));
        assert_eq!((slots.free_for(&host("a")), slots.free_for(&host("b"))), (1, 2));
        slots.end_promise(2);
        slots.give_back(&host("a"));
        assert_eq!((slots.free_for_unknown(), slots.free()), (4, 10));
    }

    #[test]
    fn jobs_of_hosts_whose_calls_end_are_claimed_ahead_and_of_others_not() {
        let mut slots = Slots::new(10, 4);
        for name in ["fast", "slow"] {
            for _ in 0..4 {
                assert!(begin(&mut slots, name));
            }
        }
        for _ in 0..3 {
            slots.end_call(&host("fast"), QUICK);
            assert!(begin(&mut slots, "fast"));
        }
        assert_eq!((slots.free_for(&host("fast")), slots.free_for(&host("slow"))), (3, 0));
        assert!(!slots.is_enough(0) && !slots.is_enough(1) && slots.is_enough(2));
        slots.set_now(slots.now + AHEAD_FOR * 2);
        assert_eq!(slots.free_for(&host("fast")), 0);
        // All at once, as calls do that run into their timeout.
        for _ in 0..4 {
            slots.end_call(&host("slow"), AHEAD_FOR * 2);
        }
        assert_eq!(slots.free_for(&host("slow")), 1);
        assert!(slots.take(&host("slow")) && !slots.take(&host("slow")), "in portions");
        slots.set_now(slots.next_portion().unwrap());
        assert!(slots.take(&host("slow")) && !slots.take(&host("slow")));
        (0..2).for_each(|_| slots.give_back(&host("slow")));
        slots.promise_unknown(1);
        slots.set_now(slots.next_portion().unwrap());
        assert!(slots.take(&host("slow")) && !slots.take(&host("slow")), "whatever else is claimed");
        slots.end_promise(1);
        slots.give_back(&host("slow"));
        assert_eq!(slots.next_portion(), Some(slots.now + Duration::from_millis(10)));
        slots.set_now(slots.now + AHEAD_FOR * 2);
        assert_eq!(slots.per_host.keys().collect::<Vec<_>>(), [&host("fast")]);
    }

    #[test]
    fn what_is_claimed_ahead_for_a_host_that_became_slow_leaves_the_others_their_room() {
        let mut slots = Slots::new(4, 2);
        for _ in 0..10 {
            assert!(begin(&mut slots, "a"));
            slots.end_call(&host("a"), QUICK);
        }
        assert!((0..12).all(|_| slots.take(&host("a"))) && !slots.take(&host("a")));
        slots.set_now(slots.now + AHEAD_FOR * 2);
        assert_eq!((slots.free_for(&host("b")), slots.free()), (2, 2));
        for _ in 0..10 {
            slots.give_back(&host("a"));
        }
        assert_eq!((slots.free_for(&host("b")), slots.free()), (2, 2));
        slots.give_back(&host("a"));
        assert_eq!((slots.free_for(&host("a")), slots.free()), (1, 3));
    }

    #[test]
    fn no_more_than_the_bound_is_claimed_ahead() {
        let mut slots = Slots::new(2, 2);
        assert!(begin(&mut slots, "a"));
        for _ in 0..5 * MOST_AHEAD {
            assert!(begin(&mut slots, "a"));
            slots.end_call(&host("a"), QUICK);
        }
        assert_eq!((slots.free_for(&host("a")), slots.free_for_unknown()), (MOST_AHEAD + 1, MOST_AHEAD + 1));
    }
}
