//! The receiver does what its script says, and tells what it saw.

use super::super::tls::Authority;
use super::super::wait::until;
use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SOON: Duration = Duration::from_secs(5);

async fn connect(receiver: &Receiver) -> TcpStream {
    TcpStream::connect(receiver.address()).await.unwrap()
}

async fn send(stream: &mut TcpStream, path: &str, body: &str) {
    let length = body.len();
    let request = format!("POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
}

async fn rest(mut stream: TcpStream) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn call(receiver: &Receiver, path: &str) -> std::io::Result<String> {
    let mut stream = connect(receiver).await;
    send(&mut stream, path, "x").await;
    stream.shutdown().await.unwrap();
    rest(stream).await
}

#[tokio::test]
async fn a_request_is_recorded_as_it_came() {
    let receiver = Receiver::start().await;
    let mut stream = connect(&receiver).await;
    send(&mut stream, "/one?a=b", "first").await;
    send(&mut stream, "/two", "second").await;
    let requests = receiver.wait_for(2, SOON).await;
    let seen: Vec<_> = requests.iter().map(|r| (r.path.as_str(), r.body.as_slice(), r.connection)).collect();
    assert_eq!(seen, [("/one?a=b", b"first".as_slice(), 1), ("/two", b"second", 1)]);
    assert_eq!((requests[0].method.as_str(), requests[0].header("HOST")), ("POST", Some("here")));
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn answers_come_in_turns_and_the_last_stays() {
    let receiver = Receiver::start().await;
    receiver.on_turns("/", [Answer::status(503).header("Retry-After", "2"), Answer::ok()]);
    let first = call(&receiver, "/").await.unwrap();
    assert!(first.starts_with("HTTP/1.1 503 ") && first.contains("\r\nRetry-After: 2\r\n"), "{first}");
    for _ in 0..2 {
        assert!(call(&receiver, "/").await.unwrap().ends_with("\r\n\r\ndone\n"));
    }
}

#[tokio::test]
async fn a_closure_sees_the_request() {
    let receiver = Receiver::start().await;
    receiver.on_call("/echo", |request| Answer::status(200).body(request.body.clone()));
    assert!(call(&receiver, "/echo?x").await.unwrap().ends_with("\r\n\r\nx"));
}

#[tokio::test]
async fn a_gate_holds_answers_and_the_held_are_counted() {
    let receiver = Receiver::start().await;
    let gate = Gate::closed();
    receiver.on("/", Answer::ok().behind(&gate));
    let mut streams = [connect(&receiver).await, connect(&receiver).await];
    for stream in &mut streams {
        send(stream, "/", "").await;
    }
    receiver.wait_for(2, SOON).await;
    assert_eq!((receiver.in_flight(), receiver.max_in_flight()), (2, 2));
    gate.open();
    until("both answered", SOON, async || receiver.in_flight() == 0).await;
    assert_eq!(receiver.max_in_flight(), 2);
}

#[tokio::test]
async fn a_client_that_gives_up_is_no_longer_in_flight() {
    let receiver = Receiver::start().await;
    receiver.on("/", Answer::never());
    let mut stream = connect(&receiver).await;
    send(&mut stream, "/", "").await;
    receiver.wait_for(1, SOON).await;
    drop(stream);
    until("seen that it gave up", SOON, async || receiver.in_flight() == 0).await;
}

#[tokio::test]
async fn it_misbehaves_as_told() {
    let receiver = Receiver::start().await;
    let told = [
        ("/close", Answer::close(), ""),
        ("/header", Answer::close_mid_header(), "HTTP/1.1 200 OK\r\nContent-Le"),
        ("/body", Answer::close_mid_body(), "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"),
        (
            "/slow",
            Answer::trickle_body("ab", Duration::from_millis(1)),
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
        ),
    ];
    for (path, answer, expected) in told {
        receiver.on(path, answer);
        assert_eq!(call(&receiver, path).await.unwrap(), expected, "{path}");
    }
    receiver.on("/reset", Answer::reset());
    assert_eq!(call(&receiver, "/reset").await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    receiver.on("/lines", Answer::header_lines(1000));
    assert_eq!(call(&receiver, "/lines").await.unwrap().matches("X-Line-").count(), 1000);
}

#[tokio::test]
async fn an_endless_body_ends_with_its_client() {
    let receiver = Receiver::start().await;
    receiver.on("/", Answer::endless());
    let mut stream = connect(&receiver).await;
    send(&mut stream, "/", "").await;
    stream.read_exact(&mut vec![0; 1_000_000]).await.unwrap();
    drop(stream);
    until("it ended", SOON, async || receiver.in_flight() == 0).await;
}

#[tokio::test]
async fn it_speaks_tls_to_those_who_trust_its_authority() {
    let authority = Authority::new();
    for (identity, trusted) in
        [(authority.localhost(), true), (authority.elsewhere(), false), (authority.expired(), false)]
    {
        let receiver = Receiver::start_tls(&identity).await;
        let stream = connect(&receiver).await;
        let done = authority.connector().connect("localhost".try_into().unwrap(), stream).await;
        assert_eq!(done.is_ok(), trusted, "{:?}", done.err());
    }
}
