//! An idle service sends the database no statement.

use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::Receiver;
use crate::support::server::OwnServer;
use crate::support::service::Service;
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(30);
/// No sweep comes later after the one before: the limit of `[sweep] interval_secs`.
const LONGEST_INTERVAL_SECS: u64 = 86_400;

/// How many statements the server was sent so far. Each look is one itself, and is counted before it is answered.
async fn statements(conn: &mut Conn) -> u64 {
    let row: Option<(String, u64)> = conn.query_first("SHOW GLOBAL STATUS LIKE 'Questions'").await.unwrap();
    row.unwrap().1
}

/// Waits until nothing is sent for two seconds: a start looks twice at some things.
async fn until_quiet(conn: &mut Conn) {
    let begun = Instant::now();
    let mut before = statements(conn).await;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = statements(conn).await;
        if now == before + 1 {
            return;
        }
        assert!(begun.elapsed() < SOON, "{} statements in the last two seconds", now - before - 1);
        before = now;
    }
}

/// How long the statements wait that the services have open, in seconds: each of them is sent anew after that.
async fn waits(conn: &mut Conn) -> Vec<u64> {
    let sql = "SELECT info FROM information_schema.processlist WHERE info LIKE 'SELECT GET_LOCK(%'";
    let open: Vec<String> = conn.query(sql).await.unwrap();
    let secs = |statement: &String| statement.rsplit_once(", ")?.1.strip_suffix(')')?.parse().ok();
    open.iter().map(|statement| secs(statement).unwrap_or_else(|| panic!("{statement}"))).collect()
}

async fn completed(database: &TestDatabase) -> u64 {
    database.query_one("SELECT COUNT(*) FROM queued_job WHERE state = 'completed'").await
}

#[tokio::test]
async fn no_statement_is_sent_while_nothing_happens() {
    let server = OwnServer::start(&[]).await;
    let (database, receiver) = (TestDatabase::with_schema_on(server.access()).await, Receiver::start().await);
    // With the settings as they come, two services that know of each other, and a job that waits for its time.
    let ini = database.ini("");
    let services = [Service::run(&ini), Service::run(&ini)];
    for service in &services {
        service.wait_for_line("following the log", SOON).await;
    }
    for _ in 0..20 {
        job().url(receiver.url("/")).insert(&database).await;
    }
    let later = job().url(receiver.url("/")).run_at_in(3_600_000).insert(&database).await;
    until("the others are done", SOON, async || completed(&database).await == 20).await;
    let mut conn = Conn::new(server.access().opts(None)).await.unwrap();
    until_quiet(&mut conn).await;
    // Both services wait for their own locks, and may wait for each other's.
    let waits = waits(&mut conn).await;
    assert!(waits.len() >= 2 && waits.iter().all(|secs| *secs > 2 * LONGEST_INTERVAL_SECS), "{waits:?}");
    let before = statements(&mut conn).await;
    tokio::time::sleep(IDLE).await;
    let sent = statements(&mut conn).await - before - 1;
    let told: Vec<String> = services.iter().flat_map(Service::lines).collect();
    assert_eq!(sent, 0, "statements in {IDLE:?}; the services said:\n{}", told.join("\n"));
    // They were not asleep for good.
    database.execute(&format!("UPDATE queued_job SET run_at = NOW(6) WHERE id = {later}")).await;
    until("the last one is done", SOON, async || completed(&database).await == 21).await;
}
