//! `test.sh`: which servers it tests on, what it adds up, and that nothing of it is left, however it ends.
//!
//! The servers are real. Its tests are not: a `cargo` of the test's own says how they ended.

use crate::support::database::server_program;
use crate::support::place::{Ended, Place, run_to_end};
use crate::support::wait::until;
use rustix::process::{Pid, Signal, kill_process_group};
use std::process::Stdio;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(120);
/// What `cargo` was asked for, one line each, with the server under test.
const ASKED: &str = "asked";
/// Results as the test harness prints them.
const PASSED: &str = "echo 'test result: ok. 3 passed; 0 failed; 0 ignored'";
const FAILED: &str = "echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored'; exit 101";

/// The name of the server under test.
fn server_name() -> String {
    std::env::var("STRINGS_QUEUE_TEST_SERVER").unwrap()
}

/// A place with a `cargo` whose integration tests do this, and the server under test in its cache.
fn place_to_test(integration_tests: &str) -> Place {
    let place = Place::new();
    let (metadata, asked) = (place.cargo_metadata(), place.path(ASKED));
    place.script(
        "bin/cargo",
        &format!(
            "echo \"$STRINGS_QUEUE_TEST_SERVER|$*\" >>'{}'\n\
             case \"$*\" in\n\
             metadata*) echo '{metadata}' ;;\n\
             *'--test it'*) {integration_tests} ;;\n\
             test*) {PASSED} ;;\n\
             esac",
            asked.display()
        ),
    );
    let program = server_program();
    let in_cache = place.path("cache").join(server_name());
    std::fs::create_dir_all(&in_cache).unwrap();
    let name = if server_name().starts_with("mysql") { "mysqld" } else { "mariadbd" };
    std::os::unix::fs::symlink(program, in_cache.join(name)).unwrap();
    let target = place.path("target/debug");
    std::fs::create_dir_all(&target).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_strings-queue"), target.join("strings-queue")).unwrap();
    std::fs::create_dir(place.path("tmp")).unwrap();
    place
}

fn test_sh(place: &Place, arguments: &[&str]) -> tokio::process::Command {
    let mut command = place.command("test.sh", arguments);
    // What the surrounding run has told its tests is not for the inner one.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STRINGS_QUEUE_") || name == "CI") {
        command.env_remove(name);
    }
    command.env("STRINGS_QUEUE_CACHE", place.path("cache")).env("TMPDIR", place.path("tmp"));
    command
}

/// Only on the server under test, without the checks.
async fn run_on_our_server(place: &Place) -> Ended {
    run_to_end(&mut test_sh(place, &["--fast", "--server", &server_name()])).await
}

