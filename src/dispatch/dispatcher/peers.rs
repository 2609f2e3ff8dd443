//! Peers: other dispatchers on the same tables. When one dies, its jobs are taken back at once, without waiting
//! for a sweep.
//!
//! They need no register: a dispatcher that works shows itself, for its name stands in the rows that it has.

use super::{Dispatcher, Mode};
use crate::dispatch::lanes::{owners_lane, peer_lane, suspects_lane};
use crate::store::JobOwner;
use crate::wakeup::SweepCause;
use std::time::Duration;
use tokio::time::Instant;

/// The most dispatchers that are watched, with a connection each; the jobs of others wait for a sweep.
const WATCHED: usize = 16;

/// How soon after jobs came it is looked who has them; no two looks are closer. One that freezes with jobs that nobody
/// else has seen it have would keep them until the next sweep.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// How long after the first claim of another has expired it is looked; what expires meanwhile is seen with it.
const EXPIRED_FOR: Duration = Duration::from_millis(50);

impl Dispatcher {
    /// Others may have jobs now that they had not when we last looked.
    pub(super) fn look_at_owners_soon(&mut self) {
        let soon = Instant::now() + LOOK_AFTER;
        self.look_at_owners = Some(self.look_at_owners.map_or(soon, |at| at.min(soon)));
    }

    /// When the next look is to begin; none while the last one or another matter of the others is under way.
    pub(super) fn look_at_owners_at(&self) -> Option<Instant> {
        self.look_at_owners.filter(|_| self.idle_suspects_lane.is_some() && self.parts.mode == Mode::Serve)
    }

    pub(super) fn start_look_at_owners(&mut self) {
        if self.look_at_owners_at().is_none_or(|at| at > Instant::now()) {
            return;
        }
        if let Some(lane) = self.idle_suspects_lane.take() {
            self.look_at_owners = None;
            self.lanes.spawn(owners_lane(lane, self.parts.stop.clone()));
        }
    }

    pub(super) fn on_look_at_owners(&mut self, owners: Option<Vec<JobOwner>>) {
        let Some(owners) = owners else { return self.look_at_owners_soon() };
        // The sweep takes back what has expired.
        self.sweep_due |= self.on_owners(owners);
    }

    /// Whether the others must take us for dead: what we claimed now they would take back, and call beside us.
    pub(super) fn looks_dead(&self) -> bool {
        !self.peers.is_empty() && !*self.lock_held.borrow()
    }

    /// Watches those that are not watched yet, and looks again when the first claim of another has expired. True: one
    /// has already.
    pub(super) fn on_owners(&mut self, mut owners: Vec<JobOwner>) -> bool {
        // We live, and write our results whatever the hour.
        owners.retain(|owner| owner.name != self.parts.terms.dispatcher && !self.done_with.contains(&owner.name));
        // What has expired and can't be taken back has no other claim of its owner wait.
        if self.stuck_until.take_if(|at| *at <= Instant::now()).is_some() {
            self.stuck.clear();
        }
        let is_stuck = |owner: &&JobOwner| self.stuck.contains(&owner.name);
        let now = Instant::now();
        let next_of_the_stuck = owners.iter().filter(is_stuck).filter_map(|owner| owner.next_expiry).min();
        // One that expired since these were read is not among them any more.
        self.stuck_until = self.stuck_until.into_iter().chain(next_of_the_stuck.map(|after| now + after)).min();
        let others = owners.iter().filter(|owner| !is_stuck(owner)).map(|owner| owner.expires_in);
        let first = others.chain(self.stuck_until.map(|at| at - now)).min();
        if let Some(expires_in) = first {
            // One that is expired already is being taken back, or is locked.
            let wait = if expires_in.is_zero() { LOOK_AFTER } else { expires_in + EXPIRED_FOR };
            let at = Instant::now() + wait;
            self.look_at_owners = Some(self.look_at_owners.map_or(at, |planned| planned.min(at)));
        }
        self.watch_peers(owners.into_iter().map(|owner| owner.name));
        first == Some(Duration::ZERO)
    }

    /// Watches the dispatchers that are not watched yet. Of those that are too many, and of all in the one-time mode, it
    /// only finds out which have ended.
    pub(super) fn watch_peers(&mut self, names: impl IntoIterator<Item = String>) {
        if self.stopping.is_some() {
            return;
        }
        let mut others: Vec<String> = names.into_iter().filter(|name| self.is_unknown(name)).collect();
        let room = if self.parts.mode == Mode::Serve { WATCHED.saturating_sub(self.peers.len()) } else { 0 };
        for name in others.drain(..room.min(others.len())) {
            self.lanes.spawn(peer_lane(self.parts.store.session(), name.clone(), self.parts.stop.clone()));
            if self.homes.add(&name) {
                self.leave_to_homes();
            }
            self.peers.insert(name);
        }
        // While some are being looked at, the rest waits for the sweep that follows, or the next one.
        if let Some(lane) = self.idle_suspects_lane.take_if(|_| !others.is_empty()) {
            self.lanes.spawn(suspects_lane(lane, others, self.parts.stop.clone()));
        }
    }

    /// One that has ended, and whose jobs are being taken back, is not watched again: that would take its lock.
    fn is_unknown(&self, name: &String) -> bool {
        let known = *name == self.parts.terms.dispatcher || self.peers.contains(name);
        !known && !self.ended.contains(name) && !self.being_rescued.contains(name) && !self.done_with.contains(name)
    }

    pub(super) fn on_peer(&mut self, name: String, gone: bool) {
        self.peers.remove(&name);
        self.homes.remove(&name);
        if gone {
            self.on_ended(vec![name]);
        } else {
            // The watch broke off, and it may have jobs still.
            self.look_at_owners_soon();
        }
    }

    /// Takes note of whose jobs can't be taken back. A sweep that has no other reason than its time looks at all of them
    /// anew: what stood in the way may have been mended.
    pub(super) fn on_stuck(&mut self, names: Vec<String>, gone: &[String], anew: bool) {
        if anew && self.parts.mode == Mode::Serve {
            self.done_with.clear();
            self.stuck.clear();
            self.stuck_until = None;
        }
        for name in names {
            // One that lives is watched as before.
            let all = if gone.contains(&name) { &mut self.done_with } else { &mut self.stuck };
            all.insert(name);
        }
    }

    pub(super) fn on_ended(&mut self, names: Vec<String>) {
        for peer in names {
            tracing::info!(peer, "another dispatcher has ended; taking back the jobs that it left");
            if self.parts.mode == Mode::Once {
                // What is left of it then is locked by somebody, for who knows how long.
                self.done_with.insert(peer.clone());
            }
            self.ended.push(peer);
            self.asked.cause.get_or_insert(SweepCause::PeerGone);
        }
    }
}
