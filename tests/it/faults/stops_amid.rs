//! A stop in the middle of each fault of the database's limits, of the table's changes, of the network and of handlers.

use super::connections::{LOCK, OUR_ROWS};
use super::limits::{plain_account, throw_out};
use super::load::Load;
use super::logs::purge_all_but_the_last;
use super::network::{CLAIM, FINISH};
use super::plan::answer_by_plan;
use super::stops::{claims_of, settings, stop_in_time, the_next_one_does_the_rest};
use super::{SETTLES, all_following, base, report, stage_on, times};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::proxy::{self, CutPoint, Mode, Proxy, Way};
use crate::support::receiver::{Answer, Receiver};
use crate::support::semi_sync::{semi_sync, semi_sync_switch};
use crate::support::server::OwnServer;
use crate::support::service::Service;
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use rustix::process::Signal;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinHandle;

/// So that what it has to do with the connection is over before that lets anything through again.
const LONGER_THAN_A_STOP: Duration = Duration::from_secs(5);

const TAKEN_BACK: &str = "SELECT COUNT(*) FROM queued_job_log WHERE msg LIKE '%] Job taken back%'";

/// What goes on while the service is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    ReadOnly,
    NoConnection,
    Trickle,
    /// Commits wait for an acknowledgement that does not come.
    SemiSync,
    /// An `ALTER` waits for an application's transaction, and every other statement waits for the `ALTER`.
    Alter,
    /// For a while there is no table.
    Rename,
    ByteASecond,
    Endless,
    /// Another dispatcher was killed, and its jobs are about to be taken back.
    PeerDies,
    /// Another dispatcher is frozen with calls under way.
    PeerFrozen,
    /// The service's connections are killed, all that there are, again and again.
    Kills,
    /// The log has a row of 40 MB of another table.
    HugeRow,
    /// Connections that are reset, and redirects that lead nowhere.
    Resets,
    Redirects,
    /// The log is begun anew, and what it had is gone.
    LogBegunAnew,
    /// What the log had until now is gone, but for what is being read.
    LogPurged,
    /// The server has done it, and its answer does not come.
    ClaimUnanswered,
    FinishUnanswered,
    /// Nothing comes any more of what the log shows, and the connection stands.
    StreamSwallowed,
    /// The same of the lock that shows that the service lives.
    LockSwallowed,
    /// An application has locked the rows of all jobs that it found.
    RowsLocked,
    HeaderFlood,
    /// The service was frozen for a while, and has just gone on.
    Woken,
}

impl Fault {
    const ALL: [Fault; 23] = [
        Fault::ReadOnly,
        Fault::NoConnection,
        Fault::Trickle,
        Fault::SemiSync,
        Fault::Alter,
        Fault::Rename,
        Fault::ByteASecond,
        Fault::Endless,
        Fault::PeerDies,
        Fault::PeerFrozen,
        Fault::Kills,
        Fault::HugeRow,
        Fault::Resets,
        Fault::Redirects,
        Fault::LogBegunAnew,
        Fault::LogPurged,
        Fault::ClaimUnanswered,
        Fault::FinishUnanswered,
        Fault::StreamSwallowed,
        Fault::LockSwallowed,
        Fault::RowsLocked,
        Fault::HeaderFlood,
        Fault::Woken,
    ];

    /// Whether the service can write what it has to.
    fn lets_write(self) -> bool {
        match self {
            Fault::ReadOnly
            | Fault::NoConnection
            | Fault::Trickle
            | Fault::SemiSync
            | Fault::Alter
            | Fault::Rename
            | Fault::Kills
            | Fault::ClaimUnanswered
            | Fault::FinishUnanswered
            | Fault::RowsLocked => false,
            Fault::ByteASecond
            | Fault::Endless
            | Fault::PeerDies
            | Fault::PeerFrozen
            | Fault::HugeRow
            | Fault::Resets
            | Fault::Redirects
            | Fault::LogBegunAnew
            | Fault::LogPurged
            | Fault::StreamSwallowed
            | Fault::LockSwallowed
            | Fault::HeaderFlood
            | Fault::Woken => true,
        }
    }
}

/// What a fault consists of.
#[derive(Default)]
struct Held {
    connections: Vec<Conn>,
    statement: Option<JoinHandle<()>>,
    /// What goes on until it is ended.
    kills: Option<JoinHandle<()>>,
    frozen: Option<Service>,
    /// One that was killed, and how many claims it had then.
    dead: Option<(Service, u32)>,
    jobs: Vec<u64>,
}

