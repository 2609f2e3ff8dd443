//! Intake: what comes in from hints and sweeps.

use super::{Dispatcher, Mode};
use crate::dispatch::lanes::Report;
use crate::dispatch::sweeper::{More, SweepFound, SweepKind, SweepReport, Which};
use crate::job::JobId;
use crate::metrics::Counter;
use crate::store::DueJob;
use crate::wakeup::{HINT_BOUND, Hints, SweepCause};
use std::time::Duration;
use tokio::time::Instant;

/// The next page is read when fewer unread jobs wait.
const LOW_WATER: usize = 1_000;
/// No more timers are loaded from the table while there are so many.
const TIMERS_ENOUGH: usize = crate::dispatch::timers::TIMER_BOUND / 2;
/// No more jobs are read while so many wait for slots of their hosts; then there is room for many, or each one that
/// leaves would have the table searched.
const PARKED_ENOUGH: usize = crate::dispatch::waiting::PARKED_BOUND / 2;
/// How long after a failed sweep the next one is tried.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// A workable job that is overdue for longer was not seen by the log.
const LOST_AFTER_MICROS: i64 = 2_000_000;

/// When a sweep that may have come too early is made again.
const LOOKS_AGAIN: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// Why a sweep is made, besides its time.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Reasons {
    pub(super) cause: Option<SweepCause>,
    /// Hints or timers were dropped.
    overflow: bool,
    /// The log was not followed when the sweep was begun.
    degraded: bool,
    /// There may be more for it to find than can be seen yet.
    more_looks: bool,
    /// How often it was made for that already.
    looks: usize,
}

impl Reasons {
    pub(super) fn of(cause: SweepCause) -> Reasons {
        Reasons { cause: Some(cause), ..Reasons::default() }
    }
}

impl Dispatcher {
    pub(super) fn on_hints(&mut self, hints: Hints) {
        self.overflow |= hints.backlog;
        self.asked.more_looks |= hints.more_looks;
        self.asked.cause = SweepCause::graver(self.asked.cause, hints.sweep);
        if !hints.jobs.is_empty() {
            self.look_at_owners_soon();
        }
        for job in hints.jobs {
            if self.is_ours_first(job) {
                self.add(job);
            }
        }
    }

    fn add(&mut self, job: JobId) {
        if self.waiting.unread() >= HINT_BOUND {
            self.overflow = true;
        } else {
            self.waiting.add(job);
        }
    }

    /// Starts a sweep that is due, or reads the next page when little is left of the last one.
    pub(super) fn start_sweep(&mut self) {
        let room = self.waiting.unread() < LOW_WATER && self.waiting.parked() < PARKED_ENOUGH;
        let few_timers = self.timers.len() < TIMERS_ENOUGH || self.parts.mode == Mode::Once;
        // While there are many timers, what is due is read all the same.
        let which = if few_timers { Which::DueSoon } else { Which::Due };
        let overflow = self.overflow || (self.timers_dropped && few_timers);
        let sweep = self.sweep_due || self.asked.cause.is_some() || (overflow && room);
        let refill = room && (self.more == More::Due || (self.more == More::DueSoon && few_timers));
        if !(sweep || refill) {
            return;
        }
        let Some(sweeper) = self.idle_sweeper.take() else { return };
        if sweep {
            // What is rung from now on is for the next sweep: this one may have looked already. The reasons of one that
            // failed are still there.
            let before = self.sweeping_because;
            // One that is planned for later is still to come.
            let due = self.look_again.take_if(|(at, _)| *at <= Instant::now());
            let again = due.map_or_else(Reasons::default, |(_, again)| again);
            let asked = std::mem::take(&mut self.asked);
            let degraded = self.parts.sweep_pace.borrow().degraded;
            // What came before the start has been found. One that looked once more and failed finds what came since then.
            let is_over = |cause: &SweepCause| *cause == SweepCause::Start && degraded && self.last_sweep.is_some();
            let has_failed = before.cause.as_ref().is_some_and(is_over);
            let mut cause = asked.cause.filter(|cause| !(has_failed && is_over(cause)));
            for earlier in [before.cause, again.cause] {
                cause = SweepCause::graver(cause, earlier.filter(|cause| !is_over(cause)));
            }
            self.sweeping_because = Reasons {
                cause,
                overflow: overflow || before.overflow || again.overflow,
                degraded: degraded || before.degraded,
                more_looks: asked.more_looks || overflow || before.more_looks || again.more_looks,
                // While there is more than can be kept, hints are dropped all the time, and are no news.
                looks: if asked.more_looks || (overflow && room) { 0 } else { before.looks.max(again.looks) },
            };
            (self.sweep_due, self.overflow) = (false, false);
            self.timers_dropped &= !few_timers;
            let ended = std::mem::take(&mut self.ended);
            self.being_rescued.clone_from(&ended);
            self.lanes.spawn(async move { Report::Swept(Box::new(sweeper.sweep(ended).await)) });
        } else {
            self.lanes.spawn(async move { Report::Swept(Box::new(sweeper.refill(which).await)) });
        }
    }

