//! A private database server: in a directory of its own, on loopback only, gone with us.

use super::accounts::{self, DATABASE};
use super::directory::{Directory, write_private};
use super::lock::DirectoryLock;
use super::owner::Owner;
use super::process::ServerProcess;
use super::program::{Flavour, ServerProgram};
use super::{SandboxError, client, initialise, launch, readiness, socket_path};
use crate::config::Secret;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// How long a server may take to write everything down before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(60);
/// How often another free port is tried when somebody else was faster.
const PORT_TRIES: usize = 3;

/// How the server is started.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where its data is, and stays; made when it is not there.
    pub directory: PathBuf,
    /// The server program; none means the first of `mariadbd`, `mysqld` that is found.
    pub program: Option<PathBuf>,
    /// The TCP port on 127.0.0.1; none means a free one.
    pub port: Option<u16>,
    /// Whether root gets in by TCP without a password, for tests.
    pub open_root: bool,
    /// More options for the server; they win over ours.
    pub arguments: Vec<String>,
    /// How long it may take to start: after a crash it first mends its data.
    pub start_deadline: Duration,
}

impl ServerOptions {
    /// The usual ones for a directory.
    pub fn new(directory: impl Into<PathBuf>) -> ServerOptions {
        ServerOptions {
            directory: directory.into(),
            program: None,
            port: None,
            open_root: false,
            arguments: Vec::new(),
            start_deadline: Duration::from_secs(120),
        }
    }
}

/// A running server. Stop it with [`stop`](Self::stop); dropped, it is killed, and mends its data at the next start.
#[derive(Debug)]
pub struct PrivateServer {
    program: ServerProgram,
    directory: Directory,
    port: u16,
    socket: PathBuf,
    password: Secret,
    process: ServerProcess,
    // Dropped after its process and before the folder is free for others.
    _leftovers: Leftovers,
    _lock: DirectoryLock,
}

/// May wait a while for another server's end, beside which signals are seen.
async fn take(directory: &Directory) -> Result<DirectoryLock, SandboxError> {
    let (root, pid_file, data) = (directory.root().to_owned(), directory.pid_file(), directory.data());
    let taken = spawn_blocking(move || DirectoryLock::take(&root, &pid_file, &data)).await;
    taken.map_err(|error| SandboxError::io("cannot lock", directory.root())(error.into()))?
}

impl PrivateServer {
    /// Starts the server in its directory, made at the first start, and waits until it takes connections.
    pub async fn start(options: &ServerOptions) -> Result<PrivateServer, SandboxError> {
        let program = ServerProgram::find(options.program.as_deref()).await?;
        let owner = Owner::find(&options.directory.join("data"))
            .map_err(SandboxError::io("cannot choose the server's user from", Path::new("/etc/passwd")))?;
        let directory = Directory::open(&options.directory, owner)?;
        let lock = take(&directory).await?;
        directory.make_folders()?;
        let socket = socket_path::choose(&directory.run(), owner)?;
        initialise::initialise(&directory, &program).await?;
        let password = accounts::service_password(&directory)?;
        write_init_file(&directory, &accounts::statements(program.flavour, &password, options.open_root))?;
        let leftovers = Leftovers { directory: directory.clone(), socket: socket.clone() };
        let (port, process) = launch_on_free_port(&program, &leftovers, options).await?;
        let _ = fs::remove_file(directory.init_file());
        Ok(PrivateServer { program, directory, port, socket, password, process, _leftovers: leftovers, _lock: lock })
    }

    /// Its TCP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its Unix socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Which kind of server it is.
    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.program.flavour
    }

    /// Its version, such as `10.11.19`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.program.version
    }

    /// Where its data is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.root()
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid().as_raw_nonzero().get()
    }

    /// The password of [`SERVICE_USER`](super::SERVICE_USER).
    #[must_use]
    pub fn password(&self) -> &Secret {
        &self.password
    }

    /// The one line with which a person can run SQL in it.
    #[must_use]
    pub fn client_command(&self) -> String {
        client::command(&self.program, &self.socket, DATABASE)
    }

    /// Waits until it has ended, by whatever cause; none if that can't be told.
    pub async fn ended(&self) -> Option<ExitStatus> {
        self.process.ended().await
    }

    /// Stops it and waits for its end; kills it if it takes longer than a minute.
    pub async fn stop(self) -> Option<ExitStatus> {
        self.process.stop(STOP_PATIENCE).await
    }
}

fn write_init_file(directory: &Directory, statements: &str) -> Result<(), SandboxError> {
    write_private(&directory.init_file(), statements, directory.owner())
}

/// Between our look for a free port and the server's, somebody else may take it.
async fn launch_on_free_port(
    program: &ServerProgram,
    leftovers: &Leftovers,
    options: &ServerOptions,
) -> Result<(u16, ServerProcess), SandboxError> {
    let Leftovers { directory, socket } = leftovers;
    let mut tries = 1;
    loop {
        let port =
            options.port.map_or_else(free_port, Ok).map_err(SandboxError::io("no free port for", directory.root()))?;
        leftovers.remove();
        let command = launch::command(program, directory, options, port, socket);
        let process = ServerProcess::start(command, directory.new_log()?).await?;
        match readiness::wait(&process, directory, socket, options.start_deadline).await {
            Ok(()) => return Ok((port, process)),
            Err(error) if options.port.is_some() || tries == PORT_TRIES || !is_port_taken(&error) => return Err(error),
            Err(_) => tries += 1,
        }
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn is_port_taken(error: &SandboxError) -> bool {
    matches!(error, SandboxError::EndedEarly { tail, .. } if tail.contains("Address already in use"))
}

/// What a killed server leaves: the next one would take the number in it for a living process. Gone when dropped.
#[derive(Debug)]
struct Leftovers {
    directory: Directory,
    socket: PathBuf,
}

impl Leftovers {
    fn remove(&self) {
        for path in [self.socket.clone(), self.socket.with_extension("sock.lock"), self.directory.pid_file()] {
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        self.remove();
        // A socket whose path would have been too long has a folder of its own.
        if !self.socket.starts_with(self.directory.root()) {
            let _ = self.socket.parent().map(fs::remove_dir);
        }
    }
}
