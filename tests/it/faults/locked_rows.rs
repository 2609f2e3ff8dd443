//! Rows that others keep locked, in a table so small that the server would rather read all of it than look rows up.

use super::checker::check;
use super::load::{Load, Written};
use super::{ENOUGH, NO_SWEEP, SETTLES, all_following, all_stop, base, following, report, stage, times};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::HashSet;
use std::future::Future;
use std::path::Path;
use std::time::Duration;
use strings_queue::config::Config;
use strings_queue::job::JobId;
use strings_queue::store::{ClaimTerms, ClaimToken, HistoryLine, Missed, Store, claim, release, rescue};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Shorter than a statement of ours would wait for a lock.
const AT_ONCE: Duration = Duration::from_millis(2_500);

/// Twenty jobs, of which an application keeps the tenth and the last one locked.
struct Small {
    database: TestDatabase,
    store: Store,
    jobs: Vec<JobId>,
    _keeper: Conn,
}

impl Small {
    async fn table() -> Small {
        let database = TestDatabase::with_schema().await;
        let keys = job().insert_times(&database, 20).await;
        database.execute("ANALYZE TABLE queued_job").await;
        let mut keeper = database.conn().await;
        let lock =
            format!("START TRANSACTION; SELECT id FROM queued_job WHERE id IN ({}, {}) FOR UPDATE", keys[9], keys[19]);
        keeper.query_drop(lock).await.unwrap();
        let store = Store::new(&settings(&database.ini("")).database);
        Small { database, store, jobs: keys.into_iter().map(JobId).collect(), _keeper: keeper }
    }

    /// How many of the jobs were claimed under the token, and which were missed.
    async fn claim(&self, token: ClaimToken, jobs: &[JobId]) -> (usize, Vec<(JobId, Missed)>) {
        let terms =
            ClaimTerms { dispatcher: "strings-queue:test:1:0".to_owned(), grace: AT_ONCE, max_timeout_secs: 60 };
        let claim = at_once(claim(&mut self.store.session(), &terms, token, jobs)).await.unwrap();
        (claim.jobs.len(), claim.missed)
    }
}

fn settings(ini: &Path) -> Config {
    Config::load(ini, &|_| None).unwrap()
}

async fn at_once<T>(deed: impl Future<Output = T>) -> T {
    timeout(AT_ONCE, deed).await.expect("it waits for a lock that is not its business")
}

#[tokio::test]
async fn a_claim_waits_for_no_locked_row_of_its_batch_or_of_others() {
    let small = Small::table().await;
    let locked = small.jobs[19];
    let others = &small.jobs[10..13];
    assert_eq!(small.claim(ClaimToken::draw(), others).await, (3, Vec::new()));
    // Half of the table: then it seems cheapest to read it from its beginning to its end.
    let with_locked = [&small.jobs[..9], &[locked]].concat();
    assert_eq!(small.claim(ClaimToken::draw(), &with_locked).await, (9, vec![(locked, Missed::Locked)]));
}

#[tokio::test]
async fn a_release_and_a_rescue_wait_for_no_locked_row_of_others() {
    let small = Small::table().await;
    let (first, second) = (ClaimToken::draw(), ClaimToken::draw());
    assert_eq!(small.claim(first, &small.jobs[..4]).await.0 + small.claim(second, &small.jobs[4..8]).await.0, 8);
    let back: Vec<_> = small.jobs[..4].iter().map(|job| (*job, first)).collect();
    at_once(release(&mut small.store.session(), &back, &[])).await.unwrap();
    small
        .database
        .execute(&format!(
            "UPDATE queued_job SET claim_expires_at = NOW(6) - INTERVAL 1 SECOND WHERE id <= {}",
            small.jobs[7].0
        ))
        .await;
    assert_eq!(at_once(rescue(&mut small.store.session(), &[], JobId(0))).await.unwrap().jobs, &small.jobs[4..8]);
}

fn given_back(job: JobId) -> HistoryLine {
    HistoryLine { job, message: "given back".to_owned(), at_micros: None }
}

