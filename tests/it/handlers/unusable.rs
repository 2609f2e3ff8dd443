//! Rows that can't be used: each fails its own job at once, says why in one message, and delays no other.

use super::{QUIET, Rig, SOON, insert_many};
use crate::support::database::TestDatabase;
use crate::support::factory::{JobRow, job};
use crate::support::receiver::{Answer, Gate, Receiver};
use crate::support::service::Service;
use crate::support::turn::Turn;
use crate::support::wait::{eventually, throughout, until};
use mysql_async::prelude::Queryable;
use std::time::Duration;

/// What is wrong with a row, and how its message begins.
fn unusable_rows() -> Vec<(JobRow, &'static str)> {
    let long = format!("http://127.0.0.1/{}", "x".repeat(2_000_000));
    let url = |url: &str| job().url(url);
    vec![
        (url("not a url"), "unusable url: relative URL without a base"),
        (url(""), "unusable url: relative URL without a base"),
        (url("127.0.0.1/path"), "unusable url: relative URL without a base"),
        (url("http://"), "unusable url: empty host"),
        (url("http://127.0.0.1:99999/"), "unusable url: invalid port number"),
        (url("http://[::1/"), "unusable url: invalid IPv6 address"),
        (url("http://a b/"), "unusable url: invalid"),
        (url("ftp://127.0.0.1/a"), "unusable url: the scheme is 'ftp'; only http and https can be called"),
        (url("file:///etc/passwd"), "unusable url: the scheme is 'file'"),
        (url("localhost:8080/a"), "unusable url: it begins with neither http:// nor https://"),
        (url("http://127.0.0.1/\0"), "unusable url: it has a control character"),
        (url("http://127.0.0.1/a\r\nX-Evil: 1"), "unusable url: it has a control character"),
        (url(&long), "unusable url: it is too long; at most 65534 bytes can be sent"),
        (job().method("po st"), "unusable http_method 'po st'"),
        (job().method(""), "unusable http_method ''"),
        (job().method("get\r\na: b"), "unusable http_method 'get\\r\\na: b'"),
        (job().method("gét"), "unusable http_method 'gét'"),
        (job().method("connect"), "unusable http_method 'CONNECT'"),
        (job().timeout(0), "unusable timeout_secs 0: it must be from 1 to 86400"),
        (job().timeout(-5), "unusable timeout_secs -5"),
        (job().timeout(1_000_000_000), "unusable timeout_secs 1000000000"),
        (job().timeout(86_401), "unusable timeout_secs 86401"),
    ]
}

#[tokio::test]
async fn an_unusable_row_fails_its_job_at_once_with_one_clear_message() {
    let rig = Rig::start("").await;
    for (row, fault) in unusable_rows() {
        let id = row.insert(&rig.database).await;
        let seen = rig.finished(id).await;
        seen.assert_permanent();
        assert!(seen.response.starts_with(fault), "{fault:?}: {}", seen.response);
        assert_eq!(seen.messages, [format!("Job failed permanently: {}", seen.response)]);
        let mark = format!("[JOBID {id}] ");
        rig.service.wait_for_line(&mark, SOON).await;
        let told: Vec<String> = rig.service.lines().into_iter().filter(|line| line.contains(&mark)).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        let escaped = fault.replace('\\', "\\\\");
        assert!(told[0].contains(fault) || told[0].contains(&escaped), "{told:?}");
    }
}

#[tokio::test]
async fn an_unusable_timeout_is_told_at_once_beside_a_row_that_is_locked() {
    let rig = Rig::start("").await;
    rig.service.wait_for_line("following the log", SOON).await;
    let rows = "INSERT INTO queued_job (id, http_method, url, timeout_secs, run_at) VALUES \
        (1, 'get', 'http://127.0.0.1:9/', 60, @due), (2, 'get', 'http://127.0.0.1:9/', 1000000000, @due)";
    rig.database.execute(&format!("SET @due = NOW(6) + INTERVAL 1 SECOND; {rows}")).await;
    let mut other = rig.database.conn().await;
    other.query_drop("START TRANSACTION; SELECT id FROM queued_job WHERE id = 1 FOR UPDATE").await.unwrap();
    // Both are claimed when they fall due: the second around the lock on the first.
    let seen = rig.finished(2).await;
    seen.assert_permanent();
    assert_eq!(seen.messages, [format!("Job failed permanently: {}", seen.response)]);
}

