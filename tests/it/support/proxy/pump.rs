//! One way of one proxied connection.

use super::trap::{Armed, CutPoint, Fault};
use super::{Mode, Shared, Way};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A server carries out what it has begun within this, most often.
const ANSWERED_WITHIN: Duration = Duration::from_millis(40);

/// Longer than any test.
const FOR_GOOD: Duration = Duration::from_secs(86_400);

/// What the two ways of one connection share.
pub(super) struct Link {
    shared: Arc<Shared>,
    cut: CancellationToken,
    /// The way of the answer, and the trap that waits for it.
    awaited: Mutex<Option<(Way, Arc<Armed>)>>,
    /// What goes for this connection alone, until then.
    own: Mutex<Option<(Mode, Instant)>>,
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>, cut: CancellationToken) -> Link {
        Link { shared, cut, awaited: Mutex::default(), own: Mutex::default() }
    }

    /// How long the first bytes of an answer that is to be lost are kept. A statement of several parts is answered part by
    /// part: half of the time the server gets to carry out the rest before it learns of the cut.
    fn keeps_the_answer_for(&self, way: Way) -> Option<Duration> {
        let awaited = self.awaited.lock().unwrap();
        let (_, trap) = awaited.as_ref().filter(|(answer, _)| *answer == way)?;
        (trap.point == CutPoint::BeforeAnswer && trap.fault == Fault::Cut && rand::random()).then_some(ANSWERED_WITHIN)
    }

    /// Whether the bytes may go on that were read last: so many at the end of `seen`.
    fn admits(&self, way: Way, seen: &[u8], fresh: usize) -> bool {
        let awaited = self.awaited.lock().unwrap().clone();
        if let Some((_, trap)) = awaited.filter(|(answer, _)| *answer == way) {
            return if trap.point == CutPoint::Silence { self.fall_silent(&trap) } else { self.spring(&trap) };
        }
        match self.shared.trap_at(way, seen, fresh) {
            Some(trap) if trap.point == CutPoint::BeforePassing => self.spring(&trap),
            Some(trap) => {
                *self.awaited.lock().unwrap() = Some((way.back(), trap));
                true
            }
            None => true,
        }
    }

    /// The bytes are admitted to where they vanish.
    fn fall_silent(&self, trap: &Armed) -> bool {
        self.awaited.lock().unwrap().take();
        for way in [Way::ToServer, Way::ToClient] {
            self.shared.way(way).mode.send_replace(Mode::Swallow);
        }
        trap.spring();
        true
    }

    /// Whether the bytes are still admitted: to what they then meet.
    fn spring(&self, trap: &Armed) -> bool {
        self.awaited.lock().unwrap().take();
        match trap.fault {
            Fault::Cut => self.cut.cancel(),
            Fault::Becomes(mode, time) => *self.own.lock().unwrap() = Some((mode, Instant::now() + time)),
        }
        trap.spring();
        trap.fault != Fault::Cut
    }

    /// TCP delivers all or nothing: what comes after bytes that were swallowed never arrives.
    fn is_lost(&self) {
        *self.own.lock().unwrap() = Some((Mode::Swallow, Instant::now() + FOR_GOOD));
    }

    fn own_mode(&self) -> Option<(Mode, Instant)> {
        self.own.lock().unwrap().filter(|(_, until)| Instant::now() < *until)
    }
}

impl Way {
    fn back(self) -> Way {
        match self {
            Way::ToServer => Way::ToClient,
            Way::ToClient => Way::ToServer,
        }
    }
}

/// Carries bytes one way until the stream ends; the end is passed on too.
pub(super) async fn pump(link: &Link, way: Way, from: ReadHalf<'_>, to: WriteHalf<'_>) {
    if carry(link, way, from, to).await.is_err() {
        link.cut.cancel();
    }
}

async fn carry(link: &Link, way: Way, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
    let mut chunk = vec![0; 64 * 1024];
    // The end of what went before: a pattern may begin there.
    let mut seen = Vec::new();
    loop {
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            return end(link, way, to).await;
        }
        link.shared.replace(way, &mut chunk[..length]);
        seen.extend_from_slice(&chunk[..length]);
        if let Some(time) = link.keeps_the_answer_for(way) {
            tokio::time::sleep(time).await;
        }
        if !link.admits(way, &seen, length) {
            return Ok(());
        }
        seen.drain(..seen.len().saturating_sub(link.shared.longest_pattern()));
        send(link, way, &mut to, &chunk[..length]).await?;
    }
}

async fn end(link: &Link, way: Way, mut to: WriteHalf<'_>) -> io::Result<()> {
    match passing_mode(link, way).await {
        Mode::Swallow => std::future::pending().await,
        _ => to.shutdown().await,
    }
}

/// Looks at the mode before each piece: it may change meanwhile.
async fn send(link: &Link, way: Way, to: &mut WriteHalf<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let (length, pause) = match passing_mode(link, way).await {
            Mode::Swallow => {
                link.is_lost();
                link.shared.way(way).swallowed.fetch_add(bytes.len(), Ordering::SeqCst);
                return Ok(());
            }
            Mode::Trickle { bytes: piece, every } => (piece.clamp(1, bytes.len()), every),
            Mode::Pass | Mode::Stall => (bytes.len(), Duration::ZERO),
        };
        let (piece, rest) = bytes.split_at(length);
        to.write_all(piece).await?;
        link.shared.way(way).bytes.fetch_add(length, Ordering::SeqCst);
        bytes = rest;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(())
}

/// The mode, once it is none that makes the bytes wait.
async fn passing_mode(link: &Link, way: Way) -> Mode {
    while let Some((mode, until)) = link.own_mode() {
        if mode != Mode::Stall {
            return mode;
        }
        tokio::time::sleep_until(until).await;
    }
    let mut mode = link.shared.way(way).mode.subscribe();
    let passing = mode.wait_for(|mode| *mode != Mode::Stall).await;
    passing.map_or(Mode::Pass, |mode| *mode)
}
