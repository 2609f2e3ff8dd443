//! Bounds: what bounds a deed at the database, in time and to the server that is used, and what its end says of the server.

use super::error::StoreError;
use super::options::{DEED_DEADLINE, LOCK_WAIT_SECS, TABLE_WAIT_SECS};
use super::servers::Servers;
use super::unanswered::{Kind, Unanswered};
use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// As long as a statement waits for a table; and how long deeds may do so in vain, one after the other.
const TABLE_WAIT: Duration = Duration::from_secs(TABLE_WAIT_SECS as u64);
const IN_VAIN_MILLIS: u64 = 2_000 * TABLE_WAIT_SECS as u64;
/// A write that is under way for as long shows that, for now, nobody can write; on a slow server one may take seconds.
const HELD_UP: Duration = Duration::from_secs(5);
/// In place of a number of moves: no connection yet.
const OPENING: u64 = u64::MAX;

/// The connection of the deed under way: its number, the moves when it was made, and what it is counted as when it is given
/// up.
#[derive(Debug)]
pub(super) struct InUse {
    connection: AtomicU32,
    moves: AtomicU64,
    kind: Mutex<Option<Kind>>,
}

impl Default for InUse {
    fn default() -> InUse {
        InUse { connection: AtomicU32::new(0), moves: AtomicU64::new(OPENING), kind: Mutex::default() }
    }
}

impl InUse {
    /// There is none yet.
    pub(super) fn open(&self) {
        self.moves.store(OPENING, Ordering::Relaxed);
        self.count_as(None);
    }

    /// What it is counted as when it is given up.
    pub(super) fn count_as(&self, kind: Option<Kind>) {
        *self.kind.lock().unwrap_or_else(PoisonError::into_inner) = kind;
    }

    /// It is this one.
    pub(super) fn take(&self, connection: u32, moves: u64) {
        self.connection.store(connection, Ordering::Relaxed);
        self.moves.store(moves, Ordering::Relaxed);
    }

    fn moves(&self) -> u64 {
        self.moves.load(Ordering::Relaxed)
    }

    fn is_open(&self) -> bool {
        self.moves() != OPENING
    }

    /// It is given up.
    fn give_up(&self, unanswered: &Unanswered) {
        if let Some(kind) = *self.kind.lock().unwrap_or_else(PoisonError::into_inner) {
            unanswered.give_up(self.connection.load(Ordering::Relaxed), self.moves(), kind);
        }
    }
}

/// What bounds a deed: time, and that its server is the one that is used.
pub(super) struct Bounds {
    servers: Arc<Servers>,
    in_use: Arc<InUse>,
    in_vain: Arc<AtomicU64>,
    /// Whether its success shows that the server takes writes.
    writes: bool,
    /// Whether it shows that nobody can write when it takes long.
    is_a_write: bool,
}

impl Bounds {
    /// Of any deed. `in_vain`: how long deeds of that session have waited for a table (ms).
    pub(super) fn new(servers: Arc<Servers>, in_use: Arc<InUse>, in_vain: Arc<AtomicU64>) -> Bounds {
        Bounds { servers, in_use, in_vain, writes: true, is_a_write: false }
    }

    /// The same for a deed that only reads.
    pub(super) fn of_a_read(self) -> Bounds {
        Bounds { writes: false, ..self }
    }

    /// The same for a deed that does little else than write.
    pub(super) fn of_a_write(self) -> Bounds {
        Bounds { is_a_write: true, ..self }
    }

    /// Takes in how a deed ended. Where one is not answered, or deeds wait for a table again and again, as they do where
    /// nobody can write, another server is looked for.
    fn ended(&self, error: Option<&StoreError>, took: Duration) {
        if matches!(error, Some(StoreError::Deadline(_))) {
            self.in_use.give_up(self.servers.unanswered());
        }
        let failed = error.is_some_and(|error| self.leaves_unwritten(error, took));
        if failed || took >= HELD_UP && self.is_writing() {
            self.servers.leave_unwritten();
        }
        if self.is_suspect(error, took) {
            self.servers.suspect(self.in_use.moves());
        }
    }

    fn is_suspect(&self, error: Option<&StoreError>, took: Duration) -> bool {
        let Some(error) = error else {
            if self.writes {
                self.in_vain.store(0, Ordering::Relaxed);
            }
            return false;
        };
        if waited_for_a_table(error, took) {
            let waited = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            if self.in_vain.fetch_add(waited, Ordering::Relaxed).saturating_add(waited) < IN_VAIN_MILLIS {
                return false;
            }
            self.in_vain.store(0, Ordering::Relaxed);
            return true;
        }
        matches!(error, StoreError::Deadline(_))
    }

    /// Whether a deed that failed so shows that nobody could write meanwhile. Reads wait for tables alone, and then writes wait
    /// too.
    fn leaves_unwritten(&self, error: &StoreError, took: Duration) -> bool {
        if !self.writes {
            return waited_for_a_table(error, took);
        }
        let waited = error.code() == Some(1205) && took >= Duration::from_secs(LOCK_WAIT_SECS.into());
        // As where a table or a right is gone for a while.
        let refused = self.is_a_write
            && error.code().is_some_and(|code| !OF_ONE_STATEMENT.contains(&code))
            && !(error.is_refused_data() || error.is_lock_conflict() || error.says_locked());
        waited || refused || error.says_no_writes() || error.is_unanswered()
    }

