//! What is wrong with the server, the rights and the tables: all of it for `check`, and what is new for the log of
//! a running service, which sweeps more often while the log does not show every row.

use super::open_files;
use crate::cdc::{LogStatus, Watcher};
use crate::config::{BinlogConfig, Config};
use crate::dispatch;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::store::inspect::{Finding, Inspection, Terms, Topic, inspect, inspect_others, judge_connecting};
use crate::wakeup::Wakeup;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

/// How long `check` tries to follow the log.
const FOLLOWING: Duration = Duration::from_secs(10);
/// How many tries of the watcher it takes to believe a reason that may pass.
const TRIES: usize = 3;
/// How long the log is not followed before a running service looks for the fault: a stream that breaks, and is back sooner,
/// is nothing to mend. The watcher's own line says that it broke.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at a log that does not show every row.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Everything that is wrong, for one who asks before the service is started.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let store = Store::new(&config.database);
    let terms = terms(config);
    let mut findings = match inspect(&store, &terms).await {
        Ok(inspection) => examine_log(config, &store, inspection).await,
        Err(error) => vec![judge_connecting(&config.database, &error)],
    };
    findings.extend(inspect_others(&store, &terms).await);
    findings.extend(open_files::judge(config, open_files::raise_limit()));
    if let Err(error) = dispatch::check_settings(config) {
        findings.push(Finding::fault(
            Topic::Settings,
            error.to_string(),
            "name a file of whole certificates in PEM form",
        ));
    }
    findings
}

async fn examine_log(config: &Config, store: &Store, mut inspection: Inspection) -> Vec<Finding> {
    if inspection.log_head().is_some() && inspection.has_table() {
        let failure = follow_for_a_moment(store, &config.binlog).await;
        let finding = failure.and_then(|reason| inspection.judge_log_failure(&reason));
        inspection.findings.extend(finding);
    }
    inspection.findings
}

/// Follows the log until it is known whether that can be done; the reason why not.
///
/// Under a number of its own, so that a running service with the configured one is not thrown out.
async fn follow_for_a_moment(store: &Store, binlog: &BinlogConfig) -> Option<String> {
    let binlog = BinlogConfig { server_id: None, ..binlog.clone() };
    let watcher = Watcher::new(store, &binlog, Arc::<Wakeup>::default(), Arc::<Metrics>::default());
    let mut status = watcher.status();
    let stop = CancellationToken::new();
    let _stop_in_the_end = stop.clone().drop_guard();
    // What it comes to is a finding; lines of its own would be told twice, and look like a service that runs.
    tokio::spawn(watcher.run(stop).with_subscriber(NoSubscriber::default()));
    let mut last = "no stream within 10 seconds".to_owned();
    let outcome = tokio::time::timeout(FOLLOWING, async {
        for _ in 0..TRIES {
            if status.changed().await.is_err() {
                break;
            }
            match &*status.borrow_and_update() {
                LogStatus::Following => return true,
                LogStatus::Broken { reason, .. } => last.clone_from(reason),
            }
        }
        false
    });
    let following = outcome.await.unwrap_or(false);
    (!following).then_some(last)
}

fn terms(config: &Config) -> Terms {
    Terms { ini: config.file.display().to_string(), server_id: config.binlog.server_id }
}

/// Inspects whenever the log begins to be followed, or can't be for some seconds and for another reason than before, and
/// warns of what is new. `whole` tells whether the log shows every row.
pub(super) async fn keep_watch(
    config: Config,
    store: Store,
    mut status: watch::Receiver<LogStatus>,
    whole: watch::Sender<bool>,
) {
    let terms = terms(&config);
    let mut told = HashSet::new();
    let (mut last, mut be_patient_until) = (None, None);
    loop {
        tokio::select! {
            changed = status.changed() => if changed.is_err() { return },
            () = reached(be_patient_until) => {}
            () = tokio::time::sleep(LOOK_AGAIN), if !*whole.borrow() => last = None,
        }
        let seen = status.borrow_and_update().clone();
        be_patient_until = end_of_patience(&seen);
        if be_patient_until.is_some() {
            last = None;
            continue;
        }
        let failure = failure_of(&seen);
        if last.as_ref() == Some(&failure) {
            continue;
        }
        // What can't be inspected now is not reachable, and the watcher says so itself.
        if let Ok(inspection) = inspect(&store, &terms).await {
            whole.send_replace(inspection.log_is_whole());
            tell(&mut told, all_findings(inspection, failure.as_deref()));
            last = Some(failure);
        }
    }
}

/// Warns of everything that is wrong, for a service that can't start.
pub(super) async fn tell_all(config: &Config, store: &Store) {
    let terms = terms(config);
    if let Ok(inspection) = inspect(store, &terms).await {
        tell(&mut HashSet::new(), inspection.findings);
    }
}

/// Until when no fault is looked for; none when it is time, or all is well.
fn end_of_patience(status: &LogStatus) -> Option<Instant> {
    match status {
        LogStatus::Following => None,
        LogStatus::Broken { since, .. } => Some(*since + PATIENCE).filter(|end| *end > Instant::now()),
    }
}

/// Returns at that moment; never without one.
async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

/// Why the log is not followed; none when it is.
fn failure_of(status: &LogStatus) -> Option<String> {
    match status {
        LogStatus::Following => None,
        LogStatus::Broken { reason, .. } => Some(reason.clone()),
    }
}

fn all_findings(inspection: Inspection, failure: Option<&str>) -> Vec<Finding> {
    let more = failure.filter(|_| inspection.log_head().is_some());
    let more = more.and_then(|reason| inspection.judge_log_failure(reason));
    inspection.findings.into_iter().chain(more).collect()
}

/// Warns of what was not told before, and says what is mended since.
fn tell(told: &mut HashSet<Finding>, findings: Vec<Finding>) {
    let found: HashSet<Finding> = findings.iter().cloned().collect();
    for mended in told.difference(&found) {
        tracing::info!("mended: {}", mended.what);
    }
    for finding in findings.into_iter().filter(|finding| !told.contains(finding)) {
        warn(&finding);
    }
    *told = found;
}

/// A finding as a line of the log.
pub(super) fn warn(finding: &Finding) {
    tracing::warn!(mend = finding.mend.replace('\n', " "), "{}: {}", finding.severity, finding.what);
}
