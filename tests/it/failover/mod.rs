//! Failover: several hosts in `[db] host`, one of which takes writes; and what happens when it no longer does.

mod document;
mod group;
mod hosts;
mod load;
mod pair;
mod partition;

use crate::support::database::TestServer;
use crate::support::ledger;
use crate::support::service::Service;
use std::path::Path;
use std::time::Duration;

/// Long enough for anything that does not wait for an election.
const SOON: Duration = Duration::from_secs(20);

/// Only the log, the timers and what a failover itself sets off can serve a job: the sweep is an hour away.
const NO_SWEEP: &str = "[sweep]\ninterval_secs: 3600\n";

/// A service that follows the log.
async fn following(ini: &Path) -> Service {
    let service = Service::run(ini);
    service.wait_for_line("following the log", SOON).await;
    service
}

/// Each stops in time, and lost no job but those of logs that are gone, or that could not be followed for a while.
async fn all_stop(services: impl IntoIterator<Item = Service>) {
    for mut service in services {
        assert_eq!(service.stop(SOON).await, Some(0));
        ledger::assert_lost_only_to(&service, &["lost_to_gap", "lost_to_degraded"]);
    }
}

/// How often a line with this part was logged.
fn count(service: &Service, part: &str) -> usize {
    service.lines().iter().filter(|line| line.contains(part)).count()
}

/// What a scenario measured, or why it was left out.
#[allow(clippy::print_stdout, reason = "seen with --nocapture")]
fn report(scenario: &str, figures: &str) {
    println!("{scenario} on {}: {figures}", TestServer::get().name);
}
