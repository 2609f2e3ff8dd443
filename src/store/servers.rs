//! The database servers of the settings: which one is used now, and how another is found.
//!
//! All sessions work on one server. When one of them has to look for another, because theirs is gone or takes no
//! writes any more, the others follow at their next deed, and so does whoever reads the log.

use super::error::StoreError;
use super::opening::{self, Opened, wants_tls};
use super::place::Place;
use super::row::ClaimTerms;
use super::unanswered::Unanswered;
use crate::config::{DatabaseConfig, HostPort};
use crate::panics::quietly_await;
use mysql_async::Conn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a host may take to answer before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_secs(1);
/// The same for the one that was used until now: it may be no more than busy, and where each takes writes, all services
/// ought to stay on one.
const LONGER_START: Duration = Duration::from_secs(3);

/// The servers of the settings. With more than one, the writable one is used.
#[derive(Debug)]
pub struct Servers {
    database: DatabaseConfig,
    place: watch::Sender<Place>,
    encrypted: AtomicBool,
    unanswered: Unanswered,
}

/// A connection to the server that is used now.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) conn: Conn,
    pub(super) index: usize,
    /// How often we had moved when it was made.
    pub(super) moves: u64,
    pub(super) prepared: Prepared,
}

/// Whether a connection's server has prepared the statements of a lone claim.
#[derive(Debug)]
pub(super) enum Prepared {
    /// Nobody has asked for it.
    NotYet,
    /// They are there, for these terms.
    For(ClaimTerms),
    /// It prepares no more, or none of that kind.
    Refused,
}

impl Servers {
    pub(super) fn new(database: DatabaseConfig) -> Servers {
        let encrypted = AtomicBool::new(wants_tls(&database));
        Servers { database, place: watch::Sender::default(), encrypted, unanswered: Unanswered::default() }
    }

    /// The `[db]` settings.
    #[must_use]
    pub fn database(&self) -> &DatabaseConfig {
        &self.database
    }

    /// The server that is used now.
    #[must_use]
    pub fn current_host(&self) -> HostPort {
        self.host(self.place.borrow().index())
    }

    /// Whether connections are encrypted: as `ssl_mode` demands, or, where it only prefers, as the server can.
    #[must_use]
    pub fn encrypts(&self) -> bool {
        self.encrypted.load(Ordering::Relaxed)
    }

    /// How often another server was taken for the one that was used before.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.place.borrow().moves()
    }

    /// Returns when the server that was used at so many moves is used no longer.
    pub async fn moved_since(&self, moves: u64) {
        // The sender is ours, so waiting does not fail.
        let _ = self.place.subscribe().wait_for(|place| place.moves() != moves).await;
    }

    /// How often we came to a server, from another one or after an outage.
    #[must_use]
    pub fn arrivals(&self) -> u64 {
        self.place.borrow().arrivals()
    }

    /// Returns when we have come to a server again since there were so many arrivals: a good moment to try.
    pub async fn arrived_since(&self, arrivals: u64) {
        let _ = self.place.subscribe().wait_for(|place| place.arrivals() != arrivals).await;
    }

    /// Whether the other dispatchers have had the time to come to the server too.
    pub(super) fn has_settled(&self) -> bool {
        self.place.borrow().has_settled(Instant::now())
    }

    /// The server answered just now.
    pub(super) fn hear(&self) {
        self.place.send_if_modified(|place| {
            place.hear(Instant::now());
            false
        });
    }

    /// How long ago a write could not be done though the server was there.
    pub(super) fn unwritten(&self) -> Option<Duration> {
        self.place.borrow().unwritten().map(|at| at.elapsed())
    }

    /// A write could not be done just now.
    pub(super) fn leave_unwritten(&self) {
        self.place.send_if_modified(|place| {
            place.leave_unwritten(Instant::now());
            false
        });
    }

    /// The connections that were given up.
    pub(super) fn unanswered(&self) -> &Unanswered {
        &self.unanswered
    }

    pub(super) fn host(&self, index: usize) -> HostPort {
        let local = || HostPort { host: "localhost".to_owned(), port: 3306 };
        self.database.hosts.get(index).cloned().unwrap_or_else(local)
    }

    /// The server that was used at so many moves left a deed unanswered: look at the others before it.
    pub(super) fn suspect(&self, moves: u64) {
        self.place.send_if_modified(|place| {
            place.suspect(moves);
            false
        });
    }

    /// Opens a connection to the server used now, or, when it fails or is slow to answer, to the first other one that
    /// can be written to.
    pub(super) async fn open(self: &Arc<Self>) -> Result<Landed, StoreError> {
        let (count, arrivals) = (self.database.hosts.len().max(1), self.arrivals());
        let (mut untried, mut head_start) = self.plan(count);
        let (mut tries, mut failures) = (JoinSet::new(), Vec::new());
        loop {
            if let Some(index) = untried.next() {
                tries.spawn(Arc::clone(self).open_at(index));
            }
            let patience = if untried.len() > 0 { head_start } else { Duration::MAX };
            head_start = HEAD_START;
            match tokio::time::timeout(patience, tries.join_next()).await {
                Ok(Some(Ok((index, Ok(opened))))) => return Ok(self.land(index, opened)),
                Ok(Some(Ok((index, Err(error))))) => failures.push((self.host(index), error)),
                Ok(None) => break,
                // Slow to answer: the next one is tried beside it.
                Err(_) | Ok(Some(Err(_))) => {}
            }
        }
        // A server that answers with an error is there.
        if !failures.iter().any(|(_, error)| error.is_of_a_server()) {
            self.place.send_if_modified(|place| {
                place.lose(arrivals);
                false
            });
        }
        Err(StoreError::of_hosts(failures))
    }

    /// The hosts in their order, and how long the first may take.
    fn plan(&self, count: usize) -> (std::vec::IntoIter<usize>, Duration) {
        let place = self.place.borrow();
        let head_start = if place.is_trusted() { LONGER_START } else { HEAD_START };
        (place.order(count).collect::<Vec<_>>().into_iter(), head_start)
    }

    async fn open_at(self: Arc<Self>, index: usize) -> (usize, Result<Opened, StoreError>) {
        let host = self.host(index);
        let opened = quietly_await(pin!(opening::open(&self.database, &host))).await.unwrap_or_else(|panic| {
            // The client does so where it does not know how to answer a plugin.
            let mend = "the account may use an authentication plugin that strings-queue does not know";
            Err(StoreError::Settings(format!("the connection broke off inside its client ({panic}); {mend}")))
        });
        (index, opened)
    }

    fn land(&self, index: usize, opened: Opened) -> Landed {
        self.encrypted.store(opened.encrypted, Ordering::Relaxed);
        let (mut moves, mut is_new) = (0, false);
        self.place.send_if_modified(|place| {
            let arrivals = place.arrivals();
            is_new = place.land(index, &opened.identity, Instant::now());
            moves = place.moves();
            place.arrivals() != arrivals
        });
        let HostPort { host, port } = self.host(index);
        tracing::debug!(host, port, encrypted = opened.encrypted, id = opened.conn.id(), "connected to the database");
        if is_new {
            tracing::warn!(host, port, "working on another server now");
        }
        Landed { conn: opened.conn, index, moves, prepared: Prepared::NotYet }
    }
}
