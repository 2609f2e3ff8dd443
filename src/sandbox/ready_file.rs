//! The file that tells a waiting script where the server listens.

use super::client::shell_word;
use super::{PrivateServer, SandboxError};
use std::path::Path;

/// Lines of `KEY=VALUE` that a shell can read in.
#[must_use]
pub fn render_ready_file(port: u16, socket: &Path) -> String {
    let socket = shell_word(&socket.to_string_lossy());
    format!("STRINGS_QUEUE_TEST_PORT={port}\nSTRINGS_QUEUE_TEST_SOCKET={socket}\n")
}

/// Writes the file at once: whoever sees it sees all of it.
pub fn write_ready_file(path: &Path, server: &PrivateServer) -> Result<(), SandboxError> {
    write_at_once(path, &render_ready_file(server.port(), server.socket()))
}

fn write_at_once(path: &Path, text: &str) -> Result<(), SandboxError> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    let written = std::fs::write(&unfinished, text).and_then(|()| std::fs::rename(&unfinished, path));
    written.map_err(SandboxError::io("cannot write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_written_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready");
        write_at_once(&path, &render_ready_file(3307, Path::new("/a b/s.sock"))).unwrap();
        let expected = "STRINGS_QUEUE_TEST_PORT=3307\nSTRINGS_QUEUE_TEST_SOCKET='/a b/s.sock'\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }
}
