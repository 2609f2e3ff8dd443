//! Turns: how many scenarios under load there are at once.

use std::num::NonZero;
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Each keeps a processor busy. With more of them than processors, what is promised to come in time would be late for want
/// of a processor, which is nobody's fault.
static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(processors())));

fn processors() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

/// A scenario's turn; it is over when this is dropped.
#[derive(Debug)]
pub struct Turn(#[allow(dead_code, reason = "what counts is that it is dropped")] OwnedSemaphorePermit);

impl Turn {
    /// Waits for it. A scenario has one: two that wait for a second one would wait for ever.
    pub async fn take() -> Turn {
        Turn::of(1).await
    }

    /// The turns of all: for a scenario that would keep every processor busy, or measures what the others would change.
    pub async fn take_all() -> Turn {
        Turn::of(processors()).await
    }

    async fn of(count: usize) -> Turn {
        let count = u32::try_from(count).expect("there are not so many processors");
        Turn(Arc::clone(&TURNS).acquire_many_owned(count).await.expect("the turns are never closed"))
    }
}