/// A server for all faults, with a proxy before it.
struct Scene {
    _server: OwnServer,
    database: TestDatabase,
    receiver: Receiver,
    bad: Receiver,
    proxy: Proxy,
    ini: PathBuf,
}

impl Scene {
    async fn set() -> Scene {
        let options = ["--max-connections=30", "--max-allowed-packet=128M"];
        let server = OwnServer::start(&[&options[..], &semi_sync()].concat()).await;
        let (database, receiver) = stage_on(server.access()).await;
        answer_by_plan(&receiver, Duration::from_millis(50));
        let timeout = semi_sync_switch().replace("enabled", "timeout");
        database.execute(&format!("SET GLOBAL {timeout} = 60000")).await;
        let proxy = Proxy::start(database.server().address()).await;
        // Results of little text: how fast a machine writes 128 long ones in its last second is no question here.
        let settings = format!("{}[http]\nmax_response_bytes: 4096\n", settings());
        // The proxy has to read what passes.
        let login = format!("{}\nssl_mode: disabled", plain_account(&database).await);
        let ini = database.ini_as(&login, proxy.port(), &settings);
        Scene { _server: server, database, receiver, bad: Receiver::start().await, proxy, ini }
    }

    /// What the last service left is taken back.
    async fn until_nothing_is_inherited(&self, service: &Service) {
        let others = format!(
            "SELECT COUNT(*) FROM queued_job WHERE state = 'executing' AND claimed_by NOT LIKE '%:{}:%'",
            service.pid().as_raw_pid()
        );
        until("all of it is taken back", SETTLES, async || self.database.query_one::<u64>(&others).await == 0).await;
    }

    async fn begin(&self, fault: Fault, services: &[Service]) -> Held {
        match fault {
            Fault::ReadOnly => self.execute("SET GLOBAL read_only = 1").await,
            Fault::NoConnection => {
                let mut admin = self.database.conn().await;
                let mut connections = throw_out(&self.database, &mut admin, services).await;
                connections.push(admin);
                Held { connections, ..Held::default() }
            }
            Fault::Trickle => {
                self.proxy.trickle(Duration::from_micros(200));
                Held::default()
            }
            Fault::SemiSync => self.execute(&format!("SET GLOBAL {} = 1", semi_sync_switch())).await,
            Fault::Alter => self.alter().await,
            Fault::Rename => self.execute("RENAME TABLE queued_job TO queued_job_away").await,
            Fault::ByteASecond => self.call(Answer::trickle_body("x".repeat(1_000), Duration::from_secs(1))).await,
            Fault::Endless => self.call(Answer::endless()).await,
            Fault::PeerDies => {
                let mut peer = self.peer().await;
                peer.kill().await;
                let claims = claims_of(&self.database, &peer).await;
                Held { dead: Some((peer, claims)), ..Held::default() }
            }
            Fault::PeerFrozen => {
                let peer = self.peer().await;
                peer.signal(Signal::STOP);
                Held { frozen: Some(peer), ..Held::default() }
            }
            Fault::Kills => Held { kills: Some(tokio::spawn(kill_all(self.database.conn().await))), ..Held::default() },
            Fault::HugeRow => {
                let table =
                    "CREATE TABLE IF NOT EXISTS huge (x LONGBLOB); INSERT INTO huge VALUES (REPEAT('x', 40 << 20))";
                self.execute(table).await
            }
            Fault::Resets => self.call(Answer::reset()).await,
            Fault::Redirects => self.call(Answer::redirect(307, "/bad")).await,
            Fault::LogBegunAnew => self.execute(logs_begun_anew(&self.database)).await,
            Fault::LogPurged => {
                self.database.execute("FLUSH BINARY LOGS; FLUSH BINARY LOGS").await;
                purge_all_but_the_last(&self.database).await;
                Held::default()
            }
            Fault::ClaimUnanswered => self.disturb(Way::ToServer, CLAIM, CutPoint::BeforeAnswer, Mode::Stall).await,
            Fault::FinishUnanswered => self.disturb(Way::ToServer, FINISH, CutPoint::BeforeAnswer, Mode::Stall).await,
            Fault::StreamSwallowed => {
                self.disturb(Way::ToClient, OUR_ROWS, CutPoint::BeforePassing, Mode::Swallow).await
            }
            Fault::LockSwallowed => {
                // It is taken anew, and swallowed then.
                let becomes = proxy::Fault::Becomes(Mode::Swallow, LONGER_THAN_A_STOP);
                let mut trap = self.proxy.fault_on(Way::ToServer, LOCK, (CutPoint::BeforeAnswer, becomes));
                self.proxy.cut_all();
                trap.sprung(Duration::from_secs(20)).await;
                Held::default()
            }
            Fault::RowsLocked => {
                let mut application = self.database.conn().await;
                // In the order in which the service locks them.
                let lock = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION; \
                            SELECT id FROM queued_job FORCE INDEX (PRIMARY) ORDER BY id FOR UPDATE";
                application.query_drop(lock).await.unwrap();
                Held { connections: vec![application], ..Held::default() }
            }
            // Some megabytes each.
            Fault::HeaderFlood => self.call_times(Answer::header_lines(100_000), 30).await,
            Fault::Woken => {
                services[0].signal(Signal::STOP);
                tokio::time::sleep(Duration::from_secs(2)).await;
                services[0].signal(Signal::CONT);
                Held::default()
            }
        }
    }

