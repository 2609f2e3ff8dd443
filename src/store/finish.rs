//! Finish: write what calls came to, many in one transaction, each only where the claim is still ours.
//!
//! A finish whose answer was lost may be sent again: rows it has already written are left alone, and their
//! log lines, which are part of the same transaction, are not written twice. A line of a job whose result is not among
//! them tells of a call that is still under way; it may have been written, and is looked for before it is sent again
//! (`history.rs`).

use super::bounds::within_deadline;
use super::error::StoreError;
use super::history::{HistoryLine, history_sql, history_sql_for};
use super::literals::{UTF8, cut_at_char, id_list, quoted, quoted_json};
use super::row::ClaimToken;
use super::session::{Lease, Session};
use super::transaction::{begin_sql, commit_sql};
use super::unanswered::Kind;
use crate::failpoints::failpoint;
use crate::job::{Attempt, Conclusion, JobId, JobState, ResultCode, messages};
use mysql_async::Row;
use mysql_async::prelude::Queryable;
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::Write as _;

/// The most bytes of a response that `last_response` holds (the TEXT type's own limit).
pub const RESPONSE_BYTES: usize = 65_535;

/// One call's result, to be written.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The job.
    pub id: JobId,
    /// The proof that it is ours.
    pub token: ClaimToken,
    /// Which try it was: the same token on a later one is of a claim that came late, and that nobody knows of.
    pub attempt: Attempt,
    /// What the row becomes.
    pub conclusion: Conclusion,
    /// `last_response`; cut to [`RESPONSE_BYTES`].
    pub response: String,
}

/// What became of a finish.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FinishReport {
    /// Jobs that were taken back, cancelled or deleted before: nothing was written to their rows.
    pub refused: Vec<JobId>,
    /// Those among them that are not there any more.
    pub gone: Vec<JobId>,
    /// Jobs whose rows another session keeps locked: nothing was written to them, and they are to be tried again.
    pub locked: Vec<JobId>,
}

/// Writes results and log lines in one transaction and one round trip: no lock of ours waits for the network, but
/// where rows are locked by others or not ours any more.
///
/// The UPDATEs match only rows that are executing under the same claim token, on the same try. When they matched fewer than the batch
/// has, it is ended by an error of our making, rolled back, and sorted out row by row.
pub async fn finish(
    session: &mut Session,
    batch: &mut [Finished],
    lines: &[HistoryLine],
) -> Result<FinishReport, StoreError> {
    batch.sort_unstable_by_key(|finished| finished.id);
    within_deadline(session.bounds().of_a_write(), async {
        failpoint!("before-finish", StoreError::Connection("a failpoint".to_owned()));
        let mut lease = session.lease_for(if batch.is_empty() { Kind::Lines } else { Kind::Results }).await?;
        let report = match lease.conn().query_drop(whole_sql(batch, lines)?).await.map_err(StoreError::from) {
            Err(error) if !batch.is_empty() && matches!(error.code(), Some(NOT_ALL | LOCK_WAIT)) => {
                lease.conn().query_drop("ROLLBACK").await?;
                finish_what_is_ours(&mut lease, batch, lines).await?
            }
            other => other.map(|()| FinishReport::default())?,
        };
        failpoint!("finish-committed", StoreError::Connection("a failpoint".to_owned()));
        lease.keep();
        Ok(report)
    })
    .await
}

/// The same for results whose rows were locked before: it waits for none, and passes over those that still are.
pub async fn finish_around_locks(
    session: &mut Session,
    batch: &mut [Finished],
    lines: &[HistoryLine],
) -> Result<FinishReport, StoreError> {
    batch.sort_unstable_by_key(|finished| finished.id);
    within_deadline(session.bounds().of_a_write(), async {
        let mut lease = session.lease_for(Kind::Results).await?;
        let report = finish_what_is_ours(&mut lease, batch, lines).await?;
        lease.keep();
        Ok(report)
    })
    .await
}

/// "Subquery returns more than 1 row": how the batch says that not all rows were ours.
const NOT_ALL: u16 = 1242;
/// "Lock wait timeout exceeded": somebody keeps one of the rows locked. The others need not wait for it.
const LOCK_WAIT: u16 = 1205;

