//! Claiming: slots first, then jobs for them; and what becomes of each job that a claim was for.

use super::Dispatcher;
use crate::dispatch::lanes::{ClaimOrder, Stops, claim_lane};
use crate::dispatch::slots::HostKey;
use crate::job::JobId;
use crate::metrics::Counter;
use crate::store::{Claim, Missed};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// The pause after the second miss (after the first there is none); each later one is double, up to the longest.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_LOOK: Duration = Duration::from_millis(256);
/// A job that stays invisible for so many looks (about a minute) was deleted, or is left to the sweep.
const LOOKS: u32 = 240;
/// A claim waits for more slots no longer than this.
const GATHER_FOR: Duration = Duration::from_millis(10);
/// In the one-time mode, so many looks (about a second).
const LOOKS_ONCE: u32 = 11;

impl Dispatcher {
    /// Starts claims for as many jobs as there are free slots.
    pub(super) fn start_claims(&mut self) {
        if self.idle_lanes.is_empty() || self.looks_dead() || self.waits_for_more() {
            return;
        }
        while !self.idle_lanes.is_empty() {
            let order = self.next_order();
            if order.unread.is_empty() && order.parked.is_empty() {
                return;
            }
            let Some(lane) = self.idle_lanes.pop() else { return };
            self.waiting.begin_claim(order.jobs());
            let stops = Stops { told: self.parts.stop.clone(), late: self.parts.executor.interrupt.clone() };
            self.lanes.spawn(claim_lane(lane, self.parts.terms.clone(), order, stops));
        }
    }

    /// While calls end quickly, a claim waits until it is worth its transaction; never for long, as the next call to
    /// end may be a slow one.
    fn waits_for_more(&mut self) -> bool {
        if !(self.parts.slots.is_enough(self.ready.len()) || self.has_too_few_slots()) {
            self.claim_at = None;
            return false;
        }
        let now = Instant::now();
        let at = *self.claim_at.get_or_insert(now + GATHER_FOR);
        if now >= at {
            self.claim_at = None;
        }
        now < at
    }

    /// Whether there are some slots, and so many calls ending that there will be more of them in a moment.
    fn has_too_few_slots(&self) -> bool {
        let (slots, unread) = (&self.parts.slots, self.waiting.unread());
        if self.waiting.parked() == 0 {
            return slots.is_too_little(unread);
        }
        let unread = unread > 0 && slots.free_for_unknown() > 0 && !slots.is_too_little(unread);
        !unread && self.waiting.has_too_few_slots(slots)
    }

    /// When there are slots again for jobs whose host gets them in portions.
    pub(super) fn next_portion(&self) -> Option<Instant> {
        let waiting = self.waiting.unread() + self.waiting.parked() > 0;
        if waiting && self.failure.is_none() { self.parts.slots.next_portion() } else { None }
    }

    /// When to claim at the latest.
    pub(super) fn claim_by(&self) -> Option<Instant> {
        let claims = self.stopping.is_none() && self.failure.is_none() && !self.looks_dead();
        self.claim_at
            .filter(|_| claims && self.waiting.unread() + self.waiting.parked() > 0 && !self.idle_lanes.is_empty())
    }

    /// Jobs whose hosts have slots go first; then unread ones, no more than any host could take.
    fn next_order(&mut self) -> ClaimOrder {
        let batch = self.parts.batch_size;
        let parked = self.waiting.take_parked(batch, &mut self.parts.slots);
        let room = self.parts.slots.free_for_unknown().min(batch - parked.len());
        let unread = self.waiting.take_unread(room);
        self.parts.slots.promise_unknown(unread.len());
        ClaimOrder { unread, parked }
    }

    pub(super) fn on_claimed(&mut self, order: ClaimOrder, claim: Option<Claim>) {
        self.parts.slots.end_promise(order.unread.len());
        let mut held: HashMap<JobId, HostKey> = order.parked.into_iter().collect();
        let Some(claim) = claim else {
            for host in held.values() {
                self.parts.slots.give_back(host);
            }
            for job in order.unread.iter().chain(held.keys()) {
                self.waiting.end_claim(*job);
                self.waiting.forget(*job);
            }
            return;
        };
        tracing::debug!(jobs = claim.jobs.len(), missed = claim.missed.len(), "claimed");
        self.parts.metrics.add(Counter::JobsClaimed, claim.jobs.len() as u64);
        self.watch_peers(claim.peers);
        for (job, reason) in claim.missed {
            if let Some(host) = held.remove(&job) {
                self.parts.slots.give_back(&host);
            }
            self.on_missed(job, reason);
        }
        for job in claim.jobs {
            let promised = held.remove(&job.id);
            self.waiting.end_claim(job.id);
            self.take_claimed(job, promised);
        }
    }

    fn on_missed(&mut self, job: JobId, reason: Missed) {
        let changed = self.waiting.end_claim(job);
        match reason {
            // Not to be forgotten: the log told of it while the claim looked.
            Missed::NotDue(_) | Missed::Taken | Missed::Final | Missed::Refused if changed => {
                self.forget(job);
                self.waiting.add_first(job);
            }
            Missed::Invisible | Missed::Locked => self.look_again(job, reason),
            Missed::NotDue(delay) => {
                self.forget(job);
                self.set_timer(job, Instant::now() + delay);
            }
            Missed::Refused => {
                self.forget(job);
                self.refused.insert(job);
            }
            Missed::Taken | Missed::Final => {
                // With others about, a row that is done was theirs.
                if reason == Missed::Taken || !self.homes.is_alone() {
                    self.parts.metrics.increment(Counter::ClaimsWasted);
                }
                self.forget(job);
            }
        }
    }

    /// The log shows a row before SQL does, and a locked row is passed over: look again within milliseconds.
    pub(super) fn look_again(&mut self, job: JobId, reason: Missed) {
        self.waiting.forget(job);
        let misses = self.misses.entry(job).or_default();
        *misses += 1;
        let count = *misses;
        let most = if self.parts.mode == super::Mode::Once { LOOKS_ONCE } else { LOOKS };
        let locked_in_service = reason == Missed::Locked && self.parts.mode == super::Mode::Serve;
        if count > most && !locked_in_service {
            self.misses.remove(&job);
            return self.sweep_before_long();
        }
        self.parts.metrics.increment(Counter::ClaimsRepeated);
        if count == 1 {
            // Most often its INSERT was about to end its commit.
            return self.waiting.add_first(job);
        }
        let pause = FIRST_LOOK.saturating_mul(1 << (count - 2).min(8)).min(LONGEST_LOOK);
        self.set_timer(job, Instant::now() + pause);
    }

    pub(super) fn forget(&mut self, job: JobId) {
        self.waiting.forget(job);
        self.misses.remove(&job);
    }
}
