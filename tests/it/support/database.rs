//! A database of its own for each test, on the server that `test.sh` started.

use super::private_file::write_private;
use super::turn::Turn;
use mysql_async::prelude::{FromRow, Queryable};
use mysql_async::{Conn, Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::timeout;

/// A server that the test stopped or killed does not hold the tests up.
const DROP_DEADLINE: Duration = Duration::from_secs(10);

static SERVER: LazyLock<TestServer> = LazyLock::new(TestServer::from_environment);

/// The server under test.
#[derive(Debug, Clone)]
pub struct TestServer {
    pub port: u16,
    pub socket: PathBuf,
    /// `mysql-9.7`, `mariadb-10.11`, `mariadb-11.8`.
    pub name: String,
}

impl TestServer {
    /// The server that this run of the tests was given.
    pub fn get() -> &'static TestServer {
        &SERVER
    }

    fn from_environment() -> TestServer {
        TestServer {
            port: setting("STRINGS_QUEUE_TEST_PORT").parse().expect("STRINGS_QUEUE_TEST_PORT is not a port"),
            socket: setting("STRINGS_QUEUE_TEST_SOCKET").into(),
            name: setting("STRINGS_QUEUE_TEST_SERVER"),
        }
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub fn is_mysql(&self) -> bool {
        self.name.starts_with("mysql")
    }

    pub fn is_mariadb(&self) -> bool {
        self.name.starts_with("mariadb")
    }

    /// How root gets in, over TCP.
    pub fn opts(&self, database: Option<&str>) -> Opts {
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .prefer_socket(false)
            .user(Some("root"))
            .db_name(database)
            .into()
    }
}

/// The server program of the server under test, to start private ones with.
pub fn server_program() -> PathBuf {
    setting("STRINGS_QUEUE_TEST_PROGRAM").into()
}

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run ./test.sh, which starts the servers"))
}

/// The one that [`TestDatabase::with_a_password`] makes, as SQL wants it.
const ACCOUNT: &str = "'sq_tests'@'127.0.0.1'";
/// How a `db.ini` logs in as it, and as root.
const BY_ACCOUNT: &str = "user: sq_tests\npasswd: aPasswordOfTheTests3";
const BY_ROOT: &str = "user: root";

/// A database with a name of its own; dropped, with every session in it, at the end of the test.
pub struct TestDatabase {
    server: TestServer,
    name: String,
    /// How its `db.ini` logs in.
    login: &'static str,
    pool: Pool,
    files: TempDir,
    /// Whether it goes with us.
    ours: bool,
    /// What the test holds for as long as it has the database.
    turn: Option<Turn>,
}

impl TestDatabase {
    /// An empty database.
    pub async fn create() -> TestDatabase {
        TestDatabase::create_on(TestServer::get()).await
    }

    /// An empty database on another server, such as a private one that the test may kill.
    pub async fn create_on(server: &TestServer) -> TestDatabase {
        let name = format!("sq_{:016x}", rand::random::<u64>());
        let mut conn = Conn::new(server.opts(None)).await.expect("the server under test does not answer");
        conn.query_drop(format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).await.unwrap();
        conn.disconnect().await.unwrap();
        let mut database = TestDatabase::that_is_there(server, &name);
        database.ours = true;
        database
    }

    /// One that somebody else made, and that stays.
    pub fn that_is_there(server: &TestServer, name: &str) -> TestDatabase {
        let (pool, files) = (small_pool(server, name), TempDir::new().unwrap());
        let (server, name) = (server.clone(), name.to_owned());
        TestDatabase { server, name, login: BY_ROOT, pool, files, ours: false, turn: None }
    }

    /// A database with the tables of `schema.sql`.
    pub async fn with_schema() -> TestDatabase {
        TestDatabase::with_schema_on(TestServer::get()).await
    }

    /// The same on another server.
    pub async fn with_schema_on(server: &TestServer) -> TestDatabase {
        let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.sql");
        let database = TestDatabase::create_on(server).await;
        database.execute(&std::fs::read_to_string(schema).expect(schema)).await;
        database
    }

    /// Its `db.ini` logs in with a password from now on, so that the plain client reads the log; as root, who has none,
    /// the secure one does.
    pub async fn with_a_password(mut self) -> TestDatabase {
        let (_, password) = BY_ACCOUNT.rsplit_once(": ").unwrap();
        // Other servers of a cluster, and whoever reads the log, learn nothing of it.
        self.execute(&format!(
            "SET SESSION sql_log_bin = 0; CREATE USER IF NOT EXISTS {ACCOUNT} IDENTIFIED BY '{password}'; \
             GRANT ALL ON *.* TO {ACCOUNT}; SET SESSION sql_log_bin = 1"
        ))
        .await;
        self.login = BY_ACCOUNT;
        self
    }