fn whole_sql(batch: &[Finished], lines: &[HistoryLine]) -> Result<String, StoreError> {
    // A lone row that is not ours, or locked, leaves no lock behind.
    let (begin, commit) =
        if batch.len() > 1 { (begin_sql(), commit_sql()) } else { ("START TRANSACTION".into(), "COMMIT".into()) };
    let mut sql = begin + "; ";
    let mut counted = String::from("0");
    for (index, results) in results_sql(batch)?.iter().enumerate() {
        // Writing to a String does not fail.
        let _ = write!(sql, "{results}; SET @strings_queue_{index} = ROW_COUNT(); ");
        let _ = write!(counted, " + @strings_queue_{index}");
    }
    if !batch.is_empty() {
        let count = batch.len();
        let _ = write!(sql, "SET @strings_queue = IF({counted} = {count}, 0, (SELECT 1 UNION SELECT 2)); ");
    }
    if let Some(insert) = history_sql(lines) {
        sql += &insert;
        sql += "; ";
    }
    Ok(sql + &commit)
}

async fn commit_with(lease: &mut Lease<'_>, history: Option<String>) -> Result<(), StoreError> {
    let commit = commit_sql();
    let sql = history.map_or(commit.clone(), |insert| format!("{insert}; {commit}"));
    Ok(lease.conn().query_drop(sql).await?)
}

/// The rare way: some rows are not as we left them, or are locked. Lock those that can be, look, write the ones that
/// are ours.
async fn finish_what_is_ours(
    lease: &mut Lease<'_>,
    batch: &[Finished],
    lines: &[HistoryLine],
) -> Result<FinishReport, StoreError> {
    let standing = lock_and_look(lease, batch).await?;
    let mut ours = Vec::new();
    let (mut refused, mut gone, mut locked) = (Vec::new(), Vec::new(), Vec::new());
    for finished in batch {
        match standing.get(&finished.id) {
            Some(Standing::Locked) => locked.push(finished.id),
            Some(Standing::Seen { token, attempt, state: JobState::Executing, .. })
                if *token == finished.token.0 && *attempt <= finished.attempt.0 =>
            {
                ours.push(finished.clone());
            }
            // Written by an earlier try whose answer was lost.
            Some(Standing::Seen { token, state, ended: true, .. })
                if *token == finished.token.0 && *state == finished.conclusion.state => {}
            seen => {
                refused.push(finished.id);
                gone.extend(seen.is_none().then_some(finished.id));
            }
        }
    }
    if !ours.is_empty() {
        lease.conn().query_drop(results_sql(&ours)?.join("; ")).await?;
    }
    let refusals: Vec<HistoryLine> = refused
        .iter()
        .map(|job| HistoryLine { job: *job, message: messages::refused(*job), at_micros: None })
        .collect();
    let written = |job: JobId| ours.iter().any(|finished| finished.id == job) || !batch.iter().any(|f| f.id == job);
    commit_with(lease, history_sql_for(lines, written, &refusals)).await?;
    Ok(FinishReport { refused, gone, locked })
}

/// How a row stands that is to be written.
enum Standing {
    /// Locked by us: its claim's token and try, and its state; and whether the claim was ended, as by a result. Who else changes the
    /// state leaves that as it was.
    Seen { token: u64, attempt: u32, state: JobState, ended: bool },
    /// It is there, and locked by another session.
    Locked,
}

/// Locks the rows that nobody else keeps locked, in key order, and looks at them. The last SELECT is a consistent read:
/// it tells a row that is locked from one that is gone.
async fn lock_and_look(lease: &mut Lease<'_>, batch: &[Finished]) -> Result<HashMap<JobId, Standing>, StoreError> {
    let ids: Vec<JobId> = batch.iter().map(|finished| finished.id).collect();
    let ids = id_list(&ids);
    let sql = format!(
        "{}; SELECT id, COALESCE(claim_token, 0), attempt, COALESCE(CAST(state AS CHAR), ''), \
         claim_expires_at IS NULL FROM queued_job FORCE INDEX (PRIMARY) WHERE id IN ({ids}) ORDER BY id FOR UPDATE SKIP LOCKED; \
         SELECT id FROM queued_job FORCE INDEX (PRIMARY) WHERE id IN ({ids})",
        begin_sql()
    );
    let mut results = lease.conn().query_iter(sql).await?;
    results.collect::<Row>().await?;
    results.collect::<Row>().await?;
    let seen: Vec<(u64, u64, u32, String, bool)> = results.collect().await?;
    let there: Vec<u64> = results.collect().await?;
    results.drop_result().await?;
    let mut standings: HashMap<JobId, Standing> = there.into_iter().map(|id| (JobId(id), Standing::Locked)).collect();
    for (id, token, attempt, state, ended) in seen {
        match JobState::from_name(&state) {
            Some(state) => standings.insert(JobId(id), Standing::Seen { token, attempt, state, ended }),
            None => standings.remove(&JobId(id)),
        };
    }
    Ok(standings)
}

