//! Locks of applications against the running service: each passes, and then the service gets through.

use super::{SOON, messages, state};
use crate::support::database::{TestDatabase, TestServer};
use crate::support::factory::job;
use crate::support::receiver::{Answer, Gate, Receiver};
use crate::support::server::OwnServer;
use crate::support::service::Service;
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::Duration;

/// The servers renew what they show of transactions only when nobody has looked at it for 100 ms. Where it is looked at
/// more often, the same is shown for ever.
const BETWEEN_LOOKS: Duration = Duration::from_millis(150);

/// A running service with so many calls under way, which end when the gate opens.
struct Calling {
    database: TestDatabase,
    receiver: Receiver,
    service: Service,
    keys: Vec<u64>,
    gates: Vec<Gate>,
}

impl Calling {
    async fn start(calls: usize) -> Calling {
        Calling::start_on(TestServer::get(), calls).await
    }

    async fn start_on(server: &TestServer, calls: usize) -> Calling {
        let (database, receiver) = (TestDatabase::with_schema_on(server).await, Receiver::start().await);
        let service = Service::run(&database.ini("[sweep]\ninterval_secs: 3600\ndegraded_interval_secs: 3600"));
        service.wait_for_line("following the log", SOON).await;
        let (mut keys, mut gates) = (Vec::new(), Vec::new());
        for number in 0..calls {
            let gate = Gate::closed();
            let path = format!("/{number}");
            receiver.on(&path, Answer::ok().behind(&gate));
            keys.push(job().url(receiver.url(&path)).insert(&database).await);
            gates.push(gate);
        }
        receiver.wait_for(calls, SOON).await;
        // The lines of the calls are written, so that nothing of ours is under way.
        until("all calls are told", SOON, async || {
            database.query_one::<usize>("SELECT COUNT(*) FROM queued_job_log").await == calls
        })
        .await;
        Calling { database, receiver, service, keys, gates }
    }

    /// A session of an application in a transaction that has changed these rows.
    async fn application(&self, keys: &[u64]) -> Conn {
        let mut conn = self.database.conn().await;
        conn.query_drop("START TRANSACTION").await.unwrap();
        for key in keys {
            let touch = format!("UPDATE queued_job SET organization_id = {key} WHERE id = {key}");
            conn.query_drop(touch).await.unwrap();
        }
        conn
    }

    /// Waits until so many transactions of the service wait for a row. For a server where no other test looks at that.
    async fn until_waiting_for_rows(&self, count: u32) {
        let sql = "SELECT COUNT(*) FROM information_schema.INNODB_TRX AS t JOIN information_schema.processlist AS p \
                   ON p.id = t.trx_mysql_thread_id WHERE p.db = DATABASE() AND t.trx_state = 'LOCK WAIT'";
        until("results wait for rows", SOON, async || {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            self.database.query_one::<u32>(sql).await == count
        })
        .await;
    }

    /// Five jobs that this session has locked before they are due, in a transaction that stays open: their path and
    /// their keys. Of jobs that were due before all were locked, nobody could tell what the service has done already:
    /// they are deleted, and others with more time take their place.
    async fn locked_before_due(&self, application: &mut Conn) -> (String, Vec<u64>) {
        for millis in [1_500, 3_000, 6_000, 12_000, 24_000] {
            let path = format!("/held-{millis}");
            let url = self.receiver.url(&path);
            let row = format!("('post', '{url}', NOW(6) + INTERVAL {millis} * 1000 MICROSECOND)");
            let rows = vec![row; 5].join(", ");
            let insert = format!("INSERT INTO queued_job (http_method, url, run_at) VALUES {rows}");
            application.query_drop(insert).await.unwrap();
            let keys = format!("SELECT id FROM queued_job WHERE url = '{url}' ORDER BY id");
            let keys: Vec<u64> = application.query(keys).await.unwrap();
            let of_each = |sql: &str| -> String {
                let all: Vec<String> = keys.iter().map(|key| format!("{sql} WHERE id = {key}")).collect();
                all.join("; ")
            };
            // Seen by the log at their commit, and locked again before that by nobody: so they are locked afterwards.
            let touch = of_each("UPDATE queued_job SET organization_id = 1");
            application.query_drop(format!("START TRANSACTION; {touch}")).await.unwrap();
            let early = format!("SELECT COUNT(*) FROM queued_job WHERE url = '{url}' AND run_at > NOW(6)");
            if application.query_first::<usize, _>(early).await.unwrap() == Some(5) {
                return (path, keys);
            }
            application.query_drop(format!("ROLLBACK; {}", of_each("DELETE FROM queued_job"))).await.unwrap();
        }
        panic!("no five jobs were locked before they were due");
    }

