//! Request: from a row to the call it asks for, or to what is wrong with it (pure).

use super::slots::HostKey;
use crate::job::url_text::display_url;
use reqwest::{Method, Url};
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// The longest URL that an HTTP client sends (`http::Uri` keeps its length in 16 bits).
const MAX_URL_BYTES: usize = 65_534;

/// What a row asks for, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct CallSpec {
    /// The method, upper case where it is one of the standard ones.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// How long the whole call may take, body included.
    pub timeout: Duration,
}

impl fmt::Debug for CallSpec {
    /// Without the secrets of the URL.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CallSpec { method, url, timeout } = self;
        write!(formatter, "{method} {} within {timeout:?}", display_url(url.as_str()))
    }
}

/// What makes a row unusable. The text is the job's one message: it names the column and what mends it, and
/// shows no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The URL has no place to go to.
    #[error("unusable url: {0}")]
    Url(String),
    /// The method is not an HTTP token.
    #[error("unusable http_method '{}': it must be letters such as GET or POST, without spaces", .0.escape_debug())]
    Method(String),
    /// The method asks for a tunnel, which is no call.
    #[error("unusable http_method 'CONNECT': it asks for a tunnel through a proxy, not for a call")]
    Connect,
    /// The timeout is out of range.
    #[error("unusable timeout_secs {timeout_secs}: it must be from 1 to {most} ([http] max_timeout_secs)")]
    Timeout {
        /// What the row has.
        timeout_secs: i32,
        /// The most that the settings allow.
        most: u32,
    },
}

/// Checks a row's method, URL and timeout.
pub fn check_row(method: &str, url: &str, timeout_secs: i32, most: u32) -> Result<CallSpec, Unusable> {
    let timeout = u32::try_from(timeout_secs)
        .ok()
        .filter(|seconds| (1..=most).contains(seconds))
        .ok_or(Unusable::Timeout { timeout_secs, most })?;
    Ok(CallSpec {
        method: parse_method(method)?,
        url: parse_url(url)?,
        timeout: Duration::from_secs(u64::from(timeout)),
    })
}

/// The methods of RFC 9110 and PATCH (RFC 5789) may be written in any case, as the ancestor allowed; any other
/// token is sent as it is, for methods are case-sensitive (RFC 9110, section 9.1).
fn parse_method(method: &str) -> Result<Method, Unusable> {
    const STANDARD: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"];
    let upper = method.to_ascii_uppercase();
    if upper == "CONNECT" {
        return Err(Unusable::Connect);
    }
    let name = if STANDARD.contains(&upper.as_str()) { &upper } else { method };
    Method::from_bytes(name.as_bytes()).map_err(|_| Unusable::Method(method.to_owned()))
}

/// A URL that can be called, or why it can't be.
pub fn parse_url(text: &str) -> Result<Url, Unusable> {
    check_length(text)?;
    if text.contains(|character: char| character.is_control()) {
        return Err(Unusable::Url("it has a control character (such as NUL or a line break) in it".to_owned()));
    }
    let url =
        Url::parse(text.trim()).map_err(|error| Unusable::Url(format!("{error}; write it as http://host/path")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong_scheme(text, &url));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Unusable::Url("it has no host".to_owned()));
    }
    // Some characters grow to three when they are encoded.
    check_length(url.as_str())?;
    Ok(url)
}

fn check_length(url: &str) -> Result<(), Unusable> {
    if url.len() > MAX_URL_BYTES {
        return Err(Unusable::Url(format!("it is too long; at most {MAX_URL_BYTES} bytes can be sent")));
    }
    Ok(())
}

/// What stands before the first colon is a scheme only where slashes follow: else it is a host with a port, or a
/// user with a password.
fn wrong_scheme(text: &str, url: &Url) -> Unusable {
    Unusable::Url(if text.contains("://") && !url.cannot_be_a_base() {
        format!("the scheme is '{}'; only http and https can be called", url.scheme())
    } else {
        "it begins with neither http:// nor https://".to_owned()
    })
}

