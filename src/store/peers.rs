//! Peers: the other dispatchers, as their rows and their locks show them.

use super::bounds::within_deadline;
use super::error::StoreError;
use super::owner::wait_for_lock;
use super::session::Session;
use mysql_async::prelude::Queryable;
use mysql_async::{Params, Row, Value};
use std::time::Duration;

/// So many looks at a lock, so far apart: about a second. A live dispatcher whose connections were cut has its lock
/// again sooner, and a rescue has to begin within two seconds of a death.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// A dispatcher that has jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOwner {
    /// Its name.
    pub name: String,
    /// When the first of its claims expires; zero if that has been.
    pub expires_in: Duration,
    /// When the next one expires that has not expired yet, if there is one.
    pub next_expiry: Option<Duration>,
}

/// The dispatchers that have jobs now. Reads the executing rows through the index on state; takes no lock.
pub async fn read_owners(session: &mut Session) -> Result<Vec<JobOwner>, StoreError> {
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        // No server takes an empty name as a lock's, and a hand may have written one.
        let sql = "SELECT claimed_by, GREATEST(COALESCE(MIN(expires_in), 0), 0), MIN(IF(expires_in > 0, expires_in, NULL)) \
                   FROM (SELECT claimed_by, TIMESTAMPDIFF(MICROSECOND, NOW(6), claim_expires_at) AS expires_in \
                   FROM queued_job WHERE state = 'executing' AND claimed_by > '') AS executing GROUP BY claimed_by";
        let owners: Vec<(String, u64, Option<u64>)> = lease.conn().query(sql).await?;
        lease.keep();
        let owner = |(name, first, next): (String, u64, Option<u64>)| JobOwner {
            name,
            expires_in: Duration::from_micros(first),
            next_expiry: next.map(Duration::from_micros),
        };
        Ok(owners.into_iter().map(owner).collect())
    })
    .await
}

/// Waits until the dispatcher of that name has ended; false: that is not known, and has to be asked again.
///
/// One statement that waits for the lock of that name: the server grants it the moment the dispatcher's
/// connections are gone, and it is let go again at once. No deadline: waiting is the deed.
pub async fn await_owner_end(session: &mut Session, name: &str) -> Result<bool, StoreError> {
    let bounds = session.bounds();
    let ended = tokio::select! {
        ended = wait_for_lock(session, name) => ended?,
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

/// The most dispatchers that are looked at together.
const TOGETHER: usize = 500;

/// Those of the dispatchers whose locks stay free: proof that they have ended. Takes about a second; no longer than the
/// first look if all live, and more on a server that we have just come to.
pub async fn confirm_ends(session: &mut Session, names: &[String]) -> Result<Vec<String>, StoreError> {
    let mut suspects: Vec<String> = names.iter().take(TOGETHER).cloned().collect();
    let mut looks = 0;
    while !suspects.is_empty() && (looks < LOOKS || !session.has_settled()) {
        if looks > 0 {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        suspects = keep_free(session, suspects).await?;
        looks += 1;
    }
    Ok(suspects)
}

/// Those whose locks are free now.
async fn keep_free(session: &mut Session, names: Vec<String>) -> Result<Vec<String>, StoreError> {
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        // Placeholders, for these names were read from rows.
        let looks = vec!["IS_FREE_LOCK(?)"; names.len()].join(", ");
        let values: Vec<Value> = names.iter().map(Value::from).collect();
        let row: Option<Row> = lease.conn().exec_first(format!("SELECT {looks}"), Params::from(values)).await?;
        lease.keep();
        let row = row.ok_or_else(|| StoreError::Unexpected("no row of locks".to_owned()))?;
        let free = |index: usize| matches!(row.get::<Option<i64>, _>(index), Some(Some(1)));
        Ok(names.into_iter().enumerate().filter(|(index, _)| free(*index)).map(|(_, name)| name).collect())
    })
    .await
}
