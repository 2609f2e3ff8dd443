//! What the commands that work for a while share: the runtime, and the signals that end it.

use crate::logging;
use anyhow::Context;
use std::future::Future;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that a second signal ended at once.
const FAILED: i32 = 1;

/// How long the goodbyes of our connections may take: a server notes those that break off without one.
const GOODBYES: Duration = Duration::from_millis(100);

/// Runs the work on a runtime. SIGTERM and SIGINT cancel the token; a second one ends the process at once.
pub(super) fn run_until_signal<F>(work: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        // Before any work, so that no signal finds a child or a claim and kills us.
        let signals = [signal(SignalKind::terminate()), signal(SignalKind::interrupt())];
        let [terminate, interrupt] = signals.map(|signal| signal.context("signals cannot be watched"));
        let watch = tokio::spawn(watch_signals(terminate?, interrupt?, stop.clone()));
        let result = work(stop).await;
        watch.abort();
        let _ = timeout(GOODBYES, all_tasks_ended()).await;
        result
    });
    // A thread that waits for the log can't be joined in time, and holds nothing.
    runtime.shutdown_background();
    result
}

/// The driver ends a connection by a task of its own.
async fn all_tasks_ended() {
    while Handle::current().metrics().num_alive_tasks() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
}

async fn watch_signals(mut terminate: Signal, mut interrupt: Signal, stop: CancellationToken) {
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if stop.is_cancelled() {
            tracing::error!("second signal: ending at once; jobs in flight will be called again");
            logging::flush();
            std::process::exit(FAILED);
        }
        stop.cancel();
    }
}
