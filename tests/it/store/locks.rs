//! What our transactions hold locked while they are open: the rows of their batch, and nothing else.

use super::finish::{finished, line};
use super::{SOON, claim_all, ids, session, terms};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use std::future::Future;
use strings_queue::job::JobId;
use strings_queue::store::{ClaimToken, Finished, HistoryLine, Session, claim, finish, release, rescue};

/// A table whose keys have gaps, and a trap: an UPDATE of the last row of a batch waits in the midst of its
/// transaction until the test lets it go.
struct Held {
    database: TestDatabase,
    session: Session,
    /// What the deed is for: every other key.
    batch: Vec<u64>,
    gate: Conn,
}

impl Held {
    async fn prepare() -> Held {
        let database = TestDatabase::with_schema().await;
        let mut all = Vec::new();
        for key in 1..=12 {
            all.push(job().set("id", key * 10).insert(&database).await);
        }
        let batch: Vec<u64> = all.iter().copied().step_by(2).collect();
        let gate = database.conn().await;
        Held { session: session(&database), database, batch, gate }
    }

    /// From now on the UPDATE of the batch's last row waits.
    async fn arm(&mut self) {
        let (name, last) = (self.database.name(), self.batch.last().unwrap());
        let level = if super::on_mysql() { "@@transaction_isolation" } else { "@@tx_isolation" };
        self.gate.query_drop(format!("SELECT GET_LOCK('{name}', 10)")).await.unwrap();
        self.database
            .execute(&format!(
                "CREATE TABLE levels (level VARCHAR(30)); \
                 CREATE TRIGGER note BEFORE UPDATE ON queued_job FOR EACH ROW INSERT INTO levels \
                   SELECT {level} FROM DUAL WHERE NEW.id = {last}; \
                 CREATE TRIGGER hold AFTER UPDATE ON queued_job FOR EACH ROW SET @held = IF(NEW.id = {last}, \
                 GET_LOCK('{name}', 60) + RELEASE_LOCK('{name}'), 0)"
            ))
            .await;
    }

    /// Runs the deed until it waits, does what applications do meanwhile, and lets it end.
    async fn while_open<T>(&mut self, deed: impl AsyncFnOnce(&mut Session, &[u64]) -> T) -> T {
        self.arm().await;
        let (session, batch, database, gate) = (&mut self.session, &self.batch, &self.database, &mut self.gate);
        let applications = async {
            until("the deed waits in its transaction", SOON, async || is_waiting(database).await).await;
            applications_go_on(database, batch).await;
            gate.query_drop(format!("SELECT RELEASE_LOCK('{}')", database.name())).await.unwrap();
        };
        let (done, ()) = tokio::join!(within(deed(session, batch)), applications);
        let level: String = database.query_one("SELECT DISTINCT level FROM levels").await;
        assert_eq!(level, "READ-COMMITTED");
        done
    }
}

async fn within<T>(deed: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, deed).await.expect("the deed ends")
}

/// Whether a session of ours waits in the trap.
async fn is_waiting(database: &TestDatabase) -> bool {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE db = '{}' AND LOWER(state) LIKE '%user lock%'",
        database.name()
    );
    database.query_one::<u32>(&sql).await == 1
}

/// Everything that has nothing to do with the batch is done at once; a second of waiting for a lock is an error.
async fn applications_go_on(database: &TestDatabase, batch: &[u64]) {
    let mut conn = database.conn().await;
    conn.query_drop("SET SESSION innodb_lock_wait_timeout = 1").await.unwrap();
    for key in (1..=13).map(|key| key * 10 + 5) {
        let insert = format!("INSERT INTO queued_job (id, http_method, url) VALUES ({key}, 'post', 'http://x/')");
        conn.query_drop(&insert).await.unwrap_or_else(|error| panic!("{error}\nin {insert}"));
    }
    for state in ["available", "executing", "retryable", "completed"] {
        let insert = format!(
            "INSERT INTO queued_job (http_method, url, state, run_at) VALUES ('post', 'http://x/', '{state}', NOW(6)), \
             ('post', 'http://x/', '{state}', NOW(6) - INTERVAL 1 DAY)"
        );
        conn.query_drop(&insert).await.unwrap_or_else(|error| panic!("{error}\nin {insert}"));
    }
    for line in ["(10, 'x')", "(25, 'x')", "(1000, 'x')"] {
        conn.query_drop(format!("INSERT INTO queued_job_log (job_id, msg) VALUES {line}")).await.unwrap();
    }
    for key in [20, 40, 60, 80, 100, 120] {
        conn.query_drop(format!("UPDATE queued_job SET url = 'http://y/' WHERE id = {key}")).await.unwrap();
        conn.query_drop(format!("DELETE FROM queued_job WHERE id = {}", key + 5)).await.unwrap();
    }
    // The lock that the test relies on is there.
    let own = format!("SELECT id FROM queued_job WHERE id = {} FOR UPDATE NOWAIT", batch[0]);
    assert!(conn.query::<Row, _>(own).await.is_err(), "the batch itself is locked");
    conn.disconnect().await.unwrap();
}

