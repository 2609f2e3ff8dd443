//! Transactions that may take several round trips, if only after an error: row locks wait for the network in between.
//!
//! Were we to vanish without a word, with our machine or behind a broken network, the server would keep the locks for as
//! long as it keeps the connection, which may idle for ever. So in such a transaction it may be silent for no longer
//! than a deed may take.

use super::options::DEED_DEADLINE;
use super::options::WAIT_TIMEOUT_SECS;

/// Begins one. Gives two empty results.
pub(super) fn begin_sql() -> String {
    format!("SET SESSION wait_timeout = {}; START TRANSACTION", DEED_DEADLINE.as_secs())
}

/// Commits it; the connection may idle again.
pub(super) fn commit_sql() -> String {
    format!("COMMIT; {}", idle_sql())
}

/// Takes it back. Gives two empty results.
pub(super) fn rollback_sql() -> String {
    format!("ROLLBACK; {}", idle_sql())
}

fn idle_sql() -> String {
    format!("SET SESSION wait_timeout = {WAIT_TIMEOUT_SECS}")
}