#[tokio::test]
async fn the_longest_timeout_is_a_setting() {
    let (rig, receiver) = (Rig::start("[http]\nmax_timeout_secs: 5\n").await, Receiver::start().await);
    rig.finish(job().url(receiver.url("/")).timeout(5)).await.assert_done();
    let seen = rig.finish(job().url(receiver.url("/")).timeout(6)).await;
    seen.assert_permanent();
    assert_eq!(seen.response, "unusable timeout_secs 6: it must be from 1 to 5 ([http] max_timeout_secs)");
}

#[tokio::test]
async fn a_url_as_long_as_can_be_sent_is_called() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let (start, most) = (receiver.url("/"), 65_534);
    let url = format!("{start}{}", "x".repeat(most - start.len()));
    rig.finish(job().url(&url)).await.assert_done();
    assert_eq!(receiver.requests()[0].path.len(), most - start.len() + 1);
    rig.finish(job().url(url + "x")).await.assert_permanent();
    // Each of these becomes three characters when it is encoded.
    let seen = rig.finish(job().url(format!("{start}{}", "\"".repeat(30_000)))).await;
    seen.assert_permanent();
    assert!(seen.response.starts_with("unusable url: it is "), "{}", seen.response);
}

/// A thousand good ones, and as many bad ones as there are numbers in `kinds`, in one statement.
async fn insert_mixed(database: &TestDatabase, good: &str) {
    let kinds =
        "ELT(1 + n % 6, 'ftp://web/', 'no url', '', 'http://a b/', 'http://web/\\r', CONCAT(u, REPEAT('x', 70000)))";
    let numbers = "(SELECT a.n + 10 * b.n + 100 * c.n AS n, ? AS u FROM ten a, ten b, ten c) AS thousand";
    database.execute("CREATE TABLE ten (n INT); INSERT INTO ten VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)").await;
    let sql = format!(
        "INSERT INTO queued_job (http_method, url, timeout_secs) SELECT * FROM (\
         SELECT 'get', u, 60 FROM {numbers} UNION ALL SELECT 'get', {kinds}, 60 FROM {numbers}) AS mixed ORDER BY RAND()"
    );
    database.insert(&sql, vec![good.into(), good.into()]).await;
}

/// One slot is left for all two thousand: an unusable row that kept it, or held it for a moment only, would hold up the
/// good ones behind it. And no unusable row waits for the slots of calls that last.
#[tokio::test]
async fn a_thousand_unusable_rows_among_a_thousand_good_ones_delay_none_of_them() {
    // A slot's thousand calls, one after another.
    let _turn = Turn::take().await;
    let settings = "[dispatch]\nmax_in_flight: 21\nmax_in_flight_per_host: 20\n";
    let (rig, receiver, slow) = (Rig::start(settings).await, Receiver::start().await, Receiver::start().await);
    let gate = Gate::closed();
    slow.on("/", Answer::ok().behind(&gate));
    rig.service.wait_for_line("following the log", SOON).await;
    insert_many(&rig.database, 100, &slow.url("/"), "NULL").await;
    slow.wait_for(20, SOON).await;
    insert_mixed(&rig.database, &receiver.url("/")).await;
    receiver.wait_for(1_000, 3 * SOON).await;
    until("all of them are final", SOON, async || {
        let states = "SELECT CAST(state AS CHAR), result_code, attempt, remaining_retries, COUNT(*), \
             (SELECT COUNT(*) FROM queued_job_log WHERE msg LIKE '%Job failed permanently: unusable %') \
             FROM queued_job WHERE http_method = 'get' GROUP BY 1, 2, 3, 4 ORDER BY 1";
        let found: Vec<(String, Option<i32>, u32, i32, i64, i64)> = rig.database.query(states).await;
        found
            == [
                ("completed".to_owned(), Some(0), 1, 5, 1_000, 1_000),
                ("discarded".to_owned(), Some(1), 1, 5, 1_000, 1_000),
            ]
    })
    .await;
    assert_eq!(receiver.count(), 1_000);
    assert_eq!((slow.count(), slow.in_flight()), (20, 20), "they were being called all the time");
    gate.open();
    slow.wait_for(100, SOON).await;
}

