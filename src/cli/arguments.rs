//! The command line: as clap reads it, then checked.

use crate::logging::LogFormat;
use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const ABOUT: &str = "Makes the HTTP calls that applications INSERT into the table queued_job of MySQL or MariaDB";
const AFTER_HELP: &str = "\
`strings-queue db.ini` is short for `strings-queue run db.ini`.

Exit codes: 0 clean, 1 failed, 2 wrong usage or settings.

Environment: RUST_LOG says what is logged (`strings_queue=debug,warn`) and wins over -v and -q, but
brings no other crate's details, which may hold secrets, below info;
STRINGS_QUEUE_DB_PASSWD and STRINGS_QUEUE_API_PASSWD win over the passwords of the settings.";

/// A checked command line.
#[derive(Debug)]
pub struct Arguments {
    /// `--log-format`.
    pub log_format: LogFormat,
    /// How often `-v` was given, less how often `-q`.
    pub verbosity: i8,
    /// What to do.
    pub command: Command,
}

/// The command line as it is written.
#[derive(Debug, Parser)]
#[command(name = "strings-queue", version, about = ABOUT, long_about = None, after_help = AFTER_HELP, arg_required_else_help = true)]
struct CommandLine {
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
    /// Log more: -v details, -vv everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Log less: -q warnings and errors, -qq errors
    #[arg(short, long, global = true, action = ArgAction::Count)]
    quiet: u8,
    /// The settings, for `run`
    #[arg(hide = true)]
    ini: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service, until SIGTERM, SIGINT or SIGHUP
    Run(RunArguments),
    /// Process every job that is due, then exit
    Once(IniArguments),
    /// Look at the server, the grants, the schema and the settings, and say what is wrong and what mends it
    Check(IniArguments),
    /// Create the tables, or upgrade them in place
    Migrate(MigrateArguments),
    /// Try it out: a private database server, a demo handler and the service, all in one
    Sandbox(SandboxArguments),
    /// Run the demo handler alone, as docker-compose.yml does: 200 to everything, 503 on /busy, 500 on /fail
    #[command(hide = true)]
    DemoHandler(DemoHandlerArguments),
    /// Print completions for a shell, to be put where it looks for them
    Completions(CompletionsArguments),
    /// Print the manual page, of the program or of one of its commands
    Man(ManArguments),
}

/// `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The settings
    #[arg(default_value = "db.ini", value_name = "DB_INI")]
    pub ini: PathBuf,
}

/// `once` and `check`.
#[derive(Debug, Args)]
pub struct IniArguments {
    /// The settings
    #[arg(value_name = "DB_INI")]
    pub ini: PathBuf,
}

/// `migrate`: with the settings, or `print`, or both.
#[derive(Debug, Args)]
pub struct MigrateArguments {
    /// The settings
    #[arg(value_name = "DB_INI", required_unless_present = "print")]
    pub ini: Option<PathBuf>,
    /// Print the SQL and change nothing; without settings, the SQL that creates the tables
    #[arg(long)]
    pub print: bool,
}

/// `sandbox`.
#[derive(Debug, Args)]
pub struct SandboxArguments {
    /// Keep the database in this folder; left out: one of the account's own, kept for the next time
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Start the database server alone
    #[arg(long)]
    pub database_only: bool,
    /// The server program, mariadbd or mysqld; left out: whichever is installed
    #[arg(long, value_name = "PATH")]
    pub server_program: Option<PathBuf>,
    /// Write this file once everything is ready
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Enqueue no job
    #[arg(long)]
    pub no_demo_job: bool,
}

