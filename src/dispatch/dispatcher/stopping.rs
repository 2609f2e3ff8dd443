//! Stopping: no more claims; calls in flight may end; what does not end in time is given back.

use super::{Dispatcher, Mode};
use crate::dispatch::sweeper::More;
use std::time::Duration;
use tokio::time::Instant;

/// How long after the drain the database may take to have the rest written. The promise is two seconds in all: what
/// is left of them is for tasks to end on a busy machine.
const WRITE_BACK: Duration = Duration::from_secs(1);
/// Past all steps, the loop only waits for tasks to end.
const NO_MORE_STEPS: Duration = Duration::from_secs(3_600);

/// How far a stop has come.
#[derive(Debug)]
pub(super) struct Stop {
    interrupt_at: Instant,
    /// None until the calls are interrupted: however late that is, what they came to has its time from then on.
    give_up_at: Option<Instant>,
    given_up: bool,
    /// Jobs may be left that were claimed and are not given back.
    claims_left: bool,
}

impl Stop {
    /// When the next step of the stop is due.
    pub(super) fn next_step(&self) -> Instant {
        match self.give_up_at {
            None => self.interrupt_at,
            Some(at) if self.given_up => at + NO_MORE_STEPS,
            Some(at) => at,
        }
    }
}

impl Dispatcher {
    pub(super) fn begin_stop(&mut self) {
        let interrupt_at = Instant::now() + self.parts.drain;
        let calls = self.calls.len();
        tracing::info!(calls, drain_secs = self.parts.drain.as_secs(), "stopping: waiting for the calls in flight");
        for (job, host) in self.ready.take_all() {
            self.give_back(job, &host);
        }
        self.stopping = Some(Stop { interrupt_at, give_up_at: None, given_up: false, claims_left: false });
    }

    /// Takes in whether a claim may have left jobs.
    pub(super) fn note_left(&mut self, left: bool) {
        if let Some(stop) = &mut self.stopping {
            stop.claims_left |= left;
        }
    }

    /// Whether it is known what each claim has brought: those too that were aborted are not.
    pub(super) fn all_claims_are_known(&self) -> bool {
        self.idle_lanes.len() == self.lane_count && !self.stopping.as_ref().is_some_and(|stop| stop.claims_left)
    }

    pub(super) fn step_stop(&mut self, now: Instant) {
        let Some(stop) = &mut self.stopping else { return };
        if now >= stop.interrupt_at && stop.give_up_at.is_none() {
            stop.give_up_at = Some(now + WRITE_BACK);
            tracing::warn!(calls = self.calls.len(), "calls did not end in time; giving their jobs back");
            self.parts.executor.interrupt.cancel();
        }
        if stop.give_up_at.is_some_and(|at| now >= at) && !stop.given_up {
            stop.given_up = true;
            self.parts.give_up.cancel();
            // A claim or a sweep that hangs is not waited for; a claim it made is rescued.
            self.lanes.abort_all();
        }
    }

    /// Whether the loop has come to its end.
    pub(super) fn is_over(&self) -> bool {
        let resting = self.lanes.is_empty() && self.calls.is_empty() && self.returns.is_empty() && self.unrecorded == 0;
        match (&self.stopping, self.parts.mode) {
            (Some(_), _) => resting,
            (None, Mode::Serve) => false,
            (None, Mode::Once) if self.failure.is_some() => resting,
            (None, Mode::Once) => resting && self.last_sweep.is_some() && !self.has_workable(),
        }
    }

    fn has_workable(&self) -> bool {
        let due = self.timers.next().is_some_and(|at| at <= Instant::now());
        due || self.more != More::Nothing
            || self.overflow
            || self.timers_dropped
            || self.asked.cause.is_some()
            || !self.waiting.is_idle()
            || !self.misses.is_empty()
    }
}
