//! What else stands in a log: other tables, other formats, changes of the table.

use super::for_both_clients;
use super::rig::{Heard, LogPlace, Rig, SOON, compress_no_more, compressing, is_compressed};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::left_out::left_out;
use crate::support::server::OwnServer;
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use strings_queue::cdc::BinlogStream;
use strings_queue::metrics::Counter;
use strings_queue::wakeup::SweepCause;

for_both_clients! {
    same_named_tables_of_other_databases
    foreign_tables_with_every_type
    huge_rows_of_other_tables_and_ours
    minimal_and_noblob_images
    partial_images_of_documents
    compressed_transactions
    statements_that_name_the_table
    columns_added_and_moved
    states_in_another_order
    times_in_the_format_of_old_servers
    generated_and_invisible_columns
    a_unique_key_over_a_text
    a_table_that_keeps_its_former_rows
    odd_columns_before_the_key
    a_renamed_table
    the_table_truncated
}

const INSERT: &str = "INSERT INTO queued_job (http_method, url) VALUES ('get', 'a')";

async fn session_with(database: &TestDatabase, settings: &str) -> Conn {
    let mut conn = database.conn().await;
    conn.query_drop(settings).await.unwrap_or_else(|error| panic!("{settings}: {error}"));
    conn
}

async fn same_named_tables_of_other_databases(client: BinlogStream) {
    let (ours, other) = (TestDatabase::with_schema().await, TestDatabase::with_schema().await);
    ours.execute("CREATE TABLE queued_job_2 LIKE queued_job; CREATE TABLE Queued_Job LIKE queued_job").await;
    let rig = Rig::following(&ours, client).await;
    job().insert_times(&other, 3).await;
    ours.execute("INSERT INTO queued_job_2 (id, http_method, url) VALUES (700, 'get', 'a')").await;
    ours.execute("INSERT INTO Queued_Job (id, http_method, url) VALUES (800, 'get', 'a')").await;
    let id = job().insert(&ours).await;
    assert_eq!(rig.heard_until_now(&ours).await.jobs, [id]);
}

async fn foreign_tables_with_every_type(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    database
        .execute(
            "CREATE TABLE odd (a TINYINT, b SMALLINT UNSIGNED, c MEDIUMINT, d INT, e BIGINT, f FLOAT, g DOUBLE, \
             h DECIMAL(65,30), i BIT(13), j DATE, k TIME(6), l DATETIME(3), m TIMESTAMP(6) NULL, n YEAR, o CHAR(255), \
             p VARCHAR(3000), q BINARY(16), r VARBINARY(100), s TINYBLOB, t BLOB, u MEDIUMBLOB, v LONGTEXT, \
             w ENUM('x', 'y'), x SET('x', 'y'), y JSON, z GEOMETRY) CHARACTER SET utf8mb4",
        )
        .await;
    let rig = Rig::following(&database, client).await;
    database
        .execute(
            "INSERT INTO odd VALUES (-1, 2, -3, 4, -5, 6.5, 7.5, 8.5, b'1010', '1000-01-01', '-838:59:58.999999', \
             '9999-12-31 23:59:59.999', NOW(6), 1999, 'c', 'v', X'FFFE', X'C3289F', X'00', X'FF', X'FF', 'l', 'x', \
             'x,y', '{\"a\": [1, null]}', ST_GeomFromText('POINT(1 2)')), \
             (NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,\
             NULL,NULL,NULL,NULL,NULL)",
        )
        .await;
    let id = job().insert(&database).await;
    database.execute("UPDATE odd SET a = 3, y = '[]'; DELETE FROM odd").await;
    rig.assert_rung(&database, &[id]).await;
}

