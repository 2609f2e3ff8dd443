//! What can happen next in the model: the steps of a dispatcher, of time, of the user, and the faults.

use super::super::JobState;
use super::Setting;
use super::world::{Dispatcher, Hand, Job, Late, Mode, Owner, Proof, Result, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Claim(usize, usize),
    AskAgain(usize, usize),
    Call(usize, usize),
    Answer(usize, usize, Result),
    Finish(usize, usize),
    CutOff(usize, usize),
    Release(usize, usize),
    See(usize, usize),
    Rescue(usize, usize),
    Restart(usize),
    Wake(usize),
    Lock(usize),
    End(usize),
    Expire(usize),
    /// Somebody's wish.
    Stop(usize),
    /// The job waited too long for its call.
    GiveBack(usize, usize),
    Cancel(usize),
    /// The step is done, and its answer never comes.
    LoseAnswer(usize, usize),
    /// The same of a rescue.
    LoseRescued(usize, usize),
    /// The sender gives its statement up, and the server has not got it yet.
    Belate(usize, usize),
    /// Now it has.
    Arrive(usize),
    Crash(usize),
    Freeze(usize),
    /// The server frees the lock of a dispatcher that lives: its connection broke.
    LoseLock(usize),
    /// The claim of a dispatcher that is up and about expires: the database was away.
    Delay(usize),
}

/// A step under way: the world as it becomes.
pub(super) struct Ahead<'a, const JOBS: usize> {
    pub(super) setting: &'a Setting<JOBS>,
    pub(super) world: World<JOBS>,
    pub(super) found: Vec<(Step, World<JOBS>)>,
}