    pub(super) fn on_swept(&mut self, report: SweepReport) {
        self.idle_sweeper = Some(report.sweeper);
        let mut gone = std::mem::take(&mut self.being_rescued);
        match report.found {
            Ok(found) if report.kind == SweepKind::Leftovers => self.take_leftovers(&found),
            Ok(found) => {
                let (kind, jobs, rescued) = (report.kind, found.jobs.len(), found.rescued.len());
                let gap = found.log_begun_anew.then_some(SweepCause::Gap);
                let before = self.sweeping_because;
                let because = Reasons { cause: SweepCause::graver(before.cause, gap), ..before };
                tracing::debug!(?kind, jobs, rescued, more = ?found.more, ?because, "the table was searched");
                if kind == SweepKind::Whole {
                    self.sweeping_because = Reasons::default();
                    // What the log has told of by now is no loss of it.
                    let hints = self.parts.wakeup.take();
                    self.on_hints(hints);
                    // Those too that turned out to be gone meanwhile.
                    gone.extend_from_slice(&self.ended);
                    self.count_lost(because, &found, &gone);
                    // Made again a moment later, it would find them as they were.
                    if because.looks == 0 {
                        self.refused.clear();
                    }
                    if let Some(stuck) = found.stuck {
                        self.on_stuck(stuck, &gone, because.cause.is_none() && because.looks == 0);
                    } else {
                        // The next one goes on from there.
                        self.ended = std::mem::take(&mut gone);
                        self.asked.cause = SweepCause::graver(self.asked.cause, because.cause);
                        self.sweep_due = true;
                    }
                }
                self.last_sweep = Some(Instant::now());
                self.more = found.more;
                if kind == SweepKind::Whole {
                    self.on_owners(found.owners);
                }
                found.jobs.into_iter().for_each(|job| self.take_in(job));
                if report.kind == SweepKind::Whole {
                    self.plan_more_looks(because);
                    self.plan_sweep();
                }
            }
            // Nobody would mend it meanwhile: what is called already is finished, and that is all.
            Err(error) if self.parts.mode == Mode::Once => self.failure = Some(error),
            Err(error) => {
                tracing::warn!(%error, "the sweep failed; trying again");
                // The next one looks at their locks again.
                self.ended.append(&mut gone);
                self.more = More::Nothing;
                self.next_sweep = Instant::now() + AFTER_FAILURE;
            }
        }
    }

    /// Plans the next sweep from now on.
    pub(super) fn plan_sweep(&mut self) {
        let in_time = Instant::now() + self.parts.sweep_pace.borrow_and_update().interval;
        self.next_sweep = self.look_again.map_or(in_time, |(at, _)| at.min(in_time));
    }

