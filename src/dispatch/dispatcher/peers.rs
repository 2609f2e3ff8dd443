//! Peers: other dispatchers on the same tables. When one dies, its jobs are taken back at once, without waiting
//! for a sweep.
//!
//! They need no register: a dispatcher that works shows itself, for its name stands in the rows that it has.

use super::{Dispatcher, Mode};
use crate::dispatch::lanes::{peer_lane, suspects_lane};
use crate::wakeup::SweepCause;

/// The most dispatchers that are watched, with a connection each; the jobs of others wait for a sweep.
const WATCHED: usize = 16;

impl Dispatcher {
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
        !known && !self.ended.contains(name) && !self.being_rescued.contains(name)
    }

    pub(super) fn on_peer(&mut self, name: String, gone: bool) {
        self.peers.remove(&name);
        self.homes.remove(&name);
        if gone {
            self.on_ended(vec![name]);
        }
    }

    pub(super) fn on_ended(&mut self, names: Vec<String>) {
        for peer in names {
            tracing::info!(peer, "another dispatcher has ended; taking back the jobs that it left");
            self.ended.push(peer);
            self.sweep_cause.get_or_insert(SweepCause::PeerGone);
        }
    }
}
