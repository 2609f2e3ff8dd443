//! Rescue: take jobs back from dispatchers that died or outstayed their claim.
//!
//! A live dispatcher holds the named lock of its name; the server frees it with the connection, however the
//! process ended. So a lock that stays free is proof of death, and its jobs need not wait for their claims to expire.

use super::bounds::within_deadline;
use super::error::StoreError;
use super::history::{HistoryLine, history_sql};
use super::literals::id_list;
use super::session::{Lease, Session};
use super::transaction::{begin_sql, commit_sql, rollback_sql};
use super::writable::write_nothing;
use crate::failpoints::failpoint;
use crate::job::{JobId, messages};
use mysql_async::Row;
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};

/// The most jobs one rescue takes back; the rest follow in the next one.
const BATCH: usize = 1_000;

/// An executing row whose claim can't be anybody's any more.
const OUTSTAYED: &str = "(claimed_by IS NULL OR claim_expires_at IS NULL OR claim_expires_at < NOW(6))";
/// The same soon after an outage, or after nobody could write: results of calls that ended meanwhile are about to be written.
const NOBODYS: &str = "(claimed_by IS NULL OR claim_expires_at IS NULL)";
/// One whose owner has no lock. No server takes an empty name as a lock's, and a hand may have written one.
const UNLOCKED: &str = "IF(claimed_by > '', IS_FREE_LOCK(claimed_by), 1) = 1";

/// A row that has had its last try. An application may insert less than none.
const GIVEN_UP: &str = "COALESCE(remaining_retries, 0) <= 0";

/// How long rows are taken back one by one.
const ONE_BY_ONE_FOR: Duration = Duration::from_secs(10);
/// So many of those that can't be taken back are told of one by one.
const TOLD: usize = 10;

/// What a rescue took back.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rescued {
    /// All of them.
    pub jobs: Vec<JobId>,
    /// How many of them are given up.
    pub given_up: usize,
    /// Whose jobs the server lets nobody take back.
    pub stuck: Vec<String>,
    /// The last one that was looked at; none when there are no more.
    pub up_to: Option<JobId>,
}

/// Takes abandoned jobs back, those with higher numbers than `after`. Abandoned: the claim has expired, or the owner is
/// one of those that are known to have ended.
///
/// A rescued job is workable at once and charged a retry, for its call may have happened. With none left it is given
/// up: it is never called more often than its retries allow (`Standing::rescue`). The first SELECT reads the executing
/// rows through the index on state; the second one locks through the primary key and looks again, under the lock,
/// that they are abandoned and under the same claims.
pub async fn rescue(session: &mut Session, ended: &[String], after: JobId) -> Result<Rescued, StoreError> {
    let (settled, outstayed, mut found) = within_deadline(session.bounds().of_a_read(), async {
        let mut lease = session.lease().await?;
        let settled = lease.has_settled();
        let outstayed = if settled && lease.has_written() { OUTSTAYED } else { NOBODYS };
        // They were found to have ended by their locks on another server, or before an outage.
        let ended = if settled { ended } else { &[] };
        let found = find_abandoned(lease.conn(), outstayed, ended, after).await?;
        lease.keep();
        Ok((settled, outstayed, found))
    })
    .await?;
    if found.is_empty() {
        return Ok(Rescued::default());
    }
    within_deadline(session.bounds(), async {
        failpoint!("before-rescue", StoreError::Connection("a failpoint".to_owned()));
        let mut lease = session.lease().await?;
        if settled && !lease.has_settled() {
            return Err(StoreError::Connection("the database was away, and others are still to come back".to_owned()));
        }
        let mut stuck = Vec::new();
        let (locked, outstayed) = lock_while_written(&mut lease, outstayed, &found).await?;
        let taken = take_back(lease.conn(), &locked, &lines(&found, &locked)).await;
        let locked = match taken.map(|()| locked) {
            Err(error) if error.is_refused_data() => {
                rescue_one_by_one(lease.conn(), outstayed, &mut found, &mut stuck).await?
            }
            rescued => rescued?,
        };
        failpoint!("rescue-committed", StoreError::Connection("a failpoint".to_owned()));
        lease.keep();
        let given_up = locked.iter().filter(|(_, given_up)| *given_up).count();
        let up_to = found.last().map(|(id, ..)| JobId(*id));
        Ok(Rescued { jobs: locked.into_iter().map(|(job, _)| job).collect(), given_up, stuck, up_to })
    })
    .await
}