#[tokio::test]
async fn a_release_passes_over_a_locked_row_of_its_batch_and_tells_it() {
    let small = Small::table().await;
    let token = ClaimToken::draw();
    assert_eq!(small.claim(token, &small.jobs[..4]).await.0, 4);
    let mut keeper = small.database.conn().await;
    let lock = format!("START TRANSACTION; SELECT id FROM queued_job WHERE id = {} FOR UPDATE", small.jobs[2].0);
    keeper.query_drop(lock).await.unwrap();
    let back: Vec<_> = small.jobs[..4].iter().map(|job| (*job, token)).collect();
    let lines: Vec<_> = small.jobs[..4].iter().map(|job| given_back(*job)).collect();
    let mut session = small.store.session();
    assert_eq!(at_once(release(&mut session, &back, &lines)).await.unwrap(), [small.jobs[2]]);
    let told = "SELECT job_id FROM queued_job_log WHERE msg = 'given back' ORDER BY job_id";
    let free = [0, 1, 3].map(|index| small.jobs[index].0);
    assert_eq!(small.database.query::<u64>(told).await, free);
    // Tried again as it was; what was given back is not ours any more.
    keeper.query_drop("COMMIT").await.unwrap();
    assert_eq!(at_once(release(&mut session, &back, &lines)).await.unwrap(), []);
    assert_eq!(small.database.query::<u64>(told).await, small.jobs[..4].iter().map(|job| job.0).collect::<Vec<_>>());
    let claimed = "SELECT COUNT(*) FROM queued_job WHERE state = 'executing' OR attempt > 0";
    assert_eq!(small.database.query_one::<u64>(claimed).await, 0);
}