/// MariaDB has a column for it that nothing but the log shows.
async fn a_unique_key_over_a_text(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    if database.is_mysql() {
        return;
    }
    let rig = Rig::following(&database, client).await;
    database.execute("ALTER TABLE queued_job ADD COLUMN dedupe_key TEXT NULL, ADD UNIQUE (dedupe_key)").await;
    let mut before = Heard::default();
    until("the new columns are known", SOON, async || {
        let probe = job().insert(&database).await;
        before = rig.heard_until_now(&database).await;
        before.jobs.contains(&probe)
    })
    .await;
    let ids = [job().url("http://a/").insert(&database).await, job().url("http://b/").insert(&database).await];
    database.execute(&format!("UPDATE queued_job SET run_at = NOW(6) WHERE id = {}", ids[0])).await;
    let heard = rig.heard_until_now(&database).await;
    assert!(heard.jobs.ends_with(&[ids[0], ids[1], ids[0]]), "{heard:?}");
    let after = &heard.sweeps[before.sweeps.len()..];
    assert!(!after.contains(&SweepCause::Unreadable) && !after.contains(&SweepCause::Statement), "{heard:?}");
}

/// MariaDB has two columns for it that nothing but the log shows.
async fn a_table_that_keeps_its_former_rows(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    if database.is_mysql() {
        return;
    }
    database.execute("ALTER TABLE queued_job ADD SYSTEM VERSIONING").await;
    let rig = Rig::following(&database, client).await;
    let before = rig.heard_until_now(&database).await;
    let ids = [job().insert(&database).await, job().insert(&database).await];
    database.execute(&format!("UPDATE queued_job SET run_at = NOW(6) WHERE id = {}", ids[0])).await;
    let heard = rig.heard_until_now(&database).await;
    // The former row comes as one more.
    assert!(heard.jobs.ends_with(&[ids[0], ids[1], ids[0], ids[0]]), "{heard:?}");
    let after = &heard.sweeps[before.sweeps.len()..];
    assert!(!after.contains(&SweepCause::Unreadable) && !after.contains(&SweepCause::Statement), "{heard:?}");
}

async fn huge_rows_of_other_tables_and_ours(client: BinlogStream) {
    // What it writes everybody on its server would have to read.
    let server = OwnServer::start(&["--max-allowed-packet=64M"]).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    database.execute("CREATE TABLE files (id INT PRIMARY KEY, content LONGBLOB)").await;
    let rig = Rig::following(&database, client).await;
    let mut conn = database.conn().await;
    conn.query_drop("INSERT INTO files VALUES (1, REPEAT('f', 20000000)), (2, REPEAT('g', 17000000))").await.unwrap();
    conn.query_drop(
        "INSERT INTO queued_job (id, http_method, url, body) VALUES (5, 'post', 'a', REPEAT('o', 20000000))",
    )
    .await
    .unwrap();
    // The event just fills packets: lengths around the bound of one.
    for (id, length) in (10..).zip(16_777_215 - 400..16_777_215 - 380) {
        let sql = format!("INSERT INTO files VALUES ({id}, REPEAT('x', {length}))");
        conn.query_drop(sql).await.unwrap();
    }
    rig.assert_rung(&database, &[5]).await;
}

async fn minimal_and_noblob_images(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    for image in ["MINIMAL", "NOBLOB"] {
        let mut conn = session_with(&database, &format!("SET SESSION binlog_row_image = '{image}'")).await;
        conn.query_drop(INSERT).await.unwrap();
        let id = conn.last_insert_id().unwrap();
        for change in ["state = 'executing'", "state = 'retryable'", "run_at = '2031-01-01'", "state = 'completed'"] {
            conn.query_drop(format!("UPDATE queued_job SET {change} WHERE id = {id}")).await.unwrap();
        }
        let heard = rig.heard_until_now(&database).await;
        assert_eq!(heard.jobs.iter().filter(|job| **job == id).count(), 3, "{image}: {heard:?}");
        assert!(!heard.sweeps.contains(&SweepCause::Unreadable));
    }
}

