//! What was left to a dispatcher that turns out to be dead: the others take it, and the log is not to blame.

use super::checker::check;
use super::kills::hold_first_tries;
use super::load::Written;
use super::plan::answer_by_plan;
use super::{NO_SWEEP, following, ledger, stage_without_load};
use crate::support::factory::job;
use crate::support::receiver::Gate;
use std::time::Duration;

const LEFT: usize = 200;

/// By the row that it holds, the dead one looks alive for a second: as many jobs are left to it as to the next one, which
/// is busy with its own until after that.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_were_left_to_a_dead_dispatcher_are_no_loss_of_the_log() {
    let (database, receiver) = stage_without_load().await;
    let gate = Gate::closed();
    hold_first_tries(&receiver, &gate);
    let ini = database.ini(&format!("{NO_SWEEP}[dispatch]\nmax_in_flight: 1\n"));
    let mut first = following(&ini).await;
    job().url(receiver.url("/work")).timeout(3_000).insert(&database).await;
    receiver.wait_for(1, Duration::from_secs(20)).await;
    first.kill().await;
    job().url(receiver.url("/work")).due_for(10).insert_times(&database, LEFT).await;
    answer_by_plan(&receiver, Duration::from_millis(30));
    let mut next = following(&ini).await;
    let found = check(&database, &receiver, &Written::default()).await;
    assert_eq!((found.jobs, found.extra_calls, found.taken_back), (LEFT + 1, 1, 1), "{found:?}");
    assert_eq!(next.stop(Duration::from_secs(10)).await, Some(0));
    assert_eq!(ledger::assert_lost_to(&next, "lost_to_down"), LEFT as u64);
}
