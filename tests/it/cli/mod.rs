//! The program as its user meets it: commands, exit codes, lines, signals, limits.

mod goodbye;
mod limits;
mod logs;
mod migrate;
mod once;
mod panics;
mod run;
mod secrets;
mod settings;
mod stop;
mod stop_late;
mod tls;
mod usage;

use crate::support::service::program;
use std::ffi::OsStr;
use std::fmt;
use std::time::Duration;
use tokio::process::Command;

/// Long enough for anything that happens at all.
pub const SOON: Duration = Duration::from_secs(30);

/// Settings with which nothing but the log and the first sweep finds a job.
pub const NO_SWEEP: &str = "[sweep]\ninterval_secs: 3600\ndegraded_interval_secs: 3600";

/// The short form, or the full one in a run of the slow scenarios.
pub fn times<T>(short: T, full: T) -> T {
    if std::env::var_os("STRINGS_QUEUE_SLOW").is_some() { full } else { short }
}

/// How a command ended, and what it said.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program to its end.
pub async fn run(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
    let mut command = program();
    command.args(arguments);
    end_of(command).await
}

/// Runs a prepared command to its end.
pub async fn end_of(mut command: Command) -> Ended {
    let output = tokio::time::timeout(SOON, command.output()).await.expect("the command ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Ended {
    /// It failed so, and said this on stderr alone.
    pub fn assert_failed(&self, code: i32, told: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self}");
        assert!(self.stderr.contains(told), "{told:?} is not in: {self}");
    }

    /// It went well, with nothing to warn of.
    pub fn assert_clean(&self) {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self}");
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "exit {:?}\nstdout:\n{}\nstderr:\n{}", self.code, self.stdout, self.stderr)
    }
}
