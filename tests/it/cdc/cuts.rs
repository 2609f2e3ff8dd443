//! The stream is cut in the middle of a transaction: it is taken up at a place that passes over nothing.

use super::breaks::PURGE;
use super::for_both_clients;
use super::rig::{LogPlace, Rig, SOON, Setup, compress_no_more, compressing, is_compressed};
use crate::support::database::TestDatabase;
use crate::support::proxy::{CutPoint, Proxy, Trap, Way};
use crate::support::server::OwnServer;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Value};
use strings_queue::cdc::BinlogStream;
use strings_queue::metrics::Counter;
use strings_queue::wakeup::SweepCause;

for_both_clients! {
    a_transaction_that_is_cut_short_is_read_again
    a_compressed_transaction_that_is_cut_short_is_read_again
    a_row_of_more_than_one_packet_that_is_cut_short_is_read_again
}

/// More than the proxy passes on at a time, so that the client has had what is before it.
const SOME: usize = 300_000;
/// A packet of the protocol takes no more (MySQL source code documentation, "MySQL Packets").
const PACKET: usize = 0xff_ffff;

/// A watcher whose stream can be cut.
struct Stage {
    rig: Rig,
    proxy: Proxy,
    database: TestDatabase,
}

impl Stage {
    async fn set(database: TestDatabase, client: BinlogStream) -> Stage {
        database.execute("ALTER TABLE queued_job MODIFY COLUMN body LONGBLOB NULL").await;
        let proxy = Proxy::start(database.server().address()).await;
        let rig = Setup::new(&database, client).await.port(proxy.port()).start();
        rig.until_following().await;
        Stage { rig, proxy, database }
    }

    /// Cuts the stream where these bytes would come.
    fn cut_at(&self, mark: &[u8]) -> Trap {
        self.proxy.cut_on(Way::ToClient, mark, CutPoint::BeforePassing)
    }

    /// The stream broke, and all jobs of the table were rung for by the log alone.
    async fn assert_all_heard(&self, breaks: u64) {
        self.rig.until_breaks(breaks).await;
        let ids = super::rig::ids(&self.database).await;
        let heard = self.rig.heard_until_now(&self.database).await;
        for id in ids {
            assert!(heard.jobs.contains(&id), "{id} was lost: {heard:?}");
        }
        assert!(!heard.sweeps.contains(&SweepCause::Gap), "{heard:?}");
        assert_eq!(self.rig.metrics.get(Counter::StreamBreaks), breaks);
    }
}

/// Bytes that no compression makes fewer, so that a mark among them stands in the log as it is.
fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| rand::random()).collect()
}

/// A row for each body, in one transaction, and one without a body behind them.
async fn insert_together(conn: &mut Conn, bodies: Vec<Vec<u8>>) {
    conn.query_drop("BEGIN").await.unwrap();
    for body in bodies.into_iter().map(Value::from).chain([Value::NULL]) {
        let insert = "INSERT INTO queued_job (http_method, url, body) VALUES ('post', 'a', ?)";
        conn.exec_drop(insert, vec![body]).await.unwrap();
    }
    conn.query_drop("COMMIT").await.unwrap();
}

/// Three transactions, each cut in its first, second and third row; others before and behind.
async fn cut_thrice(stage: &Stage, conn: &mut Conn) {
    for row in 0..3 {
        let (mark, first) = (noise(24), noise(SOME));
        let mut bodies = vec![first, noise(SOME), noise(SOME)];
        bodies[row].extend([mark.clone(), noise(SOME)].concat());
        let mut cut = stage.cut_at(&mark);
        insert_together(conn, vec![Vec::new()]).await;
        insert_together(conn, bodies).await;
        insert_together(conn, vec![Vec::new()]).await;
        cut.sprung(SOON).await;
        stage.assert_all_heard(row as u64 + 1).await;
    }
}

async fn a_transaction_that_is_cut_short_is_read_again(client: BinlogStream) {
    let _no_purge = PURGE.read().await;
    let stage = Stage::set(TestDatabase::with_schema().await, client).await;
    cut_thrice(&stage, &mut stage.database.conn().await).await;
}

async fn a_compressed_transaction_that_is_cut_short_is_read_again(client: BinlogStream) {
    let _no_purge = PURGE.read().await;
    let stage = Stage::set(TestDatabase::with_schema().await, client).await;
    let mut conn = compressing(&stage.database).await;
    let before = LogPlace::end(&stage.database).await;
    cut_thrice(&stage, &mut conn).await;
    let events = before.events_behind(&stage.database).await;
    compress_no_more(conn).await;
    assert!(events.is_none_or(|events| events.iter().any(is_compressed)), "nothing of it was compressed");
}

async fn a_row_of_more_than_one_packet_that_is_cut_short_is_read_again(client: BinlogStream) {
    let _no_purge = PURGE.read().await;
    let server = OwnServer::start(&["--max-allowed-packet=64M"]).await;
    let stage = Stage::set(TestDatabase::with_schema_on(server.access()).await, client).await;
    let mark = noise(24);
    let mut cut = stage.cut_at(&mark);
    let large = [vec![b'x'; PACKET + SOME], mark, noise(SOME)].concat();
    insert_together(&mut stage.database.conn().await, vec![noise(SOME), large]).await;
    cut.sprung(SOON).await;
    stage.assert_all_heard(1).await;
}
