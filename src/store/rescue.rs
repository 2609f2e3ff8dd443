//! Rescue: take jobs back from dispatchers that died or outstayed their claim.
//!
//! A live dispatcher holds the named lock of its name; the server frees it with the connection, however the
//! process ended. So a free lock is proof of death, and its jobs need not wait for their claims to expire.

use super::claim::id_list;
use super::error::StoreError;
use super::history::{HistoryLine, history_sql};
use super::session::{Session, within_deadline};
use crate::job::{JobId, messages};
use mysql_async::Row;
use mysql_async::prelude::Queryable;

/// The most jobs one rescue takes back; the rest follow in the next one.
const BATCH: usize = 1_000;

/// An executing row whose owner is gone. A name that no lock can have is nobody's: to ask for it is NULL on MariaDB
/// and an error on MySQL.
const ABANDONED: &str = "state = 'executing' AND (claimed_by IS NULL OR claimed_by = '' OR claim_expires_at IS NULL \
    OR claim_expires_at < NOW(6) OR IS_FREE_LOCK(claimed_by) = 1)";

/// Takes abandoned jobs back and makes them workable at once; their ids.
///
/// A rescued job is charged a retry, for its call may have happened. At none left it is called again once all the
/// same, for it may not have; `remaining_retries` is -1 then, and a job rescued at -1 is given up, so that one
/// that kills its dispatchers comes to an end. The SELECT reads the executing rows through the index on
/// state; then the rows are locked through the primary key (by its name, for a small table would rather be read as a
/// whole, and locked so) and looked at again, under their locks.
pub async fn rescue(session: &mut Session) -> Result<Vec<JobId>, StoreError> {
    within_deadline(async {
        let mut lease = session.lease().await?;
        let found: Vec<(u64, Option<u64>, Option<String>)> = lease
            .conn()
            .query(format!(
                "SELECT id, claim_token, claimed_by FROM queued_job WHERE {ABANDONED} ORDER BY id LIMIT {BATCH}"
            ))
            .await?;
        if found.is_empty() {
            lease.keep();
            return Ok(Vec::new());
        }
        let ids: Vec<JobId> = found.iter().map(|(id, ..)| JobId(*id)).collect();
        let locked = lock_abandoned(lease.conn(), &ids).await?;
        let rescued: Vec<JobId> = ids.into_iter().filter(|job| locked.contains(job)).collect();
        take_back(lease.conn(), &rescued, &lines(&found, &rescued)).await?;
        lease.keep();
        Ok(rescued)
    })
    .await
}

async fn lock_abandoned(conn: &mut mysql_async::Conn, ids: &[JobId]) -> Result<Vec<JobId>, StoreError> {
    let sql = format!(
        "START TRANSACTION; SELECT id FROM queued_job FORCE INDEX (PRIMARY) WHERE id IN ({}) AND {ABANDONED} \
         ORDER BY id FOR UPDATE SKIP LOCKED",
        id_list(ids)
    );
    let mut results = conn.query_iter(sql).await?;
    results.collect::<Row>().await?;
    let locked: Vec<u64> = results.collect().await?;
    results.drop_result().await?;
    Ok(locked.into_iter().map(JobId).collect())
}

async fn take_back(conn: &mut mysql_async::Conn, rescued: &[JobId], lines: &[HistoryLine]) -> Result<(), StoreError> {
    if !rescued.is_empty() {
        let update = format!(
            "UPDATE queued_job FORCE INDEX (PRIMARY) SET state = IF(remaining_retries < 0, 'discarded', 'retryable'), run_at = NOW(6), \
             result_code = IF(remaining_retries < 0, 2, result_code), \
             last_finished_at = IF(remaining_retries < 0, NOW(), last_finished_at), \
             last_response = IF(remaining_retries < 0, '(its dispatcher ended without a result)', last_response), \
             claimed_by = NULL, claim_token = NULL, claim_expires_at = NULL, \
             remaining_retries = GREATEST(remaining_retries, 0) - 1 WHERE id IN ({})",
            id_list(rescued)
        );
        conn.query_drop(update).await?;
    }
    let insert = history_sql(lines).map(|insert| insert + "; ").unwrap_or_default();
    Ok(conn.query_drop(format!("{insert}COMMIT")).await?)
}

fn lines(found: &[(u64, Option<u64>, Option<String>)], rescued: &[JobId]) -> Vec<HistoryLine> {
    found
        .iter()
        .filter(|(id, ..)| rescued.contains(&JobId(*id)))
        .map(|(id, _, dispatcher)| HistoryLine {
            job: JobId(*id),
            message: messages::rescued(JobId(*id), dispatcher.as_deref().unwrap_or("(unknown)")),
            at_micros: None,
        })
        .collect()
}
