//! An account with exactly the rights that the scripts in `docs/grants` give, part by part.

use super::database::{TestDatabase, TestServer};
use super::private_file::write_private;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::path::PathBuf;

/// The password of every account of the tests.
pub const PASSWORD: &str = "aPasswordOfTheTests1";

/// An account of the server under test; dropped at the end of the test.
pub struct Account {
    name: String,
    database: String,
    server: TestServer,
    /// The parts of the script, counted from 1, each with its statements.
    parts: Vec<Vec<String>>,
}

/// The script for the flavour, `mysql` or `mariadb`, as it is in the project.
pub fn script(flavour: &str) -> String {
    let path = format!("{}/docs/grants/{flavour}.sql", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).expect(&path)
}

/// The statements of each part, without their semicolons.
pub fn parts(script: &str) -> Vec<Vec<String>> {
    let parts = script.split("-- Part ").skip(1);
    parts.map(|part| statements(part).collect()).collect()
}

fn statements(part: &str) -> impl Iterator<Item = String> {
    // The first line is the rest of the comment that the part began with.
    let code: Vec<&str> = part.lines().skip(1).filter(|line| !line.starts_with("--")).collect();
    let code = code.join("\n");
    let found: Vec<String> = code.split(';').map(|statement| statement.trim().to_owned()).collect();
    found.into_iter().filter(|statement| !statement.is_empty())
}

impl Account {
    /// Made by part 1, without any right yet.
    pub async fn create(database: &TestDatabase) -> Account {
        let flavour = if database.is_mysql() { "mysql" } else { "mariadb" };
        let name = format!("sq_{:08x}", rand::random::<u32>());
        let text = script(flavour)
            .replace("'strings_queue'", &format!("'{name}'"))
            .replace("CHANGE-ME", PASSWORD)
            .replace(" strings_queue.", &format!(" {}.", database.name()));
        let server = database.server().clone();
        let account = Account { name, database: database.name().to_owned(), server, parts: parts(&text) };
        account.run_part(1).await;
        account
    }

    /// Runs a part of the script as root.
    pub async fn run_part(&self, number: usize) {
        for statement in &self.parts[number - 1] {
            self.run(statement).await;
        }
    }

    /// Runs a statement as root.
    pub async fn run(&self, statement: &str) {
        let mut conn = Conn::new(self.server.opts(Some(&self.database))).await.unwrap();
        conn.query_drop(statement).await.unwrap_or_else(|error| panic!("{error}\nin: {statement}"));
        conn.disconnect().await.unwrap();
    }

    /// As SQL wants it.
    pub fn quoted(&self) -> String {
        format!("'{}'@'127.0.0.1'", self.name)
    }

    /// A `db.ini` that logs in as this account.
    pub fn ini(&self, database: &TestDatabase, extra: &str) -> PathBuf {
        let path = database.files().join(format!("{:08x}.ini", rand::random::<u32>()));
        let (port, user) = (self.server.port, &self.name);
        let db = format!("host: 127.0.0.1\nport: {port}\nuser: {user}\npasswd: {PASSWORD}\ndb: {}", self.database);
        write_private(&path, format!("[db]\n{db}\n{extra}\n"));
        path
    }
}

impl Drop for Account {
    /// In a thread with a runtime of its own: the test's may be gone or blocked.
    fn drop(&mut self) {
        let (opts, account) = (self.server.opts(None), self.quoted());
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let dropping = async { Conn::new(opts).await?.query_drop(format!("DROP USER IF EXISTS {account}")).await };
            runtime.block_on(dropping).map_err(std::io::Error::other)
        })
        .join();
    }
}
