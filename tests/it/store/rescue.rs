//! Rescue: whose jobs are taken back, whose are not, and what it costs them.

use super::finish::{finish_all, finished};
use super::{claim_all, claim_as, claimed_keys, messages, session, state, store, whole_row};
use crate::support::database::TestDatabase;
use crate::support::factory::{JobRow, job};
use mysql_async::prelude::Queryable;
use std::collections::BTreeSet;
use strings_queue::job::{JobId, messages as told};
use strings_queue::store::{Owner, read_owners, rescue};

/// A row that a dispatcher of that name is calling, its claim good for an hour.
fn executing(owner: &str) -> JobRow {
    job().set("state", "executing").set("attempt", 1).set("claimed_by", owner).set("claim_token", 77).set_expression(
        "claim_expires_at",
        "NOW(6) + INTERVAL 1 HOUR",
        vec![],
    )
}

/// A dispatcher that lives.
async fn living(database: &TestDatabase) -> Owner {
    let mut owner = Owner::new(Owner::new_name(), session(database));
    assert!(owner.hold().await.unwrap(), "the lock is taken");
    owner
}

/// Takes back what is abandoned, when these dispatchers are known to have ended.
async fn rescued(database: &TestDatabase, ended: &[&str]) -> Vec<u64> {
    let ended: Vec<String> = ended.iter().map(ToString::to_string).collect();
    rescue(&mut session(database), &ended, JobId(0)).await.unwrap().jobs.into_iter().map(|job| job.0).collect()
}

#[tokio::test]
async fn the_jobs_of_a_living_dispatcher_stay_and_those_of_a_dead_one_are_taken_back_at_once() {
    let database = TestDatabase::with_schema().await;
    let (mut dies, lives) = (living(&database).await, living(&database).await);
    let orphan = executing(dies.name()).retries(3).insert(&database).await;
    let kept = executing(lives.name()).insert(&database).await;
    let names = [dies.name().to_owned(), lives.name().to_owned()];
    let both = names.each_ref().map(String::as_str);
    assert_eq!(rescued(&database, &both).await, [0; 0]);
    dies.let_go();
    crate::support::wait::until("the server frees the lock", super::SOON, async || {
        let free = format!("SELECT IS_FREE_LOCK('{}')", dies.name());
        database.query_one::<u8>(&free).await == 1
    })
    .await;
    assert_eq!(rescued(&database, &[]).await, [0; 0], "a lock that is free for a moment is no proof");
    assert_eq!(rescued(&database, &both).await, [orphan]);
    let row: (String, i32, u32, bool, bool) = database
        .query_one(&format!(
            "SELECT CAST(state AS CHAR), remaining_retries, attempt, run_at <= NOW(6), \
             claimed_by IS NULL AND claim_token IS NULL AND claim_expires_at IS NULL FROM queued_job WHERE id = {orphan}"
        ))
        .await;
    assert_eq!(row, ("retryable".into(), 2, 1, true, true));
    assert_eq!(messages(&database, orphan).await, [told::rescued(JobId(orphan), dies.name())]);
    assert_eq!(state(&database, kept).await, "executing");
}

#[tokio::test]
async fn an_expired_claim_is_taken_back_though_its_dispatcher_lives() {
    let database = TestDatabase::with_schema().await;
    let lives = living(&database).await;
    let expired = executing(lives.name())
        .set_expression("claim_expires_at", "NOW(6) - INTERVAL 1 SECOND", vec![])
        .insert(&database)
        .await;
    let kept = executing(lives.name()).insert(&database).await;
    assert_eq!(rescued(&database, &[]).await, [expired]);
    assert_eq!(state(&database, kept).await, "executing");
}

#[tokio::test]
async fn claims_that_no_dispatcher_can_have_made_are_taken_back_and_hold_nothing_up() {
    let database = TestDatabase::with_schema().await;
    let lives = living(&database).await;
    let (long, quotes) = ("n".repeat(64), "with 'quotes' and \\");
    let odd = [
        executing("x").set("claimed_by", mysql_async::Value::NULL),
        executing(lives.name()).set("claim_expires_at", mysql_async::Value::NULL),
        executing(""),
        executing(" "),
        executing(&long),
        executing(quotes),
    ];
    let mut keys = Vec::new();
    for row in &odd {
        keys.push(row.insert(&database).await);
    }
    assert_eq!(rescued(&database, &[&long, quotes]).await, keys);
    assert_eq!(messages(&database, keys[0]).await, [told::rescued(JobId(keys[0]), "(unknown)")]);
}

#[tokio::test]
async fn a_rescue_costs_a_retry_and_with_none_left_it_is_over() {
    let database = TestDatabase::with_schema().await;
    let mut keys = Vec::new();
    for retries in [2, 1, 0, -1, i64::from(i32::MIN)] {
        keys.push(executing("dead").retries(retries).insert(&database).await);
    }
    assert_eq!(rescued(&database, &["dead"]).await, keys);
    let rows: Vec<(String, i32, Option<i32>, bool)> = database
        .query(
            "SELECT CAST(state AS CHAR), remaining_retries, result_code, last_finished_at IS NOT NULL \
             FROM queued_job ORDER BY id",
        )
        .await;
    let given_up = |retries| ("discarded".to_owned(), retries, Some(2), true);
    let again = |retries| ("retryable".to_owned(), retries, None, false);
    assert_eq!(rows, [again(1), again(0), given_up(0), given_up(-1), given_up(i32::MIN)]);
    let response: String =
        database.query_one(&format!("SELECT last_response FROM queued_job WHERE id = {}", keys[2])).await;
    assert_eq!(response, "(its dispatcher ended without a result)");
    assert_eq!(messages(&database, keys[1]).await, [told::rescued(JobId(keys[1]), "dead")]);
    assert_eq!(messages(&database, keys[2]).await, [told::given_up(JobId(keys[2]), "dead")]);
    assert_eq!(rescued(&database, &["dead"]).await, [0; 0]);
}

