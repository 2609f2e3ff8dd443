//! The states of a job and the ancestor's result codes.

use super::Move;

/// Where a job stands: the values of `queued_job.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Never called yet; workable once `run_at` has come.
    Available,
    /// Claimed by a dispatcher, which is making the call.
    Executing,
    /// Failed temporarily; workable again once `run_at` has come.
    Retryable,
    /// Done: the handler said so. Final.
    Completed,
    /// Given up: failed permanently, or out of retries. Final.
    Discarded,
    /// Taken out by the user. Final.
    Cancelled,
}

impl JobState {
    /// All states, in the order of the column's ENUM.
    pub const ALL: [JobState; 6] = [
        JobState::Available,
        JobState::Executing,
        JobState::Retryable,
        JobState::Completed,
        JobState::Discarded,
        JobState::Cancelled,
    ];

    /// The name in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Available => "available",
            JobState::Executing => "executing",
            JobState::Retryable => "retryable",
            JobState::Completed => "completed",
            JobState::Discarded => "discarded",
            JobState::Cancelled => "cancelled",
        }
    }

    /// The state of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<JobState> {
        JobState::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// The state behind the number by which an ENUM value is stored and logged: 1 is the first.
    #[must_use]
    pub fn from_ordinal(ordinal: u64) -> Option<JobState> {
        let index = usize::try_from(ordinal.checked_sub(1)?).ok()?;
        JobState::ALL.get(index).copied()
    }

    /// Whether a dispatcher may claim a job in this state (once its `run_at` has come).
    #[must_use]
    pub fn is_claimable(self) -> bool {
        Move::Claim.leads_from(self)
    }

    /// Whether a job in this state is never called again.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, JobState::Completed | JobState::Discarded | JobState::Cancelled)
    }
}

/// The ancestor's `result_code` of a job that was called at least once. NULL means not run yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResultCode {
    /// 0
    Success = 0,
    /// 1
    PermanentFailure = 1,
    /// 2
    TemporaryFailure = 2,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_found_by_its_name_and_by_its_place() {
        for (index, state) in JobState::ALL.into_iter().enumerate() {
            assert_eq!(JobState::from_name(state.as_str()), Some(state));
            assert_eq!(JobState::from_ordinal(index as u64 + 1), Some(state));
        }
        assert_eq!(JobState::from_ordinal(0), None);
        assert_eq!(JobState::from_ordinal(7), None);
        assert_eq!(JobState::from_name("running"), None);
    }

    #[test]
    fn no_state_is_both_final_and_claimable() {
        for state in JobState::ALL {
            assert!(!(state.is_final() && state.is_claimable()), "{state:?}");
        }
    }
}