    /// Never returns. While the deed goes on, others must know that it is held up.
    async fn tell_held_up(&self) -> Infallible {
        loop {
            tokio::time::sleep(HELD_UP).await;
            if self.is_writing() {
                self.servers.leave_unwritten();
            }
        }
    }

    /// Whether it is a write, and has a connection.
    fn is_writing(&self) -> bool {
        self.is_a_write && self.in_use.is_open()
    }

    /// Returns when the deed's connection leads to a server that is used no longer.
    pub(super) async fn left_behind(&self) {
        loop {
            let (moves, at) = (self.servers.moves(), self.in_use.moves());
            // The deed itself may be the one that moves: it is opening then, or there already.
            if at != OPENING && at != moves {
                return;
            }
            self.servers.moved_since(moves).await;
        }
    }
}

/// What befalls one statement, and not the next: too many locks, interrupted, a conflict with another member of a group.
const OF_ONE_STATEMENT: [u16; 3] = [1206, 1317, 3101];

/// A row is seldom waited for as long.
fn waited_for_a_table(error: &StoreError, took: Duration) -> bool {
    error.code() == Some(1205) && took >= TABLE_WAIT
}

/// Bounds a deed in time: past the deadline it is dropped, and its connection with it. The same when another session
/// has found that the server is to be used no longer: a server that vanished would let each wait on its own.
pub(super) async fn within_deadline<T>(
    bounds: Bounds,
    deed: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let begun = Instant::now();
    let deed = tokio::time::timeout(DEED_DEADLINE, deed);
    tokio::select! {
        biased;
        done = deed => {
            let done = done.unwrap_or_else(|_| Err(StoreError::Deadline(DEED_DEADLINE.as_secs())));
            bounds.ended(done.as_ref().err(), begun.elapsed());
            done
        }
        () = bounds.left_behind() => Err(StoreError::Connection("its server is used no longer".to_owned())),
        never = bounds.tell_held_up() => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::Session;
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    #[test]
    fn a_server_whose_tables_are_waited_for_in_vain_is_suspect_and_one_with_locked_rows_is_not() {
        let settings = Config::parse(Path::new("db.ini"), "[db]\nhost: a, b\nuser: u\ndb: d", &|_| None).unwrap();
        let session = Session::new(Arc::new(Servers::new(settings.database)));
        let (write, read) = (session.bounds(), session.bounds().of_a_read());
        let conflict = StoreError::Server { code: 1205, message: String::new() };
        let after = |seconds| write.is_suspect(Some(&conflict), Duration::from_secs(seconds));
        assert!(!after(11) && !after(13) && !after(11));
        assert!(!read.is_suspect(None, Duration::ZERO) && after(13), "reads show nothing");
        assert!(!after(13) && !write.is_suspect(None, Duration::ZERO) && !after(13), "it could write meanwhile");
        assert!(write.is_suspect(Some(&StoreError::Deadline(30)), DEED_DEADLINE));
    }

    #[test]
    fn results_have_some_time_after_nobody_could_write() {
        let settings = Config::parse(Path::new("db.ini"), "[db]\nhost: a\nuser: u\ndb: d", &|_| None).unwrap();
        let session = Session::new(Arc::new(Servers::new(settings.database.clone())));
        let failed = |code| StoreError::Server { code, message: String::new() };
        session.bounds().ended(Some(&failed(1205)), Duration::from_millis(2_900));
        session.bounds().of_a_write().ended(None, HELD_UP * 9 / 10);
        session.bounds().of_a_read().ended(Some(&failed(1290)), Duration::from_secs(5));
        assert!(session.has_written() && session.has_settled());
        for (error, took) in [(Some(failed(1290)), 0), (Some(failed(1205)), 3), (None, HELD_UP.as_secs())] {
            let session = Session::new(Arc::new(Servers::new(settings.database.clone())));
            let bounds = session.bounds().of_a_write();
            bounds.in_use.take(1, 0);
            bounds.ended(error.as_ref(), Duration::from_secs(took));
            assert!(!session.has_written() && session.has_settled());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_is_held_up_says_so_while_it_is() {
        let settings = Config::parse(Path::new("db.ini"), "[db]\nhost: a\nuser: u\ndb: d", &|_| None).unwrap();
        let servers = Arc::new(Servers::new(settings.database));
        let session = Session::new(Arc::clone(&servers));
        let in_use = Arc::new(InUse::default());
        in_use.take(1, 0);
        let bounds = || Bounds::new(Arc::clone(&servers), Arc::clone(&in_use), Arc::default());
        let held_up = async |bounds: Bounds| {
            let deed = within_deadline(bounds, std::future::pending::<Result<(), StoreError>>());
            let _ = tokio::time::timeout(HELD_UP + HELD_UP / 2, deed).await;
            !session.has_written()
        };
        assert!(!held_up(bounds()).await);
        in_use.open();
        assert!(!held_up(bounds().of_a_write()).await, "it was not there yet");
        in_use.take(1, 0);
        assert!(held_up(bounds().of_a_write()).await);
    }
}
