//! Finish, fenced: nothing is written of a job that is not ours any more, and nothing is written twice.

use super::finish::{failed_for_now, finish_all, finished, line};
use super::{SOON, claim_all, claim_as, messages, session, state, store_at, whole_row};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::{CutPoint, Proxy, Way};
use crate::support::wait::eventually;
use std::time::Duration;
use strings_queue::job::{JobId, messages as told};
use strings_queue::store::{FinishReport, finish, rescue};

#[tokio::test]
async fn results_of_rescued_cancelled_deleted_and_reclaimed_jobs_are_refused_and_said_so() {
    let database = TestDatabase::with_schema().await;
    let keys = job().insert_times(&database, 6).await;
    let [good, rescued, cancelled, deleted, reclaimed, also_good] = keys[..] else { panic!() };
    let (mut mine, mut other) = (session(&database), session(&database));
    let claimed = claim_all(&mut mine, "me", &keys).await;
    database
        .execute(&format!(
            "UPDATE queued_job SET claim_expires_at = NOW(6) - INTERVAL 1 SECOND WHERE id IN ({rescued}, {reclaimed})"
        ))
        .await;
    // Nobody holds the lock of "me", so all would be taken back: let these two be the only ones.
    database.execute(&format!("UPDATE queued_job SET state = 'cancelled' WHERE id = {cancelled}")).await;
    database.execute(&format!("DELETE FROM queued_job WHERE id = {deleted}")).await;
    database
        .execute(&format!(
            "UPDATE queued_job SET state = 'retryable', claim_token = NULL, claimed_by = NULL, run_at = NOW(6) \
             WHERE id IN ({rescued}, {reclaimed})"
        ))
        .await;
    claim_all(&mut other, "other", &[reclaimed]).await;
    let before = [whole_row(&database, rescued).await, whole_row(&database, cancelled).await];
    let its = whole_row(&database, reclaimed).await;
    let batch = claimed.iter().map(|job| finished(job, "done")).collect();
    let report = finish_all(&mut mine, batch).await;
    let refused: Vec<u64> = report.refused.iter().map(|job| job.0).collect();
    assert_eq!(refused, [rescued, cancelled, deleted, reclaimed]);
    assert_eq!([whole_row(&database, rescued).await, whole_row(&database, cancelled).await], before);
    assert_eq!(whole_row(&database, reclaimed).await, its);
    for key in refused {
        assert_eq!(messages(&database, key).await, [told::refused(JobId(key))]);
    }
    for key in [good, also_good] {
        assert_eq!((state(&database, key).await.as_str(), messages(&database, key).await.len()), ("completed", 1));
    }
}

#[tokio::test]
async fn a_job_rescued_and_finished_by_another_keeps_the_others_result() {
    let database = TestDatabase::with_schema().await;
    let key = job().insert(&database).await;
    let (mut late, mut other) = (session(&database), session(&database));
    let slept = claim_all(&mut late, "sleeper", &[key]).await;
    assert_eq!(rescue(&mut other, &["sleeper".to_owned()], JobId(0)).await.unwrap().jobs, [JobId(key)]);
    let claimed = claim_all(&mut other, "other", &[key]).await;
    finish_all(&mut other, vec![finished(&claimed[0], "the second call's")]).await;
    let row = whole_row(&database, key).await;
    let report = finish_all(&mut late, vec![failed_for_now(&slept[0], Duration::ZERO)]).await;
    assert_eq!(report.refused, [JobId(key)]);
    assert_eq!(whole_row(&database, key).await, row);
}

#[tokio::test]
async fn a_finish_sent_again_writes_nothing_twice() {
    let database = TestDatabase::with_schema().await;
    let keys = job().insert_times(&database, 3).await;
    let mut session = session(&database);
    let claimed = claim_all(&mut session, "me", &keys).await;
    let batch = vec![
        finished(&claimed[0], "done"),
        failed_for_now(&claimed[1], Duration::from_secs(600)),
        finished(&claimed[2], "done"),
    ];
    // The first try wrote a part of the batch: those whose claims were ours then.
    finish_all(&mut session, batch[..2].to_vec()).await;
    let rows = [whole_row(&database, keys[0]).await, whole_row(&database, keys[1]).await];
    assert_eq!(finish_all(&mut session, batch).await, FinishReport::default());
    assert_eq!([whole_row(&database, keys[0]).await, whole_row(&database, keys[1]).await], rows);
    for key in keys {
        assert_eq!(messages(&database, key).await, ["it ended"]);
    }
    let retries: Vec<i32> = database.query("SELECT remaining_retries FROM queued_job ORDER BY id").await;
    assert_eq!(retries, [5, 4, 5]);
}

#[tokio::test]
async fn a_finish_whose_answer_was_lost_is_found_written_and_one_that_never_came_is_written() {
    for point in [CutPoint::BeforeAnswer, CutPoint::BeforePassing] {
        let database = TestDatabase::with_schema().await;
        let keys = job().insert_times(&database, 2).await;
        let proxy = Proxy::start(database.server().address()).await;
        let mut session = store_at(&database, proxy.port()).session();
        let claimed = claim_all(&mut session, "me", &keys).await;
        let mut trap = proxy.cut_on(Way::ToServer, b"it ended", point);
        let mut batch: Vec<_> = claimed.iter().map(|job| finished(job, "done")).collect();
        let lines: Vec<_> = claimed.iter().map(|job| line(job.id, "it ended")).collect();
        let lost = finish(&mut session, &mut batch, &lines).await;
        trap.sprung(SOON).await;
        assert!(lost.is_err_and(|error| error.is_transient()));
        let report = eventually("it is written", SOON, async || finish(&mut session, &mut batch, &lines).await.ok());
        assert_eq!(report.await, FinishReport::default(), "{point:?}");
        for key in keys {
            assert_eq!((state(&database, key).await, messages(&database, key).await.len()), ("completed".into(), 1));
        }
    }
}

#[tokio::test]
async fn refused_results_bring_no_lines_of_theirs_and_other_lines_are_kept() {
    let database = TestDatabase::with_schema().await;
    let keys = job().insert_times(&database, 2).await;
    let mut session = session(&database);
    let claimed = claim_all(&mut session, "me", &keys).await;
    database.execute(&format!("UPDATE queued_job SET state = 'cancelled' WHERE id = {}", keys[0])).await;
    let lines = [line(claimed[0].id, "Calling"), line(claimed[0].id, "it ended"), line(claimed[1].id, "Calling")];
    finish(&mut session, &mut [finished(&claimed[0], "done")], &lines).await.unwrap();
    assert_eq!(messages(&database, keys[0]).await, [told::refused(claimed[0].id)]);
    assert_eq!(messages(&database, keys[1]).await, ["Calling"]);
}

#[tokio::test]
async fn a_bad_line_takes_no_part_of_its_batch_down_half_way() {
    let database = TestDatabase::with_schema().await;
    let keys = job().insert_times(&database, 2).await;
    let mut session = session(&database);
    let claimed = claim_all(&mut session, "me", &keys).await;
    let mut batch: Vec<_> = claimed.iter().map(|job| finished(job, "done")).collect();
    let too_long = [line(claimed[0].id, &"x".repeat(70_000))];
    let refused = finish(&mut session, &mut batch, &too_long).await;
    assert!(refused.is_err_and(|error| error.is_refused_data()));
    assert_eq!(state(&database, keys[0]).await, "executing", "rolled back");
    let claim = claim_as(&mut session, "me", &keys).await;
    assert_eq!(claim.jobs.len(), 0);
    finish_all(&mut session, batch).await;
    assert_eq!(state(&database, keys[1]).await, "completed");
}
