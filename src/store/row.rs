//! A job's row as we hold it while it is ours.

use super::error::StoreError;
use crate::job::{Attempt, JobId};
use mysql_async::Row;
use mysql_async::prelude::FromValue;
use std::time::{Duration, Instant};

/// Who claims, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimTerms {
    /// The dispatcher's name: also the name of the lock it holds while it lives.
    pub dispatcher: String,
    /// How much longer than its own timeout a job stays ours.
    pub grace: Duration,
    /// The longest timeout a job may ask for, in seconds.
    pub max_timeout_secs: u32,
}

/// Proof that a row is ours: drawn at random for each claim, checked by every write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimToken(pub(super) u64);

impl ClaimToken {
    /// Draws a new token, for one claim.
    #[must_use]
    pub fn draw() -> ClaimToken {
        ClaimToken(rand::random::<u64>() >> 1)
    }
}

/// A job that is ours until its claim expires. Only a claim makes one, and all that execute and finish take one.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimedJob {
    /// `id`.
    pub id: JobId,
    /// The proof that it is ours.
    pub token: ClaimToken,
    /// The try this claim is for.
    pub attempt: Attempt,
    /// `http_method`, as written by the application.
    pub method: String,
    /// `url`, as written by the application; of one that is too long for any call, the first 65,535 characters.
    pub url: String,
    /// `body`.
    pub body: Body,
    /// `timeout_secs`, unchecked.
    pub timeout_secs: i32,
    /// `remaining_retries`.
    pub remaining_retries: i32,
    /// `retry_delay_secs`.
    pub retry_delay_secs: i32,
    /// The database's clock at the claim: microseconds since 1970 UTC.
    pub claimed_at_micros: u64,
    /// The call must have begun by then: it ends before the claim expires, and there is time to write its result.
    pub begin_by: Instant,
}

/// A job's `body`: exactly the stored bytes.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// NULL: the request has no body.
    Absent,
    /// The bytes.
    Here(Vec<u8>),
    /// Too large to come with the claim: this many bytes, still in the table.
    InTable(u64),
}

impl Body {
    pub(super) fn from_columns(stored_bytes: Option<u64>, inline: Option<Vec<u8>>) -> Body {
        match (stored_bytes, inline) {
            (_, Some(bytes)) => Body::Here(bytes),
            (Some(length), None) => Body::InTable(length),
            (None, None) => Body::Absent,
        }
    }
}

/// One column of a result row, by its place.
pub(super) fn column<T: FromValue>(row: &mut Row, index: usize) -> Result<T, StoreError> {
    match row.take_opt(index) {
        Some(Ok(value)) => Ok(value),
        _ => Err(StoreError::Unexpected(format!("column {index} of the answer is missing or of another type"))),
    }
}

/// One column as text; bytes that are not UTF-8 are replaced.
pub(super) fn text(row: &mut Row, index: usize) -> Result<String, StoreError> {
    let bytes: Vec<u8> = column(row, index)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

impl std::fmt::Debug for ClaimedJob {
    /// Without body and URL, which may hold secrets.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ClaimedJob")
            .field("id", &self.id)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Body {
    /// How long it is, and never what it says.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Body::Absent => formatter.write_str("no body"),
            Body::Here(bytes) => write!(formatter, "a body of {} bytes", bytes.len()),
            Body::InTable(length) => write!(formatter, "a body of {length} bytes in the table"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_secret_of_a_job_is_in_its_debug_form(secret in "[A-Za-z]{12}", attempt in any::<u32>()) {
            let bytes = secret.clone().into_bytes();
            let job = ClaimedJob {
                id: JobId(7),
                token: ClaimToken(7),
                attempt: Attempt(attempt),
                method: "post".to_owned(),
                url: format!("http://ann:{secret}@web/{secret}?{secret}"),
                body: Body::Here(bytes.clone()),
                timeout_secs: 60,
                remaining_retries: 5,
                retry_delay_secs: 60,
                claimed_at_micros: 0,
                begin_by: std::time::Instant::now(),
            };
            for shown in [format!("{job:?} {job:#?}"), format!("{:?} {:#?}", job.body, job.body)] {
                prop_assert!(!shown.contains(&secret) && !shown.contains(&format!("{bytes:?}")), "{shown}");
            }
        }
    }
}
