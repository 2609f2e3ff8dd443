//! Calls come promptly: measured against the database's own commits in the same run, whatever the machine.

use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::Receiver;
use crate::support::service::Service;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
const JOBS: usize = 30;
/// A call takes two or three commits on its way; what is tested for is a pause, a poll or a sweep in that way.
const COMMITS: u32 = 20;
/// Where commits cost next to nothing, threads still wait for their turn.
const LEAST: Duration = Duration::from_millis(30);

/// With the sweep an hour away.
async fn started() -> (TestDatabase, Receiver, Service) {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let service = Service::run(&database.ini("[sweep]\ninterval_secs: 3600"));
    service.wait_for_line("following the log", SOON).await;
    let first = job().url(receiver.url("/first")).insert(&database).await;
    assert_eq!(receiver.wait_for(1, SOON).await[0].job_id(), Some(first));
    // Past the second look that follows a start, which is a sweep too.
    tokio::time::sleep(Duration::from_secs(2)).await;
    (database, receiver, service)
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

/// How long after its moment each job's call came.
fn delays(receiver: &Receiver, moments: &HashMap<u64, Instant>) -> Vec<Duration> {
    let calls = receiver.requests_for("/");
    calls.iter().map(|call| call.at.saturating_duration_since(moments[&call.job_id().unwrap()])).collect()
}

fn assert_prompt(delays: Vec<Duration>, inserts: Vec<Duration>) {
    let (delay, insert) = (median(delays), median(inserts));
    assert!(
        delay <= insert * COMMITS + LEAST,
        "half of the calls came {delay:?} late or later; an INSERT took {insert:?}"
    );
}

#[tokio::test]
async fn a_call_follows_its_insert_within_some_commits() {
    let (database, receiver, _service) = started().await;
    let (mut returned, mut inserts) = (HashMap::new(), Vec::new());
    for count in 1..=JOBS {
        let begun = Instant::now();
        let id = job().url(receiver.url("/")).insert(&database).await;
        inserts.push(begun.elapsed());
        returned.insert(id, Instant::now());
        receiver.wait_for(1 + count, SOON).await;
    }
    assert_prompt(delays(&receiver, &returned), inserts);
}

#[tokio::test]
async fn a_call_comes_at_its_run_at_within_some_commits() {
    let (database, receiver, _service) = started().await;
    let (mut due, mut inserts) = (HashMap::new(), Vec::new());
    for number in 0..JOBS {
        let delay = 1_500 + 50 * u32::try_from(number).unwrap();
        let begun = Instant::now();
        let id = job().url(receiver.url("/")).run_at_in(delay.into()).insert(&database).await;
        inserts.push(begun.elapsed());
        due.insert(id, begun + Duration::from_millis(delay.into()));
    }
    receiver.wait_for(1 + JOBS, SOON).await;
    let early = receiver.requests_for("/").into_iter().filter(|call| call.at < due[&call.job_id().unwrap()]).count();
    assert_eq!(early, 0, "none comes before its time");
    assert_prompt(delays(&receiver, &due), inserts);
}
