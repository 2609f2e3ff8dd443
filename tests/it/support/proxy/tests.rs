//! The proxy passes, and fails in the way it was told.

use super::super::wait::{throughout, until};
use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);
const A_MOMENT: Duration = Duration::from_millis(50);

/// A server that sends back what it gets, and counts it.
struct Echo {
    address: SocketAddr,
    heard: Arc<AtomicUsize>,
}

impl Echo {
    async fn start() -> Echo {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let echo = Echo { address: listener.local_addr().unwrap(), heard: Arc::default() };
        let heard = Arc::clone(&echo.heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(echo_back(stream, Arc::clone(&heard)));
            }
        });
        echo
    }
}

async fn echo_back(mut stream: TcpStream, heard: Arc<AtomicUsize>) -> std::io::Result<()> {
    let mut chunk = [0; 1024];
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        heard.fetch_add(length, Ordering::SeqCst);
        stream.write_all(&chunk[..length]).await?;
    }
}

async fn started() -> (Echo, Proxy, TcpStream) {
    let echo = Echo::start().await;
    let proxy = Proxy::start(echo.address).await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    (echo, proxy, stream)
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn hear(stream: &mut TcpStream, length: usize) -> std::io::Result<String> {
    let mut bytes = vec![0; length];
    timeout(SOON, stream.read_exact(&mut bytes)).await.expect("bytes soon")?;
    Ok(String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn it_passes_both_ways_and_counts() {
    let (_echo, proxy, mut stream) = started().await;
    say(&mut stream, "hello").await;
    assert_eq!(hear(&mut stream, 5).await.unwrap(), "hello");
    assert_eq!((proxy.bytes(Way::ToServer), proxy.bytes(Way::ToClient)), (5, 5));
    assert_eq!((proxy.connections(), proxy.open_connections()), (1, 1));
    drop(stream);
    until("the end is passed on", SOON, async || proxy.open_connections() == 0).await;
}

#[tokio::test]
async fn a_cut_resets_and_new_connections_work() {
    let (_echo, proxy, mut stream) = started().await;
    say(&mut stream, "a").await;
    hear(&mut stream, 1).await.unwrap();
    proxy.cut_all();
    assert_eq!(hear(&mut stream, 1).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let mut again = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut again, "b").await;
    assert_eq!(hear(&mut again, 1).await.unwrap(), "b");
}

#[tokio::test]
async fn a_stall_holds_bytes_until_they_may_pass() {
    let (echo, proxy, mut stream) = started().await;
    proxy.stall();
    say(&mut stream, "late").await;
    throughout("nothing arrives", A_MOMENT, async || echo.heard.load(Ordering::SeqCst) == 0).await;
    proxy.pass();
    assert_eq!(hear(&mut stream, 4).await.unwrap(), "late");
}

#[tokio::test]
async fn one_way_can_stall_alone() {
    let (echo, proxy, mut stream) = started().await;
    proxy.set(Way::ToClient, Mode::Stall);
    say(&mut stream, "x").await;
    until("it arrives", SOON, async || echo.heard.load(Ordering::SeqCst) == 1).await;
    assert!(timeout(A_MOMENT, stream.read_u8()).await.is_err());
}

#[tokio::test]
async fn a_half_open_connection_swallows_bytes_and_the_end() {
    let (echo, proxy, mut stream) = started().await;
    say(&mut stream, "x").await;
    hear(&mut stream, 1).await.unwrap();
    proxy.half_open();
    say(&mut stream, "lost").await;
    stream.shutdown().await.unwrap();
    assert!(timeout(A_MOMENT, stream.read_u8()).await.is_err(), "neither bytes nor an end");
    assert_eq!((echo.heard.load(Ordering::SeqCst), proxy.open_connections()), (1, 1));
}

#[tokio::test]
async fn a_connection_that_lost_bytes_carries_none_any_more() {
    let (echo, proxy, mut stream) = started().await;
    proxy.half_open();
    say(&mut stream, "lost").await;
    until("they are swallowed", SOON, async || proxy.swallowed(Way::ToServer) == 4).await;
    proxy.pass();
    say(&mut stream, "late").await;
    until("the later ones too", SOON, async || proxy.swallowed(Way::ToServer) == 8).await;
    assert!(timeout(A_MOMENT, stream.read_u8()).await.is_err());
    assert_eq!(echo.heard.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_trickle_is_slow_and_complete() {
    let (_echo, proxy, mut stream) = started().await;
    proxy.set(Way::ToClient, Mode::Trickle { bytes: 1, every: Duration::from_millis(5) });
    let start = std::time::Instant::now();
    say(&mut stream, "0123456789").await;
    assert_eq!(hear(&mut stream, 10).await.unwrap(), "0123456789");
    assert!(start.elapsed() >= Duration::from_millis(45), "{:?}", start.elapsed());
}

#[tokio::test]
async fn it_refuses_and_accepts_again_on_the_same_port() {
    let (_echo, proxy, mut stream) = started().await;
    say(&mut stream, "a").await;
    hear(&mut stream, 1).await.unwrap();
    proxy.refuse().await;
    let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    say(&mut stream, "b").await;
    assert_eq!(hear(&mut stream, 1).await.unwrap(), "b", "the old connection stays");
    proxy.accept().await;
    TcpStream::connect(proxy.address()).await.unwrap();
}

#[tokio::test]
async fn a_trap_cuts_before_the_bytes_are_passed() {
    let (echo, proxy, mut stream) = started().await;
    let mut trap = proxy.cut_on(Way::ToServer, b"UPDATE", CutPoint::BeforePassing);
    say(&mut stream, "SELECT;").await;
    hear(&mut stream, 7).await.unwrap();
    assert!(!trap.has_sprung());
    say(&mut stream, "an UPDATE;").await;
    trap.sprung(SOON).await;
    assert!(hear(&mut stream, 1).await.is_err());
    assert_eq!(echo.heard.load(Ordering::SeqCst), 7);
}

#[tokio::test]
async fn a_trap_cuts_between_the_bytes_and_their_answer() {
    let (echo, proxy, mut stream) = started().await;
    let mut trap = proxy.cut_on(Way::ToServer, b"UPDATE", CutPoint::BeforeAnswer);
    say(&mut stream, "UPD").await;
    hear(&mut stream, 3).await.unwrap();
    say(&mut stream, "ATE;").await;
    trap.sprung(SOON).await;
    assert!(hear(&mut stream, 1).await.is_err(), "no answer");
    assert_eq!(echo.heard.load(Ordering::SeqCst), 7, "though it was carried out");
    let mut again = TcpStream::connect(proxy.address()).await.unwrap();
    say(&mut again, "UPDATE;").await;
    assert_eq!(hear(&mut again, 7).await.unwrap(), "UPDATE;", "once only");
}

#[tokio::test]
async fn a_trap_makes_one_connection_stall_for_a_while_and_another_swallow() {
    let (echo, proxy, mut stream) = started().await;
    let mut other = TcpStream::connect(proxy.address()).await.unwrap();
    let stall = |time| (CutPoint::BeforeAnswer, Fault::Becomes(Mode::Stall, time));
    let mut trap = proxy.fault_on(Way::ToServer, b"UPDATE", stall(SOON));
    say(&mut stream, "UPDATE;").await;
    trap.sprung(SOON).await;
    say(&mut other, "x").await;
    assert_eq!(hear(&mut other, 1).await.unwrap(), "x", "the others go on");
    assert!(timeout(A_MOMENT, stream.read_u8()).await.is_err());
    let mut brief = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.fault_on(Way::ToServer, b"UPDATE", stall(A_MOMENT));
    let start = std::time::Instant::now();
    say(&mut brief, "UPDATE;").await;
    assert_eq!(hear(&mut brief, 7).await.unwrap(), "UPDATE;", "a stall ends");
    assert!(start.elapsed() >= A_MOMENT, "{:?}", start.elapsed());
    let swallow = Fault::Becomes(Mode::Swallow, SOON);
    proxy.fault_on(Way::ToServer, b"lost", (CutPoint::BeforePassing, swallow));
    say(&mut other, "lost").await;
    until("they are swallowed", SOON, async || proxy.swallowed(Way::ToServer) == 4).await;
    assert!(timeout(A_MOMENT, other.read_u8()).await.is_err());
    assert_eq!(echo.heard.load(Ordering::SeqCst), 15);
}

#[tokio::test]
async fn bytes_are_replaced_one_way_wherever_they_come() {
    let (_echo, proxy, mut stream) = started().await;
    proxy.replace(Way::ToClient, b"ab", b"xy");
    say(&mut stream, "ab-ba-ab").await;
    assert_eq!(hear(&mut stream, 8).await.unwrap(), "xy-ba-xy");
}
