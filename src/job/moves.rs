//! The moves of a job: which deed leads from which state to which, what it must find, and what it leaves behind.
//!
//! The store's statements are these moves in SQL; `tests/it/moves.rs` runs each of them on real servers from every
//! standing and compares. What the moves come to with two dispatchers that crash, freeze and lose answers is
//! explored in `model/mod.rs`.

use super::{Attempt, Conclusion, JobState, ResultCode};

/// A deed that changes a job's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Move {
    /// A dispatcher makes the job its own.
    Claim,
    /// It writes what the call came to.
    Finish,
    /// It gives the job back, unharmed.
    Release,
    /// Anybody takes the job from an owner that is gone.
    Rescue,
    /// The user takes it out.
    Cancel,
}

impl Move {
    /// All of them.
    pub const ALL: [Move; 5] = [Move::Claim, Move::Finish, Move::Release, Move::Rescue, Move::Cancel];

    /// The states that it leads out of.
    #[must_use]
    pub const fn sources(self) -> &'static [JobState] {
        match self {
            Move::Claim => &[JobState::Available, JobState::Retryable],
            Move::Finish | Move::Release | Move::Rescue => &[JobState::Executing],
            Move::Cancel => &[JobState::Available, JobState::Executing, JobState::Retryable],
        }
    }

    /// The states that it can lead to.
    #[must_use]
    pub const fn targets(self) -> &'static [JobState] {
        match self {
            Move::Claim => &[JobState::Executing],
            Move::Finish => &[JobState::Retryable, JobState::Completed, JobState::Discarded],
            Move::Release => &[JobState::Available, JobState::Retryable],
            Move::Rescue => &[JobState::Retryable, JobState::Discarded],
            Move::Cancel => &[JobState::Cancelled],
        }
    }

    /// Whether it leads out of this state.
    #[must_use]
    pub fn leads_from(self, state: JobState) -> bool {
        self.sources().contains(&state)
    }
}

/// What the moves look at in a job's row, and change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Standing {
    /// `state`.
    pub state: JobState,
    /// `attempt`.
    pub attempt: Attempt,
    /// `remaining_retries`; negative means none.
    pub remaining_retries: i32,
    /// `result_code`.
    pub result_code: Option<ResultCode>,
    /// `claim_token`.
    pub token: Option<u64>,
}

/// Every move gives what the row becomes, or nothing where the row is left as it is.
impl Standing {
    /// A row as an INSERT leaves it.
    #[must_use]
    pub fn inserted(remaining_retries: i32) -> Standing {
        let (state, attempt) = (JobState::Available, Attempt(0));
        Standing { state, attempt, remaining_retries, result_code: None, token: None }
    }

    /// A claim under this token; only of a job whose `run_at` has come.
    #[must_use]
    pub fn claim(self, token: u64, due: bool) -> Option<Standing> {
        (due && Move::Claim.leads_from(self.state)).then(|| Standing {
            state: JobState::Executing,
            attempt: Attempt(self.attempt.0 + 1),
            token: Some(token),
            ..self
        })
    }

    /// A call's end, written by the holder of this token, of the try of that number; a retry is charged. The token stays,
    /// for [`has_result`](Self::has_result). (A claim that arrives after it was given up, and sent anew, and done with,
    /// claims again under its token: a later try.)
    #[must_use]
    pub fn finish(self, (token, attempt): (u64, Attempt), conclusion: &Conclusion) -> Option<Standing> {
        (self.is_held(Move::Finish, token) && self.attempt.0 <= attempt.0).then(|| Standing {
            state: conclusion.state,
            result_code: Some(conclusion.result_code),
            remaining_retries: self.remaining_retries - i32::from(conclusion.retry_in.is_some()),
            ..self
        })
    }

    /// Whether this is what that finish left behind: its answer was lost, and it was sent again. (SQL asks too whether the
    /// claim was ended: an application that changes the state itself leaves its expiry there.)
    #[must_use]
    pub fn has_result(self, token: u64, conclusion: &Conclusion) -> bool {
        self.token == Some(token) && self.state == conclusion.state
    }

    /// The job goes back by the holder of this token, as it was before the claim: the try is not counted.
    #[must_use]
    pub fn release(self, token: u64) -> Option<Standing> {
        self.is_held(Move::Release, token).then(|| Standing {
            state: if self.attempt.0 > 1 { JobState::Retryable } else { JobState::Available },
            attempt: Attempt(self.attempt.0.saturating_sub(1)),
            token: None,
            ..self
        })
    }

    /// The job is taken from an owner that is gone: its lock is free, or its claim has expired or names nobody.
    ///
    /// A retry is charged, for the call may have happened. With none left the job is given up, so that none is called
    /// more often than its retries allow, and one that kills its dispatchers comes to an end.
    #[must_use]
    pub fn rescue(self, owner_gone: bool) -> Option<Standing> {
        let gives_up = self.remaining_retries <= 0;
        (owner_gone && Move::Rescue.leads_from(self.state)).then(|| Standing {
            state: if gives_up { JobState::Discarded } else { JobState::Retryable },
            result_code: if gives_up { Some(ResultCode::TemporaryFailure) } else { self.result_code },
            remaining_retries: self.remaining_retries - i32::from(!gives_up),
            token: None,
            ..self
        })
    }

    /// The user takes the job out; a call under way goes on, and its result is refused.
    #[must_use]
    pub fn cancel(self) -> Option<Standing> {
        Move::Cancel.leads_from(self.state).then_some(Standing { state: JobState::Cancelled, ..self })
    }

    fn is_held(self, by: Move, token: u64) -> bool {
        by.leads_from(self.state) && self.token == Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_move_leads_out_of_a_final_state_and_one_leads_out_of_every_other() {
        for state in JobState::ALL {
            let moves = Move::ALL.into_iter().filter(|one| one.leads_from(state)).count();
            assert_eq!(moves == 0, state.is_final(), "{state:?}");
        }
    }

    #[test]
    fn every_state_but_the_first_is_led_to() {
        for state in JobState::ALL {
            assert!(Move::ALL.iter().any(|one| one.targets().contains(&state)), "{state:?}");
        }
    }

    #[test]
    fn a_rescue_costs_a_retry_and_gives_up_at_none() {
        let rescued = Standing::inserted(1).claim(1, true).unwrap().rescue(true).unwrap();
        assert_eq!((rescued.state, rescued.remaining_retries), (JobState::Retryable, 0));
        for retries in [0, -1, i32::MIN] {
            let given_up = Standing::inserted(retries).claim(1, true).unwrap().rescue(true).unwrap();
            assert_eq!((given_up.state, given_up.remaining_retries), (JobState::Discarded, retries));
            assert_eq!(given_up.result_code, Some(ResultCode::TemporaryFailure));
        }
    }

    #[test]
    fn a_release_undoes_a_claim() {
        let inserted = Standing::inserted(3);
        assert_eq!(inserted.claim(1, true).unwrap().release(1), Some(inserted));
        let rescued = inserted.claim(1, true).unwrap().rescue(true).unwrap();
        assert_eq!(rescued.claim(2, true).unwrap().release(2), Some(rescued));
    }
}
