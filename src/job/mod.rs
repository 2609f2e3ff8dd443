//! What a job is: its key, its states, what a call can come to, and when it is tried again.
//!
//! Pure: no I/O, no clock, no async.

pub mod conclusion;
#[cfg(test)]
mod explorer;
pub mod messages;
#[cfg(test)]
mod model;
pub mod moves;
pub mod outcome;
pub mod printable;
pub mod retry_policy;
pub mod state;
pub mod url_text;

pub use conclusion::{Conclusion, conclude};
pub use moves::{Move, Standing};
pub use outcome::{Outcome, Retryable};
pub use retry_policy::{RetryBudget, RetryPolicy, Verdict};
pub use state::{JobState, ResultCode};

use std::fmt;

/// The key of a job: `queued_job.id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Which try of a job this is, counted from 1: `queued_job.attempt` after the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

impl fmt::Display for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
