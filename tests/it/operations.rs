//! `docs/operations.md`: its statements run, and do what it says.

use crate::support::database::TestDatabase;
use crate::support::factory::{back_date, job};
use crate::support::receiver::{Answer, Receiver};
use crate::support::service::Service;
use crate::support::wait::{eventually, until};
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// The statements of the blocks of SQL below a heading.
pub fn statements(heading: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = section.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(|block| block.split_inclusive(";\n").map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The one that begins so, for this job.
fn statement(begin: &str, id: u64) -> String {
    let found = statements("Jobs in SQL").into_iter().find(|statement| statement.starts_with(begin));
    found.unwrap_or_else(|| panic!("{begin}")).replace("= 7", &format!("= {id}"))
}

async fn state(database: &TestDatabase, id: u64) -> String {
    database.query_one(&format!("SELECT CAST(state AS CHAR) FROM queued_job WHERE id = {id}")).await
}

/// All sources of the program.
fn sources(folder: &Path) -> String {
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { sources(&path) } else { std::fs::read_to_string(path).unwrap() }).collect()
}

#[test]
fn the_lines_to_watch_are_said_by_the_program() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let section = text.split("\n## What to watch\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() >= 8, "{rows:?}");
    let program = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    for said in rows.iter().flat_map(|row| row.split(" | ").next().unwrap().split('`').skip(1).step_by(2)) {
        let words = said.trim_end_matches(": …");
        assert!(program.contains(&format!("{words}\"")) || program.contains(&format!("{words}: ")), "{said}");
    }
    let start = section.split("A good start says ").nth(1).unwrap();
    for said in start.split('`').skip(1).step_by(2).take(2) {
        assert!(program.contains(&format!("\"{said}\"")), "{said}");
    }
}

#[tokio::test]
async fn every_statement_runs() {
    let database = TestDatabase::with_schema().await;
    job().insert(&database).await;
    let (all, of_backups) = (statements("Jobs in SQL"), statements("Backups and copies"));
    assert_eq!((all.len(), of_backups.len()), (10, 1));
    for statement in all.into_iter().chain(of_backups) {
        database.execute(&statement).await;
    }
}

#[tokio::test]
async fn jobs_are_steered_by_sql_while_the_service_runs() {
    let database = TestDatabase::with_schema().await;
    let receiver = Receiver::start().await;
    receiver.on_turns("/", [Answer::status(500), Answer::ok()]);
    let service = Service::run(&database.ini("[sweep]\ninterval_secs: 3600\ndegraded_interval_secs: 3600"));
    service.wait_for_line("following the log", SOON).await;
    let again = job().url(receiver.url("/")).insert(&database).await;
    until("the job is discarded", SOON, async || state(&database, again).await == "discarded").await;
    database.execute(&statement("UPDATE queued_job SET state = 'available'", again)).await;
    until("it is done", SOON, async || state(&database, again).await == "completed").await;
    // On a busy machine one may fall due before it is cancelled, and is called.
    let never = eventually("one is cancelled before it is due", SOON, async || {
        let id = job().url(receiver.url("/never")).run_at_in(1500).insert(&database).await;
        database.execute(&statement("UPDATE queued_job SET state = 'cancelled'", id)).await;
        (state(&database, id).await == "cancelled").then_some(id)
    })
    .await;
    let waiting =
        job().url(receiver.url("/waiting")).set("state", "retryable").run_at_in(3_600_000).insert(&database).await;
    database.execute(&statement("UPDATE queued_job SET run_at = NOW(6)", waiting)).await;
    until("it is called now", SOON, async || state(&database, waiting).await == "completed").await;
    let past = format!("SELECT run_at + INTERVAL 1 SECOND < NOW(6) FROM queued_job WHERE id = {never}");
    until("its time has passed", SOON, async || {
        let is_past = database.query_one::<bool>(&past).await;
        assert_eq!(state(&database, never).await, "cancelled", "it stays so");
        is_past
    })
    .await;
}

#[tokio::test]
async fn retention_deletes_what_is_old_by_the_index() {
    let database = TestDatabase::with_schema().await;
    for (finished, days) in [("completed", 31), ("completed", 29), ("available", 31)] {
        let id = job().set("state", finished).insert(&database).await;
        back_date(&database, id, days * 86_400).await;
        let line = format!("({id}, 'x', NOW() - INTERVAL {days} DAY)");
        database.execute(&format!("INSERT INTO queued_job_log (job_id, msg, created_at) VALUES {line}")).await;
    }
    for begin in ["DELETE job FROM queued_job ", "DELETE line FROM queued_job_log "] {
        database.execute(&statement(begin, 0)).await;
    }
    let left: (u64, u64) =
        database.query_one("SELECT (SELECT COUNT(*) FROM queued_job), (SELECT COUNT(*) FROM queued_job_log)").await;
    assert_eq!(left, (2, 1));
    let explain = format!("EXPLAIN FORMAT=TRADITIONAL {}", statement("DELETE job FROM queued_job ", 0));
    let plan: Vec<mysql_async::Row> = database.query(&explain).await;
    let keys: Vec<Option<String>> = plan.iter().map(|step| step.get("key").unwrap()).collect();
    assert!(keys.contains(&Some("state_run_at".to_owned())), "{keys:?}");
}
