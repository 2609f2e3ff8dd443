//! Servers whose settings are not ours: our sessions make their own, so that none of it changes anything.

use super::SOON;
use crate::support::account::Account;
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::{CutPoint, Fault, Mode, Proxy, Way};
use crate::support::receiver::{Answer, Gate, Receiver};
use crate::support::server::OwnServer;
use crate::support::service::Service;
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

const ANSWER: &str = r#"größer 🦀 "quoted" 'and' \back\\slashed || %s -- \0"#;

/// Settings of the whole server that break what is not on its guard.
const HOSTILE: [&str; 8] = [
    "--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,IGNORE_SPACE,NO_UNSIGNED_SUBTRACTION",
    "--character-set-server=latin1",
    "--collation-server=latin1_german1_ci",
    "--default-time-zone=-11:30",
    "--transaction-isolation=SERIALIZABLE",
    "--innodb-lock-wait-timeout=1",
    "--lock-wait-timeout=2",
    "--max-sort-length=8",
];

/// What only MariaDB lets be set so: that the client's character set is not looked at, and, after the first start,
/// that names of databases are kept in small letters.
fn hostile() -> Vec<&'static str> {
    let more = ["--skip-character-set-client-handshake", "--lower-case-table-names=1"];
    HOSTILE.into_iter().chain(more.into_iter().filter(|_| !super::on_mysql())).collect()
}

/// The same of each session of an account like ours; limits on the time of a statement in the unit of each server.
fn init_connect() -> String {
    let limit = if super::on_mysql() { "max_execution_time = 1" } else { "max_statement_time = 0.001" };
    format!(
        "SET GLOBAL init_connect = 'SET autocommit = 0, sql_safe_updates = 1, sql_select_limit = 1, \
         max_join_size = 10, time_zone = ''+05:45'', sql_mode = ''ANSI_QUOTES'', {limit}'"
    )
}

#[tokio::test]
async fn the_settings_of_the_server_and_of_the_account_change_nothing() {
    let server = OwnServer::start(&hostile()).await;
    let database = TestDatabase::create_on(server.access()).await;
    database.execute(&format!("ALTER DATABASE {} CHARACTER SET latin1", database.name())).await;
    let account = Account::create(&database).await;
    account.run_part(2).await;
    database.execute(&init_connect()).await;
    let ini = account.ini(&database, "[sweep]\ninterval_secs: 3600\n[retry]\njitter: 0");
    if !super::on_mysql() {
        let text = std::fs::read_to_string(&ini).unwrap();
        std::fs::write(&ini, text.replace(database.name(), &database.name().to_uppercase())).unwrap();
    }
    let said = tokio::time::timeout(SOON, crate::support::service::program().arg("migrate").arg(&ini).output()).await;
    let said = said.unwrap().unwrap();
    assert!(said.status.success(), "{said:?}");
    account.run_part(4).await;

    let receiver = Receiver::start().await;
    receiver.on("/", Answer::status(200).body(ANSWER));
    receiver.on_turns("/again", [Answer::status(503).body(ANSWER), Answer::ok()]);
    let mut service = Service::run(&ini);
    service.wait_for_line("following the log", SOON).await;
    let again = job().url(receiver.url("/again")).retry_delay(1);
    // As bytes: the test's own sessions are in the server's character set.
    let body = vec!["größer 🦀".as_bytes().into()];
    let again = again.set_expression("body", "CONVERT(CAST(? AS BINARY) USING utf8mb4)", body).insert(&database).await;
    job().url(receiver.url("/")).body("x".repeat(100_000)).insert(&database).await;
    job().url(receiver.url("/")).insert_times(&database, 30).await;
    job().url(receiver.url("/")).run_at_in(1500).insert(&database).await;
    until("all are done", SOON, async || {
        database.query_one::<u32>("SELECT COUNT(*) FROM queued_job WHERE state = 'completed'").await == 33
    })
    .await;
    assert_eq!(receiver.count(), 34, "each once, and the one retry");
    assert_eq!(receiver.requests_for("/again")[0].body, "größer 🦀".as_bytes());
    let answers: Vec<Vec<u8>> =
        database.query(&format!("SELECT CAST(last_response AS BINARY) FROM queued_job WHERE id > {again}")).await;
    assert!(answers.iter().all(|answer| answer == ANSWER.as_bytes()), "{answers:?}");
    let message = format!("[JOBID {again}] Job failed temporarily: {ANSWER}");
    let lines: Vec<Vec<u8>> = database.query("SELECT CAST(msg AS BINARY) FROM queued_job_log").await;
    assert!(lines.contains(&message.into_bytes()), "{lines:?}");
    let odd_times = "SELECT COUNT(*) FROM queued_job WHERE ABS(TIMESTAMPDIFF(SECOND, NOW(), last_finished_at)) > 120";
    assert_eq!(database.query_one::<u32>(odd_times).await, 0);
    assert_eq!(service.stop(SOON).await, Some(0));
}

