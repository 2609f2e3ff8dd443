//! Lanes: what the dispatcher has done for it beside its loop: claims, looks at URLs, the watch over other dispatchers.
//! Each takes a session along and brings it back with its report.

use super::request::host_key;
use super::slots::HostKey;
use super::sweeper::SweepReport;
use crate::job::JobId;
use crate::reconnect::ReconnectPauses;
use crate::store::{
    Claim, ClaimTerms, ClaimToken, JobOwner, Missed, Session, StoreError, await_owner_end, claim, confirm_ends,
    read_owners, read_urls, release, release_claim, try_to_write,
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
        /// Whether jobs may be left that it claimed and nobody calls.
        left: bool,
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

/// How long the jobs of a claim whose answer was lost are looked for at a stop: less than its last step takes.
const LOOK_FOR: Duration = Duration::from_millis(800);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How a stop comes to a claim.
#[derive(Debug, Clone)]
pub struct Stops {
    /// None is begun anew.
    pub told: CancellationToken,
    /// None is waited for.
    pub late: CancellationToken,
}

/// Claims, however long the database is away. A claim whose answer was lost is asked about under its own token; at a stop
/// its jobs are given back, for nobody would call them.
pub async fn claim_lane(mut lane: Session, terms: ClaimTerms, order: ClaimOrder, stops: Stops) -> Report {
    let (token, jobs) = (ClaimToken::draw(), order.jobs());
    let (mut pauses, mut unsure) = (ReconnectPauses::default(), false);
    let claim = loop {
        let claimed = stops.late.run_until_cancelled(claim_these(&mut lane, &terms, token, &jobs)).await;
        match claimed {
            // What is locked may be locked by the claim before, which is under way still.
            Some(Ok(claim)) if unsure && stops.told.is_cancelled() && claim.has_locked() => break None,
            Some(Ok(claim)) => break Some(claim),
            Some(Err(error)) => report_failure(&error, jobs.len()),
            None => {}
        }
        // Some of it may have been done, whatever the error.
        unsure = true;
        if paused_until_stop(&lane, &mut pauses, &stops.told).await {
            break None;
        }
    };
    let left = claim.is_none() && unsure && !is_given_back(&mut lane, token, &jobs).await;
    Report::Claimed { lane, order, claim, left }
}

async fn claim_these(
    lane: &mut Session,
    terms: &ClaimTerms,
    token: ClaimToken,
    jobs: &[JobId],
) -> Result<Claim, StoreError> {
    match claim(lane, terms, token, jobs).await {
        Ok(claim) => {
            give_back(lane, &claim.strays).await;
            Ok(claim)
        }
        Err(error) if is_of_their_rows(lane, &error).await => claim_one_by_one(lane, terms, token, jobs).await,
        Err(error) => Err(error),
    }
}

/// Whether nothing is left of a claim whose answer was lost: what it brought is given back, and no more can come.
async fn is_given_back(lane: &mut Session, token: ClaimToken, jobs: &[JobId]) -> bool {
    let giving_back = async {
        while !release_claim(lane, token, jobs).await.unwrap_or(false) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let given_back = tokio::time::timeout(LOOK_FOR, giving_back).await.is_ok();
    if !given_back {
        tracing::warn!(
            jobs = jobs.len(),
            "jobs may have been claimed, and can't be given back; they are taken back later"
        );
    }
    given_back
}

/// A row that can't be claimed or read fails alone: it is left where it is, and a later sweep finds it again.
async fn claim_one_by_one(
    lane: &mut Session,
    terms: &ClaimTerms,
    token: ClaimToken,
    jobs: &[JobId],
) -> Result<Claim, StoreError> {
    let mut all = Claim::default();
    for (index, job) in jobs.iter().enumerate() {
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
                if matches!(error, StoreError::Unexpected(_)) {
                    // It was claimed before it was read.
                    give_back(lane, &[(*job, token)]).await;
                }
            }
            Err(error) if all.jobs.is_empty() => return Err(error),
            // Those that are claimed need not wait for the others, which are looked at again.
            Err(error) => {
                report_failure(&error, jobs.len() - index);
                all.missed.extend(jobs[index..].iter().map(|job| (*job, Missed::Locked)));
                return Ok(all);
            }
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
