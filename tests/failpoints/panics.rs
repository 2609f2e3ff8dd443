//! A panic within a call breaks that call alone, one within a replication client its stream alone.

use super::stage::{SOON, Stage, assert_stops};
use crate::support::account::Account;
use crate::support::server::OwnServer;
use crate::support::service::{Service, program};

#[tokio::test]
async fn a_panic_in_a_call_is_a_temporary_failure_of_its_job_and_of_no_other() {
    let stage = Stage::set().await;
    let ids = stage.insert(6).await;
    let mut service = stage.program("before-call=2*off->1*return(panic)", "");
    let line = service.wait_for_line("broke off inside strings-queue", SOON).await;
    assert!(line.contains("src/failpoints.rs:"), "where it was: {line}");
    stage.until_all_final().await;
    stage.check(&ids, 1).await;
    let mut attempts = Vec::new();
    for id in &ids {
        attempts.push(stage.row(*id).await.attempt);
    }
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 1, 1, 1, 1, 2], "one try was charged");
    assert_stops(&mut service).await;
    let told = service.lines();
    assert!(!told.iter().any(|line| line.contains("stack backtrace") || line.contains("panicked at")), "{told:#?}");
}

#[tokio::test]
async fn a_job_that_panics_at_each_try_comes_to_an_end() {
    let stage = Stage::set().await;
    let id = stage.insert(1).await[0];
    let mut service = stage.program("before-call=return(panic)", "");
    stage.until_all_final().await;
    let row = stage.row(id).await;
    assert_eq!((row.state.as_str(), row.attempt, row.remaining_retries), ("discarded", 6, 0));
    assert_stops(&mut service).await;
}

/// What each replication client does after a panic in the middle of its stream.
async fn panic_while_the_log_is_read(stage: &Stage, mut service: Service) {
    service.wait_for_line("following the log", SOON).await;
    let ids = stage.insert(30).await;
    let line = service.wait_for_line("the log is not being followed", SOON).await;
    assert!(line.contains("the replication client panicked: a failpoint at src/failpoints.rs:"), "{line}");
    stage.until_all_final().await;
    stage.check(&ids, 1).await;
    assert_stops(&mut service).await;
    let told = service.lines();
    let counted = told.iter().find(|line| line.contains("what the service did")).unwrap();
    assert!(counted.contains("stream_panics=1"), "{counted}");
    assert!(!told.iter().any(|line| line.contains("stack backtrace") || line.contains("panicked at")), "{told:#?}");
    assert!(told.iter().filter(|line| line.contains("following the log")).count() >= 2, "{told:#?}");
}

const IN_MID_STREAM: &str = "log-read=40*off->1*return(panic)";

/// On a server of its own: with the events of other tests in its log, the order would strike before a stream is open,
/// and then the other client takes over.
#[tokio::test]
async fn a_panic_of_either_client_in_mid_stream_is_counted_and_the_log_taken_up_again() {
    let server = OwnServer::start(&[]).await;
    let stage = Stage::set_on(server.access()).await;
    let service = stage.program(IN_MID_STREAM, "");
    assert!(service.wait_for_line("following the log", SOON).await.contains("Secure"));
    panic_while_the_log_is_read(&stage, service).await;

    let stage = Stage::set_on(server.access()).await;
    let account = Account::create(&stage.database).await;
    account.run_part(4).await;
    let mut command = program();
    command.arg("run").arg(account.ini(&stage.database, "[sweep]\ninterval_secs: 3600"));
    command.env("FAILPOINTS", IN_MID_STREAM);
    let service = Service::spawn(command);
    assert!(service.wait_for_line("following the log", SOON).await.contains("Plain"));
    panic_while_the_log_is_read(&stage, service).await;
}

/// A part of the service that breaks takes the service with it, and the next start goes on where it was.
async fn panic_of_a_part(place: &str) {
    let stage = Stage::set().await;
    let ids = stage.insert(8).await;
    let mut first = stage.program(&format!("{place}=2*off->1*return(panic)"), "max_in_flight: 1");
    assert_eq!(first.wait_for_exit(SOON).await.code(), Some(1), "{place}");
    let mut second = stage.program("", "");
    second.wait_for_line("following the log", SOON).await;
    stage.until_all_final().await;
    stage.check(&ids, 2).await;
    assert_stops(&mut second).await;
}

#[tokio::test]
async fn a_panic_in_a_claim_ends_the_service_and_loses_nothing() {
    panic_of_a_part("claim-committed").await;
}

#[tokio::test]
async fn a_panic_in_a_finish_ends_the_service_and_loses_nothing() {
    panic_of_a_part("before-finish").await;
}