/// Of a document that changes in part the log has the parts alone, before the columns that stand behind it.
async fn partial_images_of_documents(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    if database.is_mariadb() {
        return;
    }
    let document = "JSON_OBJECT('text', REPEAT('x', 5000), 'count', 1)";
    database.execute("ALTER TABLE queued_job ADD COLUMN facts JSON NULL AFTER organization_id").await;
    database.execute(&format!("CREATE TABLE facts (facts JSON); INSERT INTO facts VALUES ({document})")).await;
    for image in ["FULL", "MINIMAL", "NOBLOB"] {
        let rig = Rig::following(&database, client).await;
        let settings = format!("SET SESSION binlog_row_value_options = PARTIAL_JSON, binlog_row_image = {image}");
        let mut conn = session_with(&database, &settings).await;
        let insert = format!(
            "INSERT INTO queued_job (http_method, url, state, facts) VALUES ('get', 'a', 'executing', {document})"
        );
        conn.query_drop(insert).await.unwrap();
        let id = conn.last_insert_id().unwrap();
        let before = LogPlace::end(&database).await;
        for state in ["retryable", "completed"] {
            let change = format!("facts = JSON_SET(facts, '$.count', 2, '$.more', '{state}'), state = '{state}'");
            conn.query_drop(format!("UPDATE queued_job SET {change} WHERE id = {id}")).await.unwrap();
            conn.query_drop(format!("UPDATE facts SET facts = JSON_SET(facts, '$.more', '{image} {state}')"))
                .await
                .unwrap();
        }
        rig.assert_rung(&database, &[id]).await;
        let Some(events) = before.events_behind(&database).await else { continue };
        let partial = events.iter().filter(|event| *event == "Update_rows_partial").count();
        assert!(partial >= 4, "{image}: {partial} events of parts");
    }
}

async fn compressed_transactions(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    let mut conn = compressing(&database).await;
    conn.query_drop("CREATE TABLE big (t TEXT)").await.unwrap();
    let before = LogPlace::end(&database).await;
    for sql in [
        "BEGIN",
        "INSERT INTO big VALUES (REPEAT('x', 60000))",
        "INSERT INTO queued_job (id, http_method, url, body) VALUES (5, 'get', 'a', REPEAT('y', 5000))",
        "INSERT INTO queued_job (id, http_method, url) VALUES (6, 'get', 'a'), (7, 'get', 'b')",
        "UPDATE queued_job SET state = 'executing' WHERE id = 6",
        "UPDATE queued_job SET state = 'retryable', last_response = REPEAT('z', 3000) WHERE id = 7",
        "COMMIT",
    ] {
        conn.query_drop(sql).await.unwrap();
    }
    let events = before.events_behind(&database).await;
    compress_no_more(conn).await;
    let heard = rig.heard_until_now(&database).await;
    assert_eq!(heard.jobs, [5, 6, 7, 7]);
    // Where other tests begin a new file, the old one is not looked at.
    assert!(events.is_none_or(|events| events.iter().any(is_compressed)), "nothing of it was compressed");
    assert!(!heard.sweeps.contains(&SweepCause::Unreadable), "{heard:?}");
}

async fn statements_that_name_the_table(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    let mut conn = session_with(&database, "SET SESSION binlog_format = 'STATEMENT'").await;
    conn.query_drop("CREATE TABLE queued_job_copy (a INT)").await.unwrap();
    conn.query_drop("INSERT INTO queued_job_copy VALUES (1)").await.unwrap();
    // Text that is no UTF-8, as of applications with another character set.
    conn.query_drop("SET NAMES latin1").await.unwrap();
    let bytes = b"INSERT INTO queued_job_copy VALUES (LENGTH('\xff\xfe\xc3('))";
    conn.query_drop(&bytes[..]).await.unwrap();
    let heard = rig.heard_until_now(&database).await;
    assert!(!heard.sweeps.contains(&SweepCause::Statement), "another table: {heard:?}");
    let bytes = b"INSERT INTO queued_job (http_method, url, body) VALUES ('get', 'a', '\xff\xfe\xc3(')";
    conn.query_drop(&bytes[..]).await.unwrap();
    rig.until_swept_for(SweepCause::Statement).await;
    assert_eq!(rig.metrics.get(Counter::StreamBreaks), 0);
}

