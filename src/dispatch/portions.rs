//! Portions: how the jobs of a host whose calls last are spread over time (pure).
//!
//! Calls that run into a timeout end together. If as many new ones began together, they would end together again, and
//! each time the jobs of all other hosts would wait behind so many results, claims and calls.

use super::pace::AHEAD_FOR;
use std::time::Duration;
use tokio::time::Instant;

/// All slots of a host are filled within half the time of its shortest call, so that it has twice the jobs that it can
/// take. No sooner than this, for a call that lasts takes longer; and no later than that, for the jobs wait.
const SOONEST: Duration = Duration::from_millis(80);
const LATEST: Duration = Duration::from_secs(1);
/// A portion is worth a claim: no more than so many make up a host's limit, and there is time between two.
const MOST_PORTIONS: u32 = 32;
const LEAST_PAUSE: Duration = Duration::from_millis(10);
/// Calls tell how long others take for so long, and at most twice as long.
const REMEMBER_FOR: Duration = Duration::from_secs(1);

/// What a host whose calls last is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portions {
    since: Instant,
    shortest: Duration,
    shortest_before: Duration,
    begun: Instant,
    given: usize,
}

impl Portions {
    pub(super) fn new(now: Instant) -> Portions {
        Portions { since: now, shortest: Duration::MAX, shortest_before: Duration::MAX, begun: now, given: 0 }
    }

    /// Learns how long a call took that lasted.
    pub(super) fn end_call(&mut self, now: Instant, took: Duration) {
        let age = now.saturating_duration_since(self.since);
        if age >= REMEMBER_FOR {
            self.shortest_before = if age < REMEMBER_FOR * 2 { self.shortest } else { Duration::MAX };
            (self.since, self.shortest) = (now, Duration::MAX);
        }
        self.shortest = self.shortest.min(took);
    }

    /// Gives one more job.
    pub(super) fn give(&mut self, now: Instant) {
        if now >= self.next() {
            (self.begun, self.given) = (now, 0);
        }
        self.given += 1;
    }

    /// How many more jobs there are now for a host that takes so many at once.
    pub(super) fn left(&self, limit: usize, now: Instant) -> usize {
        let given = if now < self.next() { self.given } else { 0 };
        self.size(limit).saturating_sub(given)
    }

    /// How many jobs are a portion.
    pub(super) fn size(&self, limit: usize) -> usize {
        let portions = self.fill_in().as_nanos() / self.pause().as_nanos();
        limit.div_ceil(usize::try_from(portions).unwrap_or(1))
    }

    /// When the next portion is due.
    pub(super) fn next(&self) -> Instant {
        self.begun + self.pause()
    }

    fn fill_in(&self) -> Duration {
        let shortest = self.shortest.min(self.shortest_before).max(AHEAD_FOR);
        (shortest / 2).clamp(SOONEST, LATEST)
    }

    fn pause(&self) -> Duration {
        (self.fill_in() / MOST_PORTIONS).max(LEAST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many jobs begin within a time, if each is taken as soon as it may be.
    fn given_in(portions: &mut Portions, limit: usize, from: Instant, time: Duration) -> usize {
        let (mut now, mut count) = (from, 0);
        while now < from + time {
            while portions.left(limit, now) > 0 {
                portions.give(now);
                count += 1;
            }
            now = portions.next();
        }
        count
    }

    #[test]
    fn a_host_has_more_jobs_than_it_can_take_however_long_its_calls_are() {
        for limit in [1, 7, 8, 9, 128, 5_000] {
            for took in [100, 150, 200, 999, 2_000, 60_000].map(Duration::from_millis) {
                let now = Instant::now();
                let mut portions = Portions::new(now);
                portions.end_call(now, took);
                let given = given_in(&mut portions, limit, now, took);
                assert!(given >= limit + limit / 5, "{limit} calls of {took:?}: {given} begin meanwhile");
            }
        }
    }

    #[test]
    fn jobs_are_spread_over_half_the_time_of_a_call_and_never_over_more_than_a_second() {
        for (took, within) in [(100, 80), (200, 100), (1_000, 500), (2_000, 1_000), (60_000, 1_000)] {
            let now = Instant::now();
            let mut portions = Portions::new(now);
            portions.end_call(now, Duration::from_millis(took));
            let within = Duration::from_millis(within);
            let first = given_in(&mut portions, 128, now, Duration::from_nanos(1));
            assert!((4..=16).contains(&first), "{first} at once of calls of {took} ms");
            let rest = given_in(&mut portions, 128, now, within);
            assert!((128 - first..=128).contains(&rest), "{rest} in {within:?} of calls of {took} ms");
        }
    }

    #[test]
    fn the_shortest_call_counts_and_is_forgotten_in_time() {
        let begun = Instant::now();
        let mut portions = Portions::new(begun);
        let (short, long) = (Duration::from_millis(400), Duration::from_secs(9));
        for (after, took, fill_in) in [
            (0, long, LATEST),
            (100, short, short / 2),
            (200, long, short / 2),
            (1_500, long, short / 2),
            (2_600, long, LATEST),
            (2_700, short, short / 2),
            (9_000, long, LATEST),
        ] {
            portions.end_call(begun + Duration::from_millis(after), took);
            assert_eq!(portions.fill_in(), fill_in, "after {after} ms");
        }
    }
}
