//! The checker can fail: made-up stories, each with one thing wrong.

use super::plan::Plan;
use super::{Lines, Story, extra_calls, what_is_wrong};
use std::collections::BTreeMap;

const PATH: &str = "/work?1-2";

/// A job that succeeded at its first try.
fn good() -> Story {
    let lines = Lines { calling: 1, succeeded: 1, ..Lines::default() };
    Story {
        id: 7,
        path: PATH.into(),
        plan: Some(Plan::Work),
        state: "completed".into(),
        result_code: Some(0),
        attempt: 1,
        retries: 5,
        remaining: 5,
        response: Plan::Work.words(7, 1, PATH),
        expires: false,
        times_in_order: true,
        lines,
        last_line: "[JOBID 7] Job succeeded: job 7 attempt 1 of /work?1-2".into(),
        calls: BTreeMap::from([(1, 1)]),
    }
}

/// The same, killed during its first call and done by the second.
fn rescued() -> Story {
    let lines = Lines { calling: 1, succeeded: 1, taken_back: 1, ..Lines::default() };
    let calls = BTreeMap::from([(1, 1), (2, 1)]);
    let last_line = "[JOBID 7] Job succeeded: job 7 attempt 2 of /work?1-2".into();
    Story { attempt: 2, remaining: 4, response: Plan::Work.words(7, 2, PATH), lines, last_line, calls, ..good() }
}

/// Failed at each of its three tries.
fn busy() -> Story {
    let lines = Lines { calling: 3, temporary: 3, ..Lines::default() };
    Story {
        plan: Some(Plan::Busy),
        state: "discarded".into(),
        result_code: Some(2),
        attempt: 3,
        retries: 2,
        remaining: 0,
        response: Plan::Work.words(7, 3, PATH),
        lines,
        last_line: "[JOBID 7] Job failed temporarily: job 7 attempt 3 of /work?1-2".into(),
        calls: BTreeMap::from([(1, 1), (2, 1), (3, 1)]),
        ..good()
    }
}

fn complaint(story: &Story) -> String {
    let mut wrong = what_is_wrong(story);
    assert!(!wrong.is_empty(), "nothing is found in {story:?}");
    wrong.remove(0)
}

#[test]
fn the_checker_passes_good_stories() {
    for story in [good(), rescued(), busy()] {
        assert_eq!(what_is_wrong(&story), Vec::<String>::new());
    }
    assert_eq!(extra_calls(&[good(), rescued()]), 1);
}

#[test]
fn the_checker_sees_a_job_that_ended_otherwise_than_its_handler_said() {
    let sees = |story: &Story, what: &str| what_is_wrong(story).iter().any(|wrong| wrong.contains(what));
    let story = Story { state: "discarded".into(), ..good() };
    assert!(sees(&story, "did not end as its handler said") && sees(&story, "it has no end"));
    let lines = Lines { succeeded: 0, ..good().lines };
    let story = Story { state: "executing".into(), result_code: None, expires: true, lines, ..good() };
    for what in ["it has no end", "did not end as its handler said", "has a claim that expires"] {
        assert!(sees(&story, what), "{what}");
    }
}

#[test]
fn the_checker_sees_a_try_that_was_called_twice() {
    let story = Story { calls: BTreeMap::from([(1, 2)]), ..good() };
    assert!(complaint(&story).contains("twice within one claim"));
    let given_back = Lines { given_back: 1, calling: 2, ..good().lines };
    assert!(what_is_wrong(&Story { lines: given_back, ..story }).is_empty(), "it had been given back between");
}

#[test]
fn the_checker_sees_a_second_call_that_no_fault_explains() {
    let story = Story { lines: Lines { taken_back: 0, ..rescued().lines }, ..rescued() };
    assert!(what_is_wrong(&story).iter().any(|what| what.contains("nobody lost a claim")));
}

#[test]
fn the_checker_sees_more_calls_than_retries() {
    let mut story = busy();
    story.calls.insert(4, 1);
    (story.attempt, story.lines.taken_back, story.response) = (4, 1, Plan::Work.words(7, 4, PATH));
    assert!(complaint(&story).contains("more often than its retries allow"));
    let cut_off = Lines { taken_back: 0, given_back: 1, ..story.lines };
    let story = Story { attempt: 3, lines: cut_off, calls: BTreeMap::from([(1, 1), (2, 1), (3, 2)]), ..busy() };
    assert!(what_is_wrong(&story).is_empty(), "a call that a stop cut off is no try");
}

