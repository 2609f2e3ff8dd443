//! Log lines: one for each event, as text or as JSON, as much as is asked for.

use super::{NO_SWEEP, SOON, run};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::{Answer, Receiver};
use crate::support::service::{Service, program};
use crate::support::wait::until;
use serde_json::Value;
use std::ffi::OsStr;
use std::time::Duration;

/// A service that made these calls, one of each kind, and was stopped; its lines.
struct Told {
    /// Done, refused for now, refused for good, too late, never connected.
    jobs: [u64; 5],
    host: String,
    lines: Vec<String>,
}

async fn tell(options: &[&str], filter: Option<&str>) -> Told {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    receiver.on("/ok", Answer::ok().body("two\nlines \u{1b}[31m\u{0}\r\n{\"level\":\"FAKE\"}\nfour"));
    receiver.on("/busy", Answer::status(503).body("busy\n2026-01-01T00:00:00Z  INFO fake"));
    receiver.on("/fail", Answer::status(500));
    receiver.on("/never", Answer::never());
    let url = |path| job().url(receiver.url(path));
    let rows = [url("/ok"), url("/busy"), url("/fail"), url("/never").timeout(1), job().url("http://127.0.0.1:9/")];
    let mut jobs = [0; 5];
    for (id, row) in jobs.iter_mut().zip(rows) {
        *id = row.insert(&database).await;
    }
    let mut command = program();
    command.args(options).arg("run").arg(database.ini(NO_SWEEP));
    if let Some(filter) = filter {
        command.env("RUST_LOG", filter);
    }
    let mut service = Service::spawn(command);
    until("all are called", SOON, async || {
        let sql = "SELECT COUNT(*) FROM queued_job WHERE result_code IS NOT NULL";
        database.query_one::<u64>(sql).await == 5
    })
    .await;
    assert_eq!(service.stop(SOON).await, Some(0));
    Told { jobs, host: format!("127.0.0.1:{}", receiver.address().port()), lines: service.lines() }
}

fn levels(told: &Told) -> Vec<&str> {
    let known = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
    let level = |line: &String| known.into_iter().find(|level| line.split_whitespace().nth(1) == Some(level));
    told.lines.iter().map(|line| level(line).unwrap_or_else(|| panic!("no line of ours: {line}"))).collect()
}

#[tokio::test]
async fn json_lines_parse_and_each_call_has_its_fields() {
    let told = tell(&["--log-format", "json"], None).await;
    let events: Vec<Value> = told
        .lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for event in &events {
        let has = |name: &str| event[name].as_str().is_some_and(|text| !text.is_empty());
        assert!(has("timestamp") && has("level") && has("target") && has("message"), "{event}");
        assert_ne!(event["level"], "FAKE");
    }
    let expected = [
        ("INFO", 200, "Job succeeded: two / lines"),
        ("WARN", 503, "Job failed temporarily: busy"),
        ("WARN", 500, "Job failed permanently"),
        ("WARN", 0, "Job failed due to timeout"),
        ("WARN", 0, "Job failed temporarily: connection failed"),
    ];
    for (id, (level, status, begin)) in told.jobs.into_iter().zip(expected) {
        let of_it: Vec<&Value> = events.iter().filter(|event| event["job"] == id).collect();
        assert_eq!(of_it.len(), 1, "one line for one call: {of_it:#?}");
        let event = of_it[0];
        assert_eq!((&event["level"], &event["status"], &event["attempt"]), (&level.into(), &status.into(), &1.into()));
        let message = event["message"].as_str().unwrap();
        let begin = begin.split(" / ").next().unwrap();
        assert!(message.starts_with(&format!("[JOBID {id}] {begin}")), "{message}");
        let host = if begin.contains("connection") { "127.0.0.1:9" } else { &told.host };
        assert_eq!(event["host"], host);
        let duration = Duration::from_secs_f64(event["duration_ms"].as_f64().unwrap() / 1e3);
        assert!(duration < SOON && (id != told.jobs[3] || duration >= Duration::from_secs(1)), "{duration:?}");
    }
}

#[tokio::test]
async fn text_lines_are_one_for_each_event_whatever_a_handler_says() {
    let told = tell(&[], None).await;
    let levels = levels(&told);
    assert!(levels.iter().all(|level| ["INFO", "WARN"].contains(level)), "{:#?}", told.lines);
    for id in told.jobs {
        let count = told.lines.iter().filter(|line| line.contains(&format!(" job={id} "))).count();
        assert_eq!(count, 1, "{:#?}", told.lines);
    }
    let control = |line: &&String| line.chars().any(char::is_control);
    assert_eq!(told.lines.iter().find(control), None);
}

#[tokio::test]
async fn quiet_leaves_warnings_and_errors_and_quieter_errors() {
    let quiet = tell(&["-q"], None).await;
    assert_eq!(levels(&quiet), ["WARN"; 4], "{:#?}", quiet.lines);
    let quieter = tell(&["-qq"], None).await;
    assert_eq!(quieter.lines, [""; 0]);
}

#[tokio::test]
async fn verbose_shows_details_unless_the_environment_says_otherwise() {
    let verbose = tell(&["-v"], None).await;
    assert!(levels(&verbose).contains(&"DEBUG"), "{:#?}", verbose.lines);
    let errors = tell(&["-vv"], Some("error")).await;
    assert_eq!(errors.lines, [""; 0]);
    let part = tell(&["-q"], Some("strings_queue::dispatch=info,off")).await;
    assert!(levels(&part).contains(&"INFO"), "{:#?}", part.lines);
    assert!(!part.lines.iter().any(|line| line.contains("starting")), "{:#?}", part.lines);
}

#[tokio::test]
async fn where_a_machine_reads_the_last_word_of_a_failure_is_for_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.ini");
    std::fs::write(&wrong, "[db]\nhots: x\n").unwrap();
    for (ini, code, words) in
        [(&wrong, 2, "[db] user: is missing"), (&folder.path().join("none.ini"), 2, "no such file")]
    {
        let ended = run([OsStr::new("--log-format"), OsStr::new("json"), OsStr::new("run"), ini.as_os_str()]).await;
        let events: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let told = |event: &&Value| event["level"] == "ERROR" && event["message"].as_str().unwrap().contains(words);
        assert_eq!((ended.code, events.iter().filter(told).count()), (Some(code), 1), "{events:#?}");
        let quiet = run([
            OsStr::new("--log-format"),
            OsStr::new("json"),
            OsStr::new("-qq"),
            OsStr::new("run"),
            ini.as_os_str(),
        ]);
        assert!(quiet.await.stderr.contains(words), "an error");
    }
}
