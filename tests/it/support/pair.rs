//! A primary and its replica, of the server under test; the replica is promoted by hand, and on request the primary
//! waits for it before it answers a commit.

use super::cluster::{Cluster, ELECTED};
use super::database::TestServer;
use super::server::OwnServer;
use super::wait::until;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use std::time::Duration;

const REPLICATION: &str = "sq_replica";
const PASSWORD: &str = "aPasswordOfTheTests3";

/// How long MariaDB may take to apply what came whole, when something was cut off behind it.
const CUT_OFF: Duration = Duration::from_secs(5);

/// Member 0 is the primary, member 1 its replica, which takes no writes.
pub struct Pair {
    pub cluster: Cluster,
}

impl Pair {
    /// Semi-synchronous: a commit is answered once the replica has it.
    pub async fn start() -> Pair {
        let (first, second) = (options(1), options(2));
        let (primary, replica) = tokio::join!(OwnServer::start(&first), OwnServer::start(&second));
        let pair = Pair { cluster: Cluster::of(vec![primary, replica]) };
        pair.cluster.execute_on(1, "SET GLOBAL read_only = ON").await;
        pair.replicate().await;
        pair.wait_for_the_replica().await;
        pair.cluster.set_up().await;
        pair.until_caught_up().await;
        pair
    }

    async fn replicate(&self) {
        let account = format!(
            "CREATE USER {REPLICATION} IDENTIFIED BY '{PASSWORD}'; GRANT REPLICATION SLAVE ON *.* TO {REPLICATION}"
        );
        self.cluster.execute_on(0, &account).await;
        // Before the replica connects: then it is told to acknowledge. Whatever is committed from now on waits for it.
        let switch =
            if self.cluster.is_mysql() { "rpl_semi_sync_source_enabled" } else { "rpl_semi_sync_master_enabled" };
        self.cluster.execute_on(0, &format!("SET GLOBAL {switch} = ON")).await;
        let port = self.cluster.access(0).port;
        let from = if self.cluster.is_mysql() {
            format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
                 SOURCE_USER = '{REPLICATION}', SOURCE_PASSWORD = '{PASSWORD}', SOURCE_AUTO_POSITION = 1, \
                 GET_SOURCE_PUBLIC_KEY = 1; START REPLICA"
            )
        } else {
            format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = '{REPLICATION}', \
                 MASTER_PASSWORD = '{PASSWORD}', MASTER_USE_GTID = slave_pos; START SLAVE"
            )
        };
        self.cluster.execute_on(1, &from).await;
    }

    /// From when the replica acknowledges.
    async fn wait_for_the_replica(&self) {
        let status = self.status_name("clients");
        until("the replica acknowledges", ELECTED, async || self.status(0, &status).await == "1").await;
        assert_eq!(self.status(0, &self.status_name("status")).await, "ON", "the primary waits for it");
    }

    fn status_name(&self, what: &str) -> String {
        let primary = if self.cluster.is_mysql() { "source" } else { "master" };
        format!("Rpl_semi_sync_{primary}_{what}")
    }

    /// Waits until the replica has all.
    pub async fn until_caught_up(&self) {
        let count = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'shop'";
        let user = "SELECT COUNT(*) FROM mysql.user WHERE user = 'queue'";
        until("the replica has the tables", ELECTED, async || {
            let mut conn = Conn::new(self.cluster.opts(1)).await.unwrap();
            let tables: Option<u64> = conn.query_first(count).await.unwrap();
            let users: Option<u64> = conn.query_first(user).await.unwrap();
            tables >= Some(3) && users == Some(1)
        })
        .await;
    }

    /// How many commits the primary answered when the replica had them, and how many without it.
    pub async fn answered(&self) -> [u64; 2] {
        let count = async |what: &str| self.status(0, &self.status_name(what)).await.parse().unwrap();
        [count("yes_tx").await, count("no_tx").await]
    }

    async fn status(&self, member: usize, name: &str) -> String {
        let mut conn = Conn::new(self.cluster.opts(member)).await.unwrap();
        let row: Option<(String, String)> =
            conn.query_first(format!("SHOW GLOBAL STATUS LIKE '{name}'")).await.unwrap();
        row.map(|(_, value)| value).unwrap_or_default()
    }

    /// Makes the replica the primary, once it has applied all that it received.
    pub async fn promote(&self) {
        let (stop, go) = if self.cluster.is_mysql() {
            ("STOP REPLICA IO_THREAD", "STOP REPLICA; SET GLOBAL read_only = OFF")
        } else {
            ("STOP SLAVE IO_THREAD", "STOP SLAVE; SET GLOBAL read_only = OFF")
        };
        self.cluster.execute_on(1, stop).await;
        until("all is applied", ELECTED, async || self.has_applied_all().await).await;
        self.cluster.execute_on(1, go).await;
    }

    /// Whether all that came whole is applied. A thread's state may be of a moment ago; MySQL's sets of transactions tell
    /// it, and MariaDB can wait for the position up to which it read, which lies beyond what was cut off.
    async fn has_applied_all(&self) -> bool {
        let mut conn = Conn::new(self.cluster.opts(1)).await.unwrap();
        if self.cluster.is_mysql() {
            let sql = "SELECT GTID_SUBSET(received_transaction_set, @@GLOBAL.gtid_executed) \
                       FROM performance_schema.replication_connection_status";
            return conn.query_first::<bool, _>(sql).await.unwrap() == Some(true);
        }
        let before = slave_status(&mut conn).await;
        let file: String = before.get("Master_Log_File").unwrap();
        let read: u64 = before.get("Read_Master_Log_Pos").unwrap();
        let wait = format!("SELECT MASTER_POS_WAIT('{file}', {read}, {})", CUT_OFF.as_secs());
        if conn.query_first::<Option<i64>, _>(wait).await.unwrap().flatten().is_some_and(|events| events >= 0) {
            return true;
        }
        // It has stood still for all that time, and has nothing whole to go on with.
        let after = slave_status(&mut conn).await;
        let applied = |row: &Row| row.get::<u64, _>("Exec_Master_Log_Pos").unwrap();
        let state: String = after.get("Slave_SQL_Running_State").unwrap();
        applied(&before) == applied(&after) && state.contains("has read all relay log")
    }
}

async fn slave_status(conn: &mut Conn) -> Row {
    conn.query_first("SHOW SLAVE STATUS").await.unwrap().expect("a replica")
}

fn options(server_id: u8) -> Vec<&'static str> {
    let number = if server_id == 1 { "--server-id=1" } else { "--server-id=2" };
    let semi_sync: &[&str] = match (TestServer::get().is_mysql(), server_id) {
        (true, 1) => &["--plugin-load-add=semisync_source.so", "--loose-rpl-semi-sync-source-timeout=60000"],
        (true, _) => &[
            "--gtid-mode=ON",
            "--enforce-gtid-consistency=ON",
            "--plugin-load-add=semisync_replica.so",
            "--loose-rpl-semi-sync-replica-enabled=ON",
        ],
        // By default it would show commits to others before the replica has them.
        (false, 1) => &["--rpl-semi-sync-master-timeout=60000", "--rpl-semi-sync-master-wait-point=AFTER_SYNC"],
        (false, _) => &["--rpl-semi-sync-slave-enabled=ON"],
    };
    [&[number, "--log-slave-updates=ON", "--innodb-buffer-pool-size=32M"], semi_sync].concat()
}
