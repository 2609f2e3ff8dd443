//! `check`: everything that is wrong, with what mends it.

use super::arguments::IniArguments;
use super::runtime::run_until_signal;
use crate::config::Config;
use crate::service::examine;
use crate::store::inspect::{Finding, Severity, Topic};
use anyhow::bail;
use std::fmt::Write as _;

pub(super) fn execute(arguments: &IniArguments) -> anyhow::Result<()> {
    let config = Config::load(&arguments.ini, &|name| std::env::var_os(name))?;
    run_until_signal(async |stop| {
        let mut findings = tokio::select! {
            findings = examine(&config) => findings,
            () = stop.cancelled() => bail!("stopped before the end"),
        };
        findings.extend(config.warnings.iter().map(|warning| Finding::remark(Topic::Settings, warning, "")));
        super::print(told(&findings).as_bytes())?;
        match count(&findings, Severity::Fault) {
            0 => Ok(()),
            _ => bail!("the service can't work as it should until the faults are mended"),
        }
    })
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|finding| finding.severity == severity).count()
}

/// Faults first, then remarks, and how many of each.
fn told(findings: &[Finding]) -> String {
    let mut text = String::new();
    let severities = [Severity::Fault, Severity::Remark];
    for severity in severities {
        let of_it = findings.iter().filter(|finding| finding.severity == severity);
        text.extend(of_it.map(|finding| escaped(&finding.to_string())));
    }
    let counts = severities.map(|severity| match count(findings, severity) {
        1 => format!("1 {severity}"),
        count => format!("{count} {severity}s"),
    });
    // Writing to a String does not fail.
    let _ = writeln!(text, "{}", counts.join(", "));
    text
}

/// Names come from the server: what could move a terminal's cursor is escaped.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() && letter != '\n' { shown.extend(letter.escape_default()) } else { shown.push(letter) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_first_and_all_are_counted() {
        let remark = Finding::remark(Topic::Server, "a\u{1b}[2J", "do this");
        let fault = Finding::fault(Topic::Log, "b", "do that");
        assert_eq!(
            told(&[remark, fault]),
            "fault: b\n  mend: do that\nremark: a\\u{1b}[2J\n  mend: do this\n1 fault, 1 remark\n"
        );
        assert_eq!(told(&[]), "0 faults, 0 remarks\n");
    }
}
