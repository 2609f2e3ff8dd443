//! A lone claim, whose statements the server has prepared: it does and tells what any claim does.

use super::{claim_all, claim_as, claimed_keys, ids, reason, session, state, terms, whole_row};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::server::OwnServer;
use mysql_async::prelude::Queryable;
use std::time::Duration;
use strings_queue::store::{Body, ClaimToken, ClaimedJob, Missed, Session, claim, load_body};

/// What a claim tells of a job, but for what differs from claim to claim.
fn told(job: &ClaimedJob) -> String {
    let body = match &job.body {
        Body::Absent => "none".to_owned(),
        Body::Here(bytes) => format!("{bytes:?}"),
        Body::InTable(bytes) => format!("{bytes} bytes in the table"),
    };
    let ClaimedJob { attempt, method, url, timeout_secs, remaining_retries, retry_delay_secs, .. } = job;
    format!("{attempt:?} {method} {url} {body} {timeout_secs} {remaining_retries} {retry_delay_secs}")
}

/// A session whose server has prepared a lone claim's statements.
async fn used_session(database: &TestDatabase) -> Session {
    let mut session = session(database);
    let key = job().insert(database).await;
    assert_eq!(claimed_keys(&claim_as(&mut session, "me", &[key]).await), [key]);
    session
}

#[tokio::test]
async fn it_tells_of_a_job_what_a_claim_of_several_tells() {
    let database = TestDatabase::with_schema().await;
    let mut session = used_session(&database).await;
    let (quotes, bytes) = ("it''s ? \"quoted\" \\ $1", [1_u8, 39, 63, 92, 0xc3, 0xbc]);
    let kinds = [
        job(),
        job().method("delete").url("http://host/ü?a=b'c").body(quotes),
        job().body(bytes).timeout(i64::from(i32::MIN)).retries(-3).retry_delay(0),
        job().body(vec![b'x'; 40_000]).set("attempt", 7).set("state", "retryable").due_for(5),
        job().set("organization_id", 3).timeout(i64::from(i32::MAX)).set("body", ""),
    ];
    for kind in kinds {
        let keys = kind.insert_times(&database, 3).await;
        let lone = claim_all(&mut session, "me", &keys[..1]).await;
        let several = claim_all(&mut session, "me", &keys[1..]).await;
        assert_eq!(told(&lone[0]), told(&several[0]));
        let row = "SELECT CAST(state AS CHAR), attempt, claimed_by, TIMESTAMPDIFF(SECOND, NOW(), claim_expires_at) \
             BETWEEN 1 AND 3616, last_started_at IS NOT NULL FROM queued_job WHERE id = ";
        let mut rows = Vec::new();
        for key in &keys[..2] {
            rows.push(database.query_one::<(String, u32, String, u8, u8)>(&format!("{row}{key}")).await);
        }
        assert_eq!(rows[0], rows[1]);
        assert_eq!(rows[0], ("executing".into(), lone[0].attempt.0, "me".into(), 1, 1));
    }
}

#[tokio::test]
async fn it_tells_why_it_took_nothing() {
    let database = TestDatabase::with_schema().await;
    let mut session = used_session(&database).await;
    let (free, later) = (job().insert(&database).await, job().run_at_in(3_600_000).insert(&database).await);
    let executing = job().set("state", "executing").set("claimed_by", "another").insert(&database).await;
    let done = job().set("state", "completed").insert(&database).await;
    let rows = [whole_row(&database, later).await, whole_row(&database, executing).await];
    let mut application = database.conn().await;
    application
        .query_drop(format!("START TRANSACTION; SELECT id FROM queued_job WHERE id = {free} FOR UPDATE"))
        .await
        .unwrap();
    // Twice: nothing of the first time may be left behind.
    for _ in 0..2 {
        for (key, why) in
            [(done + 1, Missed::Invisible), (executing, Missed::Taken), (done, Missed::Final), (free, Missed::Locked)]
        {
            let claim = claim_as(&mut session, "me", &[key]).await;
            assert_eq!((claimed_keys(&claim), reason(&claim, key)), (Vec::new(), Some(why)));
        }
        let claim = claim_as(&mut session, "me", &[later]).await;
        let Some(Missed::NotDue(delay)) = reason(&claim, later) else { panic!("{claim:?}") };
        assert!(delay > Duration::from_secs(3500) && delay <= Duration::from_secs(3600), "{delay:?}");
    }
    assert_eq!([whole_row(&database, later).await, whole_row(&database, executing).await], rows);
    application.query_drop("COMMIT").await.unwrap();
    assert_eq!(claimed_keys(&claim_as(&mut session, "me", &[free]).await), [free]);
}

