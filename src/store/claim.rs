//! Claim: make hinted rows ours, in one round trip and one short transaction.
//!
//! The log shows a row before SQL can see or lock it, so "no row" is no answer: every hinted id that was not
//! claimed comes back with the reason, and the caller tries it again.

use super::error::StoreError;
use super::lone_claim;
use super::row::{Body, ClaimToken, ClaimedJob, column, text};
use super::session::{Lease, Session, within_deadline};
use super::transaction::{begin_sql, commit_sql, rollback_sql};
use crate::failpoints::failpoint;
use crate::job::{Attempt, JobId, JobState};
use mysql_async::Row;
use mysql_async::prelude::Queryable;
use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Bodies up to this size come with the claim; larger ones are loaded when their call begins, so that a batch of
/// claimed jobs stays small in memory.
const INLINE_BODY_BYTES: usize = 32 * 1024;

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

/// What a claim brought.
#[derive(Debug, Default)]
pub struct Claim {
    /// The jobs that are ours now.
    pub jobs: Vec<ClaimedJob>,
    /// The hinted ids that are not, each with the reason.
    pub missed: Vec<(JobId, Missed)>,
    /// The dispatchers that have the taken ones, or had those that are done.
    pub peers: BTreeSet<String>,
    /// Jobs among the missed ones that are our own under another token. Nobody calls them, and they must be given
    /// back: a claim whose answer was lost was still under way in the server when it was sent again, so that its rows
    /// seemed to be locked by others, and they were looked at later by a claim with a token of its own.
    pub strays: Vec<(JobId, ClaimToken)>,
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

/// Claims those of the jobs that are workable now, in one round trip: no lock of ours waits for the network.
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
    let asked = Asked { token, at: Instant::now(), terms };
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        let usual = match jobs {
            [job] => lone_claim::try_claim(&mut lease, terms, token, *job).await,
            _ => claim_batch(&mut lease, terms, token, jobs).await,
        };
        let claim = match usual {
            Err(error) if error.says_locked() => {
                let sql = format!("{}; {}", rollback_sql(), claim_around_locks_sql(terms, token, jobs));
                let rows = read_set(&mut lease, sql, 4).await?;
                sort_out(jobs, &asked, rows, SeenRow::missed_after)?
            }
            rows => sort_out(jobs, &asked, rows?, SeenRow::missed_before)?,
        };
        failpoint!("claim-committed", StoreError::Connection("a failpoint".to_owned()));
        lease.keep();
        Ok(claim)
    })
    .await
}

/// The usual claim: the rows as they were before it.
pub(super) async fn claim_batch(
    lease: &mut Lease<'_>,
    terms: &ClaimTerms,
    token: ClaimToken,
    jobs: &[JobId],
) -> Result<Vec<Row>, StoreError> {
    read_set(lease, claim_sql(terms, token, jobs), 3).await
}

/// Runs statements, and reads the rows of the one after so many others.
pub(super) async fn read_set(lease: &mut Lease<'_>, sql: String, others: usize) -> Result<Vec<Row>, StoreError> {
    let mut results = lease.conn().query_iter(sql).await?;
    for _ in 0..others {
        results.collect::<Row>().await?;
    }
    let rows = results.collect().await?;
    results.drop_result().await?;
    Ok(rows)
}

/// The usual claim, when nobody holds any of the rows locked; else it ends with an error at once.
///
/// The SELECT takes each row's lock through the primary key, in key order, and shows the rows as they are before
/// the claim; the UPDATE goes through the primary key over rows that are locked already. Both compare with one
/// moment, or the UPDATE might claim a row that has become due after the SELECT. Under READ COMMITTED no gap is
/// locked. The index is named, for a small table would rather be read as a whole, and locked so.
#[must_use]
pub fn claim_sql(terms: &ClaimTerms, token: ClaimToken, jobs: &[JobId]) -> String {
    let (ids, token) = (format!("IN ({})", id_list(jobs)), token.0.to_string());
    let (see, take) = (see_sql(&token, &ids), take_sql(terms, &token, &ids));
    format!("SET @strings_queue_now = NOW(6); {}; {see}; {take}; {}", begin_sql(), commit_sql())
}

/// The usual claim's SELECT, with the token and the ids (`IN (…)` or `= …`) as texts.
pub(super) fn see_sql(token: &str, ids: &str) -> String {
    let columns = columns(token);
    format!("SELECT {columns} FROM queued_job FORCE INDEX (PRIMARY) WHERE id {ids} ORDER BY id FOR UPDATE NOWAIT")
}

/// The usual claim's UPDATE, as [`see_sql`].
pub(super) fn take_sql(terms: &ClaimTerms, token: &str, ids: &str) -> String {
    let changes = changes(terms, token);
    format!("UPDATE queued_job AS job FORCE INDEX (PRIMARY) SET {changes} WHERE id {ids} AND {WORKABLE}")
}

