//! A TCP proxy that can cut, stall, swallow, trickle and change bytes, each way of its own.

mod pump;
mod replace;
#[cfg(test)]
mod tests;
mod trap;

pub use trap::{CutPoint, Fault, Trap};

use super::wait::eventually;
use pump::{Link, pump};
use replace::Replacement;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A process that is being started has copies of our files until its program runs.
const STARTED_WITHIN: Duration = Duration::from_secs(10);
/// So many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// What happens to the bytes of one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They go through.
    Pass,
    /// They wait, and go through when the mode changes back.
    Stall,
    /// They vanish, and so does the end of the stream: as behind a cable pulled out.
    Swallow,
    /// They go through in pieces of so many bytes, each so much after the last.
    Trickle { bytes: usize, every: Duration },
}

/// A listening proxy; gone with all its connections when dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
    /// Has the port while nothing is accepted there.
    kept: Mutex<Option<TcpSocket>>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    ways: [OneWay; 2],
    traps: Mutex<Vec<Arc<trap::Armed>>>,
    replacements: Mutex<Vec<Replacement>>,
    /// Ends the connections of now; replaced at each cut.
    cut: Mutex<CancellationToken>,
    made: AtomicUsize,
    open: AtomicUsize,
}

/// The state of one way, for all connections.
struct OneWay {
    mode: watch::Sender<Mode>,
    bytes: AtomicUsize,
    swallowed: AtomicUsize,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and passes everything on.
    pub async fn start(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            ways: [OneWay::new(), OneWay::new()],
            traps: Mutex::default(),
            replacements: Mutex::default(),
            cut: Mutex::default(),
            made: AtomicUsize::default(),
            open: AtomicUsize::default(),
        });
        let proxy = Proxy { address, shared, acceptor: Mutex::default(), kept: Mutex::default() };
        proxy.accept_on(listener);
        proxy
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Leads the connections that come from now on to another server, as a name does whose address has changed.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap() = target;
    }

    /// What happens to the bytes of one way from now on, on all connections.
    pub fn set(&self, way: Way, mode: Mode) {
        self.shared.way(way).mode.send_replace(mode);
    }

    /// Passes everything on again, both ways.
    pub fn pass(&self) {
        self.set_both(Mode::Pass);
    }

    /// Accepts, reads, and passes nothing on, both ways.
    pub fn stall(&self) {
        self.set_both(Mode::Stall);
    }

    /// Both sides think that the connection stands, and nothing arrives any more.
    pub fn half_open(&self) {
        self.set_both(Mode::Swallow);
    }

    /// One byte each so often, both ways.
    pub fn trickle(&self, every: Duration) {
        self.set_both(Mode::Trickle { bytes: 1, every });
    }

    fn set_both(&self, mode: Mode) {
        self.set(Way::ToServer, mode);
        self.set(Way::ToClient, mode);
    }

    /// Resets all connections of now; new ones are accepted.
    pub fn cut_all(&self) {
        std::mem::take(&mut *self.shared.cut.lock().unwrap()).cancel();
    }

    /// Refuses new connections; those of now stay. The port stays ours, or another test might come to listen on it.
    pub async fn refuse(&self) {
        let acceptor = self.acceptor.lock().unwrap().take();
        if let Some(acceptor) = acceptor {
            acceptor.abort();
            let _ = acceptor.await;
            // As long as there is a copy of the listener, connections are made, and nobody else can bind the port.
            let kept = eventually("the port is free", STARTED_WITHIN, async || bound(self.address).ok()).await;
            *self.kept.lock().unwrap() = Some(kept);
        }
    }

    /// Accepts again, on the same port.
    #[allow(clippy::unused_async, reason = "the counterpart of `refuse`, and called like it")]
    pub async fn accept(&self) {
        let kept = self.kept.lock().unwrap().take().expect("it refuses");
        self.accept_on(kept.listen(BACKLOG).unwrap());
    }

    fn accept_on(&self, listener: TcpListener) {
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&self.shared)));
        *self.acceptor.lock().unwrap() = Some(acceptor);
    }

    /// Cuts the first connection on which these bytes go that way; once.
    pub fn cut_on(&self, way: Way, pattern: &[u8], point: CutPoint) -> Trap {
        self.fault_on(way, pattern, (point, Fault::Cut))
    }

    /// Another fault of the first connection on which these bytes go that way; once.
    pub fn fault_on(&self, way: Way, pattern: &[u8], (point, fault): (CutPoint, Fault)) -> Trap {
        let (trap, armed) = trap::arm(way, pattern, point, fault);
        self.shared.traps.lock().unwrap().push(armed);
        trap
    }

    /// Puts these bytes, from now on, wherever the others come that way in one piece; as many as they.
    pub fn replace(&self, way: Way, pattern: &[u8], bytes: &[u8]) {
        self.shared.replacements.lock().unwrap().push(Replacement::new(way, pattern, bytes));
    }

    /// How many connections were made since the start.
    pub fn connections(&self) -> usize {
        self.shared.made.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many bytes went through one way.
    pub fn bytes(&self, way: Way) -> usize {
        self.shared.way(way).bytes.load(Ordering::SeqCst)
    }

    /// How many bytes vanished on one way.
    pub fn swallowed(&self, way: Way) -> usize {
        self.shared.way(way).swallowed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut_all();
        if let Some(acceptor) = self.acceptor.lock().unwrap().take() {
            acceptor.abort();
        }
    }
}

impl Shared {
    fn way(&self, way: Way) -> &OneWay {
        &self.ways[usize::from(way == Way::ToClient)]
    }

    /// The trap that springs at these bytes, if one does; it does so once.
    fn trap_at(&self, way: Way, seen: &[u8], fresh: usize) -> Option<Arc<trap::Armed>> {
        let mut traps = self.traps.lock().unwrap();
        let at = traps.iter().position(|trap| trap.matches(way, seen, fresh))?;
        Some(traps.remove(at))
    }

    fn replace(&self, way: Way, chunk: &mut [u8]) {
        self.replacements.lock().unwrap().iter().for_each(|replacement| replacement.apply(way, chunk));
    }

    /// How many bytes before the new ones a pattern may begin.
    fn longest_pattern(&self) -> usize {
        self.traps.lock().unwrap().iter().map(|trap| trap.length()).max().unwrap_or(0)
    }
}

impl OneWay {
    fn new() -> OneWay {
        let mode = watch::Sender::new(Mode::Pass);
        OneWay { mode, bytes: AtomicUsize::default(), swallowed: AtomicUsize::default() }
    }
}

/// A socket that has the port and does not listen: connections to it are refused. Those that were accepted there do not
/// hinder it.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        shared.made.fetch_add(1, Ordering::SeqCst);
        let cut = shared.cut.lock().unwrap().child_token();
        tokio::spawn(carry(client, Arc::clone(&shared), cut));
    }
}

/// Both ways of one connection, until both have ended or it is cut.
async fn carry(mut client: TcpStream, shared: Arc<Shared>, cut: CancellationToken) {
    let target = *shared.target.lock().unwrap();
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    shared.open.fetch_add(1, Ordering::SeqCst);
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let link = Link::new(Arc::clone(&shared), cut.clone());
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    let both = async {
        tokio::join!(
            pump(&link, Way::ToServer, from_client, to_server),
            pump(&link, Way::ToClient, from_server, to_client)
        )
    };
    if cut.run_until_cancelled(both).await.is_none() {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
    drop((client, server));
    shared.open.fetch_sub(1, Ordering::SeqCst);
}
