//! The handler: answers each request with 200 at once, and notes when each job arrived.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[derive(Debug, Default)]
struct Seen {
    calls: AtomicU64,
    in_flight: AtomicU64,
    most_in_flight: AtomicU64,
    takes: Duration,
    arrivals: Mutex<Vec<(u64, Instant)>>,
}

/// A listening handler.
#[derive(Debug)]
pub struct Handler {
    port: u16,
    seen: Arc<Seen>,
}

impl Handler {
    /// Listens on a free port of loopback. Each answer takes so long.
    pub async fn start(takes: Duration) -> Handler {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen { takes, ..Seen::default() });
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Handler { port, seen }
    }

    /// The URL that jobs call.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Forgets all calls.
    pub fn reset(&self) {
        self.seen.calls.store(0, Ordering::SeqCst);
        self.seen.arrivals.lock().unwrap().clear();
    }

    /// Waits until so many calls came. It asks now and then, to cost the calls nothing.
    pub async fn wait_for(&self, calls: u64) {
        while self.seen.calls.load(Ordering::SeqCst) < calls {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// How many calls came.
    pub fn calls(&self) -> u64 {
        self.seen.calls.load(Ordering::SeqCst)
    }

    /// How many calls waited for their answers at once, at most.
    pub fn most_in_flight(&self) -> u64 {
        self.seen.most_in_flight.load(Ordering::SeqCst)
    }

    /// Each job with the moment its call arrived.
    pub fn arrivals(&self) -> Vec<(u64, Instant)> {
        self.seen.arrivals.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Seen>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let Some(end) = whole_request(&buffer) else {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
            continue;
        };
        let arrived = Instant::now();
        seen.arrivals.lock().unwrap().push((job_of(&buffer[..end]), arrived));
        seen.calls.fetch_add(1, Ordering::SeqCst);
        buffer.drain(..end);
        if !seen.takes.is_zero() {
            let now = seen.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            seen.most_in_flight.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(seen.takes).await;
            seen.in_flight.fetch_sub(1, Ordering::SeqCst);
        }
        if stream.write_all(ANSWER).await.is_err() {
            return;
        }
    }
}

/// Where the first request ends, once it is whole.
fn whole_request(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let length = header(&buffer[..head], "content-length").unwrap_or(0);
    let end = head + usize::try_from(length).ok()?;
    (buffer.len() >= end).then_some(end)
}

fn job_of(request: &[u8]) -> u64 {
    header(request, "strings-queue-job-id").unwrap_or(0)
}

fn header(head: &[u8], name: &str) -> Option<u64> {
    let text = std::str::from_utf8(head).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().parse().ok())?
    })
}
