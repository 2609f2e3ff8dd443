//! Unanswered: connections that were given up while the server may still be at their last statements.
//!
//! A server that can't commit for hours, such as a member of a group without a quorum, keeps each of them until it can. A
//! claim that is tried anew is given up in its turn, so without a bound they would take all connections that the server has.

use super::error::StoreError;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// No claim is begun while so many are unanswered.
pub(super) const MOST_FOR_A_CLAIM: usize = 8;
/// Nor are results sent: they go on after claims.
pub(super) const MOST_FOR_RESULTS: usize = 16;
/// Nor are lines sent alone, which no lock keeps from being written twice.
pub(super) const MOST_FOR_LINES: usize = 1;
/// The server counts in whole seconds.
const ROUNDING: Duration = Duration::from_secs(2);

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
    pub(super) fn give_up(&self, connection: u32, moves: u64) {
        self.given_up().push(GivenUp { connection, moves, at: Instant::now() });
    }

    /// An error while the server is still at so many of them; it is asked only when there are so many.
    pub(super) async fn check(&self, conn: &mut Conn, moves: u64, most: usize) -> Result<(), StoreError> {
        if self.count_since(moves) < most {
            return Ok(());
        }
        // Needs no right: of its own account, each may see what is under way.
        let under_way: Vec<UnderWay> =
            conn.query::<Row, _>("SHOW PROCESSLIST").await?.iter().filter_map(UnderWay::read).collect();
        let left = self.look(&under_way, Instant::now());
        if left < most { Ok(()) } else { Err(StoreError::Unanswered(left)) }
    }

    /// How many there are; those of another place are forgotten.
    fn count_since(&self, moves: u64) -> usize {
        let mut given_up = self.given_up();
        given_up.retain(|one| one.moves == moves);
        given_up.len()
    }

    /// Forgets those that the server is not at any more; how many are left.
    fn look(&self, under_way: &[UnderWay], now: Instant) -> usize {
        let mut given_up = self.given_up();
        // After a restart of the server another connection may have its number, but has not been at work as long.
        given_up.retain(|one| under_way.iter().any(|statement| statement.is_of(*one, now)));
        given_up.len()
    }

    fn given_up(&self) -> MutexGuard<'_, Vec<GivenUp>> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    /// What a line of the list of processes says: its columns are Id, User, Host, db, Command, Time and others. None of
    /// one that waits for its client.
    fn read(row: &Row) -> Option<UnderWay> {
        let command: String = row.get_opt(4)?.ok()?;
        let seconds: u32 = row.get_opt(5)?.ok()?;
        let under_way = UnderWay { connection: row.get_opt(0)?.ok()?, since: Duration::from_secs(seconds.into()) };
        (command != "Sleep").then_some(under_way)
    }

    fn is_of(self, one: GivenUp, now: Instant) -> bool {
        self.connection == u64::from(one.connection) && self.since + ROUNDING >= now.saturating_duration_since(one.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under_way(connection: u64, seconds: u64) -> UnderWay {
        UnderWay { connection, since: Duration::from_secs(seconds) }
    }

    #[test]
    fn those_that_have_ended_and_those_of_another_server_do_not_count() {
        let unanswered = Unanswered::default();
        unanswered.give_up(1, 0);
        (10..14).for_each(|connection| unanswered.give_up(connection, 1));
        assert_eq!(unanswered.count_since(1), 4);
        let later = Instant::now() + Duration::from_secs(60);
        let list = [under_way(1, 90), under_way(10, 90), under_way(11, 60), under_way(12, 5)];
        assert_eq!(unanswered.look(&list, later), 2, "10 and 11: 12 is a younger connection with its number");
        assert_eq!(unanswered.look(&list, later), 2);
        assert_eq!(unanswered.look(&[], later), 0);
    }
}
