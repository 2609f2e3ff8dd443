//! How a command ends: what is said on stderr, and the exit code. The one place that knows these codes.

use crate::config::ConfigError;
use crate::dispatch::ClientError;
use crate::logging::{self, LoggingError};
use std::process::ExitCode;

/// Something failed.
const FAILED: u8 = 1;
/// The command line, the settings or the environment is wrong; clap exits with the same code.
const WRONG_USAGE: u8 = 2;

/// Tells an error on stderr and gives the exit code: 0 clean, 1 failed, 2 wrong usage or settings.
#[must_use]
pub fn report(result: &anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        logging::flush();
        return ExitCode::SUCCESS;
    };
    logging::say_last(&told(error));
    ExitCode::from(exit_code(error))
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let is_usage =
        is_caused_by::<ConfigError>(error) || is_caused_by::<ClientError>(error) || is_caused_by::<LoggingError>(error);
    if is_usage { WRONG_USAGE } else { FAILED }
}

/// The error and its causes on one line; wrong settings have a line for each problem.
fn told(error: &anyhow::Error) -> Vec<String> {
    let text = format!("{error:#}");
    if is_caused_by::<ConfigError>(error) {
        return text.lines().map(line).collect();
    }
    vec![line(&text)]
}

fn is_caused_by<E: std::error::Error + 'static>(error: &anyhow::Error) -> bool {
    error.chain().any(<dyn std::error::Error>::is::<E>)
}

fn line(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars() {
        if character.is_control() { line.extend(character.escape_default()) } else { line.push(character) }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use anyhow::{Context, anyhow};
    use std::path::Path;

    #[test]
    fn an_error_is_one_line_with_all_its_causes() {
        let error = anyhow!("connection refused\n\u{1b}[31m").context("cannot reach db:3306");
        assert_eq!(told(&error), ["cannot reach db:3306: connection refused\\n\\u{1b}[31m"]);
        assert_eq!(exit_code(&error), FAILED);
    }

    #[test]
    fn wrong_settings_have_a_line_each_and_exit_2() {
        let wrong = Config::parse(Path::new("db.ini"), "", &|_| None).map(drop);
        let error = wrong.context("before the start").unwrap_err();
        assert_eq!(told(&error).len(), 3);
        assert_eq!(exit_code(&error), WRONG_USAGE);
    }
}
