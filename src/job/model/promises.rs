//! What the model holds every step to.

use super::super::{Attempt, JobState};
use super::Setting;
use super::steps::Step;
use super::world::{Hand, Job, Late, World};

/// A result is written only over the claim that it is of.
pub(super) fn overwritten<const JOBS: usize>(
    before: &World<JOBS>,
    step: Step,
    job: usize,
    new: &Job,
) -> Option<String> {
    let (of, proof) = match step {
        Step::Finish(who, of) | Step::LoseAnswer(who, of) => match before.dispatchers[who].hands[job] {
            Hand::Called(proof, _) => (of, proof),
            _ => return None,
        },
        Step::Arrive(of) => match before.late {
            Some((_, Late::Finish(proof, _))) => (of, proof),
            _ => return None,
        },
        _ => return None,
    };
    let row = before.jobs[job].row;
    let own = (Some(proof.token.into()), Attempt(proof.attempt)) == (row.token, row.attempt);
    (of == job && new.row != row && !own).then(|| "a result was written over another claim".to_owned())
}

impl<const JOBS: usize> Setting<JOBS> {
    /// Without a fault every owner lives and is in time.
    pub(super) fn taken_back_for_nothing(&self, step: Step, after: &World<JOBS>, job: usize) -> Option<String> {
        let undisturbed = self.is_undisturbed(after);
        (undisturbed && matches!(step, Step::Rescue(_, of) if of == job))
            .then(|| "taken back without a fault".to_owned())
    }

    fn is_undisturbed(&self, world: &World<JOBS>) -> bool {
        world.faults == self.faults && world.stops == self.stops && world.cancels == self.cancels
    }

    pub(super) fn wrong_of_job(&self, after: &World<JOBS>, old: &Job, new: &Job) -> Option<String> {
        let undisturbed = self.is_undisturbed(after);
        let (calls, attempt) = (i64::from(new.calls), i64::from(new.row.attempt.0));
        let allowed = 1 + i64::from(self.retries.max(0)) + i64::from(new.cut_off);
        let ended = new.row.state.is_final() && !old.row.state.is_final();
        if old.row.state.is_final() && new.row != old.row {
            return Some("a final state changed".to_owned());
        }
        if calls > allowed {
            return Some(format!("called {calls} times; {allowed} are promised"));
        }
        if calls > attempt + i64::from(new.cut_off) {
            return Some(format!("called {calls} times in {attempt} tries"));
        }
        if ended && undisturbed && calls != attempt {
            return Some(format!("called {calls} times in {attempt} tries without a fault"));
        }
        (new.row.state == JobState::Executing && new.row.token.is_none()).then(|| "executing for nobody".to_owned())
    }
}
