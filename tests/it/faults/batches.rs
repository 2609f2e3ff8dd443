//! The same faults with batches forced to one job and forced large, for claims and for results.

use super::load::Load;
use super::plan::{PLAIN_WORDS, answer_by_plan};
use super::{NO_SWEEP, database, kills, network, stage_in};
use crate::support::database::{TestDatabase, TestServer};
use crate::support::receiver::Receiver;
use crate::support::turn::Turn;
use std::time::Duration;

/// Jobs in each transaction of the load that makes batches large.
const ROWS: u32 = 100;
/// A batch of so many is large.
const LARGE: u64 = 30;
/// So many write-backs of one service are at work at once.
const AT_ONCE: u64 = 2;

/// How large the batches of a scenario are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batches {
    /// As they form by themselves.
    Any,
    /// No claim and no write-back takes more than one job.
    OfOne,
    /// A hundred jobs come at a time, there are slots for all of them, and their calls end together.
    Large,
}

impl Batches {
    /// As [`super::stage_on`]. Large batches keep every processor busy.
    pub async fn stage_on(self, server: &TestServer) -> (TestDatabase, Receiver) {
        let turn = if self == Batches::Large { Turn::take_all().await } else { Turn::take().await };
        let (database, receiver) = stage_in(Some(turn), server).await;
        if self == Batches::Large {
            answer_by_plan(&receiver, self.calls_take());
        }
        (database, receiver)
    }

    pub fn settings(self) -> String {
        let dispatch = match self {
            Batches::Any => "",
            Batches::OfOne => "[dispatch]\nbatch_size: 1\n",
            Batches::Large => "[dispatch]\nbatch_size: 1000\nmax_in_flight: 2000\nmax_in_flight_per_host: 2000\n",
        };
        format!("{NO_SWEEP}{dispatch}")
    }

    /// Some hundred jobs a second.
    pub fn load(self, database: &TestDatabase, url: &str) -> Load {
        match self {
            Batches::Any | Batches::OfOne => Load::start(database, url, (4, 60)),
            Batches::Large => Load::start_in_bulk(database, url, (2, 2), ROWS),
        }
    }

    /// How a scenario is told apart from its other forms.
    pub fn name(self, scenario: &str) -> String {
        match self {
            Batches::Any => scenario.to_owned(),
            Batches::OfOne => format!("{scenario}, batches of one"),
            Batches::Large => format!("{scenario}, large batches"),
        }
    }

    /// How long each call takes: with large batches for most of the time, so that a kill finds many under way.
    pub fn calls_take(self) -> Duration {
        Duration::from_millis(if self == Batches::Large { 150 } else { 10 })
    }

    /// What is promised of a rescue is that it begins in time. One of hundreds of jobs, amid claims as large, takes a
    /// while: other statements have rows of it locked, and what is locked is left to the next look.
    pub fn ends_in_time_too(self) -> bool {
        self != Batches::Large
    }

    /// The tables show it: a claim has one token, and what one write-back wrote has one time. Those that are at work at
    /// once have the same one now and then, as they begin together when the server has committed for all of them.
    pub async fn assert_formed(self, database: &TestDatabase) {
        // What was taken back at its last try has no token any more.
        self.assert_sizes(database, ("claim", "queued_job", "claim_token", "claim_token IS NOT NULL")).await;
        let lines = ("write-back", "queued_job_log", "created_at", "msg LIKE '%Job succeeded%'");
        self.assert_sizes(database, lines).await;
        if self == Batches::Large {
            assert_some_were_alike(database).await;
        }
    }

    async fn assert_sizes(self, database: &TestDatabase, (what, table, column, rows): (&str, &str, &str, &str)) {
        let sql = format!(
            "SELECT CAST(MAX(jobs) AS UNSIGNED), CAST(SUM(IF(jobs > 1, jobs, 0)) AS UNSIGNED), \
             CAST(SUM(IF(jobs >= {LARGE}, jobs, 0)) AS UNSIGNED), CAST(SUM(jobs) AS UNSIGNED) \
             FROM (SELECT COUNT(*) AS jobs FROM {table} WHERE {rows} GROUP BY {column}) AS batches"
        );
        let (largest, shared, in_large, all): (u64, u64, u64, u64) = database.query_one(&sql).await;
        let holds = match self {
            Batches::Any => true,
            Batches::OfOne if what == "claim" => largest == 1,
            Batches::OfOne => largest <= AT_ONCE && shared * 3 <= all,
            Batches::Large => in_large * 2 > all,
        };
        assert!(
            holds,
            "{self:?}: a {what} of {largest} is the largest; of {all} jobs {shared} came with others, {in_large} in large ones"
        );
    }
}

/// Results of one claim that are the same, as those of the plain jobs are, are written by an UPDATE of their own from four
/// on.
async fn assert_some_were_alike(database: &TestDatabase) {
    let sql = format!(
        "SELECT CAST(SUM(IF(jobs >= 4, jobs, 0)) AS UNSIGNED), CAST(SUM(jobs) AS UNSIGNED) FROM (SELECT COUNT(*) AS jobs \
         FROM queued_job AS job JOIN queued_job_log AS log ON log.job_id = job.id AND log.msg LIKE '%Job succeeded%' \
         WHERE job.last_response = '{PLAIN_WORDS}' AND job.attempt = 1 GROUP BY job.claim_token, log.created_at) AS alike"
    );
    let (in_groups, all): (u64, u64) = database.query_one(&sql).await;
    assert!(in_groups * 2 > all, "of {all} plain jobs {in_groups} were written with others like them");
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_with_batches_of_one() {
    kills::killed_again_and_again(Batches::OfOne).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_with_large_batches() {
    kills::killed_again_and_again(Batches::Large).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deaths_of_the_database_with_batches_of_one() {
    database::killed_or_restarted(Batches::OfOne).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deaths_of_the_database_with_large_batches() {
    database::killed_or_restarted(Batches::Large).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_with_batches_of_one() {
    network::connections_cut(Batches::OfOne, 1).await.assert_doubled_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_with_large_batches() {
    network::connections_cut(Batches::Large, 1).await.assert_doubled_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_and_finishes_of_one_cut_at_their_worst_moment() {
    network::cut_at_the_worst_moment(Batches::OfOne, 1).await.assert_doubled_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_claims_and_finishes_cut_at_their_worst_moment() {
    network::cut_at_the_worst_moment(Batches::Large, 1).await.assert_doubled_nothing();
}
