//! Peers: the other dispatchers, as their rows and their locks show them.

use super::error::StoreError;
use super::owner::wait_for_lock;
use super::session::{Session, within_deadline};
use mysql_async::prelude::Queryable;

/// How long one question whether a dispatcher has ended stays open, in seconds.
const WATCH_SECS: u32 = 3_600;

/// The dispatchers that have jobs now. Reads the executing rows through the index on state; takes no lock.
pub async fn read_owners(session: &mut Session) -> Result<Vec<String>, StoreError> {
    read_names(session, "claimed_by IS NOT NULL").await
}

/// Those of them whose locks are free now: they have died, or their connection broke a moment ago. The same read.
///
/// MySQL refuses to look at the lock of an empty name, which a hand may have written.
pub async fn read_lapsed_owners(session: &mut Session) -> Result<Vec<String>, StoreError> {
    read_names(session, "IF(claimed_by > '', IS_FREE_LOCK(claimed_by), 0) = 1").await
}

async fn read_names(session: &mut Session, condition: &str) -> Result<Vec<String>, StoreError> {
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        let sql = format!("SELECT DISTINCT claimed_by FROM queued_job WHERE state = 'executing' AND {condition}");
        let names = lease.conn().query(sql).await?;
        lease.keep();
        Ok(names)
    })
    .await
}

/// Waits until the dispatcher of that name has ended, at most an hour; false: it still lives.
///
/// One statement that waits for the lock of that name: the server grants it the moment the dispatcher's
/// connections are gone, and it is let go again at once. No deadline: waiting is the deed.
pub async fn await_owner_end(session: &mut Session, name: &str) -> Result<bool, StoreError> {
    let bounds = session.bounds();
    let ended = tokio::select! {
        ended = wait_for_lock(session, name, WATCH_SECS) => ended?,
        // Locks on a server that nobody works with any more show nothing.
        () = bounds.left_behind() => return Ok(false),
    };
    if ended {
        let mut lease = session.lease().await?;
        lease.conn().exec_drop("DO RELEASE_LOCK(?)", (name,)).await?;
        lease.keep();
    }
    Ok(ended)
}
