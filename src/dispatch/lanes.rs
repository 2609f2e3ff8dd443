//! Lanes: what the dispatcher has done for it beside its loop: claims, looks at URLs, the watch over other dispatchers.
//! Each takes a session along and brings it back with its report.

use super::request::host_key;
use super::slots::HostKey;
use super::sweeper::SweepReport;
use crate::job::JobId;
use crate::reconnect::ReconnectPauses;
use crate::store::{
    Claim, ClaimTerms, ClaimToken, JobOwner, Missed, Session, StoreError, await_owner_end, claim, confirm_ends,
    read_owners, read_urls, release, try_to_write,
};
use std::future::Future;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What came back.
#[derive(Debug)]
pub enum Report {
    /// A claim is over.
    Claimed {
        /// The lane's session.
        lane: Session,
        /// What the claim was for.
        order: ClaimOrder,
        /// What it brought; none when a stop ended it first.
        claim: Option<Claim>,
    },
    /// The hosts of these jobs are known now; jobs that SQL did not show have none.
    Hosts {
        /// The lane's session.
        lane: Session,
        /// The jobs, each with its host.
        hosts: Vec<(JobId, Option<HostKey>)>,
    },
    /// Another dispatcher was watched.
    Peer {
        /// Its name.
        name: String,
        /// Whether it has ended.
        gone: bool,
    },
    /// Other dispatchers were looked at.
    Suspects {
        /// The lane's session.
        lane: Session,
        /// Those that have ended.
        ended: Vec<String>,
    },
    /// It was looked who has jobs.
    Owners {
        /// The lane's session.
        lane: Session,
        /// The dispatchers that have any; none when the database did not say.
        owners: Option<Vec<JobOwner>>,
    },
    /// A sweep or a refill is over.
    Swept(Box<SweepReport>),
}

/// What a claim is for.
#[derive(Debug)]
pub struct ClaimOrder {
    /// Jobs whose hosts are not known: they were promised slots.
    pub unread: Vec<JobId>,
    /// Jobs whose hosts are known: they hold a slot each.
    pub parked: Vec<(JobId, HostKey)>,
}

impl ClaimOrder {
    /// All the jobs, in key order: rows are locked in that order.
    pub fn jobs(&self) -> Vec<JobId> {
        let parked = self.parked.iter().map(|(job, _)| *job);
        let mut jobs: Vec<JobId> = self.unread.iter().copied().chain(parked).collect();
        jobs.sort_unstable();
        jobs
    }
}

/// How long a stop waits to learn what a claim brought whose answer was lost: less than the last step of a stop.
const LEARN_FOR: Duration = Duration::from_millis(800);
const LEARN_EVERY: Duration = Duration::from_millis(50);

/// Claims, however long the database is away. A claim whose answer was lost is asked about under its own token.
pub async fn claim_lane(mut lane: Session, terms: ClaimTerms, order: ClaimOrder, stop: CancellationToken) -> Report {
    let (token, jobs) = (ClaimToken::draw(), order.jobs());
    let (mut pauses, mut unsure) = (ReconnectPauses::default(), false);
    loop {
        let claimed = match claim(&mut lane, &terms, token, &jobs).await {
            Ok(claim) => {
                give_back(&mut lane, &claim.strays).await;
                Ok(claim)
            }
            Err(error) if is_of_their_rows(&mut lane, &error).await => {
                claim_one_by_one(&mut lane, &terms, token, &jobs).await
            }
            Err(error) => Err(error),
        };
        match claimed {
            Ok(claim) => return Report::Claimed { lane, order, claim: Some(claim) },
            Err(error) => {
                // What the server refused, it did not do.
                unsure |= error.code().is_none();
                report_failure(&error, jobs.len());
            }
        }
        if paused_until_stop(&lane, &mut pauses, &stop).await {
            let claim = if unsure { learn(&mut lane, &terms, token, &jobs).await } else { None };
            return Report::Claimed { lane, order, claim };
        }
    }
}

/// Learns at a stop what a claim brought whose answer was lost, so that its jobs are given back: nobody would call them.
/// None when the database does not say in time.
async fn learn(lane: &mut Session, terms: &ClaimTerms, token: ClaimToken, jobs: &[JobId]) -> Option<Claim> {
    let mut learned = None;
    let learning = async {
        loop {
            if let Ok(claim) = claim(lane, terms, token, jobs).await {
                give_back(lane, &claim.strays).await;
                // The server may be at it still.
                let is_whole = claim.missed.iter().all(|(_, reason)| *reason != Missed::Locked);
                learned = Some(claim);
                if is_whole {
                    return;
                }
            }
            tokio::time::sleep(LEARN_EVERY).await;
        }
    };
    if tokio::time::timeout(LEARN_FOR, learning).await.is_err() {
        tracing::warn!(
            jobs = jobs.len(),
            "jobs may have been claimed, and are not given back; they are taken back later"
        );
    }
    learned
}

