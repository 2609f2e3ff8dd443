//! The commands, one file each, and the way from a command line to an exit code.

pub mod arguments;
mod check;
mod completions;
mod demo_handler;
mod man;
mod migrate;
mod once;
mod report;
mod run;
mod runtime;
mod sandbox;

pub use arguments::Arguments;
pub use report::report;

use crate::config::Config;
use crate::logging;
use anyhow::bail;
use arguments::Command;
use std::io::{self, ErrorKind, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

/// Does what the command line says.
pub fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    logging::init(arguments.log_format, arguments.verbosity)?;
    failing_when_it_panics(|| perform(&arguments.command))
}

/// A panic has said where it was by then; all that is left of it is an exit code like that of any failure.
fn failing_when_it_panics(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(_) => bail!("ended by a fault of this program, which the line before tells"),
    }
}

fn perform(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Run(arguments) => run::execute(arguments),
        Command::Once(arguments) => once::execute(arguments),
        Command::Check(arguments) => check::execute(arguments),
        Command::Migrate(arguments) => migrate::execute(arguments),
        Command::Sandbox(arguments) => sandbox::execute(arguments),
        Command::DemoHandler(arguments) => demo_handler::execute(arguments),
        Command::Completions(arguments) => completions::execute(arguments),
        Command::Man(arguments) => man::execute(arguments),
    }
}

/// The settings in a file and in this process's environment; what is unwise in them is logged.
fn load_settings(path: &Path) -> anyhow::Result<Config> {
    let config = Config::load(path, &|name| std::env::var_os(name))?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

/// Writes to stdout. A reader that has gone away, as `head` does, is no failure.
fn print(text: &[u8]) -> io::Result<()> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure() {
        assert!(failing_when_it_panics(|| Ok(())).is_ok());
        assert!(failing_when_it_panics(|| panic!("broken")).is_err());
    }
}