/// As long as no statement takes that waits for nothing.
const WAITED: Duration = Duration::from_secs(2);

/// The statement waits for no row. It may have waited for the table, and nobody could write meanwhile: the results of calls
/// that ended then go first. Gives the condition that holds, too.
async fn lock_while_written<'sql>(
    lease: &mut Lease<'_>,
    outstayed: &'sql str,
    found: &[Abandoned],
) -> Result<(Vec<(JobId, bool)>, &'sql str), StoreError> {
    let begun = Instant::now();
    let locked = lock_abandoned(lease.conn(), outstayed, found).await?;
    if outstayed == NOBODYS || begun.elapsed() < WAITED && lease.has_written() {
        return Ok((locked, outstayed));
    }
    lease.conn().query_drop(rollback_sql()).await?;
    Ok((lock_abandoned(lease.conn(), NOBODYS, found).await?, NOBODYS))
}

async fn rescue_of(
    conn: &mut mysql_async::Conn,
    outstayed: &str,
    found: &[Abandoned],
) -> Result<Vec<(JobId, bool)>, StoreError> {
    let locked = lock_abandoned(conn, outstayed, found).await?;
    take_back(conn, &locked, &lines(found, &locked)).await?;
    Ok(locked)
}

/// Takes one back; without its line, where only that is refused.
async fn rescue_one(
    conn: &mut mysql_async::Conn,
    outstayed: &str,
    one: &[Abandoned],
) -> Result<Vec<(JobId, bool)>, StoreError> {
    conn.query_drop(rollback_sql()).await?;
    match rescue_of(conn, outstayed, one).await {
        Err(error) if error.is_refused_data() => {}
        rescued => return rescued,
    }
    conn.query_drop(rollback_sql()).await?;
    let locked = lock_abandoned(conn, outstayed, one).await?;
    take_back(conn, &locked, &[]).await?;
    Ok(locked)
}

/// A row that the server lets nobody take back, as by a trigger, is left alone, and holds up no other. The owners of such
/// rows are `stuck`. What is not done in time is left to the next call.
async fn rescue_one_by_one(
    conn: &mut mysql_async::Conn,
    outstayed: &str,
    found: &mut Vec<Abandoned>,
    stuck: &mut Vec<String>,
) -> Result<Vec<(JobId, bool)>, StoreError> {
    conn.query_drop(rollback_sql()).await?;
    write_nothing(conn).await?;
    let (begun, mut rescued, mut tried, mut refused) = (Instant::now(), Vec::new(), 0, 0);
    for one in found.chunks(1) {
        if begun.elapsed() > ONE_BY_ONE_FOR {
            break;
        }
        tried += 1;
        match rescue_one(conn, outstayed, one).await {
            Err(error) if error.is_refused_data() => {
                refused += 1;
                if refused <= TOLD {
                    tracing::error!(%error, job = one[0].0, "a job of a dispatcher that is gone can't be taken back");
                }
                stuck.extend(one[0].2.clone().filter(|owner| !stuck.contains(owner)));
            }
            locked => rescued.extend(locked?),
        }
    }
    if refused > TOLD {
        tracing::error!(jobs = refused - TOLD, "more jobs of dispatchers that are gone can't be taken back");
    }
    conn.query_drop(rollback_sql()).await?;
    found.truncate(tried);
    Ok(rescued)
}

/// A row's id, its claim's token and its owner.
type Abandoned = (u64, Option<u64>, Option<String>);

