//! Waiting: the jobs that are to be claimed as soon as there are slots for them (pure; bounded by its users).

use super::host_queues::HostQueues;
use super::slots::{HostKey, Slots};
use crate::job::JobId;
use std::collections::{HashMap, HashSet, VecDeque};

/// When so many jobs wait for slots of their hosts, no more are kept for a host that has some.
pub const PARKED_BOUND: usize = 500_000;
/// So many are kept for any host: the others do not pay for one that takes nothing.
const PARKED_FOR_ANY: usize = 256;

/// Jobs that are to be claimed: those whose host is not known yet, in the order in which they came, and those
/// that wait for a slot of their host.
///
/// A job is *known* from the moment it is added until [`Waiting::forget`]: while it waits, is claimed and is
/// called. A known job is not added twice.
#[derive(Debug, Default)]
pub struct Waiting {
    unread: VecDeque<JobId>,
    parked: HostQueues<JobId>,
    known: HashSet<JobId>,
    /// Those that are being claimed, and whether they were added again meanwhile.
    in_claim: HashMap<JobId, bool>,
    /// The others that are known and were added again.
    again: HashSet<JobId>,
}

impl Waiting {
    /// Adds a job at the end. False when it is known already.
    pub fn add(&mut self, job: JobId) -> bool {
        let new = self.known.insert(job);
        if new {
            self.unread.push_back(job);
        } else if let Some(again) = self.in_claim.get_mut(&job) {
            *again = true;
        } else {
            self.again.insert(job);
        }
        new
    }

    /// A claim of these jobs begins.
    pub fn begin_claim(&mut self, jobs: impl IntoIterator<Item = JobId>) {
        for job in jobs {
            self.in_claim.insert(job, false);
            self.again.remove(&job);
        }
    }

    /// It has ended for this job. True when the job was added meanwhile: the claim may have seen its row as it was before.
    pub fn end_claim(&mut self, job: JobId) -> bool {
        self.in_claim.remove(&job).unwrap_or_default()
    }

    /// Adds a job whose moment has come, before all others.
    pub fn add_first(&mut self, job: JobId) {
        if self.known.insert(job) {
            self.unread.push_front(job);
        }
    }

    /// Parks a known job until its host has a slot.
    pub fn park(&mut self, job: JobId, host: HostKey) {
        self.parked.push(host, job);
    }

    /// Whether one more job of this host may be parked.
    #[must_use]
    pub fn may_park(&self, host: &HostKey) -> bool {
        self.parked.len() < PARKED_BOUND || self.parked.len_of(host) < PARKED_FOR_ANY
    }

    /// Forgets a job that is done with, whatever it came to. True when it was added again since its last claim.
    pub fn forget(&mut self, job: JobId) -> bool {
        self.known.remove(&job);
        self.again.remove(&job)
    }

    /// Whether the job waits, is being claimed, or is being called.
    #[must_use]
    pub fn knows(&self, job: JobId) -> bool {
        self.known.contains(&job)
    }

    /// Takes up to so many unread jobs, oldest first.
    pub fn take_unread(&mut self, count: usize) -> Vec<JobId> {
        let count = count.min(self.unread.len());
        self.unread.drain(..count).collect()
    }

    /// Drops the unread jobs that are chosen; whether there were any.
    pub fn drop_unread(&mut self, mut chosen: impl FnMut(JobId) -> bool) -> bool {
        let before = self.unread.len();
        let (known, again) = (&mut self.known, &mut self.again);
        self.unread.retain(|job| {
            let stays = !chosen(*job);
            if !stays {
                known.remove(job);
                again.remove(job);
            }
            stays
        });
        self.unread.len() < before
    }

    /// Takes up to so many parked jobs whose hosts have slots, and takes the slots: one from each host in turn.
    pub fn take_parked(&mut self, count: usize, slots: &mut Slots) -> Vec<(JobId, HostKey)> {
        self.parked.pop_many(count, |host| slots.take(host))
    }

    /// Whether there are slots for parked jobs, and for no host enough of them that they are worth a claim now.
    #[must_use]
    pub fn has_too_few_slots(&self, slots: &Slots) -> bool {
        let mut some = false;
        for host in self.parked.hosts().filter(|host| slots.free_for(host) > 0) {
            if slots.is_worth_a_claim(host) {
                return false;
            }
            some = true;
        }
        some
    }

