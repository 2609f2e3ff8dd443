//! Ready: claimed jobs that wait for a slot to be called in (pure; bounded by the slots for claims).

use super::host_queues::HostQueues;
use super::slots::{HostKey, Slots};
use crate::store::ClaimedJob;
use std::time::Duration;
use tokio::time::Instant;

/// A claimed job that waits for longer is given back: its host has become slow, and another dispatcher may be idle.
const PATIENCE: Duration = Duration::from_secs(1);

/// Claimed jobs of each host, in the order in which they were claimed.
#[derive(Debug, Default)]
pub struct Ready {
    claimed: HostQueues<(Instant, ClaimedJob)>,
    look_at: Option<Instant>,
}

impl Ready {
    /// Adds a job that was claimed now.
    pub fn add(&mut self, job: ClaimedJob, host: HostKey, now: Instant) {
        self.claimed.push(host, (now, job));
        self.look_at.get_or_insert(now + PATIENCE);
    }

    /// The next job for which there is a slot, which it takes: of the given host, whose call has just ended, if it has
    /// one. Where all calls together are at their limit, the hosts take turns: one with many jobs would keep for
    /// itself every slot that it once had.
    pub fn next(&mut self, ended: Option<&HostKey>, slots: &mut Slots) -> Option<(ClaimedJob, HostKey)> {
        if self.claimed.is_empty() || !slots.may_call_any() {
            return None;
        }
        let ended = ended.filter(|host| !slots.is_last_call() && self.claimed.front(host).is_some());
        if let Some(host) = ended.filter(|host| slots.begin_call(host)) {
            return self.claimed.pop(host).map(|(_, job)| (job, host.clone()));
        }
        self.claimed.pop_next(|host| slots.begin_call(host)).map(|((_, job), host)| (job, host))
    }

    /// When to ask for those that have waited too long.
    #[must_use]
    pub fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Takes the jobs that have waited too long.
    pub fn take_old(&mut self, now: Instant) -> Vec<(ClaimedJob, HostKey)> {
        if self.look_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let old = self.take_those(|since| since + PATIENCE <= now);
        let oldest = self.claimed.fronts().map(|(since, _)| *since).min();
        self.look_at = oldest.map(|since| since + PATIENCE);
        old
    }

    /// Takes all of them.
    pub fn take_all(&mut self) -> Vec<(ClaimedJob, HostKey)> {
        self.look_at = None;
        self.take_those(|_| true)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.claimed.len()
    }

    fn take_those(&mut self, chosen: impl Fn(Instant) -> bool) -> Vec<(ClaimedJob, HostKey)> {
        let mut taken = Vec::new();
        let hosts: Vec<HostKey> = self.claimed.in_turn().cloned().collect();
        for host in hosts {
            while self.claimed.front(&host).is_some_and(|(since, _)| chosen(*since)) {
                taken.extend(self.claimed.pop(&host).map(|(_, job)| (job, host.clone())));
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Attempt, JobId};
    use crate::store::{Body, ClaimToken};

    fn host(name: &str) -> HostKey {
        HostKey(name.into())
    }

    fn job(id: u64) -> ClaimedJob {
        ClaimedJob {
            id: JobId(id),
            token: ClaimToken::draw(),
            attempt: Attempt(1),
            method: "post".to_owned(),
            url: "http://a/".to_owned(),
            body: Body::Absent,
            timeout_secs: 60,
            remaining_retries: 5,
            retry_delay_secs: 60,
            claimed_at_micros: 0,
            begin_by: std::time::Instant::now(),
        }
    }

    fn add(ready: &mut Ready, slots: &mut Slots, (id, name): (u64, &str), now: Instant) {
        slots.hold(&host(name));
        ready.add(job(id), host(name), now);
    }

    #[test]
    fn jobs_are_called_in_order_as_their_hosts_have_slots() {
        let (mut ready, mut slots, now) = (Ready::default(), Slots::new(10, 1), Instant::now());
        for entry in [(1, "a"), (2, "a"), (3, "b")] {
            add(&mut ready, &mut slots, entry, now);
        }
        let mut called = Vec::new();
        while let Some((job, _)) = ready.next(None, &mut slots) {
            called.push(job.id.0);
        }
        assert_eq!((called.as_slice(), ready.len()), ([1, 3].as_slice(), 1));
        slots.end_call(&host("a"), Duration::ZERO);
        assert_eq!(ready.next(Some(&host("a")), &mut slots).map(|(job, _)| job.id), Some(JobId(2)));
        assert_eq!((ready.len(), ready.next(None, &mut slots)), (0, None));
    }

    #[test]
    fn a_host_with_many_jobs_does_not_keep_the_last_slot_for_itself() {
        let (mut ready, mut slots, now) = (Ready::default(), Slots::new(1, 1), Instant::now());
        for entry in [(1, "b"), (2, "b"), (3, "b"), (4, "a"), (5, "c")] {
            add(&mut ready, &mut slots, entry, now);
        }
        let (mut called, mut ended) = (Vec::new(), Some(host("b")));
        while let Some((job, host)) = ready.next(ended.as_ref(), &mut slots) {
            called.push(job.id.0);
            slots.end_call(&host, Duration::ZERO);
            ended = Some(host);
        }
        assert_eq!(called, [4, 1, 5, 2, 3]);
    }

    #[test]
    fn those_that_waited_too_long_are_taken_and_the_others_stay() {
        let (mut ready, mut slots, now) = (Ready::default(), Slots::new(10, 1), Instant::now());
        add(&mut ready, &mut slots, (1, "a"), now);
        add(&mut ready, &mut slots, (2, "a"), now + PATIENCE / 2);
        assert!(ready.take_old(now + PATIENCE / 2).is_empty());
        let old: Vec<JobId> = ready.take_old(now + PATIENCE).into_iter().map(|(job, _)| job.id).collect();
        assert_eq!((old.as_slice(), ready.look_at()), ([JobId(1)].as_slice(), Some(now + PATIENCE * 3 / 2)));
        assert_eq!((ready.take_all().len(), ready.len(), ready.look_at()), (1, 0, None));
    }
}
