//! No secret is shown: not on stderr, however much is logged there, and not in `queued_job_log`.

use super::{QUIET, Rig, SOON};
use crate::support::account::{Account, PASSWORD};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::{Answer, Receiver};
use crate::support::service::{Service, program};

/// In every place where a secret may stand; the receiver's answers hold none.
const SECRET: &str = "s3cret";
/// `queue:s3cret` and `s3cret:s3cret` in base64, without the ends.
const ENCODED: [&str; 2] = ["cXVldWU6czNjcmV0", "czNjcmV0OnMzY3JldA"];

/// Jobs that end in every way there is, with secrets in all their parts.
async fn run_all_kinds(rig: &Rig) {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let (here, there) = (receiver.address(), other.address());
    let secret_url = |path: &str| format!("http://{SECRET}:{SECRET}@{here}{path}?key={SECRET}#{SECRET}");
    let elsewhere = format!("http://{SECRET}:{SECRET}@{there}/?key={SECRET}");
    receiver.on("/busy", Answer::status(503).header("x-bitlancer-url", &elsewhere).header("X-Token", SECRET));
    receiver.on("/gone", Answer::status(410).header("Set-Cookie", SECRET));
    receiver.on("/never", Answer::never());
    receiver.on("/close", Answer::close());
    receiver.on("/garbage", Answer::raw(format!("{SECRET}\r\n\r\n")));
    receiver.on("/to", Answer::redirect(302, &elsewhere));
    receiver.on("/loop", Answer::redirect(302, format!("/loop?key={SECRET}")));
    receiver.on("/nowhere", Answer::redirect(302, format!("ftp://{SECRET}:{SECRET}@web/{SECRET}")));
    receiver.on("/denied", Answer::redirect(302, format!("http://{SECRET}@169.254.169.254/{SECRET}")));
    let paths = ["/", "/busy", "/gone", "/never", "/close", "/garbage", "/to", "/loop", "/nowhere", "/denied"];
    let mut urls: Vec<String> = paths.iter().map(|path| secret_url(path)).collect();
    urls.extend([
        secret_url("/").replace("http://", "https://"),
        secret_url("/").replace("http://", "ftp://"),
        secret_url("/").replace("http://", ""),
        secret_url("/").replace(&here.to_string(), "127.0.0.1:9"),
        secret_url("/").replace(&here.to_string(), &format!("{}.invalid", "x".repeat(70))),
        secret_url("/").replace(&here.to_string(), "169.254.169.254"),
        secret_url("/").replace(&here.to_string(), "a b"),
        secret_url("/\u{1}"),
        receiver.url("/"),
    ]);
    for url in urls {
        let row = job().url(url).body(format!("key={SECRET}")).timeout(1);
        let id = row.insert(&rig.database).await;
        rig.tried(id, 1).await;
    }
    let moved = rig.finish(job().url(secret_url("/busy")).retry_delay(0)).await;
    assert_eq!(moved.messages[2], format!("Calling job with method post on url http://{there}/?… (timeout 60)"));
    let large = format!("{SECRET}{}", "x".repeat(100_000));
    rig.finish(job().url(receiver.url("/")).body(large)).await.assert_done();
    let unusable = job().url(secret_url("/")).body(SECRET);
    rig.finish(unusable.clone().method("po st")).await;
    rig.finish(unusable.timeout(0)).await;
}

async fn assert_none_is_shown(rig: &Rig) {
    let log: Vec<String> = rig.database.query("SELECT msg FROM queued_job_log").await;
    let kept: Vec<String> = rig.database.query("SELECT COALESCE(last_response, '') FROM queued_job").await;
    let lines = rig.service.lines();
    assert!(lines.len() > 20 && log.len() > 20);
    for text in lines.iter().chain(&log).chain(&kept) {
        let encoded = ENCODED.iter().any(|encoded| text.contains(encoded));
        assert!(!text.contains(SECRET) && !text.contains(PASSWORD) && !encoded, "{text}");
    }
}

async fn rig(arguments: &[&str], filter: Option<&str>) -> (Rig, Account) {
    let database = TestDatabase::with_schema().await;
    let account = Account::create(&database).await;
    account.run_part(4).await;
    let ini = account.ini(&database, &format!("{QUIET}[api]\nuser: queue\npasswd: {SECRET}\n"));
    let mut command = program();
    command.arg("run").args(arguments).arg(ini);
    if let Some(filter) = filter {
        command.env("RUST_LOG", filter);
    }
    let rig = Rig { database, service: Service::spawn(command) };
    rig.service.wait_for_line("following the log", SOON).await;
    (rig, account)
}

#[tokio::test]
async fn no_secret_is_shown_when_everything_is_logged() {
    let (mut rig, _account) = rig(&["-vv"], None).await;
    run_all_kinds(&rig).await;
    assert_eq!(rig.service.stop(SOON).await, Some(0));
    assert_none_is_shown(&rig).await;
}

#[tokio::test]
async fn no_secret_is_shown_in_json_lines_either() {
    let (mut rig, _account) = rig(&["--log-format", "json"], Some("strings_queue=trace")).await;
    run_all_kinds(&rig).await;
    assert_eq!(rig.service.stop(SOON).await, Some(0));
    assert_none_is_shown(&rig).await;
}
