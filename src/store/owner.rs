//! Owner: the named lock that shows a dispatcher is alive.

use super::error::StoreError;
use super::session::{Session, within_deadline};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// How long one question whether a dispatcher has ended stays open, in seconds.
const WATCH_SECS: u32 = 3_600;

/// The dispatchers that have jobs now. Reads the executing rows through the index on state; takes no lock.
pub async fn read_owners(session: &mut Session) -> Result<Vec<String>, StoreError> {
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        let sql = "SELECT DISTINCT claimed_by FROM queued_job WHERE state = 'executing' AND claimed_by IS NOT NULL";
        let owners = lease.conn().query(sql).await?;
        lease.keep();
        Ok(owners)
    })
    .await
}

/// Waits until the dispatcher of that name has ended, at most an hour; false: it still lives.
///
/// One statement that waits for the lock of that name: the server grants it the moment the dispatcher's
/// connection is gone, and it is let go again at once. No deadline: waiting is the deed.
pub async fn await_owner_end(session: &mut Session, name: &str) -> Result<bool, StoreError> {
    let mut lease = session.lease().await?;
    let sql = "SELECT GET_LOCK(?, ?)";
    let granted: Option<Option<i64>> = lease.conn().exec_first(sql, (name, WATCH_SECS)).await?;
    let ended = granted.flatten() == Some(1);
    if ended {
        lease.conn().exec_drop("DO RELEASE_LOCK(?)", (name,)).await?;
    }
    lease.keep();
    Ok(ended)
}

/// The name is ours alone, so whoever else holds its lock is a connection of ours that the server has not yet
/// found to be dead, or a peer that watched us and took us for dead: it has to go.
async fn take_lock(conn: &mut Conn, name: &str) -> Result<(), StoreError> {
    for _ in 0..2 {
        let taken: Option<Option<i64>> = conn.exec_first("SELECT GET_LOCK(?, 1)", (name,)).await?;
        if taken.flatten() == Some(1) {
            return Ok(());
        }
        let holder: Option<Option<u64>> = conn.exec_first("SELECT IS_USED_LOCK(?)", (name,)).await?;
        if let Some(holder) = holder.flatten() {
            // It may have gone by itself meanwhile.
            let _ = conn.query_drop(format!("KILL {holder}")).await;
        }
    }
    Err(StoreError::Connection(format!("the lock {name} is held by another connection")))
}

/// A dispatcher's name and the lock of that name, held on a connection of its own for as long as it lives.
#[derive(Debug)]
pub struct Owner {
    name: String,
    session: Session,
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

    /// Will hold the lock of that name through the session.
    #[must_use]
    pub fn new(name: String, session: Session) -> Owner {
        Owner { name, session }
    }

    /// The dispatcher's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the lock, or makes sure that it is still held. True when it had to be taken anew.
    pub async fn hold(&mut self) -> Result<bool, StoreError> {
        within_deadline(self.session.bounds(), async {
            let mut lease = self.session.lease().await?;
            let sql = "SELECT COALESCE(IS_USED_LOCK(?) = CONNECTION_ID(), 0)";
            let held: Option<bool> = lease.conn().exec_first(sql, (&self.name,)).await?;
            if held != Some(true) {
                take_lock(lease.conn(), &self.name).await?;
            }
            lease.keep();
            Ok(held != Some(true))
        })
        .await
    }

    /// Lets the lock go with its connection.
    pub fn let_go(&mut self) {
        self.session.disconnect();
    }
}
