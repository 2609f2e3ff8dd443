//! Whose the server is: never root's, for a server refuses to be.

use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

/// The users that run a server started by root, the first that exists.
const SERVER_USERS: [&str; 2] = ["mysql", "nobody"];

/// The user whose the server's files and process are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Who started us.
    Ourselves,
    /// Another one: we are root.
    Other { uid: u32, gid: u32 },
}

impl Owner {
    /// The user for this process's servers: whose data are there already, if it is not root, for users may come and go.
    pub(super) fn find(data: &Path) -> io::Result<Owner> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Owner::Ourselves);
        }
        if let Some(owner) = Owner::of(data) {
            return Ok(owner);
        }
        let users = fs::read_to_string("/etc/passwd")?;
        let user = SERVER_USERS.iter().find_map(|name| find_user(&users, name));
        user.ok_or_else(|| io::Error::other("neither of the users mysql, nobody is in it"))
    }

    /// Whose the folder is; nobody's when there is none, or root's.
    fn of(folder: &Path) -> Option<Owner> {
        let there = fs::symlink_metadata(folder).ok().filter(|file| file.is_dir() && file.uid() != 0)?;
        Some(Owner::Other { uid: there.uid(), gid: there.gid() })
    }

    /// Makes the command run as this user, without root's groups.
    pub(super) fn apply(self, command: &mut Command) {
        if let Owner::Other { uid, gid } = self {
            command.gid(gid).uid(uid);
        }
    }

    /// The user's number.
    pub(super) fn uid(self) -> u32 {
        match self {
            Owner::Ourselves => rustix::process::geteuid().as_raw(),
            Owner::Other { uid, .. } => uid,
        }
    }

    /// Makes a directory that only this user (and root) can enter; one that is there is made so again.
    pub(super) fn private_directory(self, path: &Path) -> io::Result<()> {
        if !path.symlink_metadata().is_ok_and(|file| file.is_dir()) {
            fs::create_dir(path)?;
        }
        self.give(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
    }

    /// Makes a file or a directory this user's.
    pub(super) fn give(self, path: &Path) -> io::Result<()> {
        match self {
            Owner::Ourselves => Ok(()),
            Owner::Other { uid, gid } => lchown(path, Some(uid), Some(gid)),
        }
    }
}

/// A line is `name:password:uid:gid:…`.
fn find_user(users: &str, name: &str) -> Option<Owner> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(name);
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        found.then_some(Owner::Other { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_shows_whose_it_is() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Owner::of(&folder.path().join("none")), None);
        if rustix::process::geteuid().is_root() {
            assert_eq!(Owner::of(folder.path()), None);
            let other = Owner::Other { uid: 4242, gid: 4243 };
            other.give(folder.path()).unwrap();
            assert_eq!(Owner::of(folder.path()), Some(other));
        }
    }

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\nbroken\nmysqlx:x:5:5::/:\nmysql:x:102:105:MySQL:/nonexistent:/bin/false\n";
        assert_eq!(find_user(users, "mysql"), Some(Owner::Other { uid: 102, gid: 105 }));
        assert_eq!(find_user(users, "nobody"), None);
    }
}
