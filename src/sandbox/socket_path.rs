//! Where the server's socket stands: a path of at most 107 bytes, in a directory that only its user can enter.

use super::SandboxError;
use super::owner::Owner;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What the kernel leaves of `sun_path` beside the closing zero.
const LONGEST_PATH: usize = 107;
const FILE_NAME: &str = "server.sock";

/// The socket in `preferred`, or, where that path is too long, in a short directory made for it.
pub(super) fn choose(preferred: &Path, owner: Owner) -> Result<PathBuf, SandboxError> {
    let socket = preferred.join(FILE_NAME);
    if socket.as_os_str().len() <= LONGEST_PATH {
        return Ok(socket);
    }
    let short = short_folder(owner).join(format!("strings-queue-{:016x}", fingerprint(preferred)));
    make_private(&short, owner)?;
    Ok(short.join(FILE_NAME))
}

/// The runtime directory is ours alone: a server with another user can't enter it.
fn short_folder(owner: Owner) -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime
        .filter(|folder| owner == Owner::Ourselves && folder.is_dir() && folder.as_os_str().len() < 60)
        .unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// Everybody may write to `/tmp`: what stands there already is used only if it is the server's own and closed.
fn make_private(path: &Path, owner: Owner) -> Result<(), SandboxError> {
    if std::fs::DirBuilder::new().mode(0o700).create(path).is_ok() {
        return owner.give(path).map_err(SandboxError::io("cannot give away", path));
    }
    let found = path.symlink_metadata().map_err(SandboxError::io("cannot make", path))?;
    let private = found.is_dir() && found.uid() == owner.uid() && found.mode() & 0o777 == 0o700;
    if private { Ok(()) } else { Err(SandboxError::UnsafeDirectory(path.to_owned())) }
}

/// A number for a path, the same in every run (64-bit FNV-1a).
pub(super) fn fingerprint(path: &Path) -> u64 {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_short_path_is_kept_and_a_long_one_replaced() {
        assert_eq!(choose(Path::new("/s/run"), Owner::Ourselves).unwrap(), Path::new("/s/run/server.sock"));
        let long = PathBuf::from(format!("/{}/{}", "x".repeat(100), std::process::id()));
        let socket = choose(&long, Owner::Ourselves).unwrap();
        assert!(socket.as_os_str().len() <= LONGEST_PATH);
        assert_eq!(choose(&long, Owner::Ourselves).unwrap(), socket, "the same again");
        let folder = socket.parent().unwrap();
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = choose(&long, Owner::Ourselves).unwrap_err();
        assert!(matches!(error, SandboxError::UnsafeDirectory(_)), "{error}");
        std::fs::remove_dir(folder).unwrap();
    }
}
