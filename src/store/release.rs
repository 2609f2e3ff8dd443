//! Release: give claimed jobs back unharmed.

use super::claim::id_list;
use super::error::StoreError;
use super::history::{HistoryLine, history_sql};
use super::row::ClaimToken;
use super::session::{Session, within_deadline};
use crate::job::JobId;
use mysql_async::prelude::Queryable;

/// Gives jobs back as they were before their claim: workable, and the try not counted.
///
/// Locks each row through the primary key; touches only rows that are executing under one of the tokens. A
/// token is drawn for one claim, and no row is claimed twice under one, so id and token need not be paired.
pub async fn release(
    session: &mut Session,
    claims: &[(JobId, ClaimToken)],
    lines: &[HistoryLine],
) -> Result<(), StoreError> {
    if claims.is_empty() {
        return Ok(());
    }
    let sql = release_sql(claims);
    within_deadline(session.bounds(), async {
        let mut lease = session.lease().await?;
        let insert = history_sql(lines).map(|insert| insert + "; ").unwrap_or_default();
        lease.conn().query_drop(format!("START TRANSACTION; {sql}; {insert}COMMIT")).await?;
        lease.keep();
        Ok(())
    })
    .await
}

fn release_sql(claims: &[(JobId, ClaimToken)]) -> String {
    let mut ids: Vec<JobId> = claims.iter().map(|(job, _)| *job).collect();
    ids.sort_unstable();
    let mut tokens: Vec<JobId> = claims.iter().map(|(_, ClaimToken(token))| JobId(*token)).collect();
    tokens.sort_unstable();
    tokens.dedup();
    format!(
        "UPDATE queued_job SET state = IF(attempt > 1, 'retryable', 'available'), \
         last_started_at = IF(attempt > 1, last_finished_at, NULL), attempt = GREATEST(attempt, 1) - 1, \
         claimed_by = NULL, claim_token = NULL, claim_expires_at = NULL \
         WHERE id IN ({}) AND state = 'executing' AND claim_token IN ({}) ORDER BY id",
        id_list(&ids),
        id_list(&tokens)
    )
}
