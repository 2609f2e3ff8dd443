//! What is wrong with the settings: every problem at once, each with what mends it, and never a secret.

use std::fmt;
use std::path::PathBuf;

/// All that is wrong with one file of settings.
///
/// `Display` gives one line for each problem: file, line, section, key, what is wrong and what mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file of settings.
    pub file: PathBuf,
    /// At least one problem, in the order of the file.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problem {
    /// The line in the file, counted from 1; none when the problem is that something is missing.
    pub line: Option<usize>,
    /// The section, without brackets.
    pub section: Option<String>,
    /// The key.
    pub key: Option<String>,
    /// What is wrong, and what mends it.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            write!(formatter, "{}", self.file.display())?;
            if let Some(line) = problem.line {
                write!(formatter, ":{line}")?;
            }
            write!(formatter, ": {problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(section) = &self.section {
            write!(formatter, "[{section}] ")?;
        }
        if let Some(key) = &self.key {
            write!(formatter, "{key}: ")?;
        }
        formatter.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_is_a_line_that_names_file_section_and_key() {
        let missing = Problem {
            section: Some("db".to_owned()),
            key: Some("user".to_owned()),
            message: "is missing".to_owned(),
            ..Problem::default()
        };
        let malformed = Problem { line: Some(3), message: "is no `key: value`".to_owned(), ..Problem::default() };
        let error = ConfigError { file: PathBuf::from("db.ini"), problems: vec![missing, malformed] };
        assert_eq!(error.to_string(), "db.ini: [db] user: is missing\ndb.ini:3: is no `key: value`");
    }
}
