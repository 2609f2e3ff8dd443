//! Dispatcher: the loop that turns hints into calls: hints, free slots, claims, timers, stop.
//!
//! One task owns all the state, so nothing here is locked or shared. What takes time (claims, sweeps, calls,
//! results) runs in tasks of its own and reports back.

mod calling;
mod claiming;
mod hosts;
mod intake;
mod leftovers;
mod parts;
mod peers;
mod stopping;

pub use parts::{DispatchError, Mode, Parts};

use super::batch::Done;
use super::homes::Homes;
use super::lanes::Report;
use super::ready::Ready;
use super::request::HostKeys;
use super::slots::HostKey;
use super::sweeper::{More, Sweeper};
use super::timers::Timers;
use super::waiting::Waiting;
use crate::job::JobId;
use crate::store::{Session, StoreError};
use crate::wakeup::SweepCause;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long the loop sleeps when nothing is planned.
const FAR_AWAY: Duration = Duration::from_secs(86_400);

/// The loop and its state.
#[derive(Debug)]
pub struct Dispatcher {
    parts: Parts,
    idle_lanes: Vec<Session>,
    /// How many there are, with those that claim.
    lane_count: usize,
    idle_hosts_lane: Option<Session>,
    idle_suspects_lane: Option<Session>,
    idle_sweeper: Option<Sweeper>,
    waiting: Waiting,
    host_keys: HostKeys,
    /// Claimed jobs that wait for their calls.
    ready: Ready,
    timers: Timers,
    /// Jobs that could not be claimed since the last whole sweep, which has them tried again.
    refused: HashSet<JobId>,
    /// How often each job was missed in a row for being invisible or locked.
    misses: HashMap<JobId, u32>,
    /// The other dispatchers that are watched.
    peers: HashSet<String>,
    /// Whether we hold the lock that shows we live.
    lock_held: watch::Receiver<bool>,
    /// Which dispatcher looks at a job first.
    homes: Homes,
    /// When to look which other dispatchers have jobs, and until when.
    look_at_owners: Option<Instant>,
    /// When to look for jobs that other dispatchers have left.
    leftovers_at: Option<Instant>,
    /// Dispatchers that have ended since the last sweep.
    ended: Vec<String>,
    /// Those that have ended and whose jobs the server lets nobody take back; in [`Mode::Once`], all that have ended. Only
    /// sweeps look at what they have.
    done_with: HashSet<String>,
    /// Those that may live and whose expired claims the server lets nobody take back.
    stuck: HashSet<String>,
    /// When the next of their other claims expires.
    stuck_until: Option<Instant>,
    /// Those whose jobs the sweep that is under way takes back.
    being_rescued: Vec<String>,
    /// Since when a host without room has held up jobs whose hosts are not known.
    held_up_since: Option<Instant>,
    /// When a claim that waits for more slots is made at the latest.
    claim_at: Option<Instant>,
    /// The table holds more workable rows than were read.
    more: More,
    /// Hints were dropped: read the backlog from its beginning.
    overflow: bool,
    /// Timers were dropped: the same, once there are not so many any more.
    timers_dropped: bool,
    /// Why a sweep is wanted at once.
    asked: intake::Reasons,
    /// Why the sweep that is under way was begun, or the one that failed last.
    sweeping_because: intake::Reasons,
    next_sweep: Instant,
    /// When the last sweep is made again, and why.
    look_again: Option<(Instant, intake::Reasons)>,
    /// The time for a sweep has come.
    sweep_due: bool,
    last_sweep: Option<Instant>,
    /// In [`Mode::Once`]: why there is no more to be done.
    failure: Option<StoreError>,
    stopping: Option<stopping::Stop>,
    lanes: JoinSet<Report>,
    /// The calls; each brings back the host whose slot it holds, and how long it took if it was made.
    calls: JoinSet<(HostKey, Option<Duration>)>,
    /// Claimed jobs on their way back uncalled.
    returns: JoinSet<()>,
    /// Claimed jobs whose results are not written yet.
    unrecorded: usize,
}

impl Dispatcher {
    /// A dispatcher that has not begun; its first deed is a sweep.
    #[must_use]
    pub fn new(mut parts: Parts, hosts_lane: Session, sweeper: Sweeper) -> Dispatcher {
        let idle_lanes = std::mem::take(&mut parts.claim_lanes);
        let homes = Homes::new(&parts.terms.dispatcher);
        let (suspects_lane, lock_held) = (parts.store.session(), sweeper.own_lock.held.clone());
        Dispatcher {
            parts,
            lane_count: idle_lanes.len(),
            idle_lanes,
            idle_hosts_lane: Some(hosts_lane),
            idle_suspects_lane: Some(suspects_lane),
            idle_sweeper: Some(sweeper),
            waiting: Waiting::default(),
            host_keys: HostKeys::default(),
            ready: Ready::default(),
            timers: Timers::default(),
            refused: HashSet::new(),
            misses: HashMap::new(),
            peers: HashSet::new(),
            lock_held,
            homes,
            look_at_owners: None,
            leftovers_at: None,
            ended: Vec::new(),
            done_with: HashSet::new(),
            stuck: HashSet::new(),
            stuck_until: None,
            being_rescued: Vec::new(),
            held_up_since: None,
            claim_at: None,
            more: More::Nothing,
            overflow: false,
            timers_dropped: false,
            asked: intake::Reasons::of(SweepCause::Start),
            sweeping_because: intake::Reasons::default(),
            next_sweep: Instant::now() + FAR_AWAY,
            look_again: None,
            sweep_due: false,
            last_sweep: None,
            failure: None,
            stopping: None,
            lanes: JoinSet::new(),
            calls: JoinSet::new(),
            returns: JoinSet::new(),
            unrecorded: 0,
        }
    }

