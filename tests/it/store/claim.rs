//! Claim: which rows are taken, what becomes of them, and what is told of those that are not.

use super::{claim_all, claim_as, claimed_keys, ids, reason, session, state, terms, whole_row};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use mysql_async::prelude::Queryable;
use std::time::Duration;
use strings_queue::job::{Attempt, JobState};
use strings_queue::store::{ClaimToken, Missed, PageEnd, claim, read_backlog};

#[tokio::test]
async fn only_workable_rows_that_are_due_are_taken_and_of_each_other_it_is_told_why() {
    let database = TestDatabase::with_schema().await;
    let available = job().insert(&database).await;
    let retryable = job().set("state", "retryable").set("attempt", 3).due_for(60).insert(&database).await;
    let later = job().run_at_in(3_600_000).insert(&database).await;
    let executing = job().set("state", "executing").set("claimed_by", "another").insert(&database).await;
    let mut finals = Vec::new();
    for name in ["completed", "discarded", "cancelled"] {
        finals.push(job().set("state", name).insert(&database).await);
    }
    let nobody = finals[2] + 1000;
    let all = [&[nobody, executing, later, retryable, available][..], &finals].concat();
    let claim = claim_as(&mut session(&database), "me", &all).await;
    assert_eq!(claimed_keys(&claim), [available, retryable]);
    assert_eq!(reason(&claim, nobody), Some(Missed::Invisible));
    assert_eq!(reason(&claim, executing), Some(Missed::Taken));
    assert_eq!(claim.peers.iter().map(String::as_str).collect::<Vec<_>>(), ["another"]);
    for key in finals {
        assert_eq!(reason(&claim, key), Some(Missed::Final));
    }
    let Some(Missed::NotDue(delay)) = reason(&claim, later) else { panic!("{:?}", reason(&claim, later)) };
    assert!(delay > Duration::from_secs(3500) && delay <= Duration::from_secs(3600), "{delay:?}");
    assert_eq!(state(&database, later).await, "available");
}

#[tokio::test]
async fn a_claimed_row_says_whose_it_is_and_for_how_long() {
    let database = TestDatabase::with_schema().await;
    let key = job().timeout(120).set("attempt", 2).insert(&database).await;
    let claimed = claim_all(&mut session(&database), "me", &[key]).await;
    assert_eq!(claimed[0].attempt, Attempt(3));
    let row: (String, u32, String, bool, i64, i64) = database
        .query_one(
            "SELECT CAST(state AS CHAR), attempt, claimed_by, claim_token IS NOT NULL, \
             TIMESTAMPDIFF(SECOND, last_started_at, NOW()) BETWEEN 0 AND 60, \
             CAST(ROUND(TIMESTAMPDIFF(MICROSECOND, last_started_at, claim_expires_at) / 1000000) AS SIGNED) \
             FROM queued_job",
        )
        .await;
    assert_eq!(&row.2, "me");
    assert_eq!((row.0.as_str(), row.1, row.3, row.4), ("executing", 3, true, 1));
    // `last_started_at` has whole seconds.
    assert!((135..=136).contains(&row.5), "timeout and grace: {} s", row.5);
    let clock: u64 = database.query_one("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)").await;
    assert!(clock.abs_diff(claimed[0].claimed_at_micros) < 60_000_000, "the database's clock");
}

#[tokio::test]
async fn absurd_timeouts_do_not_make_absurd_claims() {
    let database = TestDatabase::with_schema().await;
    let mut keys = Vec::new();
    for timeout in [-5, 0, i64::from(i32::MAX), i64::from(i32::MIN)] {
        keys.push(job().timeout(timeout).retries(i64::from(i32::MIN)).retry_delay(-1).insert(&database).await);
    }
    claim_all(&mut session(&database), "me", &keys).await;
    let spans: Vec<i64> = database
        .query("SELECT TIMESTAMPDIFF(SECOND, last_started_at, claim_expires_at) FROM queued_job ORDER BY id")
        .await;
    for (span, wanted) in spans.into_iter().zip([15, 15, 3615, 15]) {
        assert!((wanted..=wanted + 1).contains(&span), "{span} s");
    }
}

