//! Jobs, a handler, and the program with orders for its failpoints; and what must hold afterwards, whatever they were.

use crate::support::checker::plan::{Plan, answer_by_plan};
use crate::support::checker::{Scope, assert_well, read_stories};
use crate::support::database::{TestDatabase, TestServer};
use crate::support::factory::job;
use crate::support::ledger;
use crate::support::receiver::{Answer, Receiver};
use crate::support::service::{Service, program};
use crate::support::wait::until;
use std::collections::HashMap;
use std::time::Duration;

/// Long enough for anything that happens at all.
pub const SOON: Duration = Duration::from_secs(30);

/// A sweep so far away that what happens soon happens for another reason.
const FAR_AWAY: u32 = 3_600;

/// A database and a handler that answers by plan.
pub struct Stage {
    pub database: TestDatabase,
    pub receiver: Receiver,
}

/// A job's row, as far as these tests look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub state: String,
    pub attempt: u32,
    pub remaining_retries: i32,
}

impl Stage {
    pub async fn set() -> Stage {
        Stage::set_on(TestServer::get()).await
    }

    /// On another server.
    pub async fn set_on(server: &TestServer) -> Stage {
        let stage = Stage { database: TestDatabase::with_schema_on(server).await, receiver: Receiver::start().await };
        stage.answer();
        stage
    }

    /// From now on the handler answers every call at once.
    pub fn answer(&self) {
        answer_by_plan(&self.receiver, Duration::ZERO);
    }

    /// From now on it answers none.
    pub fn never_answer(&self) {
        self.receiver.on(Plan::Work.path(), Answer::never());
    }

    /// Inserts so many jobs with five retries, each to be tried again at once; their ids.
    pub async fn insert(&self, jobs: usize) -> Vec<u64> {
        let row = job().url(self.receiver.url(Plan::Work.path())).retries(5).retry_delay(0).timeout(20);
        row.insert_times(&self.database, jobs).await
    }

    /// The program with orders, such as `claim-committed=1*return(abort)`, and settings of `[dispatch]`.
    pub fn program(&self, orders: &str, dispatch: &str) -> Service {
        self.program_sweeping(orders, dispatch, FAR_AWAY)
    }

    /// The same, with a sweep every so many seconds.
    pub fn program_sweeping(&self, orders: &str, dispatch: &str, sweep_secs: u32) -> Service {
        let ini = self.database.ini(&format!("[sweep]\ninterval_secs: {sweep_secs}\n[dispatch]\n{dispatch}\n"));
        let mut command = program();
        command.arg("run").arg(ini).env("FAILPOINTS", orders);
        Service::spawn(command)
    }

    /// Waits until every job is in a final state.
    pub async fn until_all_final(&self) {
        let unfinished = "SELECT EXISTS (SELECT 1 FROM queued_job WHERE state NOT IN ('completed', 'discarded'))";
        until("every job is final", SOON, async || !self.database.query_one::<bool>(unfinished).await).await;
    }

    pub async fn row(&self, id: u64) -> Seen {
        let sql = format!("SELECT CAST(state AS CHAR), attempt, remaining_retries FROM queued_job WHERE id = {id}");
        let (state, attempt, remaining_retries) = self.database.query_one(&sql).await;
        Seen { state, attempt, remaining_retries }
    }

    /// How often each job was called.
    pub fn calls(&self) -> HashMap<u64, usize> {
        let mut calls = HashMap::new();
        for request in self.receiver.requests() {
            *calls.entry(request.job_id().unwrap()).or_default() += 1;
        }
        calls
    }

    /// How many lines of the history hold this text.
    pub async fn lines_with(&self, text: &str) -> i64 {
        let sql = format!("SELECT COUNT(*) FROM queued_job_log WHERE msg LIKE '%{text}%'");
        self.database.query_one(&sql).await
    }

    /// What holds after every order: the checker has nothing to say of the jobs, each was called at least once and at most
    /// so often, and succeeded.
    pub async fn check(&self, ids: &[u64], most_calls: u32) {
        let stories = read_stories(&self.database, &[&self.receiver], Scope::All).await;
        assert_well(&stories);
        assert_eq!(stories.iter().map(|story| story.id).collect::<Vec<_>>(), ids);
        for story in stories {
            assert!((1..=most_calls).contains(&story.all_calls()), "not so many calls: {story:?}");
            assert_eq!(story.lines.succeeded, 1, "{story:?}");
        }
    }
}

/// The program stops well, and no job was lost by the log. What its start finds was enqueued while nobody was there.
pub async fn assert_stops(service: &mut Service) {
    assert_eq!(service.stop(SOON).await, Some(0));
    ledger::assert_lost_only_to(service, &["lost_to_down"]);
}
