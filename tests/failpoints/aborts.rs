//! The process is gone from one moment to the next, at each boundary; it is started again, and every job comes to
//! its end.

use super::stage::{SOON, Seen, Stage, assert_stops};
use crate::support::checker::plan::answer_by_plan;
use crate::support::factory::job;
use crate::support::server::OwnServer;
use crate::support::wait::until;
use std::time::Duration;

/// One call at a time, and each in a claim and a write-back of its own. A slot is free again when its call has ended: the
/// results of those before it may still be on their way.
const ONE_BY_ONE: &str = "max_in_flight: 1\nbatch_size: 1";
const JOBS: usize = 8;

/// Aborts at the fourth time that the place is reached. At least so many calls are made twice, and at most those that had
/// been made and whose results were not written.
async fn abort_at(place: &str, least: usize) {
    let stage = Stage::set().await;
    let ids = stage.insert(JOBS).await;
    let mut first = stage.program(&format!("{place}=3*off->1*return(abort)"), ONE_BY_ONE);
    let ended = first.wait_for_exit(SOON).await;
    assert_eq!(ended.code(), None, "{place}: ended by a signal: {ended:?}");
    let called = stage.receiver.count();
    let written: Vec<u64> = stage.database.query("SELECT id FROM queued_job WHERE state = 'completed'").await;
    let mut second = stage.program("", ONE_BY_ONE);
    second.wait_for_line("following the log", SOON).await;
    stage.until_all_final().await;
    stage.check(&ids, 2).await;
    let calls = stage.calls();
    assert!(written.iter().all(|id| calls[id] == 1), "a written result was not enough: {calls:?}");
    let again = stage.receiver.count() - JOBS;
    assert!(
        (least..=called - written.len()).contains(&again),
        "{place}: {again} again, {written:?} written: {calls:?}"
    );
    assert_stops(&mut second).await;
}

#[tokio::test]
async fn before_a_claim_its_job_is_left_to_the_next() {
    abort_at("before-claim", 0).await;
}

#[tokio::test]
async fn after_a_claim_its_job_is_called_once_by_the_next() {
    abort_at("claim-committed", 0).await;
}

#[tokio::test]
async fn before_a_call_its_job_is_called_once_by_the_next() {
    abort_at("before-call", 0).await;
}

#[tokio::test]
async fn after_a_call_its_job_is_called_again() {
    abort_at("after-call", 1).await;
}

#[tokio::test]
async fn before_a_finish_its_job_is_called_again() {
    abort_at("before-finish", 1).await;
}

#[tokio::test]
async fn after_a_finish_its_job_is_not_called_again() {
    abort_at("finish-committed", 0).await;
}

/// Four jobs of a dispatcher that died in their calls, taken back by one with this order, and done by it or the next.
async fn rescued_by(order: &str, aborts: bool) {
    let stage = Stage::set().await;
    stage.never_answer();
    let ids = stage.insert(4).await;
    let mut first = stage.program("", "");
    stage.receiver.wait_for(4, SOON).await;
    first.kill().await;
    stage.answer();
    let mut second = stage.program(order, "");
    if aborts {
        second.wait_for_exit(SOON).await;
        second = stage.program("", "");
    }
    stage.until_all_final().await;
    stage.check(&ids, 2).await;
    for id in &ids {
        let row = stage.row(*id).await;
        assert_eq!((row.attempt, row.remaining_retries), (2, 4), "{row:?}");
    }
    assert_eq!(stage.lines_with("Job taken back").await, 4);
    assert_stops(&mut second).await;
}

#[tokio::test]
async fn before_a_rescue_its_jobs_are_left_to_the_next() {
    rescued_by("before-rescue=1*return(abort)", true).await;
}

#[tokio::test]
async fn after_a_rescue_its_jobs_have_paid_one_retry() {
    rescued_by("rescue-committed=1*return(abort)", true).await;
}

#[tokio::test]
async fn a_rescue_whose_answer_is_lost_is_made_once() {
    rescued_by("rescue-committed=1*return(error)", false).await;
}

