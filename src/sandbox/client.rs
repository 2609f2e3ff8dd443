//! The line with which a person can run SQL in the sandbox.

use super::program::{Flavour, ServerProgram, beside, in_path};
use std::path::{Path, PathBuf};

/// A command line for a shell: root by the socket, where no password is asked.
pub(super) fn command(server: &ServerProgram, socket: &Path, database: &str) -> String {
    let client = shell_word(&client_program(server).to_string_lossy());
    let socket = shell_word(&format!("--socket={}", socket.display()));
    format!("{client} --no-defaults {socket} --user=root {database}")
}

/// The server's own kind of client first; by name where PATH has it.
fn client_program(server: &ServerProgram) -> PathBuf {
    let names = match server.flavour {
        Flavour::MariaDb => ["mariadb", "mysql"],
        Flavour::MySql => ["mysql", "mariadb"],
    };
    let known = names.into_iter().find(|name| in_path(name).is_some()).map(PathBuf::from);
    let found = known.or_else(|| names.into_iter().find_map(|name| beside(&server.path, name)));
    found.unwrap_or_else(|| names[0].into())
}

/// The text as one word of a shell.
pub(super) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.=+,:@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_when_they_must_be() {
        assert_eq!(shell_word("/run/server.sock"), "/run/server.sock");
        assert_eq!(shell_word("/my dir/it's"), r"'/my dir/it'\''s'");
        assert_eq!(shell_word(""), "''");
    }
}
