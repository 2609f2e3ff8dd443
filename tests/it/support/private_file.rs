//! Files that nobody else may read, as settings with a password should be.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a file for its owner alone, instead of what it held.
pub fn write_private(path: &Path, text: impl AsRef<[u8]>) {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_ref()).unwrap();
}
