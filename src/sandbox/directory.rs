//! The sandbox's directory: what stands where in it.

use super::SandboxError;
use super::owner::Owner;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// How much of a log's end is shown with an error.
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 15;

/// What a sandbox has in its directory.
const NAMES: [&str; 10] =
    ["data", "data.new", "run", "tmp", "server.log", "server.log.1", "init.sql", "service.passwd", "made_by", "db.ini"];

/// Where the sandbox of this user stands if nobody says otherwise.
pub fn default_directory() -> Result<PathBuf, SandboxError> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/strings-queue/sandbox".into());
    }
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("strings-queue/sandbox")).ok_or(SandboxError::NoHome)
}

/// The directory, made and opened. It is ours; `data`, `run` and `tmp` in it are the server's.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    root: PathBuf,
    owner: Owner,
}

impl Directory {
    /// Makes it if need be. The server changes into its data directory, so every path must be absolute.
    pub(super) fn open(path: &Path, owner: Owner) -> Result<Directory, SandboxError> {
        refuse_others(path)?;
        let mode = if owner == Owner::Ourselves { 0o700 } else { 0o755 };
        let is_missing = |part: &&Path| !part.as_os_str().is_empty() && !part.exists();
        let mut ours: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
        if ["data", "data.new", "made_by"].iter().any(|name| path.join(name).exists()) {
            ours.push(path);
        }
        let created = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
        // Another user's server must get to its data, whatever our umask takes away. What was there before, above, is not
        // ours.
        if owner == Owner::Ourselves {
            ours.clear();
        }
        let opened = created.and_then(|()| {
            ours.iter().try_for_each(|part| fs::set_permissions(part, fs::Permissions::from_mode(mode)))
        });
        let root = opened.and_then(|()| path.canonicalize()).map_err(SandboxError::io("cannot make", path))?;
        Ok(Directory { root, owner })
    }

    /// Makes the folders that the server writes to.
    pub(super) fn make_folders(&self) -> Result<(), SandboxError> {
        for folder in [self.run(), self.tmp()] {
            self.owner.private_directory(&folder).map_err(SandboxError::io("cannot make", &folder))?;
        }
        Ok(())
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    /// The server's data; there only when complete.
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The data of a first start, until it is complete.
    pub(super) fn unfinished_data(&self) -> PathBuf {
        self.root.join("data.new")
    }

    /// Where the socket and the pid file stand.
    pub(super) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        self.run().join("server.pid")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    /// The statements that the server runs at its start.
    pub(super) fn init_file(&self) -> PathBuf {
        self.root.join("init.sql")
    }

    pub(super) fn password_file(&self) -> PathBuf {
        self.root.join("service.passwd")
    }

    /// Which kind of server made the data.
    pub(super) fn made_by(&self) -> PathBuf {
        self.root.join("made_by")
    }

    /// A new log for this start; the last one is kept beside it.
    pub(super) fn new_log(&self) -> Result<fs::File, SandboxError> {
        let log = self.log();
        let _ = fs::rename(&log, log.with_extension("log.1"));
        let file = fs::OpenOptions::new().create_new(true).append(true).mode(0o600).open(&log);
        file.map_err(SandboxError::io("cannot write", &log))
    }

    /// The last lines of the log.
    pub(super) fn log_tail(&self) -> String {
        let text = read_end(&self.log()).unwrap_or_else(|error| error.to_string());
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

/// A directory that is there must be a sandbox's, or one that we may make to one: what stands in it is changed.
fn refuse_others(path: &Path) -> Result<(), SandboxError> {
    let refuse = |why: String| Err(SandboxError::NotOurs { directory: path.to_owned(), why });
    let Ok(metadata) = fs::metadata(path) else { return Ok(()) };
    let (us, made) = (rustix::process::geteuid(), path.join("made_by").exists());
    // Root may go on with a user's.
    if metadata.uid() != us.as_raw() && !(made && us.is_root()) {
        return refuse("belongs to another user".to_owned());
    }
    if made {
        return Ok(());
    }
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    let mut names = entries.filter_map(Result::ok).map(|entry| entry.file_name());
    let harmless = |name: &std::ffi::OsStr| name == "lost+found" || name.as_encoded_bytes().starts_with(b".");
    let foreign = names.find(|name| !harmless(name) && !NAMES.iter().any(|ours| name == ours));
    foreign.map_or(Ok(()), |name| refuse(format!("has `{}` in it", name.display())))
}

fn read_end(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes a new file that only we can read. A link that stands there is not followed.
pub fn write_private_file(path: &Path, text: &str) -> Result<(), SandboxError> {
    write_private(path, text, Owner::Ourselves)
}

/// Writes a new file that only we, and whom it is given to, can read. A link that stands there is not followed.
pub(super) fn write_private(path: &Path, text: &str, owner: Owner) -> Result<(), SandboxError> {
    let _ = fs::remove_file(path);
    let written = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    written
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| owner.give(path))
        .map_err(SandboxError::io("cannot write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_other_things_in_it_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (tmp, other) = (folder.path().join("tmp"), folder.path().join("Cargo.toml"));
        fs::create_dir(&tmp).unwrap();
        fs::set_permissions(&tmp, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Directory::open(folder.path(), Owner::Ourselves).is_ok(), "an interrupted start may leave that");
        fs::write(folder.path().join(".gitkeep"), "").unwrap();
        assert!(Directory::open(folder.path(), Owner::Ourselves).is_ok());
        fs::write(&other, "").unwrap();
        let refused = Directory::open(folder.path(), Owner::Ourselves).unwrap_err().to_string();
        assert!(refused.contains("has `Cargo.toml` in it: name an empty directory"), "{refused}");
        fs::write(folder.path().join("made_by"), "").unwrap();
        assert!(Directory::open(folder.path(), Owner::Ourselves).is_ok(), "a sandbox's");
        assert_eq!(fs::metadata(&tmp).unwrap().permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn each_start_has_its_log_and_the_last_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path(), Owner::Ourselves).unwrap();
        for start in ["first", "second"] {
            let lines: Vec<String> = (1..=20).map(|line| format!("{start} {line}")).collect();
            directory.new_log().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
        }
        let tail = directory.log_tail();
        assert!(tail.starts_with("second 6\n") && tail.ends_with("\nsecond 20"), "{tail}");
        assert!(fs::read_to_string(folder.path().join("server.log.1")).unwrap().starts_with("first 1\n"));
    }

    #[test]
    fn a_private_file_replaces_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("file"), folder.path().join("other"));
        fs::write(&other, "untouched").unwrap();
        std::os::unix::fs::symlink(&other, &file).unwrap();
        write_private(&file, "secret", Owner::Ourselves).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "secret");
        assert_eq!(fs::read_to_string(&other).unwrap(), "untouched");
    }
}
