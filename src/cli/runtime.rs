//! What the commands that work for a while share: the runtime, and the signals that end it.

use anyhow::Context;
use std::future::Future;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that a second signal ended at once.
const FAILED: i32 = 1;

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
        tokio::spawn(watch_signals(terminate?, interrupt?, stop.clone()));
        work(stop).await
    });
    // A thread that waits for the log can't be joined in time, and holds nothing.
    runtime.shutdown_background();
    result
}

async fn watch_signals(mut terminate: Signal, mut interrupt: Signal, stop: CancellationToken) {
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if stop.is_cancelled() {
            tracing::error!("second signal: ending at once; jobs in flight will be called again");
            std::process::exit(FAILED);
        }
        stop.cancel();
    }
}