/// `demo-handler`.
#[derive(Debug, Args)]
pub struct DemoHandlerArguments {
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `man`.
#[derive(Debug, Args)]
pub struct ManArguments {
    /// The command; left out: the program
    #[arg(value_name = "COMMAND", value_parser = ["run", "once", "check", "migrate", "sandbox", "completions", "man"])]
    pub command: Option<String>,
}

impl Arguments {
    /// The arguments of this process. Help, and what can't be understood, is printed and ends the process.
    #[must_use]
    pub fn of_this_process() -> Arguments {
        Arguments::read(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Reads and checks a command line; the first argument is the program's name.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
        let line = CommandLine::try_parse_from(arguments)?;
        let command = match (line.command, line.ini) {
            (Some(command), None) => command,
            (None, Some(ini)) if is_misspelt_command(&ini) => {
                return Err(usage(&format!("`{}` is no command, and no file of settings either", ini.display())));
            }
            (None, Some(ini)) => Command::Run(RunArguments { ini }),
            (Some(_), Some(_)) => return Err(usage("the settings stand after the command: `run db.ini`")),
            (None, None) => return Err(usage("a command is missing, such as `run db.ini`")),
        };
        let level = |count: u8| i8::try_from(count).unwrap_or(i8::MAX);
        let verbosity = level(line.verbose).saturating_sub(level(line.quiet));
        Ok(Arguments { log_format: line.log_format, verbosity, command })
    }
}

/// The command line as clap knows it, for what is made from it.
pub(super) fn command_line() -> clap::Command {
    CommandLine::command()
}

/// A single word of letters that names no file: whoever means a file of settings writes a name with a dot or a slash.
fn is_misspelt_command(ini: &Path) -> bool {
    let word =
        ini.to_str().is_some_and(|name| name.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '-'));
    word && !ini.exists()
}

fn usage(message: &str) -> clap::Error {
    command_line().error(ErrorKind::MissingSubcommand, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::read(line.split(' ').map(OsString::from))
    }

    fn run_ini(line: &str) -> PathBuf {
        match read(line).unwrap().command {
            Command::Run(run) => run.ini,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        command_line().debug_assert();
    }

    #[test]
    fn settings_alone_run_the_service_as_the_ancestors_did() {
        assert_eq!(run_ini("strings-queue my.ini"), PathBuf::from("my.ini"));
        assert_eq!(run_ini("strings-queue run my.ini"), PathBuf::from("my.ini"));
        assert_eq!(run_ini("strings-queue run"), PathBuf::from("db.ini"));
        assert_eq!(run_ini("strings-queue -v my.ini"), PathBuf::from("my.ini"));
    }

    #[test]
    fn global_options_stand_anywhere() {
        for line in
            ["q -vv --log-format json run", "q run -v --log-format json -v", "q run a.ini -vvvq --log-format=json"]
        {
            let arguments = read(line).unwrap();
            assert_eq!((arguments.verbosity, arguments.log_format), (2, LogFormat::Json), "{line}");
        }
        assert_eq!(read("q -q once a.ini").unwrap().verbosity, -1);
    }

    #[test]
    fn what_can_not_be_understood_exits_2() {
        let wrong = [
            "q",
            "q -v",
            "q once",
            "q check",
            "q migrate",
            "q a.ini run",
            "q a.ini b.ini",
            "q run --loud",
            "q man x y",
            "q chek",
        ];
        for line in wrong {
            assert_eq!(read(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn help_and_version_exit_0_and_help_tells_the_exit_codes() {
        for line in ["q -h", "q --help", "q --version", "q run --help", "q help sandbox"] {
            assert_eq!(read(line).unwrap_err().exit_code(), 0, "{line}");
        }
        let help = read("q -h").unwrap_err().to_string();
        assert!(help.contains("Exit codes: 0 clean, 1 failed, 2 wrong usage or settings."), "{help}");
    }

    #[test]
    fn migrate_prints_without_settings() {
        for (line, with_ini, print) in [("q migrate --print", false, true), ("q migrate a.ini", true, false)] {
            match read(line).unwrap().command {
                Command::Migrate(migrate) => assert_eq!((migrate.ini.is_some(), migrate.print), (with_ini, print)),
                other => panic!("{other:?}"),
            }
        }
    }
}
