//! Two dispatchers that have nothing to do but to watch each other: what one of them has, the other takes back in time.

use super::checker::check;
use super::kills::hold_first_tries;
use super::load::Written;
use super::{NO_SWEEP, RESCUED_WITHIN, ledger, settled, stage_alone};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::{Gate, Receiver};
use crate::support::service::Service;
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;

const JOBS: usize = 40;

/// The other dispatcher heard of the job long before, and nothing that comes later has it look around.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_for_later_is_taken_back_from_a_frozen_dispatcher_when_its_claim_expires() {
    let (database, receiver) = stage_alone().await;
    let ini = database.ini(&format!("{NO_SWEEP}[dispatch]\nclaim_grace_secs: 2\n"));
    let Pair { services, gate, jobs, .. } = Pair::start(&database, &receiver, &ini).await;
    gate.open();
    let unfinished = "SELECT COUNT(*) FROM queued_job WHERE state <> 'completed'";
    until("nobody has any job", Duration::from_secs(20), async || database.query_one::<u64>(unfinished).await == 0)
        .await;
    let gate = Gate::closed();
    hold_first_tries(&receiver, &gate);
    job().url(receiver.url("/work")).timeout(3).retry_delay(0).run_at_in(3_000).insert(&database).await;
    receiver.wait_for(jobs + 1, Duration::from_secs(20)).await;
    let owner: String = database.query_one("SELECT claimed_by FROM queued_job WHERE state = 'executing'").await;
    let (frozen, mut other) = one_and_other(services, &owner);
    frozen.signal(Signal::STOP);
    let held = has(&owner);
    let first_end = format!("SELECT CAST(MIN(claim_expires_at) AS CHAR) FROM queued_job WHERE claimed_by = '{owner}'");
    let first_end: String = database.query_one(&first_end).await;
    let unexpired = format!("{held} AND claim_expires_at > NOW(6)");
    until("its claim expires", Duration::from_secs(20), async || database.query_one::<u64>(&unexpired).await == 0)
        .await;
    until("it is taken back", RESCUED_WITHIN, async || database.query_one::<u64>(&held).await == 0).await;
    let is_over = format!("SELECT NOW(6) >= '{first_end}'");
    assert!(database.query_one::<bool>(&is_over).await, "taken back before its claim had expired");
    gate.open();
    frozen.signal(Signal::CONT);
    check(&database, &receiver, &Written::default()).await;
    assert_eq!(other.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&other);
}

/// Those who end what has run for long see nothing but a statement that has run for days.
#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_whose_watch_was_killed_watches_again_and_is_there_when_the_other_dies() {
    let (database, receiver) = stage_alone().await;
    let Pair { services, gate, mut others, .. } = Pair::start(&database, &receiver, &database.ini(NO_SWEEP)).await;
    let mut conn = database.conn().await;
    let killed = beside(&others, &database).await;
    for watch in &killed {
        conn.query_drop(format!("KILL {watch}")).await.unwrap();
    }
    others.extend(killed);
    let again = async || beside(&others, &database).await.len() == 2;
    until("they do so again", Duration::from_secs(20), again).await;
    let owner: String = database.query_one("SELECT MIN(claimed_by) FROM queued_job").await;
    let (mut dead, mut other) = one_and_other(services, &owner);
    dead.kill().await;
    let held = has(&owner);
    until("its jobs are taken back", RESCUED_WITHIN, async || database.query_one::<u64>(&held).await == 0).await;
    gate.open();
    check(&database, &receiver, &Written::default()).await;
    assert_eq!(other.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&other);
}

/// Two services with calls that wait for the gate, each of which watches the other.
struct Pair {
    services: [Service; 2],
    gate: Gate,
    /// Connections that wait for other locks: each service's for its own.
    others: Vec<u64>,
    /// How many jobs they have.
    jobs: usize,
}

impl Pair {
    async fn start(database: &TestDatabase, receiver: &Receiver, ini: &Path) -> Pair {
        let gate = Gate::closed();
        hold_first_tries(receiver, &gate);
        // A sweep would have them look at each other.
        let services = [settled(ini).await, settled(ini).await];
        let others = beside(&[], database).await;
        assert_eq!(others.len(), 2, "each stands by for its own lock");
        // Who does not know the other yet may be quicker each time.
        let owners = "SELECT COUNT(DISTINCT claimed_by) FROM queued_job WHERE state = 'executing'";
        let mut jobs = 0;
        while jobs < JOBS || database.query_one::<u64>(owners).await < 2 {
            job().url(receiver.url("/work")).timeout(3_000).retry_delay(0).insert(database).await;
            jobs += 1;
            assert!(jobs < 50 * JOBS, "one of them has them all");
        }
        receiver.wait_for(jobs, Duration::from_secs(20)).await;
        let each = async || beside(&others, database).await.len() == 2;
        until("they watch each other", Duration::from_secs(20), each).await;
        // The look that follows new jobs after a second is over, and none is planned.
        tokio::time::sleep(Duration::from_secs(2)).await;
        Pair { services, gate, others, jobs }
    }
}

/// Waits until each of two dispatchers watches the other: both have worked, and know of each other.
pub(super) async fn until_two_watch_each_other(database: &TestDatabase) {
    let all = async || beside(&[], database).await.len() == 4;
    until("each stands by for its own lock, and for the other's", Duration::from_secs(20), all).await;
}

/// How many jobs the dispatcher has.
pub(super) fn has(owner: &str) -> String {
    format!("SELECT COUNT(*) FROM queued_job WHERE state = 'executing' AND claimed_by = '{owner}'")
}

/// The connections that wait for a lock, but for these.
async fn beside(others: &[u64], database: &TestDatabase) -> Vec<u64> {
    let waiting = "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND state = 'User lock'";
    database.query::<u64>(waiting).await.into_iter().filter(|connection| !others.contains(connection)).collect()
}

/// The service of this name, and the other one.
pub(super) fn one_and_other([first, second]: [Service; 2], name: &str) -> (Service, Service) {
    let is_of = |service: &Service| name.contains(&format!(":{}:", service.pid().as_raw_pid()));
    assert!(is_of(&first) != is_of(&second), "{name}");
    if is_of(&first) { (first, second) } else { (second, first) }
}
