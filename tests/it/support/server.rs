//! A database server for one test alone: to be killed, restarted, filled, and started with options of its own.

use super::database::{TestServer, server_program};
use super::template;
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use strings_queue::sandbox::{PrivateServer, ServerOptions};
use tempfile::TempDir;

/// The folder of the plugins that came with the server under test, if it has this one.
pub fn server_plugin(file: &str) -> Option<PathBuf> {
    let program = server_program();
    let beside = program.parent()?;
    // As it is unpacked beside its program; else as packages install it, for the installed server is another one then.
    let unpacked = beside.join("root/usr/lib/mysql/plugin");
    let folders = if unpacked.exists() { [unpacked] } else { ["/usr/lib/mysql/plugin".into()] };
    folders.into_iter().find(|folder: &PathBuf| folder.join(file).exists())
}

/// The server program under test on a directory of its own; gone when dropped.
pub struct OwnServer {
    // Dropped before its folder.
    running: Option<PrivateServer>,
    options: ServerOptions,
    access: TestServer,
    folder: Option<TempDir>,
}

impl OwnServer {
    /// Starts one with more options for the server, such as `--log-bin-compress=1`.
    pub async fn start(arguments: &[&str]) -> OwnServer {
        OwnServer::start_program(server_program(), arguments).await
    }

    /// The same with a program that is set up otherwise.
    pub async fn start_program(program: PathBuf, arguments: &[&str]) -> OwnServer {
        let folder = TempDir::new().unwrap();
        // The server runs as another user when we are root.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut server = OwnServer::start_program_in(program, folder.path(), arguments).await;
        server.folder = Some(folder);
        server
    }

    /// The server under test on a folder that is the caller's.
    pub async fn start_in(folder: &Path, arguments: &[&str]) -> OwnServer {
        OwnServer::start_program_in(server_program(), folder, arguments).await
    }

    async fn start_program_in(program: PathBuf, folder: &Path, arguments: &[&str]) -> OwnServer {
        let mut options = ServerOptions::new(folder.join("server"));
        if !options.directory.exists() {
            template::copy_to(&options.directory).await;
        }
        options.program = Some(program);
        options.open_root = true;
        options.arguments = arguments.iter().map(ToString::to_string).collect();
        let running = PrivateServer::start(&options).await.unwrap();
        options.port = Some(running.port());
        let name = TestServer::get().name.clone();
        let access = TestServer { port: running.port(), socket: running.socket().to_owned(), name };
        OwnServer { running: Some(running), options, access, folder: None }
    }

    /// How to reach it, for `TestDatabase::create_on`; the same after a restart.
    pub fn access(&self) -> &TestServer {
        &self.access
    }

    /// From now on it is reached by another port of this machine, which leads to its own.
    pub fn reached_by(&mut self, port: u16) {
        self.access.port = port;
    }

    /// Its process, for signals.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.running.as_ref().expect("a running server").pid()).unwrap()
    }

    /// Whether it has ended by itself.
    pub fn has_died(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid().as_raw_pid())).unwrap_or_default();
        // After the name in parentheses comes the state; a zombie waits for us to see its end.
        stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().is_empty() || rest.trim_start().starts_with('Z'))
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let folder = self.running.as_ref().expect("a running server").directory().to_owned();
        let log = std::fs::read_to_string(folder.join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Sends it a signal: `Signal::STOP`, `Signal::CONT`.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// SIGKILL, and gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.running.take().expect("a running server").ended().await;
    }

    /// Takes note that it has died by itself.
    pub async fn bury(&mut self) {
        self.running.take().expect("a server that died").ended().await;
    }

    /// SIGTERM, and gone.
    pub async fn stop(&mut self) {
        self.running.take().expect("a running server").stop().await;
    }

    /// One more option, from the next start on.
    pub fn add_option(&mut self, option: &str) {
        self.options.arguments.push(option.to_owned());
    }

    /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop), on the same data and the same port.
    pub async fn start_again(&mut self) {
        assert!(self.running.is_none(), "it runs");
        self.running = Some(PrivateServer::start(&self.options).await.unwrap());
    }
}

#[tokio::test]
async fn it_comes_back_where_it_was() {
    use super::database::TestDatabase;
    let mut server = OwnServer::start(&["--max-connections=33"]).await;
    let database = TestDatabase::create_on(server.access()).await;
    database.execute("CREATE TABLE t (id INT PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    server.kill().await;
    server.start_again().await;
    let (rows, limit): (i64, u32) = database.query_one("SELECT COUNT(*), @@max_connections FROM t").await;
    assert_eq!((rows, limit), (1, 33));
}