impl<const JOBS: usize> Ahead<'_, JOBS> {
    pub(super) fn add(&mut self, step: Step, change: impl FnOnce(&mut World<JOBS>)) {
        let mut after = self.world;
        change(&mut after);
        after.sort();
        self.found.push((step, after));
    }

    /// A step that may be its dispatcher's last word from the database: answered, or not.
    pub(super) fn add_statement(&mut self, step: Step, unanswered: Step, run: impl Fn(&mut World<JOBS>, bool)) {
        self.add(step, |world| run(world, true));
        self.fault(unanswered, |world| run(world, false));
    }

    /// A statement that goes off and does not arrive for now; what its sender is left with.
    fn belate(&mut self, (who, job): (usize, usize), late: Late, change: impl FnOnce(&mut World<JOBS>)) {
        if self.world.late.is_none() {
            self.fault(Step::Belate(who, job), |world| {
                world.late = Some((job, late));
                change(world);
            });
        }
    }

    pub(super) fn fault(&mut self, step: Step, change: impl FnOnce(&mut World<JOBS>)) {
        if self.world.faults > 0 {
            self.add(step, |world| {
                world.faults -= 1;
                change(world);
            });
        }
    }

    pub(super) fn of_dispatcher(&mut self, who: usize) {
        let Dispatcher { mode, locked, hands, .. } = self.world.dispatchers[who];
        match mode {
            Mode::Ended => return self.add(Step::Restart(who), |world| world.dispatchers[who].mode = Mode::Running),
            Mode::Frozen => {
                self.add(Step::Wake(who), |world| world.dispatchers[who].mode = Mode::Running);
                return self.fault(Step::Crash(who), |world| world.end(who));
            }
            Mode::Running if self.world.stops > 0 => self.add(Step::Stop(who), |world| {
                world.stops -= 1;
                world.dispatchers[who].mode = Mode::Stopping;
            }),
            Mode::Stopping if hands.iter().all(|hand| *hand == Hand::Empty) => {
                return self.add(Step::End(who), |world| world.end(who));
            }
            Mode::Running | Mode::Stopping => {}
        }
        self.fault(Step::Crash(who), |world| world.end(who));
        if mode == Mode::Running {
            self.fault(Step::Freeze(who), |world| world.dispatchers[who].mode = Mode::Frozen);
        }
        if locked {
            self.fault(Step::LoseLock(who), |world| world.dispatchers[who].locked = false);
        } else if mode == Mode::Running {
            self.add(Step::Lock(who), |world| world.dispatchers[who].locked = true);
        }
        for job in 0..JOBS {
            self.of_hand(who, job);
            self.of_sweep(who, job);
        }
    }

    pub(super) fn of_hand(&mut self, who: usize, job: usize) {
        let running = self.world.dispatchers[who].mode == Mode::Running;
        let lost = Step::LoseAnswer(who, job);
        match self.world.dispatchers[who].hands[job] {
            Hand::Empty if running => self.of_empty_hand(who, job),
            Hand::Empty => {}
            // A stop ends the asking, and leaves what was claimed to a rescue.
            Hand::Claiming(_) if !running => self.add(Step::AskAgain(who, job), |world| {
                world.dispatchers[who].hands[job] = Hand::Empty;
            }),
            Hand::Claiming(token) => self.add(Step::AskAgain(who, job), |world| world.claim((who, job), token, true)),
            Hand::Held(proof) if running => self.of_held_job(who, job, proof),
            Hand::Held(proof) => self.add(Step::CutOff(who, job), |world| {
                world.dispatchers[who].hands[job] = Hand::Releasing(proof);
            }),
            Hand::Calling(proof) => self.of_call(who, job, proof),
            Hand::Called(proof, result) => {
                let setting = *self.setting;
                self.belate((who, job), Late::Finish(proof, result), |_| {});
                self.add_statement(Step::Finish(who, job), lost, |world, answered| {
                    world.finish(job, (proof, result), setting.fenced);
                    if answered {
                        world.dispatchers[who].hands[job] = Hand::Empty;
                    }
                });
            }
            Hand::Releasing(proof) => {
                self.belate((who, job), Late::Release(proof.token), |_| {});
                self.add_statement(Step::Release(who, job), lost, |world, answered| {
                    world.change(job, world.jobs[job].row.release(proof.token.into()), Owner::Nobody);
                    if answered {
                        world.dispatchers[who].hands[job] = Hand::Empty;
                    }
                });
            }
        }
    }

    pub(super) fn of_empty_hand(&mut self, who: usize, job: usize) {
        let Job { row, tokens_drawn, .. } = self.world.jobs[job];
        if row.claim(0, true).is_some() {
            self.belate((who, job), Late::Claim(Owner::Alive(who), tokens_drawn), |world| {
                world.jobs[job].tokens_drawn += 1;
                world.dispatchers[who].hands[job] = Hand::Claiming(tokens_drawn);
            });
            self.add_statement(Step::Claim(who, job), Step::LoseAnswer(who, job), |world, answered| {
                world.jobs[job].tokens_drawn += 1;
                world.claim((who, job), tokens_drawn, answered);
            });
        }
    }

    pub(super) fn of_held_job(&mut self, who: usize, job: usize, proof: Proof) {
        self.add(Step::Call(who, job), |world| {
            world.jobs[job].calls += 1;
            world.dispatchers[who].hands[job] = Hand::Calling(proof);
        });
        if self.world.stops > 0 {
            self.add(Step::GiveBack(who, job), |world| {
                world.stops -= 1;
                world.dispatchers[who].hands[job] = Hand::Releasing(proof);
            });
        }
    }

    pub(super) fn of_call(&mut self, who: usize, job: usize, proof: Proof) {
        for result in [Result::Good, Result::NotNow, Result::Never] {
            self.add(Step::Answer(who, job, result), |world| {
                world.dispatchers[who].hands[job] = Hand::Called(proof, result);
            });
        }
        if self.world.dispatchers[who].mode == Mode::Stopping {
            self.add(Step::CutOff(who, job), |world| {
                world.jobs[job].cut_off += 1;
                world.dispatchers[who].hands[job] = Hand::Releasing(proof);
            });
        }
    }

    /// Two statements: which are abandoned; then, under the lock, take them back.
    pub(super) fn of_sweep(&mut self, who: usize, job: usize) {
        let Dispatcher { mode, seen, .. } = self.world.dispatchers[who];
        let abandoned = self.world.is_abandoned(job);
        if seen[job] {
            let setting = *self.setting;
            self.belate((who, job), Late::Rescue, |_| {});
            self.add_statement(Step::Rescue(who, job), Step::LoseRescued(who, job), |world, answered| {
                world.dispatchers[who].seen[job] = !answered;
                world.rescue(job, abandoned, (setting.looks_again, setting.gives_up));
            });
        } else if mode == Mode::Running && abandoned {
            self.add(Step::See(who, job), |world| world.dispatchers[who].seen[job] = true);
        }
    }

    pub(super) fn of_job(&mut self, job: usize) {
        if let Some(late) = self.world.late.filter(|(of, _)| *of == job) {
            let setting = *self.setting;
            let rescue = (setting.looks_again, setting.gives_up);
            self.add(Step::Arrive(job), |world| world.arrive(late, rescue, setting.fenced));
        }
        let Job { row, owner, expired, .. } = self.world.jobs[job];
        if self.world.cancels > 0 && row.cancel().is_some() {
            self.add(Step::Cancel(job), |world| {
                world.cancels -= 1;
                world.change(job, row.cancel(), owner);
            });
        }
        let Owner::Alive(who) = owner else { return };
        if row.state != JobState::Executing || expired {
            return;
        }
        let holder = self.world.dispatchers[who];
        if holder.mode == Mode::Frozen || holder.hands[job] == Hand::Empty {
            self.add(Step::Expire(job), |world| world.jobs[job].expired = true);
        } else if !matches!(holder.hands[job], Hand::Held(_) | Hand::Calling(_)) {
            // A call ends before its claim expires; what is written afterwards may take its time.
            self.fault(Step::Delay(job), |world| world.jobs[job].expired = true);
        }
    }
}