async fn columns_added_and_moved(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    for (change, id) in [
        ("ADD COLUMN first_one VARCHAR(20) NOT NULL DEFAULT 'x' FIRST", 11),
        // Now what stands where `id` stood is of the same type.
        ("MODIFY COLUMN organization_id BIGINT UNSIGNED NULL FIRST", 12),
        (
            "MODIFY COLUMN state ENUM('available','executing','retryable','completed','discarded','cancelled') \
          NOT NULL DEFAULT 'available' FIRST",
            13,
        ),
        ("DROP COLUMN first_one", 14),
        ("ADD COLUMN note DECIMAL(20, 3) NOT NULL DEFAULT 1.5 AFTER organization_id", 15),
    ] {
        database.execute(&format!("ALTER TABLE queued_job {change}")).await;
        rig.until_swept_for(SweepCause::Statement).await;
        // The columns are read anew beside the stream: until then, jobs are left to the sweep.
        crate::support::wait::until("ids are read again", super::rig::SOON, async || {
            rig.forget();
            let probe = job().insert(&database).await;
            crate::support::wait::until("something is rung", super::rig::SOON, async || {
                let heard = rig.heard();
                !heard.jobs.is_empty() || !heard.sweeps.is_empty()
            })
            .await;
            rig.heard().jobs == [probe]
        })
        .await;
        rig.forget();
        let sql =
            format!("INSERT INTO queued_job (id, organization_id, http_method, url) VALUES ({id}000, 77, 'get', 'a')");
        database.execute(&sql).await;
        let heard = rig.heard_until_now(&database).await;
        assert_eq!(heard.jobs, [id * 1000], "after {change}");
        rig.forget();
    }
}

/// The log has a state by its number among the values of the column.
async fn states_in_another_order(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    let states = "ENUM('completed','discarded','cancelled','available','executing','retryable')";
    let sql = format!("ALTER TABLE queued_job MODIFY COLUMN state {states} NOT NULL DEFAULT 'available'");
    database.execute(&sql).await;
    let states_read = async || {
        rig.forget();
        let probe = job().insert(&database).await;
        rig.heard_until_now(&database).await.jobs == [probe]
    };
    crate::support::wait::until("the jobs are rung", super::rig::SOON, states_read).await;
    rig.forget();
    let ids = job().set("state", "retryable").insert_times(&database, 2).await;
    assert_eq!(rig.heard_until_now(&database).await.jobs, ids);
}

/// Where MariaDB keeps times as its version 5.3 did, the log does not tell how long they are.
async fn times_in_the_format_of_old_servers(client: BinlogStream) {
    if TestDatabase::create().await.is_mysql() {
        return left_out("times in the format of MariaDB 5.3: MySQL never had it");
    }
    let server = OwnServer::start(&["--mysql56-temporal-format=OFF"]).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    database
        .execute(
            "ALTER TABLE queued_job ADD COLUMN t1 TIME(3) DEFAULT '-12:00:00' FIRST, \
             ADD COLUMN t2 DATETIME(6) DEFAULT '2020-01-01' FIRST, ADD COLUMN t3 DATETIME NULL FIRST, \
             ADD COLUMN t4 TIMESTAMP(2) NULL DEFAULT '2020-02-02' FIRST, ADD COLUMN t5 TIME DEFAULT '10:00:00' FIRST, \
             ADD COLUMN t6 DATETIME(1) DEFAULT '2020-01-01' FIRST",
        )
        .await;
    let old = "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() \
               AND TABLE_NAME = 'queued_job' AND COLUMN_TYPE LIKE '%(%mariadb-5.3%'";
    assert_eq!(database.query_one::<u64>(old).await, 7);
    let rig = Rig::following(&database, client).await;
    let first = job().set("t3", "2026-01-02 03:04:05").insert_at_once(&database, 3).await;
    let ids: Vec<u64> = database.query("SELECT id FROM queued_job ORDER BY id").await;
    assert_eq!((ids.len(), ids[0]), (3, first));
    rig.assert_rung(&database, &ids).await;
}

async fn generated_and_invisible_columns(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    database
        .execute(
            "ALTER TABLE queued_job \
             ADD COLUMN virtual_one VARCHAR(30) GENERATED ALWAYS AS (CONCAT('v', http_method)) VIRTUAL FIRST, \
             ADD COLUMN stored_one VARCHAR(30) GENERATED ALWAYS AS (CONCAT('s', http_method)) STORED FIRST, \
             ADD COLUMN hidden_one INT NOT NULL INVISIBLE DEFAULT 5 FIRST",
        )
        .await;
    let rig = Rig::following(&database, client).await;
    let ids = job().insert_times(&database, 2).await;
    database.execute(&format!("UPDATE queued_job SET state = 'executing' WHERE id = {}", ids[0])).await;
    rig.assert_rung(&database, &ids).await;
}

