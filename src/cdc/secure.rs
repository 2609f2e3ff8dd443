//! The client of TLS, Unix sockets and all authentication plugins: the stream of `mysql_async`.
//!
//! It hands out raw bodies, so reading is the same as for the plain client. Two things it does by itself: it cuts
//! the checksums off, and it reads compressed transactions a second time, whose events we skip.

use super::error::StreamError;
use super::event::EventHeader;
use super::follower::Follower;
use super::stream::StreamRequest;
use crate::failpoints::failpoint;
use crate::panics;
use crate::store::connect_options;
use futures_core::Stream;
use mysql_async::binlog::events::Event;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, Error};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Reads the log into the follower until the stream breaks, on a thread of its own: a compressed transaction of hundreds of
/// megabytes is unpacked in one go, and the calls go on meanwhile. The thread is never waited for.
pub(super) async fn read(request: StreamRequest, follower: Follower) -> (Option<Follower>, StreamError) {
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let (done, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("binlog".into()).spawn(move || {
        let Ok(runtime) = Builder::new_current_thread().enable_all().build() else { return };
        if let Some(read) = runtime.block_on(stop.run_until_cancelled(follow(request, follower))) {
            let _ = done.send(read);
        }
        // A look-up of the host's name may be under way.
        runtime.shutdown_background();
    });
    if let Err(error) = thread {
        return (None, StreamError::Connect(format!("no thread for the replication client: {error}")));
    }
    match ended.await {
        Ok((follower, error)) => (Some(follower), error),
        Err(_) => (None, StreamError::Closed("the thread of the replication client ended".into())),
    }
}

async fn follow(request: StreamRequest, mut follower: Follower) -> (Follower, StreamError) {
    let patience = request.patience;
    // The library panics on some malformed packets, and on authentication plugins that it was built without.
    let reading = async {
        match open(&request).await {
            Ok(mut stream) => pump(&mut stream, &mut follower, patience).await,
            Err(error) => error,
        }
    };
    let error = panics::quietly_await(pin!(reading)).await.unwrap_or_else(StreamError::Panicked);
    (follower, error)
}

async fn open(request: &StreamRequest) -> Result<BinlogStream, StreamError> {
    let offset = request.start.requestable_offset().ok_or(StreamError::BeyondReach)?;
    let options = connect_options(&request.database, &request.host, request.encrypted);
    let mut connection = Conn::new(options).await.map_err(connect_error)?;
    // MariaDB shows its own events only to those who say that they know them (4: GTID); MySQL takes the variable
    // for any other. The checksums are asked for by the library.
    let prelude = format!(
        "SET @master_heartbeat_period={}, @source_heartbeat_period={0}, @mariadb_slave_capability=4",
        request.heartbeat.as_nanos()
    );
    connection.query_drop(prelude).await.map_err(connect_error)?;
    let dump = BinlogStreamRequest::new(request.server_id)
        .with_filename(request.start.file.as_bytes())
        .with_pos(u64::from(offset));
    connection.get_binlog_stream(dump).await.map_err(connect_error)
}

async fn pump(stream: &mut BinlogStream, follower: &mut Follower, patience: Duration) -> StreamError {
    let mut inner_events = 0;
    loop {
        let event = match timeout(patience, next(stream)).await {
            Err(_) => return StreamError::Silent(patience),
            Ok(Err(error)) => return error,
            Ok(Ok(event)) => event,
        };
        if inner_events > 0 {
            inner_events -= 1;
            continue;
        }
        let header = event.header();
        let header = EventHeader {
            kind: header.event_type_raw(),
            size: header.event_size(),
            log_pos: header.log_pos(),
            flags: header.flags_raw(),
        };
        inner_events = follower.event(header, event.data());
    }
}

async fn next(stream: &mut BinlogStream) -> Result<Event, StreamError> {
    failpoint!("log-read", StreamError::Closed("a failpoint".to_owned()));
    match poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await {
        Some(Ok(event)) => Ok(event),
        Some(Err(error)) => Err(stream_error(error)),
        None => Err(StreamError::Closed("the server has no more to send".into())),
    }
}

fn connect_error(error: Error) -> StreamError {
    match error {
        Error::Server(error) => StreamError::Server { code: error.code, message: error.message },
        other => StreamError::Connect(other.to_string()),
    }
}

fn stream_error(error: Error) -> StreamError {
    match error {
        Error::Server(error) => StreamError::Server { code: error.code, message: error.message },
        other => StreamError::Closed(other.to_string()),
    }
}
