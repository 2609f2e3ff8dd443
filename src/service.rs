//! The service: start order, supervision, stop order.
//!
//! Start: tables, then the log's watcher and the dispatcher side by side (the watcher rings a sweep when it
//! listens, so nothing falls between). Stop: the dispatcher drains, the watcher goes with it. A task that ends
//! when it should not stops the service.

mod inspection;
mod open_files;
mod supervision;

pub use inspection::examine;

use crate::cdc::{LogStatus, Watcher};
use crate::config::{Config, SweepConfig};
use crate::dispatch::{self, Mode, RunError, Surroundings, SweepPace};
use crate::metrics::Metrics;
use crate::reconnect::ReconnectPauses;
use crate::store::{Store, StoreError, read_schema_state, try_to_work};
use crate::wakeup::Wakeup;
use std::sync::Arc;
use supervision::Helpers;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Why the service ended other than by a stop.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The database refuses us, or its tables are not ours.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The dispatcher failed.
    #[error(transparent)]
    Dispatch(#[from] RunError),
    /// A task beside the dispatcher ended, which none of them does by itself.
    #[error("{0} ended, which it must not")]
    Helper(String),
}

/// Runs until the stop has drained. An unreachable database is waited for.
pub async fn run(config: &Config, stop: CancellationToken) -> Result<(), ServiceError> {
    let config = &within_open_files(config);
    let store = Store::new(&config.database);
    // Whatever the database does, a stop ends the waiting for it.
    tokio::select! {
        ready = wait_for_tables(config, &store) => ready?,
        () = stop.cancelled() => return Ok(()),
    }
    let (wakeup, metrics) = (Arc::new(Wakeup::default()), Arc::new(Metrics::default()));
    let watcher = Watcher::new(&store, &config.binlog, Arc::clone(&wakeup), Arc::clone(&metrics));
    let (whole, followed) = (watch::Sender::new(true), watcher.followed());
    let (pace, sweep_pace) = watch::channel(degraded(&config.sweep));
    let mut helpers = Helpers::default();
    helpers.spawn(
        "choosing how often to sweep",
        set_pace(pace, watcher.status(), whole.subscribe(), config.sweep.clone()),
    );
    let inspecting = inspection::keep_watch(config.clone(), store.clone(), watcher.status(), whole);
    helpers.spawn("inspecting the server", inspecting);
    helpers.spawn("following the log", watcher.run(CancellationToken::new()));
    let around = Surroundings { store, wakeup, followed, metrics: Arc::clone(&metrics), sweep_pace, stop };
    let ended = tokio::select! {
        ended = dispatch::run(config, Mode::Serve, around) => ended.map_err(ServiceError::from),
        ended = helpers.first_end() => Err(ServiceError::Helper(ended)),
    };
    tracing::info!(counted = metrics.counted(), "what the service did");
    ended
}

/// Works off everything that is workable now. An unreachable database is an error.
pub async fn run_once(config: &Config, stop: CancellationToken) -> Result<(), ServiceError> {
    let config = &within_open_files(config);
    let store = Store::new(&config.database);
    tokio::select! {
        ready = is_ready(config, &store) => ready?,
        () = stop.cancelled() => return Ok(()),
    }
    let (_, sweep_pace) = watch::channel(SweepPace { interval: config.sweep.interval, degraded: false });
    let (wakeup, followed, metrics) = (Arc::default(), Arc::default(), Arc::default());
    let around = Surroundings { store, wakeup, followed, metrics, sweep_pace, stop };
    Ok(dispatch::run(config, Mode::Once, around).await?)
}

/// Nobody would wait for what only somebody can mend.
async fn is_ready(config: &Config, store: &Store) -> Result<(), StoreError> {
    let mut session = store.session();
    read_schema_state(&mut session).await?.require_current(&config.file)?;
    try_to_work(&mut session).await
}

/// The settings with no more calls at once than this process may open files for; says so if that is fewer.
fn within_open_files(config: &Config) -> Config {
    let limit = open_files::raise_limit();
    if let Some(finding) = open_files::judge(config, limit) {
        inspection::warn(&finding);
    }
    open_files::fit(config, limit)
}

/// Waits until the database answers and its tables can be used.
async fn wait_for_tables(config: &Config, store: &Store) -> Result<(), ServiceError> {
    let mut session = store.session();
    let mut pauses = ReconnectPauses::default();
    let refused = loop {
        match read_schema_state(&mut session).await.and_then(|state| state.require_current(&config.file)) {
            Ok(()) => return Ok(()),
            Err(error) if error.is_transient() => {
                let database = config.database.way();
                tracing::warn!(database, %error, "the database is not there yet; trying again");
                tokio::time::sleep(pauses.next_pause()).await;
            }
            Err(error) => break error,
        }
    };
    inspection::tell_all(config, store).await;
    Err(refused.into())
}

/// The pace while the log can't be followed, or does not show every row.
fn degraded(sweep: &SweepConfig) -> SweepPace {
    SweepPace { interval: sweep.degraded_interval, degraded: true }
}

/// Sets how often the table is swept, whenever the log begins or ceases to show every row.
async fn set_pace(
    pace: watch::Sender<SweepPace>,
    mut status: watch::Receiver<LogStatus>,
    mut whole: watch::Receiver<bool>,
    sweep: SweepConfig,
) {
    let healthy = SweepPace { interval: sweep.interval, degraded: false };
    loop {
        let changed = tokio::select! {
            changed = status.changed() => changed,
            changed = whole.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        let is_healthy = status.borrow_and_update().is_following() && *whole.borrow_and_update();
        let wanted = if is_healthy { healthy } else { degraded(&sweep) };
        pace.send_if_modified(|now| std::mem::replace(now, wanted) != wanted);
    }
}
