//! Response: from a handler's answer to what the call came to (pure).

use super::request::parse_url;
use crate::config::HttpConfig;
use crate::job::{Outcome, Retryable};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use std::time::{Duration, SystemTime};

/// A temporary failure may move the job to this URL (the ancestor's name).
pub const NEW_URL: &str = "x-bitlancer-url";
/// A temporary failure may set the job's `retry_delay_secs` (the ancestor's name).
pub const NEW_RETRY_DELAY: &str = "x-bitlancer-retry-delay-secs";

/// A whole answer, its body cut to the kept length.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's kept bytes.
    pub body: Vec<u8>,
}

/// Judges an answer. `now` is the database's clock, for a `Retry-After` date without a `Date` beside it.
#[must_use]
pub fn judge(answer: &Answer, http: &HttpConfig, now: SystemTime) -> Outcome {
    let response = kept_text(&answer.body, answer.status);
    if http.success_statuses.contains(answer.status) {
        Outcome::Succeeded { response }
    } else if http.retry_statuses.contains(answer.status) {
        Outcome::FailedTemporarily(Retryable {
            response,
            timed_out: false,
            retry_after: retry_after(&answer.headers, now),
            new_retry_delay_secs: new_retry_delay(&answer.headers),
            new_url: new_url(&answer.headers),
        })
    } else {
        Outcome::FailedPermanently { response }
    }
}

/// The body as text: invalid bytes and NULs replaced; the status in words when there is no body.
fn kept_text(body: &[u8], status: u16) -> String {
    if body.iter().all(u8::is_ascii_whitespace) {
        return format!("(status {status}, no body)");
    }
    String::from_utf8_lossy(body).replace('\0', "\u{fffd}")
}

/// `Retry-After`: seconds or a date (RFC 9110, section 10.2.3). A date counts from the answer's own `Date`.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = header(headers, RETRY_AFTER.as_str())?;
    if let Some(seconds) = whole_seconds(text) {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let sent = header(headers, DATE.as_str()).and_then(|text| httpdate::parse_http_date(text).ok()).unwrap_or(now);
    Some(date.duration_since(sent).unwrap_or(Duration::ZERO))
}

/// The job's new delay, held to what its column can hold.
fn new_retry_delay(headers: &HeaderMap) -> Option<u32> {
    let seconds = whole_seconds(header(headers, NEW_RETRY_DELAY)?)?;
    Some(u32::try_from(seconds).unwrap_or(u32::MAX).min(i32::MAX.unsigned_abs()))
}

/// Digits and nothing else; a number that is too large is the largest there is.
fn whole_seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// A URL to move to, if it is one that can be called; else the job stays where it is.
fn new_url(headers: &HeaderMap) -> Option<String> {
    let text = header(headers, NEW_URL)?;
    parse_url(text).is_ok().then(|| text.to_owned())
}

