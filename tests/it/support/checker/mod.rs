//! The checker: what must hold of every job after every scenario, judged from its story.
//!
//! A handler may answer by plan, and then it is known how a job ends and whose answer its row holds. What else holds is
//! no matter of the answer.

pub mod plan;
mod story;
#[cfg(test)]
mod tests;

pub use story::{Lines, Scope, Story, read_stories};

/// What is said when a rule is broken, and the rule.
type Rule = (&'static str, fn(&Story) -> bool);

/// Fails with every invariant that one of the jobs breaks.
pub fn assert_well(stories: &[Story]) {
    let wrong: Vec<String> = stories.iter().flat_map(what_is_wrong).collect();
    assert!(wrong.is_empty(), "{} of {} jobs:\n{}", wrong.len(), stories.len(), wrong.join("\n"));
}

/// Calls whose results were never recorded: those that a fault doubled.
pub fn extra_calls(stories: &[Story]) -> u32 {
    stories.iter().map(|story| story.all_calls() + story.lines.unreached - story.lines.results()).sum()
}

/// Every invariant that the job breaks, each in words.
pub fn what_is_wrong(story: &Story) -> Vec<String> {
    let rules: [Rule; 14] = [
        ("it has no end", has_ended),
        ("it did not end as its handler said", ends_as_planned),
        ("it still has a claim that expires", |story| !story.expires),
        ("its times are missing or out of order", |story| story.times_in_order),
        ("a try was called twice within one claim", each_try_once),
        ("it was called more often than its retries allow", within_its_retries),
        ("a call is without a result, and nobody lost a claim", extra_calls_have_a_cause),
        ("a recorded result is of no call", results_are_of_calls),
        ("`attempt` is not the number of its tries", tries_add_up),
        ("`remaining_retries` does not add up", retries_add_up),
        ("its response is another try's", response_is_the_last_trys),
        ("the lines of its calls do not add up", calls_are_told),
        ("its row and its lines do not agree on how it ended", ends_are_told),
        ("its last line does not tell its end", last_line_tells_the_end),
    ];
    let broken = rules.into_iter().filter(|(_, holds)| !holds(story)).map(|(what, _)| what);
    broken.map(|what| format!("job {}: {what}: {story:?}", story.id)).collect()
}

/// Given up because its dispatcher ended at its last try.
fn given_up(story: &Story) -> bool {
    story.lines.given_up > 0
}

fn has_ended(story: &Story) -> bool {
    let endings = [("completed", 0), ("discarded", 1), ("discarded", 2)];
    story.result_code.is_some_and(|code| endings.contains(&(&story.state, code)))
}

fn ends_as_planned(story: &Story) -> bool {
    let ending = (story.state.as_str(), story.result_code.unwrap_or(-1));
    if given_up(story) {
        return ending == ("discarded", 2) && story.remaining <= 0 && story.lines.given_up == 1;
    }
    story.plan.is_none_or(|plan| ending == plan.ending())
}

/// A try is one claim, and a claim makes one call. Only what was given back is tried again under its number.
fn each_try_once(story: &Story) -> bool {
    story.calls.values().map(|calls| calls - 1).sum::<u32>() <= story.lines.given_back
}

/// A call that a stop cut off is made again as the same try.
fn within_its_retries(story: &Story) -> bool {
    story.calls.len() <= 1 + usize::try_from(story.retries).unwrap_or(0)
}

fn extra_calls_have_a_cause(story: &Story) -> bool {
    story.all_calls() + story.lines.unreached <= story.lines.results() + story.lines.taken_back + story.lines.given_back
}

fn results_are_of_calls(story: &Story) -> bool {
    story.lines.results() <= story.all_calls() + story.lines.unreached
}

/// Each claim ended in a result, was taken back, or was given back, which takes its number away again.
fn tries_add_up(story: &Story) -> bool {
    story.attempt == story.lines.results() + story.lines.taken_back
}

/// A retry was paid for each try that ended in a failure or was taken back, except the last one's.
fn retries_add_up(story: &Story) -> bool {
    let last = u32::from(story.result_code == Some(2));
    let paid = (story.lines.temporary + story.lines.taken_back).saturating_sub(last);
    i64::from(story.retries) - i64::from(story.remaining) == i64::from(paid)
}

/// No finish overwrote another claim's: the row holds what the handler said to its last try, or that there is no more.
fn response_is_the_last_trys(story: &Story) -> bool {
    if given_up(story) {
        return story.response == "(its dispatcher ended without a result)";
    }
    story.plan.is_none_or(|plan| story.response == plan.words(story.id, story.attempt, &story.path))
}

/// There is one success, or one failure for good, where the row has it, and none where it has not.
fn ends_are_told(story: &Story) -> bool {
    let is = |code| u32::from(story.result_code == Some(code));
    (story.lines.succeeded, story.lines.permanent) == (is(0), is(1))
}

/// The last word of the log is the row's: the same result, of the same try.
fn last_line_tells_the_end(story: &Story) -> bool {
    let Story { id, attempt, .. } = *story;
    if given_up(story) {
        return story.last_line.starts_with(&format!("[JOBID {id}] Job taken back:"));
    }
    let result = match story.result_code {
        Some(0) => "succeeded",
        Some(1) => "failed permanently",
        _ => "failed temporarily",
    };
    if let Some(plan) = story.plan {
        return story.last_line == format!("[JOBID {id}] Job {result}: {}", plan.words(id, attempt, &story.path));
    }
    let timed_out = result == "failed temporarily" && story.last_line.ends_with("] Job failed due to timeout");
    timed_out || story.last_line.starts_with(&format!("[JOBID {id}] Job {result}"))
}

/// A call that was recorded has its line; one whose dispatcher died may have, one that came to no handler, and one of a
/// result that was refused.
fn calls_are_told(story: &Story) -> bool {
    let tries = story.attempt + story.lines.given_back + story.lines.refused;
    (story.lines.results() - story.lines.unreached..=tries).contains(&story.lines.calling)
}
