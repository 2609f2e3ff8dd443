//! How long healthy hosts' jobs take beside a bad host, against how long they take without it: a ratio of one run.
//!
//! Two services work side by side, each on tables of its own, and only one of them has jobs for the bad host. They get
//! the same steady load in turns, so that whatever else the machine does falls on both.

use super::{QUIET, Rig, SOON};
use crate::support::checker::plan::{Plan, answer_by_plan};
use crate::support::checker::{Scope, Story, assert_well, read_stories};
use crate::support::database::{TestDatabase, TestServer};
use crate::support::ledger;
use crate::support::left_out::{left_out, only_in_full};
use crate::support::names::{NameServer, Told};
use crate::support::receiver::{Answer, Received, Receiver};
use crate::support::service::Service;
use crate::support::tls::Authority;
use crate::support::turn::Turn;
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Writers of jobs for the healthy hosts, each with so many a second.
const WRITERS: usize = 4;
const PER_SECOND: u32 = 50;
/// Jobs of each writer in one turn.
const JOBS: usize = 150;
/// More jobs for the bad host than a host has slots wait from the start; so many more come every second of its turns.
const WAITING: usize = 300;
const BAD_PER_SECOND: u32 = 20;
/// So many turns of each are enough on a machine that has nothing else to do; a busy one gets more, for noise passes
/// and a bad host that slows the others does so in each turn.
const TURNS: usize = 3;
const MOST_TURNS: usize = 9;

/// Times are compared by ratio from here on: what is below is the time of one or two commits more in front of a claim,
/// on a debug build that shares its processors with the handlers and the database.
const FLOOR: Duration = Duration::from_millis(5);

/// All hosts get credentials, and those that they redirect to do not. A stop does not wait for hosts that hang.
const SETTINGS: &str = "[api]\nuser: queue\npasswd: pass word\n[dispatch]\ndrain_secs: 1\n";

/// A service, and the healthy hosts' jobs in its tables.
struct Arm {
    rig: Rig,
    turns: Vec<Duration>,
}

impl Arm {
    async fn start(names: Option<&NameServer>) -> Arm {
        let database = TestDatabase::with_schema().await;
        let service = match names {
            None => Service::run(&database.ini(&format!("{QUIET}{SETTINGS}"))),
            Some(names) => {
                let mut command = names.program(database.files(), 30);
                command.arg("run").arg(database.ini(&format!("{QUIET}{SETTINGS}[http]\nconnect_timeout_secs: 2\n")));
                Service::spawn(command)
            }
        };
        service.wait_for_line("following the log", SOON).await;
        Arm { rig: Rig { database, service }, turns: Vec::new() }
    }

    /// One turn of the load: the 99th percentile of the times from a commit's answer to the call's arrival.
    async fn turn(&mut self, hosts: &[(String, Receiver)]) {
        let mark = format!("{:08x}", rand::random::<u32>());
        let mut writers = Vec::new();
        for number in 0..WRITERS {
            let mut conn = self.rig.database.conn().await;
            let (mark, url) = (format!("{}?{mark}-{number}", Plan::Work.path()), hosts[number % hosts.len()].0.clone());
            writers.push(tokio::spawn(async move {
                let mut committed = HashMap::new();
                let mut pace = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
                for count in 0..JOBS {
                    pace.tick().await;
                    let path = format!("{mark}-{count}");
                    let sql = "INSERT INTO queued_job (http_method, url, body) VALUES ('post', ?, 'x')";
                    conn.exec_drop(sql, (format!("{url}{path}"),)).await.unwrap();
                    committed.insert(path, Instant::now());
                }
                committed
            }));
        }
        let mut committed = HashMap::new();
        for writer in writers {
            committed.extend(writer.await.unwrap());
        }
        self.turns.push(percentile(arrivals(hosts, &committed).await, 99));
        self.assert_called_once(hosts, &mark, committed.len()).await;
    }

    /// The checker has nothing to say of the turn's jobs, and each was called once.
    async fn assert_called_once(&self, hosts: &[(String, Receiver)], mark: &str, jobs: usize) {
        let like = format!("%?{mark}-%");
        let done = format!("SELECT COUNT(*) FROM queued_job WHERE url LIKE '{like}' AND state = 'completed'");
        until("the jobs are done", SOON, async || self.rig.database.query_one::<usize>(&done).await == jobs).await;
        let hosts: Vec<&Receiver> = hosts.iter().map(|(_, host)| host).collect();
        let stories = read_stories(&self.rig.database, &hosts, Scope::Like(&like)).await;
        assert_well(&stories);
        let once = |story: &&Story| story.attempt == 1 && story.all_calls() == 1;
        assert_eq!((stories.len(), stories.iter().filter(once).count()), (jobs, jobs));
    }

