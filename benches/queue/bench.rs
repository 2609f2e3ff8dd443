//! What all scenarios share: the private server, its tables, the service, the handler.

use super::handler::Handler;
use super::process::Process;
use super::scenarios::Scenario;
use clap::Parser;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use strings_queue::sandbox::{PrivateServer, SERVICE_USER, ServerOptions, write_private_file};
use tempfile::TempDir;

/// How long a slow handler takes.
pub const SLOW: Duration = Duration::from_secs(2);

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
    /// How many finished rows there are beside the backlog, in the scenario of scale; a tenth as many wait
    #[arg(long, default_value_t = 1_000_000)]
    pub rows: u32,
    /// How many events other tables have
    #[arg(long, default_value_t = 1_000_000)]
    pub events: u32,
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
    /// Takes the calls that last.
    pub slow_handler: Handler,
    /// Takes as many that do not.
    pub busy_handler: Handler,
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
        let bench = Bench {
            server,
            handler: Handler::start(Duration::ZERO).await,
            slow_handler: Handler::start(SLOW).await,
            busy_handler: Handler::start(Duration::ZERO).await,
            folder,
            settings,
        };
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
        self.start_service_as(0)
    }

    /// Starts one of several services.
    pub fn start_service_as(&self, number: usize) -> Process {
        self.start_service_with(number, "")
    }

    /// Starts one of several services with some more settings.
    pub fn start_service_with(&self, number: usize, settings: &str) -> Process {
        let ini = self.folder.path().join(format!("db{number}.ini"));
        let port = self.server.port();
        let text = format!(
            "[db]\nhost: 127.0.0.1\nport: {port}\nuser: {SERVICE_USER}\npasswd: {}\ndb: strings_queue\n\
             [sweep]\ninterval_secs: 3600\n{settings}{}\n",
            self.server.password().reveal(),
            self.settings
        );
        write_private_file(&ini, &text).unwrap();
        let log = std::fs::File::create(self.log_file(number)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_strings-queue"))
            .arg("run")
            .arg(&ini)
            // A line for each call costs as much here as anywhere; these two say when it began and what it did.
            .env("RUST_LOG", "warn,strings_queue::cdc::watcher=info,strings_queue::service=info")
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Process::of_child(child)
    }

    fn log_file(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("service{number}.log"))
    }

    /// What a service has written.
    pub fn log_of(&self, number: usize) -> String {
        std::fs::read_to_string(self.log_file(number)).unwrap_or_default()
    }

    /// What a service that has ended says it counted under that name.
    pub fn counted(&self, number: usize, name: &str) -> f64 {
        let log = self.log_of(number);
        let count = log.split_once(&format!("{name}=")).map(|(_, rest)| rest);
        count.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).unwrap_or(0.0)
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