    /// Runs until a stop has drained, or, in [`Mode::Once`], until nothing is workable. False when a stop came before it was
    /// known what a claim had brought.
    pub async fn run(mut self) -> Result<bool, DispatchError> {
        let mut done = Vec::new();
        loop {
            self.start_work();
            if self.is_over() {
                let all_known = self.all_claims_are_known();
                return self.failure.map_or(Ok(all_known), |error| Err(DispatchError::Sweep(error)));
            }
            let wake_at = self.wake_at();
            tokio::select! {
                count = self.parts.done.recv_many(&mut done, 1_000) => {
                    if count == 0 {
                        return Err(DispatchError::Completer);
                    }
                    done.drain(..).for_each(|done| self.on_done(&done));
                }
                Some(report) = self.lanes.join_next() => match report {
                    Err(error) if error.is_cancelled() => {}
                    report => self.on_report(report?),
                },
                Some(ended) = self.calls.join_next() => self.on_call_ended(&ended?),
                Some(returned) = self.returns.join_next() => returned?,
                hints = self.parts.wakeup.wait(), if self.stopping.is_none() => self.on_hints(hints),
                () = tokio::time::sleep_until(wake_at) => self.on_time(),
                () = self.parts.stop.cancelled(), if self.stopping.is_none() => self.begin_stop(),
                Ok(()) = self.parts.sweep_pace.changed() => self.plan_sweep(),
                // Claims may be made again.
                Ok(()) = self.lock_held.changed() => {}
            }
        }
    }

    /// Starts all that can be started now.
    fn start_work(&mut self) {
        if self.stopping.is_some() || self.failure.is_some() {
            return;
        }
        self.parts.slots.set_now(Instant::now());
        self.start_calls(None);
        self.start_sweep();
        self.start_claims();
        self.start_reading_hosts();
        self.start_leftovers();
        self.start_look_at_owners();
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Claimed { lane, order, claim, left } => {
                self.idle_lanes.push(lane);
                self.note_left(left);
                self.on_claimed(order, claim);
            }
            Report::Hosts { lane, hosts } => {
                self.idle_hosts_lane = Some(lane);
                self.on_hosts(hosts);
            }
            Report::Peer { name, gone } => self.on_peer(name, gone),
            Report::Suspects { lane, ended } => {
                self.idle_suspects_lane = Some(lane);
                self.on_ended(ended);
            }
            Report::Owners { lane, owners } => {
                self.idle_suspects_lane = Some(lane);
                self.on_look_at_owners(owners);
            }
            Report::Swept(report) => self.on_swept(*report),
        }
    }

    fn on_call_ended(&mut self, (host, took): &(HostKey, Option<Duration>)) {
        self.parts.slots.set_now(Instant::now());
        match took {
            Some(took) => self.parts.slots.end_call(host, *took),
            None => self.parts.slots.leave_call(host),
        }
        if self.stopping.is_none() {
            self.start_calls(Some(host));
        }
    }

    fn on_done(&mut self, done: &Done) {
        self.unrecorded -= 1;
        let rung = self.waiting.forget(done.id);
        if done.retry_in.is_none() && rung {
            // Word came while its result was on its way, and the row may be workable again.
            self.waiting.add(done.id);
        }
        if let Some(delay) = done.retry_in {
            // Its home hears of the retry from the log, and has it first.
            let grace = if self.homes.is_ours(done.id) { Duration::ZERO } else { leftovers::GRACE };
            self.set_timer(done.id, Instant::now() + delay + grace);
        }
    }

    /// When the loop must wake by itself.
    fn wake_at(&self) -> Instant {
        if let Some(stop) = &self.stopping {
            return stop.next_step();
        }
        let times = [self.timers.next(), self.ready.look_at(), self.look_at_hosts(), self.claim_by()];
        let looks = [self.leftovers_at, self.look_at_owners_at(), self.next_portion()];
        times.into_iter().chain(looks).flatten().fold(self.next_sweep, Instant::min)
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if self.stopping.is_some() {
            return self.step_stop(now);
        }
        for (job, host) in self.ready.take_old(now) {
            self.give_back(job, &host);
        }
        while let Some(job) = self.timers.pop_due(now) {
            // One that was missed before waits for the others, or many of them would leave nothing for those.
            if self.misses.contains_key(&job) {
                self.waiting.add(job);
            } else {
                self.waiting.add_first(job);
            }
            self.look_at_owners_soon();
        }
        if now >= self.next_sweep {
            self.next_sweep = now + FAR_AWAY;
            self.sweep_due = true;
        }
    }
}
