//! Finish: what is written of a call, exactly.

use super::{claim_all, messages, session, state};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use std::time::Duration;
use strings_queue::job::{Conclusion, JobId, JobState, ResultCode};
use strings_queue::store::{
    ClaimedJob, FinishReport, Finished, HistoryLine, RESPONSE_BYTES, Session, finish, write_history,
};

/// A call that came to this.
pub fn finished(job: &ClaimedJob, response: &str) -> Finished {
    let conclusion = Conclusion {
        state: JobState::Completed,
        result_code: ResultCode::Success,
        retry_in: None,
        new_retry_delay_secs: None,
        new_url: None,
    };
    Finished { id: job.id, token: job.token, attempt: job.attempt, conclusion, response: response.into() }
}

/// A call that is to be made again.
pub fn failed_for_now(job: &ClaimedJob, retry_in: Duration) -> Finished {
    let mut finished = finished(job, "busy");
    finished.conclusion.state = JobState::Retryable;
    finished.conclusion.result_code = ResultCode::TemporaryFailure;
    finished.conclusion.retry_in = Some(retry_in);
    finished
}

pub fn line(job: JobId, message: &str) -> HistoryLine {
    HistoryLine { job, message: message.into(), at_micros: None }
}

/// Finishes these with a line each.
pub async fn finish_all(session: &mut Session, mut batch: Vec<Finished>) -> FinishReport {
    let lines: Vec<HistoryLine> = batch.iter().map(|one| line(one.id, "it ended")).collect();
    finish(session, &mut batch, &lines).await.unwrap()
}

#[tokio::test]
async fn a_success_is_final_and_leaves_retries_and_schedule_alone() {
    let database = TestDatabase::with_schema().await;
    let key = job().retries(4).insert(&database).await;
    let before: String = database.query_one("SELECT CAST(run_at AS CHAR) FROM queued_job").await;
    let mut session = session(&database);
    let claimed = claim_all(&mut session, "me", &[key]).await;
    let report = finish_all(&mut session, vec![finished(&claimed[0], "done")]).await;
    assert_eq!(report, FinishReport::default());
    let row: (String, i32, String, i32, String, bool, bool) = database
        .query_one(
            "SELECT CAST(state AS CHAR), result_code, last_response, remaining_retries, CAST(run_at AS CHAR), \
             last_finished_at >= last_started_at, claim_expires_at IS NULL FROM queued_job",
        )
        .await;
    assert_eq!(row, ("completed".into(), 0, "done".into(), 4, before, true, true));
    assert_eq!(messages(&database, key).await, ["it ended"]);
}

#[tokio::test]
async fn a_retry_costs_one_and_comes_when_it_was_asked_for_with_what_the_handler_changed() {
    let database = TestDatabase::with_schema().await;
    let keys = job().retries(2).retry_delay(60).insert_times(&database, 2).await;
    let mut session = session(&database);
    let claimed = claim_all(&mut session, "me", &keys).await;
    let mut moved = failed_for_now(&claimed[0], Duration::from_millis(7_500));
    moved.conclusion.new_retry_delay_secs = Some(9);
    moved.conclusion.new_url = Some("http://elsewhere/ü?a='b'\\c".into());
    let plain = failed_for_now(&claimed[1], Duration::ZERO);
    finish_all(&mut session, vec![plain, moved]).await;
    let rows: Vec<(String, i32, i32, i32, String, i64)> = database
        .query(
            "SELECT CAST(state AS CHAR), result_code, remaining_retries, retry_delay_secs, url, \
             CAST(ROUND(TIMESTAMPDIFF(MICROSECOND, last_finished_at, run_at) / 1000000) AS SIGNED) \
             FROM queued_job ORDER BY id",
        )
        .await;
    let (moved, plain) = (&rows[0], &rows[1]);
    assert_eq!((moved.0.as_str(), moved.1, moved.2, moved.3), ("retryable", 2, 1, 9));
    assert_eq!(moved.4, "http://elsewhere/ü?a='b'\\c");
    // `last_finished_at` has whole seconds.
    assert!((7..=9).contains(&moved.5), "{} s", moved.5);
    assert_eq!((plain.2, plain.3, plain.4.as_str()), (1, 60, "http://127.0.0.1:9/"));
    assert!((0..=1).contains(&plain.5), "{} s", plain.5);
}

