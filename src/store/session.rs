//! One connection with a role of its own, opened when it is needed and replaced when it broke.

use super::error::StoreError;
use super::options::TABLE_WAIT_SECS;
use super::servers::{Landed, Prepared, Servers};
use crate::config::HostPort;
use mysql_async::Conn;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long one deed (its statements together) may take before its connection is given up.
pub(super) const DEED_DEADLINE: Duration = Duration::from_secs(30);
/// As long as a statement waits for a table; and how long deeds may do so in vain, one after the other.
const TABLE_WAIT: Duration = Duration::from_secs(TABLE_WAIT_SECS as u64);
const IN_VAIN_MILLIS: u64 = 2_000 * TABLE_WAIT_SECS as u64;
/// How long after nobody could write no claim of a dispatcher that lives counts as outstayed: its results wait, for the
/// longest pause between two tries at most.
const ALL_WRITTEN: Duration = Duration::from_secs(10);
/// In place of a number of moves: no connection yet.
const OPENING: u64 = u64::MAX;

/// How long it may take to end a connection properly.
const GOODBYE: Duration = Duration::from_secs(1);

/// A connection with one role. Used by one task at a time.
///
/// A deed takes the connection out and puts it back only when it went well. So a deed that failed, or whose
/// future was dropped half-way, never leaves a connection in an unknown state behind: the next deed opens a
/// new one, and the server rolls the old one back. A connection to a server that is used no longer is not used again.
#[derive(Debug)]
pub struct Session {
    servers: Arc<Servers>,
    landed: Option<Landed>,
    /// The moves of the connection of the deed under way.
    at: Arc<AtomicU64>,
    /// How often we had come to a server when the last deed began.
    arrivals: u64,
    /// How long its deeds have waited in vain for a table, one after the other, in milliseconds.
    in_vain: Arc<AtomicU64>,
}

impl Session {
    pub(super) fn new(servers: Arc<Servers>) -> Session {
        Session { servers, landed: None, at: Arc::new(AtomicU64::new(OPENING)), arrivals: 0, in_vain: Arc::default() }
    }

    /// A session like this one, for another role.
    #[must_use]
    pub fn another(&self) -> Session {
        Session::new(Arc::clone(&self.servers))
    }

    /// Takes the connection out, opening one if there is none for the server that is used now.
    pub(super) async fn lease(&mut self) -> Result<Lease<'_>, StoreError> {
        self.at.store(OPENING, Ordering::Relaxed);
        self.arrivals = self.servers.arrivals();
        let kept = self.landed.take().filter(|landed| landed.moves == self.servers.moves());
        let landed = match kept {
            Some(landed) => landed,
            None => self.servers.open().await.map_err(StoreError::of_connecting)?,
        };
        self.at.store(landed.moves, Ordering::Relaxed);
        Ok(Lease { landed, session: self })
    }

    /// What bounds this session's next deed.
    pub(super) fn bounds(&self) -> Bounds {
        let (servers, at, in_vain) = (Arc::clone(&self.servers), Arc::clone(&self.at), Arc::clone(&self.in_vain));
        Bounds { servers, at, in_vain, writes: true }
    }

    /// Returns when this connection leads to a server that is used no longer; at once when there is none.
    pub(super) async fn left_behind(&self) {
        if let Some(landed) = &self.landed {
            self.servers.moved_since(landed.moves).await;
        }
    }

    /// Forgets the connection, so that the next deed opens a new one.
    pub fn disconnect(&mut self) {
        if let Some(landed) = self.landed.take() {
            say_goodbye(landed.conn);
        }
    }

    /// The server's number of this connection, while there is one.
    #[must_use]
    pub fn connection_id(&self) -> Option<u32> {
        self.landed.as_ref().map(|landed| landed.conn.id())
    }

    /// Waits so long after a deed that failed; less if any session has come to a server since that deed began.
    pub async fn pause(&self, pause: Duration) {
        // Past the pause, it is time to try again in any case.
        let _ = tokio::time::timeout(pause, self.servers.arrived_since(self.arrivals)).await;
    }

    /// Whether the other dispatchers have had the time to come to the server too.
    pub(super) fn has_settled(&self) -> bool {
        self.servers.has_settled()
    }

    /// Whether the other dispatchers have had the time to write what they could not while nobody could.
    pub(super) fn has_written(&self) -> bool {
        self.servers.unwritten().is_none_or(|ago| ago >= ALL_WRITTEN)
    }

    /// Where this connection leads, and how often we had moved when it was made; while there is one.
    #[must_use]
    pub fn place(&self) -> Option<(HostPort, u64)> {
        self.landed.as_ref().map(|landed| (self.servers.host(landed.index), landed.moves))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.disconnect();
    }
}

