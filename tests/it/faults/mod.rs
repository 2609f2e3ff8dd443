//! Faults under load: after each scenario one checker holds the handler's own record against the tables.

mod batches;
pub mod checker;
mod clocks;
mod connections;
mod database;
mod daylight;
mod disk;
mod encryption;
mod hurried;
mod inheritance;
mod kills;
mod limits;
pub mod load;
mod locked_rows;
mod locks;
mod logs;
mod losses;
mod lost_claims;
mod menagerie;
mod network;
mod orphans;
mod outages;
mod stops;
mod stops_amid;
mod stops_in_want;
mod sweeps;
mod truncated;
mod twins;
mod vanished;
mod visibility;
mod watches;
mod zones;
mod zoo;

use crate::support::checker::plan;
use crate::support::database::{TestDatabase, TestServer};
use crate::support::ledger;
use crate::support::receiver::Receiver;
use crate::support::service::Service;
use crate::support::turn::Turn;
use crate::support::wait::until;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

/// How long any scenario may take to settle after its last fault. A promise has a bound of its own.
const SETTLES: Duration = Duration::from_secs(90);
/// The rescue begins within two seconds of a death; half a second more to look at it, and half for a busy machine.
const RESCUED_WITHIN: Duration = Duration::from_secs(3);

/// Fewer transactions than these are no load.
const ENOUGH: usize = 200;

/// Settings under which only the log, the timers and the rescue can serve a job: the sweep is an hour away. Where there are
/// two dispatchers, each takes what it sees the other leave, too: that none of them needs it is shown with one alone.
const NO_SWEEP: &str = "[sweep]\ninterval_secs: 3600\n[retry]\njitter: 0\n";

/// Scenarios that are run in full by `./test.sh --all`, and in short otherwise.
fn times(short: usize, full: usize) -> usize {
    if std::env::var_os("STRINGS_QUEUE_SLOW").is_some() { full } else { short }
}

/// How long the jobs of a scenario may take to become final; a full form leaves many.
fn settles() -> Duration {
    SETTLES * u32::try_from(times(1, 7)).unwrap()
}

/// A service on the database that has begun to follow the log.
async fn following(ini: &Path) -> Service {
    let service = Service::run(ini);
    until_it_follows(&service, ini).await;
    service
}

/// The same, which tells its details, and with them of its sweeps; and the line that tells that it follows.
async fn following_in_detail(ini: &Path) -> (Service, String) {
    let service = Service::start([OsStr::new("-v"), OsStr::new("run"), ini.as_os_str()]);
    let followed = until_it_follows(&service, ini).await;
    (service, followed)
}

/// The same when the sweeps of its start are over too: no other one is due before its time, and none is because of the
/// start.
async fn settled(ini: &Path) -> Service {
    let (service, followed) = following_in_detail(ini).await;
    let over = async || sweeps::of_the_start_are_over(&service, &followed);
    until("the sweeps of the start are over", Duration::from_secs(20), over).await;
    service
}

/// By the client that the settings are for; the line that tells it.
async fn until_it_follows(service: &Service, ini: &Path) -> String {
    let line = service.wait_for_line("following the log", Duration::from_secs(20)).await;
    let client = if std::fs::read_to_string(ini).unwrap().contains("\npasswd: ") { "Plain" } else { "Secure" };
    assert!(line.contains(&format!("client={client}")), "{line}");
    line
}

/// So many services on one configuration, all of which follow the log.
async fn all_following(ini: &Path, count: usize) -> Vec<Service> {
    let mut services = Vec::new();
    for _ in 0..count {
        services.push(following(ini).await);
    }
    services
}

/// Each stops well, and lost no job of the log but for these causes.
async fn all_stop(services: Vec<Service>, causes: &[&str]) {
    for mut service in services {
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
        ledger::assert_lost_only_to(&service, causes);
    }
}

/// A database with the tables and a receiver that answers by plan, at once.
async fn stage() -> (TestDatabase, Receiver) {
    stage_on(TestServer::get()).await
}

/// The same with nothing beside it: what must come in time is not to wait for a processor.
async fn stage_alone() -> (TestDatabase, Receiver) {
    stage_in(Some(Turn::take_all().await), TestServer::get()).await
}

/// The same on another server. It waits for the scenario's turn.
async fn stage_on(server: &TestServer) -> (TestDatabase, Receiver) {
    stage_in(Some(Turn::take().await), server).await
}

/// The same for what puts no load on anything, and waits far longer than it works: it needs no turn.
async fn stage_without_load() -> (TestDatabase, Receiver) {
    stage_without_load_on(TestServer::get()).await
}

async fn stage_without_load_on(server: &TestServer) -> (TestDatabase, Receiver) {
    stage_in(None, server).await
}

/// Each scenario has one of the two clients that read the log in its short form, and the other one in its full form. Which
/// is which is by its name, so that both have their share of every kind.
fn is_for_the_plain_client() -> bool {
    let thread = std::thread::current();
    let letters = thread.name().unwrap_or_default().bytes().map(usize::from).sum::<usize>();
    (letters + times(0, 1)).is_multiple_of(2)
}

async fn stage_in(turn: Option<Turn>, server: &TestServer) -> (TestDatabase, Receiver) {
    let mut database = TestDatabase::with_schema_on(server).await;
    if let Some(turn) = turn {
        database = database.in_turn(turn);
    }
    if is_for_the_plain_client() {
        database = database.with_a_password().await;
    }
    let receiver = Receiver::start().await;
    plan::answer_by_plan(&receiver, Duration::ZERO);
    (database, receiver)
}

/// The base URL of the receiver, to which a plan's path is added.
fn base(receiver: &Receiver) -> String {
    receiver.url("")
}

/// What a full form measured, for `docs/reliability.md`.
#[allow(clippy::print_stdout, reason = "seen with --nocapture")]
fn report(scenario: &str, figures: impl std::fmt::Display) {
    println!("{} on {}: {figures}", scenario, TestServer::get().name);
}
