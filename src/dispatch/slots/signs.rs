//! Signs: what the slots in use say of when to claim, and of hosts that hold up the others.

use super::{HostKey, MOST_AHEAD, Slots, Use};
use tokio::time::Instant;

impl Slots {
    /// Whether so many claimed jobs, which wait for their calls, are enough for some moments.
    #[must_use]
    pub fn is_enough(&self, waiting: usize) -> bool {
        let ahead = self.all.quick.lately(self.now).min(MOST_AHEAD);
        waiting > 0 && waiting + self.promised_unknown > ahead / 2
    }

    /// Whether a claim of so many unread rows now would have to leave some, and be so small, with calls ending so
    /// quickly, that it had better wait for more of them to end. False when no call is under way.
    #[must_use]
    pub fn is_too_little(&self, unread: usize) -> bool {
        let free = self.free_for_unknown();
        self.all.calling > 0 && free < unread && free < self.all.pace.lately(self.now).min(MOST_AHEAD) / 2
    }

    /// Whether what this host has left is worth a claim of its own: a good part of what will be free in some moments, or a
    /// portion.
    #[must_use]
    pub fn is_worth_a_claim(&self, host: &HostKey) -> bool {
        let worth = self.per_host.get(host).map_or(0, |used| used.worth_a_claim(self.limit_per_host, self.now));
        self.free_for(host) >= worth
    }

    /// Whether a host has no room for more, and will have none for some moments: fewer of its calls end meanwhile than
    /// it has under way.
    #[must_use]
    pub fn is_held_up(&self) -> bool {
        let slow = |used: &Use| used.pace.lately(self.now) < self.limit_per_host;
        self.free_for_unknown() == 0 && self.per_host.values().any(|used| self.room_of(used) == 0 && slow(used))
    }

    /// Whether a host whose calls last, as those showed that ended, has too little room for so many unread rows to be
    /// claimed. Its calls may end one by one, and each leaves room for one row, whoever it is for.
    #[must_use]
    pub fn is_held_up_by_a_slow_host(&self, unread: usize) -> bool {
        let slow = |used: &Use| used.is_slow(self.limit_per_host, self.now);
        self.free_for_unknown() < unread && self.per_host.values().any(|used| slow(used) && self.room_of(used) < unread)
    }

    /// When a host that has had its portion, and has room, gets its next one.
    #[must_use]
    pub fn next_portion(&self) -> Option<Instant> {
        self.per_host.values().filter_map(|used| used.next_portion(self.limit_per_host, self.now)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{QUICK, begin, host};
    use super::*;
    use crate::dispatch::pace::{AHEAD_FOR, SLOW_FOR};

    #[test]
    fn a_slot_of_a_host_whose_calls_end_waits_for_some_more_and_that_of_an_idle_one_or_a_whole_portion_does_not() {
        let mut slots = Slots::new(200, 100);
        for _ in 0..40 {
            assert!(begin(&mut slots, "busy"));
            slots.end_call(&host("busy"), QUICK);
        }
        assert!((0..96).all(|_| begin(&mut slots, "busy")) && begin(&mut slots, "slow"));
        assert!((0..40).all(|_| slots.take(&host("busy"))), "ahead");
        assert_eq!((slots.free_for(&host("busy")), slots.is_worth_a_claim(&host("busy"))), (4, false));
        slots.end_call(&host("busy"), QUICK);
        assert!(slots.is_worth_a_claim(&host("busy")), "five are an eighth of what ends in such a time");
        assert!(slots.is_worth_a_claim(&host("slow")) && slots.is_worth_a_claim(&host("new")));
        (0..60).for_each(|_| assert!(begin(&mut slots, "slow")));
        (0..60).for_each(|_| slots.end_call(&host("slow"), AHEAD_FOR * 2));
        slots.set_now(slots.next_portion().unwrap());
        assert_eq!((slots.free_for(&host("slow")), slots.is_worth_a_claim(&host("slow"))), (10, true), "a portion");
        (0..4).for_each(|_| assert!(slots.take(&host("slow"))));
        assert_eq!((slots.free_for(&host("slow")), slots.is_worth_a_claim(&host("slow"))), (6, false), "a part of one");
    }

    #[test]
    fn a_host_whose_calls_last_holds_up_unread_rows_though_they_end_one_by_one() {
        let mut slots = Slots::new(10, 4);
        let (slow, fast) = (host("slow"), host("fast"));
        assert!((0..4).all(|_| begin(&mut slots, "slow")) && slots.is_held_up());
        assert!(!slots.is_held_up_by_a_slow_host(2), "none has ended yet");
        slots.end_call(&slow, AHEAD_FOR * 2);
        assert!(slots.is_held_up() && slots.is_held_up_by_a_slow_host(1), "it has had its portion");
        slots.set_now(slots.next_portion().unwrap());
        assert!(!slots.is_held_up() && slots.is_held_up_by_a_slow_host(2) && !slots.is_held_up_by_a_slow_host(1));
        slots.set_now(slots.now + SLOW_FOR);
        assert!(!slots.is_held_up_by_a_slow_host(2));
        slots.end_call(&slow, AHEAD_FOR * 2);
        assert!((0..4).all(|_| begin(&mut slots, "fast")) && slots.is_held_up_by_a_slow_host(2));
        assert!(!slots.is_held_up_by_a_slow_host(1), "it is the other one that has no room");
        slots.end_call(&slow, QUICK);
        assert!(!slots.is_held_up_by_a_slow_host(3), "it has room for three, and none of its calls lasts now");
        slots.end_call(&fast, QUICK);
        assert!(!slots.is_held_up_by_a_slow_host(3));
    }
}
