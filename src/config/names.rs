//! Sections and keys that nobody knows, and the known name that was probably meant.

use super::error::Problem;
use super::ini::{Document, Entry, is_plain, shown_key, shown_section};
use super::reader::Reader;
use super::settings::{self, Setting};

/// How alike two names must be (0 to 1) for one to be suggested for the other: enough for `database` and `db`.
const ALIKE: f64 = 0.7;

/// A section of the ancestor's own tests, which its example file carries.
const ANCESTORS_TEST_SECTION: &str = "db-test";

/// Notes every unknown section and key.
pub(super) fn check(document: &Document, reader: &mut Reader<'_>) {
    for (name, line) in &document.sections {
        if name == ANCESTORS_TEST_SECTION {
            reader.warn_at(*line, &format!("[{name}] is not used any more; take it out"));
        } else if !is_section(name) {
            reader.problems.push(unknown_section(name, *line));
        }
    }
    let unknown = document.entries.iter().filter(|entry| is_section(&entry.section) && !is_known(entry));
    reader.problems.extend(unknown.map(unknown_key));
}

fn is_section(name: &str) -> bool {
    settings::ALL.iter().any(|setting| setting.section == name)
}

fn is_known(entry: &Entry) -> bool {
    settings::ALL.iter().any(|setting| setting.section == entry.section && setting.key == entry.key)
}

fn unknown_section(name: &str, line: usize) -> Problem {
    let mut sections: Vec<&str> = settings::ALL.iter().map(|setting| setting.section).collect();
    sections.dedup();
    let meant = match nearest(name, sections.iter().copied()) {
        Some(section) => format!("did you mean [{section}]?"),
        None => format!("the sections are [{}]", sections.join("], [")),
    };
    let message = format!("{} is no section of these settings; {meant}", shown_section(name));
    Problem { line: Some(line), message, ..Problem::default() }
}

fn unknown_key(entry: &Entry) -> Problem {
    let message = format!("{} is no setting; {}", shown_key(&entry.key), meant_key(entry));
    let key = is_plain(&entry.key).then(|| entry.key.clone());
    Problem { line: Some(entry.line), section: Some(entry.section.clone()), key, message }
}

fn meant_key(entry: &Entry) -> String {
    if let Some(setting) = settings::ALL.iter().find(|setting| setting.key == entry.key) {
        return format!("it belongs in [{}]", setting.section);
    }
    let here: Vec<&Setting> = settings::ALL.into_iter().filter(|setting| setting.section == entry.section).collect();
    if let Some(key) = nearest(&entry.key, here.iter().map(|setting| setting.key)) {
        return format!("did you mean `{key}`?");
    }
    let keys: Vec<&str> = here.iter().map(|setting| setting.key).collect();
    format!("the settings of this section are {}", keys.join(", "))
}

fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let name = name.to_lowercase();
    let alike = known.map(|other| (strsim::jaro_winkler(&name, other), other)).filter(|(score, _)| *score >= ALIKE);
    alike.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::super::ini;
    use super::*;
    use std::path::Path;

    fn told(text: &str) -> String {
        let document = ini::read(text);
        let mut reader = Reader::new(&document, Path::new("db.ini"), &|_| None);
        check(&document, &mut reader);
        let problems: Vec<String> = reader.problems.iter().map(ToString::to_string).collect();
        problems.join("\n")
    }

    #[test]
    fn the_nearest_known_key_is_suggested() {
        let meant =
            [("hots", "host"), ("password", "passwd"), ("username", "user"), ("database", "db"), ("prot", "port")];
        for (written, known) in meant {
            let told = told(&format!("[db]\n{written}: hunter2"));
            assert_eq!(told, format!("[db] {written}: `{written}` is no setting; did you mean `{known}`?"));
        }
    }

    #[test]
    fn a_key_of_another_section_is_sent_there() {
        assert!(told("[db]\nserver_id: 7").contains("it belongs in [binlog]"));
    }

    #[test]
    fn a_key_like_no_other_gets_the_list() {
        assert!(
            told("[sweep]\nxyz: 1").ends_with("the settings of this section are interval_secs, degraded_interval_secs")
        );
    }

    #[test]
    fn the_nearest_known_section_is_suggested() {
        assert_eq!(told("[DB]\nx: y"), "[DB] is no section of these settings; did you mean [db]?");
        assert!(told("[Q]").contains("the sections are [db], [api], [http]"));
    }

    #[test]
    fn what_may_be_a_password_is_not_repeated() {
        assert!(!told("[db]\npasswd hunter:2").contains("hunter"));
    }
}
