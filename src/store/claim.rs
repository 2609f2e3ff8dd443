//! Claim: make hinted rows ours, in one round trip and one short transaction.
//!
//! The log shows a row before SQL can see or lock it, so "no row" is no answer: every hinted id that was not
//! claimed comes back with the reason, and the caller tries it again.

use super::error::StoreError;
use super::row::{Body, ClaimToken, ClaimedJob, column, text};
use super::session::{Session, within_deadline};
use crate::job::{Attempt, JobId, JobState};
use mysql_async::Row;
use mysql_async::prelude::Queryable;
use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

/// Bodies up to this size come with the claim; larger ones are loaded when their call begins, so that a batch of
/// claimed jobs stays small in memory.
const INLINE_BODY_BYTES: usize = 32 * 1024;

/// Who claims, and for how long.
#[derive(Debug, Clone)]
pub struct ClaimTerms {
    /// The dispatcher's name: also the name of the lock it holds while it lives.
    pub dispatcher: String,
    /// How much longer than its own timeout a job stays ours.
    pub grace: Duration,
    /// The longest timeout a job may ask for, in seconds.
    pub max_timeout_secs: u32,
}

/// What a claim brought.
#[derive(Debug, Default)]
pub struct Claim {
    /// The jobs that are ours now.
    pub jobs: Vec<ClaimedJob>,
    /// The hinted ids that are not, each with the reason.
    pub missed: Vec<(JobId, Missed)>,
    /// The dispatchers that have the taken ones.
    pub peers: BTreeSet<String>,
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
}

/// Claims those of the jobs that are workable now.
///
/// The UPDATE takes each row's lock through the primary key, in key order, and passes over rows that others
/// hold locked (so one of them never holds up its batch); under READ COMMITTED it locks no gap. The SELECT is
/// a consistent read through the primary key. The LIMIT passes over nothing; it keeps MySQL from merging the
/// derived table into the UPDATE, which would drop SKIP LOCKED and wait. On a small table MariaDB would rather read
/// the whole of it, and wait for every row: hence the order of the join, and the index by name.
///
/// When the answer was lost, call it again with the same token: rows that were claimed then are told as ours.
pub async fn claim(
    session: &mut Session,
    terms: &ClaimTerms,
    token: ClaimToken,
    jobs: &[JobId],
) -> Result<Claim, StoreError> {
    if jobs.is_empty() {
        return Ok(Claim::default());
    }
    let sql = claim_sql(terms, token, jobs);
    within_deadline(async {
        let mut lease = session.lease().await?;
        let mut results = lease.conn().query_iter(sql).await?;
        results.collect::<Row>().await?;
        let rows: Vec<Row> = results.collect().await?;
        results.drop_result().await?;
        lease.keep();
        sort_out(jobs, token, rows)
    })
    .await
}

fn claim_sql(terms: &ClaimTerms, ClaimToken(token): ClaimToken, jobs: &[JobId]) -> String {
    let ids = id_list(jobs);
    let ClaimTerms { dispatcher, grace, max_timeout_secs } = terms;
    let (grace, count) = (grace.as_secs(), jobs.len());
    format!(
        "UPDATE (\
           SELECT id FROM queued_job FORCE INDEX (PRIMARY) WHERE id IN ({ids}) AND state IN ('available', 'retryable') \
           AND run_at <= NOW(6) ORDER BY id LIMIT {count} FOR UPDATE SKIP LOCKED) AS free \
           STRAIGHT_JOIN queued_job AS job FORCE INDEX (PRIMARY) ON free.id = job.id \
         SET job.state = 'executing', job.attempt = job.attempt + 1, job.claimed_by = '{dispatcher}', \
         job.claim_token = {token}, job.last_started_at = NOW(), job.claim_expires_at = \
         NOW(6) + INTERVAL LEAST(GREATEST(job.timeout_secs, 0), {max_timeout_secs}) + {grace} SECOND; \
         SELECT id, CAST(state AS CHAR), claim_token <=> {token}, TIMESTAMPDIFF(MICROSECOND, NOW(6), run_at), \
         attempt, http_method, IF(claim_token <=> {token}, CAST(url AS BINARY), ''), LENGTH(body), \
         IF(claim_token <=> {token} AND LENGTH(body) <= {INLINE_BODY_BYTES}, CAST(body AS BINARY), NULL), \
         timeout_secs, remaining_retries, retry_delay_secs, CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED), \
         IF(claim_token <=> {token}, NULL, claimed_by) \
         FROM queued_job WHERE id IN ({ids})"
    )
}

/// The ids as `1,2,3`. Numbers only, so nothing to escape.
pub(super) fn id_list(jobs: &[JobId]) -> String {
    let mut list = String::with_capacity(jobs.len() * 9);
    for (index, job) in jobs.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        // Writing to a String does not fail.
        let _ = write!(list, "{separator}{job}");
    }
    list
}

fn sort_out(hinted: &[JobId], token: ClaimToken, rows: Vec<Row>) -> Result<Claim, StoreError> {
    let mut claim = Claim { jobs: Vec::with_capacity(rows.len()), ..Claim::default() };
    let mut seen = HashSet::with_capacity(rows.len());
    for row in rows {
        let seen_row = SeenRow::read(row, token)?;
        seen.insert(seen_row.job.id);
        match seen_row.missed() {
            None => claim.jobs.push(seen_row.job),
            Some(reason) => {
                claim.missed.push((seen_row.job.id, reason));
                claim.peers.extend(seen_row.peer.filter(|_| reason == Missed::Taken));
            }
        }
    }
    let invisible = hinted.iter().filter(|job| !seen.contains(job)).map(|job| (*job, Missed::Invisible));
    claim.missed.extend(invisible);
    Ok(claim)
}

/// A row as the claim's SELECT shows it.
struct SeenRow {
    job: ClaimedJob,
    /// None for a state that we do not know: such a row is left alone.
    state: Option<JobState>,
    ours: bool,
    due_in_micros: i64,
    /// Who has it, when it is not ours.
    peer: Option<String>,
}

impl SeenRow {
    fn read(mut row: Row, token: ClaimToken) -> Result<SeenRow, StoreError> {
        let state: Option<String> = column(&mut row, 1)?;
        let stored_bytes: Option<u64> = column(&mut row, 7)?;
        let inline: Option<Vec<u8>> = column(&mut row, 8)?;
        let job = ClaimedJob {
            id: JobId(column(&mut row, 0)?),
            token,
            attempt: Attempt(column(&mut row, 4)?),
            method: text(&mut row, 5)?,
            url: text(&mut row, 6)?,
            body: Body::from_columns(stored_bytes, inline),
            timeout_secs: column(&mut row, 9)?,
            remaining_retries: column(&mut row, 10)?,
            retry_delay_secs: column(&mut row, 11)?,
            claimed_at_micros: column(&mut row, 12)?,
        };
        // A session without strict mode stores an unknown state as ''; a newer version may know more states; and
        // somebody may have let the column be NULL.
        let state = state.as_deref().and_then(JobState::from_name);
        let (ours, due_in_micros) = (column(&mut row, 2)?, column(&mut row, 3)?);
        Ok(SeenRow { state, ours, due_in_micros, peer: column(&mut row, 13)?, job })
    }

    fn missed(&self) -> Option<Missed> {
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