/// A row that can't be claimed or read fails alone: it is left where it is, and a later sweep finds it again.
async fn claim_one_by_one(
    lane: &mut Session,
    terms: &ClaimTerms,
    token: ClaimToken,
    jobs: &[JobId],
) -> Result<Claim, StoreError> {
    let mut all = Claim::default();
    for job in jobs {
        match claim(lane, terms, token, &[*job]).await {
            Ok(one) => {
                give_back(lane, &one.strays).await;
                all.jobs.extend(one.jobs);
                all.missed.extend(one.missed);
                all.peers.extend(one.peers);
            }
            Err(error) if is_of_their_rows(lane, &error).await => {
                tracing::error!(job = job.0, %error, "a job could not be claimed, and is left alone until a later sweep");
                all.missed.push((*job, Missed::Refused));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Whether the server refused these rows, or they can't be read, and it would take others.
async fn is_of_their_rows(lane: &mut Session, error: &StoreError) -> bool {
    error.is_of_the_rows() && try_to_write(lane).await.is_ok()
}

/// Gives jobs back that were claimed without our knowing. If that fails, they are found again, for they are looked at
/// again as locked ones are.
async fn give_back(lane: &mut Session, strays: &[(JobId, ClaimToken)]) {
    if let Err(error) = release(lane, strays, &[]).await {
        tracing::warn!(%error, jobs = strays.len(), "jobs whose claim had been lost are not given back yet");
    }
}

/// Learns the hosts of jobs.
pub async fn hosts_lane(mut lane: Session, jobs: Vec<JobId>, stop: CancellationToken) -> Report {
    let mut pauses = ReconnectPauses::default();
    let found = loop {
        match read_urls(&mut lane, &jobs).await {
            Ok(found) => break found,
            Err(error) => report_failure(&error, jobs.len()),
        }
        if paused_until_stop(&lane, &mut pauses, &stop).await {
            break Vec::new();
        }
    };
    let known: std::collections::HashMap<JobId, HostKey> =
        found.iter().map(|(job, url)| (*job, host_key(url))).collect();
    let hosts = jobs.into_iter().map(|job| (job, known.get(&job).cloned())).collect();
    Report::Hosts { lane, hosts }
}

/// Watches another dispatcher until it ends. One whose connections were only cut has its lock again within a second,
/// and is watched on.
pub async fn peer_lane(mut lane: Session, name: String, stop: CancellationToken) -> Report {
    let names = [name];
    let watching = async {
        loop {
            if await_owner_end(&mut lane, &names[0]).await? && !confirm_ends(&mut lane, &names).await?.is_empty() {
                return Ok(true);
            }
        }
    };
    let gone = until_stop(watching, &stop).await.unwrap_or(false);
    let [name] = names;
    Report::Peer { name, gone }
}

/// Finds out which of other dispatchers have ended.
pub async fn suspects_lane(mut lane: Session, names: Vec<String>, stop: CancellationToken) -> Report {
    let ended = until_stop(confirm_ends(&mut lane, &names), &stop).await.unwrap_or_default();
    Report::Suspects { lane, ended }
}

/// Looks who has jobs.
pub async fn owners_lane(mut lane: Session, stop: CancellationToken) -> Report {
    let owners = until_stop(read_owners(&mut lane), &stop).await;
    Report::Owners { lane, owners }
}

async fn until_stop<T>(watching: impl Future<Output = Result<T, StoreError>>, stop: &CancellationToken) -> Option<T> {
    let watched = stop.run_until_cancelled(watching).await?;
    watched.inspect_err(|error| tracing::debug!(%error, "other dispatchers cannot be watched now")).ok()
}

fn report_failure(error: &StoreError, jobs: usize) {
    if error.is_lock_conflict() {
        tracing::debug!(%error, jobs, "claim crossed another's locks; trying again");
    } else {
        tracing::warn!(%error, jobs, "jobs not claimed yet; trying again");
    }
}

async fn paused_until_stop(lane: &Session, pauses: &mut ReconnectPauses, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = lane.pause(pauses.next_pause()) => false,
    }
}