    /// The bad host's calls are cut off; all jobs were seen in the log.
    async fn stop(&mut self) {
        assert_eq!(self.rig.service.stop(SOON).await, Some(0));
        ledger::assert_nothing_lost(&self.rig.service);
    }

    /// Of all turns the one in the middle: one that fell on a busy moment says nothing.
    fn figure(&self) -> Duration {
        percentile(self.turns.clone(), 50)
    }

    fn is_as_quick_as(&self, other: &Arm) -> bool {
        self.figure() <= 2 * other.figure().max(FLOOR)
    }
}

/// How much later each job came to its host than its commit was answered; none comes before the server shows it.
async fn arrivals(hosts: &[(String, Receiver)], committed: &HashMap<String, Instant>) -> Vec<Duration> {
    let came = || -> Vec<Duration> {
        let all = hosts.iter().flat_map(|(_, host)| host.requests());
        all.filter_map(|request| Some(request.at.saturating_duration_since(*committed.get(&request.path)?))).collect()
    };
    until("the healthy hosts' jobs arrive", SOON, async || came().len() >= committed.len()).await;
    let times = came();
    assert_eq!(times.len(), committed.len(), "each once");
    times
}

/// The smallest value that so many of a hundred do not exceed.
fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent).div_ceil(100) - 1]
}

/// A bad host, by some of its URLs, how long its jobs may take, and when they are tried again.
struct Bad<'a> {
    what: &'a str,
    urls: Vec<String>,
    timeout_secs: u32,
    retry_delay_secs: u32,
    /// Where the hosts are reached by name, and a connection is to be there within two seconds.
    names: Option<&'a NameServer>,
}

impl Bad<'_> {
    /// A host whose calls take their time, so that they can be tried again at once.
    fn slow(what: &str, url: String) -> Bad<'_> {
        Bad { what, urls: vec![url], timeout_secs: 300, retry_delay_secs: 0, names: None }
    }

    /// So many jobs, to be tried again for ever.
    async fn enqueue(&self, conn: &mut Conn, jobs: usize) {
        let sql = "INSERT INTO queued_job (http_method, url, body, timeout_secs, retry_delay_secs, \
                   remaining_retries) VALUES ('post', ?, 'x', ?, ?, 1000000)";
        for _ in 0..jobs {
            let url = &self.urls[rand::random_range(0..self.urls.len())];
            conn.exec_drop(sql, (url, self.timeout_secs, self.retry_delay_secs)).await.unwrap();
        }
    }

    /// More jobs than a host has slots.
    async fn pile_up(&self, rig: &Rig) {
        let mut conn = rig.database.conn().await;
        conn.query_drop("START TRANSACTION").await.unwrap();
        self.enqueue(&mut conn, WAITING).await;
        conn.query_drop("COMMIT").await.unwrap();
        let begun = "SELECT COUNT(*) >= 128 FROM queued_job WHERE attempt > 0";
        until("the bad host has all that it may", SOON, async || rig.database.query_one(begun).await).await;
    }

    /// More of them, steadily, until the guard falls.
    async fn keep_coming(&self, rig: &Rig) -> impl Drop + use<> {
        let (mut conn, bad) =
            (rig.database.conn().await, Bad { what: "", names: None, urls: self.urls.clone(), ..*self });
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_secs(1) / BAD_PER_SECOND);
            while stopped.run_until_cancelled(pace.tick()).await.is_some() {
                bad.enqueue(&mut conn, 1).await;
            }
        });
        stop.drop_guard()
    }

    /// Healthy hosts' jobs take at most twice as long with jobs for this one as without them.
    async fn leaves_the_others_as_quick(&self) {
        // What is measured is nobody else's doing.
        let _turn = Turn::take_all().await;
        let (mut without, mut with) = (Arm::start(self.names).await, Arm::start(self.names).await);
        let hosts = healthy_hosts(self.names).await;
        self.pile_up(&with.rig).await;
        for turn in 1..=MOST_TURNS {
            without.turn(&hosts).await;
            let coming = self.keep_coming(&with.rig).await;
            with.turn(&hosts).await;
            drop(coming);
            if turn >= TURNS && with.is_as_quick_as(&without) {
                break;
            }
        }
        let (long, short) = (with.figure(), without.figure());
        let ratio = long.as_secs_f64() / short.as_secs_f64();
        let figures = format!(
            "{}: p99 {long:.1?} with it, {short:.1?} without, {ratio:.2} times; in turns {:.1?} and {:.1?}",
            self.what, with.turns, without.turns
        );
        report(&figures);
        assert!(with.is_as_quick_as(&without), "{figures}");
        tokio::join!(without.stop(), with.stop());
    }
}

