//! The statements of a claim.

use super::literals::id_list;
use super::row::{ClaimTerms, ClaimToken};
use super::seen_row::{WORKABLE, readable_columns};
use super::transaction::{begin_sql, commit_sql};
use crate::job::JobId;

/// The usual claim, when nobody holds any of the rows locked; else it ends with an error at once.
///
/// The SELECT takes each row's lock through the primary key, in key order, and shows the rows as they are before
/// the claim; the UPDATE goes through the primary key over rows that are locked already. Both compare with one
/// moment, or the UPDATE might claim a row that has become due after the SELECT. Under READ COMMITTED no gap is
/// locked. The index is named, for a small table would rather be read as a whole, and locked so.
pub(super) fn claim_sql(terms: &ClaimTerms, token: ClaimToken, jobs: &[JobId]) -> String {
    let (ids, token) = (format!("IN ({})", id_list(jobs)), token.0.to_string());
    let (see, take) = (see_sql(&token, &ids), take_sql(terms, &token, &ids));
    format!("SET @strings_queue_now = NOW(6); {}; {see}; {take}; {}", begin_sql(), commit_sql())
}

/// The usual claim's SELECT, with the token and the ids (`IN (…)` or `= …`) as texts.
pub(super) fn see_sql(token: &str, ids: &str) -> String {
    let columns = readable_columns(token);
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
/// MySQL from merging the derived table into the UPDATE, which would drop SKIP LOCKED and wait. The join's order is
/// fixed and the index named: on a small table MariaDB would read the whole of it first, and wait for every row.
///
/// Then one SELECT tells which rows nobody holds locked, and the next one, a consistent read, shows them all. A row that
/// was not locked is shown as it is: a change that the log has shown keeps its lock until SQL shows it too.
pub(super) fn claim_around_locks_sql(terms: &ClaimTerms, token: ClaimToken, jobs: &[JobId]) -> String {
    let (ids, token) = (id_list(jobs), token.0.to_string());
    let (columns, changes) = (readable_columns(&token), changes(terms, &token));
    let count = jobs.len();
    format!(
        "SET @strings_queue_now = NOW(6); \
         UPDATE (SELECT id FROM queued_job FORCE INDEX (PRIMARY) WHERE id IN ({ids}) AND {WORKABLE} \
           ORDER BY id LIMIT {count} FOR UPDATE SKIP LOCKED) AS free \
           STRAIGHT_JOIN queued_job AS job FORCE INDEX (PRIMARY) ON free.id = job.id SET {changes}; \
         SELECT id FROM queued_job FORCE INDEX (PRIMARY) WHERE id IN ({ids}) ORDER BY id FOR UPDATE SKIP LOCKED; \
         SELECT {columns} FROM queued_job WHERE id IN ({ids})"
    )
}

/// What a claim changes in a row.
fn changes(terms: &ClaimTerms, token: &str) -> String {
    let ClaimTerms { dispatcher, grace, max_timeout_secs } = terms;
    let grace = grace.as_secs();
    format!(
        "job.state = 'executing', job.attempt = LEAST(job.attempt, {}) + 1, job.claimed_by = '{dispatcher}', \
         job.claim_token = {token}, job.last_started_at = NOW(), job.claim_expires_at = \
         NOW(6) + INTERVAL LEAST(GREATEST(job.timeout_secs, 0), {max_timeout_secs}) + {grace} SECOND",
        u32::MAX - 1
    )
}
