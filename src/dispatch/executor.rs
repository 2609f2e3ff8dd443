//! Executor: makes the call of one claimed job, as named steps.

use super::bodies::Bodies;
use super::clients::{Clients, is_out_of_files};
use super::network::denied_by;
use super::records::{Ahead, Ended, Record};
use super::redirects::SendError;
use super::request::check_row;
use super::response::{Answer, judge};
use super::slots::HostKey;
use crate::config::HttpConfig;
use crate::failpoints::failpoint;
use crate::job::{Attempt, JobId, Outcome, Retryable, messages};
use crate::panics;
use crate::store::{Body, ClaimedJob, HistoryLine};
use bytes::Bytes;
use reqwest::{Request, Response};
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A call that lasts longer shows its "Calling job" line while it is under way; a shorter one's is written
/// together with its result.
const SHOW_CALL_AFTER: Duration = Duration::from_millis(250);

/// How long a call that found no file to open holds its slot, before its job goes back.
const WITHOUT_FILES: Duration = Duration::from_secs(1);

/// What became of a claimed job.
struct Called {
    outcome: Outcome,
    status: Option<u16>,
    /// When its request was sent, if it was.
    sent_at: Option<Instant>,
}

impl Called {
    fn not(outcome: Outcome) -> Called {
        Called { outcome, status: None, sent_at: None }
    }
}

/// A call that is ready to be made.
struct Prepared {
    request: Box<Request>,
    /// How long the whole call may take.
    timeout: Duration,
}

/// Makes calls. Share it in an `Arc`.
///
/// There may be thousands of them, so what is handed from one async function to the next is boxed: each keeps a place for all
/// that it was given.
#[derive(Debug)]
pub struct Executor {
    /// The HTTP client.
    pub client: Clients,
    /// Where large bodies come from.
    pub bodies: Bodies,
    /// How answers are read and judged.
    pub http: HttpConfig,
    /// Where results go.
    pub records: mpsc::Sender<Record>,
    /// Ends all calls in flight, when a stop has waited long enough.
    pub interrupt: CancellationToken,
}

impl Executor {
    /// Makes the job's call and hands the result on to be recorded. How long the call took, if it was
    /// made and came to an end.
    pub async fn execute(&self, job: Box<ClaimedJob>, host: &HostKey) -> Option<Duration> {
        let begun = Instant::now();
        let mut ended = Ended::of(&job);
        let attempt = job.attempt;
        let calling = self.call_until_interrupted(job, host, &mut ended);
        let Called { outcome, status, sent_at } =
            panics::quietly_await(pin!(calling)).await.unwrap_or_else(|panic| broken(&panic));
        let now = Instant::now();
        failpoint!("after-call");
        log_outcome((ended.id, attempt), host, status, (now - begun, &outcome));
        let interrupted = matches!(outcome, Outcome::Interrupted);
        if !interrupted {
            ended.lines.push(line(ended.id, messages::finished(ended.id, &outcome)));
        }
        ended.outcome = outcome;
        // Nobody listens only when the service is being torn down; the row is rescued then.
        let _ = self.records.send(Record::Ended(ended)).await;
        sent_at.filter(|_| !interrupted).map(|sent_at| now - sent_at)
    }

    /// Hands a claimed job back uncalled.
    pub async fn give_back(&self, job: &ClaimedJob) {
        let _ = self.records.send(Record::Ended(Ended::of(job))).await;
    }

