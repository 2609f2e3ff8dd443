//! Redirects: followed at most five times; what becomes of method, body and headers.

use super::{Rig, Seen};
use crate::support::factory::job;
use crate::support::receiver::{Answer, Receiver};

/// `/0` leads to `/1` and so on, and the last one answers.
fn chain(receiver: &Receiver, redirects: usize) {
    for step in 0..redirects {
        receiver.on(&format!("/{step}"), Answer::redirect(302, format!("/{}", step + 1)));
    }
    receiver.on(&format!("/{redirects}"), Answer::ok());
}

fn assert_not_followed(seen: &Seen, why: &str) {
    seen.assert_permanent();
    assert_eq!(seen.last_message(), format!("Job failed permanently: {why}"));
}

#[tokio::test]
async fn a_redirect_is_followed() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    for status in [301, 302, 303, 307, 308] {
        receiver.on("/a/here", Answer::redirect(status, "there?x=y"));
        receiver.on("/a/there", Answer::status(201).body("arrived"));
        let seen = rig.finish(job().url(receiver.url("/a/here"))).await;
        seen.assert_done();
        assert_eq!((seen.response.as_str(), seen.attempt), ("arrived", 1));
        assert_eq!(seen.url, receiver.url("/a/here"));
    }
    assert_eq!(receiver.requests_for("/a/there?x=y").len(), 5);
}

#[tokio::test]
async fn the_answer_at_the_end_of_a_redirect_counts() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    receiver.on("/", Answer::redirect(301, "/end"));
    receiver.on("/end", Answer::status(503).header("Retry-After", "100"));
    let seen = rig.first_try(job().url(receiver.url("/"))).await;
    seen.assert_temporary();
    seen.assert_delay(100.0);
    receiver.on("/end", Answer::status(500));
    rig.finish(job().url(receiver.url("/"))).await.assert_permanent();
}

#[tokio::test]
async fn a_redirect_whose_status_the_settings_list_is_an_answer() {
    let rig = Rig::start("[http]\nsuccess_statuses: 200-299, 303\nretry_statuses: 302, 503\n").await;
    let receiver = Receiver::start().await;
    receiver.on("/done", Answer::redirect(303, "/end"));
    receiver.on("/later", Answer::redirect(302, "/end"));
    receiver.on("/moved", Answer::redirect(307, "/end"));
    rig.finish(job().url(receiver.url("/done"))).await.assert_done();
    rig.first_try(job().url(receiver.url("/later"))).await.assert_temporary();
    assert!(receiver.requests_for("/end").is_empty());
    rig.finish(job().url(receiver.url("/moved"))).await.assert_done();
    assert_eq!(receiver.requests_for("/end").len(), 1);
}

#[tokio::test]
async fn five_redirects_are_followed_and_a_sixth_is_not() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    chain(&receiver, 5);
    rig.finish(job().url(receiver.url("/0"))).await.assert_done();
    assert_eq!(receiver.count(), 6);
    chain(&receiver, 6);
    assert_not_followed(
        &rig.finish(job().url(receiver.url("/0"))).await,
        "redirect not followed: more than 5 redirects",
    );
    assert_eq!(receiver.count(), 12);
    assert!(receiver.requests_for("/6").is_empty());
}

#[tokio::test]
async fn a_redirect_loop_ends() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    receiver.on("/", Answer::redirect(308, "/"));
    rig.finish(job().url(receiver.url("/"))).await.assert_permanent();
    assert_eq!(receiver.count(), 6);
}

#[tokio::test]
async fn how_many_are_followed_is_a_setting() {
    let (rig, receiver) = (Rig::start("[http]\nmax_redirects: 0\n").await, Receiver::start().await);
    chain(&receiver, 1);
    assert_not_followed(
        &rig.finish(job().url(receiver.url("/0"))).await,
        "redirect not followed: more than 0 redirects",
    );
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_redirect_that_leads_nowhere_is_permanent() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let nowhere = ["ftp://127.0.0.1/", "http://", "mailto:ann@example.com", "http://[::1", "file:///etc/passwd"];
    for location in nowhere {
        receiver.on("/", Answer::redirect(302, location));
        let seen = rig.finish(job().url(receiver.url("/"))).await;
        seen.assert_permanent();
    }
    receiver.on("/", Answer::status(301));
    rig.finish(job().url(receiver.url("/"))).await.assert_permanent();
    assert_eq!(receiver.count(), nowhere.len() + 1);
}

#[tokio::test]
async fn a_post_becomes_a_get_without_its_body_unless_the_redirect_keeps_it() {
    let (rig, receiver) = (Rig::start("").await, Receiver::start().await);
    let told = [
        ("post", 301, "GET"),
        ("post", 302, "GET"),
        ("post", 303, "GET"),
        ("put", 303, "GET"),
        ("post", 307, "POST"),
        ("post", 308, "POST"),
        ("put", 307, "PUT"),
        ("PURGE", 308, "PURGE"),
    ];
    for (method, status, expected) in told {
        receiver.on("/", Answer::redirect(status, "/there"));
        rig.finish(job().url(receiver.url("/")).method(method).body("the body")).await.assert_done();
        let request = receiver.requests_for("/there").pop().unwrap();
        let body: &[u8] = if expected == "GET" { b"" } else { b"the body" };
        assert_eq!((request.method.as_str(), request.body.as_slice()), (expected, body), "{method} {status}");
        if body.is_empty() {
            assert_eq!((request.header("Content-Length"), request.header("Transfer-Encoding")), (None, None));
        }
    }
}

#[tokio::test]
async fn a_redirected_call_still_names_its_job() {
    let (rig, here, there) = (Rig::start("").await, Receiver::start().await, Receiver::start().await);
    here.on("/", Answer::redirect(307, there.url("/")));
    let id = job().url(here.url("/?secret=1")).insert(&rig.database).await;
    rig.finished(id).await.assert_done();
    let request = there.requests().pop().unwrap();
    assert_eq!(request.job_id(), Some(id));
    assert_eq!(request.header("Idempotency-Key"), Some(format!("strings-queue-{id}").as_str()));
    // It would tell the next host the query of the one before.
    assert_eq!(request.header("Referer"), None);
}
