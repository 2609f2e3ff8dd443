//! The client of plain TCP: a thread of its own that owns `mysql_cdc`.
//!
//! Only the connection and the packets are the library's; what is in them is read here, since its own decoder
//! reads every table and fails on what it does not know. The library can panic on bad input, which is caught.

use super::error::StreamError;
use super::follower::Follower;
use super::nodelay;
use super::packets;
use super::stream::{SILENCE_BEYOND_HEARTBEAT, StreamRequest};
use crate::config::Secret;
use crate::failpoints::failpoint;
use crate::panics;
use mysql_cdc::binlog_client::BinlogClient;
use mysql_cdc::binlog_events::BinlogEvents;
use mysql_cdc::binlog_options::BinlogOptions;
use mysql_cdc::errors::Error;
use mysql_cdc::replica_options::ReplicaOptions;
use mysql_cdc::ssl_mode::SslMode;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Tells a thread to end when whoever needs it is gone.
struct StopWhenDropped(Arc<AtomicBool>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads the log into the follower until the stream breaks.
///
/// The thread is never waited for: told to stop, it ends with the next packet, which is a heartbeat at the latest.
pub(super) async fn read(request: StreamRequest, follower: Follower) -> (Option<Follower>, StreamError) {
    let stop = Arc::new(AtomicBool::new(false));
    let _guard = StopWhenDropped(Arc::clone(&stop));
    let (done, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("binlog".into()).spawn(move || {
        let _ = done.send(follow(&request, follower, &stop));
    });
    if let Err(error) = thread {
        return (None, StreamError::Connect(format!("no thread for the replication client: {error}")));
    }
    match ended.await {
        Ok((follower, error)) => (Some(follower), error),
        Err(_) => (None, StreamError::Closed("the thread of the replication client ended".into())),
    }
}

fn follow(request: &StreamRequest, mut follower: Follower, stop: &AtomicBool) -> (Follower, StreamError) {
    let result = panics::quietly(|| {
        let mut events = open(request)?;
        pump(&mut events, &mut follower, request.heartbeat, stop)
    });
    let error = match result {
        Ok(Ok(())) => StreamError::Stopped,
        Ok(Err(error)) => error,
        Err(panic) => StreamError::Panicked(panic),
    };
    (follower, error)
}

fn open(request: &StreamRequest) -> Result<BinlogEvents, StreamError> {
    let offset = request.start.requestable_offset().ok_or(StreamError::BeyondReach)?;
    let options = ReplicaOptions {
        port: request.host.port,
        hostname: bracketed(&request.host.host),
        ssl_mode: SslMode::Disabled,
        username: request.database.user.clone(),
        password: request.database.password.as_ref().map_or("", Secret::reveal).to_owned(),
        database: None,
        server_id: request.server_id,
        blocking: true,
        heartbeat_interval: request.heartbeat,
        binlog: BinlogOptions::from_position(request.start.file.clone(), offset),
    };
    let is_over = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let helper = || nodelay::set_on_new_connection(request.host.port, || is_over.load(Ordering::Relaxed));
        // Without it the stream opens all the same, somewhat later.
        let _ = std::thread::Builder::new().name("binlog-opening".into()).spawn_scoped(scope, helper);
        let _guard = StopWhenDropped(Arc::clone(&is_over));
        BinlogClient::new(options).replicate().map_err(|error| connect_error(&error))
    })
}

fn pump(
    events: &mut BinlogEvents,
    follower: &mut Follower,
    heartbeat: Duration,
    stop: &AtomicBool,
) -> Result<(), StreamError> {
    while !stop.load(Ordering::Relaxed) {
        failpoint!(blocking "log-read", StreamError::Closed("a failpoint".to_owned()));
        packets::take_event(follower, || match events.channel.read_packet() {
            Ok((packet, _sequence)) => Ok(packet),
            Err(error) => Err(read_error(&error, heartbeat)),
        })?;
    }
    Ok(())
}

/// The library puts `host:port` together as it is, and an IPv6 address needs brackets there.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

fn read_error(error: &io::Error, heartbeat: Duration) -> StreamError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            StreamError::Silent(heartbeat + SILENCE_BEYOND_HEARTBEAT)
        }
        _ => StreamError::Closed(error.to_string()),
    }
}

/// The library's errors are texts; those of the server end with its error packet as `Debug` shows it. What it can't
/// read is the challenge of a plugin that it does not know.
fn connect_error(error: &Error) -> StreamError {
    match error {
        Error::String(text) if text.contains("auth plugin is not supported") => StreamError::PlainUnfit(text.clone()),
        Error::String(text) => StreamError::Connect(text.clone()),
        Error::IoError(error) => StreamError::Connect(error.to_string()),
        _ => StreamError::PlainUnfit("the server's answer can't be read".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_addresses_get_brackets() {
        assert_eq!(bracketed("::1"), "[::1]");
        assert_eq!(bracketed("[::1]"), "[::1]");
        assert_eq!(bracketed("127.0.0.1"), "127.0.0.1");
    }

    #[test]
    fn silence_is_told_from_a_closed_connection() {
        let error = |kind| read_error(&io::Error::from(kind), Duration::from_secs(4));
        assert!(matches!(error(io::ErrorKind::WouldBlock), StreamError::Silent(silence) if silence.as_secs() == 14));
        assert!(error(io::ErrorKind::UnexpectedEof).is_closed());
    }

    #[test]
    fn an_unknown_plugin_is_told_from_other_errors() {
        let plugin = Error::String("client_ed25519 auth plugin is not supported.".into());
        assert!(matches!(connect_error(&plugin), StreamError::PlainUnfit(_)));
        let challenge = Error::from(String::from_utf8(vec![0xff]).unwrap_err());
        assert!(matches!(connect_error(&challenge), StreamError::PlainUnfit(_)));
        assert!(matches!(connect_error(&Error::String("denied".into())), StreamError::Connect(_)));
    }
}
