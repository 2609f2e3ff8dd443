//! The moves with two dispatchers that crash, freeze, lose their locks and the answers to their statements, and are
//! told to stop: every order of events is explored.
//!
//! A job's row changes by the moves of `moves.rs` alone, as the store's statements do, and a call's end becomes a
//! conclusion by the same function as in the service. What a dispatcher does between its statements is written
//! here, step by step as in `src/dispatch`. A statement that was given up may arrive at any time after that, and after the
//! end of its sender too, or never; one at a time, and not a claim that is asked for again, which is answered.

mod promises;
mod steps;
mod world;

use super::Standing;
use super::explorer::{Explored, Model, explore};
use promises::overwritten;
use steps::{Ahead, Step};
use world::{Dispatcher, Hand, Job, Mode, Owner, World};

/// What is tried out.
#[derive(Debug, Clone, Copy)]
struct Setting<const JOBS: usize> {
    /// `remaining_retries` of each job.
    retries: i32,
    /// How many faults may happen.
    faults: u8,
    /// How many stops, and jobs given back uncalled.
    stops: u8,
    /// How many jobs the user cancels.
    cancels: u8,
    /// A finish asks for its own token; else, broken, it writes whatever is executing.
    fenced: bool,
    /// A rescue looks again under the lock; else, broken, it trusts what it saw before.
    looks_again: bool,
    /// A rescue with no retry left gives the job up; else, broken, it is called once more.
    gives_up: bool,
}

const REAL: Setting<1> =
    Setting { retries: 0, faults: 2, stops: 1, cancels: 1, fenced: true, looks_again: true, gives_up: true };

impl<const JOBS: usize> Model for Setting<JOBS> {
    type State = World<JOBS>;
    type Step = Step;

    fn start(&self) -> World<JOBS> {
        let row = Standing::inserted(self.retries);
        let job = Job { row, owner: Owner::Nobody, expired: false, tokens_drawn: 0, calls: 0, cut_off: 0 };
        let one = Dispatcher { mode: Mode::Running, locked: true, hands: [Hand::Empty; JOBS], seen: [false; JOBS] };
        let &Setting { faults, stops, cancels, .. } = self;
        World { jobs: [job; JOBS], dispatchers: [one; 2], late: None, faults, stops, cancels }
    }

    fn next(&self, world: &World<JOBS>) -> Vec<(Step, World<JOBS>)> {
        let mut ahead = Ahead { setting: self, world: *world, found: Vec::new() };
        for who in 0..2 {
            ahead.of_dispatcher(who);
        }
        for job in 0..JOBS {
            ahead.of_job(job);
        }
        ahead.found
    }

    fn is_disturbance(&self, step: Step) -> bool {
        matches!(
            step,
            Step::Stop(_)
                | Step::GiveBack(..)
                | Step::Cancel(_)
                | Step::LoseAnswer(..)
                | Step::LoseRescued(..)
                | Step::Belate(..)
                | Step::Arrive(_)
                | Step::Crash(_)
                | Step::Freeze(_)
                | Step::LoseLock(_)
                | Step::Delay(_)
        )
    }

    fn breach(&self, before: &World<JOBS>, step: Step, after: &World<JOBS>) -> Option<String> {
        (0..JOBS).find_map(|job| {
            let (old, new) = (&before.jobs[job], &after.jobs[job]);
            overwritten(before, step, job, new)
                .or_else(|| self.taken_back_for_nothing(step, after, job))
                .or_else(|| self.wrong_of_job(after, old, new))
        })
    }

    fn is_done(&self, world: &World<JOBS>) -> bool {
        world.jobs.iter().all(|job| job.row.state.is_final())
    }
}

/// Explores, and holds what was found; the number of states.
fn holds<const JOBS: usize>(setting: Setting<JOBS>) -> usize {
    let Explored { states, steps, breach } = explore(&setting);
    eprintln!("{states} states, {steps} steps, {JOBS} jobs: {setting:?}");
    assert!(breach.is_none(), "{}", breach.unwrap_or_default());
    states
}

fn breach_of<const JOBS: usize>(setting: Setting<JOBS>) -> String {
    explore(&setting).breach.expect("the explorer is blind")
}

/// Whether the slow scenarios run too: `./test.sh --all`.
fn thoroughly() -> bool {
    std::env::var_os("STRINGS_QUEUE_SLOW").is_some()
}

#[test]
fn every_order_of_events_keeps_the_promises_for_a_job_without_retries() {
    for retries in [-1, 0] {
        assert!(holds(Setting { retries, ..REAL }) > 10_000, "too few to mean anything");
    }
}

#[test]
fn every_order_of_events_keeps_the_promises_for_a_job_with_retries() {
    for retries in if thoroughly() { 1..=3 } else { 1..=1 } {
        assert!(holds(Setting { retries, ..REAL }) > 40_000, "too few to mean anything");
    }
}

#[test]
fn two_jobs_share_the_fate_of_their_dispatchers() {
    let retries = i32::from(thoroughly());
    let setting: Setting<2> =
        Setting { retries, faults: 1, stops: 0, cancels: 0, fenced: true, looks_again: true, gives_up: true };
    assert!(holds(setting) > 10_000, "too few to mean anything");
}

#[test]
fn without_a_fault_each_try_is_one_call() {
    for retries in [0, 1, 2] {
        holds(Setting { retries, faults: 0, stops: 0, cancels: 0, ..REAL });
    }
}

#[test]
fn an_unfenced_finish_is_found_out() {
    let breach = breach_of(Setting { retries: 1, faults: 1, fenced: false, ..REAL });
    assert!(breach.starts_with("a result was written over another claim"), "{breach}");
}

#[test]
fn a_rescue_that_gives_nothing_up_is_found_out() {
    let breach = breach_of(Setting { faults: 1, gives_up: false, ..REAL });
    assert!(breach.starts_with("called 2 times; 1 are promised"), "{breach}");
}

#[test]
fn a_rescue_that_does_not_look_again_is_found_out() {
    let breach = breach_of(Setting { faults: 1, looks_again: false, ..REAL });
    assert!(breach.starts_with("a final state changed"), "{breach}");
}
