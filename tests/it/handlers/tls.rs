//! Calls over TLS: whose papers are good, what becomes of a call when they aren't, and HTTP/2.

use super::{QUIET, Rig, SOON, Seen};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::left_out::only_in_full;
use crate::support::proxy::Proxy;
use crate::support::receiver::{Answer, Gate, Receiver};
use crate::support::service::{Service, program};
use crate::support::tls::Authority;
use crate::support::wait::until;

/// A service that trusts this authority beside the machine's own.
async fn trusting(authority: &Authority) -> Rig {
    let database = TestDatabase::with_schema().await;
    authority.write_pem(&database.files().join("ca.pem"));
    Rig::on(database, "[http]\nca_file: ca.pem\n")
}

fn assert_refused(seen: &Seen, why: &str) {
    seen.assert_temporary();
    assert_eq!((seen.remaining_retries, seen.attempt), (4, 1));
    assert_eq!(seen.last_message(), format!("Job failed temporarily: {}", seen.response));
    assert!(seen.response.starts_with("connection failed: ") && seen.response.contains(why), "{seen:?}");
}

#[tokio::test]
async fn a_handler_with_papers_of_our_own_authority_is_called() {
    let authority = Authority::new();
    let (rig, receiver) = (trusting(&authority).await, Receiver::start_tls(&authority.localhost()).await);
    for url in [receiver.url("/"), receiver.url("/").replace("localhost", "127.0.0.1")] {
        rig.finish(job().url(url)).await.assert_done();
    }
    assert_eq!((receiver.count(), receiver.connections()), (2, 2));
}

#[tokio::test]
async fn wrong_expired_and_unknown_papers_break_the_connection_which_is_temporary() {
    let authority = Authority::new();
    let rig = trusting(&authority).await;
    let told = [
        (authority.elsewhere(), "not valid for name"),
        (authority.expired(), "expired"),
        (Authority::new().localhost(), "invalid peer certificate"),
    ];
    for (identity, why) in told {
        let receiver = Receiver::start_tls(&identity).await;
        assert_refused(&rig.first_try(job().url(receiver.url("/"))).await, why);
        assert_eq!(receiver.count(), 0);
    }
}

#[tokio::test]
async fn papers_may_be_mended_between_two_tries() {
    let authority = Authority::new();
    let rig = trusting(&authority).await;
    let expired = Receiver::start_tls(&authority.expired()).await;
    let id = job().url(expired.url("/")).insert(&rig.database).await;
    assert_refused(&rig.tried(id, 1).await, "expired");
    let good = Receiver::start_tls(&authority.localhost()).await;
    rig.database.execute(&format!("UPDATE queued_job SET url = '{}', run_at = NOW(6)", good.url("/"))).await;
    rig.finished(id).await.assert_done();
}

#[tokio::test]
async fn the_machines_own_authorities_are_trusted_beside_ours() {
    let (machines, ours) = (Authority::new(), Authority::new());
    let database = TestDatabase::with_schema().await;
    machines.write_pem(&database.files().join("machine.pem"));
    ours.write_pem(&database.files().join("ca.pem"));
    let mut command = program();
    command.env("SSL_CERT_FILE", database.files().join("machine.pem"));
    command.arg("run").arg(database.ini(&format!("{QUIET}[http]\nca_file: ca.pem\n")));
    let rig = Rig { service: Service::spawn(command), database };
    for authority in [machines, ours] {
        let receiver = Receiver::start_tls(&authority.localhost()).await;
        rig.finish(job().url(receiver.url("/"))).await.assert_done();
    }
}

#[tokio::test]
async fn a_machine_without_authorities_calls_plain_handlers_and_says_so() {
    let database = TestDatabase::with_schema().await;
    let mut command = program();
    command.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", database.files());
    command.arg("run").arg(database.ini(QUIET));
    let rig = Rig { service: Service::spawn(command), database };
    rig.service.wait_for_line("https handlers can't be called", SOON).await;
    let plain = Receiver::start().await;
    rig.finish(job().url(plain.url("/"))).await.assert_done();
    let secure = Receiver::start_tls(&Authority::new().localhost()).await;
    assert_refused(&rig.first_try(job().url(secure.url("/"))).await, "UnknownIssuer");
}

