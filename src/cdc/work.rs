//! What one transaction gives to do, kept until its end is seen.

use crate::job::JobId;
use crate::wakeup::{SweepCause, Wakeup};

/// How many jobs of one transaction are remembered one by one; past that it is a backlog.
pub(super) const JOB_BOUND: usize = 10_000;

/// Jobs to look at, and whether to sweep, once the transaction is committed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) jobs: Vec<JobId>,
    pub(super) backlog: bool,
    pub(super) sweep: Option<SweepCause>,
}

impl Work {
    /// A row of this job was written.
    pub(super) fn job(&mut self, job: JobId) {
        if self.jobs.len() < JOB_BOUND {
            self.jobs.push(job);
        } else {
            self.backlog = true;
        }
    }

    /// Something happened that rows do not tell.
    pub(super) fn sweep(&mut self, cause: SweepCause) {
        self.sweep.get_or_insert(cause);
    }

    /// Rings for all of it and is empty again.
    pub(super) fn ring(&mut self, wakeup: &Wakeup) {
        if !self.jobs.is_empty() {
            wakeup.ring(self.jobs.drain(..));
        }
        if std::mem::take(&mut self.backlog) {
            wakeup.ring_backlog();
        }
        if let Some(cause) = self.sweep.take() {
            wakeup.ring_sweep(cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_transaction_is_a_backlog() {
        let (mut work, wakeup) = (Work::default(), Wakeup::default());
        for id in 0..=JOB_BOUND as u64 {
            work.job(JobId(id));
        }
        work.ring(&wakeup);
        assert_eq!(work, Work::default());
        let hints = wakeup.take();
        assert_eq!(hints.jobs.len(), JOB_BOUND);
        assert!(hints.backlog);
    }
}
