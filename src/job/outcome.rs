//! What one call came to.

use std::time::Duration;

/// What one call came to. A failed call is an outcome, never an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The handler answered that the work is done.
    Succeeded {
        /// The response body as text, at most the kept length.
        response: String,
    },
    /// It may go better later: 503, a timeout, a broken connection.
    FailedTemporarily(Retryable),
    /// It will never go better.
    FailedPermanently {
        /// The response body as text, or what is wrong with the row.
        response: String,
    },
    /// We stopped it ourselves; the job is given back unharmed.
    Interrupted,
}

/// A temporary failure, with what the handler asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retryable {
    /// The response body as text, or what broke.
    pub response: String,
    /// Whether the call ran out of its time.
    pub timed_out: bool,
    /// `Retry-After`: not before this long from now.
    pub retry_after: Option<Duration>,
    /// `x-bitlancer-retry-delay-secs`: the job's new `retry_delay_secs`.
    pub new_retry_delay_secs: Option<u32>,
    /// `x-bitlancer-url`: where the job moves to.
    pub new_url: Option<String>,
}

impl Outcome {
    /// The text kept in `last_response` and logged; empty when interrupted.
    #[must_use]
    pub fn response(&self) -> &str {
        match self {
            Outcome::Succeeded { response } | Outcome::FailedPermanently { response } => response,
            Outcome::FailedTemporarily(failure) => &failure.response,
            Outcome::Interrupted => "",
        }
    }

    /// The same, taken out.
    #[must_use]
    pub fn into_response(self) -> String {
        match self {
            Outcome::Succeeded { response } | Outcome::FailedPermanently { response } => response,
            Outcome::FailedTemporarily(failure) => failure.response,
            Outcome::Interrupted => String::new(),
        }
    }
}
