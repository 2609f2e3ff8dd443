//! The text of an ini file as sections, keys and values, read as Python's `ConfigParser` does, without its `%`.
//!
//! Lines go to the `rust-ini` crate one at a time. Read as a whole, it lets a key run on over several lines, joins
//! a value that ends in a backslash (a password may) with the next line, and stops at the first fault.

use super::error::Problem;
use ini::{Ini, ParseOption};

/// One `key: value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The section it stands in.
    pub section: String,
    /// Its key, in lower case.
    pub key: String,
    /// Its value as it stands, without white space around it; lines that continue it follow after a `\n` each.
    pub value: String,
    /// Its line, counted from 1.
    pub line: usize,
}

/// A file's entries and sections, in their order.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// All entries.
    pub entries: Vec<Entry>,
    /// Each section's name and line.
    pub sections: Vec<(String, usize)>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// How far the last key was indented, while lines may still continue its value.
    open_value: Option<usize>,
}

/// Reads the text. What can't be read is noted and left out.
pub(super) fn read(text: &str) -> Document {
    let mut document = Document::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        document.take_line(index + 1, line);
    }
    document
}

impl Document {
    /// The value of a key; the first, where there are several.
    pub fn get(&self, section: &str, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.section == section && entry.key == key)
    }

    fn take_line(&mut self, number: usize, line: &str) {
        let content = line.trim();
        let indent = line.len() - line.trim_start().len();
        if content.starts_with(['#', ';']) {
            return;
        }
        if content.is_empty() {
            self.open_value = None;
        } else if content.contains(|character: char| character.is_control() && character != '\t') {
            self.fault(number, "this line holds a control character; take it out");
        } else if self.open_value.is_some_and(|open| indent > open) {
            self.continue_value(content);
        } else if content.starts_with('[') {
            self.take_section(number, content);
        } else {
            self.take_entry(number, indent, content);
        }
    }

    fn continue_value(&mut self, content: &str) {
        if let Some(entry) = self.entries.last_mut() {
            entry.value.push('\n');
            entry.value.push_str(content);
        }
    }

    fn take_section(&mut self, number: usize, content: &str) {
        let Some(name) = section_name(content) else {
            return self.fault(number, "this line is no section; a line of its own like `[db]` begins one");
        };
        if self.sections.iter().any(|(known, _)| *known == name) {
            self.fault(number, &format!("this line begins {} a second time; join the two", shown_section(&name)));
        }
        self.sections.push((name, number));
        self.open_value = None;
    }

    fn take_entry(&mut self, number: usize, indent: usize, content: &str) {
        let Some((key, value)) = key_and_value(content) else {
            return self.fault(number, "this line is no `key: value` and no comment; mend it or begin it with `#`");
        };
        let Some((section, _)) = self.sections.last().cloned() else {
            return self.fault(number, "this line stands before the first section; begin with a line like `[db]`");
        };
        if self.get(&section, &key).is_some() {
            self.fault(number, &format!("this line gives {} a second time; keep one of the two", shown_key(&key)));
        }
        self.entries.push(Entry { section, key, value, line: number });
        self.open_value = Some(indent);
    }

    fn fault(&mut self, line: usize, message: &str) {
        let section = self.sections.last().map(|(name, _)| name.clone()).filter(|name| is_plain(name));
        self.problems.push(Problem { line: Some(line), section, key: None, message: message.to_owned() });
        self.open_value = None;
    }
}

fn section_name(line: &str) -> Option<String> {
    let ini = parse_line(line)?;
    let name = ini.sections().flatten().next()?;
    (line.find(']') == Some(line.len() - 1)).then(|| name.to_owned())
}

fn key_and_value(line: &str) -> Option<(String, String)> {
    let ini = parse_line(line)?;
    let (key, value) = ini.general_section().iter().next()?;
    Some((key.to_lowercase(), value.to_owned()))
}

fn parse_line(line: &str) -> Option<Ini> {
    let options = ParseOption { enabled_quote: false, enabled_escape: false, ..ParseOption::default() };
    Ini::load_from_str_opt(line, options).ok()
}

/// The key as a message shows it. What does not look like a key is not shown: a line that lost its colon may hold a
/// password.
pub(super) fn shown_key(key: &str) -> String {
    if is_plain(key) { format!("`{key}`") } else { "a key".to_owned() }
}

/// The section as a message shows it, by the same rule.
pub(super) fn shown_section(name: &str) -> String {
    if is_plain(name) { format!("[{name}]") } else { "a section".to_owned() }
}

/// Whether the name looks like the name of a key or a section.
pub(super) fn is_plain(name: &str) -> bool {
    let plain = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == '-';
    (1..=40).contains(&name.len()) && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> String {
        let document = read(text);
        assert_eq!(document.problems, []);
        document.get("s", "k").unwrap().value.clone()
    }

    fn messages(text: &str) -> Vec<String> {
        read(text).problems.iter().map(|problem| format!("{:?} {problem}", problem.line)).collect()
    }

    #[test]
    fn colon_and_equals_both_part_key_and_value() {
        for text in ["[s]\nk: v", "[s]\nk = v", "[s]\r\nK=v\r\n", "\u{feff}[s]\n\n# c\n ; c\nk:v", " [s]\n  k : v"] {
            assert_eq!(value(text), "v", "{text:?}");
        }
    }

    #[test]
    fn a_value_is_taken_as_it_stands() {
        for raw in ["\"q\"", "a\\", "a\\tb", "'a", "a # b", "a ; b", "%(x)s%", "p:q=r", "[x]", ""] {
            assert_eq!(value(&format!("[s]\nk: {raw}\nj: other")), raw);
        }
    }

    #[test]
    fn a_line_indented_deeper_continues_the_value() {
        assert_eq!(value("[s]\nk: a\n  b: c\n\n  # d\nj: e"), "a\nb: c");
        assert_eq!(value("[s]\n  k: a\n  j: b"), "a");
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        let text = "a: b\n[s]\nk: v\nhunter2 is secret\nK: w\n[s]\n[t] x\n[u\nx\u{7}: y\n: z";
        let told = messages(text);
        let lines: Vec<&str> = told.iter().filter_map(|message| message.split(')').next()).collect();
        assert_eq!(lines, ["Some(1", "Some(4", "Some(5", "Some(6", "Some(7", "Some(8", "Some(9", "Some(10"]);
        assert!(told[2].contains("[s] this line gives `k` a second time"), "{told:?}");
        assert!(!told.join("").contains("hunter2"), "{told:?}");
    }

    #[test]
    fn a_name_that_does_not_look_like_one_is_not_shown() {
        assert_eq!(shown_key("passwd hunter"), "a key");
        assert_eq!(shown_key("passwrd"), "`passwrd`");
        assert_eq!(shown_section("db-test"), "[db-test]");
    }
}