/// Two healthy hosts, by address or by name.
async fn healthy_hosts(names: Option<&NameServer>) -> Vec<(String, Receiver)> {
    let mut hosts = Vec::new();
    for number in 0..2 {
        let host = Receiver::start().await;
        answer_by_plan(&host, Duration::ZERO);
        let url = match names {
            None => host.url(""),
            Some(names) => {
                let name = format!("web-{number}.test");
                names.tell(&name, Told::Addresses(vec![Ipv4Addr::LOCALHOST]));
                format!("http://{name}:{}", host.address().port())
            }
        };
        hosts.push((url, host));
    }
    hosts
}

#[allow(clippy::print_stdout, reason = "seen with --nocapture")]
fn report(figures: &str) {
    println!("healthy hosts beside one on {}, {figures}", TestServer::get().name);
}

/// The calls run into their timeouts all at once, every two seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_never_answers_leaves_the_others_as_quick() {
    let host = Receiver::start().await;
    host.on("/", Answer::never());
    let bad = Bad { timeout_secs: 2, ..Bad::slow("that never answers", host.url("/")) };
    bad.leaves_the_others_as_quick().await;
}

/// Its calls end one by one, and each leaves room for one more job, whoever it is for.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_takes_a_second_for_each_answer_leaves_the_others_as_quick() {
    if !only_in_full("a host that takes a second for each answer, beside others") {
        return;
    }
    let host = Receiver::start().await;
    let scattered = |call: &Received| Duration::from_millis(900 + call.job_id().unwrap() * 37 % 200);
    host.on_call("/", move |call| Answer::status(503).after(scattered(call)));
    let bad = Bad::slow("that takes a second", host.url("/"));
    bad.leaves_the_others_as_quick().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_answers_one_byte_a_second_leaves_the_others_as_quick() {
    if !only_in_full("a host that answers a byte a second, beside others") {
        return;
    }
    let host = Receiver::start().await;
    host.on("/", Answer::trickle_body("x".repeat(1_000), Duration::from_secs(1)));
    let bad = Bad::slow("that answers a byte a second", host.url("/"));
    bad.leaves_the_others_as_quick().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_answers_have_no_end_leaves_the_others_as_quick() {
    if !only_in_full("a host whose answers have no end, beside others") {
        return;
    }
    let host = Receiver::start().await;
    host.on("/", Answer::endless());
    let bad = Bad::slow("whose answers have no end", host.url("/"));
    bad.leaves_the_others_as_quick().await;
}

/// The calls give the connection up all at once, again and again, while the lookup goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_name_stalls_leaves_the_others_as_quick() {
    if !only_in_full("a host whose name stalls, beside others") {
        return;
    }
    let Some(names) = NameServer::start().await else {
        return left_out("a name that stalls: a name server of our own takes root");
    };
    names.tell("stalls.test", Told::Silence);
    let bad = Bad { names: Some(&names), ..Bad::slow("whose name stalls", "http://stalls.test/".to_owned()) };
    bad.leaves_the_others_as_quick().await;
}

/// Each call of it fails at once, in one of many ways; so its jobs are tried again after a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_breaks_each_call_leaves_the_others_as_quick() {
    if !only_in_full("a host that breaks each call, beside others") {
        return;
    }
    let (host, authority) = (Receiver::start().await, Authority::new());
    let (elsewhere, expired) =
        (Receiver::start_tls(&authority.elsewhere()).await, Receiver::start_tls(&authority.expired()).await);
    host.on("/reset", Answer::reset());
    host.on("/header", Answer::close_mid_header());
    host.on("/lines", Answer::header_lines(100_000));
    host.on("/loop", Answer::redirect(307, host.url("/loop")));
    host.on("/away", Answer::redirect(307, elsewhere.url("/")));
    let paths = ["/reset", "/header", "/lines", "/loop", "/away"].map(|path| host.url(path));
    let urls = paths.into_iter().chain([elsewhere.url("/"), expired.url("/")]).collect();
    let bad = Bad { urls, retry_delay_secs: 5, ..Bad::slow("that breaks each call", String::new()) };
    bad.leaves_the_others_as_quick().await;
}
