//! A receiver of HTTP/1.1 on raw sockets, so that it can misbehave, and of HTTP/2; it records every request.

mod answer;
mod connection;
mod http2;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Gate};

use super::tls::Identity;
use answer::Script;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// When its last byte was here.
    pub at: Instant,
    pub method: String,
    /// Path and query.
    pub path: String,
    /// In the order and case they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Which connection it came on, counted from 1.
    pub connection: usize,
}

impl Received {
    /// The value of a header, whatever its name's case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The job's key, as the caller told it.
    pub fn job_id(&self) -> Option<u64> {
        self.header("x-bitlancer-job-id")?.parse().ok()
    }
}

/// A listening receiver; gone when dropped.
pub struct Receiver {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

/// What the connections share.
#[derive(Default)]
struct Shared {
    book: Mutex<Book>,
    scripts: Mutex<HashMap<String, Script>>,
    /// How many requests came; rings the waiters.
    count: watch::Sender<usize>,
}

#[derive(Default)]
struct Book {
    requests: Vec<Received>,
    connections: usize,
    in_flight: usize,
    max_in_flight: usize,
}

impl Receiver {
    /// Listens on a free port of 127.0.0.1 and answers 200 to everything.
    pub async fn start() -> Receiver {
        Receiver::start_on([127, 0, 0, 1]).await
    }

    /// The same on another address of this machine.
    pub async fn start_on(address: [u8; 4]) -> Receiver {
        Receiver::listen("http", address.into(), None).await
    }

    /// The same over TLS, as the identity says.
    pub async fn start_tls(identity: &Identity) -> Receiver {
        Receiver::listen("https", Ipv4Addr::LOCALHOST, Some(identity.acceptor())).await
    }

    /// The same over TLS and HTTP/2, which it offers to those who can; it does nothing worse there than to reset.
    pub async fn start_http2(identity: &Identity) -> Receiver {
        Receiver::listen("https", Ipv4Addr::LOCALHOST, Some(identity.acceptor_for(&[b"h2", b"http/1.1"]))).await
    }

    async fn listen(scheme: &'static str, address: Ipv4Addr, tls: Option<TlsAcceptor>) -> Receiver {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let acceptor = tokio::spawn(accept(listener, tls, Arc::clone(&shared)));
        Receiver { address, scheme, shared, acceptor }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path here; by address over HTTP, by the name `localhost` over TLS.
    pub fn url(&self, path: &str) -> String {
        match self.scheme {
            "https" => format!("https://localhost:{}{path}", self.address.port()),
            scheme => format!("{scheme}://{}{path}", self.address),
        }
    }

    /// Answers a path (without its query) always so.
    pub fn on(&self, path: &str, answer: Answer) {
        self.on_turns(path, [answer]);
    }

    /// Answers a path with one after the other, and with the last for ever.
    pub fn on_turns(&self, path: &str, turns: impl IntoIterator<Item = Answer>) {
        self.script(path, Script::Turns(turns.into_iter().collect()));
    }

    /// Answers a path as the closure says.
    pub fn on_call(&self, path: &str, decide: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        self.script(path, Script::Decided(Arc::new(decide)));
    }

    fn script(&self, path: &str, script: Script) {
        self.shared.scripts.lock().unwrap().insert(path.to_owned(), script);
    }

    /// All requests so far, in the order they came.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.book().requests.clone()
    }

    /// The requests for one path so far.
    pub fn requests_for(&self, path: &str) -> Vec<Received> {
        let book = self.shared.book();
        book.requests.iter().filter(|request| request.path == path).cloned().collect()
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.shared.book().requests.len()
    }

    /// Waits for the n-th request, and gives all that came.
    pub async fn wait_for(&self, n: usize, deadline: Duration) -> Vec<Received> {
        let mut count = self.shared.count.subscribe();
        // What it gives holds the count locked, and whoever records a request has the book locked and waits for the count.
        let arrived = timeout(deadline, count.wait_for(|count| *count >= n)).await.is_ok();
        assert!(arrived, "{} of {n} requests within {deadline:?}", self.count());
        self.requests()
    }

    /// How many requests are being answered now.
    pub fn in_flight(&self) -> usize {
        self.shared.book().in_flight
    }

    /// The most requests that were being answered at once.
    pub fn max_in_flight(&self) -> usize {
        self.shared.book().max_in_flight
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.shared.book().connections
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// Records a request; it is in flight until the guard falls.
    fn record(self: &Arc<Self>, request: Received) -> InFlight {
        let mut book = self.book();
        book.requests.push(request);
        book.in_flight += 1;
        book.max_in_flight = book.max_in_flight.max(book.in_flight);
        self.count.send_replace(book.requests.len());
        InFlight(Arc::clone(self))
    }

    fn answer(&self, request: &Received) -> Answer {
        let path = request.path.split('?').next().unwrap_or_default();
        let mut scripts = self.scripts.lock().unwrap();
        scripts.get_mut(path).map_or_else(Answer::ok, |script| script.answer(request))
    }
}

struct InFlight(Arc<Shared>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.book().in_flight -= 1;
    }
}

/// The connections end with the acceptor: their set is its own.
async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let number = {
            let mut book = shared.book();
            book.connections += 1;
            book.connections
        };
        connections.spawn(serve(stream, tls.clone(), Arc::clone(&shared), number));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>, number: usize) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => connection::serve(stream, shared, number).await,
        Some(tls) => {
            let Ok(stream) = tls.accept(stream).await else { return };
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => http2::serve(stream, shared, number).await,
                _ => connection::serve(stream, shared, number).await,
            }
        }
    }
}
