//! Batch: what calls came to, gathered to be written together.

use super::records::{Ahead, Ended, Unwritten};
use crate::job::{JobId, messages};
use crate::store::{ClaimToken, Finished, HistoryLine};
use std::time::Duration;

/// A job whose result has been written.
#[derive(Debug)]
pub struct Done {
    /// The job.
    pub id: JobId,
    /// When it is to be looked at again, if its result says that it is.
    pub retry_in: Option<Duration>,
}

/// A batch that is about to be written.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) finished: Vec<Finished>,
    pub(super) lines: Vec<HistoryLine>,
    /// Which of the lines are of calls that were under way.
    pub(super) unwritten: Vec<(JobId, Unwritten)>,
    /// Jobs whose lines went ahead and are another completer's: they must be written first.
    pub(super) ahead: Vec<(JobId, Ahead)>,
    pub(super) released: Vec<(JobId, ClaimToken)>,
    pub(super) release_lines: Vec<HistoryLine>,
    pub(super) done: Vec<Done>,
    pub(super) bytes: usize,
}

impl Batch {
    /// Takes the line of a call that is still under way.
    pub(super) fn take_line(&mut self, line: HistoryLine, unwritten: Unwritten) {
        self.bytes += line.message.len();
        self.unwritten.push((line.job, unwritten));
        self.lines.push(line);
    }

    /// Remembers that a line of the job went ahead; one that is among ours is written in the same transaction.
    pub(super) fn follow(&mut self, job: JobId, ahead: Option<Ahead>) {
        let Some(ahead) = ahead else { return };
        if !self.unwritten.iter().any(|(of, _)| *of == job) {
            self.ahead.push((job, ahead));
        }
    }

    /// Takes out what is to be written of these jobs.
    pub(super) fn split_off(&mut self, jobs: &[JobId]) -> Batch {
        Batch {
            finished: self.finished.extract_if(.., |one| jobs.contains(&one.id)).collect(),
            lines: self.lines.extract_if(.., |line| jobs.contains(&line.job)).collect(),
            ahead: self.ahead.extract_if(.., |(job, _)| jobs.contains(job)).collect(),
            released: self.released.extract_if(.., |(job, _)| jobs.contains(job)).collect(),
            release_lines: self.release_lines.extract_if(.., |line| jobs.contains(&line.job)).collect(),
            done: self.done.extract_if(.., |done| jobs.contains(&done.id)).collect(),
            ..Batch::default()
        }
    }

    /// Takes out some results, whose texts are no longer than that together, or the first one; with all that is to be
    /// written with them.
    pub(super) fn split_off_piece(&mut self, bytes: usize) -> Batch {
        let mut sum = 0;
        let fits = |one: &&Finished| {
            let before = sum;
            sum += one.response.len() + one.conclusion.new_url.as_ref().map_or(0, String::len);
            before == 0 || sum <= bytes
        };
        let jobs: Vec<JobId> = self.finished.iter().take_while(fits).map(|one| one.id).collect();
        self.split_off(&jobs)
    }

    /// Takes out what gives jobs back.
    pub(super) fn split_off_released(&mut self) -> Batch {
        let released = std::mem::take(&mut self.released);
        Batch {
            release_lines: std::mem::take(&mut self.release_lines),
            done: self.done.extract_if(.., |done| released.iter().any(|(job, _)| *job == done.id)).collect(),
            released,
            ..Batch::default()
        }
    }

    /// Puts another one's contents at the end.
    pub(super) fn append(&mut self, mut other: Batch) {
        self.finished.append(&mut other.finished);
        self.lines.append(&mut other.lines);
        self.unwritten.append(&mut other.unwritten);
        self.ahead.append(&mut other.ahead);
        self.released.append(&mut other.released);
        self.release_lines.append(&mut other.release_lines);
        self.done.append(&mut other.done);
        self.bytes += other.bytes;
    }

    /// Whether nothing of a job is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.finished.is_empty() && self.released.is_empty()
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