#[tokio::test]
async fn small_packets_and_an_early_end_of_idle_sessions_stop_nothing() {
    let server = OwnServer::start(&["--max-allowed-packet=1M"]).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    // Stored when the limit was another.
    let receiver = Receiver::start().await;
    database.execute("SET GLOBAL max_allowed_packet = 16777216").await;
    let huge = job().url(receiver.url("/huge")).body("x".repeat(3_000_000)).insert(&database).await;
    database.execute("SET GLOBAL max_allowed_packet = 1048576").await;
    // From now on the server ends what idles for a second; of the test's own sessions all but this one.
    let mut looks = database.conn().await;
    looks.query_drop("SET SESSION wait_timeout = 28800").await.unwrap();
    looks.query_drop("SET GLOBAL wait_timeout = 1; SET GLOBAL interactive_timeout = 1").await.unwrap();
    let large: String = "größer\n".chars().cycle().take(60_000).collect();
    let gate = Gate::closed();
    receiver.on("/", Answer::status(200).body(large).behind(&gate));
    // The error is seen on its way, for a batch that is refused as too large is written in parts without a word.
    let proxy = Proxy::start(database.server().address()).await;
    let passes = (CutPoint::BeforePassing, Fault::Becomes(Mode::Pass, SOON));
    let too_large = proxy.fault_on(Way::ToClient, b"Got a packet bigger than", passes);
    let ini = database.ini_at(proxy.port(), "ssl_mode: disabled\n[sweep]\ninterval_secs: 3600");
    let mut service = Service::run(&ini);
    service.wait_for_line("following the log", SOON).await;
    let called = receiver.wait_for(1, SOON).await;
    assert_eq!((called[0].job_id(), called[0].body.len()), (Some(huge), 3_000_000), "the whole body, or no call");
    // Had the server its way, no session would get so old in idleness.
    let idle = "SELECT COUNT(*) FROM information_schema.processlist \
                WHERE db = DATABASE() AND command = 'Sleep' AND time >= 3";
    until("sessions are idle for long", SOON, async || looks.query_first::<u32, _>(idle).await.unwrap().unwrap() >= 3)
        .await;
    let rows = vec![format!("('post', '{}')", receiver.url("/")); 60].join(", ");
    looks.query_drop(format!("INSERT INTO queued_job (http_method, url) VALUES {rows}")).await.unwrap();
    receiver.wait_for(61, SOON).await;
    gate.open();
    until("all are done", SOON, async || {
        let done = "SELECT COUNT(*) FROM queued_job WHERE state = 'completed' AND LENGTH(last_response) > 65000";
        looks.query_first::<u32, _>(done).await.unwrap() == Some(60)
    })
    .await;
    assert_eq!(receiver.count(), 61);
    assert!(!too_large.has_sprung(), "no packet was too large: {:?}", service.lines());
    assert_eq!(service.stop(SOON).await, Some(0));
}

#[tokio::test]
async fn a_database_may_have_any_name() {
    for name in ["my-db", "日本 ü", "back`tick", "per%cent_and's\"", "MiXed"] {
        let (quoted, receiver) = (format!("`{}`", name.replace('`', "``")), Receiver::start().await);
        let database = TestDatabase::create().await;
        let name = format!("{} {name}", database.name());
        let quoted = quoted.replacen('`', &format!("`{} ", database.name()), 1);
        database.execute(&format!("CREATE DATABASE {quoted}")).await;
        let ini = database.files().join("odd.ini");
        let port = database.server().port;
        let text =
            format!("[db]\nhost: 127.0.0.1\nport: {port}\nuser: root\ndb: {name}\n[sweep]\ninterval_secs: 3600\n");
        std::fs::write(&ini, text).unwrap();
        let worked = works_in(&ini, &quoted, &receiver, &database).await;
        database.execute(&format!("DROP DATABASE {quoted}")).await;
        worked.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

async fn works_in(
    ini: &std::path::Path,
    quoted: &str,
    receiver: &Receiver,
    database: &TestDatabase,
) -> Result<(), String> {
    let migrated = crate::support::service::program().arg("migrate").arg(ini).output().await.unwrap();
    if !migrated.status.success() {
        return Err(format!("{migrated:?}"));
    }
    let mut service = Service::run(ini);
    service.wait_for_line("following the log", SOON).await;
    let mut conn: Conn = database.conn().await;
    conn.query_drop(format!("USE {quoted}")).await.unwrap();
    let url = receiver.url("/");
    conn.query_drop(format!("INSERT INTO queued_job (http_method, url) VALUES ('post', '{url}')")).await.unwrap();
    receiver.wait_for(1, SOON).await;
    let code = service.stop(SOON).await;
    let done: Option<String> = conn.query_first("SELECT CAST(state AS CHAR) FROM queued_job").await.unwrap();
    match (code, done.as_deref()) {
        (Some(0), Some("completed")) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}