/// Of a table that somebody has altered.
#[tokio::test]
async fn a_row_without_a_number_of_retries_has_none_left() {
    let database = TestDatabase::with_schema().await;
    database.execute("ALTER TABLE queued_job MODIFY COLUMN remaining_retries INT NULL").await;
    let key = executing("dead").insert(&database).await;
    database.execute("UPDATE queued_job SET remaining_retries = NULL").await;
    assert_eq!(rescued(&database, &["dead"]).await, [key]);
    assert_eq!(state(&database, key).await, "discarded");
}

#[tokio::test]
async fn of_two_rescuers_at_once_one_takes_each_job_and_it_is_charged_once() {
    let database = TestDatabase::with_schema().await;
    for _ in 0..5 {
        let keys = executing("dead").retries(5).insert_times(&database, 50).await;
        let (one, other) = tokio::join!(rescued(&database, &["dead"]), rescued(&database, &["dead"]));
        let all: BTreeSet<u64> = one.iter().chain(&other).copied().collect();
        assert_eq!((one.len() + other.len(), all.len()), (keys.len(), keys.len()));
    }
    let wrong = "SELECT COUNT(*) FROM queued_job WHERE remaining_retries != 4 OR state != 'retryable'";
    assert_eq!(database.query_one::<u32>(wrong).await, 0);
    let lines: u32 = database.query_one("SELECT COUNT(*) FROM queued_job_log").await;
    assert_eq!(lines, 250);
}

#[tokio::test]
async fn a_row_that_somebody_is_writing_to_is_left_for_the_next_rescue() {
    let database = TestDatabase::with_schema().await;
    let keys = executing("dead").insert_times(&database, 2).await;
    let mut finishing = database.conn().await;
    finishing
        .query_drop(format!("START TRANSACTION; UPDATE queued_job SET state = 'completed' WHERE id = {}", keys[0]))
        .await
        .unwrap();
    assert_eq!(rescued(&database, &["dead"]).await, [keys[1]]);
    finishing.query_drop("COMMIT").await.unwrap();
    assert_eq!(rescued(&database, &["dead"]).await, [0; 0]);
    assert_eq!(state(&database, keys[0]).await, "completed");
    assert_eq!(messages(&database, keys[0]).await, [""; 0]);
}

#[tokio::test]
async fn what_is_not_executing_is_never_rescued() {
    let database = TestDatabase::with_schema().await;
    let mut session = session(&database);
    let key = job().insert(&database).await;
    let claimed = claim_all(&mut session, "dead", &[key]).await;
    finish_all(&mut session, vec![finished(&claimed[0], "done")]).await;
    let row = whole_row(&database, key).await;
    assert_eq!(rescued(&database, &["dead"]).await, [0; 0], "a finish leaves the owner's name in the row");
    assert_eq!(whole_row(&database, key).await, row);
}

#[tokio::test]
async fn a_rescue_takes_back_a_thousand_and_the_next_one_the_rest() {
    let database = TestDatabase::with_schema().await;
    executing("dead").insert(&database).await;
    for _ in 0..10 {
        database
            .execute(
                "INSERT INTO queued_job (http_method, url, state, claimed_by) \
                 SELECT http_method, url, state, claimed_by FROM queued_job",
            )
            .await;
    }
    let mut session = session(&database);
    let mut counts = Vec::new();
    loop {
        match rescue(&mut session, &["dead".to_owned()], JobId(0)).await.unwrap().jobs.len() {
            0 => break,
            count => counts.push(count),
        }
    }
    assert_eq!(counts, [1000, 24]);
}

#[tokio::test]
async fn a_rescued_job_is_claimed_again_as_its_next_try() {
    let database = TestDatabase::with_schema().await;
    let key = executing("dead").insert(&database).await;
    rescued(&database, &["dead"]).await;
    let claim = claim_as(&mut session(&database), "me", &[key]).await;
    assert_eq!((claimed_keys(&claim), claim.jobs[0].attempt.0), (vec![key], 2));
}

#[tokio::test]
async fn the_owners_of_executing_jobs_are_told_once_each_with_their_first_expiry() {
    let database = TestDatabase::with_schema().await;
    let until = |owner, when: &str| executing(owner).set_expression("claim_expires_at", when, vec![]);
    until("one", "NOW(6) + INTERVAL 3 HOUR").insert(&database).await;
    until("two", "NOW(6) - INTERVAL 1 SECOND").insert(&database).await;
    until("one", "NOW(6) + INTERVAL 1 HOUR").insert(&database).await;
    until("two", "NOW(6) + INTERVAL 1 HOUR").insert(&database).await;
    until("none", "NULL").insert(&database).await;
    job().set("claimed_by", "three").insert(&database).await;
    let mut owners = read_owners(&mut store(&database).session()).await.unwrap();
    owners.sort_by(|one, other| one.name.cmp(&other.name));
    let told: Vec<(&str, u64)> =
        owners.iter().map(|owner| (owner.name.as_str(), (owner.expires_in.as_secs() + 30) / 60)).collect();
    assert_eq!(told, [("none", 0), ("one", 60), ("two", 0)]);
}