fn header<'headers>(headers: &'headers HeaderMap, name: &str) -> Option<&'headers str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::super::request::check_row;
    use super::*;
    use crate::config::{NetworkSet, StatusSet};
    use proptest::prelude::*;
    use reqwest::header::{HeaderName, HeaderValue};

    fn http() -> HttpConfig {
        HttpConfig {
            connect_timeout: Duration::from_secs(10),
            max_redirects: 5,
            max_response_bytes: 65_536,
            max_timeout_secs: 86_400,
            success_statuses: StatusSet(vec![200..=299]),
            retry_statuses: StatusSet(vec![408..=408, 429..=429, 502..=504]),
            deny_networks: NetworkSet::default(),
            ca_file: None,
        }
    }

    fn judged(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Outcome {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
            .collect();
        judge(&Answer { status, headers, body: body.to_vec() }, &http(), SystemTime::UNIX_EPOCH)
    }

    fn retryable(headers: &[(&str, &str)]) -> Retryable {
        match judged(503, headers, b"busy") {
            Outcome::FailedTemporarily(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn any_2xx_is_done_and_the_not_now_answers_are_temporary() {
        for status in [200, 201, 204, 299] {
            assert!(matches!(judged(status, &[], b"ok"), Outcome::Succeeded { .. }), "{status}");
        }
        for status in [408, 429, 502, 503, 504] {
            assert!(matches!(judged(status, &[], b"no"), Outcome::FailedTemporarily(_)), "{status}");
        }
        for status in [100, 301, 400, 404, 500, 501, 599] {
            assert!(matches!(judged(status, &[], b"no"), Outcome::FailedPermanently { .. }), "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        assert_eq!(retryable(&[("retry-after", "120")]).retry_after, Some(Duration::from_secs(120)));
        let date = ("retry-after", "Thu, 01 Jan 1970 00:01:00 GMT");
        assert_eq!(retryable(&[date]).retry_after, Some(Duration::from_secs(60)));
        let sent = ("date", "Thu, 01 Jan 1970 00:00:50 GMT");
        assert_eq!(retryable(&[date, sent]).retry_after, Some(Duration::from_secs(10)));
        assert_eq!(retryable(&[("retry-after", "soon")]).retry_after, None);
        let huge = "9".repeat(40);
        assert_eq!(retryable(&[("retry-after", &huge)]).retry_after, Some(Duration::from_secs(u64::MAX)));
    }

    #[test]
    fn the_ancestors_headers_move_the_job_and_set_its_delay() {
        let failure = retryable(&[(NEW_URL, "https://b/x"), (NEW_RETRY_DELAY, "7")]);
        assert_eq!((failure.new_url.as_deref(), failure.new_retry_delay_secs), (Some("https://b/x"), Some(7)));
        let nonsense = retryable(&[(NEW_URL, "ftp://b/x"), (NEW_RETRY_DELAY, "-7")]);
        assert_eq!((nonsense.new_url, nonsense.new_retry_delay_secs), (None, None));
    }

    #[test]
    fn an_answer_is_kept_as_text() {
        assert_eq!(judged(200, &[], b"a\xffb\0").response(), "a\u{fffd}b\u{fffd}");
        assert_eq!(judged(204, &[], b"").response(), "(status 204, no body)");
    }

    /// Header values as they may come: what is meant to be there, and bytes of all kinds.
    fn value() -> impl Strategy<Value = HeaderValue> {
        let text = "[0-9]{1,24}|-?\\+?[0-9]{1,4}|https?://[a-z@:?#]{0,9}|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} \
                    [0-9]{2}:[0-9]{2}:[0-9]{2} GMT";
        // No control characters: a client takes no header with them.
        let byte = any::<u8>().prop_map(|byte| if byte < b' ' || byte == 0x7f { b' ' } else { byte });
        let bytes = proptest::collection::vec(byte, 0..40);
        prop_oneof![text.prop_map(String::into_bytes), bytes].prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_a_handler_sends_only_a_temporary_failure_changes_the_row_and_never_to_what_cannot_be_used(
            status in 100_u16..600,
            (after, delay, url, sent) in (value(), value(), value(), value()),
            body in proptest::collection::vec(any::<u8>(), 0..60),
            now in any::<u32>(),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in [("retry-after", after), (NEW_RETRY_DELAY, delay), (NEW_URL, url), ("date", sent)] {
                headers.append(name.parse::<HeaderName>().unwrap(), value);
            }
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.into());
            let outcome = judge(&Answer { status, headers, body }, &http(), now);
            prop_assert!(!outcome.response().contains('\0') && !outcome.response().is_empty());
            prop_assert_eq!(http().success_statuses.contains(status), matches!(outcome, Outcome::Succeeded { .. }));
            if let Outcome::FailedTemporarily(failure) = outcome {
                prop_assert!(http().retry_statuses.contains(status));
                prop_assert!(failure.new_url.is_none_or(|url| check_row("post", &url, 60, 60).is_ok()));
                prop_assert!(failure.new_retry_delay_secs.is_none_or(|seconds| i32::try_from(seconds).is_ok()));
            }
        }

        #[test]
        fn seconds_to_wait_are_taken_at_their_word(seconds in any::<u64>()) {
            let told = retryable(&[("retry-after", &seconds.to_string())]);
            prop_assert_eq!(told.retry_after, Some(Duration::from_secs(seconds)));
        }
    }
}
