//! Place: which of the servers we work on, since when, and whether to look for another first. Pure.

use super::server::ServerIdentity;
use std::time::{Duration, Instant};

/// Behind one address another server may answer each time. Such a change is followed no more often than this, or
/// all sessions would chase each other.
const SETTLING: Duration = Duration::from_secs(5);
/// How long after we came to a server no lock that is free there counts: the others come too, and have theirs to take
/// anew. On another server the slowest has first to give up one that no longer answers.
const ALL_HERE: Duration = Duration::from_secs(10);
/// After an outage they are back as we are: their next try comes within so many times as long as nobody answered, and a
/// server that has just started may have more connections to make than it can at once.
const AS_LONG_AS_AWAY: u32 = 3;
const CONNECTED_WITHIN: Duration = Duration::from_secs(3);

/// Where we are.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// Which of the hosts.
    index: usize,
    /// Which server it was, once we have been there.
    identity: Option<ServerIdentity>,
    /// How often we went elsewhere. A connection of an earlier place is not used again.
    moves: u64,
    /// When we came here, or back here, from a server that was lost to us; none at a first start.
    arrived: Option<Instant>,
    /// How often we did.
    arrivals: u64,
    /// From when on all others that live are there too.
    all_here: Option<Instant>,
    /// When a server last answered.
    heard: Option<Instant>,
    /// Nobody answered when we last looked for a server.
    away: bool,
    /// It left a deed unanswered: the other hosts are tried before it.
    suspect: bool,
    /// When it last refused a write though it was there, or let one wait in vain.
    unwritten: Option<Instant>,
}

impl Place {
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn moves(&self) -> u64 {
        self.moves
    }

    pub(super) fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// Whether the other dispatchers have had the time to come here too.
    pub(super) fn has_settled(&self, now: Instant) -> bool {
        self.all_here.is_none_or(|at| now >= at)
    }

    pub(super) fn unwritten(&self) -> Option<Instant> {
        self.unwritten
    }

    /// Whether we have worked there and nothing speaks against it.
    pub(super) fn is_trusted(&self) -> bool {
        self.identity.is_some() && !self.suspect
    }

    /// The hosts in the order in which they are to be tried.
    pub(super) fn order(&self, count: usize) -> impl Iterator<Item = usize> {
        let first = self.index + usize::from(self.suspect);
        (0..count).map(move |step| (first + step) % count)
    }

    /// A connection was made that can be used: to this host, where this server answered. True: we have moved.
    pub(super) fn land(&mut self, index: usize, identity: &ServerIdentity, now: Instant) -> bool {
        let settling = self.arrived.is_some_and(|arrived| now < arrived + SETTLING);
        let other_server = self.identity.as_ref().is_some_and(|known| known != identity);
        let moved = self.identity.is_some() && index != self.index || other_server && !settling;
        if moved || self.away {
            self.arrived = Some(now);
            self.arrivals += 1;
            let wait = if moved || other_server { ALL_HERE } else { self.time_to_come_back(now) };
            // Who is still on the way from an earlier place is not here sooner for that.
            self.all_here = self.all_here.max(Some(now + wait));
        }
        if moved || self.identity.is_none() {
            self.identity = Some(identity.clone());
        }
        self.index = index;
        self.moves += u64::from(moved);
        (self.away, self.suspect) = (false, false);
        self.hear(now);
        moved
    }

    /// How long the others may take to be back after an outage that is over for us.
    fn time_to_come_back(&self, now: Instant) -> Duration {
        let away = self.heard.map(|heard| now.saturating_duration_since(heard));
        away.map_or(ALL_HERE, |away| ALL_HERE.min(CONNECTED_WITHIN + away * AS_LONG_AS_AWAY))
    }

