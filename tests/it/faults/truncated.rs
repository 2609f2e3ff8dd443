//! The table emptied under load: its numbers begin anew, while calls and results of the former rows are under way.

use super::load::Load;
use super::plan::{answer_by_plan_and, attempt_of};
use super::stops::{settings, stop_in_time};
use super::{ENOUGH, all_following, all_stop, base, report, settles, stage, times};
use crate::support::database::TestDatabase;
use crate::support::receiver::Receiver;
use crate::support::wait::until;
use std::collections::BTreeMap;
use std::time::Duration;

/// Each writer may have had one commit under way when the table was emptied.
const WRITERS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_emptied_under_load_keeps_the_results_of_former_jobs_from_those_that_have_their_numbers() {
    let (database, receiver) = stage().await;
    // A path is one job's, whereas a number is that of a job of each table.
    answer_by_plan_and(&receiver, |answer, call| answer.body(signature(&call.path, attempt_of(call))));
    let mut services = all_following(&database.ini(&settings()), 3).await;
    let load = Load::start(&database, &base(&receiver), (WRITERS, 60));
    let mut before = 0;
    for _ in 0..times(3, 30) {
        tokio::time::sleep(Duration::from_millis(700)).await;
        database.execute("TRUNCATE queued_job").await;
        before = load.committed();
    }
    // A stop in the middle of it.
    database.execute("TRUNCATE queued_job").await;
    before = before.max(load.committed());
    let mut leaving = services.pop().unwrap();
    assert_eq!(stop_in_time(&mut leaving).await, Some(0));
    let written = load.stop_after(before + ENOUGH).await;
    let unfinished = "SELECT COUNT(*) FROM queued_job WHERE state NOT IN ('completed', 'discarded')";
    until("every job is final", settles(), async || database.query_one::<u64>(unfinished).await == 0).await;
    let jobs = assert_each_has_its_own_result(&database, &receiver).await;
    assert!(jobs + WRITERS >= written.committed.len() - before, "{jobs} of {} jobs", written.committed.len() - before);
    report("table emptied", format!("{jobs} jobs of the last table, {} a second", written.per_second));
    // The log has a statement, and it names no job.
    all_stop(services, &["lost_to_decode"]).await;
}

fn signature(path: &str, attempt: u32) -> String {
    format!("{path} attempt {attempt}")
}

/// Every job was called once for each of its tries, and holds what was said to its last one; how many there are.
async fn assert_each_has_its_own_result(database: &TestDatabase, receiver: &Receiver) -> usize {
    let mut calls: BTreeMap<String, u32> = BTreeMap::new();
    for call in receiver.requests() {
        *calls.entry(call.path).or_default() += 1;
    }
    let jobs: Vec<(String, u32, String)> =
        database.query("SELECT url, attempt, COALESCE(last_response, '') FROM queued_job").await;
    for (url, attempt, response) in &jobs {
        let path = url.strip_prefix(&base(receiver)).unwrap();
        assert_eq!(*response, signature(path, *attempt));
        assert_eq!(calls.get(path), Some(attempt), "{path}");
    }
    jobs.len()
}
