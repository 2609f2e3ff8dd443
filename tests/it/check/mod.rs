//! `strings-queue check` on real servers: what it finds, and that what it says mends it.

mod grants;
mod hosts;
mod server;
mod settings;
mod tables;
mod unwhole;

use crate::support::service::program;
use std::path::Path;
use std::time::Duration;

/// How long one check may take: it gives up following the log after 10 seconds.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a check said.
struct Checked {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs `strings-queue check`.
async fn check(ini: &Path) -> Checked {
    let output = tokio::time::timeout(DEADLINE, program().arg("check").arg(ini).output()).await;
    let output = output.expect("check ends").unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Checked { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

impl Checked {
    /// Nothing is wrong.
    fn assert_clean(&self) {
        self.assert_ends(0, "0 faults, 0 remarks");
    }

    fn assert_ends(&self, code: i32, last_line: &str) {
        assert_eq!((self.code, self.stdout.lines().last()), (Some(code), Some(last_line)), "{self}");
    }

    /// A block begins so, and its mend is this, line for line.
    fn assert_finding(&self, what: &str, mend: &str) {
        let found = self.findings().into_iter().any(|(first, found)| first.starts_with(what) && found == mend);
        assert!(found, "no finding `{what}` with the mend\n{mend}\nin\n{self}");
    }

    /// Each finding's first line, and its mend.
    fn findings(&self) -> Vec<(String, String)> {
        let mut findings: Vec<(String, String)> = Vec::new();
        for line in self.stdout.lines() {
            match (findings.last_mut(), line.strip_prefix("  ")) {
                (Some((_, mend)), Some(more)) => {
                    let more = more.strip_prefix("mend: ").or_else(|| more.strip_prefix("      ")).unwrap();
                    mend.push_str(if mend.is_empty() { "" } else { "\n" });
                    mend.push_str(more);
                }
                _ => findings.push((line.to_owned(), String::new())),
            }
        }
        findings
    }

    /// The lines of all mends that are SQL.
    fn sql(&self) -> Vec<String> {
        let mends: Vec<String> = self.findings().into_iter().map(|(_, mend)| mend).collect();
        mends.join("\n").lines().filter(|line| line.ends_with(';')).map(str::to_owned).collect()
    }
}

impl std::fmt::Display for Checked {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "exit {:?}\n{}\n{}", self.code, self.stdout, self.stderr)
    }
}
