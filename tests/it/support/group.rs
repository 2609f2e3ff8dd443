//! A Group Replication of three MySQL servers with one primary, which the members elect.

use super::cluster::{Cluster, ELECTED};
use super::database::TestServer;
use super::islands::Islands;
use super::server::OwnServer;
use super::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

const MEMBERS: usize = 3;
const NAME: &str = "8f1c9f2e-6a0b-4b55-9d0b-5a5f3f7c2d11";
/// Who the members are to each other.
const RECOVERY: &str = "sq_recovery";
const RECOVERY_PASSWORD: &str = "aPasswordOfTheTests2";

/// The members; member 0 is the first primary.
pub struct Group {
    pub cluster: Cluster,
}

impl Group {
    /// Starts one; none where the server under test has no Group Replication.
    pub async fn start() -> Option<Group> {
        if !TestServer::get().is_mysql() {
            return None;
        }
        let addresses: Vec<String> = free_ports().iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let [first, second, third] = [0, 1, 2].map(|member| options(member, &addresses));
        let (first, second, third) = tokio::join!(started(first), started(second), started(third));
        Some(Group::of(vec![first, second, third]).await)
    }

    /// The same with each member on an island of its own; none where there can be no islands.
    pub async fn start_on_islands(more: &[&str]) -> Option<(Group, Islands)> {
        if !TestServer::get().is_mysql() {
            return None;
        }
        let mut islands = Islands::new(MEMBERS)?;
        let addresses: Vec<String> = (0..MEMBERS).map(|member| format!("{}:33061", islands.address(member))).collect();
        let mut members = Vec::new();
        for member in 0..MEMBERS {
            let mut options = options(member, &addresses);
            options.extend(["--bind-address=0.0.0.0".to_owned(), format!("--report-host={}", islands.address(member))]);
            options.extend(more.iter().map(ToString::to_string));
            let mut server = islands.on(member, started(options)).await;
            server.reached_by(islands.lead_to(member, server.access().port));
            members.push(server);
        }
        Some((Group::of(members).await, islands))
    }

    async fn of(members: Vec<OwnServer>) -> Group {
        let mut group = Group { cluster: Cluster::of(members) };
        for member in 0..MEMBERS {
            group.prepare(member).await;
        }
        group.begin(0).await;
        tokio::join!(group.join(1), group.join(2));
        group.until_online(0, MEMBERS as u64).await;
        group.cluster.set_up().await;
        // One that comes back outside the group must take no writes.
        group.cluster.members.iter_mut().for_each(|member| member.add_option("--super-read-only=ON"));
        group
    }

    /// What each member is told once, and keeps to itself.
    async fn prepare(&self, member: usize) {
        let sql = format!(
            "SET SESSION sql_log_bin = 0; CREATE USER {RECOVERY} IDENTIFIED BY '{RECOVERY_PASSWORD}'; \
             GRANT REPLICATION SLAVE, CONNECTION_ADMIN, GROUP_REPLICATION_STREAM ON *.* TO {RECOVERY}; \
             RESET BINARY LOGS AND GTIDS; \
             CHANGE REPLICATION SOURCE TO SOURCE_USER = '{RECOVERY}', SOURCE_PASSWORD = '{RECOVERY_PASSWORD}' \
             FOR CHANNEL 'group_replication_recovery'"
        );
        self.cluster.execute_on(member, &sql).await;
    }

    /// Begins the group anew with this member alone: after a start, or when all of them were gone.
    pub async fn begin(&self, member: usize) {
        let sql = "SET GLOBAL group_replication_bootstrap_group = ON; START GROUP_REPLICATION; \
                   SET GLOBAL group_replication_bootstrap_group = OFF";
        self.cluster.execute_on(member, sql).await;
    }

    /// Has a member join the others.
    pub async fn join(&self, member: usize) {
        self.cluster.execute_on(member, "START GROUP_REPLICATION").await;
    }

    /// Makes another member the primary, by plan.
    pub async fn switch_to(&self, member: usize) {
        let own = "SELECT group_replication_set_as_primary(@@server_uuid)";
        self.cluster.execute_on(member, own).await;
    }

    /// All are killed, the primary last, and come back. The primary begins: it has all that was ever answered.
    pub async fn lose_all_and_begin_again(&mut self) {
        let primary = self.cluster.primary().await;
        let others: Vec<usize> = (0..MEMBERS).filter(|member| *member != primary).collect();
        for member in &others {
            self.cluster.members[*member].kill().await;
        }
        // What the others have, it has ordered too; without them it orders nothing new.
        self.until_settled(primary).await;
        self.cluster.members[primary].kill().await;
        for member in &mut self.cluster.members {
            member.start_again().await;
        }
        self.begin(primary).await;
        for member in others {
            self.join(member).await;
        }
        self.until_online(primary, MEMBERS as u64).await;
    }

    /// Waits until a member without a majority has committed what it can.
    async fn until_settled(&self, member: usize) {
        let mut last = String::new();
        until("nothing is committed any more", ELECTED, async || {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let mut conn = Conn::new(self.cluster.opts(member)).await.unwrap();
            let now: Option<String> = conn.query_first("SELECT @@GLOBAL.gtid_executed").await.unwrap();
            let now = now.unwrap_or_default();
            std::mem::replace(&mut last, now.clone()) == now
        })
        .await;
    }

    /// Waits until this member sees so many as online.
    pub async fn until_online(&self, member: usize, count: u64) {
        let sql = "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_state = 'ONLINE'";
        until("the members are online", ELECTED, async || {
            let mut conn = Conn::new(self.cluster.opts(member)).await.unwrap();
            conn.query_first::<u64, _>(sql).await.unwrap() == Some(count)
        })
        .await;
    }
}

async fn started(options: Vec<String>) -> OwnServer {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    OwnServer::start(&options).await
}

/// Ports by which the members talk to each other.
fn free_ports() -> Vec<u16> {
    // All are held until the last is known, so that no two are the same.
    let held: Vec<TcpListener> = (0..MEMBERS).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// A member that is silent is expelled as soon as the others notice, which takes them five seconds. What the servers
/// have written survives their own death, if not the machine's: three of them share one disk.
fn options(member: usize, seeds: &[String]) -> Vec<String> {
    let own = &seeds[member];
    vec![
        format!("--server-id={}", member + 1),
        "--gtid-mode=ON".to_owned(),
        "--enforce-gtid-consistency=ON".to_owned(),
        "--log-replica-updates=ON".to_owned(),
        "--innodb-buffer-pool-size=32M".to_owned(),
        "--sync-binlog=0".to_owned(),
        "--innodb-flush-log-at-trx-commit=2".to_owned(),
        "--report-host=127.0.0.1".to_owned(),
        "--plugin-load-add=group_replication.so".to_owned(),
        format!("--loose-group-replication-group-name={NAME}"),
        "--loose-group-replication-start-on-boot=OFF".to_owned(),
        "--loose-group-replication-recovery-get-public-key=ON".to_owned(),
        format!("--loose-group-replication-local-address={own}"),
        format!("--loose-group-replication-group-seeds={}", seeds.join(",")),
        "--loose-group-replication-ip-allowlist=127.0.0.1/8,10.77.0.0/24".to_owned(),
        "--loose-group-replication-member-expel-timeout=0".to_owned(),
        "--loose-group-replication-autorejoin-tries=0".to_owned(),
    ]
}
