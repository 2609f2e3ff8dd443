//! A process under measurement: its processor time and memory, as the kernel accounts them.

use rustix::process::{Pid, Signal, kill_process};
use std::process::Child;
use std::time::Duration;

/// The kernel's clock ticks per second in /proc (`USER_HZ`, 100 on all Linux platforms; proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// A process; a child is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    child: Option<Child>,
}

impl Process {
    /// One that somebody else ends.
    pub fn of_pid(pid: i32) -> Process {
        Process { pid: pid.unsigned_abs(), child: None }
    }

    /// One that is ours.
    pub fn of_child(child: Child) -> Process {
        Process { pid: child.id(), child: Some(child) }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Stops it as if the machine had no time for it, until [`go_on`](Self::go_on).
    pub fn stop_for_now(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Has it end by itself, and waits for that; the handlers, which it may wait for, go on meanwhile.
    pub async fn terminate(mut self) {
        self.signal(Signal::TERM);
        if let Some(mut child) = self.child.take() {
            let _ = tokio::task::spawn_blocking(move || child.wait()).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// The processor time used so far.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks: f64 =
            after_name.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<f64>().ok()).sum();
        Duration::from_secs_f64(ticks / TICKS_PER_SECOND)
    }

    /// The resident memory now, in MiB.
    pub fn memory_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