    /// Of a scenario under load.
    #[must_use]
    pub fn in_turn(mut self, turn: Turn) -> TestDatabase {
        self.turn = Some(turn);
        self
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn server(&self) -> &TestServer {
        &self.server
    }

    pub fn is_mysql(&self) -> bool {
        self.server().is_mysql()
    }

    pub fn is_mariadb(&self) -> bool {
        self.server().is_mariadb()
    }

    /// A session of its own, for tests that lock, kill or change session settings.
    pub async fn conn(&self) -> Conn {
        Conn::new(self.server().opts(Some(&self.name))).await.unwrap()
    }

    /// Runs one or more statements.
    pub async fn execute(&self, sql: &str) {
        let mut conn = self.pool.get_conn().await.unwrap();
        conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
    }

    /// The one row that the query gives.
    pub async fn query_one<T: FromRow + Send + 'static>(&self, sql: &str) -> T {
        let mut rows = self.query(sql).await;
        assert_eq!(rows.len(), 1, "one row expected of: {sql}");
        rows.remove(0)
    }

    /// All rows that the query gives.
    pub async fn query<T: FromRow + Send + 'static>(&self, sql: &str) -> Vec<T> {
        let mut conn = self.pool.get_conn().await.unwrap();
        conn.query(sql).await.unwrap_or_else(|error| panic!("{error}\nin: {sql}"))
    }

    /// Inserts one row by a statement with `?` in it, and gives its key.
    pub async fn insert(&self, sql: &str, values: Vec<mysql_async::Value>) -> u64 {
        let mut conn = self.pool.get_conn().await.unwrap();
        conn.exec_drop(sql, values).await.unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
        conn.last_insert_id().expect("an auto_increment key")
    }

    /// A folder for this test's files, gone with the database.
    pub fn files(&self) -> &Path {
        self.files.path()
    }

    /// Writes a `db.ini` for this database, over TCP: root, if nobody said otherwise. What stands before the first section
    /// of `extra` falls into `[db]`.
    pub fn ini(&self, extra: &str) -> PathBuf {
        self.ini_at(self.server().port, extra)
    }

    /// As [`ini`](Self::ini), by way of another port of 127.0.0.1: a proxy's.
    pub fn ini_at(&self, port: u16, extra: &str) -> PathBuf {
        self.ini_as(self.login, port, extra)
    }

    /// As [`ini_at`](Self::ini_at), with lines that say who logs in.
    pub fn ini_as(&self, login: &str, port: u16, extra: &str) -> PathBuf {
        self.write_ini(&format!("host: 127.0.0.1\nport: {port}\n{login}\ndb: {}\n{extra}\n", self.name))
    }

    /// As [`ini`](Self::ini), by way of the server's socket.
    pub fn ini_by_socket(&self, extra: &str) -> PathBuf {
        let socket = self.server().socket.display();
        self.write_ini(&format!("socket: {socket}\n{BY_ROOT}\ndb: {}\n{extra}\n", self.name))
    }

    fn write_ini(&self, db: &str) -> PathBuf {
        let path = self.files().join(format!("{:08x}.ini", rand::random::<u32>()));
        write_private(&path, format!("[db]\n{db}"));
        path
    }
}

impl Drop for TestDatabase {
    /// In a thread with a runtime of its own: the test's may be gone or blocked.
    fn drop(&mut self) {
        if !self.ours {
            return;
        }
        let (server, name) = (self.server.clone(), std::mem::take(&mut self.name));
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let dropped = async { timeout(DROP_DEADLINE, drop_database(&server, &name)).await };
            runtime.block_on(dropped)?.map_err(std::io::Error::other)
        })
        .join();
    }
}

/// Ends the sessions first: one that a failed test left in a transaction would hold the DROP up.
async fn drop_database(server: &TestServer, name: &str) -> mysql_async::Result<()> {
    let mut conn = Conn::new(server.opts(None)).await?;
    conn.query_drop("SET SESSION lock_wait_timeout = 5").await?;
    let sessions = format!("SELECT id FROM information_schema.processlist WHERE db = '{name}'");
    for session in conn.query::<u64, _>(sessions).await? {
        let _ = conn.query_drop(format!("KILL {session}")).await;
    }
    conn.query_drop(format!("DROP DATABASE IF EXISTS {name}")).await?;
    conn.disconnect().await
}

/// Keeps no idle session for long; the rows of one test need few at once.
fn small_pool(server: &TestServer, database: &str) -> Pool {
    let constraints = PoolConstraints::new(0, 8).unwrap();
    let pool_opts = PoolOpts::default().with_constraints(constraints);
    Pool::new(OptsBuilder::from_opts(server.opts(Some(database))).pool_opts(pool_opts))
}

#[tokio::test]
async fn a_test_has_its_own_database_and_leaves_none() {
    let database = TestDatabase::create().await;
    database.execute("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, x INT); INSERT INTO t (x) VALUES (7)").await;
    assert_eq!(database.insert("INSERT INTO t (x) VALUES (?)", vec![8.into()]).await, 2);
    let mut other = database.conn().await;
    other.query_drop("START TRANSACTION; SELECT * FROM t FOR UPDATE").await.unwrap();
    let (name, sum): (String, i64) = database.query_one("SELECT DATABASE(), CAST(SUM(x) AS SIGNED) FROM t").await;
    assert_eq!((name.as_str(), sum), (database.name(), 15));
    drop(database);
    let mut conn = Conn::new(TestServer::get().opts(None)).await.unwrap();
    let left: Vec<String> = conn.query(format!("SHOW DATABASES LIKE '{name}'")).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}