    async fn assert_all_done_once(mut self) {
        let Calling { database, keys, receiver, service, .. } = &mut self;
        for key in keys.iter() {
            until("the job is done", SOON, async || state(database, *key).await == "completed").await;
            assert_eq!(messages(database, *key).await.len(), 2, "one call, one result");
        }
        assert_eq!(receiver.count(), keys.len());
        assert_eq!(service.stop(SOON).await, Some(0));
    }
}

#[tokio::test]
async fn a_result_whose_row_an_application_keeps_locked_is_written_when_it_lets_go() {
    let calling = Calling::start(2).await;
    let mut application = calling.application(&calling.keys[..1]).await;
    calling.gates.iter().for_each(Gate::open);
    // Past the time that a statement waits for a lock: error 1205.
    calling.service.wait_for_line("results wait for rows that another session keeps locked", SOON).await;
    application.query_drop("COMMIT").await.unwrap();
    calling.assert_all_done_once().await;
}

#[tokio::test]
async fn a_result_whose_row_is_kept_locked_holds_up_no_other() {
    let calling = Calling::start(3).await;
    let (database, receiver) = (&calling.database, &calling.receiver);
    let mut application = calling.application(&calling.keys[..1]).await;
    calling.gates.iter().for_each(Gate::open);
    let free = job().url(receiver.url("/free")).insert_times(database, 3).await;
    for key in calling.keys[1..].iter().chain(&free) {
        until("the others are done", SOON, async || state(database, *key).await == "completed").await;
    }
    // And those that come later do not wait for it anew.
    let later = job().url(receiver.url("/free")).retries(0).insert(database).await;
    until("a later one is done", SOON, async || state(database, later).await == "completed").await;
    assert_eq!(state(database, calling.keys[0]).await, "executing");
    application.query_drop("COMMIT").await.unwrap();
    until("the locked one is done", SOON, async || state(database, calling.keys[0]).await == "completed").await;
    assert_eq!((messages(database, calling.keys[0]).await.len(), receiver.count()), (2, 7), "one call, one result");
}

#[tokio::test]
async fn an_application_that_locks_rows_in_the_opposite_order_deadlocks_and_both_get_through() {
    let server = OwnServer::start(&[]).await;
    let calling = Calling::start_on(server.access(), 4).await;
    let others = job().set("state", "completed").insert_times(&calling.database, 20).await;
    let [first, second, low, high] = calling.keys[..] else { panic!() };
    let before = deadlocks(&calling.database).await;
    // With more changes than the service has, the application is not the one to be rolled back. It makes them now:
    // once the service waits for a row, it does so for no longer than three seconds.
    let mut application = calling.application(&[&others[..], &[high]].concat()).await;
    // Two tasks write results. While each of them waits for a row, the other two results gather to one batch.
    let mut holding = calling.application(&[first]).await;
    let mut holding_longer = calling.application(&[second]).await;
    for (gate, waiting) in calling.gates.iter().zip([1, 2]) {
        gate.open();
        calling.until_waiting_for_rows(waiting).await;
    }
    calling.gates[2..].iter().for_each(Gate::open);
    for key in [low, high] {
        calling.service.wait_for_line(&format!("[JOBID {key}] Job succeeded"), SOON).await;
    }
    holding.query_drop("COMMIT").await.unwrap();
    until("the first is done", SOON, async || state(&calling.database, first).await == "completed").await;
    calling.until_waiting_for_rows(2).await;
    let crossing = format!("UPDATE queued_job SET organization_id = 1 WHERE id = {low}");
    application.query_drop(crossing).await.unwrap();
    application.query_drop("COMMIT").await.unwrap();
    holding_longer.query_drop("COMMIT").await.unwrap();
    assert!(deadlocks(&calling.database).await > before, "they met");
    calling.assert_all_done_once().await;
}

async fn deadlocks(database: &TestDatabase) -> u64 {
    database.query_one("SELECT COUNT FROM information_schema.INNODB_METRICS WHERE NAME = 'lock_deadlocks'").await
}

#[tokio::test]
async fn waiting_jobs_that_an_application_keeps_locked_hold_up_no_other_and_run_when_it_lets_go() {
    let calling = Calling::start(0).await;
    let (database, receiver) = (&calling.database, &calling.receiver);
    let mut application = database.conn().await;
    let (path, held) = calling.locked_before_due(&mut application).await;
    until("they are due", SOON, async || {
        database.query_one::<u32>("SELECT COUNT(*) FROM queued_job WHERE run_at > NOW(6)").await == 0
    })
    .await;
    let free = job().url(receiver.url("/free")).insert_times(database, 5).await;
    for key in &free {
        until("the free ones are done", SOON, async || state(database, *key).await == "completed").await;
    }
    assert_eq!(receiver.requests_for(&path).len(), 0);
    application.query_drop("COMMIT").await.unwrap();
    for key in &held {
        until("the held ones are done", SOON, async || state(database, *key).await == "completed").await;
    }
    assert_eq!(receiver.requests_for(&path).len(), 5);
}
