//! What a handler may ask for, on a temporary failure and on no other answer.

use super::Rig;
use crate::support::factory::{back_date, job};
use crate::support::receiver::{Answer, Receiver};
use std::time::{Duration, SystemTime};

fn busy() -> Answer {
    Answer::status(503).body("busy")
}

/// The delay after an answer with this `Retry-After`, and perhaps with a `Date`.
async fn delay_after(rig: &Rig, receiver: &Receiver, answer: Answer) -> f64 {
    receiver.on("/", answer);
    let seen = rig.first_try(job().url(receiver.url("/"))).await;
    seen.assert_temporary();
    assert_eq!((seen.retry_delay_secs, seen.remaining_retries), (60, 4));
    seen.delay_secs
}

#[tokio::test]
async fn retry_after_says_when_by_seconds_or_by_date() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let sent = ("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let told = [
        (busy().header("Retry-After", "100"), 100.0),
        (busy().header("Retry-After", "0"), 0.0),
        (busy().header("retry-after", " 7 "), 7.0),
        // By the handler's own clock, if it shows it.
        (busy().header("Retry-After", "Sun, 06 Nov 1994 08:59:37 GMT").header(sent.0, sent.1), 600.0),
        (busy().header("Retry-After", "Sun, 06 Nov 1994 08:00:00 GMT").header(sent.0, sent.1), 0.0),
        // Never longer than the settings allow.
        (busy().header("Retry-After", "99999999999999999999"), 3_600.0),
        (busy().header("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"), 3_600.0),
        // What can't be read is passed over.
        (busy().header("Retry-After", "soon"), 60.0),
        (busy().header("Retry-After", "-5"), 60.0),
        (busy().header("Retry-After", ""), 60.0),
        (busy().header("Retry-After", "1.5"), 60.0),
    ];
    for (answer, expected) in told {
        let name = format!("{answer:?}");
        let delay = match expected {
            // A job that is due at once is soon tried again; the answer makes it wait then.
            0.0 => continue_at_once(&rig, &receiver, answer).await,
            _ => delay_after(&rig, &receiver, answer).await,
        };
        assert!((delay - expected).abs() < 2.0, "{delay} after {name}");
    }
}

#[tokio::test]
async fn all_answers_that_only_mean_not_now_may_ask() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    for status in [408, 429, 502, 503, 504] {
        let delay = delay_after(&rig, &receiver, Answer::status(status).header("Retry-After", "100")).await;
        assert!((delay - 100.0).abs() < 2.0, "{delay} after {status}");
        receiver.on("/", Answer::status(status).header("x-bitlancer-retry-delay-secs", "33"));
        let seen = rig.first_try(job().url(receiver.url("/"))).await;
        assert_eq!(seen.retry_delay_secs, 33, "{status}");
    }
}

/// The handler's second answer is a success; the delay between the two tries counts as none.
async fn continue_at_once(rig: &Rig, receiver: &Receiver, answer: Answer) -> f64 {
    receiver.on_turns("/", [answer, Answer::ok()]);
    let seen = rig.finish(job().url(receiver.url("/"))).await;
    seen.assert_done();
    assert_eq!((seen.attempt, seen.remaining_retries), (2, 4));
    0.0
}

#[tokio::test]
async fn a_date_without_the_handlers_clock_counts_by_the_databases() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let (now,): (u64,) = rig.database.query_one("SELECT UNIX_TIMESTAMP()").await;
    let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(now + 1_000));
    let delay = delay_after(&rig, &receiver, busy().header("Retry-After", date)).await;
    // Less what passed since the question for the time.
    assert!((980.0..1_002.0).contains(&delay), "{delay}");
}

