//! What the dispatcher is given, and how it can fail.

use crate::dispatch::SweepPace;
use crate::dispatch::batch::Done;
use crate::dispatch::executor::Executor;
use crate::dispatch::slots::Slots;
use crate::metrics::Metrics;
use crate::store::{ClaimTerms, Session, Store, StoreError};
use crate::wakeup::Wakeup;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

/// A part of the dispatcher ended in a way it must not.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// A task panicked.
    #[error("a task of the dispatcher failed: {0}")]
    Task(#[from] JoinError),
    /// Nobody records results any more.
    #[error("the task that records results ended")]
    Completer,
    /// In [`Mode::Once`]: the database refused the sweep, or is away.
    #[error("the table could not be searched: {0}")]
    Sweep(StoreError),
}

/// When the loop is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// At a stop.
    Serve,
    /// When nothing is workable any more; or at a stop.
    Once,
}

/// What the dispatcher is given.
#[derive(Debug)]
pub struct Parts {
    /// When the loop is over.
    pub mode: Mode,
    /// Where hints come from.
    pub wakeup: Arc<Wakeup>,
    /// Makes the calls.
    pub executor: Arc<Executor>,
    /// Who we are when we claim.
    pub terms: ClaimTerms,
    /// The sessions that claim: one claim each at a time.
    pub claim_lanes: Vec<Session>,
    /// All free.
    pub slots: Slots,
    /// Opens sessions to watch other dispatchers with.
    pub store: Store,
    /// The most rows one claim takes.
    pub batch_size: usize,
    /// What falls due within this has a timer.
    pub horizon: Duration,
    /// How long a stop waits for calls in flight.
    pub drain: Duration,
    /// Told of each recorded job.
    pub done: mpsc::Receiver<Done>,
    /// How often the table is swept now.
    pub sweep_pace: watch::Receiver<SweepPace>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// A stop: no more claims, wait for the calls in flight.
    pub stop: CancellationToken,
    /// Ends the completer's waiting for an unreachable database.
    pub give_up: CancellationToken,
}
