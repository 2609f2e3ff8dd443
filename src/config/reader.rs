//! Typed values out of the text, with every problem noted on the way.
//!
//! A value that can't be used is noted and something harmless stands in for it, so that reading goes on to the next
//! problem; the caller throws the result away when there are any.

use super::error::Problem;
use super::ini::{Document, Entry};
use super::settings::{Presence, Setting};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest value that a message repeats.
const SHOWN_CHARS: usize = 60;

/// Reads settings out of a document.
pub(super) struct Reader<'a> {
    pub document: &'a Document,
    pub file: &'a Path,
    /// Whether everybody on the machine may read that file.
    pub open_to_all: bool,
    /// The environment, by name.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// What is wrong so far.
    pub problems: Vec<Problem>,
    /// What is usable but unwise.
    pub warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A reader of the document that stood in the file.
    pub fn new(document: &'a Document, file: &'a Path, environment: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        let problems = document.problems.clone();
        Reader { document, file, open_to_all: false, environment, problems, warnings: Vec::new() }
    }

    /// The setting as it stands in the file.
    pub fn entry(&self, setting: &Setting) -> Option<&'a Entry> {
        self.document.get(setting.section, setting.key)
    }

    /// A text of one line, or the default.
    pub fn text(&mut self, setting: &Setting) -> Option<String> {
        let Some(entry) = self.entry(setting) else {
            if let Presence::Required(example) = setting.presence {
                let message = format!("is missing ({}); add a line like `{}: {example}`", setting.why, setting.key);
                self.problem(setting, message);
            }
            return setting.default().map(str::to_owned);
        };
        if let Some(fault) = fault_of_text(&entry.value) {
            self.problem(setting, fault);
            return None;
        }
        Some(entry.value.clone())
    }

    /// The items of a list, parted by commas, white space or line ends.
    pub fn list(&self, setting: &Setting) -> Vec<String> {
        let text = self.entry(setting).map(|entry| entry.value.as_str()).or(setting.default()).unwrap_or_default();
        let separates = |character: char| character == ',' || character.is_whitespace();
        text.split(separates).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// A path; one that is not absolute starts at the folder of the settings file.
    pub fn path(&mut self, setting: &Setting) -> Option<PathBuf> {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        self.text(setting).map(|text| folder.join(text))
    }

    /// A whole number within the setting's limits; none where it is left out and has no default.
    pub fn whole<T: TryFrom<u32>>(&mut self, setting: &Setting) -> Option<T> {
        let text = self.text(setting)?;
        let (least, most) = setting.limits;
        let digits = text.chars().all(|character| character.is_ascii_digit());
        let number = text.parse::<u32>().ok().filter(|_| digits);
        let fitting = number.filter(|number| (least..=most).contains(&f64::from(*number)));
        let value = fitting.and_then(|number| T::try_from(number).ok());
        if value.is_none() {
            self.problem(setting, wrong_number(setting, "whole number", &text));
        }
        value
    }

    /// A span in whole seconds.
    pub fn seconds(&mut self, setting: &Setting) -> Duration {
        Duration::from_secs(self.whole::<u64>(setting).unwrap_or_default())
    }

    /// A number that may have a fraction.
    pub fn decimal(&mut self, setting: &Setting) -> f64 {
        let Some(text) = self.text(setting) else { return 0.0 };
        let (least, most) = setting.limits;
        let value = text.parse::<f64>().ok().filter(|number| (least..=most).contains(number));
        if value.is_none() {
            self.problem(setting, wrong_number(setting, "number", &text));
        }
        value.unwrap_or_default()
    }

    /// Notes what is wrong with a setting.
    pub fn problem(&mut self, setting: &Setting, message: impl Into<String>) {
        self.problems.push(Problem {
            line: self.entry(setting).map(|entry| entry.line),
            section: Some(setting.section.to_owned()),
            key: Some(setting.key.to_owned()),
            message: message.into(),
        });
    }

    /// A part of a setting's list as a message repeats it: only where the whole could be repeated, but for its length.
    pub fn shown_part(&self, setting: &Setting, part: &str) -> String {
        let hidden = self.entry(setting).is_some_and(|entry| entry.value.contains(['\n', '@']));
        if hidden { "a part".to_owned() } else { shown(part) }
    }

    /// Notes what is unwise in a setting.
    pub fn warn(&mut self, setting: &Setting, message: &str) {
        let line = self.entry(setting).map_or(0, |entry| entry.line);
        self.warn_at(line, &format!("[{}] {}: {message}", setting.section, setting.key));
    }

    /// Notes what is unwise in a line.
    pub fn warn_at(&mut self, line: usize, message: &str) {
        self.warnings.push(format!("{}:{line}: {message}", self.file.display()));
    }
}

