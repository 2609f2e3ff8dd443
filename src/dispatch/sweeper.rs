//! Sweeper: reconciles with the table: proves that we live, takes jobs back from the dead, reads the backlog.

use super::log_question::LogQuestion;
use crate::followed::Followed;
use crate::job::{JobId, JobState, Move};
use crate::metrics::{Counter, Metrics};
use crate::store::{
    DueJob, JobOwner, PageEnd, Rescued, Session, StoreError, leave_read_only, read_backlog, read_owners, rescue,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

/// How many rows of each state one page holds.
const PAGE_ROWS: usize = 2_000;
/// The states whose rows are workable once they are due.
const WORKABLE: &[JobState] = Move::Claim.sources();

/// How long a sweep goes on past jobs that can't be taken back; the backlog waits for it. The next sweep goes on from there.
const IN_VAIN_FOR: Duration = Duration::from_secs(10);

/// How long a sweep waits for our own lock.
const OWN_LOCK: Duration = Duration::from_secs(1);

/// Our own lock, as the task that keeps it tells.
#[derive(Debug)]
pub struct OwnLock {
    /// Our name.
    pub dispatcher: String,
    /// Whether the lock is held.
    pub held: watch::Receiver<bool>,
}

/// Sweeps. Owned by the dispatcher, and lent to one sweep at a time.
#[derive(Debug)]
pub struct Sweeper {
    /// The connection for the sweep's queries.
    pub session: Session,
    /// The lock that shows we are alive.
    pub own_lock: OwnLock,
    /// Whether the log was begun anew.
    log_question: LogQuestion,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Jobs that fall due within this are read too, and get timers.
    pub horizon: Duration,
    /// Behind which job the next sweep goes on to take jobs back; 0: the last one came to the end.
    rescues_after: JobId,
    /// Whose jobs can't be taken back, of those that were looked at since the first one.
    stuck: Vec<String>,
    /// Where the next page of each workable state begins; none when it was read to its end.
    ends: [Option<PageEnd>; 2],
}

/// What a sweep or a refill brought.
#[derive(Debug)]
pub struct SweepReport {
    /// The sweeper, back.
    pub sweeper: Sweeper,
    /// What was done.
    pub kind: SweepKind,
    /// What it found, or why not.
    pub found: Result<SweepFound, StoreError>,
}

/// What a sweeper does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepKind {
    /// A whole sweep.
    Whole,
    /// The next page of the backlog.
    NextPage,
    /// The beginning of the backlog, for what other dispatchers left.
    Leftovers,
}

/// Which jobs a page is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that are due, and those that fall due soon.
    DueSoon,
    /// Those that are due.
    Due,
}

/// What the pages hold that were not read yet.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// There are none.
    #[default]
    Nothing,
    /// Jobs that fall due soon.
    DueSoon,
    /// Jobs that are due, too.
    Due,
}

/// What was found.
#[derive(Debug, Default)]
pub struct SweepFound {
    /// Workable jobs, due or soon due.
    pub jobs: Vec<DueJob>,
    /// Jobs taken back from the dead; due now, and among the jobs of a later page.
    pub rescued: Vec<JobId>,
    /// Those whose jobs the server lets nobody take back; none while not all of these were looked at, which the next sweep
    /// goes on with.
    pub stuck: Option<Vec<String>>,
    /// The log was begun anew, and the stream had not shown it.
    pub log_begun_anew: bool,
    /// The dispatchers that have jobs now.
    pub owners: Vec<JobOwner>,
    /// What there is beyond this page.
    pub more: More,
    /// How long until the next one is due, where all that are due were found.
    pub next_due: Option<Duration>,
}

impl Sweeper {
    /// A sweeper that has read nothing yet.
    #[must_use]
    pub fn new(
        (session, own_lock): (Session, OwnLock),
        followed: Arc<Followed>,
        metrics: Arc<Metrics>,
        horizon: Duration,
    ) -> Sweeper {
        Sweeper {
            session,
            own_lock,
            log_question: LogQuestion::new(followed),
            metrics,
            horizon,
            rescues_after: JobId(0),
            stuck: Vec::new(),
            ends: [None, None],
        }
    }

    /// Makes a whole sweep: owner, rescue (also from those dispatchers that are known to have ended), and the first
    /// page of the backlog.
    pub async fn sweep(mut self, ended: Vec<String>) -> SweepReport {
        self.metrics.increment(Counter::Sweeps);
        self.ends = [Some(PageEnd::default()), Some(PageEnd::default())];
        let found = match self.try_sweep(&ended).await {
            // A connection that broke since the last sweep shows it only when it is used; the second try has a new one.
            Err(StoreError::Connection(_)) => self.try_sweep(&ended).await,
            other => other,
        };
        SweepReport { sweeper: self, kind: SweepKind::Whole, found }
    }