#[tokio::test]
async fn any_text_is_stored_as_it_is() {
    let database = TestDatabase::with_schema().await;
    let texts = [
        String::new(),
        "NULL".into(),
        "it's \"quoted\" \\ back\\\\slashed; -- no comment /* nor this */ '; DROP TABLE queued_job; --".into(),
        (0..=0x2ff).filter_map(char::from_u32).collect(),
        "\u{10ffff}\u{fffd}\u{feff}𝄞🦀\u{1f468}\u{200d}\u{1f469}".into(),
        "{\"json\": [1, null, \"\\u0000\"]} $[0] ? @x".into(),
        "\r\n\t\u{1a}\u{0}".into(),
    ];
    let keys = job().insert_times(&database, texts.len()).await;
    let mut session = session(&database);
    let claimed = claim_all(&mut session, "me", &keys).await;
    let mut batch: Vec<_> = claimed.iter().zip(&texts).map(|(job, text)| finished(job, text)).collect();
    let lines: Vec<_> = claimed.iter().zip(&texts).map(|(job, text)| line(job.id, text)).collect();
    finish(&mut session, &mut batch, &lines).await.unwrap();
    for (key, text) in keys.iter().zip(&texts) {
        let stored = format!("SELECT last_response FROM queued_job WHERE id = {key}");
        assert_eq!(&database.query_one::<String>(&stored).await, text);
        assert_eq!(&messages(&database, *key).await, &[text.as_str()]);
    }
}

#[tokio::test]
async fn a_response_that_is_too_long_for_the_column_is_cut_between_characters() {
    let database = TestDatabase::with_schema().await;
    let keys = job().insert_times(&database, 3).await;
    let mut session = session(&database);
    let claimed = claim_all(&mut session, "me", &keys).await;
    let texts = ["x".repeat(200_000), "🦀".repeat(30_000), "x".repeat(RESPONSE_BYTES)];
    let batch = claimed.iter().zip(&texts).map(|(job, text)| finished(job, text)).collect();
    finish_all(&mut session, batch).await;
    let stored: Vec<(usize, String)> =
        database.query("SELECT LENGTH(last_response), RIGHT(last_response, 1) FROM queued_job ORDER BY id").await;
    assert_eq!(stored, [(65_535, "x".into()), (65_532, "🦀".into()), (65_535, "x".into())]);
}

#[tokio::test]
async fn the_results_of_many_are_written_in_one_go_whatever_their_order() {
    let database = TestDatabase::with_schema().await;
    let keys = job().insert_times(&database, 40).await;
    let mut session = session(&database);
    let mut claimed = claim_all(&mut session, "me", &keys).await;
    claimed.reverse();
    let batch = claimed.iter().map(|job| finished(job, &format!("of {}", job.id))).collect();
    assert_eq!(finish_all(&mut session, batch).await, FinishReport::default());
    let wrong = "SELECT COUNT(*) FROM queued_job WHERE state != 'completed' OR last_response != CONCAT('of ', id)";
    assert_eq!(database.query_one::<u32>(wrong).await, 0);
}

#[tokio::test]
async fn lines_have_the_time_that_they_are_told_or_now() {
    let database = TestDatabase::with_schema().await;
    let then = HistoryLine { at_micros: Some(1_700_000_000_123_456), ..line(JobId(7), "then") };
    write_history(&mut session(&database), &[then, line(JobId(7), "now")]).await.unwrap();
    write_history(&mut session(&database), &[]).await.unwrap();
    let times: Vec<(String, bool)> = database
        .query(
            "SELECT CAST(UNIX_TIMESTAMP(created_at) AS CHAR), ABS(TIMESTAMPDIFF(SECOND, created_at, NOW())) < 60 \
             FROM queued_job_log ORDER BY id",
        )
        .await;
    assert_eq!(times[0], ("1700000000.123456".into(), false));
    assert!(times[1].1);
}

#[tokio::test]
async fn lines_of_calls_under_way_are_written_beside_the_results_of_others() {
    let database = TestDatabase::with_schema().await;
    let keys = job().insert_times(&database, 2).await;
    let mut session = session(&database);
    let claimed = claim_all(&mut session, "me", &keys).await;
    let lines = [line(claimed[1].id, "Calling"), line(claimed[0].id, "it ended")];
    finish(&mut session, &mut [finished(&claimed[0], "done")], &lines).await.unwrap();
    assert_eq!(messages(&database, keys[1]).await, ["Calling"]);
    assert_eq!(state(&database, keys[1]).await, "executing");
    finish(&mut session, &mut [], &[line(claimed[1].id, "alone")]).await.unwrap();
    assert_eq!(messages(&database, keys[1]).await, ["Calling", "alone"]);
}
