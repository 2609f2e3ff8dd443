//! Batches as SQL literals: ids as a list; rows as a JSON document, quoted, for `JSON_TABLE`.

use super::error::StoreError;
use crate::job::JobId;
use mysql_async::Value;
use serde::Serialize;
use std::fmt::Write as _;

/// What a text column of a `JSON_TABLE` needs: MariaDB gives it the database's character set otherwise, and a latin1
/// database would lose letters.
pub(super) const UTF8: &str = "CHARACTER SET utf8mb4";

/// The ids as `1,2,3`. Numbers only, so nothing to escape.
pub(super) fn id_list(jobs: &[JobId]) -> String {
    let mut list = String::with_capacity(jobs.len() * 9);
    for (index, job) in jobs.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        // Writing to a String does not fail.
        let _ = write!(list, "{separator}{job}");
    }
    list
}

/// The rows as a quoted SQL string of JSON.
///
/// The quoting is the driver's; our sessions set an SQL mode without `NO_BACKSLASH_ESCAPES`.
pub(super) fn quoted_json(rows: &impl Serialize) -> Result<String, StoreError> {
    let json = serde_json::to_string(rows).map_err(|error| StoreError::Unexpected(error.to_string()))?;
    Ok(quoted(&json))
}

/// A text as a quoted SQL string.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).as_sql(false)
}

/// The text's longest beginning of at most so many bytes that ends between characters.
pub(super) fn cut_at_char(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_escaped_for_both_json_and_sql() {
        assert_eq!(quoted("it's"), r"'it\'s'");
        assert_eq!(quoted_json(&[r#"a"b\"#]).unwrap(), r#"'[\"a\\\"b\\\\\"]'"#);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut_at_char("aé", 2), "a");
        assert_eq!(cut_at_char("aé", 3), "aé");
        assert_eq!(cut_at_char("", 0), "");
    }
}
