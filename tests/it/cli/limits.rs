//! The limit of open files: raised at the start, and never paid for by a job.

use super::{NO_SWEEP, SOON, end_of};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::{Answer, Gate, Receiver};
use crate::support::service::{Service, program};
use crate::support::wait::until;
use std::ffi::OsStr;
use tokio::process::Command;

/// The program, started by a shell with limits of its own.
fn limited(limits: &str, arguments: &[&OsStr]) -> Command {
    let program = program();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limits}; exec \"$@\""), "sh"]).arg(program.as_std().get_program());
    command.args(program.as_std().get_args()).args(arguments);
    command.env_remove("RUST_LOG").kill_on_drop(true);
    command
}

fn open_files(service: &Service) -> (u64, u64) {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", service.pid().as_raw_nonzero())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1])
}

#[tokio::test]
async fn the_soft_limit_is_raised_to_the_hard_one() {
    let database = TestDatabase::with_schema().await;
    let ini = database.ini("[dispatch]\nmax_in_flight: 600");
    let service = Service::spawn(limited("ulimit -Sn 200; ulimit -Hn 1000", &[OsStr::new("run"), ini.as_os_str()]));
    service.wait_for_line("following the log", SOON).await;
    assert_eq!(open_files(&service), (1_000, 1_000));
    assert!(!service.lines().iter().any(|line| line.contains("may open")), "{:?}", service.lines());
}

#[tokio::test]
async fn with_too_few_files_fewer_calls_are_made_at_once_and_no_job_pays() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let gate = Gate::closed();
    receiver.on("/", Answer::ok().behind(&gate));
    let ini = database.ini(&format!("{NO_SWEEP}\n[dispatch]\nmax_in_flight: 5000\nmax_in_flight_per_host: 5000"));
    let service = Service::spawn(limited("ulimit -n 200", &[OsStr::new("run"), ini.as_os_str()]));
    let line = service.wait_for_line("max_in_flight is 5000, but this process may open 200 files only", SOON).await;
    assert!(line.contains("WARN") && line.contains("enough for 72 calls") && line.contains("ulimit -n 5128"), "{line}");
    service.wait_for_line("following the log", SOON).await;
    job().url(receiver.url("/")).insert(&database).await;
    for _ in 0..9 {
        database.execute("INSERT INTO queued_job (http_method, url) SELECT http_method, url FROM queued_job").await;
    }
    receiver.wait_for(72, SOON).await;
    gate.open();
    until("all are done", SOON, async || {
        database.query_one::<u64>("SELECT COUNT(*) FROM queued_job WHERE state = 'completed'").await == 512
    })
    .await;
    assert_eq!((receiver.count(), receiver.max_in_flight()), (512, 72), "each at its first call");
}

#[tokio::test]
async fn check_remarks_on_it() {
    let database = TestDatabase::with_schema().await;
    let ini = database.ini("[dispatch]\nmax_in_flight: 2000");
    let checked = end_of(limited("ulimit -n 400", &[OsStr::new("check"), ini.as_os_str()])).await;
    assert_eq!(checked.code, Some(0), "{checked}");
    let told = "remark: [dispatch] max_in_flight is 2000, but this process may open 400 files only, enough for 272 calls\n  \
                mend: raise the limit (`ulimit -n 2128`, `LimitNOFILE=2128` in a unit), or lower max_in_flight\n";
    assert!(checked.stdout.contains(told), "{checked}");
}

#[tokio::test]
async fn kept_connections_to_many_hosts_are_not_paid_for_by_jobs() {
    let database = TestDatabase::with_schema().await;
    let mut receivers = Vec::new();
    for _ in 0..300 {
        let receiver = Receiver::start().await;
        job().url(receiver.url("/")).insert(&database).await;
        receivers.push(receiver);
    }
    let ini = database.ini(NO_SWEEP);
    let service = Service::spawn(limited("ulimit -n 200", &[OsStr::new("run"), ini.as_os_str()]));
    until("all are called", SOON, async || {
        database.query_one::<u64>("SELECT COUNT(*) FROM queued_job WHERE result_code IS NOT NULL").await == 300
    })
    .await;
    let counts: Vec<(String, u64)> =
        database.query("SELECT CAST(state AS CHAR), COUNT(*) FROM queued_job GROUP BY state").await;
    assert_eq!(counts, [("completed".to_owned(), 300)], "{:#?}", service.lines());
    service.wait_for_line("no more files can be opened: kept connections are closed", SOON).await;
    assert!(receivers.iter().all(|receiver| receiver.count() == 1));
}
