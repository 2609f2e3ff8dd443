//! A file system of a few hundred megabytes in memory, to be filled. Needs root and the right to mount.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Mounted; unmounted when dropped.
pub struct TinyDisk {
    folder: TempDir,
}

impl TinyDisk {
    /// None where mounting is not allowed.
    pub fn mount(megabytes: u32) -> Option<TinyDisk> {
        let folder = TempDir::new().unwrap();
        let size = format!("size={megabytes}m,mode=0755");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).stderr(Stdio::null());
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then(|| {
            std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
            TinyDisk { folder }
        })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all room that is left, the reserve of no use to anybody included.
    pub fn fill(&self) {
        let mut ballast = std::fs::File::options().create(true).append(true).open(self.ballast()).unwrap();
        let mut piece = vec![b'x'; 1 << 20];
        while !piece.is_empty() {
            if std::io::Write::write_all(&mut ballast, &piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
    }

    /// As [`TinyDisk::fill`], but for so many bytes.
    pub fn fill_up_to(&self, room: u64) {
        self.fill();
        let ballast = std::fs::File::options().write(true).open(self.ballast()).unwrap();
        let taken = ballast.metadata().unwrap().len();
        ballast.set_len(taken.saturating_sub(room)).unwrap();
    }

    /// Gives it back.
    pub fn clear(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for TinyDisk {
    /// Lazily: a server on it may still be ending.
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}