/// The claim that passes over rows that others hold locked, so that one of them never holds up its batch.
///
/// The UPDATE takes each row's lock through the primary key, in key order. The LIMIT passes over nothing; it keeps
/// MySQL from merging the derived table into the UPDATE, which would drop SKIP LOCKED and wait. The SELECT is a
/// consistent read through the primary key. The join's order is fixed and the index named: on a small table MariaDB
/// would read the whole of it first, and wait for every row.
#[must_use]
pub fn claim_around_locks_sql(terms: &ClaimTerms, token: ClaimToken, jobs: &[JobId]) -> String {
    let (ids, token) = (id_list(jobs), token.0.to_string());
    let (columns, changes) = (columns(&token), changes(terms, &token));
    let count = jobs.len();
    format!(
        "SET @strings_queue_now = NOW(6); \
         UPDATE (SELECT id FROM queued_job FORCE INDEX (PRIMARY) WHERE id IN ({ids}) AND {WORKABLE} \
           ORDER BY id LIMIT {count} FOR UPDATE SKIP LOCKED) AS free \
           STRAIGHT_JOIN queued_job AS job FORCE INDEX (PRIMARY) ON free.id = job.id SET {changes}; \
         SELECT {columns} FROM queued_job WHERE id IN ({ids})"
    )
}

const WORKABLE: &str = "state IN ('available', 'retryable') AND run_at <= @strings_queue_now";

/// What a claim changes in a row.
fn changes(terms: &ClaimTerms, token: &str) -> String {
    let ClaimTerms { dispatcher, grace, max_timeout_secs } = terms;
    let grace = grace.as_secs();
    format!(
        "job.state = 'executing', job.attempt = job.attempt + 1, job.claimed_by = '{dispatcher}', \
         job.claim_token = {token}, job.last_started_at = NOW(), job.claim_expires_at = \
         NOW(6) + INTERVAL LEAST(GREATEST(job.timeout_secs, 0), {max_timeout_secs}) + {grace} SECOND"
    )
}

/// What is read of a row; the texts only of those that are ours or become so.
fn columns(token: &str) -> String {
    let readable = format!("claim_token <=> {token} OR ({WORKABLE})");
    format!(
        "id, CAST(state AS CHAR), claim_token <=> {token}, \
         TIMESTAMPDIFF(MICROSECOND, @strings_queue_now, run_at), attempt, http_method, \
         IF({readable}, CAST(url AS BINARY), ''), LENGTH(body), \
         IF(({readable}) AND LENGTH(body) <= {INLINE_BODY_BYTES}, CAST(body AS BINARY), NULL), \
         timeout_secs, remaining_retries, retry_delay_secs, CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED), \
         claimed_by, TIMESTAMPDIFF(MICROSECOND, NOW(6), claim_expires_at), claim_token"
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

/// What was asked.
struct Asked<'terms> {
    token: ClaimToken,
    at: Instant,
    terms: &'terms ClaimTerms,
}

fn sort_out(
    hinted: &[JobId],
    asked: &Asked<'_>,
    rows: Vec<Row>,
    missed: fn(&SeenRow) -> Option<Missed>,
) -> Result<Claim, StoreError> {
    let mut claim = Claim { jobs: Vec::with_capacity(rows.len()), ..Claim::default() };
    let mut seen = HashSet::with_capacity(rows.len());
    for row in rows {
        let seen_row = SeenRow::read(row, asked)?;
        seen.insert(seen_row.job.id);
        match missed(&seen_row) {
            None => claim.jobs.push(seen_row.job),
            Some(Missed::Taken) if seen_row.owner.as_ref() == Some(&asked.terms.dispatcher) => {
                claim.strays.extend(seen_row.other_token.map(|token| (seen_row.job.id, token)));
                claim.missed.push((seen_row.job.id, Missed::Locked));
            }
            Some(reason) => {
                claim.missed.push((seen_row.job.id, reason));
                claim.peers.extend(seen_row.owner.filter(|_| matches!(reason, Missed::Taken | Missed::Final)));
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
    /// Who has it, and under which token.
    owner: Option<String>,
    other_token: Option<ClaimToken>,
}

impl SeenRow {
    fn read(mut row: Row, asked: &Asked<'_>) -> Result<SeenRow, StoreError> {
        let state: Option<String> = column(&mut row, 1)?;
        // A session without strict mode stores an unknown state as ''; a newer version may know more states; and
        // somebody may have let the column be NULL.
        let state = state.as_deref().and_then(JobState::from_name);
        let ours = column(&mut row, 2)?;
        let stored_bytes: Option<u64> = column(&mut row, 7)?;
        let inline: Option<Vec<u8>> = column(&mut row, 8)?;
        let (attempt, timeout_secs) = (column(&mut row, 4)?, column(&mut row, 9)?);
        let expires_in_micros: Option<i64> = column(&mut row, 14)?;
        let claimed_before = state == Some(JobState::Executing);
        let job = ClaimedJob {
            id: JobId(column(&mut row, 0)?),
            token: asked.token,
            attempt: Attempt(if claimed_before { attempt } else { attempt + 1 }),
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

    /// Why it was not claimed, when it was read under its lock before the UPDATE.
    fn missed_before(&self) -> Option<Missed> {
        self.missed_after().filter(|reason| *reason != Missed::Locked)
    }

    /// Why it was not claimed, when it was read after the UPDATE: what is still workable was locked.
    fn missed_after(&self) -> Option<Missed> {
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
