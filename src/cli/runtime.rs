//! What the commands that work for a while share: the runtime, and the signals that end it.

use crate::logging;
use anyhow::Context;
use std::future::{Future, pending};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that a second signal ended at once.
const FAILED: i32 = 1;

/// How long the goodbyes of our connections may take: a server notes those that break off without one.
const GOODBYES: Duration = Duration::from_millis(100);

/// Runs the work on a runtime. SIGTERM, SIGINT and SIGHUP cancel the token; one more of the first two ends the process at
/// once. Of a SIGHUP there may come several for one terminal that is closed, from its shell and from the kernel; one that
/// was ignored at the start, as `nohup` has it, still is.
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
        let watched = |kind| signal(kind).context("signals cannot be watched");
        let hangup = if ignores_hangups() { None } else { Some(watched(SignalKind::hangup())?) };
        let signals = (watched(SignalKind::terminate())?, watched(SignalKind::interrupt())?, hangup);
        let watch = tokio::spawn(watch_signals(signals, stop.clone()));
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

/// Linux tells it (proc(5), `SigIgn`: a mask, whose lowest bit is signal 1, SIGHUP).
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}

async fn watch_signals(
    (mut terminate, mut interrupt, mut hangup): (Signal, Signal, Option<Signal>),
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = received(&mut hangup) => {
                stop.cancel();
                continue;
            }
        }
        if stop.is_cancelled() {
            tracing::error!("second signal: ending at once; jobs in flight will be called again");
            logging::flush();
            std::process::exit(FAILED);
        }
        stop.cancel();
    }
}