/// The hosts of URLs seen lately, by the beginnings of their texts: parsing a URL for its host alone is dear.
#[derive(Debug, Default)]
pub struct HostKeys(HashMap<Box<str>, HostKey>);

/// So many beginnings are kept.
const HOSTS_KEPT: usize = 1_000;
/// A name and a port with a user and a password before them are shorter, in bytes; texts that may be anything are not kept.
const LONGEST_BEGINNING: usize = 1_000;

impl HostKeys {
    /// As [`host_key`]; but what has far too long a name is nobody's.
    pub fn of(&mut self, url: &str) -> HostKey {
        let beginning = beginning(url);
        if beginning.len() > LONGEST_BEGINNING {
            return HostKey(NO_HOST.into());
        }
        if let Some(host) = self.0.get(beginning) {
            return host.clone();
        }
        let host = host_key(url);
        if self.0.len() >= HOSTS_KEPT {
            self.0.clear();
        }
        self.0.insert(beginning.into(), host.clone());
        host
    }
}

/// A URL up to its path: all that its host depends on. Without a scheme, or without a host where it belongs, that is all of
/// it, for such a text may be anything.
fn beginning(url: &str) -> &str {
    let Some(authority) = url.find("://").map(|at| at + 3) else { return url };
    let length = url[authority..].find(['/', '\\', '?', '#']).unwrap_or(url.len() - authority);
    // The host may stand behind more slashes than two.
    if length == 0 { url } else { &url[..authority + length] }
}

/// The host that all unusable URLs count for.
const NO_HOST: &str = "(none)";