#[test]
fn the_checker_sees_an_answer_of_an_earlier_claim_in_the_row() {
    let story = Story { response: Plan::Work.words(7, 1, PATH), ..rescued() };
    assert!(complaint(&story).contains("another try's"));
}

#[test]
fn the_checker_sees_a_log_that_tells_another_story() {
    let story = Story { lines: Lines { succeeded: 2, calling: 2, ..good().lines }, ..good() };
    assert!(complaint(&story).contains("of no call"));
    let story = Story { lines: Lines { calling: 0, ..good().lines }, ..good() };
    assert!(complaint(&story).contains("lines of its calls"));
    assert!(complaint(&Story { attempt: 3, ..good() }).contains("number of its tries"));
    assert!(complaint(&Story { remaining: 4, ..good() }).contains("does not add up"));
    let failed = Lines { succeeded: 0, permanent: 1, ..good().lines };
    assert!(complaint(&Story { lines: failed, ..good() }).contains("do not agree"));
    for last_line in [
        "[JOBID 7] Calling job with",
        "[JOBID 7] Job succeeded: job 7 attempt 2 of /work?1-2",
        "[JOBID 8] Job succeeded: job 7 attempt 1 of /work?1-2",
    ] {
        assert!(complaint(&Story { last_line: last_line.into(), ..good() }).contains("last line"));
    }
    assert!(complaint(&Story { times_in_order: false, ..good() }).contains("out of order"));
}

#[test]
fn the_checker_allows_giving_up_only_at_the_last_try() {
    let lines = Lines { taken_back: 2, given_up: 1, ..Lines::default() };
    let story = Story {
        state: "discarded".into(),
        result_code: Some(2),
        attempt: 2,
        retries: 1,
        remaining: 0,
        response: "(its dispatcher ended without a result)".into(),
        lines,
        last_line: "[JOBID 7] Job taken back: dispatcher x ended without a result, and no retry was left".into(),
        calls: BTreeMap::from([(1, 1), (2, 1)]),
        ..good()
    };
    assert_eq!(what_is_wrong(&story), Vec::<String>::new());
    let early = Story { lines: Lines { taken_back: 1, ..lines }, attempt: 1, remaining: 1, ..story.clone() };
    assert!(what_is_wrong(&early).iter().any(|what| what.contains("did not end as its handler said")));
    let silent = Story { lines: Lines { given_up: 0, ..lines }, ..story };
    assert!(what_is_wrong(&silent).iter().any(|what| what.contains("did not end as its handler said")));
}

#[test]
fn a_handler_without_a_plan_is_held_to_the_rest() {
    let unplanned = |story| Story { plan: None, response: "anything".into(), ..story };
    for story in [good(), rescued(), busy()] {
        assert_eq!(what_is_wrong(&unplanned(story)), Vec::<String>::new());
    }
    assert!(
        complaint(&unplanned(Story { calls: BTreeMap::from([(1, 2)]), ..good() })).contains("twice within one claim")
    );
    assert!(complaint(&unplanned(Story { state: "executing".into(), ..good() })).contains("no end"));
    let last_line = "[JOBID 7] Job failed temporarily: no".into();
    assert!(complaint(&unplanned(Story { last_line, ..good() })).contains("last line"));
}

/// A connection that failed is a result, and no handler knows of it; whoever came to one is known to it.
#[test]
fn the_checker_sees_a_result_that_no_handler_gave() {
    let unreached = Story { plan: None, calls: BTreeMap::new(), ..busy() };
    let lines = Lines { unreached: 3, ..unreached.lines };
    assert_eq!(what_is_wrong(&Story { lines, ..unreached.clone() }), Vec::<String>::new());
    let lines = Lines { unreached: 2, ..unreached.lines };
    assert!(complaint(&Story { lines, ..unreached }).contains("of no call"));
}

/// Where another job had the number before.
#[test]
fn the_checker_sees_the_answer_to_another_job_of_the_same_number() {
    let story = Story { response: Plan::Work.words(7, 1, "/work?0-2"), ..good() };
    assert!(complaint(&story).contains("another try's"));
}
