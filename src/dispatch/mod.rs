//! Doing it: from hints to claims, calls and recorded results.
//!
//! ```text
//! wakeup -> dispatcher -> lanes (claim) -> executor (call) -> completer (finish) -> dispatcher (slot, timer)
//!             sweeper ----^
//! ```

mod batch;
mod bodies;
mod client;
mod clients;
mod completer;
mod dispatcher;
mod executor;
mod homes;
mod host_queues;
mod lanes;
mod log_question;
mod names;
mod network;
mod pace;
mod portions;
mod ready;
mod records;
mod redirects;
mod request;
mod response;
mod slots;
mod sweeper;
mod timers;
mod waiting;

pub use client::ClientError;
pub use dispatcher::{DispatchError, Mode};

use crate::config::Config;
use crate::followed::Followed;
use crate::metrics::Metrics;
use crate::store::{ClaimTerms, Owner, Store};
use crate::wakeup::Wakeup;
use bodies::Bodies;
use client::CallClient;
use clients::Clients;
use completer::Completer;
use dispatcher::{Dispatcher, Parts};
use executor::Executor;
use records::SharedRecords;
use slots::Slots;
use std::sync::Arc;
use std::time::Duration;
use sweeper::{OwnLock, Sweeper};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How many claims run at once. While they commit, the next one gathers.
const CLAIM_LANES: usize = 2;
/// How many batches of results are written at once.
const COMPLETERS: usize = 2;
/// The horizon for timers is the sweep's interval and this much more.
const HORIZON_MARGIN: Duration = Duration::from_secs(60);

/// How often the table is swept now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepPace {
    /// From one sweep to the next.
    pub interval: Duration,
    /// Whether sweeping stands in for the log, which can't be followed.
    pub degraded: bool,
}

/// What a dispatch runs with.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The tables.
    pub store: Store,
    /// Where hints come from.
    pub wakeup: Arc<Wakeup>,
    /// How far the log has been read.
    pub followed: Arc<Followed>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// How often the table is swept now.
    pub sweep_pace: watch::Receiver<SweepPace>,
    /// Begins a stop.
    pub stop: CancellationToken,
}

/// Whether calls can be made with these settings: the file of authorities is read as it is for calls.
pub fn check_settings(config: &Config) -> Result<(), ClientError> {
    if config.http.ca_file.is_some() { CallClient::new(config).map(drop) } else { Ok(()) }
}

/// Dispatches until a stop has drained; or, in [`Mode::Once`], until nothing is workable.
pub async fn run(config: &Config, mode: Mode, around: Surroundings) -> Result<(), RunError> {
    let (records, records_in) = mpsc::channel(config.dispatch.batch_size * 2);
    let (done, done_in) = mpsc::channel(config.dispatch.batch_size * 2);
    let give_up = CancellationToken::new();
    let records_in = SharedRecords::new(records_in);
    let completer = || Completer {
        session: around.store.session(),
        policy: config.retry,
        batch_size: config.dispatch.batch_size,
        records: records_in.clone(),
        done: done.clone(),
        metrics: Arc::clone(&around.metrics),
        give_up: give_up.clone(),
        refused: std::collections::HashSet::new(),
        given_up: std::collections::HashSet::new(),
        abandoned: false,
        held: batch::Batch::default(),
        held_until: tokio::time::Instant::now(),
    };
    let executor = Executor {
        client: Clients::new(config)?,
        bodies: Bodies::new(around.store.session()),
        http: config.http.clone(),
        records,
        interrupt: CancellationToken::new(),
    };
    let mut completing = JoinSet::new();
    for _ in 0..COMPLETERS {
        completing.spawn(completer().run());
    }
    drop(done);
    let owner = Owner::new(Owner::new_name(), around.store.session());
    let (held, is_held) = watch::channel(false);
    let own_lock = OwnLock { dispatcher: owner.name().to_owned(), held: is_held };
    // Held until the last result is written. It goes with its task, which ends with this set.
    let mut keeping = JoinSet::new();
    keeping.spawn(owner.keep(held));
    let dispatcher = dispatcher(config, mode, around, (executor, done_in, give_up), own_lock);
    let mut all_written = tokio::select! {
        ended = dispatcher.run() => ended?,
        // Each has the results of some jobs, and nobody else would write them.
        Some(ended) = completing.join_next() => {
            ended.map_err(DispatchError::Task)?;
            return Err(DispatchError::Completer.into());
        }
    };
    // The dispatcher is gone, and with it the last sender of records.
    while let Some(written) = completing.join_next().await {
        all_written &= written.map_err(DispatchError::Task)?;
    }
    if all_written { Ok(()) } else { Err(RunError::Unwritten) }
}

fn dispatcher(
    config: &Config,
    mode: Mode,
    around: Surroundings,
    (executor, done, give_up): (Executor, mpsc::Receiver<batch::Done>, CancellationToken),
    own_lock: OwnLock,
) -> Dispatcher {
    let store = around.store;
    let terms = ClaimTerms {
        dispatcher: own_lock.dispatcher.clone(),
        grace: config.dispatch.claim_grace,
        max_timeout_secs: config.http.max_timeout_secs,
    };
    let horizon = config.sweep.interval + HORIZON_MARGIN;
    let sweeper = Sweeper::new((store.session(), own_lock), around.followed, Arc::clone(&around.metrics), horizon);
    let parts = Parts {
        mode,
        wakeup: around.wakeup,
        executor: Arc::new(executor),
        terms,
        claim_lanes: std::iter::repeat_with(|| store.session()).take(CLAIM_LANES).collect(),
        slots: Slots::new(config.dispatch.max_in_flight, config.dispatch.max_in_flight_per_host),
        store: store.clone(),
        batch_size: config.dispatch.batch_size,
        horizon,
        drain: config.dispatch.drain,
        done,
        sweep_pace: around.sweep_pace,
        metrics: around.metrics,
        stop: around.stop,
        give_up,
    };
    Dispatcher::new(parts, store.session(), sweeper)
}

/// The dispatch could not begin, or a part of it failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The HTTP client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The database was away at a stop.
    #[error("the service had to stop while the database was away; the jobs in flight will be called again")]
    Unwritten,
    /// A task.
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
}
