//! Release: give claimed jobs back unharmed.

use super::bounds::within_deadline;
use super::error::StoreError;
use super::history::HistoryLine;
use super::literals::id_list;
use super::literals::quoted;
use super::row::ClaimToken;
use super::session::{Lease, Session};
use super::transaction::{begin_sql, commit_sql};
use crate::failpoints::failpoint;
use crate::job::JobId;
use mysql_async::prelude::Queryable;
use std::fmt::Write as _;

/// Gives jobs back as they were before their claim: workable, and the try not counted. Those come back that another
/// session keeps locked: nothing was written to their rows, and they are to be tried again.
///
/// Locks each row through the primary key, in key order (by its name, for a small table would rather be read as a
/// whole, and locked so); touches only rows that are executing under one of the tokens,
/// and writes the lines of these alone: a job that was taken back meanwhile is not ours to give. A token is drawn for
/// one claim, and no row is claimed twice under one, so id and token need not be paired.
///
/// It waits for no lock. Where nobody has one, all is done in one round trip.
pub async fn release(
    session: &mut Session,
    claims: &[(JobId, ClaimToken)],
    lines: &[HistoryLine],
) -> Result<Vec<JobId>, StoreError> {
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let ours = ours_sql(claims);
    within_deadline(session.bounds().of_a_write(), async {
        let mut lease = session.lease().await?;
        failpoint!("before-release", StoreError::Connection("a failpoint".to_owned()));
        let (lock, write) = (lock_sql(&ours, "NOWAIT"), write_sql(lines, &ours));
        let whole = format!("{}; {lock}; {write}; {}", begin_sql(), commit_sql());
        let locked = match lease.conn().query_drop(whole).await.map_err(StoreError::from) {
            Err(error) if error.says_locked() => {
                lease.conn().query_drop(format!("ROLLBACK; {}", begin_sql())).await?;
                release_around_locks(&mut lease, &ours, lines).await?
            }
            done => done.map(|()| Vec::new())?,
        };
        failpoint!("release-committed", StoreError::Connection("a failpoint".to_owned()));
        lease.keep();
        Ok(locked)
    })
    .await
}

/// Gives back what a claim brought whose answer was lost: the jobs that are ours under its token. True when no more can
/// come of it: nobody keeps any of its rows locked, as a claim does that is under way.
pub async fn release_claim(session: &mut Session, token: ClaimToken, jobs: &[JobId]) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT id FROM queued_job FORCE INDEX (PRIMARY) WHERE id IN ({}) ORDER BY id FOR UPDATE NOWAIT",
        id_list(jobs)
    );
    let is_free = within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        let is_free = match lease.conn().query_drop(sql).await.map_err(StoreError::from) {
            Err(error) if error.says_locked() => false,
            looked => looked.map(|()| true)?,
        };
        lease.keep();
        Ok(is_free)
    })
    .await?;
    let claims: Vec<(JobId, ClaimToken)> = jobs.iter().map(|job| (*job, token)).collect();
    Ok(release(session, &claims, &[]).await?.is_empty() && is_free)
}

/// The rare way: some rows are locked by others. What of ours is left under its claim afterwards are those.
async fn release_around_locks(
    lease: &mut Lease<'_>,
    ours: &str,
    lines: &[HistoryLine],
) -> Result<Vec<JobId>, StoreError> {
    let free: Vec<u64> = lease.conn().query(lock_sql(ours, "SKIP LOCKED")).await?;
    let free: Vec<JobId> = free.into_iter().map(JobId).collect();
    let lines: Vec<HistoryLine> = lines.iter().filter(|line| free.contains(&line.job)).cloned().collect();
    let write = match free.as_slice() {
        [] => commit_sql(),
        free => format!("{}; {}", write_sql(&lines, &format!("id IN ({}) AND {ours}", id_list(free))), commit_sql()),
    };
    lease.conn().query_drop(write).await?;
    let left: Vec<u64> =
        lease.conn().query(format!("SELECT id FROM queued_job FORCE INDEX (PRIMARY) WHERE {ours}")).await?;
    Ok(left.into_iter().map(JobId).collect())
}

fn lock_sql(ours: &str, locked: &str) -> String {
    format!("SELECT id FROM queued_job FORCE INDEX (PRIMARY) WHERE {ours} ORDER BY id FOR UPDATE {locked}")
}

fn write_sql(lines: &[HistoryLine], ours: &str) -> String {
    let lines = lines_sql(lines, ours).map(|insert| insert + "; ").unwrap_or_default();
    format!("{lines}{}", release_sql(ours))
}

/// The rows that are still ours.
fn ours_sql(claims: &[(JobId, ClaimToken)]) -> String {
    let mut ids: Vec<JobId> = claims.iter().map(|(job, _)| *job).collect();
    ids.sort_unstable();
    let mut tokens: Vec<JobId> = claims.iter().map(|(_, ClaimToken(token))| JobId(*token)).collect();
    tokens.sort_unstable();
    tokens.dedup();
    format!("id IN ({}) AND state = 'executing' AND claim_token IN ({})", id_list(&ids), id_list(&tokens))
}

/// Before the rows are given back, while one can tell which are ours.
fn lines_sql(lines: &[HistoryLine], ours: &str) -> Option<String> {
    let mut cases = String::new();
    for line in lines {
        // Writing to a String does not fail.
        let _ = write!(cases, " WHEN {} THEN {}", line.job, quoted(&line.message));
    }
    (!lines.is_empty()).then(|| {
        format!(
            "INSERT INTO queued_job_log (job_id, msg, created_at) SELECT id, CASE id{cases} ELSE '' END, NOW(6) \
             FROM queued_job FORCE INDEX (PRIMARY) WHERE {ours} ORDER BY id"
        )
    })
}

fn release_sql(ours: &str) -> String {
    format!(
        "UPDATE queued_job FORCE INDEX (PRIMARY) SET state = IF(attempt > 1, 'retryable', 'available'), \
         last_started_at = IF(attempt > 1, last_finished_at, NULL), attempt = GREATEST(attempt, 1) - 1, \
         claimed_by = NULL, claim_token = NULL, claim_expires_at = NULL WHERE {ours} ORDER BY id"
    )
}
