//! Slots: how many calls may be made at once, over all hosts and to each one (pure).

use std::collections::HashMap;
use std::sync::Arc;

/// A host that is called: its name and port, as the URL has them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostKey(pub Arc<str>);

impl std::fmt::Display for HostKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The slots in use, and those promised to claims that are under way.
///
/// A job's host is known only when its row was read. So a claim of unread rows is promised no more slots than
/// the busiest host has left: whatever the rows turn out to be, no host gets more than its limit.
#[derive(Debug)]
pub struct Slots {
    limit: usize,
    limit_per_host: usize,
    in_use: usize,
    promised_unknown: usize,
    per_host: HashMap<HostKey, usize>,
}

impl Slots {
    /// All free.
    #[must_use]
    pub fn new(limit: usize, limit_per_host: usize) -> Slots {
        Slots { limit, limit_per_host, in_use: 0, promised_unknown: 0, per_host: HashMap::new() }
    }

    /// How many more calls may begin, whatever their hosts.
    #[must_use]
    pub fn free(&self) -> usize {
        self.limit.saturating_sub(self.in_use + self.promised_unknown)
    }

    /// How many more calls to this host may begin. The rows of claims under way may all be for it.
    #[must_use]
    pub fn free_for(&self, host: &HostKey) -> usize {
        let used = self.per_host.get(host).copied().unwrap_or(0);
        self.limit_per_host.saturating_sub(used + self.promised_unknown).min(self.free())
    }

    /// How many rows may be claimed without knowing their hosts.
    #[must_use]
    pub fn free_for_unknown(&self) -> usize {
        let busiest = self.per_host.values().max().copied().unwrap_or(0);
        self.limit_per_host.saturating_sub(busiest + self.promised_unknown).min(self.free())
    }

    /// Promises slots to a claim of rows whose hosts are unknown.
    pub fn promise_unknown(&mut self, count: usize) {
        self.promised_unknown += count;
    }

    /// Takes such a promise back, when the claim is over.
    pub fn end_promise(&mut self, count: usize) {
        self.promised_unknown = self.promised_unknown.saturating_sub(count);
    }

    /// Takes a slot for a call to the host. False when there is none.
    #[must_use]
    pub fn take(&mut self, host: &HostKey) -> bool {
        if self.free_for(host) == 0 {
            return false;
        }
        self.take_regardless(host);
        true
    }

    /// Takes a slot even when there is none left: for a claimed row that turned out to be for another host.
    pub fn take_regardless(&mut self, host: &HostKey) {
        self.in_use += 1;
        *self.per_host.entry(host.clone()).or_default() += 1;
    }

    /// Gives a slot back.
    pub fn give_back(&mut self, host: &HostKey) {
        self.in_use = self.in_use.saturating_sub(1);
        if let Some(used) = self.per_host.get_mut(host) {
            *used -= 1;
            if *used == 0 {
                self.per_host.remove(host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostKey {
        HostKey(name.into())
    }

    #[test]
    fn no_host_takes_more_than_its_limit_and_all_together_no_more_than_theirs() {
        let mut slots = Slots::new(3, 2);
        assert!(slots.take(&host("a")) && slots.take(&host("a")) && !slots.take(&host("a")));
        assert!(slots.take(&host("b")) && !slots.take(&host("c")));
        slots.give_back(&host("a"));
        assert!(slots.take(&host("c")));
    }

    #[test]
    fn unread_rows_get_no_more_than_the_busiest_host_has_left() {
        let mut slots = Slots::new(10, 4);
        assert_eq!(slots.free_for_unknown(), 4);
        assert!(slots.take(&host("a")));
        assert_eq!(slots.free_for_unknown(), 3);
        slots.promise_unknown(2);
        assert_eq!((slots.free_for_unknown(), slots.free()), (1, 7));
        assert_eq!((slots.free_for(&host("a")), slots.free_for(&host("b"))), (1, 2));
        slots.end_promise(2);
        slots.give_back(&host("a"));
        assert_eq!((slots.free_for_unknown(), slots.free()), (4, 10));
    }
}
