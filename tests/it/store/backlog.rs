//! Backlog: the jobs that are due or soon due, oldest first, page by page.

use super::{ids, session};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use mysql_async::prelude::Queryable;
use std::time::Duration;
use strings_queue::job::JobState;
use strings_queue::store::{PageEnd, Session, read_backlog, read_urls};

const HOUR: Duration = Duration::from_secs(3600);

/// All pages of so many rows, as keys.
async fn pages(session: &mut Session, state: JobState, rows: usize) -> Vec<Vec<u64>> {
    let (mut from, mut pages) = (Some(PageEnd::default()), Vec::new());
    while let Some(at) = from {
        let page = read_backlog(session, state, (&at, HOUR), rows).await.unwrap();
        pages.push(page.jobs.iter().map(|job| job.id.0).collect());
        from = page.end;
    }
    pages
}

#[tokio::test]
async fn jobs_come_oldest_first_up_to_the_horizon_and_of_one_state_alone() {
    let database = TestDatabase::with_schema().await;
    let soon = job().run_at_in(1_800_000).insert(&database).await;
    let young = job().due_for(5).insert(&database).await;
    let old = job().due_for(500).insert(&database).await;
    job().run_at_in(7_200_000).insert(&database).await;
    let retry = job().set("state", "retryable").due_for(50).insert(&database).await;
    for name in ["executing", "completed", "discarded", "cancelled"] {
        job().set("state", name).due_for(100).insert(&database).await;
    }
    let mut session = session(&database);
    let page = read_backlog(&mut session, JobState::Available, (&PageEnd::default(), HOUR), 100).await.unwrap();
    let found: Vec<u64> = page.jobs.iter().map(|job| job.id.0).collect();
    assert_eq!((found, page.end), (vec![old, young, soon], None));
    let due: Vec<i64> = page.jobs.iter().map(|job| job.due_in_micros / 1_000_000).collect();
    assert!((-560..=-500).contains(&due[0]) && (1700..=1800).contains(&due[2]), "{due:?}");
    assert_eq!(page.jobs[0].due_in(), Duration::ZERO);
    assert_eq!(pages(&mut session, JobState::Retryable, 100).await, [[retry]]);
}

#[tokio::test]
async fn pages_hold_every_job_once_though_many_have_the_same_time() {
    let database = TestDatabase::with_schema().await;
    let mut conn = database.conn().await;
    conn.query_drop("SET timestamp = UNIX_TIMESTAMP(NOW()) - 60").await.unwrap();
    for _ in 0..25 {
        let insert = "INSERT INTO queued_job (http_method, url) VALUES ('get', 'http://x/'), ('get', 'http://x/')";
        conn.query_drop(insert).await.unwrap();
    }
    let older = job().due_for(500).insert_times(&database, 3).await;
    let mut session = session(&database);
    for rows in [1, 7, 53, 100] {
        let found = pages(&mut session, JobState::Available, rows).await;
        let keys: Vec<u64> = found.concat();
        let expected: Vec<u64> = older.iter().copied().chain(1..=50).collect();
        assert_eq!(keys, expected, "in pages of {rows}");
        assert!(found.iter().all(|page| page.len() <= rows));
    }
}

#[tokio::test]
async fn rows_claimed_between_two_pages_make_none_be_passed_over() {
    let database = TestDatabase::with_schema().await;
    let keys = job().due_for(60).insert_times(&database, 20).await;
    let mut session = session(&database);
    let first = read_backlog(&mut session, JobState::Available, (&PageEnd::default(), HOUR), 8).await.unwrap();
    super::claim_all(&mut session, "me", &keys[..5]).await;
    let rest = read_backlog(&mut session, JobState::Available, (&first.end.unwrap(), HOUR), 100).await.unwrap();
    let rest: Vec<u64> = rest.jobs.iter().map(|job| job.id.0).collect();
    assert_eq!(rest, keys[8..]);
}

#[tokio::test]
async fn reading_waits_for_no_lock_and_takes_none() {
    let database = TestDatabase::with_schema().await;
    let keys = job().url("http://host/path").insert_times(&database, 3).await;
    let mut application = database.conn().await;
    application.query_drop("START TRANSACTION; UPDATE queued_job SET url = 'http://other/'").await.unwrap();
    let mut session = session(&database);
    assert_eq!(pages(&mut session, JobState::Available, 10).await, std::slice::from_ref(&keys));
    let urls = read_urls(&mut session, &ids(&[keys[0], keys[2] + 100])).await.unwrap();
    assert_eq!(urls, [(ids(&keys)[0], "http://host/path".to_owned())]);
}

/// Of a table that somebody has altered. It fails where it is claimed, alone.
#[tokio::test]
async fn a_row_without_a_url_hides_no_others() {
    let database = TestDatabase::with_schema().await;
    database.execute("ALTER TABLE queued_job MODIFY COLUMN url MEDIUMTEXT NULL").await;
    let keys = job().url("http://host/path").insert_times(&database, 2).await;
    database.execute(&format!("UPDATE queued_job SET url = NULL WHERE id = {}", keys[0])).await;
    let urls = read_urls(&mut session(&database), &ids(&keys)).await.unwrap();
    assert_eq!(urls, [(ids(&keys)[0], String::new()), (ids(&keys)[1], "http://host/path".to_owned())]);
}