/// A job whose call a stop cuts off, given back with this order; how many tries it has paid when it is done, which one that
/// was taken back pays, and one that was given back does not.
async fn given_back_with(order: &str, code: Option<i32>) -> u32 {
    let stage = Stage::set().await;
    stage.never_answer();
    let ids = stage.insert(1).await;
    let mut first = stage.program(order, "drain_secs: 0");
    stage.receiver.wait_for(1, SOON).await;
    assert_eq!(first.stop(SOON).await, code, "{order}: {:#?}", first.lines());
    stage.answer();
    let mut second = stage.program("", "");
    stage.until_all_final().await;
    stage.check(&ids, 2).await;
    let row = stage.row(ids[0]).await;
    let paid = row.attempt - 1;
    let expected = Seen { state: "completed".into(), attempt: 1 + paid, remaining_retries: 5 - paid.cast_signed() };
    assert_eq!((row, stage.receiver.count()), (expected, 2), "{order}");
    assert_eq!(stage.lines_with("given back").await, i64::from(paid == 0), "{order}");
    assert_stops(&mut second).await;
    paid
}

#[tokio::test]
async fn before_it_gives_jobs_back_they_are_taken_back_by_the_next() {
    assert_eq!(given_back_with("before-release=1*return(abort)", None).await, 1);
}

#[tokio::test]
async fn after_it_gave_jobs_back_they_have_paid_nothing() {
    assert_eq!(given_back_with("release-committed=1*return(abort)", None).await, 0);
}

#[tokio::test]
async fn jobs_are_given_back_once_whose_answer_is_lost() {
    assert_eq!(given_back_with("before-release=1*return(error)", Some(0)).await, 0);
    assert_eq!(given_back_with("release-committed=1*return(error)", Some(0)).await, 0);
}

/// The line of a long call goes ahead, and its commit takes long; meanwhile the call ends, and another connection is
/// free to write its result.
#[tokio::test]
async fn no_result_is_written_before_the_line_of_its_call() {
    let stage = Stage::set().await;
    answer_by_plan(&stage.receiver, Duration::from_millis(800));
    let ids = stage.insert(1).await;
    let mut first = stage.program("before-finish=1*return(sleep:8000)", "");
    first.wait_for_line("Job succeeded", SOON).await;
    // Others are written meanwhile: only this result waits.
    answer_by_plan(&stage.receiver, Duration::ZERO);
    let quick = job().url(stage.receiver.url("/once")).retries(0).insert(&stage.database).await;
    let is = async |id: u64, state: &str| stage.row(id).await.state == state;
    until("others are written", Duration::from_secs(4), async || is(quick, "completed").await).await;
    assert!(is(ids[0], "executing").await, "its result was written first");
    assert_eq!(stage.lines_with("Calling job").await, 1);
    first.kill().await;
    let mut second = stage.program("", "");
    stage.until_all_final().await;
    stage.check(&[ids[0], quick], 2).await;
    assert_eq!(stage.receiver.requests_for("/work").len(), 2);
    assert_eq!(stage.lines_with("Calling job").await, 2);
    assert_stops(&mut second).await;
}

/// On a server of its own: with the events of other tests in its log, the order would strike before a job is there.
#[tokio::test]
async fn while_the_log_is_read_nothing_is_lost() {
    let server = OwnServer::start(&[]).await;
    let stage = Stage::set_on(server.access()).await;
    let mut first = stage.program("log-read=30*off->1*return(abort)", "");
    first.wait_for_line("following the log", SOON).await;
    // Each insert makes more than one event: the order strikes among them.
    let ids = stage.insert(20).await;
    first.wait_for_exit(SOON).await;
    let mut second = stage.program("", "");
    second.wait_for_line("following the log", SOON).await;
    stage.until_all_final().await;
    stage.check(&ids, 2).await;
    assert_stops(&mut second).await;
}

#[tokio::test]
async fn with_many_calls_at_once_no_more_of_them_are_made_again_than_were_in_flight() {
    const SLOTS: usize = 10;
    let stage = Stage::set().await;
    let ids = stage.insert(60).await;
    let settings = format!("max_in_flight: {SLOTS}");
    let mut first = stage.program("after-call=25*off->1*return(abort)", &settings);
    first.wait_for_exit(SOON).await;
    let sql = "SELECT COUNT(*) FROM queued_job WHERE state = 'completed'";
    let written: usize = stage.database.query_one(sql).await;
    let mut second = stage.program("", &settings);
    second.wait_for_line("following the log", SOON).await;
    stage.until_all_final().await;
    stage.check(&ids, 2).await;
    // 26 had ended, the others were under way; those that were written are not made again.
    let most = 26 + SLOTS - written;
    assert!(stage.receiver.count() <= ids.len() + most, "{} calls, {written} written", stage.receiver.count());
    assert_stops(&mut second).await;
}
