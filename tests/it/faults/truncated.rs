//! The table emptied under load: its numbers begin anew, while calls and results of the former rows are under way.

use super::checker::called_though_rolled_back;
use super::load::Load;
use super::plan::answer_by_plan;
use super::stops::{settings, stop_in_time};
use super::{ENOUGH, all_following, all_stop, base, report, settles, stage, times};
use crate::support::checker::{Scope, assert_well, extra_calls, read_stories};
use crate::support::database::TestDatabase;
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use std::time::Duration;

/// Each writer may have had one commit under way when the table was emptied.
const WRITERS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_emptied_under_load_keeps_the_results_of_former_jobs_from_those_that_have_their_numbers() {
    let (database, receiver) = stage().await;
    // Some are under way at any time.
    answer_by_plan(&receiver, Duration::from_millis(50));
    let mut services = all_following(&database.ini(&settings()), 3).await;
    let load = Load::start(&database, &base(&receiver), (WRITERS, 60));
    let mut before = 0;
    for _ in 0..times(3, 30) {
        tokio::time::sleep(Duration::from_millis(700)).await;
        database.execute("TRUNCATE queued_job").await;
        before = load.committed();
    }
    // The lines of former jobs would be taken for those of jobs that have their numbers: both at once, so that no line of
    // the others is lost. A stop in the middle of it.
    empty_both(&database).await;
    before = before.max(load.committed());
    let mut leaving = services.pop().unwrap();
    assert_eq!(stop_in_time(&mut leaving).await, Some(0));
    let written = load.stop_after(before + ENOUGH).await;
    let unfinished = "SELECT COUNT(*) FROM queued_job WHERE state NOT IN ('completed', 'discarded')";
    until("every job is final", settles(), async || database.query_one::<u64>(unfinished).await == 0).await;
    // Calls of former jobs are of the same numbers, and of other paths.
    let stories = read_stories(&database, &[&receiver], Scope::Like("%")).await;
    assert_well(&stories);
    assert_eq!(extra_calls(&stories), 0);
    assert_eq!(called_though_rolled_back(&receiver, &written), Vec::<String>::new());
    let jobs = stories.len();
    assert!(jobs + WRITERS >= written.committed.len() - before, "{jobs} of {} jobs", written.committed.len() - before);
    report("table emptied", format!("{jobs} jobs of the last table, {} a second", written.per_second));
    // The log has a statement, and it names no job.
    all_stop(services, &["lost_to_decode"]).await;
}

/// No other session comes between the two.
async fn empty_both(database: &TestDatabase) {
    let mut conn = database.conn().await;
    conn.query_drop("LOCK TABLES queued_job WRITE, queued_job_log WRITE").await.unwrap();
    for table in ["queued_job", "queued_job_log"] {
        conn.query_drop(format!("TRUNCATE {table}")).await.unwrap();
    }
    conn.query_drop("UNLOCK TABLES").await.unwrap();
}