#[tokio::test]
async fn asked_again_under_its_token_it_gives_the_same_job() {
    let database = TestDatabase::with_schema().await;
    let mut session = used_session(&database).await;
    let (key, token) = (job().insert(&database).await, ClaimToken::draw());
    for _ in 0..2 {
        let claim = claim(&mut session, &terms("me"), token, &ids(&[key])).await.unwrap();
        assert_eq!(
            claim.jobs.iter().map(|job| (job.id.0, job.attempt.0, job.token)).collect::<Vec<_>>(),
            [(key, 1, token)]
        );
    }
}

#[tokio::test]
async fn one_session_claims_on_the_terms_of_each_claim() {
    let database = TestDatabase::with_schema().await;
    let mut session = used_session(&database).await;
    for name in ["me", "you", "me"] {
        let key = job().insert(&database).await;
        claim_all(&mut session, name, &[key]).await;
        let owner: String = database.query_one(&format!("SELECT claimed_by FROM queued_job WHERE id = {key}")).await;
        assert_eq!(owner, name);
    }
}

#[tokio::test]
async fn the_table_may_change_between_two_lone_claims() {
    let database = TestDatabase::with_schema().await;
    let mut session = used_session(&database).await;
    let connection = session.connection_id();
    for change in [
        "ALTER TABLE queued_job ADD COLUMN tenant INT NOT NULL DEFAULT 3 FIRST, MODIFY body LONGBLOB NULL AFTER claim_token",
        "ALTER TABLE queued_job ADD KEY (tenant), ALGORITHM = COPY",
        "CREATE TABLE newer LIKE queued_job; RENAME TABLE queued_job TO older, newer TO queued_job",
        "TRUNCATE TABLE queued_job",
    ] {
        database.execute(change).await;
        let key = job().body("after it").insert(&database).await;
        let claimed = claim_all(&mut session, "me", &[key]).await;
        assert_eq!(claimed[0].body, Body::Here(b"after it".to_vec()), "{change}");
        assert_eq!(state(&database, key).await, "executing");
    }
    assert_eq!(session.connection_id(), connection, "the same connection all along");
}

#[tokio::test]
async fn a_server_that_prepares_no_more_statements_is_asked_without() {
    let server = OwnServer::start(&[]).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    database.execute("SET GLOBAL max_prepared_stmt_count = 0").await;
    let mut session = session(&database);
    for _ in 0..3 {
        // Not by the driver, which would have it prepared.
        database.execute("INSERT INTO queued_job (http_method, url, body) VALUES ('post', 'http://x/', 'x')").await;
        let key = database.query_one("SELECT MAX(id) FROM queued_job").await;
        let claimed = claim_all(&mut session, "me", &[key]).await;
        assert_eq!((claimed[0].id.0, claimed[0].attempt.0), (key, 1));
    }
    let asked: (String, u64) = database.query_one("SHOW GLOBAL STATUS LIKE 'Com_prepare_sql'").await;
    assert_eq!(asked.1, 1, "it is asked once");
    let large = "INSERT INTO queued_job (http_method, url, body) VALUES ('post', 'http://x/', REPEAT('x', 40000))";
    database.execute(large).await;
    let key = database.query_one("SELECT MAX(id) FROM queued_job").await;
    let claimed = claim_all(&mut session, "me", &[key]).await;
    assert_eq!(load_body(&mut session, &claimed[0]).await.unwrap().unwrap().len(), 40_000);
}
