//! From what a call came to, to what the row becomes: the legal moves out of `executing`.

use super::retry_policy::RetryBudget;
use super::{JobState, Outcome, ResultCode, RetryPolicy, Retryable, Verdict};
use std::time::Duration;

/// What the row becomes after a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// `state`.
    pub state: JobState,
    /// `result_code`.
    pub result_code: ResultCode,
    /// When it is tried again; then it has one retry less.
    pub retry_in: Option<Duration>,
    /// A new `retry_delay_secs`, as the handler asked.
    pub new_retry_delay_secs: Option<u32>,
    /// A new `url`, as the handler asked.
    pub new_url: Option<String>,
}

impl Conclusion {
    /// Whether the job ends and nothing else of it changes.
    #[must_use]
    pub fn is_plain_end(&self) -> bool {
        self.state.is_final()
            && self.retry_in.is_none()
            && self.new_retry_delay_secs.is_none()
            && self.new_url.is_none()
    }
}

/// Concludes a call. None for an interrupted one: the job is given back as it was, and nothing is concluded.
///
/// `spread` is a random number in 0..=1 for the delay's jitter.
#[must_use]
pub fn conclude(outcome: &Outcome, budget: RetryBudget, policy: &RetryPolicy, spread: f64) -> Option<Conclusion> {
    match outcome {
        Outcome::Succeeded { .. } => Some(final_state(JobState::Completed, ResultCode::Success)),
        Outcome::FailedPermanently { .. } => Some(final_state(JobState::Discarded, ResultCode::PermanentFailure)),
        Outcome::FailedTemporarily(failure) => {
            Some(after_temporary_failure(failure, policy.decide(budget, failure, spread)))
        }
        Outcome::Interrupted => None,
    }
}

fn final_state(state: JobState, result_code: ResultCode) -> Conclusion {
    Conclusion { state, result_code, retry_in: None, new_retry_delay_secs: None, new_url: None }
}

fn after_temporary_failure(failure: &Retryable, verdict: Verdict) -> Conclusion {
    let (state, retry_in) = match verdict {
        Verdict::Retry(delay) => (JobState::Retryable, Some(delay)),
        Verdict::GiveUp => (JobState::Discarded, None),
    };
    Conclusion {
        state,
        result_code: ResultCode::TemporaryFailure,
        retry_in,
        new_retry_delay_secs: failure.new_retry_delay_secs,
        new_url: failure.new_url.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Attempt;

    const POLICY: RetryPolicy = RetryPolicy { multiplier: 2.0, max_delay: Duration::from_secs(3600), jitter: 0.0 };

    fn concluded(outcome: &Outcome, remaining_retries: i32) -> Option<Conclusion> {
        let budget = RetryBudget { attempt: Attempt(1), remaining_retries, retry_delay_secs: 60 };
        conclude(outcome, budget, &POLICY, 0.5)
    }

    fn temporary() -> Outcome {
        Outcome::FailedTemporarily(Retryable { new_url: Some("http://b/".to_owned()), ..Retryable::default() })
    }

    #[test]
    fn success_and_permanent_failure_are_final_whatever_retries_are_left() {
        let done = concluded(&Outcome::Succeeded { response: "ok".to_owned() }, 5).unwrap();
        assert_eq!((done.state, done.result_code, done.retry_in), (JobState::Completed, ResultCode::Success, None));
        let failed = concluded(&Outcome::FailedPermanently { response: String::new() }, 5).unwrap();
        assert_eq!((failed.state, failed.result_code), (JobState::Discarded, ResultCode::PermanentFailure));
    }

    #[test]
    fn a_temporary_failure_is_retried_and_moves_while_retries_are_left() {
        let again = concluded(&temporary(), 1).unwrap();
        assert_eq!((again.state, again.retry_in), (JobState::Retryable, Some(Duration::from_secs(60))));
        assert_eq!(again.new_url.as_deref(), Some("http://b/"));
    }

    #[test]
    fn a_temporary_failure_at_zero_retries_is_final() {
        let last = concluded(&temporary(), 0).unwrap();
        assert_eq!((last.state, last.result_code), (JobState::Discarded, ResultCode::TemporaryFailure));
    }

    #[test]
    fn an_interrupted_call_concludes_nothing() {
        assert_eq!(concluded(&Outcome::Interrupted, 5), None);
    }
}
