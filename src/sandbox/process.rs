//! The server's process, from its start to its end.

use super::SandboxError;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

/// A child that a thread of its own starts and waits for. Killed when dropped.
///
/// The kernel's "end it with its parent" means the parent *thread*: one of a pool may end long before us.
#[derive(Debug)]
pub(super) struct ServerProcess {
    pid: Pid,
    ended: watch::Receiver<Option<ExitStatus>>,
    keeper: Option<JoinHandle<()>>,
}

impl ServerProcess {
    /// Starts the command in a process group of its own, so that Ctrl-C reaches us alone; it writes to the log.
    pub(super) async fn start(mut command: Command, log: File) -> Result<ServerProcess, SandboxError> {
        let program = std::path::PathBuf::from(command.get_program());
        let cannot_run = || SandboxError::io("cannot run", &program);
        let errors = log.try_clone().map_err(cannot_run())?;
        command.process_group(0).stdin(Stdio::null()).stdout(log).stderr(errors);
        let (started, start) = oneshot::channel();
        let (end, ended) = watch::channel(None);
        let keeper = thread::Builder::new().name("database".into()).spawn(move || keep(command, started, &end));
        let mut starting = Starting { start, keeper: Some(keeper.map_err(cannot_run())?) };
        let pid = (&mut starting.start).await.unwrap_or_else(|_| Err(io::Error::other("its thread ended")));
        Ok(ServerProcess { pid: pid.map_err(cannot_run())?, ended, keeper: starting.keeper.take() })
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// How it ended, if it has.
    pub(super) fn exit_status(&self) -> Option<ExitStatus> {
        *self.ended.borrow()
    }

    /// Waits for its end; none if its keeper lost it.
    pub(super) async fn ended(&self) -> Option<ExitStatus> {
        let mut ended = self.ended.clone();
        ended.wait_for(Option::is_some).await.ok().and_then(|status| *status)
    }

    /// Asks it to stop, and kills it when it has not after `patience`.
    pub(super) async fn stop(&self, patience: Duration) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        if let Ok(status) = timeout(patience, self.ended()).await {
            return status;
        }
        self.signal(Signal::KILL);
        self.ended().await
    }

    /// A process that has ended gets none: its number may be another's.
    fn signal(&self, signal: Signal) {
        if self.exit_status().is_none() {
            let _ = kill_process(self.pid, signal);
        }
    }
}

/// A start under way. Dropped by somebody who no longer waits for it, it leaves no process behind.
struct Starting {
    start: oneshot::Receiver<io::Result<Pid>>,
    keeper: Option<JoinHandle<()>>,
}

impl Drop for Starting {
    /// Closed, the channel has the process already, or makes its keeper kill it.
    fn drop(&mut self) {
        let Some(keeper) = self.keeper.take() else { return };
        self.start.close();
        if let Ok(Ok(pid)) = self.start.try_recv() {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = keeper.join();
    }
}

impl Drop for ServerProcess {
    /// What it had committed survives a kill.
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

fn keep(mut command: Command, started: oneshot::Sender<io::Result<Pid>>, end: &watch::Sender<Option<ExitStatus>>) {
    let child = command.spawn().and_then(|child| Ok((pid_of(&child)?, child)));
    match child {
        Err(error) => drop(started.send(Err(error))),
        Ok((pid, mut child)) => {
            if started.send(Ok(pid)).is_err() {
                // Nobody waits for it any more.
                let _ = child.kill();
            }
            end.send_replace(child.wait().ok());
        }
    }
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::test_kill_process;

    async fn start(script: &str) -> ServerProcess {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        ServerProcess::start(command, tempfile::tempfile().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn it_tells_how_it_ended() {
        let process = start("exit 7").await;
        assert_eq!(process.ended().await.unwrap().code(), Some(7));
        assert_eq!(process.stop(Duration::ZERO).await.unwrap().code(), Some(7));
    }

    #[tokio::test]
    async fn one_that_does_not_stop_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready");
        let process = start(&format!("trap '' TERM; : > {}; while :; do sleep 1; done", ready.display())).await;
        while !ready.exists() {
            tokio::task::yield_now().await;
        }
        let status = process.stop(Duration::from_millis(100)).await.unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[tokio::test]
    async fn a_dropped_one_is_gone() {
        let process = start("sleep 600").await;
        let pid = process.pid();
        drop(process);
        assert!(test_kill_process(pid).is_err());
    }

    #[tokio::test]
    async fn a_start_that_nobody_waits_for_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let started = folder.path().join("started");
        for polls in 0..3 {
            let script = format!("echo $$ >> {}; sleep 600", started.display());
            let starting = start(&script);
            let _ = tokio::time::timeout(Duration::from_millis(polls), starting).await;
        }
        let pids = std::fs::read_to_string(&started).unwrap_or_default();
        for pid in pids.lines().filter_map(|line| Pid::from_raw(line.parse().unwrap())) {
            assert!(test_kill_process(pid).is_err(), "{pid:?} is left");
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let error = ServerProcess::start(Command::new("/no/such"), tempfile::tempfile().unwrap()).await.unwrap_err();
        assert!(error.to_string().starts_with("cannot run /no/such: "), "{error}");
    }
}
