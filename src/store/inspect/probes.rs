//! Probes: whether the account may do each deed, by trying it on no row.

use crate::store::error::StoreError;
use crate::store::grants::Scope;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// A deed that is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    /// The privilege that it needs.
    pub(super) privilege: &'static str,
    /// On what.
    pub(super) scope: Scope,
    sql: &'static str,
}

/// The deeds of the service. Each names all columns that we read or write.
pub(super) const PROBES: [Probe; 5] = [
    Probe {
        privilege: "SELECT",
        scope: Scope::Table("queued_job"),
        sql: "SELECT id, http_method, url, body, timeout_secs, last_finished_at, last_response, result_code, \
              remaining_retries, retry_delay_secs, state, run_at, attempt, claimed_by, claim_token, claim_expires_at \
              FROM queued_job WHERE 1 = 0",
    },
    Probe {
        privilege: "UPDATE",
        scope: Scope::Table("queued_job"),
        sql: "UPDATE queued_job SET state = 'available', run_at = NOW(6), attempt = 0, url = '', result_code = NULL, \
              last_started_at = NULL, last_finished_at = NULL, last_response = NULL, remaining_retries = 0, \
              retry_delay_secs = 0, claimed_by = NULL, claim_token = NULL, claim_expires_at = NULL WHERE 1 = 0",
    },
    Probe {
        privilege: "SELECT",
        scope: Scope::Table("queued_job_log"),
        sql: "SELECT job_id, created_at FROM queued_job_log WHERE 1 = 0",
    },
    Probe {
        privilege: "INSERT",
        scope: Scope::Table("queued_job_log"),
        sql: "INSERT INTO queued_job_log (job_id, msg, created_at) SELECT 1, '', NOW(6) FROM DUAL WHERE 1 = 0",
    },
    Probe {
        privilege: "SELECT",
        scope: Scope::Table("queued_job_migration"),
        sql: "SELECT version FROM queued_job_migration WHERE 1 = 0",
    },
];

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tried {
    /// It went well.
    Allowed,
    /// The privilege is missing. To an account without any right on a table, a missing table looks so too.
    Denied,
    /// Nobody may write now.
    ReadOnly,
    /// A table or a column is missing, which says nothing about the privilege.
    NothingThere,
    /// It failed in another way.
    Failed(String),
}

/// Tries all of them, with the server's answers.
pub(super) async fn try_all(conn: &mut Conn) -> Result<Vec<(Probe, Tried)>, StoreError> {
    let mut tried = Vec::with_capacity(PROBES.len());
    for probe in PROBES {
        let answer = conn.query_drop(probe.sql).await.map_err(StoreError::from);
        tried.push((probe, outcome(answer)?));
    }
    Ok(tried)
}

/// The server's error numbers are those of its error reference.
fn outcome(answer: Result<(), StoreError>) -> Result<Tried, StoreError> {
    match answer {
        Ok(()) => Ok(Tried::Allowed),
        Err(StoreError::Server { code: 1044 | 1142 | 1143 | 1227, .. }) => Ok(Tried::Denied),
        Err(StoreError::Server { code: 1290 | 1836, .. }) => Ok(Tried::ReadOnly),
        Err(StoreError::Server { code: 1054 | 1146, .. }) => Ok(Tried::NothingThere),
        Err(error @ StoreError::Server { .. }) => Ok(Tried::Failed(error.to_string())),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16) -> Result<(), StoreError> {
        Err(StoreError::Server { code, message: "no".to_owned() })
    }

    #[test]
    fn the_servers_answers_are_told_apart() {
        assert_eq!(outcome(Ok(())).unwrap(), Tried::Allowed);
        assert_eq!(outcome(server(1142)).unwrap(), Tried::Denied);
        assert_eq!(outcome(server(1290)).unwrap(), Tried::ReadOnly);
        assert_eq!(outcome(server(1146)).unwrap(), Tried::NothingThere);
        assert_eq!(outcome(server(1205)).unwrap(), Tried::Failed("the database answered error 1205: no".to_owned()));
        assert!(outcome(Err(StoreError::Deadline(1))).is_err());
    }
}
