//! Sets of HTTP status codes: `200-299`, `408, 429, 503`.

use super::StatusSet;
use super::reader::Reader;
use super::settings::{HTTP_RETRY_STATUSES, HTTP_SUCCESS_STATUSES, Setting};
use std::ops::RangeInclusive;

/// The codes with which a call can end; the 1xx only announce an answer.
const FINAL_STATUSES: RangeInclusive<u16> = 200..=599;

/// The statuses that mean done and those that mean "not now". No code is in both.
pub(super) fn read(reader: &mut Reader<'_>) -> (StatusSet, StatusSet) {
    let success = read_set(reader, &HTTP_SUCCESS_STATUSES);
    let retry = read_set(reader, &HTTP_RETRY_STATUSES);
    if reader.entry(&HTTP_SUCCESS_STATUSES).is_some_and(|entry| entry.value.is_empty()) {
        reader.problem(&HTTP_SUCCESS_STATUSES, "is empty, so no job would ever succeed; name at least one code");
    }
    if let Some(code) = FINAL_STATUSES.into_iter().find(|code| success.contains(*code) && retry.contains(*code)) {
        let message = format!("{code} is in success_statuses too; take it out of one of the two");
        reader.problem(&HTTP_RETRY_STATUSES, message);
    }
    (success, retry)
}

fn read_set(reader: &mut Reader<'_>, setting: &Setting) -> StatusSet {
    let mut ranges = Vec::new();
    for item in reader.list(setting) {
        match parse_range(&item) {
            Some(range) => ranges.push(range),
            None => report(reader, setting, &item),
        }
    }
    StatusSet(ranges)
}

fn report(reader: &mut Reader<'_>, setting: &Setting, item: &str) {
    let item = reader.shown_part(setting, item);
    let example = setting.example();
    reader.problem(
        setting,
        format!("{item} is no status from 200 to 599 and no range of them; write it like `{example}`"),
    );
}

/// A status or a range of them.
pub(super) fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (parse_code(first)?, parse_code(last)?);
    (first <= last).then_some(first..=last)
}

fn parse_code(text: &str) -> Option<u16> {
    let code = text.parse().ok().filter(|_| text.len() == 3)?;
    FINAL_STATUSES.contains(&code).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::super::ini;
    use super::*;
    use std::path::Path;

    fn sets(text: &str) -> (StatusSet, StatusSet, Vec<String>) {
        let document = ini::read(text);
        let mut reader = Reader::new(&document, Path::new("db.ini"), &|_| None);
        let (success, retry) = read(&mut reader);
        (success, retry, reader.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_defaults_hold_without_a_line() {
        let (success, retry, problems) = sets("");
        assert_eq!(problems, [""; 0]);
        assert!(success.contains(200) && success.contains(299) && !success.contains(300));
        assert!([408, 429, 502, 503, 504].into_iter().all(|code| retry.contains(code)) && !retry.contains(500));
    }

    #[test]
    fn the_ancestors_strict_rule_can_be_written() {
        let (success, retry, problems) = sets("[http]\nsuccess_statuses: 200\nretry_statuses: 503");
        assert_eq!((success, retry, problems.len()), (StatusSet(vec![200..=200]), StatusSet(vec![503..=503]), 0));
    }

    #[test]
    fn no_retry_status_at_all_is_allowed_but_no_success_is_not() {
        assert_eq!(sets("[http]\nretry_statuses:").2.len(), 0);
        assert_eq!(sets("[http]\nsuccess_statuses:").2.len(), 1);
    }

    #[test]
    fn what_is_no_status_is_told() {
        for wrong in ["ok", "199", "600", "20", "299-200", "200-", "-200", "+20", "2xx"] {
            let (_, _, problems) = sets(&format!("[http]\nsuccess_statuses: {wrong}"));
            assert!(problems.len() == 1 && problems[0].contains(wrong), "{wrong}: {problems:?}");
        }
    }

    #[test]
    fn a_code_in_both_sets_is_told() {
        let (_, _, problems) = sets("[http]\nretry_statuses: 503, 202");
        assert_eq!(problems, ["[http] retry_statuses: 202 is in success_statuses too; take it out of one of the two"]);
    }
}
