//! The service: start order, supervision, stop order.
//!
//! Start: tables, then the log's watcher and the dispatcher side by side (the watcher rings a sweep when it
//! listens, so nothing falls between). Stop: the dispatcher drains, the watcher goes with it. A task that ends
//! when it should not stops the service.

mod inspection;

pub use inspection::examine;

use crate::cdc::{LogStatus, Watcher};
use crate::config::{Config, SweepConfig};
use crate::dispatch::{self, Mode, RunError, Surroundings, SweepPace};
use crate::metrics::Metrics;
use crate::reconnect::ReconnectPauses;
use crate::store::{Session, Store, StoreError, read_schema_state};
use crate::wakeup::Wakeup;
use std::sync::Arc;
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
    /// The watcher failed.
    #[error("the task that follows the log ended")]
    Watcher,
}

/// Runs until the stop has drained. An unreachable database is waited for.
pub async fn run(config: &Config, stop: CancellationToken) -> Result<(), ServiceError> {
    let store = Store::new(&config.database);
    match wait_for_tables(&mut store.session(), &stop).await {
        Ok(true) => {}
        Ok(false) => return Ok(()),
        Err(error) => {
            inspection::tell_all(config, &store).await;
            return Err(error);
        }
    }
    let (wakeup, metrics) = (Arc::new(Wakeup::default()), Arc::new(Metrics::default()));
    let watcher = Watcher::new(&store, &config.binlog, Arc::clone(&wakeup), Arc::clone(&metrics));
    let whole = watch::Sender::new(true);
    let sweep_pace = pace(watcher.status(), whole.subscribe(), &config.sweep);
    tokio::spawn(inspection::keep_watch(config.clone(), store.clone(), watcher.status(), whole));
    let watching_until = CancellationToken::new();
    let watching = tokio::spawn(watcher.run(watching_until.clone()));
    let around = Surroundings { store, wakeup, metrics: Arc::clone(&metrics), sweep_pace, stop };
    let ended = tokio::select! {
        ended = dispatch::run(config, Mode::Serve, around) => ended.map_err(ServiceError::from),
        _ = watching => Err(ServiceError::Watcher),
    };
    watching_until.cancel();
    tracing::info!(counted = metrics.counted(), "what the service did");
    ended
}

/// Works off everything that is workable now. An unreachable database is an error.
pub async fn run_once(config: &Config, stop: CancellationToken) -> Result<(), ServiceError> {
    let store = Store::new(&config.database);
    read_schema_state(&mut store.session()).await?.require_current()?;
    let (_, sweep_pace) = watch::channel(SweepPace { interval: config.sweep.interval, degraded: false });
    let around = Surroundings { store, wakeup: Arc::default(), metrics: Arc::default(), sweep_pace, stop };
    Ok(dispatch::run(config, Mode::Once, around).await?)
}

/// Waits until the database answers and its tables can be used; false when a stop came first.
async fn wait_for_tables(session: &mut Session, stop: &CancellationToken) -> Result<bool, ServiceError> {
    let mut pauses = ReconnectPauses::default();
    loop {
        match read_schema_state(session).await {
            Ok(state) => {
                state.require_current()?;
                return Ok(true);
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "the database is not there yet; trying again");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(false),
            () = tokio::time::sleep(pauses.next_pause()) => {}
        }
    }
}

/// How often the table is swept: often while the log can't be followed, or does not show every row.
fn pace(
    mut status: watch::Receiver<LogStatus>,
    mut whole: watch::Receiver<bool>,
    sweep: &SweepConfig,
) -> watch::Receiver<SweepPace> {
    let healthy = SweepPace { interval: sweep.interval, degraded: false };
    let degraded = SweepPace { interval: sweep.degraded_interval, degraded: true };
    let (sender, receiver) = watch::channel(degraded);
    tokio::spawn(async move {
        loop {
            let changed = tokio::select! {
                changed = status.changed() => changed,
                changed = whole.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            let is_healthy = status.borrow_and_update().is_following() && *whole.borrow_and_update();
            let pace = if is_healthy { healthy } else { degraded };
            sender.send_if_modified(|now| std::mem::replace(now, pace) != pace);
        }
    });
    receiver
}