/// No process, no folder.
async fn assert_nothing_is_left(place: &Place) {
    // A killed process takes a moment to be gone.
    until("its processes are gone", Duration::from_secs(5), async || place.processes().is_empty()).await;
    let left = std::fs::read_dir(place.path("tmp")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(left.collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new());
}

fn last_line(ended: &Ended) -> &str {
    ended.stdout.trim_end().rsplit('\n').next().unwrap()
}

#[tokio::test]
async fn it_runs_on_the_servers_that_are_there_and_names_those_left_out() {
    let place = place_to_test(PASSED);
    let mut available = place.command("scripts/servers.sh", &["available"]);
    let available = run_to_end(available.env("STRINGS_QUEUE_CACHE", place.path("cache"))).await.stdout;
    let ended = run_to_end(&mut test_sh(&place, &["--fast"])).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // Unit tests and those of the documentation; on each server failpoints, the benchmark and the integration tests.
    let passed = 6 + 9 * available.lines().count();
    assert_eq!(last_line(&ended), format!("{passed} passed, 0 failed"));
    let summary = ended.stdout.split("==== Summary").nth(1).unwrap();
    let asked = place.lines(ASKED);
    let mut left_out = 0;
    for name in ["mariadb-10.11", "mariadb-11.8", "mysql-9.7"] {
        let tests = format!("tests on {name}");
        let line = summary.lines().find(|line| line.trim_start().starts_with(&tests)).expect("a line for each server");
        let tested = asked.iter().any(|line| line.starts_with(&format!("{name}|test --locked --test it")));
        assert_eq!(tested, available.lines().any(|there| there == name), "{name}: {asked:?}");
        if tested {
            assert!(line.ends_with(" 3 passed"), "{line}");
        } else {
            let why = format!("left out: not on this machine: scripts/servers.sh fetch {name}");
            assert!(line.ends_with(&why), "{line}");
            assert!(ended.stderr.contains(&format!("strings-queue: {tests} {why}\n")), "{}", ended.stderr);
            left_out += 1;
        }
    }
    assert!(left_out > 0, "this machine has one installed server at most, and the cache has one");
    assert_nothing_is_left(&place).await;
}

#[tokio::test]
async fn servers_that_were_not_asked_for_are_left_out_by_name() {
    let place = place_to_test(PASSED);
    let ended = run_on_our_server(&place).await;
    assert_eq!((ended.code, last_line(&ended)), (Some(0), "15 passed, 0 failed"), "{ended:?}");
    let known = ["mariadb-10.11", "mariadb-11.8", "mysql-9.7"];
    for name in known.into_iter().filter(|name| *name != server_name()) {
        assert!(ended.stderr.contains(&format!("tests on {name} left out: not asked for\n")), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_failed_test_fails_the_run_and_its_server_is_gone() {
    let place = place_to_test(FAILED);
    let ended = run_on_our_server(&place).await;
    assert_eq!((ended.code, last_line(&ended)), (Some(1), "14 passed, 1 failed"), "{ended:?}");
    assert!(ended.stdout.contains("FAILED (2 passed, 1 failed)"), "{}", ended.stdout);
    assert_nothing_is_left(&place).await;
}

/// It has passed all the same, and would look as if it had been tried.
#[tokio::test]
async fn what_a_test_could_not_try_is_told_at_the_end() {
    let told = "for what in 'full disks: no root' 'in full only: a' 'full disks: no root' 'in full only: b'; do \
                echo \"$what\" >>\"$STRINGS_QUEUE_LEFT_OUT\"; done";
    let place = place_to_test(&format!("{told}; {PASSED}"));
    let ended = run_on_our_server(&place).await;
    let summary = ended.stdout.split("==== Summary").nth(1).unwrap();
    let lines: Vec<&str> = summary.lines().filter(|line| line.contains("full disks")).collect();
    assert_eq!(lines.len(), 1, "{summary}");
    assert!(lines[0].contains(&server_name()) && lines[0].ends_with("left out: full disks: no root"), "{summary}");
    assert!(summary.contains("left out: without a short form: 2; --all runs them\n"), "{summary}");
    assert_nothing_is_left(&place).await;
}

/// It is not over when the tests are, or fails; both count.
#[tokio::test]
async fn the_benchmark_beside_the_tests_is_waited_for_and_counts() {
    for (benchmark, code) in [(PASSED, 0), ("exit 7", 1)] {
        let place = place_to_test(PASSED);
        let cargo = std::fs::read_to_string(place.path("bin/cargo")).unwrap();
        let slow =
            format!("*'--bench queue'*) sleep 3; touch '{}'; {benchmark} ;;\ntest*)", place.path("done").display());
        place.script("bin/cargo", &cargo.replacen("test*)", &slow, 1));
        let ended = run_on_our_server(&place).await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(place.path("done").exists());
        assert_eq!(ended.stdout.contains("FAILED"), code == 1, "{}", ended.stdout);
        assert_nothing_is_left(&place).await;
    }
}

/// A test program that cannot be built names no test, and the run is not green.
#[tokio::test]
async fn a_step_that_names_no_failed_test_counts_as_one() {
    let place = place_to_test("exit 101");
    let ended = run_on_our_server(&place).await;
    assert_eq!((ended.code, last_line(&ended)), (Some(1), "12 passed, 1 failed"), "{ended:?}");
    assert_nothing_is_left(&place).await;
}

/// A test that hears no signal, with a private server of its own, is in the middle of its work.
#[tokio::test]
async fn an_interrupt_in_the_middle_of_the_tests_leaves_nothing() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let place = place_to_test("\"$DEAF_TEST\"");
        place.script("deaf", "trap '' INT TERM HUP\ntouch \"$0.began\"\nfor moment in $(seq 600); do sleep 0.1; done");
        let mut command = test_sh(&place, &["--fast", "--server", &server_name()]);
        command.env("DEAF_TEST", place.path("deaf")).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        until("the tests run", SOON, async || place.path("deaf.began").exists()).await;
        let servers = place.processes().iter().filter(|process| process.contains("--datadir=")).count();
        assert!(servers > 0, "a server runs: {:?}", place.processes());
        kill_process_group(Pid::from_raw(child.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
        let status = tokio::time::timeout(SOON, child.wait()).await.expect("it ends").unwrap();
        assert_eq!(status.code(), Some(code));
        assert_nothing_is_left(&place).await;
    }
}

/// With every server required, one that cannot be had is a failure and no line among those left out.
#[tokio::test]
async fn a_required_server_that_cannot_be_had_is_a_failure() {
    let place = place_to_test(PASSED);
    place.script("bin/apt-get", "exit 100");
    let (mut by_argument, mut by_variable) =
        (test_sh(&place, &["--fast", "--require-all"]), test_sh(&place, &["--fast"]));
    by_variable.env("STRINGS_QUEUE_REQUIRE_ALL", "1");
    for command in [&mut by_argument, &mut by_variable] {
        let ended = run_to_end(command).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stdout.contains("FAILED: the server is not to be had"), "{}", ended.stdout);
        assert!(!last_line(&ended).ends_with(" 0 failed"), "{}", last_line(&ended));
        assert!(!ended.stdout.contains("left out"), "{}", ended.stdout);
    }
}

#[tokio::test]
async fn help_is_shown_and_wrong_usage_is_told() {
    let place = Place::new();
    for (script, shown) in [("test.sh", "--require-all"), (".ci/run", "--require-all"), ("bench.sh", "backlog latency")]
    {
        for flag in ["-h", "--help"] {
            let ended = run_to_end(&mut place.command(script, &[flag])).await;
            assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{script}");
            assert!(ended.stdout.contains(shown), "{}", ended.stdout);
        }
    }
    for (arguments, told) in
        [(&["--loud"][..], "test.sh: unknown argument --loud\n"), (&["--server"], "test.sh: --server needs a name\n")]
    {
        let ended = run_to_end(&mut place.command("test.sh", arguments)).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
        assert!(ended.stderr.starts_with(told), "{}", ended.stderr);
    }
    for arguments in [&["--loud"][..], &["--server"]] {
        let ended = run_to_end(&mut place.command("bench.sh", arguments)).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ended.stderr.contains("./bench.sh [--server NAME]"), "{}", ended.stderr);
    }
}
