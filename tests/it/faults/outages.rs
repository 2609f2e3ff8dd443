//! The database away for longer than claims last, or closed to writes.

use super::checker::check;
use super::kills::hold_first_tries;
use super::limits::plain_account;
use super::load::Written;
use super::plan::Plan;
use super::{NO_SWEEP, following, ledger, report, stage_on, times};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::left_out::only_in_full;
use crate::support::receiver::Gate;
use crate::support::server::OwnServer;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};

/// So many results wait for the database: they are not written by the first statement that it takes.
const CALLS: usize = 400;
/// Rows of one INSERT: many, or the first calls would end before the last jobs are there; and few enough that their calls
/// begin soon after their claim.
const AT_ONCE: usize = 20;
const MANY_CALLS: &str = "max_in_flight: 1000\nmax_in_flight_per_host: 1000\n";

/// The database is gone, or it is there and takes no writes: it refuses them, or has them wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    Gone,
    ReadOnly,
    /// Somebody reads tables that nobody is to change meanwhile, as for a backup. Plain reads go on.
    Locked,
    /// Somebody has renamed the table for a while.
    Renamed,
    /// An application has locked all lines, and where more would come.
    LinesLocked,
}

impl Outage {
    async fn begin(self, server: &mut OwnServer, database: &TestDatabase, somebody: &mut Conn) {
        match self {
            Outage::Gone => server.kill().await,
            Outage::ReadOnly => database.execute("SET GLOBAL read_only = 1").await,
            Outage::Renamed => database.execute("RENAME TABLE queued_job TO put_away").await,
            Outage::LinesLocked => {
                let lock = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION; \
                            SELECT COUNT(*) FROM queued_job_log FOR UPDATE";
                somebody.query_drop(lock).await.unwrap();
            }
            Outage::Locked => {
                somebody.query_drop("LOCK TABLES queued_job READ, queued_job_log READ").await.unwrap();
            }
        }
    }

    async fn end(self, server: &mut OwnServer, database: &TestDatabase, mut somebody: Conn) {
        match self {
            Outage::Gone => server.start_again().await,
            Outage::ReadOnly => database.execute("SET GLOBAL read_only = 0").await,
            Outage::Locked => somebody.query_drop("UNLOCK TABLES").await.unwrap(),
            Outage::Renamed => database.execute("RENAME TABLE put_away TO queued_job").await,
            Outage::LinesLocked => somebody.query_drop("COMMIT").await.unwrap(),
        }
    }

    /// Half of the jobs have no retries: a rescue would end them as failures.
    async fn leaves_results_to_be_written(self) {
        let mut server = OwnServer::start(&[]).await;
        let (database, receiver) = stage_on(server.access()).await;
        let gate = Gate::closed();
        hold_first_tries(&receiver, &gate);
        // A server that only reads takes the writes of its administrators.
        let settings = format!("{NO_SWEEP}[dispatch]\nclaim_grace_secs: 1\n{MANY_CALLS}");
        let ini = database.ini_as(&plain_account(&database).await, database.server().port, &settings);
        let (mut first, mut second) = (following(&ini).await, following(&ini).await);
        for _ in 0..CALLS / (2 * AT_ONCE) {
            for plan in [Plan::Work, Plan::Once] {
                let jobs = job().url(receiver.url(plan.path())).timeout(9).retry_delay(0);
                jobs.retries(plan.retries().into()).insert_at_once(&database, AT_ONCE).await;
            }
        }
        receiver.wait_for(CALLS, Duration::from_secs(8)).await;
        let (down, mut somebody) = (Instant::now(), database.conn().await);
        self.begin(&mut server, &database, &mut somebody).await;
        gate.open();
        // Their claims end ten seconds after they were made, and a statement waits for a table for twelve.
        tokio::time::sleep(Duration::from_secs(11)).await;
        self.end(&mut server, &database, somebody).await;
        let outage = down.elapsed();
        let found = check(&database, &receiver, &Written::default()).await;
        assert_eq!((found.calls, found.taken_back), (u32::try_from(CALLS).unwrap(), 0), "{found:?}");
        report("outage longer than claims", format!("{self:?}: {found:?}, outage {outage:?}"));
        for service in [&mut first, &mut second] {
            assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
            ledger::assert_lost_only_to(service, &ledger::BROKEN);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_calls_that_ended_in_an_outage_longer_than_their_claims_are_written() {
    for _ in 0..times(1, 8) {
        Outage::Gone.leaves_results_to_be_written().await;
    }
}

/// Claims expire beside a dispatcher that lives, and another one looks at them, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn results_of_calls_that_ended_while_nobody_could_write_are_written() {
    for _ in 0..times(1, 8) {
        Outage::ReadOnly.leaves_results_to_be_written().await;
    }
}

/// The rescue's own statement waits beside the results, and comes first.
#[tokio::test(flavor = "multi_thread")]
async fn results_of_calls_that_ended_while_everybodys_writes_had_to_wait_are_written() {
    for _ in 0..times(1, 8) {
        Outage::Locked.leaves_results_to_be_written().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_calls_that_ended_while_no_line_could_be_written_are_written() {
    if !only_in_full("results while no line can be written") {
        return;
    }
    for _ in 0..2 {
        Outage::LinesLocked.leaves_results_to_be_written().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_calls_that_ended_while_the_table_was_away_are_written() {
    if !only_in_full("results while the table is away") {
        return;
    }
    for _ in 0..2 {
        Outage::Renamed.leaves_results_to_be_written().await;
    }
}
