//! No secret is shown: not in any line, however verbose, nor in errors, `check`, arguments or the history.

use super::{NO_SWEEP, SOON, end_of, run};
use crate::support::account::{Account, PASSWORD};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::{Answer, Receiver};
use crate::support::service::{Service, program};
use crate::support::wait::until;
use std::ffi::OsStr;
use std::path::Path;
use strings_queue::config::Config;

/// What must not be seen: passwords, what `Authorization` says, a URL's user and query, headers and bodies.
const SECRETS: [&str; 11] = [
    PASSWORD,
    "apiSecretXyz",
    // apiUser:apiSecretXyz
    "YXBpVXNlcjphcGlTZWNyZXRYeXo",
    "urlUserXyz",
    "urlSecretXyz",
    // urlUserXyz:urlSecretXyz
    "dXJsVXNlclh5ejp1cmxTZWNyZXRYeXo",
    "querySecretXyz",
    "bodySecretXyz",
    "movedSecretXyz",
    "redirectSecretXyz",
    "fragmentSecretXyz",
];

fn assert_silent(what: &str, text: &str) {
    for secret in SECRETS {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is shown in {what}");
    }
    assert!(!text.to_lowercase().contains("authorization: "), "{what}: {text}");
}

/// An account with all rights on its database, for settings with a password to hide.
async fn account(database: &TestDatabase) -> Account {
    let account = Account::create(database).await;
    account.run(&format!("GRANT ALL ON *.* TO {}", account.quoted())).await;
    account
}

fn settings(account: &Account, database: &TestDatabase, extra: &str) -> std::path::PathBuf {
    account.ini(database, &format!("{extra}\n[api]\nuser: apiUser\npasswd: apiSecretXyz\n{NO_SWEEP}"))
}

/// Calls of every kind, each with all the secrets that a job may have.
async fn insert_jobs(database: &TestDatabase, receiver: &Receiver) {
    let with_user = |path| receiver.url(path).replace("http://", "http://urlUserXyz:urlSecretXyz@");
    let moved = receiver.url("/ok?to=movedSecretXyz").replace("http://", "http://u:movedSecretXyz@");
    receiver.on("/busy", Answer::status(503).header("x-bitlancer-url", &moved));
    receiver.on("/moved", Answer::redirect(302, "/ok?to=redirectSecretXyz"));
    receiver.on("/elsewhere", Answer::redirect(307, "http://a:redirectSecretXyz@127.0.0.1:9/?b=redirectSecretXyz"));
    receiver.on("/astray", Answer::redirect(307, "ftp://a:redirectSecretXyz@127.0.0.1/?b=redirectSecretXyz"));
    receiver.on("/garbage", Answer::garbage());
    receiver.on("/fail", Answer::status(500));
    let mut urls: Vec<String> = ["/ok", "/busy", "/moved", "/elsewhere", "/astray", "/garbage", "/fail"]
        .into_iter()
        .map(|path| with_user(path) + "?token=querySecretXyz#fragmentSecretXyz")
        .collect();
    urls.push("http://urlUserXyz:urlSecretXyz@127.0.0.1:9/?token=querySecretXyz".into());
    urls.push("ftp://urlUserXyz:urlSecretXyz@127.0.0.1:9/?token=querySecretXyz".into());
    urls.push("http://urlUserXyz:urlSecretXyz@not a host/?token=querySecretXyz".into());
    urls.push("http://urlUserXyz:urlSecretXyz@127.0.0.1:99999/?token=querySecretXyz".into());
    urls.push(receiver.url("/ok?token=querySecretXyz"));
    for url in urls {
        let row = job().url(url).body(format!("bodySecretXyz {}", "x".repeat(5_000))).timeout(5).retry_delay(3_600);
        row.insert(database).await;
    }
}

