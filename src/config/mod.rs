//! The settings of one service, checked as a whole before anything connects.

mod error;
mod files;
#[cfg(test)]
mod fuzz;
mod host;
mod ini;
mod load;
mod names;
mod networks;
mod passwords;
mod reader;
pub mod secret;
mod sections;
mod settings;
mod statuses;
#[cfg(test)]
mod tests;
mod tls;

pub use error::{ConfigError, Problem};
pub use networks::NetworkSet;
pub use secret::Secret;

use crate::job::RetryPolicy;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// All settings, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file of settings, as it was named.
    pub file: PathBuf,
    /// `[db]`: where the tables are.
    pub database: DatabaseConfig,
    /// `[api]`: who we say we are to handlers.
    pub api: ApiConfig,
    /// `[http]`: how calls are made and answers read.
    pub http: HttpConfig,
    /// `[dispatch]`: how many calls at once, and how a stop goes.
    pub dispatch: DispatchConfig,
    /// `[retry]`: how the delays between tries grow.
    pub retry: RetryPolicy,
    /// `[sweep]`: how often the table is reconciled.
    pub sweep: SweepConfig,
    /// `[binlog]`: how the log is followed.
    pub binlog: BinlogConfig,
    /// What is usable but unwise, one line each, to be logged at the start.
    pub warnings: Vec<String>,
}

/// `[db]`.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `host`: the servers, tried in this order; more than one for a group that elects its primary.
    pub hosts: Vec<HostPort>,
    /// `socket`: the server's Unix socket, used instead of the hosts.
    pub socket: Option<PathBuf>,
    /// `user`.
    pub user: String,
    /// `passwd`, or from `passwd_file` or `STRINGS_QUEUE_DB_PASSWD`.
    pub password: Option<Secret>,
    /// `db`: the database that holds `queued_job`.
    pub name: String,
    /// `ssl_mode`.
    pub ssl_mode: SslMode,
    /// `ssl_ca`: the certificates trusted to sign the server's (PEM); none means the public authorities.
    pub ssl_ca: Option<PathBuf>,
}

impl DatabaseConfig {
    /// Where the server is: the hosts with their ports, or the socket.
    #[must_use]
    pub fn way(&self) -> String {
        if let Some(socket) = &self.socket {
            return socket.display().to_string();
        }
        let hosts: Vec<String> = self.hosts.iter().map(|at| format!("{}:{}", at.host, at.port)).collect();
        hosts.join(", ")
    }
}

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// How far the connections to the server are encrypted and its certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Plain TCP.
    Disabled,
    /// TLS where the server offers it, unchecked; else plain.
    Preferred,
    /// TLS, certificate unchecked.
    Required,
    /// TLS, certificate signed by `ssl_ca`.
    VerifyCa,
    /// TLS, certificate signed by `ssl_ca` and made for the host's name.
    VerifyIdentity,
}

/// `[api]`.
#[derive(Debug, Clone, Default)]
pub struct ApiConfig {
    /// `user` and `passwd`: sent as basic authentication.
    pub credentials: Option<(String, Secret)>,
    /// `hosts`: the only hosts that get the credentials (lower case, each with or without a port); empty means all.
    pub hosts: Vec<String>,
}

/// `[http]`.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// `connect_timeout_secs`: how long making a connection may take, within the job's own timeout.
    pub connect_timeout: Duration,
    /// `max_redirects`.
    pub max_redirects: usize,
    /// `max_response_bytes`: how much of an answer is read; the rest is cut.
    pub max_response_bytes: usize,
    /// `max_timeout_secs`: a job that asks for more is unusable.
    pub max_timeout_secs: u32,
    /// `success_statuses`: these answers mean done.
    pub success_statuses: StatusSet,
    /// `retry_statuses`: these answers mean "not now".
    pub retry_statuses: StatusSet,
    /// `deny_networks`: addresses that are never called.
    pub deny_networks: NetworkSet,
    /// `ca_file`: certificates trusted to sign the handlers' (PEM), beside the machine's own.
    pub ca_file: Option<PathBuf>,
}

/// A set of HTTP status codes, as ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(pub Vec<RangeInclusive<u16>>);

impl StatusSet {
    /// Whether the code is in the set.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

/// `[dispatch]`.
#[derive(Debug, Clone)]
pub struct DispatchConfig {
    /// `max_in_flight`: calls at once, over all hosts.
    pub max_in_flight: usize,
    /// `max_in_flight_per_host`: calls at once to one host.
    pub max_in_flight_per_host: usize,
    /// `batch_size`: how many jobs one claim or one finish takes at most.
    pub batch_size: usize,
    /// `claim_grace_secs`: how much longer than its timeout a job stays ours.
    pub claim_grace: Duration,
    /// `drain_secs`: how long a stop waits for calls in flight.
    pub drain: Duration,
}

/// `[sweep]`.
#[derive(Debug, Clone)]
pub struct SweepConfig {
    /// `interval_secs`: between sweeps while the log is followed.
    pub interval: Duration,
    /// `degraded_interval_secs`: between sweeps while it can't be.
    pub degraded_interval: Duration,
}

/// `[binlog]`.
#[derive(Debug, Clone)]
pub struct BinlogConfig {
    /// `server_id`: our id as a replication client; none means a random one at each start.
    pub server_id: Option<u32>,
    /// `heartbeat_secs`: how often an idle server says that it is there.
    pub heartbeat: Duration,
}
