//! Every way in which a row gets into the table rings for its id, once.

use super::for_both_clients;
use super::rig::{Rig, ids};
use crate::support::database::TestDatabase;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, WhiteListFsHandler};
use strings_queue::cdc::BinlogStream;

for_both_clients! {
    single_and_multi_row_inserts
    insert_select
    load_data_local
    replace_of_a_new_and_of_an_existing_row
    trigger_and_procedure
    only_updates_that_make_a_job_workable
    a_transaction_larger_than_the_bound_is_a_backlog
}

const COLUMNS: &str = "(http_method, url)";

async fn single_and_multi_row_inserts(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    database.execute(&format!("INSERT INTO queued_job {COLUMNS} VALUES ('get', 'http://a/')")).await;
    database
        .execute(&format!("INSERT INTO queued_job {COLUMNS} VALUES ('get', 'b'), ('get', 'c'), ('get', 'd')"))
        .await;
    database.execute("INSERT INTO queued_job (id, http_method, url) VALUES (18446744073709551000, 'get', 'e')").await;
    let ids = ids(&database).await;
    assert_eq!(ids.len(), 5);
    database.execute("ALTER TABLE queued_job AUTO_INCREMENT = 1; DELETE FROM queued_job WHERE id > 1000").await;
    database.execute("ALTER TABLE queued_job AUTO_INCREMENT = 100").await;
    let heard = rig.heard_until_now(&database).await;
    assert_eq!(heard.jobs, ids);
}

async fn insert_select(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    database.execute("CREATE TABLE plan (url TEXT); INSERT INTO plan VALUES ('a'), ('b'), ('c')").await;
    let rig = Rig::following(&database, client).await;
    database.execute(&format!("INSERT INTO queued_job {COLUMNS} SELECT 'get', url FROM plan")).await;
    let ids = ids(&database).await;
    assert_eq!(ids.len(), 3);
    rig.assert_rung(&database, &ids).await;
}

async fn load_data_local(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    database.execute("SET GLOBAL local_infile = ON").await;
    let rig = Rig::following(&database, client).await;
    let file = database.files().join("jobs.csv");
    std::fs::write(&file, "get,http://a/\nget,http://b/\n").unwrap();
    let options = OptsBuilder::from_opts(database.server().opts(Some(database.name())))
        .local_infile_handler(Some(WhiteListFsHandler::new([&file])));
    let mut conn = Conn::new(options).await.unwrap();
    conn.query_drop(format!(
        "LOAD DATA LOCAL INFILE '{}' INTO TABLE queued_job FIELDS TERMINATED BY ',' {COLUMNS}",
        file.display()
    ))
    .await
    .unwrap();
    let ids = ids(&database).await;
    assert_eq!(ids.len(), 2);
    rig.assert_rung(&database, &ids).await;
}

async fn replace_of_a_new_and_of_an_existing_row(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    for url in ["a", "b"] {
        database.execute(&format!("REPLACE INTO queued_job (id, http_method, url) VALUES (7, 'get', '{url}')")).await;
    }
    rig.assert_rung(&database, &[7, 7]).await;
}

async fn trigger_and_procedure(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    database.execute("CREATE TABLE orders (id INT PRIMARY KEY, note TEXT)").await;
    database
        .execute(
            "CREATE TRIGGER enqueue AFTER INSERT ON orders FOR EACH ROW \
             INSERT INTO queued_job (http_method, url) VALUES ('post', NEW.note)",
        )
        .await;
    database
        .execute(
            "CREATE PROCEDURE enqueue_twice() BEGIN \
             INSERT INTO queued_job (http_method, url) VALUES ('post', 'p'); \
             INSERT INTO queued_job (http_method, url) VALUES ('post', 'q'); END",
        )
        .await;
    let rig = Rig::following(&database, client).await;
    database.execute("INSERT INTO orders VALUES (1, 'a'), (2, 'b')").await;
    database.execute("CALL enqueue_twice()").await;
    let ids = ids(&database).await;
    assert_eq!(ids.len(), 4);
    rig.assert_rung(&database, &ids).await;
}

async fn only_updates_that_make_a_job_workable(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    for id in 1..=6 {
        database.execute(&format!("INSERT INTO queued_job (id, http_method, url) VALUES ({id}, 'get', 'a')")).await;
    }
    for (id, state) in
        [(1, "executing"), (2, "completed"), (3, "discarded"), (4, "cancelled"), (5, "retryable"), (1, "available")]
    {
        database.execute(&format!("UPDATE queued_job SET state = '{state}' WHERE id = {id}")).await;
    }
    database.execute("UPDATE queued_job SET run_at = '2030-01-01' WHERE id = 6").await;
    database.execute("DELETE FROM queued_job WHERE id = 6").await;
    rig.assert_rung(&database, &[1, 2, 3, 4, 5, 6, 5, 1, 6]).await;
}

async fn a_transaction_larger_than_the_bound_is_a_backlog(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    database
        .execute(
            "CREATE TABLE ten (n INT); INSERT INTO ten VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9); \
             INSERT INTO queued_job (http_method, url) \
             SELECT 'get', 'a' FROM ten a, ten b, ten c, ten d, ten e LIMIT 15000",
        )
        .await;
    let heard = rig.heard_until_now(&database).await;
    assert!(heard.backlog);
    assert_eq!(heard.jobs.len(), 10_000);
}
