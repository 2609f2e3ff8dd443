//! A part of the service that ends when it should not ends the service, non-zero, and says where it was.

use super::stage::{SOON, Stage, assert_stops};
use crate::support::service::Service;

/// It ends by itself; the panic is one line, and the last one says what was lost by it.
async fn assert_ends(service: &mut Service, last: &str) {
    assert_eq!(service.wait_for_exit(SOON).await.code(), Some(1), "{:#?}", service.lines());
    let lines = service.lines();
    let panics: Vec<&String> = lines.iter().filter(|line| line.contains("a panic, which is a fault of")).collect();
    assert_eq!(panics.len(), 1, "{lines:#?}");
    assert!(panics[0].contains("ERROR") && panics[0].contains("src/failpoints.rs:"), "{}", panics[0]);
    assert!(lines.last().unwrap().starts_with(&format!("strings-queue: {last}")), "{lines:#?}");
}

#[tokio::test]
async fn a_panic_of_the_task_that_records_results_ends_the_service_and_the_next_start_loses_nothing() {
    let stage = Stage::set().await;
    let ids = stage.insert(5).await;
    let mut service = stage.program("before-finish=1*return(panic)", "");
    assert_ends(&mut service, "a task of the dispatcher failed").await;
    let mut next = stage.program("", "");
    stage.until_all_final().await;
    stage.check(&ids, 2).await;
    assert_stops(&mut next).await;
}

#[tokio::test]
async fn a_panic_of_a_claim_ends_the_service_and_the_next_start_loses_nothing() {
    let stage = Stage::set().await;
    let ids = stage.insert(5).await;
    let mut service = stage.program("claim-committed=return(panic)", "");
    assert_ends(&mut service, "a task of the dispatcher failed").await;
    let mut next = stage.program("", "");
    stage.until_all_final().await;
    stage.check(&ids, 2).await;
    assert_stops(&mut next).await;
}
