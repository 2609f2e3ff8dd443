//! `once`: everything workable now, and nothing else, then the end.

use super::{Ended, NO_SWEEP, SOON, run};
use crate::support::account::Account;
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::Proxy;
use crate::support::receiver::{Answer, Gate, Receiver};
use crate::support::server::OwnServer;
use crate::support::service::Service;
use crate::support::turn::Turn;
use crate::support::wait::until;
use rustix::process::Signal;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

async fn once(ini: &Path) -> Ended {
    run([OsStr::new("once"), ini.as_os_str()]).await
}

async fn states(database: &TestDatabase) -> HashMap<u64, String> {
    let rows: Vec<(u64, String)> = database.query("SELECT id, CAST(state AS CHAR) FROM queued_job").await;
    rows.into_iter().collect()
}

async fn finished(database: &TestDatabase) -> usize {
    states(database).await.values().filter(|state| *state == "completed").count()
}

/// How often each job was called.
fn calls(receiver: &Receiver) -> HashMap<u64, usize> {
    let mut calls = HashMap::new();
    for request in receiver.requests() {
        *calls.entry(request.job_id().unwrap()).or_default() += 1;
    }
    calls
}

#[tokio::test]
async fn it_runs_what_is_workable_now_and_leaves_the_rest_alone() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let row = || job().url(receiver.url("/"));
    let workable = [
        row().insert(&database).await,
        row().due_for(3_600).insert(&database).await,
        row().set("state", "retryable").set("attempt", 2).due_for(1).insert(&database).await,
        // Left by a dispatcher that is dead: nobody holds the lock of its name.
        row().set("state", "executing").set("claimed_by", "gone").set("claim_token", 7).insert(&database).await,
    ];
    let alone = [
        (row().run_at_in(3_600_000).insert(&database).await, "available"),
        (row().set("state", "retryable").run_at_in(3_600_000).insert(&database).await, "retryable"),
        (row().set("state", "cancelled").insert(&database).await, "cancelled"),
        (row().set("state", "discarded").insert(&database).await, "discarded"),
    ];
    let ended = once(&database.ini("")).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    let states = states(&database).await;
    for id in workable {
        assert_eq!(states[&id], "completed");
    }
    for (id, state) in alone {
        assert_eq!(states[&id], state);
    }
    assert_eq!(calls(&receiver), workable.into_iter().map(|id| (id, 1)).collect());
}

#[tokio::test]
async fn retries_that_are_due_at_once_are_part_of_it() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    receiver.on("/busy", Answer::status(503));
    receiver.on_turns("/better", [Answer::status(503), Answer::status(503), Answer::ok()]);
    let busy = job().url(receiver.url("/busy")).retries(2).retry_delay(0).insert(&database).await;
    let better = job().url(receiver.url("/better")).retry_delay(0).insert(&database).await;
    let later = job().url(receiver.url("/busy")).retry_delay(60).insert(&database).await;
    let ended = once(&database.ini("")).await;
    assert_eq!(ended.code, Some(0), "a failed job is no failure of ours: {ended}");
    let states = states(&database).await;
    let expected = [(busy, "discarded", 3), (better, "completed", 3), (later, "retryable", 1)];
    for (id, state, called) in expected {
        assert_eq!((states[&id].as_str(), calls(&receiver)[&id]), (state, called));
    }
}

#[tokio::test]
async fn a_table_larger_than_a_page_is_worked_off() {
    let _turn = Turn::take().await;
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    job().url(receiver.url("/")).insert(&database).await;
    for _ in 0..12 {
        database.execute("INSERT INTO queued_job (http_method, url) SELECT http_method, url FROM queued_job").await;
    }
    let ended = once(&database.ini("")).await;
    assert_eq!((ended.code, finished(&database).await, receiver.count()), (Some(0), 4_096, 4_096));
    assert!(calls(&receiver).values().all(|calls| *calls == 1));
}

#[tokio::test]
async fn with_nothing_to_do_it_ends_clean() {
    let database = TestDatabase::with_schema().await;
    once(&database.ini("")).await.assert_clean();
}

