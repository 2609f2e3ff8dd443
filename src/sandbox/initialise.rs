//! The first data directory, made by the server program itself.

use super::SandboxError;
use super::directory::{Directory, write_private};
use super::launch::dying_with_us;
use super::owner::Owner;
use super::program::{Flavour, ServerProgram, asking};
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The files with `MariaDB`'s system tables, in the order in which they are run; `mysql_` before `MariaDB` 11.
const SYSTEM_TABLES: [&str; 3] = ["system_tables.sql", "performance_tables.sql", "system_tables_data.sql"];
const FILE_PREFIXES: [&str; 2] = ["mariadb_", "mysql_"];

/// Makes the data directory if there is none. One that was begun and not finished begins again.
pub(super) async fn initialise(directory: &Directory, program: &ServerProgram) -> Result<(), SandboxError> {
    if directory.data().exists() {
        return same_flavour(directory, program);
    }
    let unfinished = directory.unfinished_data();
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(SandboxError::io("cannot remove", &unfinished))?;
    }
    directory.owner().private_directory(&unfinished).map_err(SandboxError::io("cannot make", &unfinished))?;
    match program.flavour {
        Flavour::MySql => run(directory, program, &["--initialize-insecure", "--secure-file-priv=NULL"], "").await?,
        Flavour::MariaDb => {
            let statements = mariadb_statements(&program.path).await?;
            run(directory, program, &["--bootstrap", "--log-warnings=0", "--max-allowed-packet=8M"], &statements)
                .await?;
        }
    }
    let made_by = format!("{} {}\n", program.flavour, program.version);
    write_private(&directory.made_by(), &made_by, Owner::Ourselves)?;
    fs::rename(&unfinished, directory.data()).map_err(SandboxError::io("cannot rename", &unfinished))
}

/// A server that finds the other one's data fails in ways that tell nothing.
fn same_flavour(directory: &Directory, program: &ServerProgram) -> Result<(), SandboxError> {
    let held = fs::read_to_string(directory.made_by()).unwrap_or_default();
    let held = held.trim();
    if held.is_empty() || held.starts_with(&program.flavour.to_string()) {
        return Ok(());
    }
    let program = format!("{} {}", program.flavour, program.version);
    Err(SandboxError::OtherFlavour { directory: directory.root().to_owned(), held: held.to_owned(), program })
}

/// Runs the program on the unfinished data, with what it shall read.
async fn run(directory: &Directory, program: &ServerProgram, how: &[&str], input: &str) -> Result<(), SandboxError> {
    let cannot_run = || SandboxError::io("cannot run", &program.path);
    let log = directory.new_log()?;
    let mut command = dying_with_us(&program.path);
    // In a process group of its own, so that Ctrl-C reaches us alone.
    command.arg("--no-defaults").args(how).process_group(0);
    command.args([path_option("--datadir=", &directory.unfinished_data()), path_option("--tmpdir=", &directory.tmp())]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).current_dir("/");
    directory.owner().apply(&mut command);
    let mut child = Command::from(command).kill_on_drop(true).spawn().map_err(cannot_run())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that fails early stops reading: its exit status and its log tell more than this would.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let status = child.wait().await.map_err(cannot_run())?;
    if status.success() {
        return Ok(());
    }
    Err(SandboxError::Initialise { status, log: directory.log(), tail: directory.log_tail() })
}

/// An option with a path, which need not be UTF-8.
pub(super) fn path_option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

/// What `mariadb-install-db` would feed it: that script is not there when only the server is unpacked.
async fn mariadb_statements(program: &Path) -> Result<String, SandboxError> {
    let share = share_folder(program).await?;
    let mut statements = String::from("create database mysql;\nuse mysql;\nset @auth_root_socket=null;\n");
    for name in SYSTEM_TABLES {
        let file = system_file(&share, name);
        let text = fs::read_to_string(&file).map_err(SandboxError::io("cannot read", &file))?;
        // Accounts for this machine's own name: nobody comes by that way.
        for line in text.lines().filter(|line| !line.contains("@current_hostname")) {
            statements.push_str(line);
            statements.push('\n');
        }
    }
    Ok(statements)
}

fn system_file(share: &Path, name: &str) -> PathBuf {
    let [new, old] = FILE_PREFIXES.map(|prefix| share.join(format!("{prefix}{name}")));
    if new.exists() { new } else { old }
}

async fn share_folder(program: &Path) -> Result<PathBuf, SandboxError> {
    let output = asking(program, &["--no-defaults", "--verbose", "--help"]).output().await;
    let output = output.map_err(SandboxError::io("cannot run", program))?;
    parse_share_folder(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| SandboxError::NoShareFolder(program.to_owned()))
}

/// The folder above that of the character sets, from the table of settings in the long help.
fn parse_share_folder(help: &str) -> Option<PathBuf> {
    let line = help.lines().find(|line| line.split_whitespace().next() == Some("character-sets-dir"))?;
    let folder = line.trim_start().strip_prefix("character-sets-dir")?.trim();
    Path::new(folder).parent().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_folder_is_read_from_the_help() {
        let help = "  --character-sets-dir=name\n                      Where\ncharacter-sets-dir      /opt/my server/share/charsets/\ndatadir   /x\n";
        assert_eq!(parse_share_folder(help), Some(PathBuf::from("/opt/my server/share")));
        assert_eq!(parse_share_folder("datadir /x"), None);
    }
}
