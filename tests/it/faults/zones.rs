//! Time zones made for a test: their clocks change while it runs.

use crate::support::database::TestDatabase;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// Makes a zone that has the offsets from UTC in turn, in seconds: the first one until the first change. The changes are
/// Unix times.
pub async fn make_zone(database: &TestDatabase, name: &str, offsets: [i64; 2], changes: &[i64]) {
    let [first, second] = offsets;
    let rows = changes.iter().enumerate().map(|(number, at)| format!(", (@zone, {at}, {})", (number + 1) % 2));
    database
        .execute(&format!(
            "INSERT INTO mysql.time_zone (Use_leap_seconds) VALUES ('N'); SET @zone = LAST_INSERT_ID(); \
             INSERT INTO mysql.time_zone_name VALUES ('{name}', @zone); \
             INSERT INTO mysql.time_zone_transition_type \
             VALUES (@zone, 0, {first}, 0, 'ONE'), (@zone, 1, {second}, 1, 'TWO'); \
             INSERT INTO mysql.time_zone_transition VALUES (@zone, {} - 8000000, 0){}",
            changes[0],
            rows.collect::<String>()
        ))
        .await;
}

/// The server's time, in whole seconds.
pub async fn unix_time(database: &TestDatabase) -> i64 {
    database.query_one("SELECT UNIX_TIMESTAMP()").await
}

/// How far the session's clock is ahead of UTC now, in seconds.
pub async fn offset(conn: &mut Conn) -> i64 {
    let offset = conn.query_first("SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW())").await;
    offset.unwrap().unwrap()
}
