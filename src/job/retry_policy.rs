//! When a job that failed temporarily is tried again, and when it is given up.

use super::{Attempt, Retryable};
use std::time::Duration;

/// How delays grow from one retry to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Each later delay is the one before times this; 1 keeps the ancestor's fixed delay.
    pub multiplier: f64,
    /// No delay is longer than this, whether reckoned or asked for by the handler.
    pub max_delay: Duration,
    /// How far a reckoned delay may stray to either side, as a part of it: 0.1 is ±10 %.
    pub jitter: f64,
}

/// What becomes of a job after a temporary failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is tried again after this delay, and has one retry less.
    Retry(Duration),
    /// It has no retries left.
    GiveUp,
}

/// What the policy needs to know of the job.
#[derive(Debug, Clone, Copy)]
pub struct RetryBudget {
    /// The try that just failed.
    pub attempt: Attempt,
    /// `remaining_retries`; negative means none.
    pub remaining_retries: i32,
    /// `retry_delay_secs`; negative means at once.
    pub retry_delay_secs: i32,
}

impl RetryPolicy {
    /// Decides after a temporary failure. `spread` is a random number in 0..=1, which places the delay within
    /// the jitter.
    ///
    /// `Retry-After` is obeyed to the letter; else the delay the handler named, from now on the job's own;
    /// else the job's own, grown by the number of tries. All are capped at `max_delay`.
    #[must_use]
    pub fn decide(&self, budget: RetryBudget, failure: &Retryable, spread: f64) -> Verdict {
        if budget.remaining_retries <= 0 {
            return Verdict::GiveUp;
        }
        let delay = match (failure.retry_after, failure.new_retry_delay_secs) {
            (Some(asked), _) => asked,
            (None, Some(seconds)) => Duration::from_secs(u64::from(seconds)),
            (None, None) => self.grown_delay(budget, spread),
        };
        Verdict::Retry(delay.min(self.max_delay))
    }

    fn grown_delay(&self, budget: RetryBudget, spread: f64) -> Duration {
        if budget.retry_delay_secs <= 0 {
            // After a thousand tries, nothing times its growth is no number.
            return Duration::ZERO;
        }
        let first = f64::from(budget.retry_delay_secs);
        let growth = self.multiplier.powf(f64::from(budget.attempt.0.saturating_sub(1)));
        let stray = 1.0 + self.jitter * (2.0 * spread - 1.0);
        let capped = (first * growth).min(self.max_delay.as_secs_f64());
        Duration::try_from_secs_f64(capped * stray).unwrap_or(self.max_delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy { multiplier: 2.0, max_delay: Duration::from_secs(3600), jitter: 0.1 };

    fn budget(attempt: u32, remaining_retries: i32, retry_delay_secs: i32) -> RetryBudget {
        RetryBudget { attempt: Attempt(attempt), remaining_retries, retry_delay_secs }
    }

    fn delay_of(policy: RetryPolicy, budget: RetryBudget, spread: f64) -> f64 {
        match policy.decide(budget, &Retryable::default(), spread) {
            Verdict::Retry(delay) => delay.as_secs_f64(),
            Verdict::GiveUp => panic!("gave up"),
        }
    }

    #[test]
    fn no_retry_is_left_at_zero_and_below() {
        for remaining in [0, -1, i32::MIN] {
            assert_eq!(POLICY.decide(budget(1, remaining, 60), &Retryable::default(), 0.5), Verdict::GiveUp);
        }
    }

    #[test]
    fn delays_double_up_to_the_cap() {
        let delays: Vec<f64> = (1..=8).map(|attempt| delay_of(POLICY, budget(attempt, 5, 60), 0.5)).collect();
        assert_eq!(delays, [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0]);
    }

    #[test]
    fn multiplier_one_keeps_the_fixed_delay_of_the_ancestor() {
        let fixed = RetryPolicy { multiplier: 1.0, jitter: 0.0, ..POLICY };
        assert!((delay_of(fixed, budget(5, 1, 60), 0.9) - 60.0).abs() < f64::EPSILON);
    }

    #[test]
    fn jitter_stays_within_its_part() {
        assert!((delay_of(POLICY, budget(1, 5, 100), 0.0) - 90.0).abs() < 1e-6);
        assert!((delay_of(POLICY, budget(1, 5, 100), 1.0) - 110.0).abs() < 1e-6);
    }

    #[test]
    fn delay_zero_and_negative_delays_mean_at_once() {
        assert!(delay_of(POLICY, budget(3, 5, 0), 1.0).abs() < f64::EPSILON);
        assert!(delay_of(POLICY, budget(3, 5, -7), 1.0).abs() < f64::EPSILON);
        assert!(delay_of(POLICY, budget(u32::MAX, 5, 0), 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn retry_after_wins_over_the_delay_header_and_both_are_capped() {
        let both = Retryable {
            retry_after: Some(Duration::from_secs(7)),
            new_retry_delay_secs: Some(9),
            ..Retryable::default()
        };
        assert_eq!(POLICY.decide(budget(4, 1, 60), &both, 0.0), Verdict::Retry(Duration::from_secs(7)));
        let delay_only = Retryable { new_retry_delay_secs: Some(9), ..Retryable::default() };
        assert_eq!(POLICY.decide(budget(4, 1, 60), &delay_only, 0.0), Verdict::Retry(Duration::from_secs(9)));
        let absurd = Retryable { retry_after: Some(Duration::MAX), ..Retryable::default() };
        assert_eq!(POLICY.decide(budget(4, 1, 60), &absurd, 0.0), Verdict::Retry(POLICY.max_delay));
    }

    #[test]
    fn absurd_attempts_and_delays_do_not_overflow() {
        assert!(delay_of(POLICY, budget(u32::MAX, 5, i32::MAX), 1.0) <= 3600.0);
    }
}
