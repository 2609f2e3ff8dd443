//! What was rolled back is not rung for, what was committed is, and not before.

use super::for_both_clients;
use super::rig::Rig;
use crate::support::database::TestDatabase;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use strings_queue::cdc::BinlogStream;
use strings_queue::wakeup::SweepCause;

for_both_clients! {
    only_what_survives_a_savepoint
    what_is_rolled_back
    xa_rings_at_its_commit
    xa_prepared_before_the_start_is_swept_for
    tables_without_transactions
    create_table_as_select_beside_jobs
}

fn insert(id: u64) -> String {
    format!("INSERT INTO queued_job (id, http_method, url) VALUES ({id}, 'get', 'a')")
}

async fn only_what_survives_a_savepoint(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    let mut conn = database.conn().await;
    for sql in [
        "BEGIN",
        &insert(1),
        "SAVEPOINT s",
        &insert(2),
        "ROLLBACK TO SAVEPOINT s",
        &insert(3),
        "SAVEPOINT s",
        &insert(4),
        "RELEASE SAVEPOINT s",
        "COMMIT",
    ] {
        conn.query_drop(sql).await.unwrap();
    }
    rig.assert_rung(&database, &[1, 3, 4]).await;
}

async fn what_is_rolled_back(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    let mut conn = database.conn().await;
    for sql in ["BEGIN", &insert(1), "ROLLBACK", "BEGIN", &insert(2)] {
        conn.query_drop(sql).await.unwrap();
    }
    drop(conn);
    rig.assert_rung(&database, &[]).await;
}

/// Tests with prepared transactions take turns: the log of a server is one for all its databases, and whoever did not see
/// a transaction prepared can't tell whose it is. The turn lasts as long as the connection.
async fn xa_turn(database: &TestDatabase) -> Conn {
    let mut conn = database.conn().await;
    let taken: Option<u8> = conn.query_first("SELECT GET_LOCK('turn of the XA tests', 60)").await.unwrap();
    assert_eq!(taken, Some(1), "the turn comes");
    conn
}

async fn xa_rings_at_its_commit(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let _turn = xa_turn(&database).await;
    let rig = Rig::following(&database, client).await;
    let name = database.name();
    let mut conn = database.conn().await;
    for (branch, id) in [("one", 1), ("two", 2)] {
        for sql in [
            format!("XA START '{name}', '{branch}'"),
            insert(id),
            format!("XA END '{name}', '{branch}'"),
            format!("XA PREPARE '{name}', '{branch}'"),
        ] {
            conn.query_drop(sql).await.unwrap();
        }
        // A session may have one prepared transaction; the next one takes another session.
        conn = database.conn().await;
    }
    assert_eq!(rig.heard_until_now(&database).await.jobs, Vec::<u64>::new());
    rig.forget();
    settle(&database, "XA ROLLBACK", "two").await;
    settle(&database, "XA COMMIT", "one").await;
    let heard = rig.heard_until_now(&database).await;
    assert_eq!(heard.jobs, [1]);
    assert!(!heard.sweeps.contains(&SweepCause::PreparedCommit));

    for sql in
        [format!("XA START '{name}'"), insert(9), format!("XA END '{name}'"), format!("XA COMMIT '{name}' ONE PHASE")]
    {
        conn.query_drop(sql).await.unwrap();
    }
    assert!(rig.heard_until_now(&database).await.jobs.contains(&9));
}

/// Settles a prepared transaction of a session that has gone, which takes the server a moment to notice.
async fn settle(database: &TestDatabase, deed: &str, branch: &str) {
    let sql = format!("{deed} '{}', '{branch}'", database.name());
    let mut conn = database.conn().await;
    crate::support::wait::until(&sql, super::rig::SOON, async || conn.query_drop(&sql).await.is_ok()).await;
}

async fn xa_prepared_before_the_start_is_swept_for(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let _turn = xa_turn(&database).await;
    let name = database.name();
    let mut conn = database.conn().await;
    for sql in [
        format!("XA START '{name}', 'x'"),
        insert(1),
        format!("XA END '{name}', 'x'"),
        format!("XA PREPARE '{name}', 'x'"),
    ] {
        conn.query_drop(sql).await.unwrap();
    }
    drop(conn);
    let rig = Rig::following(&database, client).await;
    rig.forget();
    settle(&database, "XA COMMIT", "x").await;
    rig.until_swept_for(SweepCause::PreparedCommit).await;
}

async fn tables_without_transactions(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    database.execute("ALTER TABLE queued_job ENGINE = MyISAM").await;
    let rig = Rig::following(&database, client).await;
    database.execute(&format!("{}; {}", insert(1), insert(2))).await;
    rig.assert_rung(&database, &[1, 2]).await;
}

async fn create_table_as_select_beside_jobs(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    database.execute(&insert(1)).await;
    database.execute("CREATE TABLE copy_of_it AS SELECT id, url FROM queued_job").await;
    database.execute(&insert(2)).await;
    let heard = rig.heard_until_now(&database).await;
    assert_eq!(heard.jobs, [1, 2]);
}