#[tokio::test]
async fn a_claim_locks_its_rows_and_no_gap() {
    let mut held = Held::prepare().await;
    let claim = held
        .while_open(async |session, batch| claim(session, &terms("me"), ClaimToken::draw(), &ids(batch)).await)
        .await;
    assert_eq!(claim.unwrap().jobs.len(), 6);
}

#[tokio::test]
async fn a_finish_locks_its_rows_and_no_gap() {
    let mut held = Held::prepare().await;
    let (mut batch, lines) = claimed(&mut held).await;
    let report = held.while_open(async |session, _| finish(session, &mut batch, &lines).await).await;
    assert_eq!(report.unwrap().refused, []);
}

#[tokio::test]
async fn a_finish_with_refused_rows_locks_its_rows_and_no_gap() {
    let mut held = Held::prepare().await;
    let (mut batch, lines) = claimed(&mut held).await;
    held.database.execute("DELETE FROM queued_job WHERE id = 50").await;
    let report = held.while_open(async |session, _| finish(session, &mut batch, &lines).await).await;
    assert_eq!(report.unwrap().refused.len(), 1);
}

#[tokio::test]
async fn a_release_locks_its_rows_and_no_gap() {
    let mut held = Held::prepare().await;
    let (batch, lines) = claimed(&mut held).await;
    let claims: Vec<_> = batch.iter().map(|finished| (finished.id, finished.token)).collect();
    held.while_open(async |session, _| release(session, &claims, &lines).await).await.unwrap();
}

#[tokio::test]
async fn a_rescue_locks_its_rows_and_no_gap() {
    let mut held = Held::prepare().await;
    claimed(&mut held).await;
    let rescued =
        held.while_open(async |session, _| rescue(session, &["dead".to_owned()], JobId(0)).await).await.unwrap();
    assert_eq!(rescued.jobs.len(), 6);
}

async fn claimed(held: &mut Held) -> (Vec<Finished>, Vec<HistoryLine>) {
    let jobs = claim_all(&mut held.session, "dead", &held.batch).await;
    let lines = jobs.iter().map(|job| line(job.id, "it ended")).collect();
    (jobs.iter().map(|job| finished(job, "done")).collect(), lines)
}

/// Two batches over the same rows, given in opposite orders: each locks in the order of the keys. A deadlock would be
/// an error of one of them.
#[tokio::test]
async fn every_deed_locks_its_rows_in_the_order_of_their_keys() {
    let database = TestDatabase::with_schema().await;
    let keys = job().insert_times(&database, 30).await;
    let mut backwards = keys.clone();
    backwards.reverse();
    for _ in 0..15 {
        let (mut mine, mut other) = (session(&database), session(&database));
        let (first, second) =
            tokio::join!(super::claim_as(&mut mine, "a", &keys), super::claim_as(&mut other, "b", &backwards));
        let jobs = |claim: &strings_queue::store::Claim| claim.jobs.clone();
        let (first, mut second) = (jobs(&first), jobs(&second));
        second.reverse();
        let claims =
            |jobs: &[strings_queue::store::ClaimedJob]| jobs.iter().map(|job| (job.id, job.token)).collect::<Vec<_>>();
        // All of both, in both sessions: half of each is not the session's own to write.
        let all: Vec<_> = first.iter().chain(&second).cloned().collect();
        let mut results: Vec<_> = all.iter().rev().map(|job| finished(job, "done")).collect();
        let own = claims(&all);
        let (finished, released) = tokio::join!(finish(&mut mine, &mut results, &[]), release(&mut other, &own, &[]));
        finished.unwrap();
        released.unwrap();
        database.execute("UPDATE queued_job SET state = 'available', run_at = NOW(6) - INTERVAL 1 SECOND").await;
    }
}

/// On a small table the servers would rather read the whole of it than go by its key, and lock what they read.
#[tokio::test]
async fn rows_that_applications_keep_locked_hold_up_no_deed_for_other_rows() {
    let mut held = Held::prepare().await;
    let mut application = held.database.conn().await;
    application.query_drop("START TRANSACTION").await.unwrap();
    for key in [20, 40, 60, 80, 100, 120] {
        application.query_drop(format!("UPDATE queued_job SET url = 'http://y/' WHERE id = {key}")).await.unwrap();
    }
    // No lock is let go in the meantime, so a deed that waited for one would fail.
    for _ in 0..2 {
        let (batch, lines) = claimed(&mut held).await;
        let claims: Vec<_> = batch.iter().map(|finished| (finished.id, finished.token)).collect();
        release(&mut held.session, &claims, &lines).await.unwrap();
    }
    claimed(&mut held).await;
    assert_eq!(rescue(&mut held.session, &["dead".to_owned()], JobId(0)).await.unwrap().jobs.len(), 6);
    let (mut batch, lines) = claimed(&mut held).await;
    held.database.execute("UPDATE queued_job SET state = 'cancelled' WHERE id = 50").await;
    assert_eq!(finish(&mut held.session, &mut batch, &lines).await.unwrap().refused.len(), 1);
    held.database.execute("UPDATE queued_job SET state = 'executing' WHERE id = 50").await;
    assert_eq!(finish(&mut held.session, &mut batch, &lines).await.unwrap().refused, []);
    assert_eq!(batch.len(), 6);
}
