//! Connects, follows, rings, and connects again: the task that keeps the log being read.
//!
//! The order is listen, sweep, follow: the position of the log's end is asked for, the stream is opened there, and
//! only when the server sends is the first sweep rung. What was committed before is found by the sweep, what comes
//! after is in the stream.

use super::error::StreamError;
use super::follower::{Follower, Surroundings};
use super::layout::LayoutSlot;
use super::resume::{HEALTHY, Resume, Start};
use super::server_id::ServerId;
use super::source::{LogServer, LogSource};
use super::status::LogStatus;
use super::stream::{BinlogStream, SILENCE_BEYOND_HEARTBEAT, StreamRequest};
use super::table_map::TableName;
use crate::config::{BinlogConfig, HostPort};
use crate::followed::{BinlogPosition, Followed, Reading};
use crate::metrics::{Counter, Metrics};
use crate::reconnect::ReconnectPauses;
use crate::store::{ServerIdentity, Store};
use crate::wakeup::{SweepCause, Wakeup};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The table that applications write to.
const TABLE: &str = "queued_job";
/// How long opening a stream may take.
const OPENING: Duration = Duration::from_secs(15);
/// When the first sweep of a stream is repeated.
const SECOND_LOOK: Duration = Duration::from_millis(1500);
/// Between two looks at the table's columns.
const LAYOUT_PAUSE: Duration = Duration::from_millis(200);
/// A server asked for shorter heartbeats would send nothing else, and for none at 0 seconds.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(500);

/// Keeps the log being followed, and rings for what it shows.
#[derive(Debug)]
pub struct Watcher {
    source: LogSource,
    heartbeat: Duration,
    /// The client to use whatever the settings.
    client: Option<BinlogStream>,
    server_id: ServerId,
    pauses: ReconnectPauses,
    resume: Resume<ServerIdentity>,
    around: Surroundings,
    followed: Arc<Followed>,
    status: watch::Sender<LogStatus>,
}

/// A stream to open.
struct Plan {
    /// How often the service had moved when the server was asked.
    moves: u64,
    start: Start,
    client: BinlogStream,
    request: StreamRequest,
    follower: Follower,
}

/// What is said of a stream once it is open.
struct Notice<'a> {
    host: HostPort,
    client: BinlogStream,
    server_id: u32,
    start: Start,
    opened: &'a OnceLock<Instant>,
}

impl Notice<'_> {
    fn log(&self) {
        let HostPort { host, port } = &self.host;
        let (client, server_id, because) = (self.client, self.server_id, self.start.cause);
        tracing::info!(host, port, position = %self.start.position, ?client, server_id, ?because, "following the log");
    }
}

/// How a stream ended.
struct Ended {
    error: StreamError,
    /// How long it was open; `None`: it never was.
    lived: Option<Duration>,
    transactions_read: u64,
}

impl Watcher {
    /// A watcher of the log of the store's server.
    #[must_use]
    pub fn new(store: &Store, binlog: &BinlogConfig, wakeup: Arc<Wakeup>, metrics: Arc<Metrics>) -> Self {
        let reading = Arc::new(Reading::from(String::new(), BinlogPosition { file: String::new(), offset: 0 }));
        let layout = Arc::new(LayoutSlot::default());
        let around = Surroundings { wakeup, metrics, layout, reading, established: Arc::default() };
        Watcher {
            source: LogSource::new(store),
            client: None,
            heartbeat: binlog.heartbeat.max(SHORTEST_HEARTBEAT),
            server_id: ServerId::new(binlog.server_id),
            pauses: ReconnectPauses::default(),
            resume: Resume::new(),
            around,
            followed: Arc::default(),
            status: watch::Sender::new(LogStatus::starting()),
        }
    }

    /// Has the log read by this client instead of the one that suits the settings.
    #[must_use]
    pub fn with_client(mut self, client: BinlogStream) -> Self {
        self.client = Some(client);
        self
    }

    /// Whether the log is being followed, now and from now on.
    pub fn status(&self) -> watch::Receiver<LogStatus> {
        self.status.subscribe()
    }

    /// How far the log has been read, now and from now on.
    #[must_use]
    pub fn followed(&self) -> Arc<Followed> {
        Arc::clone(&self.followed)
    }