    fn plan_more_looks(&mut self, because: Reasons) {
        let pause = LOOKS_AGAIN.get(because.looks).filter(|_| because.more_looks);
        let more = Reasons { looks: because.looks + 1, degraded: false, ..because };
        // One that stands there was planned while this one was under way.
        let planned = pause.map(|pause| (Instant::now() + *pause, more));
        self.look_again = planned.or(self.look_again);
    }

    /// What the log showed and SQL does not is looked for once more, by a sweep.
    pub(super) fn sweep_before_long(&mut self) {
        let (Some(last), None) = (LOOKS_AGAIN.last(), self.look_again) else { return };
        let at = Instant::now() + *last;
        self.look_again = Some((at, Reasons::default()));
        self.next_sweep = self.next_sweep.min(at);
    }

    fn take_in(&mut self, job: DueJob) {
        if self.waiting.knows(job.id) || self.refused.contains(&job.id) || !self.is_ours_first(job.id) {
            return;
        }
        if job.due_in_micros <= 0 {
            self.timers.cancel(job.id);
            self.add(job.id);
        } else if self.parts.mode == Mode::Serve && !self.misses.contains_key(&job.id) {
            // One that is looked for may have become due since this was read.
            self.set_timer(job.id, Instant::now() + job.due_in());
        }
    }

    /// What is further away than the horizon needs no timer: sweeps find it in time.
    pub(super) fn set_timer(&mut self, job: JobId, at: Instant) {
        if at > Instant::now() + self.parts.horizon {
            self.timers.cancel(job);
        } else if !self.timers.set(job, at) {
            self.timers_dropped = self.parts.mode == Mode::Serve;
        }
    }

    /// The loss ledger: workable jobs that are overdue and that nobody told us of, by cause. While a backlog is
    /// being worked off, jobs are meant to be found by the sweep. What was left to dispatchers that have turned out to be
    /// gone was told of, and not kept.
    fn count_lost(&self, because: Reasons, found: &SweepFound, gone: &[String]) {
        let Reasons { cause, overflow, degraded, .. } = because;
        // What was told of and not kept can't be told from what was not told of; at a start, nothing has been yet.
        let unclear = overflow && !matches!(cause, Some(SweepCause::Start | SweepCause::Gap));
        if unclear
            || self.more != More::Nothing
            || self.overflow
            || self.timers_dropped
            || self.parts.mode == Mode::Once
        {
            return;
        }
        let overdue = found.jobs.iter().filter(|job| job.due_in_micros < -LOST_AFTER_MICROS);
        // One that is locked or not to be seen yet waits for its next look, and one for later for its time, by our clock.
        let told = |job: &JobId| {
            let waits = self.waiting.knows(*job) || self.timers.has(*job);
            waits || self.misses.contains_key(job) || self.refused.contains(job)
        };
        let lost = overdue
            .filter(|job| self.homes.is_ours_beside(job.id, gone))
            .filter(|job| !told(&job.id) && !found.rescued.contains(&job.id))
            .count();
        let counter = match cause {
            Some(SweepCause::Start) => Counter::LostToDown,
            // The log goes on where it broke off, and is about to show them.
            Some(SweepCause::Resumed) => return,
            Some(SweepCause::Gap) => Counter::LostToGap,
            Some(SweepCause::Unreadable | SweepCause::Statement | SweepCause::PreparedCommit) => Counter::LostToDecode,
            Some(SweepCause::PeerGone) | None if degraded || self.parts.sweep_pace.borrow().degraded => {
                Counter::LostToDegraded
            }
            Some(SweepCause::PeerGone) | None => Counter::LostToVisibility,
        };
        if lost > 0 {
            self.parts.metrics.add(counter, lost as u64);
            tracing::info!(jobs = lost, cause = counter.name(), "the sweep found jobs that the log had not shown");
        }
    }
}
