//! The checker: what must hold after every scenario, judged from each job's story.

use super::load::{Written, retries_of};
use super::plan::signature;
use super::story::{Story, read_stories};
use super::{RESCUED_WITHIN, settles};
use crate::support::database::TestDatabase;
use crate::support::receiver::Receiver;
use crate::support::wait::until;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Others take a lock that stays free for a second for the sign of a death; the watch sees less of it than they do.
const SIGN_OF_DEATH: Duration = Duration::from_millis(800);

/// What was found, for the scenario's own bounds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Rows in the table.
    pub jobs: usize,
    /// Calls that the handler saw.
    pub calls: u32,
    /// Calls whose results were never recorded: those that a fault doubled.
    pub extra_calls: u32,
    /// Claims taken back from dispatchers that were gone.
    pub taken_back: u32,
    /// Jobs that the load committed in each second in which the database took them.
    pub written_per_second: usize,
    /// The longest time that a claim stood while its owner's lock was free and a dispatcher was alive.
    pub orphaned_for: Duration,
    /// The longest time that an owner's lock was free, while it had claims.
    pub lock_free_for: Duration,
    /// The longest time until a rescue began.
    pub rescue_after: Duration,
}

impl Found {
    /// For dispatchers that nobody can take for dead.
    pub fn assert_doubled_nothing(&self) {
        assert_eq!((self.extra_calls, self.taken_back), (0, 0), "{self:?}");
    }

    /// For dispatchers that all live, and lose their connections: where the lock of one was not free for long, nobody
    /// took it for dead. Else what was taken from it is all that may have been called twice.
    pub fn assert_taken_only_from_the_silent(&self) {
        assert!(self.extra_calls <= self.taken_back, "{self:?}");
        // A machine so busy that connecting takes a second makes a live one look dead.
        assert!(self.taken_back == 0 || self.lock_free_for >= SIGN_OF_DEATH, "{self:?}");
    }
}

/// Waits until all jobs are final and holds the invariants; under load that of the rescue too.
pub async fn check(database: &TestDatabase, receiver: &Receiver, written: &Written) -> Found {
    until("every job is final", settles(), async || unfinished(database).await == 0).await;
    let stories = read_stories(database, receiver, retries_of).await;
    let mut wrong: Vec<String> = stories.iter().flat_map(what_is_wrong).collect();
    let present: HashMap<u64, &str> = stories.iter().map(|story| (story.id, &story.url[..])).collect();
    // After a failover, another job may have the number of one that was lost.
    let is_there = |(id, path): &&(u64, String)| present.get(id).is_some_and(|url| url.ends_with(path));
    let lost = written.committed.iter().filter(|job| !is_there(job));
    wrong.extend(lost.map(|(id, path)| format!("job {id}, {path}, is lost")));
    let called: HashSet<String> = receiver.requests().into_iter().map(|request| request.path).collect();
    let rolled_back = written.rolled_back.iter().filter(|path| called.contains(*path));
    wrong.extend(rolled_back.map(|path| format!("{path} was rolled back, and called")));
    assert!(wrong.is_empty(), "{} of {} jobs:\n{}", wrong.len(), stories.len(), wrong.join("\n"));
    let mut found = Found { written_per_second: written.per_second, ..sum_up(&stories) };
    if let Some(watch) = &written.watch {
        (found.orphaned_for, found.rescue_after) = (watch.longest(), watch.longest_to_begin());
        found.lock_free_for = watch.longest_free();
        let by_looks = watch.longest_to_begin_by_looks();
        assert_eq!(watch.outstayed(), 0, "claims that expired, and no rescue: {found:?}");
        assert!(by_looks < RESCUED_WITHIN, "claims of the dead, and no rescue: {by_looks:?} by looks, {found:?}");
    }
    found
}

async fn unfinished(database: &TestDatabase) -> u64 {
    database
        .query_one("SELECT COUNT(*) FROM queued_job WHERE state NOT IN ('completed', 'discarded', 'cancelled')")
        .await
}

pub(super) fn sum_up(stories: &[Story]) -> Found {
    let calls = stories.iter().map(Story::all_calls).sum();
    let results: u32 = stories.iter().map(|story| story.lines.results()).sum();
    let taken_back = stories.iter().map(|story| story.lines.taken_back).sum();
    Found { jobs: stories.len(), calls, extra_calls: calls - results, taken_back, ..Found::default() }
}

/// What is said when a rule is broken, and the rule.
type Rule = (&'static str, fn(&Story) -> bool);

/// Every invariant that the job breaks, each in words.
pub(super) fn what_is_wrong(story: &Story) -> Vec<String> {
    let rules: [Rule; 13] = [
        ("it did not end as its handler said", ends_as_planned),
        ("it still has a claim that expires", |story| !story.expires),
        ("its times are missing or out of order", |story| story.times_in_order),
        ("a try was called twice within one claim", each_try_once),
        ("it was called more often than its retries allow", within_its_retries),
        ("a call is without a result, and nobody lost a claim", extra_calls_have_a_cause),
        ("a recorded result is of no call", |story| story.lines.results() <= story.all_calls()),
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

fn ends_as_planned(story: &Story) -> bool {
    let ending = (story.state.as_str(), story.result_code.unwrap_or(-1));
    if given_up(story) {
        return ending == ("discarded", 2) && story.remaining <= 0 && story.lines.given_up == 1;
    }
    ending == story.plan.ending()
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
    story.all_calls() <= story.lines.results() + story.lines.taken_back + story.lines.given_back
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
    let last = if given_up(story) {
        "(its dispatcher ended without a result)".to_owned()
    } else {
        signature(story.id, story.attempt)
    };
    story.response == last
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
    story.last_line == format!("[JOBID {id}] Job {result}: {}", signature(id, attempt))
}

/// A call that was recorded has its line; one whose dispatcher died may have.
fn calls_are_told(story: &Story) -> bool {
    let tries = story.attempt + story.lines.given_back;
    (story.lines.results()..=tries).contains(&story.lines.calling)
}