#[tokio::test]
async fn rows_in_a_state_that_nobody_knows_are_left_alone_and_hold_no_other_up() {
    let database = TestDatabase::with_schema().await;
    let (empty, null, good) =
        (job().insert(&database).await, job().insert(&database).await, job().insert(&database).await);
    database
        .execute(&format!(
            "ALTER TABLE queued_job MODIFY state ENUM('available', 'executing', 'retryable', 'completed', 'discarded', \
             'cancelled') NULL DEFAULT 'available'; SET SESSION sql_mode = ''; \
             UPDATE queued_job SET state = 'nonsense' WHERE id = {empty}; \
             UPDATE queued_job SET state = NULL WHERE id = {null}; SET SESSION sql_mode = DEFAULT"
        ))
        .await;
    let claim = claim_as(&mut session(&database), "me", &[empty, null, good]).await;
    assert_eq!(claimed_keys(&claim), [good]);
    assert_eq!((reason(&claim, empty), reason(&claim, null)), (Some(Missed::Final), Some(Missed::Final)));
    assert_eq!((state(&database, empty).await, state(&database, null).await), (String::new(), "NULL".into()));
}

#[tokio::test]
async fn a_claim_of_nothing_is_no_statement() {
    let database = TestDatabase::with_schema().await;
    let mut session = session(&database);
    let claim = claim_as(&mut session, "me", &[]).await;
    assert!(claim.jobs.is_empty() && claim.missed.is_empty());
    assert_eq!(session.connection_id(), None, "no connection was made");
}

#[tokio::test]
async fn asked_again_under_its_token_a_claim_gives_the_same_jobs_and_counts_no_try_twice() {
    let database = TestDatabase::with_schema().await;
    let keys = job().insert_times(&database, 3).await;
    let (mut session, token) = (session(&database), ClaimToken::draw());
    let first = claim(&mut session, &terms("me"), token, &ids(&keys)).await.unwrap();
    let row = whole_row(&database, keys[0]).await;
    let again = claim(&mut session, &terms("me"), token, &ids(&keys)).await.unwrap();
    assert_eq!(claimed_keys(&again), claimed_keys(&first));
    let attempts: Vec<Attempt> = again.jobs.iter().map(|job| job.attempt).collect();
    assert_eq!(attempts, [Attempt(1); 3]);
    assert_eq!(whole_row(&database, keys[0]).await, row);
    let other = claim_as(&mut session, "you", &keys).await;
    assert!(other.jobs.is_empty() && other.missed.iter().all(|(_, reason)| *reason == Missed::Taken));
}

#[tokio::test]
async fn a_try_after_a_finished_one_is_no_part_of_the_old_claim() {
    let database = TestDatabase::with_schema().await;
    let key = job().insert(&database).await;
    let (mut session, token) = (session(&database), ClaimToken::draw());
    claim(&mut session, &terms("me"), token, &ids(&[key])).await.unwrap();
    // A finish leaves the token in the row.
    let mut user = database.conn().await;
    user.query_drop("UPDATE queued_job SET state = 'completed'").await.unwrap();
    let again = claim(&mut session, &terms("me"), token, &ids(&[key])).await.unwrap();
    assert_eq!(reason(&again, key), Some(Missed::Final));
}

/// What only a careless session stores: the most tries that there can be, and a time that is none.
#[tokio::test]
async fn rows_with_absurd_values_are_found_and_claimed_beside_others() {
    let database = TestDatabase::with_schema().await;
    let tried = job().set("attempt", u32::MAX).insert(&database).await;
    let timeless = job().insert(&database).await;
    let good = job().insert(&database).await;
    let mut user = database.conn().await;
    let zero = format!("SET SESSION sql_mode = ''; UPDATE queued_job SET run_at = 0 WHERE id = {timeless}");
    user.query_drop(zero).await.unwrap();
    let mut session = session(&database);
    let from_the_beginning = (&PageEnd::default(), Duration::ZERO);
    let page = read_backlog(&mut session, JobState::Available, from_the_beginning, 10).await.unwrap();
    let found: Vec<u64> = page.jobs.iter().map(|job| job.id.0).collect();
    assert_eq!((found[0], found.len()), (timeless, 3), "{page:?}");
    let claimed = claim_all(&mut session, "me", &[tried, timeless, good]).await;
    let attempts: Vec<Attempt> = claimed.iter().map(|job| job.attempt).collect();
    assert_eq!(attempts, [Attempt(u32::MAX), Attempt(1), Attempt(1)]);
    let stored: u32 = database.query_one(&format!("SELECT attempt FROM queued_job WHERE id = {tried}")).await;
    assert_eq!(stored, u32::MAX);
}
