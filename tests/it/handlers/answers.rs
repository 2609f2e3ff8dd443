//! What an answer means, and how it is kept.

use super::{Rig, SOON};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::{Answer, Receiver};
use std::net::Ipv4Addr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn any_2xx_is_done() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    for status in [200, 201, 202, 204, 226, 299] {
        receiver.on("/", if status == 204 { Answer::status(204) } else { Answer::status(status).body("all done") });
        let seen = rig.finish(job().url(receiver.url("/"))).await;
        seen.assert_done();
        let response = if status == 204 { "(status 204, no body)" } else { "all done" };
        assert_eq!((seen.response.as_str(), seen.remaining_retries, seen.attempt), (response, 5, 1));
        assert_eq!(seen.last_message(), format!("Job succeeded: {response}"));
    }
    assert_eq!(receiver.count(), 6);
}

#[tokio::test]
async fn the_answers_that_only_mean_not_now_are_temporary() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    for status in [408, 429, 502, 503, 504] {
        receiver.on("/", Answer::status(status).body("busy"));
        let seen = rig.first_try(job().url(receiver.url("/"))).await;
        seen.assert_temporary();
        seen.assert_delay(60.0);
        assert_eq!((seen.response.as_str(), seen.remaining_retries), ("busy", 4), "{status}");
        assert_eq!(seen.last_message(), "Job failed temporarily: busy");
    }
}

#[tokio::test]
async fn every_other_answer_is_permanent_and_never_retried() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let statuses = [300, 304, 400, 401, 403, 404, 405, 409, 410, 413, 418, 422, 500, 501, 505, 599];
    for status in statuses {
        receiver.on("/", Answer::status(status).body(if status == 304 { "" } else { "no" }));
        let seen = rig.finish(job().url(receiver.url("/")).retry_delay(0)).await;
        seen.assert_permanent();
        let response = if status == 304 { "(status 304, no body)" } else { "no" };
        assert_eq!(seen.last_message(), format!("Job failed permanently: {response}"));
    }
    receiver.on("/", Answer::ok());
    rig.finish(job().url(receiver.url("/"))).await.assert_done();
    assert_eq!(receiver.count(), statuses.len() + 1);
}

#[tokio::test]
async fn the_ancestors_strict_rule_is_two_settings() {
    let rig = Rig::start("[http]\nsuccess_statuses: 200\nretry_statuses: 503\n").await;
    let receiver = Receiver::start().await;
    for status in [200, 201, 204, 408, 429, 500, 502, 503, 504] {
        receiver.on("/", Answer::status(status));
        let seen = rig.first_try(job().url(receiver.url("/"))).await;
        match status {
            200 => seen.assert_done(),
            503 => seen.assert_temporary(),
            _ => seen.assert_permanent(),
        }
    }
    receiver.on("/", Answer::close());
    rig.first_try(job().url(receiver.url("/"))).await.assert_temporary();
}

#[tokio::test]
async fn the_log_has_the_ancestors_messages_word_for_word() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    receiver.on_turns("/", [Answer::status(503).body("wait"), Answer::status(500).body("no such order")]);
    let url = receiver.url("/");
    let id = job().url(&url).timeout(120).retry_delay(0).insert(&rig.database).await;
    let seen = rig.finished(id).await;
    let calling = format!("Calling job with method post on url {url} (timeout 120)");
    let failed = ["Job failed temporarily: wait", "Job failed permanently: no such order"];
    assert_eq!(seen.messages, [&calling, failed[0], &calling, failed[1]]);
    receiver.on("/", Answer::ok());
    let seen = rig.finish(job().url(&url).method("PUT")).await;
    assert_eq!(
        seen.messages,
        [&format!("Calling job with method PUT on url {url} (timeout 60)"), "Job succeeded: done"]
    );
    receiver.on("/", Answer::never());
    let seen = rig.first_try(job().url(&url).timeout(1)).await;
    assert_eq!(seen.last_message(), "Job failed due to timeout");
}