    /// Follows the log until told to stop. Never gives up before.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow_for_ever() => {}
        }
    }

    async fn follow_for_ever(&mut self) {
        loop {
            let arrivals = self.source.arrivals();
            let ended = match self.prepare().await {
                Ok(plan) => self.follow(plan).await,
                Err(error) => Ended { error, lived: None, transactions_read: 0 },
            };
            let pause = self.after(&ended);
            // Another session may find a server sooner.
            let _ = timeout(pause, self.source.arrived_since(arrivals)).await;
        }
    }

    /// Asks by SQL for all that a stream needs.
    async fn prepare(&mut self) -> Result<Plan, StreamError> {
        let server = self.source.server().await?;
        let start = self.resume.start(server.identity.clone(), server.head.clone());
        // A notice of the stream before must not be taken for this one's.
        self.around.established = Arc::new(Notify::new());
        self.around.reading = Arc::new(Reading::from(server.identity.to_string(), start.position.clone()));
        if !self.read_layout().await? {
            return Err(StreamError::NoTable);
        }
        let follower = Follower::new(self.table_name(&server), start.position.clone(), self.around.clone());
        let database = self.source.database().clone();
        let client = self.client.unwrap_or_else(|| BinlogStream::for_database(&database, server.encrypted));
        let request = StreamRequest {
            database,
            host: server.host,
            encrypted: server.encrypted,
            start: start.position.clone(),
            server_id: self.server_id.number(),
            heartbeat: self.heartbeat,
            patience: self.heartbeat + self.resume.patience(SILENCE_BEYOND_HEARTBEAT),
        };
        Ok(Plan { moves: server.moves, start, client, request, follower })
    }

    fn table_name(&self, server: &LogServer) -> TableName {
        let database = self.source.database().name.clone();
        TableName { database, table: TABLE.into(), ignore_case: server.ignores_case }
    }

    /// Reads the table's columns; `false`: there is no such table, or another one was asked for meanwhile.
    async fn read_layout(&self) -> Result<bool, StreamError> {
        let question = self.around.layout.question();
        let layout = self.source.layout().await?;
        let is_known = layout.is_some();
        Ok(self.around.layout.answer(question, layout) && is_known)
    }

    /// Follows one stream to its end.
    async fn follow(&mut self, plan: Plan) -> Ended {
        let Plan { moves, start, client, request, follower } = plan;
        let opened = OnceLock::new();
        let (follower, error) = {
            let notice = Notice {
                host: request.host.clone(),
                client,
                server_id: request.server_id,
                start: start.clone(),
                opened: &opened,
            };
            tokio::select! {
                ended = client.read(request, follower) => ended,
                error = self.tend(notice) => (None, error),
                () = self.source.moved_since(moves) => (None, StreamError::Moved),
            }
        };
        self.followed.set(None);
        // A position that was asked for is not there: one address may have led the stream to another server.
        if matches!(error, StreamError::Silent(_)) || error.is_position_lost() {
            self.source.reconnect().await;
        }
        let lived = opened.get().map(Instant::elapsed);
        let transactions_read = follower.as_ref().map_or(0, Follower::transactions_read);
        let bookmark = follower.as_ref().map_or(&start.position, Follower::bookmark);
        self.resume.stream_ended(bookmark, lived, &error);
        Ended { error, lived, transactions_read }
    }

    /// What goes on beside a stream: the first sweep once it is open, and the table's columns read anew when asked
    /// for. Ends when the stream is not open in time, or when it shows nothing any more.
    async fn tend(&self, notice: Notice<'_>) -> StreamError {
        if timeout(OPENING, self.around.established.notified()).await.is_err() {
            return StreamError::Silent(OPENING);
        }
        let _ = notice.opened.set(Instant::now());
        self.status.send_replace(LogStatus::Following);
        self.followed.set(Some(Arc::clone(&self.around.reading)));
        self.around.wakeup.ring_sweep(notice.start.cause);
        notice.log();
        tokio::select! {
            _ = async { tokio::join!(self.look_again(notice.start.cause), self.keep_layout()) } => StreamError::Stopped,
            () = self.around.reading.begun_anew() => StreamError::BegunAnew,
        }
    }

    /// The log's end may lie behind a transaction that is logged but, for some moments more, not yet committed in
    /// the engine: neither in the stream nor to be seen by the first sweep.
    async fn look_again(&self, cause: SweepCause) {
        sleep(SECOND_LOOK).await;
        self.around.wakeup.ring_sweep(cause);
    }

    /// Never ends.
    async fn keep_layout(&self) {
        loop {
            self.around.layout.asked().await;
            self.renew_layout().await;
            // A change shows in the log some moments before it shows in `information_schema`.
            sleep(LAYOUT_PAUSE).await;
            self.renew_layout().await;
        }
    }

    /// Reads the table's columns and, if they are others than before, asks for a sweep: what was inserted
    /// meanwhile could not be read, or was read wrongly.
    async fn renew_layout(&self) {
        let before = self.around.layout.get();
        match self.read_layout().await {
            Ok(true) if self.around.layout.get() == before => {}
            Ok(true) => self.around.wakeup.ring_sweep(SweepCause::Statement),
            Ok(false) => tracing::debug!("the table's columns are not known"),
            Err(error) => {
                tracing::warn!(%error, "the table's columns could not be read");
                self.around.layout.clear();
            }
        }
    }

    /// Takes in how a stream ended, and says how long to wait before the next.
    fn after(&mut self, ended: &Ended) -> Duration {
        if let Some(lived) = ended.lived {
            self.around.metrics.increment(Counter::StreamBreaks);
            if let Some(given_up) = self.server_id.stream_ended(&ended.error, lived) {
                tracing::warn!(
                    server_id = given_up,
                    new_server_id = self.server_id.number(),
                    "another replication client uses our server_id; going on with another one"
                );
            }
            if ended.transactions_read > 0 || lived >= HEALTHY {
                self.pauses.reset();
            }
        }
        let panicked = matches!(ended.error, StreamError::Panicked(_));
        if panicked {
            self.around.metrics.increment(Counter::StreamPanics);
        }
        if matches!(ended.error, StreamError::PlainUnfit(_)) || panicked && ended.lived.is_none() {
            self.client = Some(BinlogStream::Secure);
        }
        let pause = self.pauses.next_pause();
        let reason = ended.error.to_string();
        tracing::warn!(reason, pause_ms = pause.as_millis(), "the log is not being followed; trying again");
        self.status.send_modify(|status| status.break_for(reason));
        pause
    }
}
