//! Batch: what calls came to, gathered to be written together.

use super::records::Ended;
use crate::job::{JobId, messages};
use crate::store::{ClaimToken, Finished, HistoryLine};
use std::time::Duration;

/// A job whose result has been written.
#[derive(Debug)]
pub struct Done {
    /// The job.
    pub id: JobId,
    /// When it is to be looked at again; none when it is not ours any more to retry.
    pub retry_in: Option<Duration>,
}

/// A batch that is about to be written.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) finished: Vec<Finished>,
    pub(super) lines: Vec<HistoryLine>,
    pub(super) released: Vec<(JobId, ClaimToken)>,
    pub(super) release_lines: Vec<HistoryLine>,
    pub(super) done: Vec<Done>,
    pub(super) bytes: usize,
}

impl Batch {
    /// Takes out what is to be written of these jobs.
    pub(super) fn split_off(&mut self, jobs: &[JobId]) -> Batch {
        Batch {
            finished: self.finished.extract_if(.., |one| jobs.contains(&one.id)).collect(),
            lines: self.lines.extract_if(.., |line| jobs.contains(&line.job)).collect(),
            done: self.done.extract_if(.., |done| jobs.contains(&done.id)).collect(),
            ..Batch::default()
        }
    }

    /// A job that was not called, or whose call was cut off.
    pub(super) fn give_back(&mut self, ended: &Ended) {
        let message = messages::finished(ended.id, &ended.outcome);
        self.release_lines.push(HistoryLine { job: ended.id, message, at_micros: None });
        self.released.push((ended.id, ended.token));
        // At a stop nobody looks at timers; else its call could not be made now, and the job is still as due as it was.
        self.done.push(Done { id: ended.id, retry_in: Some(Duration::ZERO) });
    }
}
