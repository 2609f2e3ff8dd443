//! What a request carries: method, URL, body and headers.

use super::{QUIET, Rig, SOON};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::{Answer, Received, Receiver};
use crate::support::service::{Service, program};
use mysql_async::Value;
use std::time::Duration;

async fn sent(rig: &Rig, receiver: &Receiver, row: crate::support::factory::JobRow) -> Received {
    rig.finish(row).await.assert_done();
    receiver.requests().pop().unwrap()
}

/// As many handlers do after five seconds without a call: whoever sends in that moment has the call broken.
#[tokio::test]
async fn a_connection_that_its_handler_may_be_about_to_close_is_not_used() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    for unused in [0, 0, 4_200] {
        tokio::time::sleep(Duration::from_millis(unused)).await;
        rig.finish(job().url(receiver.url("/"))).await.assert_done();
    }
    assert_eq!((receiver.count(), receiver.connections()), (3, 2));
}

#[tokio::test]
async fn every_call_names_its_job_and_its_attempt() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    receiver.on_turns("/", [Answer::status(503), Answer::close(), Answer::ok()]);
    let id = job().url(receiver.url("/")).retry_delay(0).insert(&rig.database).await;
    rig.finished(id).await.assert_done();
    let (id, requests) = (id.to_string(), receiver.requests());
    assert_eq!(requests.len(), 3);
    for (request, attempt) in requests.iter().zip(["1", "2", "3"]) {
        assert_eq!(request.header("x-bitlancer-job-id"), Some(id.as_str()));
        assert_eq!(request.header("Strings-Queue-Job-Id"), Some(id.as_str()));
        assert_eq!(request.header("Strings-Queue-Attempt"), Some(attempt));
        assert_eq!(request.header("Idempotency-Key"), Some(format!("strings-queue-{id}").as_str()));
        assert!(request.header("User-Agent").unwrap().starts_with("strings-queue/"));
        assert_eq!((request.header("Authorization"), request.header("Referer")), (None, None));
    }
}

#[tokio::test]
async fn two_jobs_have_two_idempotency_keys() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let row = job().url(receiver.url("/"));
    let (first, second) = (sent(&rig, &receiver, row.clone()).await, sent(&rig, &receiver, row).await);
    assert_ne!(first.header("Idempotency-Key"), second.header("Idempotency-Key"));
}

#[tokio::test]
async fn any_method_is_sent_and_the_standard_ones_in_upper_case() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let told = [("post", "POST"), ("Get", "GET"), ("put", "PUT"), ("delete", "DELETE"), ("patch", "PATCH")];
    let more = [("options", "OPTIONS"), ("PURGE", "PURGE"), ("purge", "purge"), ("x-!#$%&'*+", "x-!#$%&'*+")];
    for (method, expected) in told.into_iter().chain(more) {
        let request = sent(&rig, &receiver, job().url(receiver.url("/")).method(method)).await;
        assert_eq!((request.method.as_str(), request.body.as_slice()), (expected, b"some post body".as_slice()));
    }
    let request = sent(&rig, &receiver, job().url(receiver.url("/")).method("head").set("body", Value::NULL)).await;
    assert_eq!(request.method, "HEAD");
}

#[tokio::test]
async fn a_url_is_sent_as_it_is_written_without_its_fragment() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let told = [
        ("/a%2Fb/c;d?e=f%20g&h=[1]#fragment", "/a%2Fb/c;d?e=f%20g&h=[1]"),
        ("/?", "/?"),
        ("", "/"),
        ("/a/../b", "/b"),
        ("/naïve x", "/na%C3%AFve%20x"),
    ];
    for (written, path) in told {
        let request = sent(&rig, &receiver, job().url(receiver.url(written))).await;
        assert_eq!(request.path, path);
        assert_eq!(request.header("Host"), Some(receiver.address().to_string().as_str()));
    }
    let request = sent(&rig, &receiver, job().url(format!("  {} ", receiver.url("/a").to_uppercase()))).await;
    assert_eq!(request.path, "/A");
}

