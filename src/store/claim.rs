//! Claim: make hinted rows ours, in one round trip and one short transaction.
//!
//! The log shows a row before SQL can see or lock it, so "no row" is no answer: every hinted id that was not
//! claimed comes back with the reason, and the caller tries it again.

use super::bounds::within_deadline;
use super::claim_sql::{claim_around_locks_sql, claim_sql};
use super::error::StoreError;
use super::lone_claim;
use super::row::{ClaimTerms, ClaimToken, ClaimedJob};
use super::seen_row::{Asked, Missed, SeenRow};
use super::session::{Lease, Session};
use super::transaction::rollback_sql;
use super::unanswered::Kind;
use crate::failpoints::failpoint;
use crate::job::JobId;
use mysql_async::Row;
use mysql_async::prelude::Queryable;
use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

/// What a claim brought.
#[derive(Debug, Default)]
pub struct Claim {
    /// The jobs that are ours now.
    pub jobs: Vec<ClaimedJob>,
    /// The hinted ids that are not, each with the reason.
    pub missed: Vec<(JobId, Missed)>,
    /// The dispatchers that have the taken ones, or had those that are done.
    pub peers: BTreeSet<String>,
    /// Jobs among the missed ones that are our own under another token. Nobody calls them, and they must be given
    /// back: a claim whose answer was lost was still under way in the server when it was sent again, so that its rows
    /// seemed to be locked by others, and they were looked at later by a claim with a token of its own.
    pub strays: Vec<(JobId, ClaimToken)>,
}

impl Claim {
    /// Whether rows were locked that may be ours soon.
    #[must_use]
    pub fn has_locked(&self) -> bool {
        self.missed.iter().any(|(_, reason)| *reason == Missed::Locked)
    }
}

/// Claims those of the jobs that are workable now, in one round trip: no lock of ours waits for the network.
///
/// When the answer was lost, call it again with the same token: rows that were claimed then are told as ours.
pub async fn claim(
    session: &mut Session,
    terms: &ClaimTerms,
    token: ClaimToken,
    jobs: &[JobId],
) -> Result<Claim, StoreError> {
    if jobs.is_empty() {
        return Ok(Claim::default());
    }
    let asked = Asked { token, at: Instant::now(), terms };
    within_deadline(session.bounds().of_a_write(), async {
        failpoint!("before-claim", StoreError::Connection("a failpoint".to_owned()));
        let mut lease = session.lease_for(Kind::Claim).await?;
        let claim = loop {
            let usual = match jobs {
                [job] => lone_claim::try_claim(&mut lease, terms, token, *job).await,
                _ => claim_batch(&mut lease, terms, token, jobs).await,
            };
            match usual {
                Err(error) if error.says_locked() => {
                    let (free, rows) = claim_around_locks(&mut lease, terms, token, jobs).await?;
                    // A locked row shows what it was before a change that the log may have shown already.
                    let locked_or =
                        |row: &SeenRow, reason| if free.contains(&row.job.id) { reason } else { Missed::Locked };
                    let missed = |row: &SeenRow| row.missed_after().map(|reason| locked_or(row, reason));
                    break sort_out(jobs, &asked, rows, missed)?.0;
                }
                usual => {
                    let Usual { rows, taken } = usual?;
                    let (claim, told) = sort_out(jobs, &asked, rows, SeenRow::missed_before)?;
                    if taken <= told {
                        break claim;
                    }
                    // A row that nobody saw was taken with them. Asked again, it is told as ours.
                }
            }
        };
        failpoint!("claim-committed", StoreError::Connection("a failpoint".to_owned()));
        lease.keep();
        Ok(claim)
    })
    .await
}

/// What the usual claim brought.
pub(super) struct Usual {
    /// The rows as they were before it.
    rows: Vec<Row>,
    /// How many it took. More than the rows show, where one was inserted under a number that was looked for already, as
    /// happens after `TRUNCATE`: no lock of ours keeps it from coming after the look and before the UPDATE.
    taken: u64,
}

/// The usual claim.
pub(super) async fn claim_batch(
    lease: &mut Lease<'_>,
    terms: &ClaimTerms,
    token: ClaimToken,
    jobs: &[JobId],
) -> Result<Usual, StoreError> {
    read_usual(lease, claim_sql(terms, token, jobs), 3).await
}

/// The claim that passes over locked rows: the ids of those that nobody held locked after it, and all the rows as SQL
/// shows them.
async fn claim_around_locks(
    lease: &mut Lease<'_>,
    terms: &ClaimTerms,
    token: ClaimToken,
    jobs: &[JobId],
) -> Result<(HashSet<JobId>, Vec<Row>), StoreError> {
    let sql = format!("{}; {}", rollback_sql(), claim_around_locks_sql(terms, token, jobs));
    let mut results = lease.conn().query_iter(sql).await?;
    for _ in 0..4 {
        results.collect::<Row>().await?;
    }
    let free: Vec<u64> = results.collect().await?;
    let rows = results.collect().await?;
    results.drop_result().await?;
    Ok((free.into_iter().map(JobId).collect(), rows))
}

/// Runs the statements of the usual claim, of which so many come before its SELECT.
pub(super) async fn read_usual(lease: &mut Lease<'_>, sql: String, others: usize) -> Result<Usual, StoreError> {
    let mut results = lease.conn().query_iter(sql).await?;
    for _ in 0..others {
        results.collect::<Row>().await?;
    }
    let rows = results.collect().await?;
    // The end of one result brings the next one's beginning, which is all that an UPDATE has.
    let taken = results.affected_rows();
    results.drop_result().await?;
    Ok(Usual { rows, taken })
}

/// What the rows say; and how many of the jobs were not ours when they were read.
fn sort_out(
    hinted: &[JobId],
    asked: &Asked<'_>,
    rows: Vec<Row>,
    missed: impl Fn(&SeenRow) -> Option<Missed>,
) -> Result<(Claim, u64), StoreError> {
    let mut new = 0;
    let mut claim = Claim { jobs: Vec::with_capacity(rows.len()), ..Claim::default() };
    let mut seen = HashSet::with_capacity(rows.len());
    for row in rows {
        let seen_row = SeenRow::read(row, asked)?;
        seen.insert(seen_row.job.id);
        match missed(&seen_row) {
            None => {
                new += u64::from(!seen_row.was_claimed());
                claim.jobs.push(seen_row.job);
            }
            Some(Missed::Taken) if seen_row.owner.as_ref() == Some(&asked.terms.dispatcher) => {
                claim.strays.extend(seen_row.other_token.map(|token| (seen_row.job.id, token)));
                claim.missed.push((seen_row.job.id, Missed::Locked));
            }
            Some(reason) => {
                claim.missed.push((seen_row.job.id, reason));
                claim.peers.extend(seen_row.owner.filter(|_| matches!(reason, Missed::Taken | Missed::Final)));
            }
        }
    }
    let invisible = hinted.iter().filter(|job| !seen.contains(job)).map(|job| (*job, Missed::Invisible));
    claim.missed.extend(invisible);
    Ok((claim, new))
}
