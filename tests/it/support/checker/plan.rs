//! What each job's handler does: told by the path of its URL, so that a row and a call can be judged by themselves.

use super::super::receiver::{Answer, Received, Receiver};
use std::time::Duration;

/// What the handlers of all plain jobs say.
pub const PLAIN_WORDS: &str = "done";

/// What the handler of a job answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// 200.
    Work,
    /// 200, and the same words for every job, so that results come to the same.
    Plain,
    /// 503 to the first try, then 200.
    Flaky,
    /// 503 to every try.
    Busy,
    /// 404.
    Gone,
    /// 200; inserted with no retries, so it is never called twice.
    Once,
}

impl Plan {
    pub const ALL: [Plan; 6] = [Plan::Work, Plan::Plain, Plan::Flaky, Plan::Busy, Plan::Gone, Plan::Once];

    /// A mix as in life: most succeed, some after a retry, a few never.
    pub fn of_number(number: u32) -> Plan {
        match number % 20 {
            3 | 11 => Plan::Flaky,
            7 => Plan::Busy,
            13 => Plan::Gone,
            2 | 17 => Plan::Once,
            0 | 4 | 5 | 8 | 10 | 14 | 15 | 18 => Plan::Plain,
            _ => Plan::Work,
        }
    }

    pub fn path(self) -> &'static str {
        match self {
            Plan::Work => "/work",
            Plan::Plain => "/plain",
            Plan::Flaky => "/flaky",
            Plan::Busy => "/busy",
            Plan::Gone => "/gone",
            Plan::Once => "/once",
        }
    }

    /// The plan that a URL is for, if it is for one.
    pub fn of_url(url: &str) -> Option<Plan> {
        let path = url.split('?').next().unwrap_or_default();
        Plan::ALL.into_iter().find(|plan| path.ends_with(plan.path()))
    }

    /// With how many retries its rows are inserted.
    pub fn retries(self) -> i32 {
        match self {
            Plan::Once => 0,
            Plan::Busy => 2,
            Plan::Work | Plan::Plain | Plan::Flaky | Plan::Gone => 5,
        }
    }

    /// The state and the result code that the job ends with.
    pub(super) fn ending(self) -> (&'static str, i32) {
        match self {
            Plan::Work | Plan::Plain | Plan::Flaky | Plan::Once => ("completed", 0),
            Plan::Gone => ("discarded", 1),
            Plan::Busy => ("discarded", 2),
        }
    }

    /// What the handler says. But for the plain ones it names the job, the try and the path with its query, which is one job's
    /// even where another job once had its number. So the row shows whose answer it holds.
    pub fn words(self, job: u64, attempt: u32, path: &str) -> String {
        match self {
            Plan::Plain => PLAIN_WORDS.to_owned(),
            _ => format!("job {job} attempt {attempt} of {path}"),
        }
    }

    fn answer(self, attempt: u32) -> Answer {
        Answer::status(match self {
            Plan::Work | Plan::Plain | Plan::Once => 200,
            Plan::Flaky if attempt > 1 => 200,
            Plan::Flaky | Plan::Busy => 503,
            Plan::Gone => 404,
        })
    }
}

/// Which try a call says it is.
pub fn attempt_of(request: &Received) -> u32 {
    request.header("strings-queue-attempt").expect("a call tells its try").parse().unwrap()
}

/// Has the receiver answer by plan, each call so much later.
pub fn answer_by_plan(receiver: &Receiver, delay: Duration) {
    answer_by_plan_and(receiver, move |answer, _| answer.after(delay));
}

/// Has the receiver answer by plan, and each answer changed by the closure.
pub fn answer_by_plan_and(
    receiver: &Receiver,
    change: impl Fn(Answer, &Received) -> Answer + Clone + Send + Sync + 'static,
) {
    for plan in Plan::ALL {
        let change = change.clone();
        receiver.on_call(plan.path(), move |request| {
            let (job, attempt) = (request.job_id().unwrap(), attempt_of(request));
            change(plan.answer(attempt).body(plan.words(job, attempt, &request.path)), request)
        });
    }
}
