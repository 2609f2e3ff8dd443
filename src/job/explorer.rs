//! Explores a model: every state that can be reached, breadth first, so that the way to a fault is a shortest one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Debug;
use std::hash::Hash;

/// What can be explored.
pub(super) trait Model {
    /// All that the future depends on.
    type State: Clone + Eq + Hash + Debug;
    /// What happens between two states.
    type Step: Copy + Debug;

    /// Where it begins.
    fn start(&self) -> Self::State;
    /// All that can happen now, with what is there then.
    fn next(&self, state: &Self::State) -> Vec<(Self::Step, Self::State)>;
    /// Whether the step is one that need not happen: a fault, or somebody's wish.
    fn is_disturbance(&self, step: Self::Step) -> bool;
    /// What is wrong with this step, if something is.
    fn breach(&self, before: &Self::State, step: Self::Step, after: &Self::State) -> Option<String>;
    /// Whether all that was to come about has come about.
    fn is_done(&self, state: &Self::State) -> bool;
}

/// What an exploration found.
#[derive(Debug)]
pub(super) struct Explored {
    /// How many states there are.
    pub(super) states: usize,
    /// How many steps lead from one to another.
    pub(super) steps: usize,
    /// The first thing that is wrong, and the steps that lead there.
    pub(super) breach: Option<String>,
}

/// A state that was reached: from where, by which step, and how many undisturbed steps lead to it.
struct Reached<S> {
    from: Option<(u32, S)>,
    undisturbed_in: u32,
}

/// Explores all of it, or up to the first breach.
///
/// That all comes to an end is shown so: the steps that are no disturbances make no circle, and where none is left
/// all is done. So from every state, whatever was disturbed before, every way that is disturbed no more ends well.
pub(super) fn explore<M: Model>(model: &M) -> Explored {
    let mut numbers: HashMap<M::State, u32> = HashMap::from([(model.start(), 0)]);
    let mut queue = vec![model.start()];
    let mut reached: Vec<Reached<M::Step>> = vec![Reached { from: None, undisturbed_in: 0 }];
    // The undisturbed steps out of each state, in the order of the states.
    let mut undisturbed: Vec<Vec<u32>> = Vec::new();
    let (mut at, mut steps) = (0, 0);
    while at < queue.len() {
        let (state, number) = (queue[at].clone(), u32::try_from(at).unwrap());
        let mut out = Vec::new();
        for (step, after) in model.next(&state) {
            steps += 1;
            if let Some(breach) = model.breach(&state, step, &after) {
                let way = format!("{breach}\nafter {:?}\nthen {step:?}: {after:?}", way_to(&reached, number));
                return Explored { states: queue.len(), steps, breach: Some(way) };
            }
            let fresh = u32::try_from(queue.len()).unwrap();
            let target = match numbers.entry(after) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(vacant) => {
                    queue.push(vacant.key().clone());
                    reached.push(Reached { from: Some((number, step)), undisturbed_in: 0 });
                    *vacant.insert(fresh)
                }
            };
            if !model.is_disturbance(step) {
                reached[target as usize].undisturbed_in += 1;
                out.push(target);
            }
        }
        if out.is_empty() && !model.is_done(&state) {
            let way = format!("nothing goes on any more\nafter {:?}: {state:?}", way_to(&reached, number));
            return Explored { states: queue.len(), steps, breach: Some(way) };
        }
        undisturbed.push(out);
        at += 1;
    }
    let breach = circle(&mut reached, &undisturbed).map(|number| {
        format!("it may go round for ever\nafter {:?}: {:?}", way_to(&reached, number), queue[number as usize])
    });
    Explored { states: queue.len(), steps, breach }
}

/// A state on a circle of undisturbed steps, or behind one: what is left when all that nothing leads to is taken
/// away, again and again.
fn circle<S>(reached: &mut [Reached<S>], undisturbed: &[Vec<u32>]) -> Option<u32> {
    let all = 0..u32::try_from(undisturbed.len()).unwrap();
    let mut free: Vec<u32> = all.clone().filter(|number| reached[*number as usize].undisturbed_in == 0).collect();
    while let Some(number) = free.pop() {
        for target in &undisturbed[number as usize] {
            let left = &mut reached[*target as usize].undisturbed_in;
            *left -= 1;
            if *left == 0 {
                free.push(*target);
            }
        }
    }
    all.into_iter().find(|number| reached[*number as usize].undisturbed_in > 0)
}

/// The steps that first led there.
fn way_to<S: Copy>(reached: &[Reached<S>], number: u32) -> Vec<S> {
    let mut way = Vec::new();
    let mut last = reached[number as usize].from;
    while let Some((from, step)) = last {
        way.push(step);
        last = reached[from as usize].from;
    }
    way.reverse();
    way
}

/// Counts up to three; may be set back, or go round, or stick.
struct Counter {
    sticks: bool,
    goes_round: bool,
}

impl Model for Counter {
    type State = u8;
    type Step = &'static str;

    fn start(&self) -> u8 {
        0
    }

    fn next(&self, state: &u8) -> Vec<(&'static str, u8)> {
        match state {
            2 if self.sticks => vec![("back", 0)],
            2 if self.goes_round => vec![("up", 3), ("round", 1)],
            0..3 => vec![("up", state + 1), ("back", 0)],
            _ => Vec::new(),
        }
    }

    fn is_disturbance(&self, step: &'static str) -> bool {
        step == "back"
    }

    fn breach(&self, before: &u8, _: &'static str, after: &u8) -> Option<String> {
        (*after > before + 1).then(|| "a number was left out".to_owned())
    }

    fn is_done(&self, state: &u8) -> bool {
        *state == 3
    }
}

#[test]
fn dead_ends_and_circles_are_found_and_disturbances_are_no_circles() {
    let found = |sticks, goes_round| explore(&Counter { sticks, goes_round });
    let well = found(false, false);
    assert_eq!((well.states, well.steps, well.breach), (4, 6, None));
    assert!(found(true, false).breach.unwrap().starts_with("nothing goes on"));
    assert!(found(false, true).breach.unwrap().starts_with("it may go round"));
}
