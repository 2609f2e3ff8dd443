//! Load on a cluster, and the checker of faults on whichever member takes writes at the end.

use crate::faults::checker::{self, Found};
use crate::faults::load::{Load, Written};
use crate::support::checker::plan::answer_by_plan;
use crate::support::cluster::{Cluster, DATABASE};
use crate::support::database::TestDatabase;
use crate::support::receiver::Receiver;
use std::time::Duration;

/// 225 committed jobs a second.
const RATE: (usize, u32) = (5, 50);

/// A handler that answers by plan.
pub async fn handler() -> Receiver {
    let receiver = Receiver::start().await;
    answer_by_plan(&receiver, Duration::ZERO);
    receiver
}

/// Applications that follow the member that takes writes.
pub fn start(cluster: &Cluster, receiver: &Receiver) -> Load {
    Load::start_on_cluster(cluster, &receiver.url(""), RATE)
}

/// Stops the load, and holds what must be so of all jobs.
pub async fn stop_and_check(cluster: &Cluster, receiver: &Receiver, load: Load) -> Found {
    let written = load.stop_after(0).await;
    let primary = cluster.primary().await;
    let database = TestDatabase::that_is_there(cluster.access(primary), DATABASE);
    checker::check(&database, receiver, &written).await
}

/// Waits until all jobs that this member has are final, and holds what must be so of them.
pub async fn check_on(cluster: &Cluster, member: usize, receiver: &Receiver) -> Found {
    let database = TestDatabase::that_is_there(cluster.access(member), DATABASE);
    checker::check(&database, receiver, &Written::default()).await
}

/// The same where each was called once.
pub async fn assert_called_once(cluster: &Cluster, member: usize, receiver: &Receiver, jobs: usize) {
    let found = check_on(cluster, member, receiver).await;
    assert_eq!((found.jobs, found.calls as usize, found.taken_back), (jobs, jobs, 0), "{found:?}");
}
