//! The private server, on the server program under test.

use crate::support::database::{TestServer, server_program};
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use strings_queue::sandbox::{DATABASE, PrivateServer, SERVICE_USER, SandboxError, ServerOptions};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};

const SOON: Duration = Duration::from_secs(60);
/// Tells a run of this test binary to be the sandbox that is killed.
const SACRIFICE: &str = "STRINGS_QUEUE_TEST_SACRIFICE";

/// A folder that the server's own user can reach into.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn options(folder: &Path) -> ServerOptions {
    ServerOptions { program: Some(server_program()), ..ServerOptions::new(folder.join("sandbox")) }
}

async fn start(folder: &Path) -> PrivateServer {
    PrivateServer::start(&options(folder)).await.unwrap()
}

fn service_opts(server: &PrivateServer) -> OptsBuilder {
    OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(server.port())
        .prefer_socket(false)
        .user(Some(SERVICE_USER))
        .pass(Some(server.password().reveal()))
        .db_name(Some(DATABASE))
}

async fn service_session(server: &PrivateServer) -> Conn {
    Conn::new(service_opts(server)).await.unwrap()
}

async fn root_by_tcp(server: &PrivateServer) -> mysql_async::Result<Conn> {
    Conn::new(Opts::from(service_opts(server).user(Some("root")).pass(None::<String>))).await
}

fn kill(server: &PrivateServer) {
    kill_process(Pid::from_raw(server.pid()).unwrap(), Signal::KILL).unwrap();
}

/// The process ids of all servers whose data is under the folder.
fn servers_under(folder: &Path) -> Vec<PathBuf> {
    let data = format!("--datadir={}", folder.join("sandbox/data").display());
    let processes = Path::new("/proc").read_dir().unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let runs = |process: &PathBuf| {
        let arguments = std::fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).split('\0').any(|argument| argument == data)
    };
    processes.filter(runs).collect()
}

#[tokio::test]
async fn the_service_gets_in_and_root_does_not_by_tcp() {
    let folder = folder();
    let server = start(folder.path()).await;
    let mut conn = service_session(&server).await;
    let row = "SELECT @@sync_binlog, @@innodb_flush_log_at_trx_commit, @@binlog_format, @@bind_address, @@version";
    let (sync, flush, format, bind, version): (u32, u32, String, String, String) =
        conn.query_first(row).await.unwrap().unwrap();
    assert_eq!((sync, flush, format.as_str(), bind.as_str()), (1, 1, "ROW", "127.0.0.1"));
    assert!(version.starts_with(server.version()), "{version} is not {}", server.version());
    assert_eq!(server.flavour().to_string().to_lowercase(), TestServer::get().name.split('-').next().unwrap());
    conn.query_drop("CREATE TABLE queued_job_log (id INT PRIMARY KEY); INSERT INTO queued_job_log VALUES (1)")
        .await
        .unwrap();
    conn.query_drop("DROP TABLE queued_job_log").await.unwrap_err();
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap_err();
    conn.query_drop("CREATE DATABASE other").await.unwrap_err();
    root_by_tcp(&server).await.unwrap_err();
    server.stop().await;
}

#[tokio::test]
async fn the_client_line_works_and_shows_no_password() {
    let folder = folder();
    let server = start(folder.path()).await;
    let line = server.client_command();
    assert!(!line.contains(server.password().reveal()), "{line}");
    let output =
        std::process::Command::new("sh").args(["-c", &format!("{line} -e 'SELECT DATABASE()'")]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(DATABASE), "{line}: {output:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_stopped_server_is_gone_and_keeps_its_data_and_its_password() {
    let folder = folder();
    let server = start(folder.path()).await;
    let first_password = server.password().clone();
    service_session(&server)
        .await
        .query_drop("CREATE TABLE queued_job_log (id INT PRIMARY KEY); INSERT INTO queued_job_log VALUES (7)")
        .await
        .unwrap();
    assert_eq!(server.stop().await.unwrap().code(), Some(0));
    assert!(servers_under(folder.path()).is_empty());
    let server = start(folder.path()).await;
    assert_eq!(server.password(), &first_password);
    let kept: Vec<u32> = service_session(&server).await.query("SELECT id FROM queued_job_log").await.unwrap();
    assert_eq!(kept, [7]);
    assert!(!folder.path().join("sandbox/init.sql").exists(), "the statements with the password are gone");
    server.stop().await;
}

#[tokio::test]
async fn root_comes_in_by_tcp_while_it_is_open_and_no_longer() {
    let folder = folder();
    let open = ServerOptions { open_root: true, ..options(folder.path()) };
    let server = PrivateServer::start(&open).await.unwrap();
    root_by_tcp(&server).await.unwrap().query_drop("CREATE DATABASE other").await.unwrap();
    server.stop().await;
    let server = start(folder.path()).await;
    root_by_tcp(&server).await.unwrap_err();
    server.stop().await;
}

#[tokio::test]
async fn a_second_start_on_a_running_directory_is_refused() {
    let folder = folder();
    let server = start(folder.path()).await;
    let error = PrivateServer::start(&options(folder.path())).await.unwrap_err();
    assert!(matches!(&error, SandboxError::InUse { pid, .. } if *pid == Some(server.pid())), "{error}");
    service_session(&server).await.query_drop("DO 1").await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_killed_server_is_seen_and_comes_back_with_all_that_was_committed() {
    let folder = folder();
    let server = start(folder.path()).await;
    let mut conn = service_session(&server).await;
    conn.query_drop("CREATE TABLE queued_job_log (id INT PRIMARY KEY) ENGINE=InnoDB").await.unwrap();
    for id in 1..=50 {
        conn.query_drop(format!("INSERT INTO queued_job_log VALUES ({id})")).await.unwrap();
    }
    kill(&server);
    let ended = tokio::time::timeout(SOON, server.ended()).await.unwrap().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9));
    let port = server.port();
    drop(server);
    let again = ServerOptions { port: Some(port), ..options(folder.path()) };
    let server = PrivateServer::start(&again).await.unwrap();
    assert_eq!(server.port(), port);
    let kept: Option<u32> =
        service_session(&server).await.query_first("SELECT COUNT(*) FROM queued_job_log").await.unwrap();
    assert_eq!(kept, Some(50));
    server.stop().await;
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let folder = folder();
    drop(start(folder.path()).await);
    assert!(servers_under(folder.path()).is_empty());
}

