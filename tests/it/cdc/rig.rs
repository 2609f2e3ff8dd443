//! A watcher on a database of its own, and all that it rang for.

use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::wait::{eventually, until};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strings_queue::cdc::{BinlogStream, LogStatus, Watcher};
use strings_queue::config::{BinlogConfig, DatabaseConfig, HostPort, Secret, SslMode};
use strings_queue::metrics::{Counter, Metrics};
use strings_queue::store::Store;
use strings_queue::wakeup::{SweepCause, Wakeup};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Long enough for anything that happens at all.
pub const SOON: Duration = Duration::from_secs(10);

const USER: &str = "sq_follower";
const PASSWORD: &str = "pass word";

/// What a test's watcher is told.
pub struct Setup {
    pub database: DatabaseConfig,
    pub binlog: BinlogConfig,
    pub client: Option<BinlogStream>,
}

impl Setup {
    /// A user with all rights over TCP by this client.
    pub async fn new(database: &TestDatabase, client: BinlogStream) -> Setup {
        let user = format!("{USER}@'127.0.0.1'");
        let create = format!("CREATE USER IF NOT EXISTS {user} IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO {user}");
        database.execute(&create).await;
        let config = DatabaseConfig {
            hosts: vec![HostPort { host: "127.0.0.1".into(), port: database.server().port }],
            socket: None,
            user: USER.into(),
            password: Some(Secret::new(PASSWORD)),
            name: database.name().into(),
            ssl_mode: SslMode::Disabled,
            ssl_ca: None,
        };
        let binlog = BinlogConfig { server_id: None, heartbeat: Duration::from_secs(1) };
        Setup { database: config, binlog, client: Some(client) }
    }

    pub fn port(mut self, port: u16) -> Setup {
        self.database.hosts[0].port = port;
        self
    }

    pub fn user(mut self, user: &str, password: &str) -> Setup {
        self.database.user = user.into();
        self.database.password = Some(Secret::new(password));
        self
    }

    pub fn server_id(mut self, server_id: u32) -> Setup {
        self.binlog.server_id = Some(server_id);
        self
    }

    /// Starts the watcher.
    pub fn start(self) -> Rig {
        let (wakeup, metrics) = (Arc::new(Wakeup::default()), Arc::new(Metrics::default()));
        let store = Store::new(&self.database);
        let mut watcher = Watcher::new(&store, &self.binlog, Arc::clone(&wakeup), Arc::clone(&metrics));
        if let Some(client) = self.client {
            watcher = watcher.with_client(client);
        }
        let status = watcher.status();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (stop, ears) = (CancellationToken::new(), Arc::clone(&heard));
        tokio::spawn(watcher.run(stop.clone()));
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let hints = wakeup.wait().await;
                let mut heard = ears.lock().unwrap();
                heard.jobs.extend(hints.jobs.into_iter().map(|job| job.0));
                heard.sweeps.extend(hints.sweep);
                heard.backlog |= hints.backlog;
            }
        }));
        Rig { heard, status, metrics, stop }
    }
}

/// A running watcher; stopped when dropped.
pub struct Rig {
    heard: Arc<Mutex<Heard>>,
    status: watch::Receiver<LogStatus>,
    pub metrics: Arc<Metrics>,
    stop: CancellationToken,
}

/// All that was rung for.
#[derive(Debug, Default, Clone)]
pub struct Heard {
    pub jobs: Vec<u64>,
    pub sweeps: Vec<SweepCause>,
    pub backlog: bool,
}

impl Rig {
    /// A watcher that follows already.
    pub async fn following(database: &TestDatabase, client: BinlogStream) -> Rig {
        let rig = Setup::new(database, client).await.start();
        rig.until_following().await;
        rig
    }

    pub async fn until_following(&self) {
        let mut status = self.status.clone();
        let followed = tokio::time::timeout(SOON, status.wait_for(LogStatus::is_following)).await;
        assert!(followed.is_ok(), "the log is not followed: {:?}", self.status.borrow());
    }

    /// Waits for it to break, or not to come about, and gives the reason.
    pub async fn until_broken(&self, deadline: Duration) -> String {
        eventually("the stream is broken", deadline, async || match &*self.status.borrow() {
            LogStatus::Broken { reason, .. } if !reason.contains("not connected yet") => Some(reason.clone()),
            LogStatus::Broken { .. } | LogStatus::Following => None,
        })
        .await
    }