    async fn call_until_interrupted(&self, job: Box<ClaimedJob>, host: &HostKey, ended: &mut Ended) -> Called {
        if Instant::now() > job.begin_by.into() {
            return Called::not(Outcome::Interrupted);
        }
        let (calling, clock_micros) = (calling_line(&job), job.claimed_at_micros);
        failpoint!("before-call");
        let Prepared { request, timeout } = match self.prepare(job, host).await {
            Ok(prepared) => prepared,
            Err(outcome) => return Called::not(outcome),
        };
        ended.lines.push(calling);
        let sent_at = Some(Instant::now());
        let called = |(outcome, status)| Called { outcome, status, sent_at };
        let interrupted = || Called { outcome: Outcome::Interrupted, status: None, sent_at };
        // The HTTP client's part is by far the largest. Boxed, it is not copied each time this is moved.
        let mut exchange = Box::pin(self.exchange(request, timeout, clock_micros));
        tokio::select! {
            biased;
            result = &mut exchange => return called(result),
            () = self.interrupt.cancelled() => return interrupted(),
            () = tokio::time::sleep(SHOW_CALL_AFTER) => {}
        }
        self.show(ended);
        tokio::select! {
            biased;
            result = exchange => called(result),
            () = self.interrupt.cancelled() => interrupted(),
        }
    }

    /// Has the call's line written ahead of the result, if there is room for it. The call does not wait for that: a line
    /// that found none is written with the result.
    fn show(&self, ended: &mut Ended) {
        let Some(line) = ended.lines.pop() else { return };
        let (unwritten, ahead) = Ahead::of_a_line();
        match self.records.try_send(Record::Line(line, unwritten)) {
            Err(TrySendError::Full(Record::Line(line, _))) => ended.lines.push(line),
            _ => ended.ahead = Some(ahead),
        }
    }

    /// From the row to the request; or to what is wrong with it.
    async fn prepare(&self, mut job: Box<ClaimedJob>, host: &HostKey) -> Result<Prepared, Outcome> {
        let spec = check_row(&job.method, &job.url, job.timeout_secs, self.http.max_timeout_secs)
            .map_err(|unusable| permanent(unusable.to_string()))?;
        self.client.check(&spec.url).map_err(|denied| permanent(denied.to_string()))?;
        let body = self.load_body(&mut job, host).await?;
        let request = self
            .client
            .request((job.id, job.attempt), &spec, body)
            .map_err(|error| permanent(format!("unusable request: {}", cause(error))))?;
        Ok(Prepared { request: Box::new(request), timeout: spec.timeout })
    }

    /// A body that is not there in time gives the job back, so that its call never outlives the claim. Where it was on its
    /// way for most of that time, that is a failure: it would be so for ever.
    async fn load_body(&self, job: &mut ClaimedJob, host: &HostKey) -> Result<Option<Bytes>, Outcome> {
        let length = match std::mem::replace(&mut job.body, Body::Absent) {
            Body::Absent => return Ok(None),
            Body::Here(bytes) => return Ok(Some(bytes.into())),
            Body::InTable(length) => length,
        };
        let (begun, reading) = (Instant::now(), Mutex::new(None));
        // Few jobs have one; boxed, it takes no room in the state of all others.
        let load = self.bodies.load(job, length, (host, &reading));
        let loading = Box::pin(tokio::time::timeout_at(job.begin_by.into(), load));
        tokio::select! {
            loaded = loading => match loaded {
                Ok(Ok(bytes)) => Ok(Some(bytes)),
                Ok(Err(error)) => Err(temporary(format!("the body could not be loaded: {error}"))),
                Err(_) if is_most_of(begun, &reading) => Err(temporary(messages::BODY_TOO_SLOW.to_owned())),
                Err(_) => Err(Outcome::Interrupted),
            },
            () = self.interrupt.cancelled() => Err(Outcome::Interrupted),
        }
    }

    /// Sends the request and reads the answer, all within the job's timeout.
    async fn exchange(&self, request: Box<Request>, limit: Duration, clock_micros: u64) -> (Outcome, Option<u16>) {
        let begun = Instant::now();
        let exchange = async {
            let response = self.client.send(request).await?;
            Ok(self.read_answer(response).await?)
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(Ok(answer)) => {
                let now = SystemTime::UNIX_EPOCH + Duration::from_micros(clock_micros) + begun.elapsed();
                (judge(&answer, &self.http, now), Some(answer.status))
            }
            Ok(Err(SendError::Http(error))) if is_out_of_files(&error) => {
                self.client.close_kept();
                tokio::time::sleep(WITHOUT_FILES).await;
                (Outcome::Interrupted, None)
            }
            // Somebody has been called already, and the job is charged for that; the lack is the same.
            Ok(Err(SendError::Behind(error))) if is_out_of_files(&error) => {
                self.client.close_kept();
                tokio::time::sleep(WITHOUT_FILES).await;
                (failure(SendError::Behind(error)), None)
            }
            Ok(Err(error)) => (failure(error), None),
            Err(_) => (timeout(limit), None),
        }
    }

