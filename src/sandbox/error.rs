//! What can go wrong with the private server, told so that a person can mend it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// Why the sandbox can't work.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Neither the given program nor one of the usual ones is there.
    #[error(
        "no database server program: none of mariadbd, mysqld is in PATH or the usual folders; install mariadb-server"
    )]
    NoProgram,
    /// The program does not say what it is.
    #[error("{program} does not say that it is MariaDB or MySQL: {said}")]
    UnknownProgram {
        /// The program asked.
        program: PathBuf,
        /// What it said instead.
        said: String,
    },
    /// The server does not say where the SQL of its system tables is.
    #[error("{0} does not say where its share folder is (character-sets-dir in --verbose --help)")]
    NoShareFolder(PathBuf),
    /// Neither `XDG_STATE_HOME` nor `HOME` is there.
    #[error("neither HOME nor XDG_STATE_HOME is set: name a directory (`strings-queue sandbox --dir …`)")]
    NoHome,
    /// Another sandbox, or a server that outlived its own, works in the directory.
    #[error("{directory} is in use{}: stop that one, or name another directory (`strings-queue sandbox --dir …`)", by(*.pid))]
    InUse {
        /// The sandbox's directory.
        directory: PathBuf,
        /// The process that has it, if known.
        pid: Option<i32>,
    },
    /// The directory was made by the other kind of server.
    #[error(
        "{directory} holds the data of {held}, and the program is {program}: name another directory (`strings-queue sandbox --dir …`)"
    )]
    OtherFlavour {
        /// The sandbox's directory.
        directory: PathBuf,
        /// Who made it.
        held: String,
        /// Who was to start on it.
        program: String,
    },
    /// The directory is somebody else's, or holds what no sandbox made.
    #[error("{directory} {why}: name an empty directory of your own, or none (`strings-queue sandbox --dir …`)")]
    NotOurs {
        /// The directory.
        directory: PathBuf,
        /// What speaks against it.
        why: String,
    },
    /// A directory for the socket that somebody else could reach into.
    #[error("{0} exists and is not a private directory of the server's user: remove it")]
    UnsafeDirectory(PathBuf),
    /// The first data directory could not be made.
    #[error("the data directory could not be made ({status}); the last lines of {}:\n{tail}{}", .log.display(), confined(.tail))]
    Initialise {
        /// How the program that makes it ended.
        status: ExitStatus,
        /// Where it wrote what it did.
        log: PathBuf,
        /// The end of that.
        tail: String,
    },
    /// The server ended instead of starting.
    #[error("the database server ended at once ({status}); the last lines of {}:\n{tail}{}", .log.display(), confined(.tail))]
    EndedEarly {
        /// How it ended.
        status: ExitStatus,
        /// Its error log.
        log: PathBuf,
        /// The end of that.
        tail: String,
    },
    /// The server runs, and does not answer.
    #[error("the database server does not answer after {} s; the last lines of {}:\n{tail}", .waited.as_secs(), .log.display())]
    NotReady {
        /// How long it was given.
        waited: Duration,
        /// Its error log.
        log: PathBuf,
        /// The end of that.
        tail: String,
    },
    /// A file, a directory or a program could not be used.
    #[error("{what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl SandboxError {
    /// Says what was tried, and on what, when it fails.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SandboxError {
        move |source| SandboxError::Io { what, path: path.to_owned(), source }
    }
}

/// What is to be said where the server was refused a file that is its own: Ubuntu confines MySQL's program to the usual folders.
fn confined(tail: &str) -> &'static str {
    let refused = ["Permission denied", "errno: 13", "Errcode: 13"].iter().any(|words| tail.contains(words));
    if refused {
        "\nwhere the files' modes allow it, AppArmor may confine this program: name a copy of it that lies elsewhere, or another \
         one (`strings-queue sandbox --server-program …`)"
    } else {
        ""
    }
}

fn by(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" by the server with process id {pid}"))
}
