//! What all scenarios share: the private server, its tables, the service, the handler.

use super::handler::Handler;
use super::process::Process;
use super::scenarios::Scenario;
use clap::Parser;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use strings_queue::sandbox::{PrivateServer, SERVICE_USER, ServerOptions};
use tempfile::TempDir;

/// The command line.
#[derive(Debug, Parser)]
pub struct Options {
    /// The scenarios to run; left out: all
    #[arg(value_enum)]
    only: Vec<Scenario>,
    /// How often each one is run; the medians are shown
    #[arg(long, default_value_t = 3)]
    pub runs: u32,
    /// How many jobs a backlog holds
    #[arg(long, default_value_t = 50_000)]
    pub jobs: u32,
    /// How many seconds a steady load lasts
    #[arg(long, default_value_t = 10)]
    pub seconds: u32,
    /// The server program; left out: whichever is installed
    #[arg(long)]
    pub server_program: Option<PathBuf>,
    /// More lines for the settings, separated by `;`, such as `[dispatch];max_in_flight: 64`
    #[arg(long, default_value = "")]
    pub settings: String,
    /// Show where service and database spent their time (the backlog scenario)
    #[arg(long)]
    pub inside: bool,
    /// More options for the server, such as `--performance-schema=1`; may be repeated
    #[arg(long, allow_hyphen_values = true)]
    server_option: Vec<String>,
    /// Write all figures to this file
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Given by `cargo bench`; means nothing here
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// The scenarios asked for.
    pub fn scenarios(&self) -> Vec<Scenario> {
        if self.only.is_empty() { Scenario::ALL.to_vec() } else { self.only.clone() }
    }
}

/// A running server and handler; each scenario empties the tables and starts a service of its own.
pub struct Bench {
    server: PrivateServer,
    /// Takes the calls.
    pub handler: Handler,
    folder: TempDir,
    settings: String,
}

impl Bench {
    /// Starts server and handler, and makes the tables.
    pub async fn start(options: &Options) -> Bench {
        let folder = tempfile::Builder::new().prefix("strings-queue-bench.").tempdir_in("/var/tmp").unwrap();
        let mut server = ServerOptions::new(folder.path().join("server"));
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        server.program.clone_from(&options.server_program);
        server.open_root = true;
        server.arguments.clone_from(&options.server_option);
        let server = PrivateServer::start(&server).await.unwrap();
        let settings = options.settings.replace(';', "\n");
        let bench = Bench { server, handler: Handler::start().await, folder, settings };
        let mut conn = bench.conn().await;
        conn.query_drop(std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schema.sql")).unwrap())
            .await
            .unwrap();
        bench
    }

    /// The server, with its version.
    pub fn server_name(&self) -> String {
        format!("{:?} {}", self.server.flavour(), self.server.version())
    }

    /// A connection of an application.
    pub async fn conn(&self) -> Conn {
        let options = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.server.port())
            .tcp_nodelay(true)
            .user(Some("root"))
            .db_name(Some("strings_queue"));
        Conn::new(options).await.unwrap()
    }

    /// Empties the tables.
    pub async fn empty(&self) {
        let mut conn = self.conn().await;
        conn.query_drop("TRUNCATE queued_job; TRUNCATE queued_job_log").await.unwrap();
        self.handler.reset();
    }

    /// Starts the service; the sweep is far away, so that the log and the backlog do the work.
    pub fn start_service(&self) -> Process {
        let ini = self.folder.path().join("db.ini");
        let port = self.server.port();
        let text = format!(
            "[db]\nhost: 127.0.0.1\nport: {port}\nuser: {SERVICE_USER}\npasswd: {}\ndb: strings_queue\n\
             [sweep]\ninterval_secs: 3600\n{}\n",
            self.server.password().reveal(),
            self.settings
        );
        std::fs::write(&ini, text).unwrap();
        let log = std::fs::File::create(self.folder.path().join("service.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_strings-queue"))
            .args(["-q", "run"])
            .arg(&ini)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Process::of_child(child)
    }

    /// The database server's process.
    pub fn database(&self) -> Process {
        Process::of_pid(self.server.pid())
    }

    /// Stops the server.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}
