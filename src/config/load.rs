//! From a file to checked settings.

use super::error::{ConfigError, Problem};
use super::ini::{Entry, is_plain};
use super::reader::Reader;
use super::{Config, files, ini, names, sections};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;

impl Config {
    /// Reads and checks a file of settings. `environment` gives an environment variable by its name.
    ///
    /// The error tells everything that is wrong at once.
    pub fn load(path: &Path, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Config, ConfigError> {
        let file = files::read(path).map_err(|error| {
            let mend = match error.kind() {
                ErrorKind::NotFound => "name your file of settings, or copy db.example.ini to it",
                ErrorKind::InvalidData => "save it as UTF-8",
                _ => "mend that, or name another file of settings",
            };
            let message = format!("can't be read: {}; {mend}", files::reason(&error));
            ConfigError { file: path.to_owned(), problems: vec![Problem { message, ..Problem::default() }] }
        })?;
        let document = ini::read(&file.text);
        Config::read(Reader { open_to_all: file.open_to_all, ..Reader::new(&document, path, environment) })
    }

    /// Checks settings given as text. `file` names them in messages, and paths in them start at its folder.
    pub fn parse(
        file: &Path,
        text: &str,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Config, ConfigError> {
        let document = ini::read(text);
        Config::read(Reader::new(&document, file, environment))
    }

    fn read(mut reader: Reader<'_>) -> Result<Config, ConfigError> {
        names::check(reader.document, &mut reader);
        warn_of_quotes_and_comments(&mut reader);
        let mut config = Config {
            file: reader.file.to_owned(),
            database: sections::database(&mut reader),
            api: sections::api(&mut reader),
            http: sections::http(&mut reader),
            dispatch: sections::dispatch(&mut reader),
            retry: sections::retry(&mut reader),
            sweep: sections::sweep(&mut reader),
            binlog: sections::binlog(&mut reader),
            warnings: Vec::new(),
        };
        if reader.problems.is_empty() {
            config.warnings = reader.warnings;
            return Ok(config);
        }
        let mut problems = reader.problems;
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        Err(ConfigError { file: reader.file.to_owned(), problems })
    }
}

/// Values are taken as they stand: quotes around one are seldom meant, nor is what Python 2 took for a comment.
fn warn_of_quotes_and_comments(reader: &mut Reader<'_>) {
    let quoted = |value: &str, quote: char| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
    for Entry { section, key, value, line } in &reader.document.entries {
        if !is_plain(key) || !is_plain(section) {
            continue;
        }
        let mut warn = |what: &str| reader.warn_at(*line, &format!("[{section}] {key}: {what}"));
        if quoted(value, '"') || quoted(value, '\'') {
            warn("the quotes are part of the value, which needs none");
        }
        if value.contains("%%") {
            warn("`%%` stands for itself, where the ancestor took it for one `%`");
        }
        if value.contains(" ;") || value.contains("\t;") {
            warn("the ` ;` and what follows are part of the value; a comment needs a line of its own");
        }
    }
}
