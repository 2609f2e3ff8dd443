//! A dispatcher that comes too late: its claim expired meanwhile, and another dispatcher took the job.

use super::stage::{SOON, Stage, assert_stops};
use crate::support::service::Service;
use crate::support::wait::until;

/// A claim lasts for a job's one second and these three, half of which it may take to come to the call.
const SHORT_CLAIMS: &str = "claim_grace_secs: 3";
const JOBS: usize = 3;

struct Late {
    stage: Stage,
    ids: Vec<u64>,
    first: Service,
    second: Service,
}

/// Two dispatchers, the first of which sleeps for twice as long as its claims last, so many times, at this place:
/// the second has time to start, and to take its jobs over.
async fn late_at(place: &str, times: u32) -> Late {
    let stage = Stage::set().await;
    let ids = stage.insert(JOBS).await;
    stage.database.execute("UPDATE queued_job SET timeout_secs = 1").await;
    let first = stage.program_sweeping(&format!("{place}={times}*return(sleep:8000)"), SHORT_CLAIMS, 1);
    first.wait_for_line("a failpoint", SOON).await;
    let second = stage.program_sweeping("", SHORT_CLAIMS, 1);
    Late { stage, ids, first, second }
}

impl Late {
    async fn assert_refused(mut self, most_calls: u32) {
        self.stage.until_all_final().await;
        let refused = i64::try_from(JOBS).unwrap();
        until("the late results are refused", SOON, async || self.stage.lines_with("refused").await == refused).await;
        self.stage.check(&self.ids, most_calls).await;
        for id in &self.ids {
            assert_eq!(self.stage.row(*id).await.attempt, 2, "taken over by the second");
        }
        self.stop().await;
    }

    async fn stop(&mut self) {
        for service in [&mut self.first, &mut self.second] {
            assert_stops(service).await;
        }
    }
}

#[tokio::test]
async fn a_job_whose_claim_is_answered_too_late_is_not_called() {
    let mut late = late_at("claim-committed", 1).await;
    late.stage.until_all_final().await;
    // What it gives back when it wakes is not its own any more, so that no line is written of it.
    late.first.wait_for_line("given back", SOON).await;
    late.stop().await;
    late.stage.check(&late.ids, 1).await;
    assert_eq!(late.stage.row(late.ids[0]).await.attempt, 2, "taken over by the second");
    assert_eq!(late.stage.lines_with("given back").await, 0);
}

#[tokio::test]
async fn a_result_that_comes_too_late_writes_nothing() {
    // Two tasks record results.
    late_at("before-finish", 2).await.assert_refused(2).await;
}

#[tokio::test]
async fn a_finish_answered_late_is_written_all_the_same_and_nothing_is_called_again() {
    let mut late = late_at("finish-committed", 1).await;
    late.stage.until_all_final().await;
    late.stage.check(&late.ids, 1).await;
    late.stop().await;
    for id in &late.ids {
        assert_eq!(late.stage.row(*id).await.attempt, 1);
    }
}
