//! Handlers at their worst: each costs its own jobs, little memory, and no other host anything.
//!
//! "No other host anything" is shown by order, not by the clock: the healthy host's jobs are all done while the bad
//! host's calls hang. How long they take with and without it is for the benchmark, on a machine that is quiet.

use super::{Rig, SOON, insert_many};
use crate::support::checker::{Scope, assert_well, read_stories};
use crate::support::factory::job;
use crate::support::ledger;
use crate::support::left_out::only_in_full;
use crate::support::receiver::{Answer, Receiver};
use crate::support::tls::Authority;
use crate::support::turn::Turn;
use crate::support::wait::{throughout, until};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// `max_in_flight_per_host` as it stands.
const SLOTS_OF_A_HOST: usize = 128;

async fn count_in(rig: &Rig, state: &str) -> i64 {
    rig.database.query_one(&format!("SELECT COUNT(*) FROM queued_job WHERE state = '{state}'")).await
}

/// A hundred jobs for a healthy host, all done.
async fn healthy_jobs_are_done(rig: &Rig) -> Receiver {
    let healthy = Receiver::start().await;
    let before = count_in(rig, "completed").await;
    insert_many(&rig.database, 100, &healthy.url("/"), "'x'").await;
    until("the healthy host's jobs are done", SOON, async || count_in(rig, "completed").await == before + 100).await;
    assert_eq!(healthy.count(), 100);
    healthy
}

/// More jobs than a host has slots, all of which hang; and the other host goes on as if they weren't there.
async fn hanging_calls_slow_no_other(answer: Answer) {
    let (rig, bad) = (Rig::start("").await, Receiver::start().await);
    bad.on("/", answer);
    insert_many(&rig.database, 300, &bad.url("/"), "'x'").await;
    until("its slots are used", SOON, async || bad.in_flight() == SLOTS_OF_A_HOST).await;
    healthy_jobs_are_done(&rig).await;
    assert_eq!(
        (bad.in_flight(), bad.max_in_flight(), bad.count()),
        (SLOTS_OF_A_HOST, SLOTS_OF_A_HOST, SLOTS_OF_A_HOST)
    );
    assert_eq!(count_in(&rig, "executing").await, 128);
}

#[tokio::test]
async fn a_host_that_never_answers_slows_no_other() {
    hanging_calls_slow_no_other(Answer::never()).await;
}

#[tokio::test]
async fn a_host_that_answers_one_byte_a_second_slows_no_other() {
    hanging_calls_slow_no_other(Answer::trickle_body("x".repeat(1_000), Duration::from_secs(1))).await;
}

#[tokio::test]
async fn a_host_that_is_not_there_slows_no_other() {
    let rig = Rig::start("[http]\nconnect_timeout_secs: 300\n").await;
    let (_listener, address, _waiting) = super::broken::unanswering().await;
    insert_many(&rig.database, 300, &format!("http://{address}/"), "'x'").await;
    until("its slots are used", SOON, async || count_in(&rig, "executing").await == 128).await;
    healthy_jobs_are_done(&rig).await;
    assert_eq!(count_in(&rig, "executing").await, 128);
}

#[tokio::test]
async fn hosts_that_break_again_and_again_slow_no_other() {
    let (mut rig, bad) = (Rig::start("").await, Receiver::start().await);
    let wrong = Receiver::start_tls(&Authority::new().elsewhere()).await;
    bad.on("/reset", Answer::reset());
    bad.on("/header", Answer::close_mid_header());
    bad.on("/lines", Answer::header_lines(100_000));
    bad.on("/line", Answer::raw(format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(2_000_000))));
    bad.on("/garbage", Answer::garbage());
    for url in ["/reset", "/header", "/lines", "/line", "/garbage"].map(|path| bad.url(path)) {
        insert_many(&rig.database, 10, &url, "'x'").await;
    }
    insert_many(&rig.database, 10, &wrong.url("/"), "'x'").await;
    let healthy = healthy_jobs_are_done(&rig).await;
    until("they are given up", SOON * 2, async || count_in(&rig, "discarded").await == 60).await;
    let given_up = "SELECT COUNT(*) FROM queued_job WHERE result_code = 2 AND attempt = 6 AND remaining_retries = 0 \
         AND last_response REGEXP '^connection (broke|failed): '";
    assert_eq!(rig.database.query_one::<i64>(given_up).await, 60);
    assert_eq!((bad.count(), wrong.count()), (300, 0));
    rig.stop_and_check(&[&bad, &wrong, &healthy]).await;
}

