//! One connection of the receiver: requests in, answers out, until one of the two has enough.

use super::answer::Reply;
use super::{Answer, Received, Shared};
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A byte stream that can be cut off with a reset.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin {
    fn reset_on_close(&self);
}

impl Wire for TcpStream {
    fn reset_on_close(&self) {
        let _ = self.set_zero_linger();
    }
}

impl Wire for TlsStream<TcpStream> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }
}

/// What has been read and not yet used.
struct Connection<W> {
    wire: W,
    unread: Vec<u8>,
    number: usize,
}

pub(super) async fn serve(wire: impl Wire, shared: Arc<Shared>, number: usize) {
    let mut connection = Connection { wire, unread: Vec::new(), number };
    while let Ok(Some(request)) = connection.request().await {
        let answer = shared.answer(&request);
        let _in_flight = shared.record(request);
        if !matches!(connection.answer(answer).await, Ok(true)) {
            return;
        }
    }
}

impl<W: Wire> Connection<W> {
    /// The next request; none when the client is done.
    async fn request(&mut self) -> io::Result<Option<Received>> {
        let head_end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if self.read_more().await? == 0 {
                return Ok(None);
            }
        };
        let head: Vec<u8> = self.unread.drain(..head_end).collect();
        let mut request = parse_head(&String::from_utf8_lossy(&head), self.number);
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while self.unread.len() < length {
            if self.read_more().await? == 0 {
                return Ok(None);
            }
        }
        request.body = self.unread.drain(..length).collect();
        request.at = Instant::now();
        Ok(Some(request))
    }

    async fn read_more(&mut self) -> io::Result<usize> {
        self.unread.reserve(16 * 1024);
        self.wire.read_buf(&mut self.unread).await
    }

    /// Whether the connection may be used again.
    async fn answer(&mut self, answer: Answer) -> io::Result<bool> {
        let ready = async {
            if let Some(gate) = &answer.gate {
                gate.passed().await;
            }
            pause(answer.delay).await;
        };
        // A client that gives up is seen at once, and its request no longer counted as in flight.
        tokio::select! {
            biased;
            () = ready => (),
            gone = gone(&mut self.wire, &mut self.unread) => return gone.map(|()| false),
        }
        self.reply(answer.reply).await
    }

    async fn reply(&mut self, reply: Reply) -> io::Result<bool> {
        match reply {
            Reply::Whole { status, headers, body } => {
                self.wire.write_all(&whole(status, &headers, &body)).await?;
                self.wire.flush().await?;
                return Ok(true);
            }
            Reply::Never => gone(&mut self.wire, &mut self.unread).await?,
            Reply::Raw(bytes) => self.wire.write_all(&bytes).await?,
            Reply::Trickle { bytes, every } => self.trickle(&bytes, every).await?,
            Reply::Endless => self.endless().await?,
            Reply::HeaderLines(head) => self.wire.write_all(&head).await?,
            Reply::Reset => {
                self.wire.reset_on_close();
                return Ok(false);
            }
        }
        self.wire.shutdown().await?;
        Ok(false)
    }

    async fn trickle(&mut self, bytes: &[u8], every: Duration) -> io::Result<()> {
        for byte in bytes {
            self.wire.write_all(&[*byte]).await?;
            self.wire.flush().await?;
            pause(every).await;
        }
        Ok(())
    }

    async fn endless(&mut self) -> io::Result<()> {
        self.wire.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        loop {
            self.wire.write_all(&[b'x'; 16 * 1024]).await?;
        }
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Returns when the client has closed.
async fn gone(wire: &mut (impl AsyncRead + Unpin), unread: &mut Vec<u8>) -> io::Result<()> {
    while wire.read_buf(unread).await? > 0 {}
    Ok(())
}

fn parse_head(head: &str, connection: usize) -> Received {
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let headers = lines.filter_map(|line| line.split_once(':'));
    Received {
        at: Instant::now(),
        method: first.next().unwrap_or_default(),
        path: first.next().unwrap_or_default(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect(),
        body: Vec::new(),
        connection,
    }
}

fn whole(status: u16, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} As Told\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if status != 204 && status != 304 {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    [head.as_bytes(), b"\r\n", body].concat()
}
