//! A row as a claim sees it: what is read, and what that says.

use super::error::StoreError;
use super::row::{Body, ClaimTerms, ClaimToken, ClaimedJob, column, text};
use crate::job::{Attempt, JobId, JobState};
use mysql_async::Row;
use std::time::{Duration, Instant};

/// Bodies up to this size come with the claim; larger ones are loaded when their call begins, so that a batch of
/// claimed jobs stays small in memory.
const INLINE_BODY_BYTES: usize = 32 * 1024;

/// No URL that is longer can be called; the beginning of one tells that, so that a batch of them stays small too.
const URL_CHARS: usize = 65_535;

/// A row that can be claimed.
pub(super) const WORKABLE: &str = "state IN ('available', 'retryable') AND run_at <= @strings_queue_now";

/// What is read of a row; the texts only of those that are ours or become so. Nobody can reckon how long ago a `run_at`
/// of zero was, which a session without strict mode may store.
pub(super) fn readable_columns(token: &str) -> String {
    let readable = format!("claim_token <=> {token} OR ({WORKABLE})");
    format!(
        "id, CAST(state AS CHAR), claim_token <=> {token}, \
         COALESCE(TIMESTAMPDIFF(MICROSECOND, @strings_queue_now, run_at), 0), attempt, http_method, \
         IF({readable}, CAST(LEFT(url, {URL_CHARS}) AS BINARY), ''), LENGTH(body), \
         IF(({readable}) AND LENGTH(body) <= {INLINE_BODY_BYTES}, CAST(body AS BINARY), NULL), \
         timeout_secs, remaining_retries, retry_delay_secs, CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED), \
         claimed_by, TIMESTAMPDIFF(MICROSECOND, NOW(6), claim_expires_at), claim_token"
    )
}

/// Why a hinted row was not claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// SQL does not show it: not committed in the engine yet, or deleted. Try again shortly.
    Invisible,
    /// Workable, but another session holds its lock. Try again shortly.
    Locked,
    /// Its `run_at` is this far away.
    NotDue(Duration),
    /// Another dispatcher has it.
    Taken,
    /// It is in a final state, or in one that we do not know.
    Final,
    /// The server lets nobody claim it, or what it holds can't be read. Leave it alone for a good while.
    Refused,
}

/// What was asked.
pub(super) struct Asked<'terms> {
    pub(super) token: ClaimToken,
    pub(super) at: Instant,
    pub(super) terms: &'terms ClaimTerms,
}

/// A row as the claim's SELECT shows it.
pub(super) struct SeenRow {
    pub(super) job: ClaimedJob,
    /// None for a state that we do not know: such a row is left alone.
    state: Option<JobState>,
    ours: bool,
    due_in_micros: i64,
    /// Who has it, and under which token.
    pub(super) owner: Option<String>,
    pub(super) other_token: Option<ClaimToken>,
}

impl SeenRow {
    pub(super) fn read(mut row: Row, asked: &Asked<'_>) -> Result<SeenRow, StoreError> {
        let state: Option<String> = column(&mut row, 1)?;
        // A session without strict mode stores an unknown state as ''; a newer version may know more states; and
        // somebody may have let the column be NULL.
        let state = state.as_deref().and_then(JobState::from_name);
        let ours = column(&mut row, 2)?;
        let stored_bytes: Option<u64> = column(&mut row, 7)?;
        let inline: Option<Vec<u8>> = column(&mut row, 8)?;
        let (attempt, timeout_secs): (u32, i32) = (column(&mut row, 4)?, column(&mut row, 9)?);
        let expires_in_micros: Option<i64> = column(&mut row, 14)?;
        let claimed_before = state == Some(JobState::Executing);
        let job = ClaimedJob {
            id: JobId(column(&mut row, 0)?),
            token: asked.token,
            attempt: Attempt(if claimed_before { attempt } else { attempt.saturating_add(1) }),
            method: text(&mut row, 5)?,
            url: text(&mut row, 6)?,
            body: Body::from_columns(stored_bytes, inline),
            timeout_secs,
            remaining_retries: column(&mut row, 10)?,
            retry_delay_secs: column(&mut row, 11)?,
            claimed_at_micros: column(&mut row, 12)?,
            begin_by: asked.begin_by(expires_in_micros.filter(|_| claimed_before && ours), timeout_secs),
        };
        let (owner, other_token) = (column(&mut row, 13)?, column::<Option<u64>>(&mut row, 15)?.map(ClaimToken));
        Ok(SeenRow { state, ours, due_in_micros: column(&mut row, 3)?, owner, other_token, job })
    }

    /// Whether it was claimed when it was read.
    pub(super) fn was_claimed(&self) -> bool {
        self.state == Some(JobState::Executing)
    }

    /// Why it was not claimed, when it was read under its lock before the UPDATE.
    pub(super) fn missed_before(&self) -> Option<Missed> {
        self.missed_after().filter(|reason| *reason != Missed::Locked)
    }

    /// Why it was not claimed, when it was read after the UPDATE: what is still workable was locked.
    pub(super) fn missed_after(&self) -> Option<Missed> {
        match self.state {
            Some(JobState::Executing) if self.ours => None,
            Some(JobState::Executing) => Some(Missed::Taken),
            None => Some(Missed::Final),
            Some(state) if state.is_final() => Some(Missed::Final),
            _ => match u64::try_from(self.due_in_micros) {
                Ok(micros) if micros > 0 => Some(Missed::NotDue(Duration::from_micros(micros))),
                _ => Some(Missed::Locked),
            },
        }
    }
}

impl Asked<'_> {
    /// A job of this claim has its timeout and then the grace; one that an earlier try of it had claimed, whose
    /// answer was lost, has what is left. Half of the grace is for writing the result.
    fn begin_by(&self, expires_in_micros: Option<i64>, timeout_secs: i32) -> Instant {
        let spare = match expires_in_micros {
            None => self.terms.grace,
            Some(micros) => {
                // As the claim reckons it: an unusable timeout must not look like a claim that has run out.
                let timeout_secs = u32::try_from(timeout_secs).unwrap_or(0).min(self.terms.max_timeout_secs);
                let timeout = Duration::from_secs(u64::from(timeout_secs));
                Duration::from_micros(u64::try_from(micros).unwrap_or(0)).saturating_sub(timeout).min(self.terms.grace)
            }
        };
        self.at + spare.saturating_sub(self.terms.grace / 2)
    }
}
