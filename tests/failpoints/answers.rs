//! Answers of the database that never come, and a log that breaks off.

use super::stage::{SOON, Stage, assert_stops};
use crate::support::wait::until;

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_found_again_and_charges_nothing() {
    let stage = Stage::set().await;
    let ids = stage.insert(5).await;
    let mut service = stage.program("claim-committed=2*return(error)", "");
    stage.until_all_final().await;
    stage.check(&ids, 1).await;
    for id in ids {
        assert_eq!(stage.row(id).await.attempt, 1);
    }
    assert_stops(&mut service).await;
}

#[tokio::test]
async fn a_finish_whose_answer_is_lost_is_written_once() {
    let stage = Stage::set().await;
    let ids = stage.insert(5).await;
    let mut service = stage.program("finish-committed=3*return(error)", "");
    stage.until_all_final().await;
    assert_stops(&mut service).await;
    stage.check(&ids, 1).await;
    assert_eq!(stage.lines_with("refused").await, 0);
    assert_eq!(stage.lines_with("Calling job").await, 5);
}

#[tokio::test]
async fn a_finish_that_cannot_be_sent_is_sent_until_it_can() {
    let stage = Stage::set().await;
    let ids = stage.insert(5).await;
    let mut service = stage.program("before-finish=3*return(error)", "");
    stage.until_all_final().await;
    assert_stops(&mut service).await;
    stage.check(&ids, 1).await;
}

#[tokio::test]
async fn a_log_that_breaks_off_again_and_again_is_taken_up_where_it_was() {
    let stage = Stage::set().await;
    let mut service = stage.program("log-read=40*off->1*return(error)->40*off->1*return(error)", "");
    service.wait_for_line("following the log", SOON).await;
    let ids = stage.insert(40).await;
    stage.until_all_final().await;
    stage.check(&ids, 1).await;
    // A break may come before it is told that the log is followed again.
    let told = |part: &str| service.lines().iter().filter(|line| line.contains(part)).count();
    until("it has broken off twice", SOON, async || told("the log is not being followed") == 2).await;
    until("it is taken up where it was", SOON, async || {
        service
            .lines()
            .iter()
            .rfind(|line| line.contains("following the log"))
            .is_some_and(|line| line.contains("because=Resumed"))
    })
    .await;
    assert_eq!(told("because=Gap"), 0);
    assert_stops(&mut service).await;
}

/// Nobody would call its job, and the next service would take it for one that was called.
#[tokio::test]
async fn a_claim_whose_answer_is_late_at_a_stop_is_given_back() {
    let stage = Stage::set().await;
    let ids = stage.insert(3).await;
    let mut service = stage.program("claim-committed=1*return(sleep:5000)", "drain_secs: 1");
    service.wait_for_line("a failpoint", SOON).await;
    assert_stops(&mut service).await;
    for id in ids {
        let row = stage.row(id).await;
        assert_eq!((row.state.as_str(), row.attempt, row.remaining_retries), ("available", 0, 5));
    }
}

/// The word of it comes while the result is written already and the dispatcher has not heard of that.
#[tokio::test]
async fn a_job_that_is_enqueued_anew_in_the_moment_of_its_result_is_called_at_once() {
    let stage = Stage::set().await;
    let mut service = stage.program("finish-committed=1*return(sleep:2000)", "");
    service.wait_for_line("following the log", SOON).await;
    let ids = stage.insert(1).await;
    service.wait_for_line("a failpoint", SOON).await;
    stage.database.execute("UPDATE queued_job SET state = 'available', run_at = NOW(6)").await;
    stage.receiver.wait_for(2, SOON).await;
    stage.until_all_final().await;
    assert_eq!(stage.row(ids[0]).await.attempt, 2);
    assert_stops(&mut service).await;
}
