//! Events of kinds that no server writes yet.

use super::for_both_clients;
use super::rig::{Rig, SOON, Setup};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::{Proxy, Way};
use crate::support::server::OwnServer;
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use strings_queue::cdc::BinlogStream;
use strings_queue::metrics::Counter;
use strings_queue::wakeup::SweepCause;

for_both_clients! {
    events_of_unknown_kinds_are_counted_and_hide_no_job
}

/// The event before a statement that draws a key, which tells the key: a header of 19 bytes, a kind and a number.
const INTVAR: u8 = 5;
const INTVAR_SIZE: u8 = 19 + 1 + 8;
/// A kind that is nobody's.
const UNKNOWN: u8 = 250;

/// The table's rows are logged as rows because of the `UUID()`.
const INSERT: &str = "INSERT INTO queued_job (http_method, url, body) VALUES ('get', 'a', UUID())";

/// Gives the events with the keys another kind on their way.
pub async fn disguise_keys(database: &TestDatabase, proxy: &Proxy) {
    let server_id: u32 = database.query_one("SELECT @@server_id").await;
    let header = |kind| [&[kind][..], &server_id.to_le_bytes(), &[INTVAR_SIZE, 0, 0, 0]].concat();
    proxy.replace(Way::ToClient, &header(INTVAR), &header(UNKNOWN));
}

async fn insert(conn: &mut Conn) -> u64 {
    conn.query_drop(INSERT).await.unwrap();
    conn.last_insert_id().unwrap()
}

/// Unknown events alone, and between two jobs of one transaction; the keys of the jobs.
async fn write_unknown_events(database: &TestDatabase) -> Vec<u64> {
    let mut conn = database.conn().await;
    conn.query_drop("SET SESSION binlog_format = 'MIXED'; INSERT INTO noise VALUES ()").await.unwrap();
    let mut ids = vec![insert(&mut conn).await];
    conn.query_drop("START TRANSACTION").await.unwrap();
    ids.push(insert(&mut conn).await);
    conn.query_drop("INSERT INTO noise VALUES ()").await.unwrap();
    ids.push(insert(&mut conn).await);
    conn.query_drop("COMMIT").await.unwrap();
    ids
}

async fn events_of_unknown_kinds_are_counted_and_hide_no_job(client: BinlogStream) {
    // What is changed on its way would not fit its checksum.
    let server = OwnServer::start(&["--binlog-checksum=NONE"]).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    database.execute("CREATE TABLE noise (id INT AUTO_INCREMENT PRIMARY KEY)").await;
    let proxy = Proxy::start(database.server().address()).await;
    disguise_keys(&database, &proxy).await;
    let rig = Setup::new(&database, client).await.port(proxy.port()).start();
    rig.until_following().await;
    let ids = write_unknown_events(&database).await;
    rig.assert_rung(&database, &ids).await;
    assert_eq!(unknown(&rig), 2);
    assert_eq!(rig.metrics.get(Counter::StreamBreaks), 0);
    // The place behind them is kept.
    rig.forget();
    proxy.refuse().await;
    proxy.cut_all();
    rig.until_broken(SOON).await;
    let missed = job().insert_times(&database, 3).await;
    proxy.accept().await;
    rig.until_swept_for(SweepCause::Resumed).await;
    until("the missed ones are rung for", SOON, async || rig.heard().jobs.len() >= missed.len()).await;
    assert_eq!(rig.heard_until_now(&database).await.jobs, missed);
    assert_eq!(unknown(&rig), 2, "none is read twice");
}

fn unknown(rig: &Rig) -> u64 {
    rig.metrics.get(Counter::EventsUnknown)
}