/// The server counts connections that break off, and MariaDB writes a line of each into its log. (The driver closes one
/// that is dropped without a word.)
fn say_goodbye(conn: Conn) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(tokio::time::timeout(GOODBYE, conn.disconnect()));
    }
}

/// A connection taken out of its session for one deed.
pub(super) struct Lease<'session> {
    landed: Landed,
    session: &'session mut Session,
}

impl Lease<'_> {
    /// The connection.
    pub(super) fn conn(&mut self) -> &mut Conn {
        &mut self.landed.conn
    }

    /// As [`Session::has_settled`].
    pub(super) fn has_settled(&self) -> bool {
        self.session.has_settled()
    }

    /// As [`Session::has_written`].
    pub(super) fn has_written(&self) -> bool {
        self.session.has_written()
    }

    /// Whether the statements of a lone claim are prepared.
    pub(super) fn prepared(&self) -> &Prepared {
        &self.landed.prepared
    }

    /// Notes it, for as long as the connection lasts.
    pub(super) fn set_prepared(&mut self, prepared: Prepared) {
        self.landed.prepared = prepared;
    }

    /// The deed went well: the connection may be used again.
    pub(super) fn keep(self) {
        self.session.servers.hear();
        self.session.landed = Some(self.landed);
    }
}

/// What bounds a deed: time, and that its server is the one that is used.
pub(super) struct Bounds {
    servers: Arc<Servers>,
    at: Arc<AtomicU64>,
    in_vain: Arc<AtomicU64>,
    /// Whether its success shows that the server takes writes.
    writes: bool,
}

impl Bounds {
    /// The same for a deed that only reads.
    pub(super) fn of_a_read(self) -> Bounds {
        Bounds { writes: false, ..self }
    }

    /// Takes in how a deed ended. Where one is not answered, or deeds wait for a table again and again, as they do where
    /// nobody can write, another server is looked for.
    fn ended(&self, error: Option<&StoreError>, took: Duration) {
        if self.writes && error.is_some_and(|error| leaves_unwritten(error, took)) {
            self.servers.leave_unwritten();
        }
        if self.is_suspect(error, took) {
            self.servers.suspect(self.at.load(Ordering::Relaxed));
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

    /// Returns when the deed's connection leads to a server that is used no longer.
    pub(super) async fn left_behind(&self) {
        loop {
            let (moves, at) = (self.servers.moves(), self.at.load(Ordering::Relaxed));
            // The deed itself may be the one that moves: it is opening then, or there already.
            if at != OPENING && at != moves {
                return;
            }
            self.servers.moved_since(moves).await;
        }
    }
}

/// A row is seldom waited for as long.
fn waited_for_a_table(error: &StoreError, took: Duration) -> bool {
    error.code() == Some(1205) && took >= TABLE_WAIT
}

/// Whether a deed that failed so shows that nobody could write meanwhile.
fn leaves_unwritten(error: &StoreError, took: Duration) -> bool {
    error.says_no_writes() || matches!(error, StoreError::Deadline(_)) || waited_for_a_table(error, took)
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
    }
}

#[cfg(test)]
mod tests {
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
        let session = Session::new(Arc::new(Servers::new(settings.database)));
        let failed = |code| StoreError::Server { code, message: String::new() };
        session.bounds().ended(Some(&failed(1205)), Duration::from_secs(1));
        session.bounds().of_a_read().ended(Some(&failed(1290)), Duration::ZERO);
        assert!(session.has_written() && session.has_settled());
        session.bounds().ended(Some(&failed(1290)), Duration::ZERO);
        assert!(!session.has_written() && session.has_settled());
    }
}
