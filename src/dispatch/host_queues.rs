//! Host queues: things that wait for a slot of their host, first in first out for each, the hosts in turn (pure).

use super::slots::HostKey;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};

/// A queue for each host that has something waiting.
///
/// The hosts take turns, and a turn begins after the host that was served last. Otherwise, with slots that become
/// free one by one, the first host of the map would take every one of them.
#[derive(Debug)]
pub struct HostQueues<T> {
    queues: BTreeMap<HostKey, VecDeque<T>>,
    served: Option<HostKey>,
    len: usize,
}

impl<T> Default for HostQueues<T> {
    fn default() -> HostQueues<T> {
        HostQueues { queues: BTreeMap::new(), served: None, len: 0 }
    }
}

impl<T> HostQueues<T> {
    /// Adds at the end of the host's queue.
    pub fn push(&mut self, host: HostKey, item: T) {
        self.queues.entry(host).or_default().push_back(item);
        self.len += 1;
    }

    /// The first of this host.
    #[must_use]
    pub fn front(&self, host: &HostKey) -> Option<&T> {
        self.queues.get(host).and_then(VecDeque::front)
    }

    /// How many wait for this host.
    #[must_use]
    pub fn len_of(&self, host: &HostKey) -> usize {
        self.queues.get(host).map_or(0, VecDeque::len)
    }

    /// The first of each host.
    pub fn fronts(&self) -> impl Iterator<Item = &T> {
        self.queues.values().filter_map(VecDeque::front)
    }

    /// Takes the first of this host, which so has had its turn.
    pub fn pop(&mut self, host: &HostKey) -> Option<T> {
        let queue = self.queues.get_mut(host)?;
        let item = queue.pop_front()?;
        if queue.is_empty() {
            self.queues.remove(host);
        }
        self.len -= 1;
        self.served = Some(host.clone());
        Some(item)
    }

    /// The hosts for which something waits.
    pub fn hosts(&self) -> impl Iterator<Item = &HostKey> {
        self.queues.keys()
    }

    /// The hosts in the order of their turns.
    pub fn in_turn(&self) -> impl Iterator<Item = &HostKey> {
        let after = self.served.as_ref().map_or(Unbounded, Excluded);
        let before = self.served.as_ref().map(|served| self.queues.range(..=served));
        self.queues.range((after, Unbounded)).chain(before.into_iter().flatten()).map(|(host, _)| host)
    }

    /// Takes the first of the host whose turn it is among those that may: the first for which `may` says so.
    pub fn pop_next(&mut self, may: impl FnMut(&&HostKey) -> bool) -> Option<(T, HostKey)> {
        let host = self.in_turn().find(may)?.clone();
        self.pop(&host).map(|item| (item, host))
    }

    /// Takes up to so many, one from each host in turn. A host that may not once is not asked again.
    pub fn pop_many(&mut self, count: usize, mut may: impl FnMut(&HostKey) -> bool) -> Vec<(T, HostKey)> {
        let mut taken = Vec::new();
        let mut hosts: Vec<HostKey> = self.in_turn().cloned().collect();
        while !hosts.is_empty() && taken.len() < count {
            hosts.retain(|host| {
                let goes = taken.len() < count && self.front(host).is_some() && may(host);
                taken.extend(goes.then(|| self.pop(host)).flatten().map(|item| (item, host.clone())));
                goes
            });
        }
        taken
    }

    /// How many wait in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(items: &[(&str, u32)]) -> HostQueues<u32> {
        let mut queues = HostQueues::default();
        for (host, item) in items {
            queues.push(HostKey((*host).into()), *item);
        }
        queues
    }

    #[test]
    fn hosts_take_turns_though_they_are_served_one_by_one() {
        let mut queues = queues(&[("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5)]);
        let one_by_one = std::iter::from_fn(|| queues.pop_next(|_| true)).map(|(item, _)| item);
        assert_eq!(one_by_one.collect::<Vec<_>>(), [1, 4, 5, 2, 3]);
        assert!(queues.is_empty() && queues.fronts().next().is_none());
    }

    #[test]
    fn a_turn_goes_on_where_the_last_one_ended() {
        let mut queues = queues(&[("a", 1), ("a", 2), ("b", 3), ("b", 4), ("c", 5), ("c", 6)]);
        let mut some = |count| queues.pop_many(count, |_| true).into_iter().map(|(item, _)| item).collect::<Vec<_>>();
        assert_eq!((some(2), some(3), some(9)), (vec![1, 3], vec![5, 2, 4], vec![6]));
        assert_eq!((queues.len(), queues.in_turn().count()), (0, 0));
    }

    #[test]
    fn a_host_that_may_not_is_passed_over_and_keeps_its_order() {
        let mut queues = queues(&[("a", 1), ("b", 2), ("b", 3), ("c", 4)]);
        let (b, c) = (HostKey("b".into()), HostKey("c".into()));
        assert_eq!(queues.pop_next(|host| **host == b), Some((2, b.clone())));
        let mut asked = Vec::new();
        let taken = queues.pop_many(9, |host| {
            asked.push(host.to_string());
            *host == c
        });
        assert_eq!((taken, asked), (vec![(4, c)], vec!["c".to_owned(), "a".to_owned(), "b".to_owned()]));
        assert_eq!((queues.front(&b), queues.len()), (Some(&3), 2));
    }
}
