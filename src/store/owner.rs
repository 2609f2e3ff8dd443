//! Owner: the named lock that shows a dispatcher is alive.
//!
//! Two connections of ours stand behind the lock: one holds it, the other waits for it in one long statement. When
//! the holder's connection breaks, the server grants the lock to the one that waits: the lock is never free while
//! we live, and we know at once. When we die, both connections go.

use super::bounds::within_deadline;
use super::error::StoreError;
use super::session::Session;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Waits for a lock, a year at most, as long as a session of ours may be idle. Sent anew sooner, it would be a statement
/// of an idle service between two sweeps. A connection that is gone meanwhile is found by the kernel's keepalive.
const WAIT: &str = "SELECT GET_LOCK(?, 31536000)";
/// How long one try to take our own lock waits, in seconds.
const TAKE_SECS: u32 = 1;
/// Connections of ours that the server may still know, and that are gone: the holder's and the waiting one.
const FORMER: usize = 2;
/// The pause between two tries to have the lock again. Short: others take our jobs back if it stays free.
const RETAKE_PAUSE: Duration = Duration::from_millis(250);

/// Waits for a lock; whether it was granted.
pub(super) async fn wait_for_lock(session: &mut Session, name: &str) -> Result<bool, StoreError> {
    let mut lease = session.lease().await?;
    let granted: Option<Option<i64>> = lease.conn().exec_first(WAIT, (name,)).await?;
    lease.keep();
    Ok(granted.flatten() == Some(1))
}

/// Sees to it that there is a connection.
async fn connect(session: &mut Session) -> Result<(), StoreError> {
    within_deadline(session.bounds().of_a_read(), async {
        session.lease().await?.keep();
        Ok(())
    })
    .await
}

/// Takes the lock, or sees that this connection has it already. True when it was taken. One round trip: others take a
/// lock that stays free for a second for the sign of a death.
///
/// The name is ours alone, so whoever else holds its lock is a connection of ours that the server has not yet found to
/// be dead, or a peer that watched us and took us for dead: it has to go.
async fn take_lock(conn: &mut Conn, name: &str) -> Result<bool, StoreError> {
    let take = format!("SELECT IF(IS_USED_LOCK('{name}') = CONNECTION_ID(), 2, GET_LOCK('{name}', {TAKE_SECS}))");
    for _ in 0..=FORMER {
        match conn.query_first::<Option<i64>, _>(&take).await?.flatten() {
            Some(2) => return Ok(false),
            Some(1) => return Ok(true),
            _ => {}
        }
        let holder: Option<Option<u64>> = conn.query_first(format!("SELECT IS_USED_LOCK('{name}')")).await?;
        if let Some(holder) = holder.flatten() {
            // It may have gone by itself meanwhile.
            let _ = conn.query_drop(format!("KILL {holder}")).await;
        }
    }
    Err(StoreError::Connection(format!("the lock {name} is held by another connection")))
}

/// A dispatcher's name and the lock of that name.
#[derive(Debug)]
pub struct Owner {
    name: String,
    holder: Session,
    standby: Session,
    /// The second connection could not be had when it was last tried.
    lacks_standby: bool,
}

impl Owner {
    /// A name for a new dispatcher: host, process and a random part, of letters that need no quoting, and short
    /// enough for a lock (64 characters; MySQL manual, "Locking Functions").
    #[must_use]
    pub fn new_name() -> String {
        let host: String = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .chars()
            .filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-')
            .take(20)
            .collect();
        format!("strings-queue:{host}:{}:{:016x}", std::process::id(), rand::random::<u64>())
    }

    /// Will hold the lock of that name, of letters that need no quoting, through the session and another like it.
    #[must_use]
    pub fn new(name: String, session: Session) -> Owner {
        Owner { name, standby: session.another(), holder: session, lacks_standby: false }
    }

    /// The dispatcher's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the lock, or makes sure that it is still held. True when it had to be taken anew.
    pub async fn hold(&mut self) -> Result<bool, StoreError> {
        within_deadline(self.holder.bounds(), async {
            let mut lease = self.holder.lease().await?;
            let taken = take_lock(lease.conn(), &self.name).await?;
            lease.keep();
            Ok(taken)
        })
        .await
    }

    /// Holds the lock for as long as this is polled, and tells whether it does. Never ends by itself.
    pub async fn keep(mut self, held: watch::Sender<bool>) {
        let mut told = false;
        loop {
            let Err(error) = self.guard(&held).await else { continue };
            // The first new try is made at once. While the database is away, everybody else says so.
            if held.send_replace(false) {
                tracing::warn!(%error, "a connection of the dispatcher's lock broke; making a new one");
                told = false;
            } else {
                // That it is there and refuses is nobody else's to say.
                if error.code().is_some() && !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "the dispatcher's lock cannot be had; others may take us for dead");
                }
                tracing::debug!(%error, "the dispatcher's lock is not held");
                tokio::time::sleep(RETAKE_PAUSE).await;
            }
        }
    }

    /// Holds the lock until a connection breaks, or the service has moved to another server.
    async fn guard(&mut self, held: &watch::Sender<bool>) -> Result<(), StoreError> {
        self.hold().await?;
        held.send_replace(true);
        let connected = tokio::select! {
            connected = connect(&mut self.standby) => connected,
            // A lock on a server that nobody works with any more shows nothing.
            () = self.holder.left_behind() => return Ok(()),
        };
        if let Err(error) = connected {
            self.lose_standby(&error, false).await;
            return Ok(());
        }
        let begun = Instant::now();
        let granted = tokio::select! {
            granted = wait_for_lock(&mut self.standby, &self.name) => granted,
            () = self.holder.left_behind() => Ok(false),
        };
        match granted {
            Ok(true) => {
                tracing::warn!("the connection that held the dispatcher's lock broke; the second one holds it now");
                std::mem::swap(&mut self.holder, &mut self.standby);
                self.standby.disconnect();
            }
            Ok(false) => {}
            Err(error) => self.lose_standby(&error, begun.elapsed() > RETAKE_PAUSE).await,
        }
        Ok(())
    }

    /// The lock may be held all the same. The first new try is made at once, after a connection that stood for a while.
    async fn lose_standby(&mut self, error: &StoreError, had_one: bool) {
        if had_one || !self.lacks_standby {
            tracing::warn!(%error, "a connection of the dispatcher's lock broke; making a new one");
        } else {
            tracing::debug!(%error, "there is no second connection for the dispatcher's lock");
            tokio::time::sleep(RETAKE_PAUSE).await;
        }
        self.lacks_standby = true;
    }

    /// Lets the lock go with its connections.
    pub fn let_go(&mut self) {
        self.holder.disconnect();
        self.standby.disconnect();
    }
}
