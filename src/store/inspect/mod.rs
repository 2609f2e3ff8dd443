//! Inspect: all that is wrong with the server, the account's rights and the tables, each with what mends it.
//!
//! First the facts are read by SQL, then they are judged, which is pure.

mod connecting;
mod facts;
mod finding;
mod hosts;
mod log;
mod probes;
mod rights;
mod server;
mod tables;
#[cfg(test)]
mod testing;
mod wanted;

pub use connecting::judge_connecting;
pub use finding::{Finding, Severity, Topic};
pub use hosts::inspect_others;

use super::error::StoreError;
use super::{LogHead, Servers, Store};
use crate::config::SslMode;
use facts::Facts;

/// What the findings depend on beside the server.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The file of settings, as it is named in commands.
    pub ini: String,
    /// Our own number as a replication client, if the settings fix one.
    pub server_id: Option<u32>,
}

/// What an inspection brought.
#[derive(Debug)]
pub struct Inspection {
    /// All that was found.
    pub findings: Vec<Finding>,
    facts: Facts,
}

/// Inspects the server, the account's rights and the tables. An error means that no answer could be had; see
/// [`judge_connecting`].
///
/// Takes a connection of its own and changes nothing: its writes are tried on no row.
pub async fn inspect(store: &Store, terms: &Terms) -> Result<Inspection, StoreError> {
    let facts = facts::read(&mut store.session(), &store.servers().database().name).await?;
    let mut findings = judge(&facts, terms);
    findings.extend(judge_encryption(store.servers()));
    Ok(Inspection { findings, facts })
}

fn judge(facts: &Facts, terms: &Terms) -> Vec<Finding> {
    let parts = [server::judge(facts, terms), log::judge(facts), rights::judge(facts), tables::judge(facts, terms)];
    parts.into_iter().flatten().collect()
}

/// With `preferred`, plain connections are not an error, but they should not go unnoticed.
fn judge_encryption(servers: &Servers) -> Option<Finding> {
    let preferred = servers.database().ssl_mode == SslMode::Preferred;
    (preferred && !servers.encrypts()).then(|| {
        let what = "the connections to the server are not encrypted: it offers no TLS";
        let mend = "give the server a certificate (ssl_cert, ssl_key), or accept it in [db]: `ssl_mode: disabled`";
        Finding::remark(Topic::Server, what, mend)
    })
}

impl Inspection {
    /// Where the log ends, if there is one and we may see it.
    #[must_use]
    pub fn log_head(&self) -> Option<&LogHead> {
        self.facts.log.as_ref().ok()?.as_ref().map(|log| &log.head)
    }

    /// Whether there is a table to follow the log for.
    #[must_use]
    pub fn has_table(&self) -> bool {
        self.facts.has_table()
    }

    /// Whether the log shows every row that is inserted.
    #[must_use]
    pub fn log_is_whole(&self) -> bool {
        !self.findings.iter().any(|finding| finding.topic == Topic::Log && finding.severity == Severity::Fault)
    }

    /// What it means that the log could not be followed, for this reason.
    #[must_use]
    pub fn judge_log_failure(&self, reason: &str) -> Option<Finding> {
        rights::judge_log_failure(&self.facts, reason)
    }
}
