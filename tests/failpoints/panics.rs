//! A panic within a call breaks that call alone.

use super::stage::{SOON, Stage};

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
    assert_eq!(service.stop(SOON).await, Some(0));
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
    assert_eq!(service.stop(SOON).await, Some(0));
}
