//! What must hold after a scenario under load: of each job, of all that was committed and rolled back, and of the rescue.

use super::load::Written;
use super::{RESCUED_WITHIN, settles};
use crate::support::checker::{Scope, Story, extra_calls, read_stories, what_is_wrong};
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
    let stories = read_stories(database, &[receiver], Scope::All).await;
    let mut wrong: Vec<String> = stories.iter().flat_map(what_is_wrong).collect();
    let unplanned = stories.iter().filter(|story| story.plan.is_none());
    wrong.extend(unplanned.map(|story| format!("{} is of no plan", story.path)));
    let present: HashMap<u64, &str> = stories.iter().map(|story| (story.id, &story.path[..])).collect();
    // After a failover, another job may have the number of one that was lost.
    let is_there = |(id, path): &&(u64, String)| present.get(id).is_some_and(|there| there == path);
    let lost = written.committed.iter().filter(|job| !is_there(job));
    wrong.extend(lost.map(|(id, path)| format!("job {id}, {path}, is lost")));
    wrong.extend(called_though_rolled_back(receiver, written));
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

/// What was called of the jobs that were never committed.
pub fn called_though_rolled_back(receiver: &Receiver, written: &Written) -> Vec<String> {
    let called: HashSet<String> = receiver.requests().into_iter().map(|request| request.path).collect();
    let rolled_back = written.rolled_back.iter().filter(|path| called.contains(*path));
    rolled_back.map(|path| format!("{path} was rolled back, and called")).collect()
}

async fn unfinished(database: &TestDatabase) -> u64 {
    database
        .query_one("SELECT COUNT(*) FROM queued_job WHERE state NOT IN ('completed', 'discarded', 'cancelled')")
        .await
}

fn sum_up(stories: &[Story]) -> Found {
    let calls = stories.iter().map(Story::all_calls).sum();
    let taken_back = stories.iter().map(|story| story.lines.taken_back).sum();
    Found { jobs: stories.len(), calls, extra_calls: extra_calls(stories), taken_back, ..Found::default() }
}
