//! The real program as a child process: its lines, its signals, its exit.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// `setpriv` lets the kernel end the child with the test, however the test ends.
static SETPRIV: LazyLock<bool> =
    LazyLock::new(|| std::process::Command::new("setpriv").arg("--version").output().is_ok());

/// A command that runs the program, and dies with the test.
pub fn program() -> Command {
    wrapped_program([])
}

/// The same by way of another command, which ends by running what stands after it.
pub fn wrapped_program(wrapper: impl IntoIterator<Item = OsString>) -> Command {
    let mut words: Vec<OsString> = Vec::new();
    if *SETPRIV {
        words.extend(["setpriv", "--pdeathsig", "KILL", "--"].map(OsString::from));
    }
    words.extend(wrapper);
    words.push(env!("CARGO_BIN_EXE_strings-queue").into());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    for name in ["RUST_LOG", "STRINGS_QUEUE_DB_PASSWD", "HTTP_PROXY", "http_proxy"] {
        command.env_remove(name);
    }
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// A running child; killed when dropped.
pub struct Service {
    child: Child,
    pid: Pid,
    lines: Lines,
    reader: JoinHandle<()>,
}

impl Service {
    /// `strings-queue run <ini>`.
    pub fn run(ini: &Path) -> Service {
        Service::start([OsStr::new("run"), ini.as_os_str()])
    }

    /// The program with any arguments.
    pub fn start(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Service {
        let mut command = program();
        command.args(arguments);
        Service::spawn(command)
    }

    /// A prepared [`program()`] command.
    pub fn spawn(mut command: Command) -> Service {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
        let lines = Lines::default();
        let reader = tokio::spawn(lines.clone().read(child.stderr.take().unwrap()));
        Service { child, pid, lines, reader }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// All lines of its stderr so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.all()
    }

    /// The first line of its stderr, past or to come, that holds `part`.
    pub async fn wait_for_line(&self, part: &str, deadline: Duration) -> String {
        let found = timeout(deadline, self.lines.first_with(part)).await.ok().flatten();
        found.unwrap_or_else(|| panic!("no line with {part:?} within {deadline:?} in:\n{}", self.lines().join("\n")))
    }

    /// Sends a signal: `Signal::TERM`, `KILL`, `STOP`, `CONT`.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Waits for its end, and for its last line.
    pub async fn wait_for_exit(&mut self, deadline: Duration) -> ExitStatus {
        let ended = timeout(deadline, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("still running after {deadline:?}:\n{}", self.lines().join("\n")));
        let _ = timeout(deadline, &mut self.reader).await;
        ended.unwrap()
    }

    /// SIGTERM, and the exit code.
    pub async fn stop(&mut self, deadline: Duration) -> Option<i32> {
        self.signal(Signal::TERM);
        self.wait_for_exit(deadline).await.code()
    }

    /// SIGKILL, and gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait_for_exit(Duration::from_secs(10)).await;
    }
}

/// The lines that came so far, and word of new ones.
#[derive(Clone)]
struct Lines {
    all: Arc<Mutex<Vec<String>>>,
    changed: Arc<watch::Sender<bool>>,
}

impl Default for Lines {
    fn default() -> Self {
        Lines { all: Arc::default(), changed: Arc::new(watch::Sender::new(false)) }
    }
}

impl Lines {
    fn all(&self) -> Vec<String> {
        self.all.lock().unwrap().clone()
    }

    async fn read(self, stderr: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(stderr);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
            self.all.lock().unwrap().push(String::from_utf8_lossy(&line).trim_end().to_owned());
            self.changed.send_replace(false);
            line.clear();
        }
        self.changed.send_replace(true);
    }

    /// None when the stream ended without such a line. Arms before it looks.
    async fn first_with(&self, part: &str) -> Option<String> {
        let mut changed = self.changed.subscribe();
        loop {
            let ended = *changed.borrow_and_update();
            if let Some(line) = self.all.lock().unwrap().iter().find(|line| line.contains(part)) {
                return Some(line.clone());
            }
            if ended {
                return None;
            }
            changed.changed().await.ok()?;
        }
    }
}

#[tokio::test]
async fn lines_are_found_before_and_after_they_come() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo one >&2; read x; echo two >&2; exit 3"]).stdin(Stdio::piped()).kill_on_drop(true);
    let mut service = Service::spawn(command);
    let deadline = Duration::from_secs(5);
    assert_eq!(service.wait_for_line("on", deadline).await, "one");
    drop(service.child.stdin.take());
    assert_eq!(service.wait_for_exit(deadline).await.code(), Some(3));
    assert_eq!(service.lines(), ["one", "two"]);
}

#[tokio::test]
async fn the_program_starts_and_ends() {
    let mut service = Service::start(["--help"]);
    assert_eq!(service.wait_for_exit(Duration::from_secs(10)).await.code(), Some(0));
}