/// What a trigger or a check of somebody's own refuses, whatever we do.
#[tokio::test]
async fn a_row_that_the_server_lets_nobody_claim_holds_up_no_other() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    // Before they start: the log shows a trigger that is made, and each would sweep for it, and try the rows again.
    refuse(&database, "executing").await;
    let rig = Rig::on(database, "");
    let other = Service::run(&rig.database.ini(QUIET));
    for service in [&rig.service, &other] {
        service.wait_for_line("following the log", SOON).await;
    }
    // The last sweep of their starts is over; one that is late has each row tried once more.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let row = |path: &str| format!("('post', '{}')", receiver.url(path));
    for _ in 0..3 {
        let before = receiver.count();
        let rows = [vec![row("/kept")], vec![row("/"); 20], vec![row("/kept")]].concat().join(", ");
        rig.database.execute(&format!("INSERT INTO queued_job (http_method, url) VALUES {rows}")).await;
        until("the others are called", SOON, async || receiver.count() == before + 20).await;
    }
    let kept = "SELECT COUNT(*) FROM queued_job WHERE state = 'available' AND url LIKE '%kept'";
    assert_eq!(rig.database.query_one::<u64>(kept).await, 6);
    assert_eq!(receiver.requests_for("/kept").len(), 0);
    let count = |service: &Service| service.lines().iter().filter(|line| line.contains("could not be claimed")).count();
    let told = || count(&rig.service) + count(&other);
    // Each of the two tries each of them once, or twice where word of it comes during its claim; and again after its
    // next sweep, which is far away.
    let tries = stands_still("they are left alone", Duration::from_secs(2), told).await;
    assert!((6..=24).contains(&tries), "tried {tries} times");
    throughout("they are left alone", Duration::from_secs(2), async || told() == tries).await;
}

/// One row is refused, so that the batch is claimed one by one; then the server takes nothing any more for a while.
#[tokio::test]
async fn rows_that_are_claimed_already_do_not_wait_for_those_that_the_server_takes_later() {
    let (mut rig, receiver) = (Rig::start("").await, Receiver::start().await);
    rig.service.wait_for_line("following the log", SOON).await;
    // For good: a sweep that ends when the other trigger is gone has this row tried again.
    refuse(&rig.database, "executing").await;
    let trigger = "CREATE TRIGGER puts_off BEFORE UPDATE ON queued_job FOR EACH ROW \
                   IF NEW.url LIKE '%later' AND NEW.state = 'executing' THEN \
                   SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1290; END IF";
    rig.database.conn().await.query_drop(trigger).await.unwrap();
    let rows = ["/", "/kept", "/later"].map(|path| format!("('post', '{}')", receiver.url(path))).join(", ");
    rig.database.execute(&format!("INSERT INTO queued_job (http_method, url) VALUES {rows}")).await;
    receiver.wait_for(1, SOON).await;
    rig.database.execute("DROP TRIGGER puts_off").await;
    receiver.wait_for(2, SOON).await;
    assert_eq!((receiver.requests_for("/").len(), receiver.requests_for("/later").len()), (1, 1));
    let attempts = "SELECT attempt FROM queued_job WHERE url LIKE '%kept' OR state = 'completed' ORDER BY id";
    until("both are done", SOON, async || rig.database.query::<u32>(attempts).await == [1, 0, 1]).await;
    assert_eq!(rig.service.stop(SOON).await, Some(0));
}