#[tokio::test]
async fn an_answer_is_kept_whole_and_logged_as_its_first_two_lines() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let text = "\nfirst line\r\nsecond line é \nthird line\n";
    receiver.on("/", Answer::status(200).body(text));
    let seen = rig.finish(job().url(receiver.url("/"))).await;
    assert_eq!(seen.response, text);
    assert_eq!(seen.last_message(), "Job succeeded: first line\nsecond line é");
    let line = rig.service.wait_for_line("Job succeeded", SOON).await;
    assert!(line.contains("Job succeeded: first line\\nsecond line é") && line.contains("status=200"), "{line}");
    assert!(!rig.service.lines().iter().any(|line| line.contains("third line")));
}

#[tokio::test]
async fn a_long_answer_is_cut_at_64_kib_and_its_invalid_bytes_are_replaced() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    receiver.on("/long", Answer::status(200).body("x".repeat(200_000)));
    let seen = rig.finish(job().url(receiver.url("/long"))).await;
    assert_eq!(seen.response, "x".repeat(65_535));
    receiver.on("/bytes", Answer::status(200).body(b"a\xff\xfe\0b".as_slice()));
    assert_eq!(rig.finish(job().url(receiver.url("/bytes"))).await.response, "a\u{fffd}\u{fffd}\u{fffd}b");
    // The cut is in the middle of a character of three bytes, and each invalid byte grows to three.
    receiver.on("/euros", Answer::status(200).body("€".repeat(30_000)));
    assert_eq!(rig.finish(job().url(receiver.url("/euros"))).await.response, "€".repeat(21_845));
    receiver.on("/invalid", Answer::status(200).body(vec![0xff; 70_000]));
    assert_eq!(rig.finish(job().url(receiver.url("/invalid"))).await.response, "\u{fffd}".repeat(21_845));
}

#[tokio::test]
async fn an_answer_is_cut_where_the_settings_say_but_for_what_the_column_holds() {
    for (setting, kept) in [(10, 10), (1_048_576, 65_535)] {
        let rig = Rig::start(&format!("[http]\nmax_response_bytes: {setting}\n")).await;
        let receiver = Receiver::start().await;
        receiver.on("/", Answer::ok().body("x".repeat(200_000)));
        let seen = rig.finish(job().url(receiver.url("/"))).await;
        seen.assert_done();
        assert_eq!(seen.response, "x".repeat(kept), "{setting}");
    }
}

#[tokio::test]
async fn answers_of_old_servers_and_early_hints_are_understood() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let told: [(&str, &str); 4] = [
        ("HTTP/1.0 200 OK\r\n\r\nup to the end", "up to the end"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde"),
        ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "ok"),
    ];
    for (answer, response) in told {
        receiver.on("/", Answer::raw(answer));
        let seen = rig.finish(job().url(receiver.url("/"))).await;
        seen.assert_done();
        assert_eq!(seen.response, response);
    }
}

#[tokio::test]
async fn an_answer_before_the_whole_body_was_taken_counts() {
    let rig = Rig::start("").await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 100]).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large").await.unwrap();
        stream
    });
    let seen = rig.finish(job().url(url).body(vec![b'x'; 8_000_000])).await;
    seen.assert_permanent();
    assert_eq!(seen.response, "too large");
    drop(answering.await);
}

#[tokio::test]
async fn a_change_of_protocol_that_nobody_asked_for_is_permanent() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    receiver.on("/", Answer::raw("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"));
    rig.finish(job().url(receiver.url("/")).timeout(5)).await.assert_permanent();
}

#[tokio::test]
async fn an_answer_stays_what_it_is_in_an_old_latin1_table() {
    let database = TestDatabase::with_schema().await;
    database.execute("ALTER TABLE queued_job MODIFY last_response TEXT CHARACTER SET latin1").await;
    let (rig, receiver) = (Rig::on(database, ""), Receiver::start().await);
    receiver.on("/", Answer::status(200).body("naïve"));
    assert_eq!(rig.finish(job().url(receiver.url("/"))).await.response, "naïve");
    receiver.on("/", Answer::status(200).body("5 € 日本"));
    rig.finish(job().url(receiver.url("/"))).await.assert_done();
}
