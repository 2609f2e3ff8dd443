//! A job's URL as it may be shown: in logs, messages and errors.

use super::printable::one_line;
use url::Url;

/// The longest URL shown; the rest is cut with an ellipsis.
const SHOWN_CHARS: usize = 500;
/// Stands for a URL that nobody can read and that may hold a secret.
const HIDDEN: &str = "(a url that can't be read)";

/// The URL without what may be secret: no user-info, no query values, no fragment; what is unprintable escaped; cut
/// at 500 characters.
///
/// A URL that is written in the ordinary way is shown as it is written. There are others that clients understand all
/// the same (`http:/ann:secret@web/`, `HTTP:\\…`, tabs within): they are shown as they are understood. Of what nobody
/// understands, nothing is shown that has an `@`.
#[must_use]
pub fn display_url(url: &str) -> String {
    let shown = ordinary(url).or_else(|| understood(url)).unwrap_or_else(|| unreadable(url));
    shortened(&shown)
}

/// A URL whose parts can be told by sight: `http://`, a host, nothing but printable ASCII.
fn ordinary(url: &str) -> Option<String> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    if rest.starts_with(['/', '\\']) || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (authority, tail) = rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit('@').next()?;
    // Else it may be a password with a `/` or `?` in it, cut in the middle.
    let port = host.rsplit_once(':').filter(|(name, _)| !name.starts_with('[') || name.ends_with(']'));
    if port.is_some_and(|(_, port)| !port.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    let scheme = &url[..url.len() - rest.len()];
    Some(format!("{scheme}{host}{}", without_query(tail)))
}

/// A URL as a client understands it.
fn understood(url: &str) -> Option<String> {
    let parsed = Url::parse(url.trim()).ok().filter(|parsed| matches!(parsed.scheme(), "http" | "https"))?;
    let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
    let query = if parsed.query().is_some() { "?…" } else { "" };
    Some(format!("{}://{}{port}{}{query}", parsed.scheme(), parsed.host_str()?, parsed.path()))
}

fn unreadable(url: &str) -> String {
    if url.contains('@') { HIDDEN.to_owned() } else { without_query(url) }
}

/// Up to the query, of which only the question mark is shown.
fn without_query(text: &str) -> String {
    match text.find(['?', '#']) {
        Some(end) if text[end..].starts_with('?') => format!("{}?…", &text[..end]),
        Some(end) => text[..end].to_owned(),
        None => text.to_owned(),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", one_line(&text[..end])),
        None => one_line(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn user_info_and_query_values_are_hidden() {
        assert_eq!(display_url("http://ann:s3cret@web/a?token=t#f"), "http://web/a?…");
        assert_eq!(display_url("https://web:8080/a/b"), "https://web:8080/a/b");
        assert_eq!(display_url("http://a:p@ss@web/x@y"), "http://web/x@y");
        assert_eq!(display_url("http://ann:s3cret@[::1]:80/a"), "http://[::1]:80/a");
        assert_eq!(display_url("http://web#f"), "http://web");
    }

    #[test]
    fn odd_urls_are_shown_as_clients_understand_them() {
        for odd in [
            "http:/ann:s3cret@web/a?t=s3cret",
            "http:///ann:s3cret@web/a?t=s3cret",
            "http:\\\\ann:s3cret@web\\a?t=s3cret",
            "http:ann:s3cret@web/a?t=s3cret",
            " HTTP:\t//ann:s3cret@web/a?t=s3cret",
        ] {
            assert_eq!(display_url(odd), "http://web/a?…", "{odd}");
        }
    }

    #[test]
    fn of_what_nobody_understands_nothing_with_a_secret_is_shown() {
        for unreadable in ["ann:s3cret@web/a", "http://ann:s3?cret@web/", "ftp://ann:s3cret@web/", "/a?b=c@s3cret"] {
            assert_eq!(display_url(unreadable), HIDDEN, "{unreadable}");
        }
        assert_eq!(display_url("not a url?s3cret"), "not a url?…");
    }

    #[test]
    fn control_characters_are_escaped_and_long_urls_cut() {
        assert_eq!(display_url("http://web/\0a\n"), "http://web/%00a");
        assert_eq!(display_url("web/\0\n"), "web/\\u{0}\\n");
        let long = display_url(&format!("http://web/{}", "x".repeat(2_000_000)));
        assert_eq!(long.chars().count(), SHOWN_CHARS + 1);
    }

    /// Scheme and slashes in all the ways that some client may take for a URL's, and some that none does.
    fn beginnings() -> impl Strategy<Value = String> {
        let scheme = prop_oneof!["http", "https", "HTTP", "ftp", "", "x"];
        (scheme, prop_oneof![":", "", " :"], "[/\\\\]{0,4}")
            .prop_map(|(scheme, colon, slashes)| scheme + &colon + &slashes)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_secret_of_any_url_is_shown(
            beginning in beginnings(),
            secret in "[A-Z]{12}",
            // Not `/`, `\`, `?` and `#`: what stands before them is no user-info, but the host.
            odd in "[!\"$-.:->\\[\\]-`{-~\t\n é]{0,3}",
            (host, path) in ("[a-z]{1,8}(:[0-9]{1,5})?|\\[::1\\]", "(/[a-z@]{0,5}){0,3}"),
        ) {
            for url in [
                format!("{beginning}ann:{odd}{secret}@{host}{path}"),
                format!("{beginning}{secret}{odd}@{host}{path}"),
                format!("{beginning}ann:{secret}{odd}{secret}@{host}{path}?token={secret}"),
                format!("{beginning}{host}{path}?{odd}{secret}"),
                format!("{beginning}{host}{path}#{odd}{secret}"),
            ] {
                let shown = display_url(&url);
                prop_assert!(!shown.to_lowercase().contains(&secret.to_lowercase()), "{url:?} is shown as {shown}");
            }
        }

        #[test]
        fn any_text_is_shown_as_one_short_line(url in "(?s).{0,80}|https?://[ -~]{0,60}") {
            let shown = display_url(&url);
            prop_assert!(!shown.chars().any(super::super::printable::is_unprintable), "{shown:?}");
        }
    }
}
