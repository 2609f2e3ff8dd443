//! Rescue: take jobs back from dispatchers that died or outstayed their claim.
//!
//! A live dispatcher holds the named lock of its name; the server frees it with the connection, however the
//! process ended. So a lock that stays free is proof of death, and its jobs need not wait for their claims to expire.

use super::literals::id_list;
use super::error::StoreError;
use super::history::{HistoryLine, history_sql};
use super::session::{Session, within_deadline};
use super::transaction::{begin_sql, commit_sql};
use crate::job::{JobId, messages};
use mysql_async::Row;
use mysql_async::prelude::Queryable;

/// The most jobs one rescue takes back; the rest follow in the next one.
const BATCH: usize = 1_000;

/// An executing row whose claim can't be anybody's any more.
const OUTSTAYED: &str = "(claimed_by IS NULL OR claim_expires_at IS NULL OR claim_expires_at < NOW(6))";
/// One whose owner has no lock. No server takes an empty name as a lock's, and a hand may have written one.
const UNLOCKED: &str = "IF(claimed_by > '', IS_FREE_LOCK(claimed_by), 1) = 1";

/// A row that was called again at no retries left, and lost once more. An application may insert less than none.
const GIVEN_UP: &str = "remaining_retries < 0 AND attempt > 1";

/// Takes abandoned jobs back and makes them workable at once; their ids. Abandoned: the claim has expired, or the
/// owner is one of those that are known to have ended.
///
/// A rescued job is charged a retry, for its call may have happened. At none left it is called again once all the
/// same, for it may not have; `remaining_retries` is -1 then, and a job rescued at -1 from a later try is given up,
/// so that one that kills its dispatchers comes to an end (`Standing::rescue`). The SELECT reads the executing rows
/// through the index on state; the UPDATE locks through the primary key and looks again, under the lock, that they
/// are abandoned and under the same claims.
pub async fn rescue(session: &mut Session, ended: &[String]) -> Result<Vec<JobId>, StoreError> {
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        // They were found to have ended by their locks on another server, or before an outage.
        let ended = if lease.has_settled() { ended } else { &[] };
        let found = find_abandoned(lease.conn(), ended).await?;
        if found.is_empty() {
            lease.keep();
            return Ok(Vec::new());
        }
        let locked = lock_abandoned(lease.conn(), &found).await?;
        let rescued: Vec<JobId> = found.iter().map(|found| JobId(found.0)).filter(|job| locked.contains(job)).collect();
        take_back(lease.conn(), &rescued, &lines(&found, &rescued)).await?;
        lease.keep();
        Ok(rescued)
    })
    .await
}

/// A row's id, its claim's token and its owner.
type Abandoned = (u64, Option<u64>, Option<String>);

async fn find_abandoned(conn: &mut mysql_async::Conn, ended: &[String]) -> Result<Vec<Abandoned>, StoreError> {
    // Placeholders, for these names were read from rows. The empty name is nobody's.
    let names = vec!["?"; ended.len() + 1].join(", ");
    let sql = format!(
        "SELECT id, claim_token, claimed_by FROM queued_job WHERE state = 'executing' \
         AND ({OUTSTAYED} OR claimed_by IN ({names}) AND {UNLOCKED}) ORDER BY id LIMIT {BATCH}"
    );
    let names = ended.iter().map(String::as_str).chain([""]).map(mysql_async::Value::from).collect::<Vec<_>>();
    Ok(conn.exec(sql, mysql_async::Params::from(names)).await?)
}

async fn lock_abandoned(conn: &mut mysql_async::Conn, found: &[Abandoned]) -> Result<Vec<JobId>, StoreError> {
    let ids: Vec<JobId> = found.iter().map(|(id, ..)| JobId(*id)).collect();
    // A token has no other use here than a number, and 0 is none.
    let tokens: Vec<JobId> = found.iter().map(|(_, token, _)| JobId(token.unwrap_or(0))).collect();
    let sql = format!(
        "{}; SELECT id FROM queued_job FORCE INDEX (PRIMARY) WHERE id IN ({}) \
         AND COALESCE(claim_token, 0) IN ({}) AND state = 'executing' AND ({OUTSTAYED} OR {UNLOCKED}) ORDER BY id FOR UPDATE SKIP LOCKED",
        begin_sql(),
        id_list(&ids),
        id_list(&tokens)
    );
    let mut results = conn.query_iter(sql).await?;
    results.collect::<Row>().await?;
    results.collect::<Row>().await?;
    let locked: Vec<u64> = results.collect().await?;
    results.drop_result().await?;
    Ok(locked.into_iter().map(JobId).collect())
}

async fn take_back(conn: &mut mysql_async::Conn, rescued: &[JobId], lines: &[HistoryLine]) -> Result<(), StoreError> {
    if !rescued.is_empty() {
        let update = format!(
            "UPDATE queued_job FORCE INDEX (PRIMARY) SET state = IF({GIVEN_UP}, 'discarded', 'retryable'), run_at = NOW(6), \
             result_code = IF({GIVEN_UP}, 2, result_code), \
             last_finished_at = IF({GIVEN_UP}, NOW(), last_finished_at), \
             last_response = IF({GIVEN_UP}, '(its dispatcher ended without a result)', last_response), \
             claimed_by = NULL, claim_token = NULL, claim_expires_at = NULL, \
             remaining_retries = GREATEST(remaining_retries, 0) - 1 WHERE id IN ({})",
            id_list(rescued)
        );
        conn.query_drop(update).await?;
    }
    let insert = history_sql(lines).map(|insert| insert + "; ").unwrap_or_default();
    Ok(conn.query_drop(format!("{insert}{}", commit_sql())).await?)
}

fn lines(found: &[Abandoned], rescued: &[JobId]) -> Vec<HistoryLine> {
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
