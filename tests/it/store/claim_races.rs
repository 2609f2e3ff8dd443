//! Claims against other sessions: rows that are locked, not committed yet, or wanted by several.

use super::{SOON, claim_as, claimed_keys, ids, reason, session, store, store_at, terms};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::{CutPoint, Mode, Proxy, Way};
use crate::support::wait::{eventually, until};
use mysql_async::prelude::Queryable;
use rand::seq::SliceRandom;
use std::collections::BTreeSet;
use std::time::Duration;
use strings_queue::store::{ClaimToken, Missed, claim, release};

/// Had a claim waited, it would have ended with an error: no lock here is let go before it answers.
#[tokio::test]
async fn a_row_that_another_session_holds_locked_is_passed_over_and_told() {
    let database = TestDatabase::with_schema().await;
    let keys = job().insert_times(&database, 5).await;
    let mut application = database.conn().await;
    let hold = format!("START TRANSACTION; UPDATE queued_job SET body = 'held' WHERE id IN ({}, {})", keys[1], keys[4]);
    application.query_drop(hold).await.unwrap();
    let mut session = session(&database);
    let first = claim_as(&mut session, "me", &keys).await;
    assert_eq!(claimed_keys(&first), [keys[0], keys[2], keys[3]]);
    assert_eq!((reason(&first, keys[1]), reason(&first, keys[4])), (Some(Missed::Locked), Some(Missed::Locked)));
    application.query_drop("COMMIT").await.unwrap();
    let second = claim_as(&mut session, "me", &[keys[1], keys[4]]).await;
    assert_eq!(claimed_keys(&second), [keys[1], keys[4]]);
}

/// SQL shows it as it was before a change that the log may have shown already, so what it shows is not to be believed.
#[tokio::test]
async fn a_row_that_is_locked_is_told_as_locked_whatever_it_shows() {
    let database = TestDatabase::with_schema().await;
    let later = job().run_at_in(3_600_000).insert(&database).await;
    let done = job().set("state", "completed").insert(&database).await;
    let mut application = database.conn().await;
    let change = "START TRANSACTION; UPDATE queued_job SET state = 'available', run_at = NOW(6)";
    application.query_drop(change).await.unwrap();
    let mut session = session(&database);
    let claim = claim_as(&mut session, "me", &[later, done]).await;
    assert_eq!((reason(&claim, later), reason(&claim, done)), (Some(Missed::Locked), Some(Missed::Locked)));
    application.query_drop("ROLLBACK").await.unwrap();
    let claim = claim_as(&mut session, "me", &[later, done]).await;
    assert!(matches!(reason(&claim, later), Some(Missed::NotDue(_))));
    assert_eq!(reason(&claim, done), Some(Missed::Final));
}

#[tokio::test]
async fn a_row_that_is_not_committed_is_invisible_until_it_is_and_holds_no_other_up() {
    let database = TestDatabase::with_schema().await;
    let good = job().insert(&database).await;
    let mut application = database.conn().await;
    let insert = "START TRANSACTION; INSERT INTO queued_job (http_method, url) VALUES ('post', 'http://x/')";
    application.query_drop(insert).await.unwrap();
    let early = good + 1;
    let mut session = session(&database);
    let claim = claim_as(&mut session, "me", &[good, early]).await;
    assert_eq!((claimed_keys(&claim), reason(&claim, early)), (vec![good], Some(Missed::Invisible)));
    application.query_drop("COMMIT").await.unwrap();
    assert_eq!(claimed_keys(&claim_as(&mut session, "me", &[early]).await), [early]);
    application.query_drop(insert).await.unwrap();
    application.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(reason(&claim_as(&mut session, "me", &[early + 1]).await, early + 1), Some(Missed::Invisible));
}

