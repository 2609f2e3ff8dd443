//! Unanswered: connections that were given up while the server may still be at their last statements.
//!
//! A server that can't commit for hours, such as a member of a group without a quorum, keeps each of them until it can. A
//! claim that is tried anew is given up in its turn, so without a bound they would take all connections that the server has.
//!
//! A proxy may give connections numbers of its own, by which none is found in the server's list; behind such a one there is
//! no bound.

use super::error::StoreError;
use super::options::DEED_DEADLINE;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many claims, and so many write-backs, may be unanswered before no more are begun.
const MOST: usize = 8;
/// The server counts in whole seconds.
const ROUNDING: Duration = Duration::from_secs(2);

/// What is not begun while too much of its kind is unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A claim.
    Claim,
    /// Results with their lines.
    Results,
    /// Lines alone, which no lock keeps from being written twice: any write-back that is unanswered may be theirs.
    Lines,
}

impl Kind {
    fn most(self) -> usize {
        if self == Kind::Lines { 1 } else { MOST }
    }

    fn is_like(self, other: Kind) -> bool {
        (self == Kind::Claim) == (other == Kind::Claim)
    }
}

/// The connections that were given up. Those of one place alone: elsewhere other connections have these numbers.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    given_up: Mutex<Vec<GivenUp>>,
}

/// A connection that was given up.
#[derive(Debug, Clone, Copy)]
struct GivenUp {
    connection: u32,
    /// The moves when it was made.
    moves: u64,
    kind: Kind,
    at: Instant,
}

/// A statement that the server is at.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    connection: u64,
    since: Duration,
}

impl Unanswered {
    /// This connection, made at so many moves, was given up just now.
    pub(super) fn give_up(&self, connection: u32, moves: u64, kind: Kind) {
        self.given_up().push(GivenUp { connection, moves, kind, at: Instant::now() });
    }

    /// An error while the server is still at too many of this kind; it is asked only when there are as many.
    pub(super) async fn check(&self, conn: &mut Conn, moves: u64, kind: Kind) -> Result<(), StoreError> {
        self.given_up().retain(|one| one.moves == moves);
        if self.count(kind) < kind.most() {
            return Ok(());
        }
        // Needs no right: of its own account, each may see what is under way.
        let under_way: Vec<UnderWay> =
            conn.query::<Row, _>("SHOW PROCESSLIST").await?.iter().filter_map(UnderWay::read).collect();
        self.forget_all_but(&under_way, Instant::now());
        let left = self.count(kind);
        if left < kind.most() { Ok(()) } else { Err(StoreError::Unanswered(left)) }
    }

    fn count(&self, kind: Kind) -> usize {
        self.given_up().iter().filter(|one| one.kind.is_like(kind)).count()
    }

    /// Forgets those that the server is not at any more.
    fn forget_all_but(&self, under_way: &[UnderWay], now: Instant) {
        self.given_up().retain(|one| under_way.iter().any(|statement| statement.is_of(*one, now)));
    }

    fn given_up(&self) -> MutexGuard<'_, Vec<GivenUp>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    /// What a line of the list of processes says: its columns are Id, User, Host, db, Command, Time, State and others. None
    /// of one that waits for its client, or that waits as we let it: for a lock by its name, or for more of the log.
    fn read(row: &Row) -> Option<UnderWay> {
        let command: String = row.get_opt(4)?.ok()?;
        let seconds: u32 = row.get_opt(5)?.ok()?;
        let state: Option<String> = row.get_opt(6)?.ok()?;
        let waits = command == "Sleep" || command.starts_with("Binlog Dump") || state.as_deref() == Some("User lock");
        let under_way = UnderWay { connection: row.get_opt(0)?.ok()?, since: Duration::from_secs(seconds.into()) };
        (!waits).then_some(under_way)
    }

    /// After a restart of the server another connection may have the number. It has not been at work for as long, or longer
    /// than a deed of ours can have been.
    fn is_of(self, one: GivenUp, now: Instant) -> bool {
        let ago = now.saturating_duration_since(one.at);
        let possible = ago.saturating_sub(ROUNDING)..=ago + DEED_DEADLINE + ROUNDING;
        self.connection == u64::from(one.connection) && possible.contains(&self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under_way(connection: u64, seconds: u64) -> UnderWay {
        UnderWay { connection, since: Duration::from_secs(seconds) }
    }

    #[test]
    fn those_that_have_ended_and_those_of_others_do_not_count() {
        let unanswered = Unanswered::default();
        (10..14).for_each(|connection| unanswered.give_up(connection, 1, Kind::Claim));
        let later = Instant::now() + Duration::from_secs(60);
        let list = [under_way(10, 90), under_way(11, 60), under_way(12, 5), under_way(13, 3_000)];
        unanswered.forget_all_but(&list, later);
        assert_eq!(unanswered.count(Kind::Claim), 2, "12 and 13 are other connections with their numbers");
        unanswered.forget_all_but(&[], later);
        assert_eq!(unanswered.count(Kind::Claim), 0);
    }

    #[test]
    fn lines_wait_for_any_write_back_and_for_no_claim() {
        let unanswered = Unanswered::default();
        unanswered.give_up(1, 0, Kind::Claim);
        assert_eq!([Kind::Claim, Kind::Results, Kind::Lines].map(|kind| unanswered.count(kind)), [1, 0, 0]);
        unanswered.give_up(2, 0, Kind::Results);
        assert!(unanswered.count(Kind::Lines) >= Kind::Lines.most());
        assert!(unanswered.count(Kind::Results) < Kind::Results.most());
    }
}