    /// Reads the beginning of the backlog, and only what is due; and when there is more.
    pub async fn first_page(mut self) -> SweepReport {
        let found = self.try_first_page().await;
        SweepReport { sweeper: self, kind: SweepKind::Leftovers, found }
    }

    async fn try_first_page(&mut self) -> Result<SweepFound, StoreError> {
        let mut found = SweepFound::default();
        for state in WORKABLE {
            let due = (&PageEnd::default(), Duration::ZERO);
            let page = read_backlog(&mut self.session, *state, due, PAGE_ROWS).await?;
            found.jobs.extend(page.jobs);
            if page.end.is_none() {
                let behind = (&page.last.unwrap_or_default(), self.horizon);
                let next = read_backlog(&mut self.session, *state, behind, 1).await?;
                found.next_due = found.next_due.into_iter().chain(next.jobs.first().map(|job| job.due_in())).min();
            }
        }
        found.jobs.sort_unstable_by_key(|job| (job.due_in_micros, job.id));
        Ok(found)
    }

    /// Reads the next page.
    pub async fn refill(mut self, which: Which) -> SweepReport {
        let found = self.next_page(which).await;
        SweepReport { sweeper: self, kind: SweepKind::NextPage, found }
    }

    async fn try_sweep(&mut self, ended: &[String]) -> Result<SweepFound, StoreError> {
        leave_read_only(&mut self.session).await?;
        // Others must see that we live before we claim. If the lock can't be had, jobs are still ours until their
        // claims expire, and the rest of the sweep is as needed as ever.
        let _ = timeout(OWN_LOCK, self.own_lock.held.wait_for(|held| *held)).await;
        let log_begun_anew = self.log_question.is_begun_anew(&mut self.session).await;
        let (rescued, stuck) = self.rescue_all(ended).await?;
        let owners = read_owners(&mut self.session).await?;
        Ok(SweepFound { rescued, stuck, log_begun_anew, owners, ..self.next_page(Which::DueSoon).await? })
    }

    async fn rescue_all(&mut self, ended: &[String]) -> Result<(Vec<JobId>, Option<Vec<String>>), StoreError> {
        let (begun, mut rescued) = (Instant::now(), Vec::new());
        let mut after = std::mem::replace(&mut self.rescues_after, JobId(0));
        let (begun_after, mut from_the_first) = (after, after == JobId(0));
        if from_the_first {
            self.stuck.clear();
        }
        loop {
            let Rescued { jobs, given_up, stuck, up_to } = rescue(&mut self.session, ended, after).await?;
            let comes_on = !jobs.is_empty() && stuck.is_empty();
            if !jobs.is_empty() {
                self.metrics.add(Counter::JobsRescued, jobs.len() as u64);
                self.metrics.add(Counter::JobsGivenUp, given_up as u64);
                tracing::warn!(jobs = jobs.len(), given_up, "jobs taken back from dispatchers that are gone");
            }
            rescued.extend(jobs);
            self.stuck.extend(stuck);
            match up_to {
                Some(last) if comes_on || begun.elapsed() < IN_VAIN_FOR => after = last,
                // The last sweep looked at the others.
                Some(_) if from_the_first && begun_after != JobId(0) => break,
                Some(last) => {
                    self.rescues_after = last;
                    return Ok((rescued, None));
                }
                None if from_the_first => break,
                None => (after, from_the_first) = (JobId(0), true),
            }
        }
        Ok((rescued, Some(std::mem::take(&mut self.stuck))))
    }

    async fn next_page(&mut self, which: Which) -> Result<SweepFound, StoreError> {
        let (mut jobs, mut more_due) = (Vec::new(), false);
        let horizon = if which == Which::Due { Duration::ZERO } else { self.horizon };
        for (state, end) in WORKABLE.iter().copied().zip(&mut self.ends) {
            let Some(from) = end.clone() else { continue };
            let page = read_backlog(&mut self.session, state, (&from, horizon), PAGE_ROWS).await?;
            more_due |= page.end.is_some() && page.jobs.last().is_some_and(|job| job.due_in_micros <= 0);
            match page.end {
                // What falls due soon is still to be read, and begins where it began.
                None if which == Which::Due => {}
                next => *end = next,
            }
            jobs.extend(page.jobs);
        }
        // Oldest first over both states.
        jobs.sort_unstable_by_key(|job| (job.due_in_micros, job.id));
        let more = match self.ends.iter().any(Option::is_some) {
            true if more_due => More::Due,
            true => More::DueSoon,
            false => More::Nothing,
        };
        Ok(SweepFound { jobs, more, ..SweepFound::default() })
    }
}
