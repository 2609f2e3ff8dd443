//! Calling: claimed jobs, as they are called or given back.

use super::Dispatcher;
use crate::dispatch::slots::HostKey;
use crate::store::ClaimedJob;
use std::sync::Arc;
use tokio::time::Instant;

impl Dispatcher {
    /// Takes in a claimed job, for which its host as it was known may hold a slot: it is called as soon as there is a
    /// slot; at a stop it goes back at once.
    pub(super) fn take_claimed(&mut self, job: ClaimedJob, held: Option<HostKey>) {
        self.misses.remove(&job.id);
        self.timers.cancel(job.id);
        self.unrecorded += 1;
        let host = self.host_keys.of(&job.url);
        if held.as_ref() != Some(&host) {
            if let Some(other) = held {
                self.parts.slots.give_back(&other);
            }
            self.parts.slots.hold(&host);
        }
        if self.stopping.is_some() {
            self.give_back(job, &host);
        } else {
            self.ready.add(job, host, Instant::now());
        }
    }

    /// Begins as many calls as there are slots and claimed jobs for them.
    pub(super) fn start_calls(&mut self, first: Option<&HostKey>) {
        while let Some((job, host)) = self.ready.next(first, &mut self.parts.slots) {
            let executor = Arc::clone(&self.parts.executor);
            self.calls.spawn(async move {
                let took = executor.execute(Box::new(job), &host).await;
                (host, took)
            });
        }
    }

    /// Gives a claimed job back uncalled.
    pub(super) fn give_back(&mut self, job: ClaimedJob, host: &HostKey) {
        self.parts.slots.give_back(host);
        let executor = Arc::clone(&self.parts.executor);
        self.returns.spawn(async move { executor.give_back(&job).await });
    }
}