    /// A server answered.
    pub(super) fn hear(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// No host could be used, in a try that began at so many arrivals. Who has come to a server meanwhile is not away.
    pub(super) fn lose(&mut self, arrivals: u64) {
        self.away |= self.arrivals == arrivals;
    }

    /// A write could not be done, and none of anybody's could.
    pub(super) fn leave_unwritten(&mut self, now: Instant) {
        self.unwritten = Some(now);
    }

    /// A deed of a connection of that place was not answered in time.
    pub(super) fn suspect(&mut self, moves: u64) {
        self.suspect |= self.moves == moves;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str) -> ServerIdentity {
        ServerIdentity::named(name)
    }

    fn at(index: usize, name: &str, now: Instant) -> Place {
        let mut place = Place::default();
        assert!(!place.land(index, &server(name), now));
        place
    }

    #[test]
    fn the_first_landing_is_no_move_and_the_next_host_is_one() {
        let now = Instant::now();
        let mut place = at(1, "b", now);
        assert_eq!((place.index(), place.moves(), place.arrivals()), (1, 0, 0));
        assert!(place.has_settled(now));
        assert!(place.land(2, &server("c"), now));
        assert_eq!((place.index(), place.moves(), place.arrivals()), (2, 1, 1));
        assert!(!place.has_settled(now + ALL_HERE * 9 / 10) && place.has_settled(now + ALL_HERE));
        assert!(!place.land(2, &server("c"), now));
        assert_eq!(place.order(3).collect::<Vec<_>>(), [2, 0, 1]);
    }

    #[test]
    fn another_server_behind_the_same_address_is_a_move_but_not_all_the_time() {
        let start = Instant::now();
        let mut place = at(0, "a", start);
        assert!(place.land(0, &server("b"), start));
        assert!(!place.land(0, &server("a"), start + SETTLING / 2));
        assert!(place.land(0, &server("a"), start + SETTLING));
        assert_eq!(place.moves(), 2);
    }

    #[test]
    fn coming_back_after_an_outage_is_an_arrival_but_no_move() {
        let (start, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        let mut place = at(0, "a", start);
        place.lose(0);
        assert!(!place.land(0, &server("a"), later));
        assert_eq!((place.moves(), place.arrivals()), (0, 1));
    }

    #[test]
    fn the_others_have_as_long_to_come_back_as_the_outage_was_and_a_bound() {
        let start = Instant::now();
        let settled_after = |away: Duration| {
            let mut place = at(0, "a", start);
            place.lose(0);
            let back = start + away;
            place.land(0, &server("a"), back);
            (0u32..200).map(|step| Duration::from_millis(100) * step).find(|after| place.has_settled(back + *after))
        };
        assert_eq!(settled_after(Duration::from_millis(100)), Some(Duration::from_millis(3_300)));
        assert_eq!(settled_after(Duration::from_secs(2)), Some(Duration::from_secs(9)));
        assert_eq!(settled_after(Duration::from_secs(60)), Some(ALL_HERE));
    }

    /// A try that began before we moved ends in vain after that, and a short outage follows.
    #[test]
    fn nothing_that_happens_after_a_move_has_the_others_come_sooner() {
        let now = Instant::now();
        let soon = |millis| now + Duration::from_millis(millis);
        let mut place = at(0, "a", now);
        assert!(place.land(1, &server("b"), now));
        place.lose(0);
        place.land(1, &server("b"), soon(50));
        assert_eq!(place.arrivals(), 1, "it was not away");
        place.lose(1);
        place.land(1, &server("b"), soon(100));
        assert_eq!(place.arrivals(), 2);
        assert!(!place.has_settled(soon(9_900)) && place.has_settled(soon(10_000)));
    }

    #[test]
    fn another_server_behind_one_address_is_come_to_like_another_host_even_when_that_is_no_move() {
        let now = Instant::now();
        let mut place = at(0, "a", now);
        assert!(place.land(0, &server("b"), now));
        let later = now + SETTLING / 2;
        place.lose(1);
        assert!(!place.land(0, &server("a"), later), "too soon");
        assert!(!place.has_settled(later + ALL_HERE * 9 / 10) && place.has_settled(later + ALL_HERE));
    }

    #[test]
    fn a_host_that_did_not_answer_is_tried_last_until_it_is_used_again() {
        let now = Instant::now();
        let mut place = at(0, "a", now);
        place.suspect(1);
        assert_eq!(place.order(3).collect::<Vec<_>>(), [0, 1, 2]);
        place.suspect(0);
        assert_eq!(place.order(3).collect::<Vec<_>>(), [1, 2, 0]);
        assert!(!place.is_trusted());
        place.land(0, &server("a"), now);
        assert_eq!(place.order(3).next(), Some(0));
    }
}
