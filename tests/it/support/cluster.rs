//! Several servers with the same data, one of which takes writes: reached as an application that follows it does.

use super::database::TestServer;
use super::private_file::write_private;
use super::server::OwnServer;
use super::wait::eventually;
use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, Opts};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::timeout;

/// The database with the tables.
pub const DATABASE: &str = "shop";
/// The service's account: with no right to write to a server that is read-only, as root on MariaDB has.
const USER: &str = "queue";
const PASSWORD: &str = "aPasswordOfTheTests1";
/// How long one look at a member may take: it may be stopped.
const LOOK: Duration = Duration::from_secs(2);
/// How long an election and what comes before it may take on a busy machine.
pub const ELECTED: Duration = Duration::from_secs(90);

/// The members, in the order in which they were started.
pub struct Cluster {
    pub members: Vec<OwnServer>,
    files: TempDir,
}

impl Cluster {
    pub fn of(members: Vec<OwnServer>) -> Cluster {
        Cluster { members, files: TempDir::new().unwrap() }
    }

    /// Makes the database, its tables and the service's account on the member that takes writes.
    pub async fn set_up(&self) {
        let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.sql");
        let schema = std::fs::read_to_string(schema).expect(schema);
        self.execute(&format!("CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4; USE {DATABASE}; {schema}")).await;
        let (account, all) = (format!("'{USER}'@'127.0.0.1'"), format!("{DATABASE}.*"));
        let monitor = if self.is_mysql() { "REPLICATION CLIENT" } else { "BINLOG MONITOR" };
        self.execute(&format!(
            "CREATE USER {account} IDENTIFIED BY '{PASSWORD}'; GRANT SELECT, INSERT, UPDATE ON {all} TO {account}; \
             GRANT REPLICATION SLAVE, {monitor} ON *.* TO {account}"
        ))
        .await;
    }

    pub fn is_mysql(&self) -> bool {
        self.members[0].access().is_mysql()
    }

    pub fn access(&self, member: usize) -> &TestServer {
        self.members[member].access()
    }

    /// How root gets in to a member; to no database, which may not be there yet.
    pub fn opts(&self, member: usize) -> Opts {
        self.access(member).opts(None)
    }

    /// Statements on one member.
    pub async fn execute_on(&self, member: usize, sql: &str) {
        let mut conn = Conn::new(self.opts(member)).await.unwrap();
        let log = || self.members[member].log_tail();
        conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{error}\nin: {sql}\nof member {member}:\n{}", log()));
        conn.disconnect().await.unwrap();
    }

    /// Statements on the member that takes writes.
    pub async fn execute(&self, sql: &str) {
        self.execute_on(self.primary().await, sql).await;
    }

    /// All rows that the query gives on the member that takes writes.
    pub async fn query<T: FromRow + Send + 'static>(&self, sql: &str) -> Vec<T> {
        let mut conn = Conn::new(self.opts(self.primary().await)).await.unwrap();
        let rows = conn.query(sql).await.unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
        conn.disconnect().await.unwrap();
        rows
    }

    /// The one row that the query gives.
    pub async fn query_one<T: FromRow + Send + 'static>(&self, sql: &str) -> T {
        let mut rows = self.query(sql).await;
        assert_eq!(rows.len(), 1, "one row expected of: {sql}");
        rows.remove(0)
    }

    /// So many jobs for one URL, told apart by their queries, in one transaction.
    pub async fn enqueue(&self, url: &str, count: usize) {
        let rows: Vec<String> = (0..count).map(|number| format!("('post', '{url}?{number}', 'x')")).collect();
        let sql = format!("INSERT INTO {DATABASE}.queued_job (http_method, url, body) VALUES {}", rows.join(", "));
        self.execute(&sql).await;
    }

    /// The member that takes writes, waited for.
    pub async fn primary(&self) -> usize {
        let all: Vec<Opts> = (0..self.members.len()).map(|member| self.opts(member)).collect();
        eventually("a member takes writes", ELECTED, async || {
            for (member, opts) in all.iter().enumerate() {
                if timeout(LOOK, writable(opts.clone())).await.ok().flatten().is_some() {
                    return Some(member);
                }
            }
            None
        })
        .await
    }

    /// A `db.ini` of the service's account that names the members in this order.
    pub fn ini(&self, order: &[usize], extra: &str) -> PathBuf {
        let hosts: Vec<String> =
            order.iter().map(|member| format!("127.0.0.1:{}", self.access(*member).port)).collect();
        self.ini_for(&hosts.join(", "), extra)
    }

    /// The same with any hosts.
    pub fn ini_for(&self, hosts: &str, extra: &str) -> PathBuf {
        let path = self.files.path().join(format!("{:08x}.ini", rand::random::<u32>()));
        let text = format!("[db]\nhost: {hosts}\nuser: {USER}\npasswd: {PASSWORD}\ndb: {DATABASE}\n{extra}\n");
        write_private(&path, text);
        path
    }
}

/// A connection to the server, if it takes writes.
pub async fn writable(opts: Opts) -> Option<Conn> {
    let mut conn = Conn::new(opts).await.ok()?;
    let read_only: Option<(String, String)> = conn.query_first("SHOW VARIABLES LIKE 'read_only'").await.ok()?;
    read_only.is_some_and(|(_, value)| value == "OFF").then_some(conn)
}
