//! A dispatcher that vanishes without a word, its machine or its network with it, in the middle of a transaction.

use crate::store::finish::finished;
use crate::store::{SOON, claim_all, claim_as, session, store_at};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::{CutPoint, Proxy, Way};
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::Duration;
use strings_queue::job::JobId;
use strings_queue::store::{ClaimedJob, Session, finish, finish_around_locks, release, rescue};

/// A deed, and how long a server may wait for the next word of one: 30 s each, and a little for the noise.
const RELEASED: Duration = Duration::from_secs(75);

/// What passes over locked rows.
const PASSING_OVER: &str = "FOR UPDATE SKIP LOCKED";

/// Some jobs, claimed by way of a proxy that falls silent in the middle of the next transaction of several round trips.
struct Stage {
    database: TestDatabase,
    proxy: Proxy,
    session: Session,
    jobs: Vec<ClaimedJob>,
}

impl Stage {
    async fn set() -> Stage {
        let database = TestDatabase::with_schema().await;
        let proxy = Proxy::start(database.server().address()).await;
        let mut session = store_at(&database, proxy.port()).session();
        let keys = job().insert_times(&database, 2).await;
        let jobs = claim_all(&mut session, "gone", &keys).await;
        Stage { database, proxy, session, jobs }
    }

    /// Does what is to break off once the server has got these words, and waits until it has let go of the first job.
    async fn vanish_at(self, words: &str, deed: impl AsyncFnOnce(Session, Vec<ClaimedJob>)) {
        let Stage { database, proxy, session, jobs } = self;
        let first = jobs[0].id.0;
        let mut trap = proxy.cut_on(Way::ToServer, words.as_bytes(), CutPoint::Silence);
        // What comes before the words is answered before they are obeyed.
        let idle = format!(
            "SELECT COUNT(*) FROM information_schema.processlist WHERE id = {} AND command = 'Sleep'",
            session.connection_id().unwrap()
        );
        let vanishing = async {
            trap.sprung(SOON).await;
            until("all is obeyed", SOON, async || database.query_one::<u64>(&idle).await == 1).await;
            assert!(is_locked(&database, first).await, "it broke off with the row locked");
        };
        tokio::select! {
            () = deed(session, jobs) => panic!("it came to an end"),
            () = vanishing => {}
        }
        until("the server lets go of the row", RELEASED, async || !is_locked(&database, first).await).await;
    }

    /// Has an application lock the second job, and keep it so.
    async fn lock_second(&self) -> Conn {
        let mut application = self.database.conn().await;
        let lock = format!("START TRANSACTION; SELECT id FROM queued_job WHERE id = {} FOR UPDATE", self.jobs[1].id);
        application.query_drop(lock).await.unwrap();
        application
    }
}

async fn is_locked(database: &TestDatabase, key: u64) -> bool {
    let sql = format!("SELECT id FROM queued_job WHERE id = {key} FOR UPDATE NOWAIT");
    database.conn().await.query_drop(sql).await.is_err()
}

#[tokio::test]
async fn the_server_soon_lets_go_of_the_rows_that_it_had_locked() {
    let (claiming, rescuing, finishing) = (Stage::set().await, Stage::set().await, Stage::set().await);
    let (looking, releasing, around) = (Stage::set().await, Stage::set().await, Stage::set().await);
    claiming.database.execute("UPDATE queued_job SET state = 'available'").await;
    rescuing.database.execute("UPDATE queued_job SET claim_expires_at = NOW(6) - INTERVAL 1 SECOND").await;
    finishing.database.execute("UPDATE queued_job SET claim_token = 1 WHERE id = 2").await;
    let _locks = (claiming.lock_second().await, releasing.lock_second().await, around.lock_second().await);
    let claims = |jobs: &[ClaimedJob]| jobs.iter().map(|job| (job.id, job.token)).collect::<Vec<_>>();
    let results = |jobs: &[ClaimedJob]| jobs.iter().map(|job| finished(job, "done")).collect::<Vec<_>>();
    tokio::join!(
        claiming.vanish_at("FOR UPDATE NOWAIT", async |mut session, jobs| {
            drop(claim_as(&mut session, "gone", &[jobs[0].id.0, jobs[1].id.0]).await);
        }),
        rescuing.vanish_at(PASSING_OVER, async |mut session, _| drop(rescue(&mut session, &[], JobId(0)).await)),
        finishing.vanish_at("JSON_TABLE", async |mut session, jobs| {
            drop(finish(&mut session, &mut results(&jobs), &[]).await);
        }),
        looking.vanish_at(PASSING_OVER, async |mut session, jobs| {
            drop(finish_around_locks(&mut session, &mut results(&jobs), &[]).await);
        }),
        releasing.vanish_at("FOR UPDATE NOWAIT", async |mut session, jobs| {
            drop(release(&mut session, &claims(&jobs), &[]).await);
        }),
        around.vanish_at(PASSING_OVER, async |mut session, jobs| {
            drop(release(&mut session, &claims(&jobs), &[]).await);
        }),
        a_session_that_has_done_the_same_may_idle(),
    );
}

async fn a_session_that_has_done_the_same_may_idle() {
    let database = TestDatabase::with_schema().await;
    let mut session = session(&database);
    let keys = job().insert_times(&database, 5).await;
    let jobs = claim_all(&mut session, "me", &keys).await;
    let mut two = [finished(&jobs[3], "done"), finished(&jobs[4], "done")];
    assert_eq!(finish(&mut session, &mut two, &[]).await.unwrap().refused, []);
    let report = finish_around_locks(&mut session, &mut [finished(&jobs[0], "done")], &[]).await.unwrap();
    assert_eq!((report.refused, report.locked), (vec![], vec![]));
    database.execute("UPDATE queued_job SET claim_expires_at = NOW(6) - INTERVAL 1 SECOND WHERE id = 2").await;
    assert_eq!(rescue(&mut session, &[], JobId(0)).await.unwrap().jobs, [jobs[1].id]);
    let mut application = database.conn().await;
    application.query_drop("START TRANSACTION; SELECT id FROM queued_job WHERE id = 3 FOR UPDATE").await.unwrap();
    let claims: Vec<_> = jobs.iter().map(|job| (job.id, job.token)).collect();
    assert_eq!(release(&mut session, &claims, &[]).await.unwrap(), [jobs[2].id]);
    let connection = session.connection_id().unwrap();
    tokio::time::sleep(Duration::from_secs(33)).await;
    let sql = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {connection}");
    assert_eq!(database.query_one::<u64>(&sql).await, 1, "it is still there");
}
