//! What the commands that work for a while share: the runtime, open files, and the signals that end it.

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::future::Future;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How many files (connections among them) we may hold open, where the machine allows it. More would only let the
/// sandbox's server, which inherits it, make its tables larger.
const OPEN_FILES: u64 = 65_536;
/// The exit code of a process that a second signal ended at once.
const FAILED: i32 = 1;

/// Runs the work on a runtime. SIGTERM and SIGINT cancel the token; a second one ends the process at once.
pub(super) fn run_until_signal<F>(work: impl FnOnce(CancellationToken) -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    allow_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        tokio::spawn(watch_signals(stop.clone()));
        work(stop).await
    });
    // A thread that waits for the log can't be joined in time, and holds nothing.
    runtime.shutdown_background();
    result
}

/// Each call takes a file, and what a shell or a unit gives by default is often 1,024. Where it can't be changed, it
/// stays as it is.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
    }
}

async fn watch_signals(stop: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be watched; stop the service by killing it");
        return;
    };
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