/// As when a column was altered.
#[tokio::test]
async fn a_row_that_cannot_be_read_is_not_kept_claimed_and_holds_up_no_other() {
    let (mut rig, receiver) = (Rig::start("").await, Receiver::start().await);
    rig.database.execute("ALTER TABLE queued_job MODIFY remaining_retries INT NULL DEFAULT 5").await;
    rig.service.wait_for_line("following the log", SOON).await;
    let row = |path: &str, retries: &str| format!("('post', '{}', {retries})", receiver.url(path));
    let rows = [row("/", "5"), row("/kept", "NULL"), row("/", "5")].join(", ");
    rig.database.execute(&format!("INSERT INTO queued_job (http_method, url, remaining_retries) VALUES {rows}")).await;
    receiver.wait_for(2, SOON).await;
    let kept = "SELECT COUNT(*) FROM queued_job WHERE url LIKE '%kept' AND state = 'available' AND attempt = 0 \
                AND claimed_by IS NULL";
    until("it is given back", SOON, async || rig.database.query_one::<u64>(kept).await == 1).await;
    assert_eq!(rig.service.stop(SOON).await, Some(0));
    assert_eq!(rig.database.query_one::<u64>(kept).await, 1);
    assert_eq!(receiver.requests_for("/kept").len(), 0);
}

/// The same where it is the end of its call that is refused, or its return.
#[tokio::test]
async fn a_row_that_the_server_lets_nobody_finish_holds_up_no_other() {
    let (mut rig, receiver) = (Rig::start("").await, Receiver::start().await);
    rig.service.wait_for_line("following the log", SOON).await;
    refuse(&rig.database, "completed").await;
    for round in 1..=3 {
        let rows = [vec![kept(&receiver)], vec![other(&receiver); 20], vec![kept(&receiver)]].concat().join(", ");
        rig.database.execute(&format!("INSERT INTO queued_job (http_method, url) VALUES {rows}")).await;
        let done = "SELECT COUNT(*) FROM queued_job WHERE state = 'completed'";
        until("the others are done", SOON, async || rig.database.query_one::<u64>(done).await == round * 20).await;
    }
    until("all are called", SOON, async || receiver.count() == 66).await;
    let lines = "SELECT COUNT(*) FROM queued_job_log WHERE msg LIKE '%Job succeeded%'";
    until("what they answered is told", SOON, async || rig.database.query_one::<u64>(lines).await == 66).await;
    assert_eq!(rig.service.stop(SOON).await, Some(0));
}

/// Nothing of it is written, so nothing would ever end it but its claim.
#[tokio::test]
async fn a_row_whose_failure_the_server_lets_nobody_write_is_not_called_again_and_again() {
    let (mut rig, receiver) = (Rig::start("").await, Receiver::start().await);
    rig.service.wait_for_line("following the log", SOON).await;
    receiver.on("/kept", Answer::status(503));
    let trigger = "CREATE TRIGGER keeps BEFORE UPDATE ON queued_job FOR EACH ROW \
                   IF NEW.result_code = 2 THEN SIGNAL SQLSTATE '45000'; END IF";
    rig.database.conn().await.query_drop(trigger).await.unwrap();
    let id = job().url(receiver.url("/kept")).retry_delay(0).insert(&rig.database).await;
    rig.service.wait_for_line("a result can't be stored", SOON).await;
    job().url(receiver.url("/")).insert(&rig.database).await;
    receiver.wait_for(2, SOON).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(receiver.requests_for("/kept").len(), 1);
    let left: (u32, i32) =
        rig.database.query_one(&format!("SELECT attempt, remaining_retries FROM queued_job WHERE id = {id}")).await;
    assert_eq!(left, (1, 5));
    assert_eq!(rig.service.stop(SOON).await, Some(0));
}