    /// How many jobs wait with their hosts unknown.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.unread.len()
    }

    /// How many jobs wait for a slot of their host.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Whether no job waits, is being claimed, or is being called.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostKey {
        HostKey(name.into())
    }

    #[test]
    fn a_known_job_is_not_added_twice() {
        let mut waiting = Waiting::default();
        assert!(waiting.add(JobId(1)) && !waiting.add(JobId(1)));
        assert_eq!(waiting.take_unread(9), [JobId(1)]);
        assert!(waiting.knows(JobId(1)) && !waiting.add(JobId(1)));
        waiting.forget(JobId(1));
        assert!(waiting.add(JobId(1)));
    }

    #[test]
    fn what_is_added_while_it_is_being_claimed_is_told_at_its_end() {
        let mut waiting = Waiting::default();
        assert!(waiting.add(JobId(1)) && waiting.add(JobId(2)) && !waiting.add(JobId(1)));
        let jobs = waiting.take_unread(9);
        waiting.begin_claim(jobs);
        assert!(!waiting.add(JobId(2)));
        assert!(!waiting.end_claim(JobId(1)) && waiting.end_claim(JobId(2)) && !waiting.end_claim(JobId(2)));
    }

    #[test]
    fn dropped_jobs_are_not_known_any_more() {
        let mut waiting = Waiting::default();
        assert!(waiting.add(JobId(1)) && waiting.add(JobId(2)));
        assert!(waiting.drop_unread(|job| job == JobId(1)) && !waiting.drop_unread(|job| job == JobId(1)));
        assert!(!waiting.knows(JobId(1)) && waiting.knows(JobId(2)));
        assert_eq!(waiting.take_unread(9), [JobId(2)]);
    }

    #[test]
    fn parked_jobs_leave_in_turn_as_their_hosts_have_slots() {
        let mut waiting = Waiting::default();
        let mut slots = Slots::new(10, 2);
        for number in 1..=4 {
            waiting.park(JobId(number), host("a"));
        }
        waiting.park(JobId(9), host("b"));
        let taken: Vec<u64> = waiting.take_parked(9, &mut slots).into_iter().map(|(job, _)| job.0).collect();
        assert_eq!(taken, [1, 9, 2]);
        assert_eq!(waiting.parked(), 2);
        slots.give_back(&host("a"));
        assert_eq!(waiting.take_parked(9, &mut slots), [(JobId(3), host("a"))]);
    }

    #[test]
    fn a_host_that_takes_nothing_fills_the_bound_and_takes_no_room_from_others() {
        let mut waiting = Waiting::default();
        let mut number = 0;
        let mut park = |waiting: &mut Waiting, name: &str, most: usize| {
            let before = waiting.parked();
            while waiting.parked() - before < most && waiting.may_park(&host(name)) {
                number += 1;
                waiting.park(JobId(number), host(name));
            }
            waiting.parked() - before
        };
        assert_eq!(park(&mut waiting, "dead", usize::MAX), PARKED_BOUND);
        assert_eq!(park(&mut waiting, "alive", usize::MAX), PARKED_FOR_ANY);
        let mut slots = Slots::new(10, 10);
        assert_eq!(waiting.take_parked(2, &mut slots).len(), 2);
        assert_eq!(park(&mut waiting, "alive", usize::MAX), 1);
        assert!(!waiting.may_park(&host("dead")));
    }

    #[test]
    fn parked_jobs_of_all_hosts_leave_though_slots_become_free_one_by_one() {
        let mut waiting = Waiting::default();
        let mut slots = Slots::new(1, 1);
        for (number, name) in [(1, "a"), (2, "a"), (3, "a"), (4, "b")] {
            waiting.park(JobId(number), host(name));
        }
        let mut order = Vec::new();
        while let Some((job, host)) = waiting.take_parked(9, &mut slots).pop() {
            order.push(job.0);
            slots.give_back(&host);
        }
        assert_eq!(order, [1, 4, 2, 3]);
    }
}
