//! The database away for longer than claims last.

use super::checker::check;
use super::kills::hold_first_tries;
use super::load::{Written, retries_of};
use super::plan::Plan;
use super::{NO_SWEEP, following, ledger, report, stage_on, times};
use crate::support::factory::job;
use crate::support::receiver::Gate;
use crate::support::server::OwnServer;
use std::time::{Duration, Instant};

/// So many results wait for the database: they are not written by the first statement that it takes.
const CALLS: usize = 400;
const MANY_CALLS: &str = "max_in_flight: 1000\nmax_in_flight_per_host: 1000\n";

/// Half of the jobs have no retries: a rescue would end them as failures.
#[tokio::test(flavor = "multi_thread")]
async fn results_of_calls_that_ended_in_an_outage_longer_than_their_claims_are_written() {
    for _ in 0..times(1, 8) {
        let mut server = OwnServer::start(&[]).await;
        let (database, receiver) = stage_on(server.access()).await;
        let gate = Gate::closed();
        hold_first_tries(&receiver, &gate);
        let ini = database.ini(&format!("{NO_SWEEP}[dispatch]\nclaim_grace_secs: 1\n{MANY_CALLS}"));
        let (mut first, mut second) = (following(&ini).await, following(&ini).await);
        for plan in [Plan::Work, Plan::Once] {
            let jobs = job().url(receiver.url(plan.path())).timeout(9).retry_delay(0);
            jobs.retries(i64::from(retries_of(plan))).insert_times(&database, CALLS / 2).await;
        }
        receiver.wait_for(CALLS, Duration::from_secs(8)).await;
        let down = Instant::now();
        server.kill().await;
        gate.open();
        // Their claims end ten seconds after they were made.
        tokio::time::sleep(Duration::from_secs(10)).await;
        server.start_again().await;
        let outage = down.elapsed();
        let found = check(&database, &receiver, &Written::default()).await;
        assert_eq!((found.calls, found.taken_back), (u32::try_from(CALLS).unwrap(), 0), "{found:?}");
        report("outage longer than claims", format!("{found:?}, outage {outage:?}"));
        for service in [&mut first, &mut second] {
            assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
            ledger::assert_lost_only_to(service, &ledger::BROKEN);
        }
    }
}