/// The value as a message repeats it: not at all when it is long or of several lines, for an indentation too deep
/// makes the next line, which may be a password, part of it; nor when it has an `@`, before which one stands in a URL.
pub(super) fn shown(value: &str) -> String {
    let short =
        value.chars().count() <= SHOWN_CHARS && !value.contains(|letter: char| letter.is_control() || letter == '@');
    if short { format!("`{value}`") } else { "the value".to_owned() }
}

/// What is wrong with a value that must be one line of text.
pub(super) fn fault_of_text(value: &str) -> Option<&'static str> {
    if value.is_empty() {
        Some("is empty; give it a value, or take the line out")
    } else if value.contains('\n') {
        Some("runs on over the next line, which is indented deeper; begin each `key: value` at the start of its line")
    } else {
        None
    }
}

fn wrong_number(setting: &Setting, what: &str, text: &str) -> String {
    let (least, most) = setting.limits;
    let default = setting.default().map(|value| format!("; the default is {value}")).unwrap_or_default();
    format!("{} is not a {what}{} from {least} to {most}{default}", shown(text), setting.unit())
}

#[cfg(test)]
mod tests {
    use super::super::{ini, settings};
    use super::*;

    fn with_reader<T>(text: &str, read: impl FnOnce(&mut Reader<'_>) -> T) -> (T, Vec<String>) {
        let document = ini::read(text);
        let mut reader = Reader::new(&document, Path::new("/etc/queue/db.ini"), &|_| None);
        let value = read(&mut reader);
        (value, reader.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn numbers_are_held_to_their_limits() {
        let read = |text: &str| with_reader(text, |reader| reader.whole::<usize>(&settings::DISPATCH_BATCH_SIZE));
        assert_eq!(read(""), (Some(500), vec![]));
        assert_eq!(read("[dispatch]\nbatch_size: 1000"), (Some(1000), vec![]));
        for wrong in ["0", "1001", "-1", "+5", "5.0", "many", "99999999999999999999", "0x10"] {
            let (value, problems) = read(&format!("[dispatch]\nbatch_size: {wrong}"));
            assert_eq!(value, None);
            let told = format!("`{wrong}` is not a whole number from 1 to 1000; the default is 500");
            assert_eq!(problems, [format!("[dispatch] batch_size: {told}")]);
        }
    }

    #[test]
    fn decimals_are_held_to_their_limits() {
        let read = |text: &str| with_reader(text, |reader| reader.decimal(&settings::RETRY_JITTER));
        assert!((read("[retry]\njitter: 0.25").0 - 0.25).abs() < f64::EPSILON);
        for wrong in ["0.6", "-0.1", "NaN", "inf", "a lot"] {
            assert_eq!(read(&format!("[retry]\njitter: {wrong}")).1.len(), 1, "{wrong}");
        }
    }

    #[test]
    fn a_value_of_several_lines_is_not_repeated() {
        let text = "[db]\nport: 3306\n  passwd: hunter2";
        let (port, problems) = with_reader(text, |reader| reader.whole::<u16>(&settings::DB_PORT));
        assert_eq!((port, problems.len()), (None, 1));
        assert!(problems[0].contains("indented deeper") && !problems[0].contains("hunter2"), "{problems:?}");
    }

    #[test]
    fn lists_are_parted_by_commas_and_white_space() {
        let (items, _) = with_reader("[api]\nhosts: a,b , c\n  d", |reader| reader.list(&settings::API_HOSTS));
        assert_eq!(items, ["a", "b", "c", "d"]);
    }

    #[test]
    fn paths_start_at_the_folder_of_the_file() {
        let (path, _) = with_reader("[db]\nssl_ca: ca.pem", |reader| reader.path(&settings::DB_SSL_CA));
        assert_eq!(path, Some(PathBuf::from("/etc/queue/ca.pem")));
    }
}
