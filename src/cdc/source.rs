//! What the follower must ask the server by SQL, by a session of its own.

use super::error::StreamError;
use super::layout::Layout;
use crate::config::{DatabaseConfig, HostPort};
use crate::followed::BinlogPosition;
use crate::store::{ServerFacts, ServerIdentity, Session, Store, read_columns, read_log_head};
use tokio::sync::Mutex;

/// The SQL side of the log.
#[derive(Debug)]
pub(super) struct LogSource {
    store: Store,
    session: Mutex<Session>,
}

/// The server whose log is to be followed.
#[derive(Debug, Clone)]
pub(super) struct LogServer {
    pub(super) identity: ServerIdentity,
    /// Where SQL was asked, so that the log is read there too.
    pub(super) host: HostPort,
    /// How often the service had moved to another server until then.
    pub(super) moves: u64,
    /// Whether to encrypt the connection.
    pub(super) encrypted: bool,
    /// It compares names of tables without regard to case.
    pub(super) ignores_case: bool,
    /// Where its log ends now.
    pub(super) head: BinlogPosition,
}

impl LogSource {
    pub(super) fn new(store: &Store) -> Self {
        LogSource { store: store.clone(), session: Mutex::new(store.session()) }
    }

    pub(super) fn database(&self) -> &DatabaseConfig {
        self.store.servers().database()
    }

    /// Which server we are connected to, and where its log ends.
    pub(super) async fn server(&self) -> Result<LogServer, StreamError> {
        let mut session = self.session.lock().await;
        let facts = ServerFacts::read(&mut session).await?;
        let (host, moves) = session.place().ok_or(StreamError::Moved)?;
        let head = read_log_head(&mut session, facts.flavour).await?.ok_or(StreamError::NoLog)?;
        if session.place().is_none_or(|(_, now)| now != moves) {
            return Err(StreamError::Moved);
        }
        Ok(LogServer {
            identity: facts.identity(),
            host,
            moves,
            encrypted: self.store.servers().encrypts(),
            ignores_case: facts.variable("lower_case_table_names") != "0",
            head: BinlogPosition { file: head.file, offset: head.offset },
        })
    }

    /// Returns when the service works on another server than it did after so many moves.
    pub(super) async fn moved_since(&self, moves: u64) {
        self.store.servers().moved_since(moves).await;
    }

    /// How often the service has come to a server, from another one or after an outage.
    pub(super) fn arrivals(&self) -> u64 {
        self.store.servers().arrivals()
    }

    /// Returns when it has come to one again.
    pub(super) async fn arrived_since(&self, arrivals: u64) {
        self.store.servers().arrived_since(arrivals).await;
    }

    /// Has the next question asked on a new connection: the server has fallen silent.
    pub(super) async fn reconnect(&self) {
        self.session.lock().await.disconnect();
    }

    /// Where our columns are. `None`: there is no such table.
    pub(super) async fn layout(&self) -> Result<Option<Layout>, StreamError> {
        let mut session = self.session.lock().await;
        Ok(Layout::of_columns(&read_columns(&mut session).await?))
    }
}
