//! Handlers that break: every broken connection is a temporary failure, and so is every timeout.

use super::{Rig, Seen};
use crate::support::factory::job;
use crate::support::receiver::{Answer, Receiver};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// One try against a handler that does this.
async fn tried(rig: &Rig, answer: Answer) -> Seen {
    let receiver = Receiver::start().await;
    receiver.on("/", answer);
    let seen = rig.first_try(job().url(receiver.url("/")).timeout(5)).await;
    assert_eq!(receiver.count(), 1);
    seen
}

fn assert_broke(seen: &Seen, how: &str) {
    seen.assert_temporary();
    seen.assert_delay(60.0);
    assert_eq!((seen.remaining_retries, seen.attempt), (4, 1));
    assert!(seen.response.starts_with(how), "{seen:?}");
    assert_eq!(seen.last_message(), format!("Job failed temporarily: {}", seen.response));
}

fn assert_timed_out(seen: &Seen) {
    seen.assert_temporary();
    assert_eq!(seen.response, "(no whole answer within 1 s)");
    assert_eq!((seen.last_message(), seen.remaining_retries), ("Job failed due to timeout", 4));
}

#[tokio::test]
async fn a_timeout_before_the_headers_is_temporary() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    receiver.on("/", Answer::never());
    assert_timed_out(&rig.first_try(job().url(receiver.url("/")).timeout(1)).await);
}

#[tokio::test]
async fn a_timeout_in_the_middle_of_the_body_is_temporary() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    receiver.on("/", Answer::trickle_body("x".repeat(1_000), Duration::from_millis(10)));
    assert_timed_out(&rig.first_try(job().url(receiver.url("/")).timeout(1)).await);
}

#[tokio::test]
async fn a_timeout_covers_the_call_with_all_its_redirects() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let late = |to: &str| Answer::redirect(307, to).after(Duration::from_millis(600));
    receiver.on("/", late("/b"));
    receiver.on("/b", late("/c"));
    assert_timed_out(&rig.first_try(job().url(receiver.url("/")).timeout(1)).await);
    assert!(receiver.requests_for("/c").is_empty());
}

#[tokio::test]
async fn a_refused_connection_is_temporary() {
    let rig = Rig::start("").await;
    // Bound and not listening: nobody else gets the port, and connections to it are refused.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let seen = rig.first_try(job().url(format!("http://127.0.0.1:{port}/"))).await;
    assert_broke(&seen, "connection failed: Connection refused");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_temporary() {
    let rig = Rig::start("").await;
    // A label of 70 letters can't be asked for, so the resolver says no without a word to any name server.
    let seen = rig.first_try(job().url(format!("http://{}.invalid/", "x".repeat(70)))).await;
    assert_broke(&seen, "connection failed: ");
}

#[tokio::test]
async fn a_reset_is_temporary() {
    assert_broke(&tried(&Rig::start("").await, Answer::reset()).await, "connection broke: ");
}

#[tokio::test]
async fn a_close_before_or_within_the_answer_is_temporary() {
    let rig = Rig::start("").await;
    for answer in [Answer::close(), Answer::close_mid_header(), Answer::close_mid_body()] {
        assert_broke(&tried(&rig, answer).await, "connection broke: ");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_temporary_whatever_its_status() {
    let rig = Rig::start("").await;
    for status in [404, 500, 503] {
        let answer = Answer::raw(format!("HTTP/1.1 {status} No\r\nContent-Length: 100\r\n\r\nonly this"));
        assert_broke(&tried(&rig, answer).await, "connection broke: ");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_temporary() {
    let rig = Rig::start("").await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nthis is no length\r\n";
    let told = ["HTTP/1.1 2000 OK\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", chunked];
    let garbage = told.into_iter().map(Answer::raw).chain([Answer::garbage()]);
    for answer in garbage {
        assert_broke(&tried(&rig, answer).await, "connection broke: ");
    }
}

#[tokio::test]
async fn a_plain_answer_to_a_tls_call_is_temporary() {
    let rig = Rig::start("").await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
        }
    });
    assert_broke(&rig.first_try(job().url(url).timeout(5)).await, "connection failed: ");
    answering.abort();
}

#[tokio::test]
async fn making_a_connection_has_a_timeout_apart_from_the_jobs_own() {
    let rig = Rig::start("[http]\nconnect_timeout_secs: 1\n").await;
    let (_listener, address, _waiting) = unanswering().await;
    let seen = rig.first_try(job().url(format!("http://{address}/")).timeout(3_600)).await;
    assert_broke(&seen, "connection failed: ");
}

/// A listener whose queue of connections is full, and who takes none of them: the kernel drops further ones
/// without an answer, as a host does that is not there.
pub async fn unanswering() -> (TcpListener, SocketAddr, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 100, "the queue has no end");
    }
    (listener, address, waiting)
}
