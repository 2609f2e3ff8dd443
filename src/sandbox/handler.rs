//! The demo handler: answers the calls of a first try, and shows them.

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::serve::ListenerExt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How much of a body it reads, in bytes.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// How long a stop waits for callers that are still sending.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// A handler: 200 to everything, but 503 on `/busy` and 500 on `/fail`.
#[derive(Debug)]
pub struct DemoHandler {
    address: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<io::Result<()>>,
}

impl DemoHandler {
    /// Listens on the port of 127.0.0.1, or on a free one.
    pub async fn start(port: Option<u16>) -> io::Result<DemoHandler> {
        DemoHandler::start_at((Ipv4Addr::LOCALHOST, port.unwrap_or(0)).into()).await
    }

    /// Listens on any address.
    pub async fn start_at(address: SocketAddr) -> io::Result<DemoHandler> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        // Without it, an answer may wait for the caller's delayed acknowledgement: 40 ms.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let serving = axum::serve(listener, Router::new().fallback(answer));
        let serving = serving.with_graceful_shutdown(stop.clone().cancelled_owned());
        let server = tokio::spawn(serving.into_future());
        Ok(DemoHandler { address, stop, server })
    }

    /// The URL of a path here.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Finishes what it is answering, if that takes no longer than a second, and stops.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(LAST_ANSWERS, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

async fn answer(request: Request) -> (StatusCode, String) {
    let (head, body) = request.into_parts();
    let length = to_bytes(body, MAX_BODY).await.map_or_else(|_| "too many".to_owned(), |body| body.len().to_string());
    let (status, word) = match head.uri.path() {
        "/busy" => (StatusCode::SERVICE_UNAVAILABLE, "busy, try again later"),
        "/fail" => (StatusCode::INTERNAL_SERVER_ERROR, "failed, do not try again"),
        _ => (StatusCode::OK, "done"),
    };
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
    let (job, attempt) = (header("strings-queue-job-id"), header("strings-queue-attempt"));
    let (method, path) = (&head.method, head.uri.path());
    tracing::info!(%method, path, job, attempt, body_bytes = %length, status = status.as_u16(), "demo handler called");
    (status, format!("{word}\ndemo handler: {method} {path}, {length} bytes\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn call(handler: &DemoHandler, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(handler.address).await.unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_answers_as_its_paths_say() {
        let handler = DemoHandler::start(None).await.unwrap();
        let done = call(&handler, "POST", "/any?x=1").await;
        assert!(done.starts_with("HTTP/1.1 200 "), "{done}");
        assert!(done.ends_with("\r\n\r\ndone\ndemo handler: POST /any, 3 bytes\n"), "{done}");
        assert!(call(&handler, "PUT", "/busy").await.starts_with("HTTP/1.1 503 "));
        assert!(call(&handler, "DELETE", "/fail").await.starts_with("HTTP/1.1 500 "));
        assert_eq!(handler.url("/a"), format!("http://{}/a", handler.address));
        handler.stop().await;
    }

    #[tokio::test]
    async fn a_caller_that_never_ends_does_not_hold_up_its_stop() {
        let handler = DemoHandler::start(None).await.unwrap();
        let mut stream = TcpStream::connect(handler.address).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n").await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), handler.stop()).await.unwrap();
    }
}