/// As after `TRUNCATE`: the log has told of former jobs, and new ones get their numbers while they are looked for. Nobody
/// would call one that was claimed and not told.
#[tokio::test]
async fn a_row_that_comes_between_the_look_and_the_claim_is_told_with_it() {
    let database = TestDatabase::with_schema().await;
    let first = job().insert(&database).await;
    let lock = format!("{} waits", database.name());
    database
        .execute(&format!(
            "CREATE TRIGGER wait BEFORE UPDATE ON queued_job FOR EACH ROW \
             SET NEW.organization_id = IF(OLD.id = {first}, GET_LOCK('{lock}', 60), NEW.organization_id)"
        ))
        .await;
    let mut holder = database.conn().await;
    holder.query_drop(format!("DO GET_LOCK('{lock}', 60)")).await.unwrap();
    let (mut session, keys) = (session(&database), [first, first + 1]);
    let inserting = async {
        let waits = format!(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User lock' AND db = '{}'",
            database.name()
        );
        until("the claim has looked", SOON, async || database.query_one::<u64>(&waits).await == 1).await;
        job().due_for(5).set("id", keys[1]).insert(&database).await;
        holder.query_drop(format!("DO RELEASE_LOCK('{lock}')")).await.unwrap();
    };
    let (claim, ()) = tokio::join!(claim_as(&mut session, "me", &keys), inserting);
    assert_eq!(claimed_keys(&claim), keys, "{claim:?}");
    let attempts: Vec<u32> = database.query("SELECT attempt FROM queued_job").await;
    assert_eq!(attempts, [1; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_row_that_comes_while_it_is_looked_for_is_told_by_the_claim_that_takes_it() {
    let database = TestDatabase::with_schema().await;
    let (mut session, mut application) = (session(&database), database.conn().await);
    for number in 1..=300 {
        let insert = format!("INSERT INTO queued_job (id, http_method, url) VALUES ({number}, 'post', 'http://x/')");
        let wanted = [number];
        let looking = async {
            loop {
                let claim = claim_as(&mut session, "me", &wanted).await;
                assert_eq!(claim.strays, [], "job {number} was claimed and not told");
                if !claim.jobs.is_empty() {
                    return;
                }
            }
        };
        let ((), inserted) = tokio::join!(looking, application.query_drop(insert));
        inserted.unwrap();
    }
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_found_again_under_its_token() {
    let database = TestDatabase::with_schema().await;
    let keys = job().insert_times(&database, 3).await;
    let proxy = Proxy::start(database.server().address()).await;
    let mut session = store_at(&database, proxy.port()).session();
    let mut trap = proxy.cut_on(Way::ToServer, b"FOR UPDATE", CutPoint::BeforeAnswer);
    let token = ClaimToken::draw();
    let lost = claim(&mut session, &terms("me"), token, &ids(&keys)).await;
    trap.sprung(SOON).await;
    assert!(lost.is_err_and(|error| error.is_transient()));
    let found = eventually("the claim is told", SOON, async || {
        // The server may still be at it.
        let found = claim(&mut session, &terms("me"), token, &ids(&keys)).await.ok()?;
        found.missed.is_empty().then_some(found)
    })
    .await;
    assert_eq!(claimed_keys(&found), keys);
    let attempts: Vec<u32> = database.query("SELECT attempt FROM queued_job").await;
    assert_eq!(attempts, [1; 3]);
}

#[tokio::test]
async fn a_claim_dropped_half_way_leaves_nothing_locked_and_its_session_usable() {
    let database = TestDatabase::with_schema().await;
    let keys = job().insert_times(&database, 3).await;
    let proxy = Proxy::start(database.server().address()).await;
    let mut session = store_at(&database, proxy.port()).session();
    claim_as(&mut session, "me", &keys[..1]).await;
    let number = session.connection_id().expect("a connection that is kept");
    proxy.set(Way::ToClient, Mode::Stall);
    let token = ClaimToken::draw();
    let (terms, rest) = (terms("me"), ids(&keys[1..]));
    let dropped = tokio::time::timeout(Duration::from_millis(300), claim(&mut session, &terms, token, &rest));
    assert!(dropped.await.is_err(), "no answer comes through");
    assert_eq!(session.connection_id(), None, "its connection is given up");
    // The server may still be at the claim. The end of the connection reaches it, for only its answers are held back;
    // it sees that when the claim is done.
    let there = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {number}");
    until("the server has ended it too", SOON, async || database.query_one::<u32>(&there).await == 0).await;
    proxy.pass();
    let found = claim(&mut session, &terms, token, &rest).await.unwrap();
    assert_eq!(claimed_keys(&found), keys[1..]);
}

#[tokio::test]
async fn many_that_want_the_same_jobs_in_any_order_get_each_job_once_and_no_deadlock() {
    let database = TestDatabase::with_schema().await;
    let keys = job().insert_times(&database, 60).await;
    let mut dispatchers = tokio::task::JoinSet::new();
    for number in 0..4 {
        let (mut session, keys) = (store(&database).session(), keys.clone());
        dispatchers.spawn(async move {
            let mut had = Vec::new();
            for _ in 0..15 {
                let mut wanted = keys.clone();
                wanted.shuffle(&mut rand::rng());
                // A deadlock would be an error here.
                let claim = claim_as(&mut session, &format!("dispatcher {number}"), &wanted[..40]).await;
                let all: Vec<_> = claim.jobs.iter().map(|job| (job.id, job.token)).collect();
                had.extend(claim.jobs.iter().map(|job| (job.id, job.attempt)));
                release(&mut session, &all[..all.len() / 2], &[]).await.unwrap();
            }
            had
        });
    }
    let had: Vec<_> = dispatchers.join_all().await.concat();
    let held: BTreeSet<_> = had.iter().map(|(id, _)| *id).collect();
    assert_eq!(held.len(), keys.len());
    let sound: usize = database
        .query_one(
            "SELECT COUNT(*) FROM queued_job WHERE IF(state = 'executing', attempt = 1, attempt = 0) \
             AND (state = 'executing') = (claim_token IS NOT NULL)",
        )
        .await;
    assert_eq!(sound, keys.len(), "each try that was given back is not counted");
}

#[tokio::test]
async fn of_two_claims_at_once_each_row_is_in_one() {
    let database = TestDatabase::with_schema().await;
    for _ in 0..10 {
        let keys = job().insert_times(&database, 20).await;
        let (mut one, mut other) = (session(&database), session(&database));
        let (one, other) = tokio::join!(claim_as(&mut one, "one", &keys), claim_as(&mut other, "other", &keys));
        let both = [claimed_keys(&one), claimed_keys(&other)].concat();
        let distinct: BTreeSet<_> = both.iter().collect();
        assert_eq!(both.len(), distinct.len(), "no job is in both");
        let locked = |key| [&one, &other].iter().any(|claim| reason(claim, key) == Some(Missed::Locked));
        assert!(keys.iter().all(|key| distinct.contains(key) || locked(*key)), "and none is forgotten");
    }
}