#[tokio::test]
async fn an_endless_answer_is_cut_and_its_connection_closed() {
    let (mut rig, bad) = (Rig::start("").await, Receiver::start().await);
    bad.on("/", Answer::endless());
    insert_many(&rig.database, 50, &bad.url("/"), "'x'").await;
    until("all are done", SOON, async || count_in(&rig, "completed").await == 50).await;
    let cut = "SELECT COUNT(*) FROM queued_job WHERE last_response = REPEAT('x', 65535)";
    assert_eq!(rig.database.query_one::<i64>(cut).await, 50);
    until("nobody is sent to any more", SOON, async || bad.in_flight() == 0).await;
    rig.stop_and_check(&[&bad]).await;
}

#[tokio::test]
async fn a_handler_that_only_says_wait_runs_into_the_timeout() {
    let (rig, bad) = (Rig::start("").await, Receiver::start().await);
    bad.on("/", Answer::trickle("HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000), Duration::from_millis(1)));
    let seen = rig.first_try(job().url(bad.url("/")).timeout(1)).await;
    seen.assert_temporary();
    assert_eq!(seen.last_message(), "Job failed due to timeout");
}

#[tokio::test]
async fn a_handler_that_takes_no_body_runs_into_the_timeout() {
    let rig = Rig::start("").await;
    let (listener, url) = deaf().await;
    let seen = rig.first_try(job().url(&url).body(vec![b'x'; 8_000_000]).timeout(1)).await;
    seen.assert_temporary();
    assert_eq!(seen.last_message(), "Job failed due to timeout");
    drop(listener);
}

/// Accepts connections and reads nothing from them.
async fn deaf() -> (tokio::task::JoinHandle<Vec<TcpStream>>, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let accepting = tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            taken.push(stream);
        }
        taken
    });
    (accepting, url)
}

#[tokio::test]
async fn large_bodies_that_a_host_does_not_take_hold_up_no_other_and_fill_no_memory() {
    // Some hundred megabytes go through the database.
    if !only_in_full("large bodies that a host does not take") {
        return;
    }
    let _turn = Turn::take_all().await;
    let rig = Rig::start("").await;
    let (accepting, url) = deaf().await;
    insert_many(&rig.database, 60, &url, "REPEAT('x', 8000000)").await;
    until("its slots are used", SOON, async || count_in(&rig, "executing").await == 60).await;
    let healthy = Receiver::start().await;
    insert_many(&rig.database, 5, &healthy.url("/"), "REPEAT('x', 8000000)").await;
    until("the healthy host's jobs are done", SOON * 2, async || count_in(&rig, "completed").await == 5).await;
    let peak = rig.peak_mib();
    // It idles at some 40; the host may have 128 of bodies, and there are 480 for it.
    report(peak);
    assert!(peak < 350, "{peak} MiB");
    accepting.abort();
}

#[allow(clippy::print_stdout, reason = "seen with --nocapture")]
fn report(peak: u64) {
    println!("large bodies: {peak} MiB at most");
}

/// It answers before it has taken the body, and keeps the connection: the bytes that wait for it count beyond their call.
#[tokio::test]
async fn large_bodies_that_a_host_has_answered_and_does_not_take_count_until_it_does() {
    if !only_in_full("large bodies that a host has answered") {
        return;
    }
    let _turn = Turn::take_all().await;
    let rig = Rig::start("").await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 100]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            taken.push(stream);
        }
    });
    insert_many(&rig.database, 60, &url, "REPEAT('x', 8000000)").await;
    let has_many = async || count_in(&rig, "completed").await >= 16;
    until("the host has as many as it may", SOON * 4, has_many).await;
    let healthy = Receiver::start().await;
    insert_many(&rig.database, 5, &healthy.url("/"), "REPEAT('x', 8000000)").await;
    until("the healthy host's jobs are done", SOON * 2, async || healthy.count() == 5).await;
    // Half of the memory for large bodies is full of those that the host has answered.
    throughout("the host gets no more", Duration::from_secs(3), async || count_in(&rig, "completed").await <= 16 + 5)
        .await;
    answering.abort();
}

impl Rig {
    /// The most memory that the service has had, in MiB.
    fn peak_mib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.service.pid().as_raw_nonzero());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Nothing was kept that should not be; a debug build idles at some 40 MiB. All jobs have ended and are in order.
    async fn stop_and_check(&mut self, handlers: &[&Receiver]) {
        let peak = self.peak_mib();
        assert!(peak < 250, "{peak} MiB");
        assert_eq!(self.service.stop(SOON).await, Some(0));
        ledger::assert_nothing_lost(&self.service);
        assert_well(&read_stories(&self.database, handlers, Scope::All).await);
    }
}
