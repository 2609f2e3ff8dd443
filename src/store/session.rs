//! One connection with a role of its own, opened when it is needed and replaced when it broke.

use super::bounds::{Bounds, InUse};
use super::error::StoreError;
use super::servers::{Landed, Prepared, Servers};
use super::unanswered::Kind;
use crate::config::HostPort;
use mysql_async::Conn;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long after nobody could write no claim of a dispatcher that lives counts as outstayed: its results wait for the
/// longest pause between two tries (6.5 s), and our own last try may have been as long before.
const ALL_WRITTEN: Duration = Duration::from_secs(15);

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
    /// The connection of the deed under way.
    in_use: Arc<InUse>,
    /// How often we had come to a server when the last deed began.
    arrivals: u64,
    /// How long its deeds have waited in vain for a table, one after the other, in milliseconds.
    in_vain: Arc<AtomicU64>,
}

impl Session {
    pub(super) fn new(servers: Arc<Servers>) -> Session {
        Session { servers, landed: None, in_use: Arc::default(), arrivals: 0, in_vain: Arc::default() }
    }

    /// A session like this one, for another role.
    #[must_use]
    pub fn another(&self) -> Session {
        Session::new(Arc::clone(&self.servers))
    }

    /// Takes the connection out, opening one if there is none for the server that is used now.
    pub(super) async fn lease(&mut self) -> Result<Lease<'_>, StoreError> {
        self.in_use.open();
        self.arrivals = self.servers.arrivals();
        let kept = self.landed.take().filter(|landed| landed.moves == self.servers.moves());
        let landed = match kept {
            Some(landed) => landed,
            None => self.servers.open().await.map_err(StoreError::of_connecting)?,
        };
        self.in_use.take(landed.conn.id(), landed.moves);
        Ok(Lease { landed, session: self })
    }

    /// The same for a deed that is not begun while the server is still at too many of its kind that were given up.
    pub(super) async fn lease_for(&mut self, kind: Kind) -> Result<Lease<'_>, StoreError> {
        let (servers, in_use) = (Arc::clone(&self.servers), Arc::clone(&self.in_use));
        let mut lease = self.lease().await?;
        let moves = lease.landed.moves;
        match servers.unanswered().check(lease.conn(), moves, kind).await {
            Err(error @ StoreError::Unanswered(_)) => {
                lease.keep();
                return Err(error);
            }
            checked => checked?,
        }
        in_use.count_as(Some(kind));
        Ok(lease)
    }

    /// What bounds this session's next deed.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds::new(Arc::clone(&self.servers), Arc::clone(&self.in_use), Arc::clone(&self.in_vain))
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