async fn find_abandoned(
    conn: &mut mysql_async::Conn,
    outstayed: &str,
    ended: &[String],
    after: JobId,
) -> Result<Vec<Abandoned>, StoreError> {
    // Placeholders, for these names were read from rows. The empty name is nobody's. No range of numbers is to be read: the
    // few that are executing are found by the index on state.
    let names = vec!["?"; ended.len() + 1].join(", ");
    let sql = format!(
        "SELECT id, claim_token, claimed_by FROM queued_job WHERE state = 'executing' AND id + 0 > {after} \
         AND ({outstayed} OR claimed_by IN ({names}) AND {UNLOCKED}) ORDER BY id LIMIT {BATCH}"
    );
    let names = ended.iter().map(String::as_str).chain([""]).map(mysql_async::Value::from).collect::<Vec<_>>();
    Ok(conn.exec(sql, mysql_async::Params::from(names)).await?)
}

/// Those that are abandoned still, each with whether it is given up; locked from here on.
async fn lock_abandoned(
    conn: &mut mysql_async::Conn,
    outstayed: &str,
    found: &[Abandoned],
) -> Result<Vec<(JobId, bool)>, StoreError> {
    let ids: Vec<JobId> = found.iter().map(|(id, ..)| JobId(*id)).collect();
    // A token has no other use here than a number, and 0 is none.
    let tokens: Vec<JobId> = found.iter().map(|(_, token, _)| JobId(token.unwrap_or(0))).collect();
    let sql = format!(
        "{}; SELECT id, {GIVEN_UP} FROM queued_job FORCE INDEX (PRIMARY) WHERE id IN ({}) \
         AND COALESCE(claim_token, 0) IN ({}) AND state = 'executing' AND ({outstayed} OR {UNLOCKED}) ORDER BY id FOR UPDATE SKIP LOCKED",
        begin_sql(),
        id_list(&ids),
        id_list(&tokens)
    );
    let mut results = conn.query_iter(sql).await?;
    results.collect::<Row>().await?;
    results.collect::<Row>().await?;
    let locked: Vec<(u64, bool)> = results.collect().await?;
    results.drop_result().await?;
    Ok(locked.into_iter().map(|(id, given_up)| (JobId(id), given_up)).collect())
}

async fn take_back(
    conn: &mut mysql_async::Conn,
    rescued: &[(JobId, bool)],
    lines: &[HistoryLine],
) -> Result<(), StoreError> {
    if !rescued.is_empty() {
        let ids: Vec<JobId> = rescued.iter().map(|(job, _)| *job).collect();
        // From left to right: the retry is taken last, for the others look at it.
        let update = format!(
            "UPDATE queued_job FORCE INDEX (PRIMARY) SET state = IF({GIVEN_UP}, 'discarded', 'retryable'), \
             run_at = IF({GIVEN_UP}, run_at, NOW(6)), result_code = IF({GIVEN_UP}, 2, result_code), \
             last_finished_at = IF({GIVEN_UP}, NOW(), last_finished_at), \
             last_response = IF({GIVEN_UP}, '(its dispatcher ended without a result)', last_response), \
             claimed_by = NULL, claim_token = NULL, claim_expires_at = NULL, \
             remaining_retries = IF({GIVEN_UP}, remaining_retries, remaining_retries - 1) WHERE id IN ({})",
            id_list(&ids)
        );
        conn.query_drop(update).await?;
    }
    let insert = history_sql(lines).map(|insert| insert + "; ").unwrap_or_default();
    Ok(conn.query_drop(format!("{insert}{}", commit_sql())).await?)
}

fn lines(found: &[Abandoned], rescued: &[(JobId, bool)]) -> Vec<HistoryLine> {
    let owner_of = |job| found.iter().find(|(id, ..)| JobId(*id) == job).and_then(|(.., owner)| owner.as_deref());
    let line = |(job, given_up): &(JobId, bool)| {
        let tell = if *given_up { messages::given_up } else { messages::rescued };
        HistoryLine { job: *job, message: tell(*job, owner_of(*job).unwrap_or("(unknown)")), at_micros: None }
    };
    rescued.iter().map(line).collect()
}
