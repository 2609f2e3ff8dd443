//! Turns: how many scenarios under load there are at once.

use std::num::NonZero;
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Each keeps a processor busy. With more of them than processors, what is promised to come in time would be late for want
/// of a processor, which is nobody's fault.
static TURNS: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(available_parallelism().map_or(1, NonZero::get))));

/// A scenario's turn; it is over when this is dropped.
#[derive(Debug)]
pub struct Turn(#[allow(dead_code, reason = "what counts is that it is dropped")] OwnedSemaphorePermit);

impl Turn {
    /// Waits for it. A scenario has one: two that wait for a second one would wait for ever.
    pub async fn take() -> Turn {
        Turn(Arc::clone(&TURNS).acquire_owned().await.expect("the turns are never closed"))
    }
}
