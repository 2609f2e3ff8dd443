//! Leftovers: jobs of other dispatchers that are still there after a grace. Their home may be busy, asleep, or gone
//! without our knowing.

use super::{Dispatcher, Mode};
use crate::dispatch::lanes::Report;
use crate::dispatch::sweeper::SweepFound;
use crate::job::JobId;
use std::time::Duration;
use tokio::time::Instant;

/// How long a job is left to its home.
pub(super) const GRACE: Duration = Duration::from_millis(200);

impl Dispatcher {
    /// Whether we look at the job first. What is another's is looked for in the table after a grace, all of it by one
    /// question.
    pub(super) fn is_ours_first(&mut self, job: JobId) -> bool {
        let ours = self.homes.is_ours(job);
        if !ours {
            self.look_at_leftovers_soon();
        }
        ours
    }

    /// The next look may have been planned for the time at which a job is due that is far away.
    fn look_at_leftovers_soon(&mut self) {
        let soon = Instant::now() + GRACE;
        self.leftovers_at = Some(self.leftovers_at.map_or(soon, |at| at.min(soon)));
    }

    /// Leaves the jobs that wait and are not ours first to their homes.
    pub(super) fn leave_to_homes(&mut self) {
        // One that was missed stays: a claim of ours may be under way whose answer was lost.
        let (homes, misses) = (&self.homes, &self.misses);
        if self.waiting.drop_unread(|job| !homes.is_ours(job) && !misses.contains_key(&job)) {
            self.look_at_leftovers_soon();
        }
    }

    /// Looks for leftovers, if the time has come and we have nothing else to do.
    pub(super) fn start_leftovers(&mut self) {
        let now = Instant::now();
        if self.parts.mode == Mode::Once || self.leftovers_at.is_none_or(|at| at > now) {
            return;
        }
        let idle = self.waiting.unread() == 0 && self.ready.len() == 0 && self.parts.slots.free() > 0;
        match self.idle_sweeper.take_if(|_| idle) {
            Some(sweeper) => {
                self.leftovers_at = None;
                // What was due is claimed by now, and its owner may freeze or vanish with it.
                self.look_at_owners_soon();
                self.lanes.spawn(async { Report::Swept(Box::new(sweeper.first_page().await)) });
            }
            None => self.leftovers_at = Some(now + GRACE),
        }
    }

    /// Takes as many as we can call at once, the youngest first: their home takes the oldest. Looks again for as long as
    /// there is any job that is not ours, even one whose grace is not over yet; and when the next one is due.
    pub(super) fn take_leftovers(&mut self, found: &SweepFound) {
        let grace = i64::try_from(GRACE.as_micros()).unwrap_or(0);
        // Where one host has no slot left, their hosts are looked at first.
        let free = match self.parts.slots.free_for_unknown() {
            0 => self.parts.slots.free().min(self.parts.batch_size),
            free => free,
        };
        let unknown =
            || found.jobs.iter().rev().filter(|job| !self.waiting.knows(job.id) && !self.refused.contains(&job.id));
        if unknown().next().is_some() {
            self.leftovers_at = Some(Instant::now() + GRACE);
        } else if let Some(next) = found.next_due {
            let at = Instant::now() + next + GRACE;
            self.leftovers_at = Some(self.leftovers_at.map_or(at, |planned| planned.min(at)));
        }
        let taken: Vec<JobId> =
            unknown().filter(|job| job.due_in_micros < -grace).map(|job| job.id).take(free).collect();
        for job in taken {
            self.waiting.add(job);
        }
    }
}
