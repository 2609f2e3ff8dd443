//! Small text files: the settings, a password, certificates.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// No file of settings, password or certificates is larger (bytes).
const MAX_BYTES: u64 = 4 << 20;

/// A file's text; whether everybody on the machine may read it.
pub(super) struct TextFile {
    pub text: String,
    pub open_to_all: bool,
}

/// Reads a whole file of UTF-8 text.
pub(super) fn read(path: &Path) -> io::Result<TextFile> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    Ok(TextFile { text, open_to_all: metadata.is_file() && metadata.permissions().mode() & 0o004 != 0 })
}

/// What is wrong with a file that could not be read, and what mends it.
pub(super) fn fault(error: &io::Error) -> String {
    let mend = match error.kind() {
        io::ErrorKind::PermissionDenied => "let the user that the service runs as read it",
        _ => "mend the path",
    };
    format!("can't be read: {}; {mend}", reason(error))
}

/// Why a file could not be read, without the number of the system's error.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "reading it is not permitted".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_may_not_be_read_is_not_said_to_be_somewhere_else() {
        let fault = |kind: io::ErrorKind| fault(&kind.into());
        assert!(
            fault(io::ErrorKind::PermissionDenied)
                .ends_with("not permitted; let the user that the service runs as read it")
        );
        assert!(fault(io::ErrorKind::NotFound).ends_with("there is no such file; mend the path"));
    }

    #[test]
    fn a_file_too_large_is_not_read_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MAX_BYTES).unwrap();
        assert!(read(file.path()).is_ok());
        file.as_file().set_len(1 << 40).unwrap();
        assert_eq!(reason(&read(file.path()).err().unwrap()), "it is larger than 4 MiB");
    }
}