#[tokio::test]
async fn a_database_that_is_away_is_a_failure() {
    let database = TestDatabase::with_schema().await;
    let proxy = Proxy::start(database.server().address()).await;
    proxy.refuse().await;
    once(&database.ini_at(proxy.port(), "")).await.assert_failed(1, "the connection to the database failed");
}

#[tokio::test]
async fn tables_that_are_not_there_name_migrate() {
    let database = TestDatabase::create().await;
    let told = "there is no table queued_job; run `strings-queue migrate";
    once(&database.ini("")).await.assert_failed(1, told);
}

#[tokio::test]
async fn a_right_that_is_missing_is_a_failure_and_not_waited_for() {
    let database = TestDatabase::with_schema().await;
    let account = Account::create(&database).await;
    account.run(&format!("GRANT SELECT ON {}.* TO {}", database.name(), account.quoted())).await;
    job().set("state", "executing").set("claimed_by", "gone").insert(&database).await;
    let ended = once(&account.ini(&database, "")).await;
    ended.assert_failed(1, "the database answered error 1142");
}

/// Nothing is to be taken back: it is the claim that would be refused, or the result.
#[tokio::test]
async fn a_claim_or_a_result_that_nobody_may_write_is_a_failure_and_not_waited_for() {
    let server = OwnServer::start(&[]).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    let account = Account::create(&database).await;
    let receiver = Receiver::start().await;
    job().url(receiver.url("/")).insert(&database).await;
    let refused = async |rights: &str, told: &str| {
        account.run(&format!("GRANT {rights} TO {}", account.quoted())).await;
        once(&account.ini(&database, "")).await.assert_failed(1, told);
        assert_eq!(receiver.count(), 0);
    };
    let name = database.name();
    refused(&format!("SELECT ON {name}.*"), "error 1142: UPDATE command denied").await;
    refused(&format!("UPDATE ON {name}.queued_job"), "error 1142: INSERT command denied").await;
    database.execute("SET GLOBAL read_only = ON").await;
    refused(&format!("INSERT ON {name}.queued_job_log"), "error 1290").await;
    database.execute("SET GLOBAL read_only = OFF").await;
    assert_eq!(once(&account.ini(&database, "")).await.code, Some(0));
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn beside_a_running_service_it_does_no_harm() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let gate = Gate::closed();
    receiver.on("/", Answer::ok().behind(&gate));
    let ini = database.ini(NO_SWEEP);
    let mut service = Service::run(&ini);
    service.wait_for_line("following the log", SOON).await;
    let ids = job().url(receiver.url("/")).insert_times(&database, 100).await;
    receiver.wait_for(ids.len(), SOON).await;
    // All are in flight under the service's claims.
    let ended = once(&ini).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    gate.open();
    until("all are done", SOON, async || finished(&database).await == ids.len()).await;
    assert_eq!(calls(&receiver), ids.into_iter().map(|id| (id, 1)).collect());
    assert_eq!(service.stop(SOON).await, Some(0));
}

#[tokio::test]
async fn two_at_once_share_the_work() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let ids = job().url(receiver.url("/")).insert_times(&database, 300).await;
    let ini = database.ini("[dispatch]\nbatch_size: 10");
    let (one, other) = tokio::join!(once(&ini), once(&ini));
    assert_eq!((one.code, other.code), (Some(0), Some(0)), "{one}\n{other}");
    assert_eq!(calls(&receiver), ids.into_iter().map(|id| (id, 1)).collect());
    assert_eq!(finished(&database).await, 300);
}

#[tokio::test]
async fn a_signal_drains_it_too() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let gate = Gate::closed();
    receiver.on("/", Answer::ok().behind(&gate));
    let ids = job().url(receiver.url("/")).insert_times(&database, 3).await;
    let ini = database.ini("[dispatch]\nmax_in_flight: 1");
    let mut once = Service::start([OsStr::new("once"), ini.as_os_str()]);
    receiver.wait_for(1, SOON).await;
    once.signal(Signal::TERM);
    once.wait_for_line("stopping", SOON).await;
    gate.open();
    assert_eq!(once.wait_for_exit(SOON).await.code(), Some(0));
    let states = states(&database).await;
    let in_order: Vec<&str> = ids.iter().map(|id| states[id].as_str()).collect();
    assert_eq!(in_order, ["completed", "available", "available"]);
}
