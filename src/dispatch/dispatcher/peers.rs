//! Peers: other dispatchers on the same tables. When one dies, its jobs are taken back at once, without waiting
//! for a sweep.
//!
//! They need no register: a dispatcher that works shows itself, for its name stands in the rows that it has.

use super::{Dispatcher, Mode};
use crate::dispatch::lanes::peer_lane;
use crate::wakeup::SweepCause;

/// The most dispatchers that are watched, with a connection each; the jobs of others wait for a sweep.
const WATCHED: usize = 16;

impl Dispatcher {
    /// Watches the dispatchers that are not watched yet.
    pub(super) fn watch_peers(&mut self, names: impl IntoIterator<Item = String>) {
        if self.parts.mode == Mode::Once || self.stopping.is_some() {
            return;
        }
        for name in names {
            if name != self.parts.terms.dispatcher && self.peers.len() < WATCHED && self.peers.insert(name.clone()) {
                self.lanes.spawn(peer_lane(self.parts.store.session(), name, self.parts.stop.clone()));
            }
        }
    }

    pub(super) fn on_peer(&mut self, name: &str, gone: bool) {
        self.peers.remove(name);
        if gone {
            tracing::info!(peer = name, "another dispatcher has ended; looking for jobs that it left");
            self.sweep_cause.get_or_insert(SweepCause::PeerGone);
        }
    }
}
