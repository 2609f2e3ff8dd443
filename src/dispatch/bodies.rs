//! Bodies: the large ones are loaded when their calls begin, and only so many bytes of them at once.

use super::slots::HostKey;
use crate::reconnect::ReconnectPauses;
use crate::store::{ClaimedJob, Session, StoreError, load_body};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How much of large bodies is in memory at once, in KiB: 256 MiB.
const BUDGET_KIB: u32 = 256 * 1024;
/// How much of that one host may have, so that one that takes none of its bodies can't hold up the others. A body
/// larger than that counts as so much: it is the only one of its host.
const HOST_BUDGET_KIB: u32 = BUDGET_KIB / 2;
/// Shares that nobody holds any more are cleared away when there are more hosts than this.
const HOSTS_KEPT: usize = 100;

/// A body that can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The row is not ours any more: whoever has it makes the call.
    #[error("the job was taken back")]
    NotOurs,
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Loads bodies that did not come with the claim.
#[derive(Debug)]
pub struct Bodies {
    session: Mutex<Session>,
    budget: Budget,
}

impl Bodies {
    /// Loads through this session.
    #[must_use]
    pub fn new(session: Session) -> Bodies {
        Bodies { session: Mutex::new(session), budget: Budget::default() }
    }

    /// The job's body of so many bytes, which holds its part of the budget for as long as anybody has the bytes: the HTTP
    /// client may have them beyond the call. Waits for that part, and for the database, as long as it takes. `reading` has since
    /// when the database sends them, while it does.
    pub async fn load(
        &self,
        job: &ClaimedJob,
        length: u64,
        (host, reading): (&HostKey, &StdMutex<Option<Instant>>),
    ) -> Result<Bytes, BodyError> {
        let part = self.budget.take(host, u32::try_from(length / 1024).unwrap_or(u32::MAX)).await;
        let bytes = self.load_large(job, reading).await?.ok_or(BodyError::NotOurs)?;
        Ok(Bytes::from_owner(Accounted { bytes, _part: part }))
    }

    async fn load_large(
        &self,
        job: &ClaimedJob,
        reading: &StdMutex<Option<Instant>>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut pauses = ReconnectPauses::default();
        loop {
            let mut session = self.session.lock().await;
            set(reading, Some(Instant::now()));
            let loaded = load_body(&mut session, job).await;
            drop(session);
            match loaded {
                Err(error) if !error.is_of_the_rows() => {
                    set(reading, None);
                    tokio::time::sleep(pauses.next_pause()).await;
                }
                other => return other,
            }
        }
    }
}

fn set(reading: &StdMutex<Option<Instant>>, since: Option<Instant>) {
    *reading.lock().unwrap_or_else(PoisonError::into_inner) = since;
}

/// The memory that large bodies may have.
#[derive(Debug)]
struct Budget {
    all: Arc<Semaphore>,
    by_host: StdMutex<HashMap<HostKey, Arc<Semaphore>>>,
}

/// A body with its part of the budget.
struct Accounted {
    bytes: Vec<u8>,
    _part: Part,
}

impl AsRef<[u8]> for Accounted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// One body's part of the budget; given back when dropped. The fields are held, never read.
#[derive(Debug)]
struct Part {
    _of_host: Option<OwnedSemaphorePermit>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { all: Arc::new(Semaphore::new(BUDGET_KIB as usize)), by_host: StdMutex::default() }
    }
}

impl Budget {
    /// Waits for the host's share first: who waits for that holds nothing that others need.
    async fn take(&self, host: &HostKey, kib: u32) -> Part {
        let (share, kib) = (self.share(host), kib.clamp(1, HOST_BUDGET_KIB));
        Part {
            _of_host: share.acquire_many_owned(kib).await.ok(),
            _of_all: Arc::clone(&self.all).acquire_many_owned(kib).await.ok(),
        }
    }

    fn share(&self, host: &HostKey) -> Arc<Semaphore> {
        let mut by_host = self.by_host.lock().unwrap_or_else(PoisonError::into_inner);
        if by_host.len() > HOSTS_KEPT {
            // Nobody else gets hold of one meanwhile: that takes the lock.
            by_host.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let whole = || Arc::new(Semaphore::new(HOST_BUDGET_KIB as usize));
        Arc::clone(by_host.entry(host.clone()).or_insert_with(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn host(name: &str) -> HostKey {
        HostKey(name.into())
    }

    /// Whether it is given at once.
    async fn is_free(budget: &Budget, name: &str, kib: u32) -> bool {
        tokio::time::timeout(Duration::from_millis(10), budget.take(&host(name), kib)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn one_host_takes_no_more_than_half_however_much_it_asks_for() {
        let budget = Budget::default();
        let held = budget.take(&host("a"), HOST_BUDGET_KIB).await;
        assert!(!is_free(&budget, "a", 1).await);
        assert!(is_free(&budget, "b", HOST_BUDGET_KIB).await);
        drop(held);
        assert!(is_free(&budget, "a", 1).await);
    }

    #[tokio::test(start_paused = true)]
    async fn all_hosts_together_take_no_more_than_there_is() {
        let budget = Budget::default();
        let held = [budget.take(&host("a"), u32::MAX).await, budget.take(&host("b"), HOST_BUDGET_KIB).await];
        assert!(!is_free(&budget, "c", 1).await);
        drop(held);
        assert!(is_free(&budget, "c", 1).await);
    }

    #[tokio::test(start_paused = true)]
    async fn shares_that_are_held_outlive_the_clearing() {
        let budget = Budget::default();
        let _held = budget.take(&host("held"), HOST_BUDGET_KIB).await;
        for number in 0..HOSTS_KEPT * 2 {
            drop(budget.take(&host(&number.to_string()), 1).await);
        }
        assert!(budget.by_host.lock().unwrap().len() <= HOSTS_KEPT + 1);
        assert!(!is_free(&budget, "held", 1).await);
    }
}