#[tokio::test]
async fn a_row_that_the_server_lets_nobody_take_back_holds_up_no_other() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let rows = [vec![kept(&receiver)], vec![other(&receiver); 20], vec![kept(&receiver)]].concat();
    let rows = rows.iter().map(|row| row.replacen(')', ", 'executing', 'gone')", 1)).collect::<Vec<_>>().join(", ");
    database.execute(&format!("INSERT INTO queued_job (http_method, url, state, claimed_by) VALUES {rows}")).await;
    refuse(&database, "retryable").await;
    let mut service = Service::run(&database.ini(QUIET));
    receiver.wait_for(20, SOON).await;
    job().url(receiver.url("/new")).insert(&database).await;
    receiver.wait_for(21, SOON).await;
    assert_eq!(receiver.requests_for("/kept").len(), 0);
    let told = || service.lines().iter().filter(|line| line.contains("can't be taken back")).count();
    // The sweep that follows a moment later tells of them too.
    service.wait_for_line("following the log", SOON).await;
    stands_still("they are not told of again and again", Duration::from_secs(4), told).await;
    assert_eq!(service.stop(SOON).await, Some(0));
}

/// More than a rescue takes at once, and before the others.
#[tokio::test]
async fn a_thousand_rows_that_the_server_lets_nobody_take_back_hold_up_no_other() {
    let _turn = Turn::take().await;
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let rows = [vec![kept(&receiver); 1_100], vec![other(&receiver); 20]].concat();
    let rows = rows.iter().map(|row| row.replacen(')', ", 'executing', 'gone')", 1)).collect::<Vec<_>>().join(", ");
    database.execute(&format!("INSERT INTO queued_job (http_method, url, state, claimed_by) VALUES {rows}")).await;
    refuse(&database, "retryable").await;
    let mut service = Service::run(&database.ini(QUIET));
    receiver.wait_for(20, SOON * 2).await;
    assert_eq!(receiver.requests_for("/kept").len(), 0);
    // Each sweep tells of a few of them, and how many there are.
    service.wait_for_line("more jobs of dispatchers that are gone can't be taken back", SOON).await;
    let told = service.lines().iter().filter(|line| line.contains("can't be taken back")).count();
    assert!(told < 200, "{told} lines");
    assert_eq!(service.stop(SOON).await, Some(0));
}

/// Somebody gave the log's table a column that must be filled in.
#[tokio::test]
async fn a_log_that_takes_no_lines_holds_up_no_job() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    receiver.on("/", Answer::ok().body("as it was said"));
    let rows = vec![other(&receiver).replacen(')', ", 'executing', 'gone')", 1); 20].join(", ");
    database.execute(&format!("INSERT INTO queued_job (http_method, url, state, claimed_by) VALUES {rows}")).await;
    database.execute("ALTER TABLE queued_job_log ADD COLUMN reviewer INT NOT NULL").await;
    let mut service = Service::run(&database.ini(QUIET));
    let new = format!("INSERT INTO queued_job (http_method, url) VALUES {}", vec![other(&receiver); 20].join(", "));
    service.wait_for_line("following the log", SOON).await;
    database.execute(&new).await;
    let done = "SELECT COUNT(*) FROM queued_job WHERE state = 'completed' AND last_response = 'as it was said'";
    until("all are done", SOON, async || database.query_one::<u64>(done).await == 40).await;
    assert_eq!(receiver.count(), 40);
    assert_eq!(service.stop(SOON).await, Some(0));
}

/// Waits until a count has not changed for so long, and gives it.
async fn stands_still(what: &str, time: Duration, count: impl Fn() -> usize) -> usize {
    eventually(what, SOON, async || {
        let before = count();
        tokio::time::sleep(time).await;
        (count() == before).then_some(before)
    })
    .await
}

async fn refuse(database: &TestDatabase, state: &str) {
    let trigger = format!(
        "CREATE TRIGGER keeps BEFORE UPDATE ON queued_job FOR EACH ROW \
         IF NEW.url LIKE '%kept' AND NEW.state = '{state}' THEN SIGNAL SQLSTATE '45000'; END IF"
    );
    database.conn().await.query_drop(trigger).await.unwrap();
}

fn kept(receiver: &Receiver) -> String {
    format!("('post', '{}')", receiver.url("/kept"))
}

fn other(receiver: &Receiver) -> String {
    format!("('post', '{}')", receiver.url("/"))
}
