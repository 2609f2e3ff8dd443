//! One sandbox at a time in a directory, and none beside a server that outlived its own.

use super::SandboxError;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take to end whose sandbox was killed: it was told to, when that died.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Held while the sandbox lives. The kernel frees it with the process, however that ends: nothing is left to
/// be taken for a lock later, as a file would be.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _name: UnixListener,
}

impl DirectoryLock {
    /// Takes the directory, or tells who has it. Waits a while for a server that is ending.
    pub(super) fn take(directory: &Path, pid_file: &Path, data: &Path) -> Result<DirectoryLock, SandboxError> {
        DirectoryLock::take_within(ENDS_WITHIN, directory, pid_file, data)
    }

    fn take_within(
        patience: Duration,
        directory: &Path,
        pid_file: &Path,
        data: &Path,
    ) -> Result<DirectoryLock, SandboxError> {
        let refused = |pid| SandboxError::InUse { directory: directory.to_owned(), pid };
        let name = bind_name(directory).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => refused(running_server(pid_file, data)),
            _ => SandboxError::io("cannot lock", directory)(error),
        })?;
        match lasting_server(patience, pid_file, data) {
            Some(pid) => Err(refused(Some(pid))),
            None => Ok(DirectoryLock { _name: name }),
        }
    }
}

/// A name in the abstract namespace: bound by one process at a time. It holds 107 bytes, a path may be longer.
fn bind_name(directory: &Path) -> std::io::Result<UnixListener> {
    let name = format!("strings-queue/sandbox/{:016x}", super::socket_path::fingerprint(directory));
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes())?)
}

/// The server that is still there after so long; none as soon as there is none.
fn lasting_server(patience: Duration, pid_file: &Path, data: &Path) -> Option<i32> {
    let begun = Instant::now();
    loop {
        let pid = running_server(pid_file, data)?;
        if begun.elapsed() >= patience {
            return Some(pid);
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// The process of the pid file, if it is a server with this data directory: the number alone may be anybody's by now.
fn running_server(pid_file: &Path, data: &Path) -> Option<i32> {
    let pid: i32 = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let data = [b"--datadir=", data.as_os_str().as_bytes()].concat();
    arguments.split(|byte| *byte == 0).any(|argument| argument == data).then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn take(directory: &Path) -> Result<DirectoryLock, SandboxError> {
        DirectoryLock::take_within(Duration::ZERO, directory, &directory.join("pid"), &directory.join("data"))
    }

    /// Takes it when it is free. A process that another test starts has a copy of what was let go, until its program
    /// runs.
    fn take_soon(directory: &Path) -> DirectoryLock {
        let begun = Instant::now();
        loop {
            match take(directory) {
                Ok(lock) => return lock,
                Err(error) => assert!(begun.elapsed() < SOON, "{error}"),
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_directory_is_taken_once_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let held = take(directory.path()).unwrap();
        let error = take(directory.path()).unwrap_err().to_string();
        assert!(error.contains("is in use: stop that one"), "{error}");
        drop(held);
        take_soon(directory.path());
    }

    #[test]
    fn a_server_that_outlived_its_sandbox_keeps_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let argument = format!("--datadir={}", directory.path().join("data").display());
        let mut server = std::process::Command::new("sh")
            .args(["-c", "read x", &argument])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid_file = directory.path().join("pid");
        std::fs::write(&pid_file, format!("{}\n", server.id())).unwrap();
        // A process that has just begun shows its arguments a moment later.
        while running_server(&pid_file, &directory.path().join("data")).is_none() {
            std::thread::yield_now();
        }
        let error = take(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("by the server with process id {}", server.id())), "{error}");
        // It ends while its successor waits for it.
        let ending = thread::spawn(move || {
            thread::sleep(10 * LOOK_AGAIN);
            drop(server.stdin.take());
            server.wait().unwrap();
        });
        assert_eq!(lasting_server(SOON, &pid_file, &directory.path().join("data")), None, "it has ended");
        ending.join().unwrap();
        take_soon(directory.path());
    }

    #[test]
    fn a_stranger_with_the_old_number_is_no_server() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("pid"), std::process::id().to_string()).unwrap();
        take(directory.path()).unwrap();
    }
}
