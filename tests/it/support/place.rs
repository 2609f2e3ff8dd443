//! A folder for a script of the project to run in, with programs of the test's own on its `PATH`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;

/// What of coreutils and its neighbours the scripts may call, on a machine that has nothing more.
const BASIC_TOOLS: [&str; 30] = [
    "awk", "basename", "bash", "cat", "chmod", "cp", "cut", "dirname", "env", "find", "flock", "grep", "head", "id",
    "mkdir", "mktemp", "mv", "ps", "readlink", "realpath", "rm", "sed", "sh", "sleep", "sort", "tail", "tee", "touch",
    "tr", "uname",
];

/// No script of the tests runs so long, whatever it starts.
const PATIENCE: Duration = Duration::from_secs(120);

/// The folder; gone at the end of the test.
pub struct Place {
    folder: TempDir,
}

/// How a script ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

impl Place {
    /// An empty one, which every user may enter: a database server runs as another user when we are root.
    pub fn new() -> Place {
        let folder = TempDir::new().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Place { folder }
    }

    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a shell script; `bin` is the folder that is first on the `PATH` of [`Place::command`].
    pub fn script(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What `cargo metadata` would say of a build in this place.
    pub fn cargo_metadata(&self) -> String {
        format!(r#"{{"target_directory":"{}"}}"#, self.path("target").display())
    }

    /// Puts the basic tools of this machine into `bin`, for a `PATH` that has nothing else.
    pub fn take_basic_tools(&self) {
        let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect();
        std::fs::create_dir_all(self.path("bin")).unwrap();
        for tool in BASIC_TOOLS {
            if let Some(found) = folders.iter().map(|folder| folder.join(tool)).find(|path| path.exists()) {
                let _ = std::os::unix::fs::symlink(found, self.path("bin").join(tool));
            }
        }
    }

    /// A script of the project, run from here, in a process group of its own as in a terminal; `bin` comes first. It hears
    /// all signals, whatever whoever runs the tests ignores, as a shell does for what it runs in the background.
    pub fn command(&self, script: &str, arguments: &[&str]) -> Command {
        let path = [self.path("bin").display().to_string(), std::env::var("PATH").unwrap()].join(":");
        let mut command = Command::new("env");
        command.arg("--default-signal").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script)).args(arguments);
        command.env("PATH", path).env_remove("CARGO_TARGET_DIR").env_remove("RUST_LOG");
        command.current_dir(self.folder.path()).process_group(0).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// The same with nothing on the `PATH` but `bin`.
    pub fn command_on_bare_path(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(script, arguments);
        command.env("PATH", self.path("bin"));
        command
    }

    /// Processes that have our folder in their arguments.
    pub fn processes(&self) -> Vec<String> {
        let ours = self.folder.path().to_str().unwrap();
        let folders = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        let commands = folders.filter_map(|process| std::fs::read(process.join("cmdline")).ok());
        let texts = commands.map(|arguments| String::from_utf8_lossy(&arguments).replace('\0', " "));
        texts.filter(|arguments| arguments.contains(ours)).collect()
    }

    /// The lines of a file here; none if there is no such file.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// Runs it to its end.
pub async fn run_to_end(command: &mut Command) -> Ended {
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}
