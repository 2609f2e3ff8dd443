//! A panic is a line like all others.

use std::process::Stdio;
use strings_queue::logging::{self, LogFormat};

/// Tells a run of this test binary to panic.
const SACRIFICE: &str = "STRINGS_QUEUE_TEST_PANIC";

/// Not a test of its own: what [`a_panic_is_one_line_that_says_where`] runs.
#[test]
fn sacrifice() {
    let format = match std::env::var(SACRIFICE).as_deref() {
        Ok("json") => LogFormat::Json,
        Ok(_) => LogFormat::Text,
        Err(_) => return,
    };
    logging::init(format, 0).unwrap();
    let thread = std::thread::Builder::new().name("worker".into());
    let _ = thread.spawn(|| panic!("an index\nout of {}", "range")).unwrap().join();
}

fn told(format: &str) -> Vec<String> {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "cli::panics::sacrifice", "--nocapture"]).env(SACRIFICE, format).env_remove("RUST_LOG");
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8(output.stderr).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_panic_is_one_line_that_says_where() {
    let lines = told("text");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let parts = ["ERROR a panic, which is a fault of this program: an index\\nout of range", "panics.rs:", "worker"];
    for part in parts {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }
    let lines = told("json");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let event: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((&event["level"], &event["thread"]), (&"ERROR".into(), &"worker".into()));
}
