//! Release: jobs given back look as they did before their claim.

use super::finish::line;
use super::{SOON, claim_all, messages, session, state, store_at, whole_row};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::{CutPoint, Proxy, Way};
use crate::support::wait::eventually;
use strings_queue::store::{ClaimToken, release};

#[tokio::test]
async fn a_released_row_is_as_it_was_before_its_claim() {
    let database = TestDatabase::with_schema().await;
    let fresh = job().insert(&database).await;
    // As a finish leaves it: started and finished at one time.
    let tried = job()
        .set("state", "retryable")
        .set("attempt", 2)
        .set("result_code", 2)
        .set_expression("last_started_at", "NOW() - INTERVAL 1 HOUR", vec![])
        .set_expression("last_finished_at", "NOW() - INTERVAL 1 HOUR", vec![])
        .set("last_response", "busy")
        .insert(&database)
        .await;
    let before = [whole_row(&database, fresh).await, whole_row(&database, tried).await];
    let mut session = session(&database);
    let claimed = claim_all(&mut session, "me", &[fresh, tried]).await;
    let claims: Vec<_> = claimed.iter().map(|job| (job.id, job.token)).collect();
    let lines: Vec<_> = claimed.iter().map(|job| line(job.id, "given back")).collect();
    release(&mut session, &claims, &lines).await.unwrap();
    assert_eq!([whole_row(&database, fresh).await, whole_row(&database, tried).await], before);
    assert_eq!(messages(&database, tried).await, ["given back"]);
    let again = claim_all(&mut session, "me", &[fresh, tried]).await;
    let attempts: Vec<u32> = again.iter().map(|job| job.attempt.0).collect();
    assert_eq!(attempts, [1, 3]);
}

#[tokio::test]
async fn only_rows_that_are_still_ours_are_released_and_of_others_nothing_is_said() {
    let database = TestDatabase::with_schema().await;
    let keys = job().insert_times(&database, 4).await;
    let mut session = session(&database);
    let claimed = claim_all(&mut session, "me", &keys).await;
    database
        .execute(&format!(
            "UPDATE queued_job SET state = 'cancelled' WHERE id = {}; UPDATE queued_job SET claim_token = 5 WHERE id = {}; \
             DELETE FROM queued_job WHERE id = {}",
            keys[1], keys[2], keys[3]
        ))
        .await;
    let before = [whole_row(&database, keys[1]).await, whole_row(&database, keys[2]).await];
    let claims: Vec<_> = claimed.iter().map(|job| (job.id, job.token)).collect();
    let lines: Vec<_> = claimed.iter().map(|job| line(job.id, "given back")).collect();
    release(&mut session, &claims, &lines).await.unwrap();
    assert_eq!(state(&database, keys[0]).await, "available");
    assert_eq!([whole_row(&database, keys[1]).await, whole_row(&database, keys[2]).await], before);
    assert_eq!(messages(&database, keys[0]).await, ["given back"]);
    for key in &keys[1..] {
        assert_eq!(messages(&database, *key).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_release_whose_answer_was_lost_is_not_told_twice() {
    let database = TestDatabase::with_schema().await;
    let key = job().insert(&database).await;
    let proxy = Proxy::start(database.server().address()).await;
    let mut session = store_at(&database, proxy.port()).session();
    let claimed = claim_all(&mut session, "me", &[key]).await;
    let mut trap = proxy.cut_on(Way::ToServer, b"given back", CutPoint::BeforeAnswer);
    let (claims, lines) = ([(claimed[0].id, claimed[0].token)], [line(claimed[0].id, "given back")]);
    assert!(release(&mut session, &claims, &lines).await.is_err());
    trap.sprung(SOON).await;
    eventually("it is written", SOON, async || release(&mut session, &claims, &lines).await.ok().filter(Vec::is_empty))
        .await;
    assert_eq!((state(&database, key).await, messages(&database, key).await.len()), ("available".into(), 1));
}

#[tokio::test]
async fn another_claims_token_releases_nothing() {
    let database = TestDatabase::with_schema().await;
    let key = job().insert(&database).await;
    let mut session = session(&database);
    let claimed = claim_all(&mut session, "me", &[key]).await;
    release(&mut session, &[(claimed[0].id, ClaimToken::draw())], &[]).await.unwrap();
    release(&mut session, &[], &[]).await.unwrap();
    assert_eq!(state(&database, key).await, "executing");
}