    /// Waits until a stream has broken, which may be taken up again already.
    pub async fn until_breaks(&self, breaks: u64) {
        until("the stream broke", SOON, async || self.metrics.get(Counter::StreamBreaks) >= breaks).await;
    }

    pub async fn until_swept_for(&self, cause: SweepCause) {
        until(&format!("a sweep for {cause:?}"), SOON, async || self.heard().sweeps.contains(&cause)).await;
    }

    pub fn heard(&self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what was heard so far.
    pub fn forget(&self) {
        *self.heard.lock().unwrap() = Heard::default();
    }

    /// Everything heard until now, proved by a job inserted now that is heard too. Several are tried, since the
    /// first may fall into the time when the table's columns are read anew. The newest is waited for, each time longer:
    /// one that is heard only later would look like a job of the test's.
    pub async fn heard_until_now(&self, database: &TestDatabase) -> Heard {
        let (mut tried, mut patience) = (Vec::new(), Duration::from_millis(300));
        let mut heard = eventually("a last job is rung for", SOON, async || {
            let newest = job().insert(database).await;
            tried.push(newest);
            let heard = tokio::time::timeout(patience, self.heard_with(newest)).await.ok();
            patience *= 2;
            heard
        })
        .await;
        heard.jobs.retain(|job| !tried.contains(job));
        heard
    }

    async fn heard_with(&self, job: u64) -> Heard {
        eventually("the job is rung for", SOON, async || {
            let heard = self.heard();
            heard.jobs.contains(&job).then_some(heard)
        })
        .await
    }

    /// Asserts that the jobs, and no others, were rung for, each once and in this order; and that nothing asked
    /// for a sweep but the start, and what other tests prepared by XA on this server.
    pub async fn assert_rung(&self, database: &TestDatabase, jobs: &[u64]) {
        let heard = self.heard_until_now(database).await;
        assert_eq!(heard.jobs, jobs);
        let expected = [SweepCause::Start, SweepCause::PreparedCommit];
        assert!(heard.sweeps.iter().all(|cause| expected.contains(cause)), "{:?}", heard.sweeps);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A place in the server's log.
pub struct LogPlace {
    file: String,
    position: u64,
}

impl LogPlace {
    /// Where the log ends now.
    pub async fn end(database: &TestDatabase) -> LogPlace {
        let show = if database.is_mysql() { "SHOW BINARY LOG STATUS" } else { "SHOW BINLOG STATUS" };
        let end: mysql_async::Row = database.query(show).await.remove(0);
        LogPlace { file: end.get(0).unwrap(), position: end.get(1).unwrap() }
    }

    /// The types of the events behind it, as the server names them; none when another test has begun a new file.
    pub async fn events_behind(&self, database: &TestDatabase) -> Option<Vec<String>> {
        let show = format!("SHOW BINLOG EVENTS IN '{}' FROM {}", self.file, self.position);
        let events = database.conn().await.query::<mysql_async::Row, _>(show).await.ok()?;
        let is_the_same = LogPlace::end(database).await.file == self.file;
        is_the_same.then(|| events.iter().map(|event| event.get(2).unwrap()).collect())
    }
}

/// A session that has what it writes compressed in the log. Where that is the whole server's setting, tests take turns; the
/// turn lasts as long as the session.
pub async fn compressing(database: &TestDatabase) -> Conn {
    let mut conn = database.conn().await;
    if database.is_mysql() {
        conn.query_drop("SET SESSION binlog_transaction_compression = ON").await.unwrap();
        return conn;
    }
    let taken: Option<u8> = conn.query_first("SELECT GET_LOCK('turn of the compressing tests', 60)").await.unwrap();
    assert_eq!(taken, Some(1), "the turn comes");
    conn.query_drop("SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10").await.unwrap();
    conn
}

/// Ends it.
pub async fn compress_no_more(mut conn: Conn) {
    if conn.query_drop("SET SESSION binlog_transaction_compression = OFF").await.is_err() {
        conn.query_drop("SET GLOBAL log_bin_compress = OFF").await.unwrap();
    }
}

/// Whether the server packs events of this type.
pub fn is_compressed(event: &String) -> bool {
    event == "Transaction_payload" || event.to_lowercase().contains("compressed")
}

/// The ids of all jobs in the table that were there before now.
pub async fn ids(database: &TestDatabase) -> Vec<u64> {
    database.query("SELECT id FROM queued_job ORDER BY id").await
}
