//! A finding: what is wrong, how bad it is, and what mends it.

use std::fmt;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The service can't work, or not by the log.
    Fault,
    /// It works, but somebody should know.
    Remark,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The way to the server, and the server as a whole.
    Server,
    /// Its binary log.
    Log,
    /// What our account may do.
    Rights,
    /// Our tables.
    Tables,
    /// The file of settings.
    Settings,
}

/// One thing that is wrong. No text of it holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub topic: Topic,
    /// What is wrong, in one line.
    pub what: String,
    /// The SQL, the option or the setting that mends it, in one or more lines; empty when `what` says it.
    pub mend: String,
}

impl Finding {
    /// A fault.
    pub fn fault(topic: Topic, what: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { severity: Severity::Fault, topic, what: what.into(), mend: mend.into() }
    }

    /// A remark.
    pub fn remark(topic: Topic, what: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { severity: Severity::Remark, topic, what: what.into(), mend: mend.into() }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Severity::Fault => "fault",
            Severity::Remark => "remark",
        })
    }
}

impl fmt::Display for Finding {
    /// `fault: …`, and below it `  mend: …` with its further lines indented as far.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}: {}", self.severity, self.what)?;
        for (index, line) in self.mend.lines().enumerate() {
            writeln!(formatter, "  {}{line}", if index == 0 { "mend: " } else { "      " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_block_with_its_mend() {
        let finding = Finding::fault(Topic::Log, "no log", "log_bin = binlog\nserver_id = 1");
        assert_eq!(finding.to_string(), "fault: no log\n  mend: log_bin = binlog\n        server_id = 1\n");
        assert_eq!(Finding::remark(Topic::Settings, "x", "").to_string(), "remark: x\n");
    }
}