    /// The one connection that next has this in it.
    async fn disturb(&self, way: Way, holds: &[u8], point: CutPoint, mode: Mode) -> Held {
        let becomes = proxy::Fault::Becomes(mode, LONGER_THAN_A_STOP);
        self.proxy.fault_on(way, holds, (point, becomes)).sprung(Duration::from_secs(20)).await;
        Held::default()
    }

    /// The fault is over, and nothing of the service's is under way any more; the jobs that no plan is for.
    async fn end(&self, fault: Fault, held: Held) -> Vec<u64> {
        drop(held.connections);
        if let Some(kills) = held.kills {
            kills.abort();
        }
        if let Some(mut frozen) = held.frozen {
            frozen.signal(Signal::CONT);
            assert!(frozen.stop(Duration::from_secs(20)).await.is_some());
        }
        match fault {
            Fault::ReadOnly => drop(self.execute("SET GLOBAL read_only = 0").await),
            Fault::Trickle => self.proxy.pass(),
            // Its end was swallowed too.
            Fault::LockSwallowed => self.proxy.cut_all(),
            Fault::SemiSync => drop(self.execute(&format!("SET GLOBAL {} = 0", semi_sync_switch())).await),
            Fault::Rename => drop(self.execute("RENAME TABLE queued_job_away TO queued_job").await),
            Fault::NoConnection
            | Fault::Alter
            | Fault::ByteASecond
            | Fault::Endless
            | Fault::PeerDies
            | Fault::PeerFrozen
            | Fault::Kills
            | Fault::HugeRow
            | Fault::Resets
            | Fault::Redirects
            | Fault::LogBegunAnew
            | Fault::LogPurged
            | Fault::ClaimUnanswered
            | Fault::FinishUnanswered
            | Fault::StreamSwallowed
            | Fault::RowsLocked
            | Fault::HeaderFlood
            | Fault::Woken => {}
        }
        if let Some(statement) = held.statement {
            statement.await.unwrap();
        }
        // A MariaDB whose log was begun anew does not notice that the reader of the old one has gone.
        let ours = "SELECT COUNT(*) FROM information_schema.processlist \
                    WHERE user = 'plain' AND command NOT LIKE 'Binlog Dump%'";
        let gone = async || self.database.query_one::<u64>(ours).await == 0;
        until("the server is done with the last statements of the service", SETTLES, gone).await;
        held.jobs
    }

    async fn execute(&self, sql: &str) -> Held {
        self.database.execute(sql).await;
        Held::default()
    }

    /// Another one, with calls under way; both have worked.
    async fn peer(&self) -> Service {
        let mut peer = all_following(&self.ini, 1).await;
        let of_the_peer =
            format!("SELECT COUNT(*) FROM queued_job WHERE claimed_by LIKE '%:{}:%'", peer[0].pid().as_raw_pid());
        until("it works", SETTLES, async || self.database.query_one::<u64>(&of_the_peer).await > 20).await;
        peer.remove(0)
    }