#[tokio::test]
async fn a_file_of_authorities_that_cannot_be_used_is_told_at_the_start() {
    let database = TestDatabase::with_schema().await;
    let broken = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n";
    std::fs::write(database.files().join("broken.pem"), broken).unwrap();
    std::fs::write(database.files().join("empty.pem"), "").unwrap();
    for (file, code) in [("none.pem", 2), ("empty.pem", 2), ("broken.pem", 2)] {
        let ini = database.ini(&format!("[http]\nca_file: {file}\n"));
        let mut service = Service::run(&ini);
        assert_eq!(service.wait_for_exit(SOON).await.code(), Some(code), "{file}");
        let told = service.lines();
        assert!(told.iter().any(|line| line.contains("ca_file") && line.contains(file)), "{told:?}");
        let checked = program().arg("check").arg(&ini).output().await.unwrap();
        let told = [checked.stdout, checked.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(!checked.status.success() && told.contains("ca_file") && told.contains(file), "{told}");
    }
}

#[tokio::test]
async fn calls_over_http_2_share_one_connection() {
    let authority = Authority::new();
    let (rig, receiver) = (trusting(&authority).await, Receiver::start_http2(&authority.localhost()).await);
    let gate = Gate::closed();
    receiver.on("/", Answer::ok().behind(&gate));
    rig.finish(job().url(receiver.url("/first?a=b")).body("x".repeat(300_000))).await.assert_done();
    let ids = job().url(receiver.url("/")).insert_times(&rig.database, 50).await;
    until("all are called", SOON, async || receiver.in_flight() == 50).await;
    gate.open();
    for id in &ids {
        rig.finished(*id).await.assert_done();
    }
    let requests = receiver.requests();
    assert_eq!((requests.len(), receiver.connections()), (51, 1));
    assert_eq!((requests[0].path.as_str(), requests[0].body.len()), ("/first?a=b", 300_000));
    assert_eq!((requests[1].method.as_str(), requests[1].body.as_slice()), ("POST", b"some post body".as_slice()));
    assert_eq!(requests[1].header("Strings-Queue-Attempt"), Some("1"));
}

#[tokio::test]
async fn what_an_answer_means_is_the_same_over_http_2() {
    let authority = Authority::new();
    let (rig, receiver) = (trusting(&authority).await, Receiver::start_http2(&authority.localhost()).await);
    receiver.on("/busy", Answer::status(503).body("busy").header("Retry-After", "100"));
    rig.first_try(job().url(receiver.url("/busy"))).await.assert_delay(100.0);
    receiver.on("/gone", Answer::status(410));
    rig.finish(job().url(receiver.url("/gone"))).await.assert_permanent();
    receiver.on("/reset", Answer::reset());
    let seen = rig.first_try(job().url(receiver.url("/reset"))).await;
    seen.assert_temporary();
    assert!(seen.response.starts_with("connection broke: "), "{}", seen.response);
    receiver.on("/never", Answer::never());
    let seen = rig.first_try(job().url(receiver.url("/never")).timeout(1)).await;
    assert_eq!(seen.last_message(), "Job failed due to timeout");
    until("the call is given up", SOON, async || receiver.in_flight() == 0).await;
    rig.finish(job().url(receiver.url("/"))).await.assert_done();
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn calls_on_a_connection_of_http_2_that_is_cut_fail_temporarily_and_the_next_one_makes_a_new_one() {
    let authority = Authority::new();
    let (rig, receiver) = (trusting(&authority).await, Receiver::start_http2(&authority.localhost()).await);
    let proxy = Proxy::start(receiver.address()).await;
    let url = format!("https://localhost:{}", proxy.port());
    receiver.on("/never", Answer::never());
    rig.finish(job().url(format!("{url}/"))).await.assert_done();
    let ids = job().url(format!("{url}/never")).insert_times(&rig.database, 5).await;
    until("all are called", SOON, async || receiver.in_flight() == 5).await;
    proxy.cut_all();
    for id in ids {
        rig.tried(id, 1).await.assert_temporary();
    }
    rig.finish(job().url(format!("{url}/"))).await.assert_done();
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn a_connection_of_http_2_that_has_died_silently_is_given_up() {
    // It takes a silence, and the half minute of a ping that nobody answers.
    if !only_in_full("a connection of HTTP/2 that died silently") {
        return;
    }
    let authority = Authority::new();
    let (rig, receiver) = (trusting(&authority).await, Receiver::start_http2(&authority.localhost()).await);
    let proxy = Proxy::start(receiver.address()).await;
    let url = format!("https://localhost:{}/", proxy.port());
    rig.finish(job().url(&url)).await.assert_done();
    proxy.half_open();
    // A long timeout, so that it is not what ends the call.
    let id = job().url(&url).timeout(600).insert(&rig.database).await;
    let retried = "SELECT COUNT(*) FROM queued_job WHERE state = 'retryable'";
    until("it is given up", 5 * SOON, async || rig.database.query_one::<u64>(retried).await == 1).await;
    let seen = rig.tried(id, 1).await;
    seen.assert_temporary();
    assert!(seen.response.starts_with("connection broke: "), "{}", seen.response);
    proxy.pass();
    rig.database.execute("UPDATE queued_job SET run_at = NOW(6) WHERE state = 'retryable'").await;
    rig.finished(id).await.assert_done();
    assert_eq!((receiver.count(), proxy.connections()), (2, 2));
}
