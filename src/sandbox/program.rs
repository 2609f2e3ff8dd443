//! Which server program there is, and what it is.

use super::SandboxError;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Where server programs stand that a user's PATH does not show.
const USUAL_FOLDERS: [&str; 5] = ["/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/bin", "/usr/local/bin"];

/// The two kinds of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// `MariaDB`.
    MariaDb,
    /// `MySQL`.
    MySql,
}

impl fmt::Display for Flavour {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Flavour::MariaDb => "MariaDB",
            Flavour::MySql => "MySQL",
        })
    }
}

/// A server program that said what it is.
#[derive(Debug, Clone)]
pub(super) struct ServerProgram {
    pub(super) path: PathBuf,
    pub(super) flavour: Flavour,
    pub(super) version: String,
}

impl ServerProgram {
    /// The given program, or the first of the usual ones.
    pub(super) async fn find(given: Option<&Path>) -> Result<ServerProgram, SandboxError> {
        let path = match given {
            Some(path) => std::path::absolute(path).map_err(SandboxError::io("cannot use", path))?,
            None => usual_program().ok_or(SandboxError::NoProgram)?,
        };
        let (flavour, version) = ask_version(&path).await?;
        Ok(ServerProgram { path, flavour, version })
    }
}

fn usual_program() -> Option<PathBuf> {
    ["mariadbd", "mysqld"].into_iter().find_map(|name| {
        let usual = USUAL_FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| is_program(path));
        in_path(name).or(usual)
    })
}

/// A program of that name in PATH.
pub(super) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_absolute() && is_program(path))
}

/// A program of that name in the server's folder, or in the folders that stand beside it when it is unpacked.
pub(super) fn beside(server: &Path, name: &str) -> Option<PathBuf> {
    let folder = server.parent()?;
    ["", "../bin", "../scripts"].iter().map(|way| folder.join(way).join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// A command that asks the program something. In a process group of its own: Ctrl-C reaches us alone, and it goes with
/// whoever waits for it.
pub(super) fn asking(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).process_group(0).kill_on_drop(true);
    command
}

async fn ask_version(program: &Path) -> Result<(Flavour, String), SandboxError> {
    let output = asking(program, &["--no-defaults", "--version"]).output().await;
    let output = output.map_err(SandboxError::io("cannot run", program))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    parse_version(&said).ok_or_else(|| {
        let error = String::from_utf8_lossy(&output.stderr);
        SandboxError::UnknownProgram { program: program.to_owned(), said: format!("{said}{}", error.trim()) }
    })
}

/// From a line such as `mariadbd  Ver 10.11.19-MariaDB-… for debian-linux-gnu on x86_64 (Debian 12)`.
fn parse_version(said: &str) -> Option<(Flavour, String)> {
    let version = said.split_whitespace().skip_while(|word| *word != "Ver").nth(1)?;
    let number: String = version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let flavour = match said {
        _ if number.is_empty() => return None,
        _ if said.contains("MariaDB") => Flavour::MariaDb,
        _ => Flavour::MySql,
    };
    Some((flavour, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavour_and_version_are_read_from_what_the_program_says() {
        let said = [
            (
                "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)",
                Flavour::MariaDb,
                "10.11.19",
            ),
            ("/x/mysqld  Ver 11.8.2-MariaDB for Linux on x86_64 (MariaDB Server)", Flavour::MariaDb, "11.8.2"),
            ("/usr/sbin/mysqld  Ver 9.7.4 for Linux on x86_64 ((Debian))", Flavour::MySql, "9.7.4"),
            ("mysqld  Ver 8.0.40-0ubuntu0.24.04.1 for Linux on x86_64 ((Ubuntu))", Flavour::MySql, "8.0.40"),
        ];
        for (line, flavour, version) in said {
            assert_eq!(parse_version(line), Some((flavour, version.to_owned())), "{line}");
        }
        assert_eq!(parse_version("bash: no such file"), None);
        assert_eq!(parse_version("Ver what?"), None);
    }

    #[tokio::test]
    async fn a_program_that_is_no_server_is_named() {
        let error = ServerProgram::find(Some(Path::new("/bin/true"))).await.unwrap_err();
        assert!(error.to_string().starts_with("/bin/true does not say"), "{error}");
    }
}
