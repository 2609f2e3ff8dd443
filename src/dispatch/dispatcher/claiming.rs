//! Claiming: slots first, then jobs for them; and what becomes of each job that a claim was for.

use super::Dispatcher;
use crate::dispatch::lanes::{ClaimOrder, claim_lane, hosts_lane};
use crate::dispatch::slots::HostKey;
use crate::job::JobId;
use crate::metrics::Counter;
use crate::store::{Claim, ClaimedJob, Missed};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The pause after the second miss (after the first there is none); each later one is double, up to the longest.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_LOOK: Duration = Duration::from_millis(256);
/// A job that stays invisible for so many looks (about a minute) was deleted, or is left to the sweep.
const LOOKS: u32 = 240;
/// A claim waits for more slots no longer than this.
const GATHER_FOR: Duration = Duration::from_millis(10);
/// A host without room for so long is slow; a shorter stop may be ours, or the database's.
const HELD_UP_FOR: Duration = Duration::from_millis(50);
/// In the one-time mode, so many looks (about a second).
const LOOKS_ONCE: u32 = 11;

impl Dispatcher {
    /// Starts claims for as many jobs as there are free slots.
    pub(super) fn start_claims(&mut self) {
        if self.waits_for_more() {
            return;
        }
        while !self.idle_lanes.is_empty() {
            let order = self.next_order();
            if order.unread.is_empty() && order.parked.is_empty() {
                return;
            }
            let Some(lane) = self.idle_lanes.pop() else { return };
            self.lanes.spawn(claim_lane(lane, self.parts.terms.clone(), order, self.parts.stop.clone()));
        }
    }

    /// While calls end quickly, a claim waits until it is worth its transaction; never for long, as the next call to
    /// end may be a slow one.
    fn waits_for_more(&mut self) -> bool {
        let slots = &self.parts.slots;
        let enough = slots.is_enough(self.ready.len());
        if !(enough || self.waiting.parked() == 0 && slots.is_too_little()) {
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

    /// When to claim at the latest.
    pub(super) fn claim_by(&self) -> Option<Instant> {
        let claims = self.stopping.is_none() && self.failure.is_none();
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

    /// When a slow host leaves no room for unread jobs, learn their hosts: the others need not wait for it.
    pub(super) fn start_reading_hosts(&mut self) {
        let held_up = self.are_held_up();
        if !held_up || self.waiting.unread() == 0 || self.parts.slots.free() == 0 {
            return;
        }
        let Some(lane) = self.idle_hosts_lane.take() else { return };
        let jobs = self.waiting.take_unread(self.parts.batch_size);
        self.lanes.spawn(hosts_lane(lane, jobs, self.parts.stop.clone()));
    }

    /// Whether a slow host holds up unread jobs: at once where calls of it have shown it, else after a moment.
    fn are_held_up(&mut self) -> bool {
        // Calls that wait to hand over their results are no sign of a slow host.
        let recording = self.parts.executor.records.capacity() > 0;
        if !(recording && self.parts.slots.is_held_up()) {
            self.held_up_since = None;
        } else if self.held_up_since.get_or_insert_with(Instant::now).elapsed() >= HELD_UP_FOR {
            return true;
        }
        self.parts.slots.is_held_up_by_a_slow_host(self.waiting.unread())
    }

    /// When to look again whether a slow host holds up the others.
    pub(super) fn look_at_hosts(&self) -> Option<Instant> {
        let due = self.held_up_since? + HELD_UP_FOR;
        (due > Instant::now() && self.waiting.unread() > 0).then_some(due)
    }

    pub(super) fn on_hosts(&mut self, hosts: Vec<(JobId, Option<HostKey>)>) {
        for (job, host) in hosts {
            match host {
                Some(host) if self.waiting.may_park(&host) => self.waiting.park(job, host),
                // The table remembers it.
                Some(_) => {
                    self.forget(job);
                    self.overflow = true;
                }
                None => self.look_again(job, Missed::Invisible),
            }
        }
    }

    pub(super) fn on_claimed(&mut self, order: ClaimOrder, claim: Option<Claim>) {
        self.parts.slots.end_promise(order.unread.len());
        let mut held: HashMap<JobId, HostKey> = order.parked.into_iter().collect();
        let Some(claim) = claim else {
            for host in held.values() {
                self.parts.slots.give_back(host);
            }
            order.unread.iter().chain(held.keys()).for_each(|job| self.waiting.forget(*job));
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
            if let Some(host) = held.remove(&job.id) {
                self.parts.slots.give_back(&host);
            }
            self.take_claimed(job);
        }
    }

    /// Takes in a claimed job: it is called as soon as there is a slot; at a stop it goes back at once.
    fn take_claimed(&mut self, job: ClaimedJob) {
        self.misses.remove(&job.id);
        self.timers.cancel(job.id);
        self.unrecorded += 1;
        let host = self.host_keys.of(&job.url);
        self.parts.slots.hold(&host);
        if self.stopping.is_some() {
            self.give_back(job, &host);
        } else {
            self.ready.add(job, host, Instant::now());
        }
    }

    /// Begins as many calls as there are slots and claimed jobs for them.
    pub(super) fn start_calls(&mut self, first: Option<&HostKey>) {
        while let Some((job, host)) = self.ready.next(first, &mut self.parts.slots) {
            let executor = Arc::clone(&self.parts.executor);
            self.calls.spawn(async move {
                let took = executor.execute(job, &host).await;
                (host, took)
            });
        }
    }

    /// Gives a claimed job back uncalled.
    pub(super) fn give_back(&mut self, job: ClaimedJob, host: &HostKey) {
        self.parts.slots.give_back(host);
        let executor = Arc::clone(&self.parts.executor);
        self.returns.spawn(async move { executor.give_back(&job).await });
    }

    fn on_missed(&mut self, job: JobId, reason: Missed) {
        match reason {
            Missed::Invisible | Missed::Locked => self.look_again(job, reason),
            Missed::NotDue(delay) => {
                self.forget(job);
                self.set_timer(job, Instant::now() + delay);
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
    fn look_again(&mut self, job: JobId, reason: Missed) {
        self.waiting.forget(job);
        let misses = self.misses.entry(job).or_default();
        *misses += 1;
        let count = *misses;
        let most = if self.parts.mode == super::Mode::Once { LOOKS_ONCE } else { LOOKS };
        let locked_in_service = reason == Missed::Locked && self.parts.mode == super::Mode::Serve;
        if count > most && !locked_in_service {
            self.misses.remove(&job);
            return;
        }
        self.parts.metrics.increment(Counter::ClaimsRepeated);
        if count == 1 {
            // Most often its INSERT was about to end its commit.
            return self.waiting.add_first(job);
        }
        let pause = FIRST_LOOK.saturating_mul(1 << (count - 2).min(8)).min(LONGEST_LOOK);
        self.set_timer(job, Instant::now() + pause);
    }

    fn forget(&mut self, job: JobId) {
        self.waiting.forget(job);
        self.misses.remove(&job);
    }
}