#[tokio::test]
async fn a_server_that_will_not_start_shows_why() {
    let folder = folder();
    let wrong = ServerOptions { arguments: vec!["--no-such-option-x=1".into()], ..options(folder.path()) };
    let error = PrivateServer::start(&wrong).await.unwrap_err();
    assert!(matches!(error, SandboxError::EndedEarly { .. }), "{error}");
    assert!(error.to_string().contains("no-such-option-x"), "{error}");
}

#[tokio::test]
async fn a_first_start_that_was_interrupted_begins_again() {
    let folder = folder();
    let unfinished = folder.path().join("sandbox/data.new");
    std::fs::create_dir_all(&unfinished).unwrap();
    std::fs::write(unfinished.join("ibdata1"), "half").unwrap();
    start(folder.path()).await.stop().await;
}

#[tokio::test]
async fn a_long_path_gets_its_socket_elsewhere() {
    let folder = folder();
    let deep = folder.path().join("d".repeat(110));
    let server = PrivateServer::start(&options(&deep)).await.unwrap();
    let socket = server.socket().to_owned();
    assert!(socket.as_os_str().len() <= 107 && !socket.starts_with(&deep), "{}", socket.display());
    assert!(server.client_command().contains(socket.to_str().unwrap()));
    server.stop().await;
    assert!(!socket.parent().unwrap().exists(), "gone with the server");
}

#[tokio::test]
async fn the_other_flavours_data_is_refused() {
    let folder = folder();
    std::fs::create_dir_all(folder.path().join("sandbox/data")).unwrap();
    let other = if TestServer::get().is_mysql() { "MariaDB 10.11.1" } else { "MySQL 9.7.4" };
    std::fs::write(folder.path().join("sandbox/made_by"), other).unwrap();
    let error = PrivateServer::start(&options(folder.path())).await.unwrap_err();
    assert!(error.to_string().contains(&format!("holds the data of {other}")), "{error}");
}

/// Not a test of its own: what [`a_server_ends_with_its_sandbox`] runs and kills.
#[tokio::test]
async fn sacrifice() {
    if let Ok(folder) = std::env::var(SACRIFICE) {
        let server = start(Path::new(&folder)).await;
        eprintln!("server={}", server.pid());
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn a_server_ends_with_its_sandbox_even_when_that_is_killed() {
    if !has_setpriv() {
        return;
    }
    let folder = folder();
    let mut sandbox = tokio::process::Command::new(std::env::current_exe().unwrap());
    sandbox.args(["--exact", "sandbox::sacrifice", "--nocapture"]).env(SACRIFICE, folder.path());
    let mut sandbox = sandbox.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(sandbox.stderr.take().unwrap()).lines();
    let pid = loop {
        let line = lines.next_line().await.unwrap().expect("the server starts");
        if let Some((_, pid)) = line.split_once("server=") {
            break Pid::from_raw(pid.parse().unwrap()).unwrap();
        }
    };
    test_kill_process(pid).unwrap();
    sandbox.kill().await.unwrap();
    until("the server is gone", SOON, async || servers_under(folder.path()).is_empty()).await;
}

fn has_setpriv() -> bool {
    std::process::Command::new("setpriv").arg("--version").output().is_ok()
}
