//! Deeds that the server does not answer, because it can't commit: it keeps their connections, so they must not pile up.

use super::{SOON, claimed_keys, ids, state, store_at, terms};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::left_out::only_in_full;
use crate::support::semi_sync::{semi_sync, semi_sync_switch};
use crate::support::server::OwnServer;
use crate::support::wait::{eventually, until};
use strings_queue::job::JobId;
use strings_queue::store::{ClaimToken, HistoryLine, StoreError, claim, finish};

/// As many claims as may be under way.
const MOST: usize = 8;

/// Each of them takes half a minute to be given up.
#[tokio::test(flavor = "multi_thread")]
async fn claims_that_can_not_be_committed_take_no_more_than_their_share_of_the_connections() {
    if !only_in_full("claims that can't be committed for long") {
        return;
    }
    let server = OwnServer::start(&semi_sync()).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    let keys = job().insert_times(&database, MOST + 2).await;
    let timeout = semi_sync_switch().replace("enabled", "timeout");
    database.execute(&format!("SET GLOBAL {timeout} = 600000")).await;
    database.execute(&format!("SET GLOBAL {} = 1", semi_sync_switch())).await;
    let store = store_at(&database, database.server().port);
    let lines = [HistoryLine { job: JobId(keys[MOST]), message: "Calling job".into(), at_micros: None }];
    let mut claims = tokio::task::JoinSet::new();
    for key in &keys[..MOST] {
        let (mut session, jobs) = (store.session(), ids(&[*key]));
        claims.spawn(async move { claim(&mut session, &terms("me"), ClaimToken::draw(), &jobs).await });
    }
    let mut writing = store.session();
    let written = finish(&mut writing, &mut [], &lines).await;
    assert!(matches!(written, Err(StoreError::Deadline(_))), "{written:?}");
    for claimed in claims.join_all().await {
        assert!(matches!(claimed, Err(StoreError::Deadline(_))), "{claimed:?}");
    }
    let mut session = store.session();
    // Twice: the connection that it asks by is kept.
    let mut connections = Vec::new();
    for _ in 0..2 {
        let claimed = claim(&mut session, &terms("me"), ClaimToken::draw(), &ids(&keys[MOST..])).await;
        assert!(matches!(claimed, Err(StoreError::Unanswered(MOST))), "{claimed:?}");
        connections.push(session.connection_id().unwrap());
    }
    assert_eq!(connections[0], connections[1]);
    let written = finish(&mut writing, &mut [], &lines).await;
    assert!(matches!(written, Err(StoreError::Unanswered(1))), "{written:?}");
    assert_eq!(state(&database, keys[MOST]).await, "available");
    database.execute(&format!("SET GLOBAL {} = 0", semi_sync_switch())).await;
    until("the claims are committed", SOON, async || {
        database.query_one::<usize>("SELECT COUNT(*) FROM queued_job WHERE claimed_by = 'me'").await == MOST
    })
    .await;
    // The server may take a moment to be done with them.
    let left = ids(&keys[MOST..]);
    let claimed = eventually("claims are made again", SOON, async || {
        claim(&mut session, &terms("me"), ClaimToken::draw(), &left).await.ok()
    })
    .await;
    assert_eq!(claimed_keys(&claimed), keys[MOST..]);
    until("lines are written again", SOON, async || finish(&mut writing, &mut [], &lines).await.is_ok()).await;
}
