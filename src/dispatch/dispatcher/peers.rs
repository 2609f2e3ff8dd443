//! Peers: other dispatchers on the same tables. When one dies, its jobs are taken back at once, without waiting
//! for a sweep.
//!
//! They need no register: a dispatcher that works shows itself, for its name stands in the rows that it has.

use super::{Dispatcher, Mode};
use crate::dispatch::lanes::{peer_lane, suspect_lane};
use crate::wakeup::SweepCause;

/// The most dispatchers that are watched, with a connection each; the jobs of others wait for a sweep.
const WATCHED: usize = 16;

impl Dispatcher {
    /// Watches the dispatchers that are not watched yet. The one-time mode only finds out which of them have ended.
    pub(super) fn watch_peers(&mut self, names: impl IntoIterator<Item = String>) {
        if self.stopping.is_some() {
            return;
        }
        for name in names {
            if name == self.parts.terms.dispatcher || self.peers.len() >= WATCHED || !self.peers.insert(name.clone()) {
                continue;
            }
            if self.parts.mode == Mode::Serve && self.homes.add(&name) {
                self.leave_to_homes();
            }
            let (session, stop) = (self.parts.store.session(), self.parts.stop.clone());
            match self.parts.mode {
                Mode::Serve => self.lanes.spawn(peer_lane(session, name, stop)),
                Mode::Once => self.lanes.spawn(suspect_lane(session, name, stop)),
            };
        }
    }

    pub(super) fn on_peer(&mut self, name: String, gone: bool) {
        self.peers.remove(&name);
        self.homes.remove(&name);
        if gone {
            tracing::info!(peer = name, "another dispatcher has ended; taking back the jobs that it left");
            self.ended.push(name);
            self.sweep_cause.get_or_insert(SweepCause::PeerGone);
        }
    }
}