    async fn alter(&self) -> Held {
        let (mut reader, mut alterer) = (self.database.conn().await, self.database.conn().await);
        reader.query_drop("START TRANSACTION; SELECT id FROM queued_job LIMIT 1").await.unwrap();
        let alter = "ALTER TABLE queued_job ADD COLUMN note INT NULL; ALTER TABLE queued_job DROP COLUMN note";
        let statement = tokio::spawn(async move { alterer.query_drop(alter).await.unwrap() });
        let waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'plain' \
                       AND state LIKE 'Waiting for table%'";
        until("the service waits", SETTLES, async || self.database.query_one::<u64>(waiting).await > 0).await;
        Held { connections: vec![reader], statement: Some(statement), ..Held::default() }
    }

    /// More jobs than there are slots, for a handler that answers in this way.
    async fn call(&self, answer: Answer) -> Held {
        self.call_times(answer, 300).await
    }

    async fn call_times(&self, answer: Answer, times: usize) -> Held {
        self.bad.on("/bad", answer);
        let before = self.bad.count();
        let jobs = job().url(self.bad.url("/bad")).timeout(600).insert_times(&self.database, times).await;
        self.bad.wait_for(before + 20, Duration::from_secs(20)).await;
        Held { jobs, ..Held::default() }
    }
}

/// Kills the service's connections, all that there are, until it is ended itself.
async fn kill_all(mut conn: Conn) {
    loop {
        let ours = "SELECT id FROM information_schema.processlist WHERE user = 'plain'";
        for id in conn.query::<u64, _>(ours).await.unwrap() {
            // It may have ended by itself.
            let _ = conn.query_drop(format!("KILL {id}")).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn logs_begun_anew(database: &TestDatabase) -> &'static str {
    if database.is_mysql() { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" }
}

/// Takes jobs away that no plan is for.
pub(super) async fn forget(database: &TestDatabase, jobs: &[u64]) {
    if jobs.is_empty() {
        return;
    }
    let list = jobs.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    database.execute(&format!("DELETE FROM queued_job WHERE id IN ({list})")).await;
    database.execute(&format!("DELETE FROM queued_job_log WHERE job_id IN ({list})")).await;
}

/// What could be written was, and the exit tells whether anything was left; how many claims were, those of others among
/// them.
pub(super) async fn assert_told(
    database: &TestDatabase,
    what: &str,
    (service, code): (&Service, Option<i32>),
    lets_write: bool,
) -> u32 {
    let left: u32 = database.query_one("SELECT COUNT(*) FROM queued_job WHERE state = 'executing'").await;
    let own = claims_of(database, service).await;
    report(&format!("stop amid {what}"), format!("exit code {code:?}, {left} claims left, {own} of them its own"));
    match code {
        Some(0) => assert_eq!(own, 0, "{what}: an exit code of 0, and claims are left"),
        code => assert!(code == Some(1) && !lets_write, "{what}: the exit code is {code:?}"),
    }
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_any_fault_ends_in_time() {
    let scene = Scene::set().await;
    let load = Load::start(&scene.database, &base(&scene.receiver), (4, 60));
    let mut left = 0;
    for fault in Fault::ALL.repeat(times(1, 3)) {
        let mut services = all_following(&scene.ini, 1).await;
        scene.until_nothing_is_inherited(&services[0]).await;
        let taken_back: u32 = scene.database.query_one(TAKEN_BACK).await;
        assert!(taken_back <= left, "before {fault:?}: {taken_back} taken back, {left} claims left");
        let calls = scene.receiver.count();
        scene.receiver.wait_for(calls + 20, Duration::from_secs(20)).await;
        let mut held = scene.begin(fault, &services).await;
        let dead = held.dead.take();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let code = stop_in_time(&mut services[0]).await;
        let bad_jobs = scene.end(fault, held).await;
        let what = format!("{fault:?}");
        left += assert_told(&scene.database, &what, (&services[0], code), fault.lets_write()).await;
        if let Some((peer, claims)) = dead {
            // Those that were taken back before the others were counted.
            left += claims.saturating_sub(claims_of(&scene.database, &peer).await);
        }
        forget(&scene.database, &bad_jobs).await;
    }
    let found = the_next_one_does_the_rest(&scene.database, &scene.receiver, load).await;
    assert!(found.extra_calls <= left && found.taken_back <= left, "{found:?}, {left} claims left");
}
