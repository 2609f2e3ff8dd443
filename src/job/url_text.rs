//! A job's URL as it may be shown: in logs, messages and errors.

/// The longest URL shown; the rest is cut with an ellipsis.
const SHOWN_CHARS: usize = 500;

/// The URL without what may be secret: no user-info, no query values, no fragment; control characters escaped;
/// cut at 500 characters.
///
/// Works on any text: what does not parse as a URL has everything before an `@` in its authority and
/// everything after a `?` or `#` hidden all the same.
#[must_use]
pub fn display_url(url: &str) -> String {
    let end_of_path = url.find(['?', '#']).unwrap_or(url.len());
    let (front, tail) = url.split_at(end_of_path);
    let mut shown = without_user_info(front);
    if tail.starts_with('?') {
        shown.push_str("?…");
    }
    printable(&shown)
}

fn without_user_info(front: &str) -> String {
    let authority_start = front.find("://").map_or(0, |index| index + 3);
    let authority_end = front[authority_start..].find(['/', '\\']).map_or(front.len(), |index| authority_start + index);
    match front[authority_start..authority_end].rfind('@') {
        Some(at) => format!("{}{}", &front[..authority_start], &front[authority_start + at + 1..]),
        None => front.to_owned(),
    }
}

fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(SHOWN_CHARS));
    for (count, character) in text.chars().enumerate() {
        if count == SHOWN_CHARS {
            shown.push('…');
            break;
        }
        if character.is_control() { shown.extend(character.escape_default()) } else { shown.push(character) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_info_and_query_values_are_hidden() {
        assert_eq!(display_url("http://ann:s3cret@web/a?token=t#f"), "http://web/a?…");
        assert_eq!(display_url("https://web:8080/a/b"), "https://web:8080/a/b");
        assert_eq!(display_url("http://a:p@ss@web/x@y"), "http://web/x@y");
        assert_eq!(display_url("ann:s3cret@web/a"), "web/a");
    }

    #[test]
    fn control_characters_are_escaped_and_long_urls_cut() {
        assert_eq!(display_url("http://web/\0\n"), "http://web/\\u{0}\\n");
        let long = display_url(&format!("http://web/{}", "x".repeat(2_000_000)));
        assert_eq!(long.chars().count(), SHOWN_CHARS + 1);
    }
}
