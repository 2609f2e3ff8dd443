//! Bodies: the large ones are loaded when their calls begin, and only so many bytes of them at once.

use crate::reconnect::ReconnectPauses;
use crate::store::{ClaimedJob, Session, StoreError, load_body};
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

/// How much of large bodies is in memory at once, in KiB: 256 MiB. A body larger than that is loaded alone.
const BUDGET_KIB: u32 = 256 * 1024;

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
    budget: Arc<Semaphore>,
}

/// A body in memory, with its part of the budget, which is given back when this is dropped.
#[derive(Debug)]
pub struct LoadedBody {
    /// The bytes; none for a job without a body.
    pub bytes: Option<Vec<u8>>,
    /// Held for as long as the call may need the bytes; never read.
    _budget: Option<OwnedSemaphorePermit>,
}

impl LoadedBody {
    /// One that came with the claim.
    #[must_use]
    pub fn here(bytes: Option<Vec<u8>>) -> LoadedBody {
        LoadedBody { bytes, _budget: None }
    }
}

impl Bodies {
    /// Loads through this session.
    #[must_use]
    pub fn new(session: Session) -> Bodies {
        Bodies { session: Mutex::new(session), budget: Arc::new(Semaphore::new(BUDGET_KIB as usize)) }
    }

    /// The job's body of so many bytes. Waits for its part of the budget, and for the database, as long as it takes.
    pub async fn load(&self, job: &ClaimedJob, length: u64) -> Result<LoadedBody, BodyError> {
        let kib = u32::try_from(length / 1024).unwrap_or(u32::MAX).clamp(1, BUDGET_KIB);
        let part = Arc::clone(&self.budget).acquire_many_owned(kib).await.ok();
        let bytes = self.load_large(job).await?.ok_or(BodyError::NotOurs)?;
        Ok(LoadedBody { bytes: Some(bytes), _budget: part })
    }

    async fn load_large(&self, job: &ClaimedJob) -> Result<Option<Vec<u8>>, StoreError> {
        let mut pauses = ReconnectPauses::default();
        loop {
            let loaded = load_body(&mut *self.session.lock().await, job).await;
            match loaded {
                Err(error) if error.is_transient() => tokio::time::sleep(pauses.next_pause()).await,
                other => return other,
            }
        }
    }
}