async fn odd_columns_before_the_key(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    database
        .execute(
            "ALTER TABLE queued_job \
             ADD COLUMN a1 JSON FIRST, ADD COLUMN a2 GEOMETRY FIRST, ADD COLUMN a3 DECIMAL(31, 7) DEFAULT 3.25 FIRST, \
             ADD COLUMN a4 BIT(11) DEFAULT b'101' FIRST, ADD COLUMN a5 TIME(3) DEFAULT '-12:00:00' FIRST, \
             ADD COLUMN a6 DATETIME(5) DEFAULT '2020-01-01' FIRST, ADD COLUMN a7 SET('p', 'q') DEFAULT 'q' FIRST, \
             ADD COLUMN a8 CHAR(200) CHARACTER SET utf8mb4 DEFAULT 'char' FIRST, ADD COLUMN a9 YEAR DEFAULT 2001 FIRST, \
             ADD COLUMN b1 DOUBLE DEFAULT 1.5 FIRST, ADD COLUMN b2 MEDIUMINT DEFAULT 9 FIRST, \
             ADD COLUMN b3 VARBINARY(700) DEFAULT 'bin' FIRST, ADD COLUMN b4 BINARY(16) DEFAULT 'fix' FIRST, \
             ADD COLUMN b5 ENUM('m', 'n') DEFAULT 'n' FIRST, ADD COLUMN b6 FLOAT DEFAULT 2 FIRST, \
             ADD COLUMN b7 DATE DEFAULT '2020-02-02' FIRST",
        )
        .await;
    let newest = match database.server().name.as_str() {
        "mysql-9.7" => "ADD COLUMN c1 VECTOR(3) FIRST",
        "mariadb-11.8" => {
            "ADD COLUMN c1 VECTOR(3) NOT NULL DEFAULT X'000000000000000000000000' FIRST, \
             ADD COLUMN c2 UUID DEFAULT UUID() FIRST, ADD COLUMN c3 INET6 DEFAULT '::1' FIRST, \
             ADD COLUMN c4 VARCHAR(300) COMPRESSED DEFAULT 'packed' FIRST, ADD COLUMN c5 BLOB COMPRESSED FIRST"
        }
        _ => "ADD COLUMN c4 VARCHAR(300) COMPRESSED DEFAULT 'packed' FIRST, ADD COLUMN c5 BLOB COMPRESSED FIRST",
    };
    database.execute(&format!("ALTER TABLE queued_job {newest}")).await;
    let rig = Rig::following(&database, client).await;
    database
        .execute(
            "INSERT INTO queued_job (id, http_method, url, a1, a2) VALUES \
             (1, 'get', 'a', '{\"k\": 1}', ST_GeomFromText('POINT(1 2)')), (2, 'get', 'b', NULL, NULL), (3, 'get', 'c', '[]', NULL)",
        )
        .await;
    database.execute("UPDATE queued_job SET state = 'executing' WHERE id = 2").await;
    rig.assert_rung(&database, &[1, 2, 3]).await;
}

async fn a_renamed_table(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    // As online schema changes do it: a shadow table takes the name.
    database.execute("CREATE TABLE shadow LIKE queued_job; ALTER TABLE shadow ADD COLUMN extra INT FIRST").await;
    database.execute("RENAME TABLE queued_job TO old_one, shadow TO queued_job").await;
    rig.until_swept_for(SweepCause::Statement).await;
    crate::support::wait::until("ids are read again", super::rig::SOON, async || {
        let probe = job().insert(&database).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        rig.heard().jobs.contains(&probe)
    })
    .await;
    rig.forget();
    database.execute("INSERT INTO old_one (id, http_method, url) VALUES (900, 'get', 'a')").await;
    assert_eq!(rig.heard_until_now(&database).await.jobs, Vec::<u64>::new());
}

async fn the_table_truncated(client: BinlogStream) {
    let database = TestDatabase::with_schema().await;
    let rig = Rig::following(&database, client).await;
    job().insert(&database).await;
    database.execute("TRUNCATE TABLE queued_job").await;
    rig.until_swept_for(SweepCause::Statement).await;
    rig.forget();
    let id = job().insert(&database).await;
    assert_eq!(rig.heard_until_now(&database).await.jobs, [id]);
}