/// An application's session that keeps these rows locked, and no gap or row beside them.
async fn locking(database: &TestDatabase, jobs: &[u64]) -> Conn {
    let mut conn = database.conn().await;
    conn.query_drop("START TRANSACTION").await.unwrap();
    for job in jobs {
        conn.exec_drop("SELECT id FROM queued_job WHERE id = ? FOR UPDATE", (job,)).await.unwrap();
    }
    conn
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_an_application_keeps_locked_under_the_load_of_eight_writers_wait_alone() {
    let (database, receiver) = stage().await;
    let services = all_following(&database.ini(NO_SWEEP), 2).await;
    let load = Load::start(&database, &base(&receiver), (8, 50));
    for _ in 0..times(1, 10) {
        let locked = job().url(receiver.url("/work?locked")).run_at_in(6_000).insert_times(&database, 20).await;
        let mut keeper = locking(&database, &locked).await;
        let before = receiver.count();
        receiver.wait_for(before + 1_200, SETTLES).await;
        let due = format!("SELECT run_at < NOW(6) - INTERVAL 1 SECOND FROM queued_job WHERE id = {}", locked[19]);
        until("they are due", Duration::from_secs(20), async || database.query_one(&due).await).await;
        let locked: HashSet<u64> = locked.into_iter().collect();
        let called = || receiver.requests().into_iter().filter_map(|call| call.job_id()).collect::<HashSet<_>>();
        assert!(called().is_disjoint(&locked), "no locked job is called");
        keeper.query_drop("ROLLBACK").await.unwrap();
        until("they are called", Duration::from_secs(5), async || called().is_superset(&locked)).await;
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    found.assert_doubled_nothing();
    report("rows locked under load", format!("{found:?}"));
    all_stop(services, &[]).await;
}

/// How many of these sessions wait for a row that another one has locked.
async fn waiting_for_rows(database: &TestDatabase, sessions: &[u32]) -> usize {
    // The server looks anew only where nobody has asked for a tenth of a second.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let list = sessions.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let waiting = format!(
        "SELECT COUNT(*) FROM information_schema.innodb_trx \
         WHERE trx_state = 'LOCK WAIT' AND trx_mysql_thread_id IN ({list})"
    );
    database.query_one(&waiting).await
}

/// Other transactions wait for rows that are not committed yet, and have them from the moment on in which the log shows
/// them: only these wait.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_another_transaction_locks_as_they_are_committed_wait_alone() {
    let (database, receiver) = stage().await;
    let services = all_following(&database.ini(NO_SWEEP), 1).await;
    let load = Load::start(&database, &base(&receiver), (8, 50));
    for _ in 0..times(2, 20) {
        let mut writer = database.conn().await;
        let row = format!("('post', '{}')", receiver.url("/work?seized"));
        let insert =
            format!("START TRANSACTION; INSERT INTO queued_job (http_method, url) VALUES {}", vec![row; 20].join(", "));
        writer.query_drop(insert).await.unwrap();
        let first: u64 = writer.query_first("SELECT LAST_INSERT_ID()").await.unwrap().unwrap();
        let jobs: HashSet<u64> = (first..first + 20).collect();
        let seized: HashSet<u64> = (first..first + 20).step_by(4).collect();
        let (mut keepers, mut sessions) = (JoinSet::new(), Vec::new());
        for id in &seized {
            let (mut keeper, id) = (database.conn().await, *id);
            sessions.push(keeper.id());
            keepers.spawn(async move {
                let lock = format!("START TRANSACTION; SELECT id FROM queued_job WHERE id = {id} FOR UPDATE");
                keeper.query_drop(lock).await.unwrap();
                keeper
            });
        }
        let all_wait = async || waiting_for_rows(&database, &sessions).await == sessions.len();
        until("each of them waits for its row", Duration::from_secs(20), all_wait).await;
        writer.query_drop("COMMIT").await.unwrap();
        let keepers = keepers.join_all().await;
        let called = || receiver.requests().into_iter().filter_map(|call| call.job_id()).collect::<HashSet<_>>();
        let free: HashSet<u64> = jobs.difference(&seized).copied().collect();
        // The locked ones are locked for as long as that takes.
        until("the others are called", Duration::from_secs(30), async || called().is_superset(&free)).await;
        assert!(called().is_disjoint(&seized), "no locked job is called");
        for mut keeper in keepers {
            keeper.query_drop("ROLLBACK").await.unwrap();
        }
        // On a busy machine jobs wait for those before them. So do these, which are looked at behind those that were not
        // looked at yet, and no longer.
        let behind = job().url(receiver.url("/work?behind")).insert(&database).await;
        until("one that came after it is called", SETTLES, async || called().contains(&behind)).await;
        until("all are called", Duration::from_secs(5), async || called().is_superset(&jobs)).await;
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    found.assert_doubled_nothing();
    report("rows seized at their commit", format!("{found:?}"));
    all_stop(services, &[]).await;
}

/// Each of them is looked at again and again, behind those that were not looked at yet.
#[tokio::test(flavor = "multi_thread")]
async fn tens_of_thousands_of_locked_rows_hold_up_no_other() {
    let (database, receiver) = stage().await;
    let mut service = following(&database.ini(NO_SWEEP)).await;
    let rows = "INSERT INTO queued_job (http_method, url, run_at) \
                WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 500) \
                SELECT 'post', '{url}', NOW(6) + INTERVAL 15 SECOND FROM numbers JOIN (SELECT n FROM numbers LIMIT 40) AS more";
    database.execute(&rows.replace("{url}", &receiver.url("/work?locked"))).await;
    let mut keeper = database.conn().await;
    // The rows alone, and no room between them.
    let lock = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION; SELECT id FROM queued_job FOR UPDATE";
    keeper.query_drop(lock).await.unwrap();
    let due = "SELECT MIN(run_at) < NOW(6) - INTERVAL 2 SECOND FROM queued_job";
    until("they are due", SETTLES, async || database.query_one(due).await).await;
    job().url(receiver.url("/work")).insert_times(&database, 10).await;
    receiver.wait_for(10, Duration::from_secs(20)).await;
    keeper.query_drop("DELETE FROM queued_job WHERE url LIKE '%locked'; COMMIT").await.unwrap();
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.jobs, found.calls), (10, 10), "{found:?}");
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
}
