//! What the follower must ask the server by SQL.

use super::error::SourceError;
use super::position::BinlogPosition;
use crate::config::HostPort;
use std::future::Future;

/// The server whose log is to be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogServer {
    /// What tells this server from others, and from itself with another data directory: `@@server_uuid` on
    /// MySQL; on MariaDB, which has none, what comes nearest.
    pub identity: String,
    /// Where SQL was asked, so that the log is read there too.
    pub host: HostPort,
    /// `@@lower_case_table_names` is not 0: names are compared without regard to case.
    pub ignores_case: bool,
}

/// The SQL side: the store in the service, a plain connection in tests.
pub trait LogSource: Send + Sync + 'static {
    /// Who answers.
    fn server(&self) -> impl Future<Output = Result<LogServer, SourceError>> + Send;

    /// Where the log ends now. `None`: there is no binary log.
    fn head(&self) -> impl Future<Output = Result<Option<BinlogPosition>, SourceError>> + Send;

    /// The names of the table's columns in their order, invisible and generated ones included.
    ///
    /// A change of the table shows in the log before it shows in `information_schema`: the answer must wait for
    /// a change under way, for instance by a `SELECT … LIMIT 0` from the table before it.
    fn columns(&self) -> impl Future<Output = Result<Vec<String>, SourceError>> + Send;
}