/// The host that a URL's call counts for: name and port.
#[must_use]
pub fn host_key(url: &str) -> HostKey {
    let parsed = Url::parse(url.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let key = parsed.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    HostKey(key.map_or_else(|| NO_HOST.into(), |(host, port)| format!("{host}:{port}").into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::printable::is_unprintable;
    use proptest::prelude::*;

    fn fault(method: &str, url: &str, timeout_secs: i32) -> String {
        check_row(method, url, timeout_secs, 86_400).unwrap_err().to_string()
    }

    #[test]
    fn a_good_row_is_taken_as_it_is() {
        let spec = check_row("post", "http://web:8080/a?b=c", 120, 86_400).unwrap();
        assert_eq!((spec.method, spec.timeout), (Method::POST, Duration::from_secs(120)));
        assert_eq!(spec.url.as_str(), "http://web:8080/a?b=c");
        assert_eq!(check_row("Purge", "http://web/", 1, 1).unwrap().method.as_str(), "Purge");
    }

    #[test]
    fn each_unusable_column_is_named() {
        assert!(fault("post", "not a url", 60).starts_with("unusable url: relative URL without a base"));
        assert!(fault("post", "ftp://web/a", 60).contains("the scheme is 'ftp'"));
        assert!(fault("post", "web:8080/a", 60).contains("begins with neither"));
        assert!(fault("po st", "http://web/", 60).starts_with("unusable http_method 'po st'"));
        assert!(fault("", "http://web/", 60).starts_with("unusable http_method"));
        assert!(fault("connect", "http://web/", 60).starts_with("unusable http_method 'CONNECT'"));
        for timeout_secs in [0, -5, 1_000_000_000] {
            assert!(fault("post", "http://web/", timeout_secs).starts_with("unusable timeout_secs"));
        }
        assert!(fault("post", "http://web/\0", 60).contains("control character"));
        assert!(fault("post", &format!("http://web/{}", "x".repeat(2_000_000)), 60).contains("too long"));
        assert!(fault("post", "http://", 60).starts_with("unusable url"));
        assert!(fault("post", "", 60).starts_with("unusable url"));
    }

    #[test]
    fn no_secret_of_a_url_is_in_its_fault() {
        for url in ["ftp://ann:s3cret@web/?t=s3cret", "s3cret:s3cret@web/?url=http://web", "s3cret://s3cret"] {
            let fault = fault("post", url, 60);
            assert!(!fault.contains("s3cret") || url.starts_with("s3cret://"), "{fault}");
        }
    }

    #[test]
    fn a_host_that_was_seen_is_the_same() {
        let mut hosts = HostKeys::default();
        let urls =
            ["http://web/a", "http://WEB:80?x", "https://web/", " http://web/", "http:/web/", "nonsense", "http:web"];
        for url in urls.iter().chain(&urls).chain(&[
            "http://web/b",
            "http://a@web#x",
            "http:///web/",
            "http:///other/",
            "http:\\\\\\third/",
        ]) {
            assert_eq!(hosts.of(url), host_key(url), "{url}");
        }
        for number in 0..=HOSTS_KEPT {
            hosts.of(&format!("http://host{number}/"));
        }
        assert!(hosts.0.len() <= HOSTS_KEPT);
    }

    #[test]
    fn calls_count_for_host_and_port() {
        assert_eq!(host_key("http://WEB/a"), host_key("http://web:80/b?c"));
        assert_ne!(host_key("http://web/"), host_key("https://web/"));
        assert_eq!(host_key("http://[::1]:80/").to_string(), "[::1]:80");
        assert_eq!(host_key("nonsense"), host_key("ftp://web/"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_passes_can_be_called_and_whatever_does_not_is_told_in_one_line(
            method in "[A-Za-z]{3,6}|\\PC{0,8}|(?s).{0,4}",
            url in "https?://[a-z0-9.:@\\[\\]%-]{0,20}[/?#a-z%\u{e9} ]{0,10}|(?s).{0,40}|[a-z]{2,6}:[/a-z@]{0,12}",
            timeout_secs in any::<i32>(),
            most in 1_u32..100_000,
        ) {
            match check_row(&method, &url, timeout_secs, most) {
                Ok(spec) => {
                    prop_assert!(matches!(spec.url.scheme(), "http" | "https") && spec.url.has_host());
                    prop_assert_eq!(spec.timeout.as_secs(), u64::try_from(timeout_secs).unwrap());
                    prop_assert!((1..=u64::from(most)).contains(&spec.timeout.as_secs()));
                    let built = reqwest::Client::new().request(spec.method, spec.url).build();
                    prop_assert!(built.is_ok(), "{url:?}: {built:?}");
                }
                Err(unusable) => {
                    let text = unusable.to_string();
                    prop_assert!(!text.chars().any(is_unprintable), "{text:?}");
                    prop_assert!(text.starts_with("unusable "), "{text}");
                }
            }
        }

        #[test]
        fn no_secret_of_an_unusable_url_is_told(
            beginning in "[a-z]{0,5}:?[/\\\\]{0,3}", secret in "[A-Z]{12}", tail in "[ -~\n\0]{0,6}",
        ) {
            for url in [format!("{beginning}{secret}:{secret}@{tail}"), format!("{beginning}web{tail}?{secret}")] {
                match check_row("post", &url, 60, 60) {
                    Ok(spec) => prop_assert!(!format!("{spec:?}").contains(&secret), "{spec:?}"),
                    Err(unusable) => {
                        let text = unusable.to_string();
                        prop_assert!(!text.to_lowercase().contains(&secret.to_lowercase()), "{url:?}: {text}");
                    }
                }
            }
        }
    }

    #[test]
    fn texts_that_may_be_anything_are_not_kept() {
        let mut hosts = HostKeys::default();
        for long in ["x".repeat(5_000_000), format!("http://{}/", "x".repeat(5_000_000))] {
            assert_eq!(&*hosts.of(&long).0, NO_HOST);
        }
        assert_eq!(&*hosts.of("http://user:word@a.test/x").0, "a.test:80");
        assert_eq!(hosts.0.keys().map(|kept| kept.len()).collect::<Vec<_>>(), ["http://user:word@a.test".len()]);
    }
}