/// So many results that are the same are written by an UPDATE of their own.
const ALIKE: usize = 4;

/// The statements that write the results: one for each larger group that comes to the same, one for all the rest.
pub fn results_sql(batch: &[Finished]) -> Result<Vec<String>, StoreError> {
    let mut groups: HashMap<(u64, Attempt, ResultCode, &str), Vec<&Finished>> = HashMap::new();
    let mut rest = Vec::new();
    for finished in batch {
        if finished.conclusion.is_plain_end() {
            let alike =
                (finished.token.0, finished.attempt, finished.conclusion.result_code, finished.response.as_str());
            groups.entry(alike).or_default().push(finished);
        } else {
            rest.push(finished);
        }
    }
    let mut statements = Vec::new();
    for group in groups.into_values() {
        if group.len() < ALIKE { rest.extend(group) } else { statements.push(alike_sql(&group)) }
    }
    if !rest.is_empty() {
        rest.sort_unstable_by_key(|finished| finished.id);
        statements.push(unlike_sql(&rest)?);
    }
    Ok(statements)
}

/// Ends jobs of one claim with the same result. Locks each row through the primary key, in key order; by its name, for
/// a small table would rather be read as a whole, and locked so.
fn alike_sql(group: &[&Finished]) -> String {
    let ids: Vec<JobId> = group.iter().map(|finished| finished.id).collect();
    let Finished { token: ClaimToken(token), attempt: Attempt(attempt), conclusion, response, .. } = group[0];
    let (state, result_code) = (conclusion.state.as_str(), conclusion.result_code as i32);
    let response = quoted(cut_at_char(response, RESPONSE_BYTES));
    format!(
        "UPDATE queued_job FORCE INDEX (PRIMARY) SET state = '{state}', result_code = {result_code}, last_finished_at = NOW(), \
         last_response = {response}, claim_expires_at = NULL \
         WHERE id IN ({}) AND claim_token = {token} AND attempt <= {attempt} AND state = 'executing'",
        id_list(&ids)
    )
}

/// One row of the JSON table. The order is that of the paths in [`unlike_sql`].
#[derive(Serialize)]
struct ResultRow<'batch>(u64, u64, u32, &'static str, i32, Option<u64>, Option<u32>, Option<&'batch str>, &'batch str);

/// Writes results of any kind. Reads the batch as a JSON table and locks each row through the primary key, in key
/// order.
fn unlike_sql(batch: &[&Finished]) -> Result<String, StoreError> {
    let rows: Vec<ResultRow<'_>> = batch.iter().map(|finished| result_row(finished)).collect();
    let json = quoted_json(&rows)?;
    Ok(format!(
        "UPDATE JSON_TABLE({json}, '$[*]' COLUMNS(\
           id BIGINT UNSIGNED PATH '$[0]', token BIGINT UNSIGNED PATH '$[1]', attempt BIGINT UNSIGNED PATH '$[2]', \
           state VARCHAR(16) CHARACTER SET ascii PATH '$[3]', result_code INT PATH '$[4]', retry_in BIGINT PATH '$[5]', \
           retry_delay INT PATH '$[6]', url MEDIUMTEXT {UTF8} PATH '$[7]', response MEDIUMTEXT {UTF8} PATH '$[8]')) AS result \
         STRAIGHT_JOIN queued_job AS job FORCE INDEX (PRIMARY) ON job.id = result.id AND job.claim_token = result.token \
           AND job.attempt <= result.attempt AND job.state = 'executing' \
         SET job.state = result.state, job.result_code = result.result_code, job.last_finished_at = NOW(), \
         job.last_response = result.response, job.claim_expires_at = NULL, \
         job.remaining_retries = job.remaining_retries - (result.retry_in IS NOT NULL), \
         job.run_at = IF(result.retry_in IS NULL, job.run_at, NOW(6) + INTERVAL result.retry_in MICROSECOND), \
         job.retry_delay_secs = COALESCE(result.retry_delay, job.retry_delay_secs), \
         job.url = COALESCE(result.url, job.url)"
    ))
}

fn result_row(finished: &Finished) -> ResultRow<'_> {
    let conclusion = &finished.conclusion;
    ResultRow(
        finished.id.0,
        finished.token.0,
        finished.attempt.0,
        conclusion.state.as_str(),
        conclusion.result_code as i32,
        conclusion.retry_in.map(|delay| u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)),
        conclusion.new_retry_delay_secs,
        conclusion.new_url.as_deref(),
        cut_at_char(&finished.response, RESPONSE_BYTES),
    )
}
