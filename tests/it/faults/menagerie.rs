//! The animals of the zoo: what other applications and administrators write to the log beside our jobs.

use super::{SETTLES, times};
use crate::support::database::TestDatabase;
use crate::support::receiver::Receiver;
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// Columns of every type, with values that no text or clock has.
pub async fn foreign_tables(database: &TestDatabase, round: usize) {
    let vector = database.is_mysql() || database.server().name == "mariadb-11.8";
    let (column, value) = match (vector, database.is_mysql()) {
        (false, _) => ("aa INT", "1"),
        (true, true) => ("aa VECTOR(3)", "STRING_TO_VECTOR('[1,2,3]')"),
        (true, false) => ("aa VECTOR(3)", "VEC_FromText('[1,2,3]')"),
    };
    if database.is_mariadb() {
        mariadbs_own_types(database, round).await;
    }
    database
        .execute(&format!(
            "CREATE TABLE odd_{round} (a TINYINT, b SMALLINT UNSIGNED, c MEDIUMINT, d INT, e BIGINT, f FLOAT, \
             g DOUBLE, h DECIMAL(65,30), i BIT(13), j DATE, k TIME(6), l DATETIME(3), m TIMESTAMP(6) NULL, n YEAR, \
             o CHAR(255), p VARCHAR(3000), q BINARY(16), r VARBINARY(100), s TINYBLOB, t BLOB, u MEDIUMBLOB, \
             v LONGTEXT, w ENUM('x', 'y'), x SET('x', 'y'), y JSON, z GEOMETRY, {column}) CHARACTER SET utf8mb4; \
             INSERT INTO odd_{round} VALUES (-1, 2, -3, 4, -5, 6.5, 7.5, 8.5, b'1010', '1000-01-01', \
             '-838:59:58.999999', '9999-12-31 23:59:59.999', NOW(6), 1999, 'c', 'v', X'FFFE', X'C3289F', X'00', \
             X'FF', X'FF', 'l', 'x', 'x,y', '{{\"a\": [1, null]}}', ST_GeomFromText('POINT(1 2)'), {value}); \
             UPDATE odd_{round} SET k = '-00:00:00.000001', y = NULL; DELETE FROM odd_{round}"
        ))
        .await;
}

async fn mariadbs_own_types(database: &TestDatabase, round: usize) {
    database
        .execute(&format!(
            "CREATE TABLE own_{round} (a UUID, b INET4, c INET6, d VARCHAR(1000) COMPRESSED, e BLOB COMPRESSED, \
             f INT AS (LENGTH(g)) PERSISTENT, g TEXT, h INT INVISIBLE, FULLTEXT KEY (g)) WITH SYSTEM VERSIONING; \
             INSERT INTO own_{round} (a, b, c, d, e, g, h) VALUES ('123e4567-e89b-12d3-a456-426655440000', '192.0.2.1', \
             '2001:db8::1', REPEAT('d', 1000), REPEAT('e', 5000), 'g', 1), (NULL, NULL, NULL, NULL, NULL, NULL, NULL); \
             UPDATE own_{round} SET e = NULL, h = 2; DELETE FROM own_{round}"
        ))
        .await;
}

/// As many columns as a table may have, near enough: MariaDB keeps a table's definition within 64 KiB.
pub async fn wide_table(database: &TestDatabase, round: usize) {
    let count = if database.is_mysql() { 4_000 } else { 2_600 };
    let columns: Vec<String> = (0..count).map(|number| format!("c{number} TINYINT NULL")).collect();
    database
        .execute(&format!(
            "CREATE TABLE wide_{round} ({}) ENGINE = MyISAM; INSERT INTO wide_{round} (c0, c2599) VALUES (1, 2), (3, 4)",
            columns.join(", ")
        ))
        .await;
}

/// Rows larger than any packet, ours and others'; of 40 MB in full.
pub async fn huge_rows(database: &TestDatabase, receiver: &Receiver, round: usize) {
    let bytes = times(17_000_000, 40_000_000);
    let sql = format!(
        "CREATE TABLE files_{round} (content LONGBLOB); INSERT INTO files_{round} VALUES (REPEAT('f', {bytes})); \
         INSERT INTO queued_job (http_method, url, body, remaining_retries) \
         VALUES ('post', '{}', REPEAT('o', {bytes}), 5)",
        receiver.url("/work?huge")
    );
    database.execute(&sql).await;
}

/// The log goes on in a new file with each change.
pub async fn toggle_checksums(database: &TestDatabase) {
    for algorithm in ["NONE", "CRC32", "NONE", "CRC32"] {
        database.execute(&format!("SET GLOBAL binlog_checksum = {algorithm}; DO SLEEP(0.1)")).await;
    }
}

/// Users' own columns come, move and go.
pub async fn alter(database: &TestDatabase) {
    let mut conn = database.conn().await;
    for change in [
        "ADD COLUMN note VARCHAR(40) NULL FIRST",
        "ADD COLUMN tenant INT NOT NULL DEFAULT 7 AFTER id",
        "MODIFY COLUMN note VARCHAR(400) NULL AFTER state",
        "DROP COLUMN note",
        "DROP COLUMN tenant",
    ] {
        let alter = format!("ALTER TABLE queued_job {change}");
        until("the table is altered", SETTLES, async || is_altered(&mut conn, &alter).await).await;
    }
}

/// A MariaDB that alters a table beside its writers may not find one of their rows when it catches up with them (error
/// 1032); it then leaves the table as it was.
async fn is_altered(conn: &mut Conn, alter: &str) -> bool {
    match conn.query_drop(alter).await {
        Err(mysql_async::Error::Server(error)) if error.code == 1032 => false,
        done => done.map(|()| true).unwrap(),
    }
}

/// For a moment there is no table.
pub async fn rename_for_a_moment(database: &TestDatabase) {
    database
        .execute(
            "RENAME TABLE queued_job TO queued_job_away; DO SLEEP(0.3); RENAME TABLE queued_job_away TO queued_job",
        )
        .await;
}

/// An online change of the schema: a shadow table that triggers fill, then one atomic RENAME.
pub async fn shadow_table(database: &TestDatabase) {
    let names: Vec<String> = database
        .query("SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'queued_job'")
        .await;
    let columns = names.join(", ");
    let new: Vec<String> = names.iter().map(|name| format!("NEW.{name}")).collect();
    let replace = format!("REPLACE INTO queued_job_new ({columns}) VALUES ({})", new.join(", "));
    let mut conn = database.conn().await;
    let begin = format!(
        "CREATE TABLE queued_job_new LIKE queued_job; ALTER TABLE queued_job_new ADD COLUMN shade INT NULL FIRST; \
         ALTER TABLE queued_job_new DROP COLUMN shade; \
         CREATE TRIGGER shadow_insert AFTER INSERT ON queued_job FOR EACH ROW {replace}; \
         CREATE TRIGGER shadow_update AFTER UPDATE ON queued_job FOR EACH ROW {replace}"
    );
    conn.query_drop(begin).await.unwrap();
    let copy =
        format!("INSERT IGNORE INTO queued_job_new ({columns}) SELECT {columns} FROM queued_job LOCK IN SHARE MODE");
    // It may lose a deadlock against the load.
    until("the rows are copied", SETTLES, async || conn.query_drop(&copy).await.is_ok()).await;
    conn.query_drop(
        "RENAME TABLE queued_job TO queued_job_old, queued_job_new TO queued_job; DROP TABLE queued_job_old",
    )
    .await
    .unwrap();
}