#[tokio::test]
async fn a_text_body_is_sent_byte_for_byte() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    for body in ["a", "é 日本 🦀\r\n\n'\"\\ \0 %00", "\u{feff}", "   "] {
        let request = sent(&rig, &receiver, job().url(receiver.url("/")).body(body)).await;
        assert_eq!(request.body, body.as_bytes());
        assert_eq!(request.header("Content-Length"), Some(body.len().to_string().as_str()));
        assert_eq!((request.header("Content-Type"), request.header("Content-Encoding")), (None, None));
    }
}

#[tokio::test]
async fn bytes_in_a_blob_are_sent_as_they_are() {
    let database = TestDatabase::with_schema().await;
    database.execute("ALTER TABLE queued_job MODIFY body LONGBLOB").await;
    let (rig, receiver) = (Rig::on(database, ""), Receiver::start().await);
    let every_byte: Vec<u8> = (0..=255).collect();
    let large = every_byte.repeat(1_000);
    for body in [every_byte, large] {
        let request = sent(&rig, &receiver, job().url(receiver.url("/")).body(&body)).await;
        assert!(request.body == body, "{} bytes came for {}", request.body.len(), body.len());
    }
}

#[tokio::test]
async fn text_in_an_old_latin1_table_is_sent_as_it_is_stored() {
    let database = TestDatabase::with_schema().await;
    database.execute("ALTER TABLE queued_job MODIFY body LONGTEXT CHARACTER SET latin1").await;
    let (rig, receiver) = (Rig::on(database, ""), Receiver::start().await);
    let request = sent(&rig, &receiver, job().url(receiver.url("/")).set("body", "naïve")).await;
    assert_eq!(request.body, b"na\xefve");
}

#[tokio::test]
async fn an_empty_body_and_none_are_both_sent_as_nothing() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    for method in ["post", "get", "delete"] {
        for body in [Value::from(""), Value::NULL] {
            let row = job().url(receiver.url("/")).method(method).set("body", body);
            let request = sent(&rig, &receiver, row).await;
            assert!(request.body.is_empty() && request.header("Transfer-Encoding").is_none(), "{request:?}");
            assert!(matches!(request.header("Content-Length"), None | Some("0")), "{request:?}");
        }
    }
}

#[tokio::test]
async fn a_body_of_megabytes_is_sent_whole() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let body: Vec<u8> = (0..6_000_000_u32).map(|index| b'a' + (index % 23) as u8).collect();
    let ids = job().url(receiver.url("/")).body(&body).insert_times(&rig.database, 3).await;
    for request in receiver.wait_for(3, SOON).await {
        assert!(request.body == body, "{} bytes came", request.body.len());
    }
    for id in ids {
        rig.finished(id).await.assert_done();
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    for _ in 0..5 {
        rig.finish(job().url(receiver.url("/"))).await.assert_done();
    }
    assert_eq!((receiver.count(), receiver.connections()), (5, 1));
}

#[tokio::test]
async fn a_connection_that_the_handler_closes_after_its_answer_is_not_used_again() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for connection in ["", "Connection: close\r\n"] {
        receiver.on("/", Answer::raw(answer.replace("\r\n\r\n", &format!("\r\n{connection}\r\n"))));
        for _ in 0..5 {
            rig.finish(job().url(receiver.url("/"))).await.assert_done();
        }
    }
    assert_eq!((receiver.count(), receiver.connections()), (10, 10));
}

#[tokio::test]
async fn no_proxy_of_the_environment_is_used() {
    let (proxy, receiver, database) =
        (Receiver::start().await, Receiver::start().await, TestDatabase::with_schema().await);
    let mut command = program();
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env(name, proxy.url("/"));
    }
    command.arg("run").arg(database.ini(QUIET));
    let rig = Rig { service: Service::spawn(command), database };
    rig.finish(job().url(receiver.url("/"))).await.assert_done();
    assert_eq!((proxy.connections(), receiver.count()), (0, 1));
}