#[tokio::test]
async fn the_delay_header_is_the_jobs_delay_from_then_on() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    receiver.on_turns("/", [busy().header("x-bitlancer-retry-delay-secs", "300"), busy(), busy()]);
    let id = job().url(receiver.url("/")).insert(&rig.database).await;
    for (attempt, delay) in [(1, 300.0), (2, 600.0), (3, 1_200.0)] {
        let seen = rig.tried(id, attempt).await;
        seen.assert_delay(delay);
        assert_eq!(seen.retry_delay_secs, 300);
        back_date(&rig.database, id, 1).await;
    }
}

#[tokio::test]
async fn a_delay_header_that_cannot_be_used_is_passed_over() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    for value in ["-5", "soon", "", "1.5", "7s"] {
        let answer = busy().header("x-bitlancer-retry-delay-secs", value);
        let delay = delay_after(&rig, &receiver, answer).await;
        assert!((delay - 60.0).abs() < 2.0, "{delay} after {value:?}");
    }
}

#[tokio::test]
async fn a_delay_too_long_for_the_column_is_held_to_the_longest() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    for value in ["4000000000", "99999999999999999999"] {
        receiver.on("/", busy().header("x-bitlancer-retry-delay-secs", value));
        let seen = rig.first_try(job().url(receiver.url("/"))).await;
        seen.assert_delay(3_600.0);
        assert_eq!(seen.retry_delay_secs, i32::MAX);
    }
}

#[tokio::test]
async fn retry_after_goes_before_the_delay_header() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    receiver.on("/", busy().header("Retry-After", "9").header("x-bitlancer-retry-delay-secs", "300"));
    let seen = rig.first_try(job().url(receiver.url("/"))).await;
    seen.assert_delay(9.0);
    assert_eq!(seen.retry_delay_secs, 300);
}

#[tokio::test]
async fn the_url_header_moves_the_job() {
    let (rig, old, new) = (Rig::start("").await, Receiver::start().await, Receiver::start().await);
    old.on("/", busy().header("x-bitlancer-url", new.url("/there?a=b")));
    let seen = rig.finish(job().url(old.url("/")).retry_delay(0)).await;
    seen.assert_done();
    assert_eq!((seen.url, seen.attempt), (new.url("/there?a=b"), 2));
    assert_eq!((old.count(), new.requests_for("/there?a=b").len()), (1, 1));
}

#[tokio::test]
async fn a_url_header_that_cannot_be_called_is_passed_over() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let long = format!("http://127.0.0.1/{}", "x".repeat(70_000));
    for value in ["ftp://127.0.0.1/", "/elsewhere", "127.0.0.1", "", "http://", &long] {
        receiver.on("/", busy().header("x-bitlancer-url", value));
        let seen = rig.first_try(job().url(receiver.url("/"))).await;
        seen.assert_temporary();
        assert_eq!(seen.url, receiver.url("/"), "{value}");
    }
}

#[tokio::test]
async fn the_headers_change_nothing_on_any_other_answer() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let told = ["Retry-After", "x-bitlancer-retry-delay-secs"];
    for status in [200, 404, 500] {
        let answer = told.iter().fold(Answer::status(status), |answer, name| answer.header(*name, "300"));
        receiver.on("/", answer.header("x-bitlancer-url", "http://127.0.0.1:9/elsewhere"));
        let seen = rig.finish(job().url(receiver.url("/"))).await;
        assert_eq!((seen.url, seen.retry_delay_secs, seen.remaining_retries), (receiver.url("/"), 60, 5), "{status}");
    }
}

#[tokio::test]
async fn the_headers_change_the_row_of_a_job_that_is_given_up_too() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let elsewhere = "http://127.0.0.1:9/elsewhere";
    receiver.on("/", busy().header("x-bitlancer-url", elsewhere).header("x-bitlancer-retry-delay-secs", "300"));
    let seen = rig.finish(job().url(receiver.url("/")).retries(0)).await;
    assert_eq!((seen.state.as_str(), seen.url.as_str(), seen.retry_delay_secs), ("discarded", elsewhere, 300));
}
