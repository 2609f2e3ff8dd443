//! Room: how many more jobs may be claimed: of any host, of one, or of hosts that are not known.

use super::{HostKey, MOST_AHEAD, Slots, Use};

impl Slots {
    /// How many more jobs may be claimed, whatever their hosts.
    #[must_use]
    pub fn free(&self) -> usize {
        self.all.room(self.limit, self.now).saturating_sub(self.promised_unknown)
    }

    /// How many more jobs of this host may be claimed. The rows of claims under way may all be for it, and take its
    /// slots; of its portion they take nothing, or it would get none beside many of them.
    #[must_use]
    pub fn free_for(&self, host: &HostKey) -> usize {
        let (room, now) = match self.per_host.get(host) {
            None => (self.limit_per_host, usize::MAX),
            Some(used) => (used.room(self.limit_per_host, self.now), self.room_of(used)),
        };
        room.saturating_sub(self.promised_unknown).min(now).min(self.free())
    }

    /// How many rows may be claimed without knowing their hosts.
    #[must_use]
    pub fn free_for_unknown(&self) -> usize {
        let least = self.per_host.values().map(|used| self.room_of(used)).min().unwrap_or(self.limit_per_host);
        least.min(self.limit_per_host + MOST_AHEAD).saturating_sub(self.promised_unknown).min(self.free())
    }

    pub(super) fn room_of(&self, used: &Use) -> usize {
        used.room_of_host(self.limit_per_host, self.now)
    }

    /// Promises slots to a claim of rows whose hosts are unknown.
    pub fn promise_unknown(&mut self, count: usize) {
        self.promised_unknown += count;
    }

    /// Takes such a promise back, when the claim is over.
    pub fn end_promise(&mut self, count: usize) {
        self.promised_unknown = self.promised_unknown.saturating_sub(count);
    }
}
