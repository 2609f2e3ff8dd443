//! Release: give claimed jobs back unharmed.

use super::claim::id_list;
use super::error::StoreError;
use super::history::{HistoryLine, history_sql_where};
use super::row::ClaimToken;
use super::session::{Session, within_deadline};
use crate::job::JobId;
use mysql_async::prelude::Queryable;

/// Gives jobs back as they were before their claim: workable, and the try not counted. One round trip.
///
/// Locks each row through the primary key, by its name: a small table would rather be read as a whole, and locked so.
/// Touches only rows that are executing under one of the tokens, and says nothing of others, so it can be sent again
/// when its answer was lost. A token is drawn for one claim, and no row is claimed twice under one, so id and token
/// need not be paired.
pub async fn release(
    session: &mut Session,
    claims: &[(JobId, ClaimToken)],
    lines: &[HistoryLine],
) -> Result<(), StoreError> {
    if claims.is_empty() {
        return Ok(());
    }
    let ours = ours_sql(claims);
    let (tell, give_back) = (history_sql_where(lines, &ours)?, release_sql(&ours));
    within_deadline(async {
        let mut lease = session.lease().await?;
        lease.conn().query_drop(format!("START TRANSACTION; {tell}; {give_back}; COMMIT")).await?;
        lease.keep();
        Ok(())
    })
    .await
}

/// Which rows are ours still.
fn ours_sql(claims: &[(JobId, ClaimToken)]) -> String {
    let mut ids: Vec<JobId> = claims.iter().map(|(job, _)| *job).collect();
    ids.sort_unstable();
    let mut tokens: Vec<JobId> = claims.iter().map(|(_, ClaimToken(token))| JobId(*token)).collect();
    tokens.sort_unstable();
    tokens.dedup();
    format!("id IN ({}) AND state = 'executing' AND claim_token IN ({})", id_list(&ids), id_list(&tokens))
}

fn release_sql(ours: &str) -> String {
    format!(
        "UPDATE queued_job FORCE INDEX (PRIMARY) SET state = IF(attempt > 1, 'retryable', 'available'), \
         last_started_at = IF(attempt > 1, last_finished_at, NULL), attempt = GREATEST(attempt, 1) - 1, \
         claimed_by = NULL, claim_token = NULL, claim_expires_at = NULL WHERE {ours} ORDER BY id"
    )
}
