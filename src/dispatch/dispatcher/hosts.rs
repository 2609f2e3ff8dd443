//! Hosts: when one of them holds up jobs whose hosts are not known, these are learned, and the others need not wait.

use super::Dispatcher;
use crate::dispatch::lanes::hosts_lane;
use crate::dispatch::slots::HostKey;
use crate::job::JobId;
use crate::store::Missed;
use std::time::Duration;
use tokio::time::Instant;

/// A host without room for so long is slow; a shorter stop may be ours, or the database's.
const HELD_UP_FOR: Duration = Duration::from_millis(50);

impl Dispatcher {
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
}