    /// Reads the body up to the kept length; the rest, however long, stays unread.
    async fn read_answer(&self, mut response: Response) -> Result<Answer, reqwest::Error> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            let room = self.http.max_response_bytes - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == self.http.max_response_bytes {
                break;
            }
        }
        Ok(Answer { status, headers, body })
    }
}

/// Whether what is under way since then, if it is, took most of the time until now.
fn is_most_of(begun: Instant, since: &Mutex<Option<Instant>>) -> bool {
    since.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|since| since.elapsed() * 2 > begun.elapsed())
}

fn calling_line(job: &ClaimedJob) -> HistoryLine {
    let message = messages::calling(job.id, &job.method, &job.url, job.timeout_secs);
    HistoryLine { job: job.id, message, at_micros: Some(job.claimed_at_micros) }
}

fn line(job: JobId, message: String) -> HistoryLine {
    HistoryLine { job, message, at_micros: None }
}

/// What a failed exchange comes to: only a redirect that leads nowhere, and a request that can't be built, are
/// for ever; all else is a broken connection.
fn failure(error: SendError) -> Outcome {
    let error = match error {
        SendError::Http(error) | SendError::Behind(error) => error,
        SendError::Denied(denied) => return permanent(denied.to_string()),
        other => return permanent(format!("redirect not followed: {other}")),
    };
    if let Some(denied) = denied_by(&error) {
        return permanent(denied.to_string());
    }
    if error.is_builder() {
        return permanent(format!("unusable request: {}", cause(error)));
    }
    let what = if error.is_connect() { "connection failed" } else { "connection broke" };
    temporary(format!("{what}: {}", cause(error)))
}

/// The innermost cause of an error, without the URL, which may hold secrets.
fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if std::ptr::addr_eq(innermost, &raw const error) { error.to_string() } else { innermost.to_string() }
}

/// A panic breaks the call that it happens in and no other. The call may have been made, so it is tried again, and
/// a job that breaks each of its calls comes to an end.
fn broken(panic: &str) -> Called {
    tracing::error!(panic, "a call broke off inside strings-queue; please report it");
    Called::not(temporary("(the call broke off by a fault of strings-queue itself)".to_owned()))
}

fn timeout(after: Duration) -> Outcome {
    Outcome::FailedTemporarily(Retryable {
        response: format!("(no whole answer within {} s)", after.as_secs()),
        timed_out: true,
        ..Retryable::default()
    })
}

fn temporary(response: String) -> Outcome {
    Outcome::FailedTemporarily(Retryable { response, ..Retryable::default() })
}

fn permanent(response: String) -> Outcome {
    Outcome::FailedPermanently { response }
}

/// The one line on stderr for a call.
fn log_outcome(
    (job, attempt): (JobId, Attempt),
    host: &HostKey,
    status: Option<u16>,
    (duration, outcome): (Duration, &Outcome),
) {
    let message = messages::one_line(&messages::finished(job, outcome));
    let duration_ms = (duration.as_secs_f64() * 1e6).round() / 1e3;
    let (job, attempt, status) = (job.0, attempt.0, status.unwrap_or(0));
    match outcome {
        Outcome::Succeeded { .. } | Outcome::Interrupted => {
            tracing::info!(job, attempt, %host, status, duration_ms, "{message}");
        }
        _ => tracing::warn!(job, attempt, %host, status, duration_ms, "{message}"),
    }
}
