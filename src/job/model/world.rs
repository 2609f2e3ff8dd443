//! The world of the model: rows, what the handler saw, two dispatchers and how far each is with each job; and the
//! statements, as moves of the rows.

use super::super::{Attempt, Conclusion, JobState, Outcome, RetryBudget, RetryPolicy, Retryable, Standing, conclude};
use std::time::Duration;

const POLICY: RetryPolicy = RetryPolicy { multiplier: 1.0, max_delay: Duration::ZERO, jitter: 0.0 };

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct World<const JOBS: usize> {
    pub(super) jobs: [Job; JOBS],
    pub(super) dispatchers: [Dispatcher<JOBS>; 2],
    /// A statement that was given up and may yet arrive, of the job of that number.
    pub(super) late: Option<(usize, Late)>,
    pub(super) faults: u8,
    pub(super) stops: u8,
    pub(super) cancels: u8,
}

/// A row, and what the handler knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Job {
    pub(super) row: Standing,
    pub(super) owner: Owner,
    /// `claim_expires_at` has passed.
    pub(super) expired: bool,
    pub(super) tokens_drawn: u8,
    /// Calls that the handler saw.
    pub(super) calls: u8,
    /// Those of them that a stop cut off.
    pub(super) cut_off: u8,
}

/// Whom `claimed_by` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    Nobody,
    /// One that ended: its lock is free.
    Ended,
    Alive(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Dispatcher<const JOBS: usize> {
    pub(super) mode: Mode,
    /// Whether it holds the lock of its name.
    pub(super) locked: bool,
    pub(super) hands: [Hand; JOBS],
    /// Jobs that its sweep saw abandoned.
    pub(super) seen: [bool; JOBS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Mode {
    Ended,
    Running,
    Frozen,
    Stopping,
}

/// How far a dispatcher is with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Hand {
    Empty,
    /// The claim is committed, and its answer was lost.
    Claiming(u8),
    /// Claimed, not called yet.
    Held(Proof),
    Calling(Proof),
    /// The result is known, and not known to be written.
    Called(Proof, Result),
    Releasing(Proof),
}

/// What a claim's answer brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Proof {
    pub(super) token: u8,
    pub(super) attempt: u32,
    pub(super) remaining_retries: i32,
}

/// A statement on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Late {
    Claim(Owner, u8),
    Finish(Proof, Result),
    Release(u8),
    Rescue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Result {
    Good,
    NotNow,
    Never,
}

impl<const JOBS: usize> World<JOBS> {
    /// Which of the dispatchers is called the first is all the same: half of the states need not be looked at.
    pub(super) fn sort(&mut self) {
        if self.dispatchers[0] > self.dispatchers[1] {
            self.dispatchers.swap(0, 1);
            for owner in self.owners() {
                if let Owner::Alive(who) = owner {
                    *who = 1 - *who;
                }
            }
        }
    }

    /// Whom the rows name, and whom a late claim would have them name.
    fn owners(&mut self) -> impl Iterator<Item = &mut Owner> {
        let late = match &mut self.late {
            Some((_, Late::Claim(owner, _))) => Some(owner),
            _ => None,
        };
        self.jobs.iter_mut().map(|job| &mut job.owner).chain(late)
    }

    /// The row becomes this, if it becomes anything.
    pub(super) fn change(&mut self, job: usize, row: Option<Standing>, owner: Owner) -> bool {
        let Some(row) = row else { return false };
        self.jobs[job] = Job { row, owner, expired: false, ..self.jobs[job] };
        true
    }

    /// The claim, and its answer: rows that are executing under the token are ours, whenever they became so.
    pub(super) fn claim(&mut self, (who, job): (usize, usize), token: u8, answered: bool) {
        self.change(job, self.jobs[job].row.claim(token.into(), true), Owner::Alive(who));
        let row = self.jobs[job].row;
        let ours = row.state == JobState::Executing && row.token == Some(token.into());
        self.dispatchers[who].hands[job] = match (answered, ours) {
            (false, _) => Hand::Claiming(token),
            (true, true) => {
                Hand::Held(Proof { token, attempt: row.attempt.0, remaining_retries: row.remaining_retries })
            }
            (true, false) => Hand::Empty,
        };
    }

    pub(super) fn finish(&mut self, job: usize, (proof, result): (Proof, Result), fenced: bool) {
        let (row, owner) = (self.jobs[job].row, self.jobs[job].owner);
        let (token, attempt) = if fenced {
            (proof.token.into(), Attempt(proof.attempt))
        } else {
            (row.token.unwrap_or_default(), row.attempt)
        };
        let conclusion = conclusion(proof, result);
        if row.has_result(token, &conclusion) {
            return;
        }
        self.change(job, row.finish((token, attempt), &conclusion), owner);
    }

    pub(super) fn rescue(&mut self, job: usize, abandoned: bool, (looks_again, gives_up): (bool, bool)) {
        let mut row = self.jobs[job].row;
        if !gives_up {
            row.remaining_retries = row.remaining_retries.max(1);
        }
        let after = if looks_again {
            row.rescue(abandoned)
        } else {
            Standing { state: JobState::Executing, ..row }.rescue(true)
        };
        self.change(job, after, Owner::Nobody);
    }

    /// What was given up arrives, and whoever sent it learns nothing of that.
    pub(super) fn arrive(&mut self, (job, late): (usize, Late), (looks_again, gives_up): (bool, bool), fenced: bool) {
        self.late = None;
        match late {
            Late::Claim(owner, token) => {
                self.change(job, self.jobs[job].row.claim(token.into(), true), owner);
            }
            Late::Finish(proof, result) => self.finish(job, (proof, result), fenced),
            Late::Release(token) => {
                self.change(job, self.jobs[job].row.release(token.into()), Owner::Nobody);
            }
            Late::Rescue => self.rescue(job, self.is_abandoned(job), (looks_again, gives_up)),
        }
    }

    /// However it ended, the server frees its lock.
    pub(super) fn end(&mut self, who: usize) {
        let nothing = Dispatcher { mode: Mode::Ended, locked: true, hands: [Hand::Empty; JOBS], seen: [false; JOBS] };
        self.dispatchers[who] = nothing;
        for owner in self.owners() {
            if *owner == Owner::Alive(who) {
                *owner = Owner::Ended;
            }
        }
    }

    pub(super) fn is_abandoned(&self, job: usize) -> bool {
        let Job { row, owner, expired, .. } = self.jobs[job];
        let free = match owner {
            Owner::Nobody | Owner::Ended => true,
            Owner::Alive(who) => !self.dispatchers[who].locked,
        };
        row.state == JobState::Executing && (expired || free)
    }
}

pub(super) fn conclusion(proof: Proof, result: Result) -> Conclusion {
    let response = String::new();
    let outcome = match result {
        Result::Good => Outcome::Succeeded { response },
        Result::NotNow => Outcome::FailedTemporarily(Retryable::default()),
        Result::Never => Outcome::FailedPermanently { response },
    };
    let (attempt, remaining_retries) = (Attempt(proof.attempt), proof.remaining_retries);
    let budget = RetryBudget { attempt, remaining_retries, retry_delay_secs: 0 };
    conclude(&outcome, budget, &POLICY, 0.5).unwrap()
}
