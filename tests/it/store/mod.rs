//! The store's deeds on real servers: what each does to the rows, what it locks, and which index serves it.

mod backlog;
mod bodies;
mod claim;
mod claim_races;
mod conflicts;
mod crowd;
pub mod finish;
mod finish_fence;
mod locks;
mod lone_claim;
mod plans;
mod release;
mod rescue;
mod scale;
mod sessions;
mod unanswered;

use crate::support::database::{TestDatabase, TestServer};
use std::time::Duration;
use strings_queue::config::{DatabaseConfig, HostPort, SslMode};
use strings_queue::job::JobId;
use strings_queue::store::{Claim, ClaimTerms, ClaimToken, ClaimedJob, Missed, Session, Store, claim};

/// Long enough for anything that happens at all.
pub const SOON: Duration = Duration::from_secs(30);

/// The store of a test's database.
fn store(database: &TestDatabase) -> Store {
    store_at(database, database.server().port)
}

/// The same by way of another port.
pub fn store_at(database: &TestDatabase, port: u16) -> Store {
    Store::new(&DatabaseConfig {
        hosts: vec![HostPort { host: "127.0.0.1".into(), port }],
        socket: None,
        user: "root".into(),
        password: None,
        name: database.name().into(),
        ssl_mode: SslMode::Disabled,
        ssl_ca: None,
    })
}

/// A session of the store of a test's database.
pub fn session(database: &TestDatabase) -> Session {
    store(database).session()
}

/// The terms of a dispatcher of that name.
fn terms(dispatcher: &str) -> ClaimTerms {
    ClaimTerms { dispatcher: dispatcher.into(), grace: Duration::from_secs(15), max_timeout_secs: 3600 }
}

fn ids(keys: &[u64]) -> Vec<JobId> {
    keys.iter().copied().map(JobId).collect()
}

/// Claims under a token of its own.
pub async fn claim_as(session: &mut Session, dispatcher: &str, keys: &[u64]) -> Claim {
    claim(session, &terms(dispatcher), ClaimToken::draw(), &ids(keys)).await.unwrap()
}

/// Claims all of these, which must be workable.
pub async fn claim_all(session: &mut Session, dispatcher: &str, keys: &[u64]) -> Vec<ClaimedJob> {
    let claim = claim_as(session, dispatcher, keys).await;
    assert_eq!(claim.missed, [], "all were workable");
    let mut jobs = claim.jobs;
    jobs.sort_unstable_by_key(|job| job.id);
    jobs
}

fn claimed_keys(claim: &Claim) -> Vec<u64> {
    let mut keys: Vec<u64> = claim.jobs.iter().map(|job| job.id.0).collect();
    keys.sort_unstable();
    keys
}

/// Why this one was not claimed.
fn reason(claim: &Claim, key: u64) -> Option<Missed> {
    claim.missed.iter().find(|(job, _)| job.0 == key).map(|(_, reason)| *reason)
}

async fn state(database: &TestDatabase, key: u64) -> String {
    database.query_one(&format!("SELECT COALESCE(CAST(state AS CHAR), 'NULL') FROM queued_job WHERE id = {key}")).await
}

/// The messages of one job, in order.
async fn messages(database: &TestDatabase, key: u64) -> Vec<String> {
    database.query(&format!("SELECT msg FROM queued_job_log WHERE job_id = {key} ORDER BY id")).await
}

/// A row, column by column, as text: to compare with itself later.
async fn whole_row(database: &TestDatabase, key: u64) -> String {
    let row: mysql_async::Row = database.query_one(&format!("SELECT * FROM queued_job WHERE id = {key}")).await;
    format!("{:?}", row.unwrap())
}

/// Whether the server under test is MySQL.
fn on_mysql() -> bool {
    TestServer::get().is_mysql()
}
