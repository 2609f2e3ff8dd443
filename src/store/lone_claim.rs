//! Lone claim: the usual claim of a single job, by statements that the server has prepared.
//!
//! A lone job waits for its claim and for nothing else, so the server does not read and plan long statements anew for
//! each: at its first lone claim, a connection has the two of them prepared by SQL (`PREPARE`, `EXECUTE … USING`; MySQL
//! Reference Manual, "Prepared Statements"). That way they are still sent together, in one round trip.

use super::claim::{Usual, claim_batch, read_usual};
use super::claim_sql::{see_sql, take_sql};
use super::error::StoreError;
use super::row::{ClaimTerms, ClaimToken};
use super::servers::Prepared;
use super::session::Lease;
use crate::job::JobId;

/// Claims the job if nobody holds its row locked, and gives the row as it was before; else it ends with an error at once.
///
/// Statements that the server will not prepare are sent as they are.
pub(super) async fn try_claim(
    lease: &mut Lease<'_>,
    terms: &ClaimTerms,
    token: ClaimToken,
    job: JobId,
) -> Result<Usual, StoreError> {
    let execute = execute_sql(token, job);
    match lease.prepared() {
        Prepared::For(those) if those == terms => return read_usual(lease, execute, 2).await,
        Prepared::Refused => return claim_batch(lease, terms, token, &[job]).await,
        _ => {}
    }
    match read_usual(lease, format!("{}; {execute}", prepare_sql(terms)), 4).await {
        Err(error) if error.says_not_prepared() => {
            tracing::debug!(%error, "the server prepares no statements for us; claims do without");
            lease.set_prepared(Prepared::Refused);
            claim_batch(lease, terms, token, &[job]).await
        }
        result => {
            if result.is_ok() {
                lease.set_prepared(Prepared::For(terms.clone()));
            }
            result
        }
    }
}

/// Has the server prepare the SELECT and the UPDATE; done again, it replaces them.
fn prepare_sql(terms: &ClaimTerms) -> String {
    let [see, take] = [see_sql("?", "= ?"), take_sql(terms, "?", "= ?")].map(|sql| sql.replace('\'', "''"));
    format!("PREPARE strings_queue_see FROM '{see}'; PREPARE strings_queue_take FROM '{take}'")
}

/// The claim by the prepared statements. In the SELECT, the token stands thrice. When it meets a lock, it holds none
/// itself.
fn execute_sql(ClaimToken(token): ClaimToken, job: JobId) -> String {
    format!(
        "SET @strings_queue_now = NOW(6), @strings_queue_job = {job}, @strings_queue_token = {token}; \
         START TRANSACTION; \
         EXECUTE strings_queue_see \
           USING @strings_queue_token, @strings_queue_token, @strings_queue_token, @strings_queue_job; \
         EXECUTE strings_queue_take USING @strings_queue_token, @strings_queue_job; \
         COMMIT"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_place_of_the_prepared_statements_is_filled() {
        let terms = ClaimTerms { dispatcher: "me".to_owned(), grace: Duration::from_secs(1), max_timeout_secs: 1 };
        let (see, take) = (see_sql("?", "= ?"), take_sql(&terms, "?", "= ?"));
        let execute = execute_sql(ClaimToken(7), JobId(9));
        let given: Vec<usize> =
            execute.split("USING").skip(1).map(|using| using.split(';').next().unwrap().matches('@').count()).collect();
        assert_eq!(given, [see.matches('?').count(), take.matches('?').count()]);
    }
}