#[tokio::test]
async fn no_line_shows_one_however_verbose() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let account = account(&database).await;
    for (format, filter) in [("text", Some("trace")), ("json", Some("trace")), ("text", None)] {
        database.execute("DELETE FROM queued_job; DELETE FROM queued_job_log").await;
        let mut command = program();
        command.args(["-vv", "--log-format", format, "run"]).arg(settings(&account, &database, ""));
        if let Some(filter) = filter {
            command.env("RUST_LOG", filter);
        }
        let mut service = Service::spawn(command);
        service.wait_for_line("following the log", SOON).await;
        insert_jobs(&database, &receiver).await;
        until("all are called", SOON, async || {
            let sql = "SELECT COUNT(*) FROM queued_job WHERE result_code IS NULL OR state = 'executing'";
            database.query_one::<u64>(sql).await == 0
        })
        .await;
        let arguments = std::fs::read(format!("/proc/{}/cmdline", service.pid().as_raw_nonzero())).unwrap();
        assert_silent("the process's arguments", &String::from_utf8_lossy(&arguments));
        assert_eq!(service.stop(SOON).await, Some(0));
        let lines = service.lines();
        assert!(lines.iter().any(|line| line.contains("TRACE") || line.contains("DEBUG")), "{lines:#?}");
        assert_silent(&format!("the lines as {format}"), &lines.join("\n"));
    }
    let history: Vec<String> = database.query("SELECT msg FROM queued_job_log").await;
    assert_silent("the history", &history.join("\n"));
    let seen: Vec<&str> = SECRETS.into_iter().filter(|secret| was_sent(&receiver, secret)).collect();
    assert!(seen.len() >= 5, "the handler did get them: {seen:?}");
}

fn was_sent(receiver: &Receiver, secret: &str) -> bool {
    receiver.requests().iter().any(|request| {
        let headers = request.headers.iter().any(|(_, value)| value.contains(secret));
        headers || request.path.contains(secret) || String::from_utf8_lossy(&request.body).contains(secret)
    })
}

#[tokio::test]
async fn no_failure_to_connect_shows_one() {
    let database = TestDatabase::with_schema().await;
    let account = account(&database).await;
    // The account exists, with another password.
    account.run(&format!("ALTER USER {} IDENTIFIED BY 'anotherOne1'", account.quoted())).await;
    let ini = settings(&account, &database, "");
    for command in ["run", "once", "migrate", "check"] {
        let mut line = program();
        line.env("RUST_LOG", "trace").arg(command).arg(&ini);
        let ended = end_of(line).await;
        assert_eq!(ended.code, Some(1), "{command}: {ended}");
        assert_silent(command, &ended.to_string());
    }
}

#[tokio::test]
async fn check_and_migrate_show_none() {
    let database = TestDatabase::with_schema().await;
    let account = account(&database).await;
    let ini = settings(&account, &database, "");
    for command in ["migrate", "check"] {
        let mut line = program();
        line.env("RUST_LOG", "trace").args(["-vv", command]).arg(&ini);
        let ended = end_of(line).await;
        assert_eq!(ended.code, Some(0), "{command}: {ended}");
        assert_silent(command, &ended.to_string());
    }
}

#[tokio::test]
async fn wrong_settings_show_none() {
    let folder = tempfile::tempdir().unwrap();
    let ini = folder.path().join("db.ini");
    let text = format!(
        "[db]\npasswrd: {PASSWORD}\npasswd = {PASSWORD}\n  {PASSWORD}\n{PASSWORD}\nport: {PASSWORD}\n[{PASSWORD} x]\n\
         [api]\nuser: a:b\npasswd {PASSWORD}\npasswd_file: /nowhere\npasswd: apiSecretXyz\n"
    );
    std::fs::write(&ini, text.replace(&format!("port: {PASSWORD}"), "port: x")).unwrap();
    for command in ["run", "once", "migrate", "check"] {
        let ended = run([OsStr::new(command), ini.as_os_str()]).await;
        assert_eq!(ended.code, Some(2), "{ended}");
        assert_silent(command, &ended.to_string());
    }
}

#[test]
fn settings_printed_whole_show_none() {
    let text = format!("[db]\nhost: a\nuser: b\ndb: c\npasswd: {PASSWORD}\n[api]\nuser: d\npasswd: apiSecretXyz\n");
    let config = Config::parse(Path::new("db.ini"), &text, &|_| None).unwrap();
    let printed = format!("{config:?} {config:#?}");
    assert_silent("the settings", &printed);
    assert!(printed.contains("***"), "{printed}");
}
