//! Clocks: the host's hours off, the server's zone changed, and its clocks put back and forward.

use super::checker::check;
use super::load::Load;
use super::stops::stop_in_time;
use super::zones::{make_zone, offset, unix_time};
use super::{ENOUGH, NO_SWEEP, SETTLES, base, following, ledger, report, stage, stage_on, times};
use crate::support::database::TestDatabase;
use crate::support::receiver::Receiver;
use crate::support::server::OwnServer;
use crate::support::service::{Service, program};
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How far in the future the scheduled jobs are.
const AHEAD: Duration = Duration::from_millis(1_500);
/// A call later than this is late.
const LATE: Duration = Duration::from_millis(2_500);

/// A library that shifts the clock of a program that is started with it; by the compiler that linking needs anyhow.
fn shifted_clock(folder: &Path, hours: i64) -> PathBuf {
    let (source, library) = (folder.join(format!("clock{hours}.c")), folder.join(format!("clock{hours}.so")));
    let text = format!(
        "#include <sys/syscall.h>\n#include <sys/time.h>\n#include <time.h>\n#include <unistd.h>\n\
         static const long shift = {hours} * 3600L;\n\
         int clock_gettime(clockid_t clock, struct timespec *now) {{\n\
           long failed = syscall(SYS_clock_gettime, clock, now);\n\
           if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift;\n\
           return failed ? -1 : 0;\n}}\n\
         time_t time(time_t *out) {{\n  struct timespec now;\n  clock_gettime(CLOCK_REALTIME, &now);\n\
           if (out) *out = now.tv_sec;\n  return now.tv_sec;\n}}\n"
    );
    std::fs::write(&source, text).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(built.success(), "cc could not build the library");
    library
}

async fn with_shifted_clock(database: &TestDatabase, ini: &Path, hours: i64) -> Service {
    let mut command = program();
    command.env("LD_PRELOAD", shifted_clock(database.files(), hours)).env("TZ", "Pacific/Chatham");
    command.args(["run".as_ref(), ini.as_os_str()]);
    let service = Service::spawn(command);
    service.wait_for_line("following the log", Duration::from_secs(20)).await;
    service
}

/// Jobs that are due a moment from now come then, and not before. Their writer reckons in UTC: one that adds seconds to
/// a local time may come to one that there is not, or that comes twice.
async fn schedule_and_wait(database: &TestDatabase, receiver: &Receiver) {
    let (before, earlier) = (Instant::now(), receiver.count());
    let mut conn = database.conn().await;
    let sql = format!(
        "SET time_zone = '+00:00'; INSERT INTO queued_job (http_method, url, run_at) \
         VALUES ('post', '{}', NOW(6) + INTERVAL {} MICROSECOND)",
        receiver.url("/work?later"),
        AHEAD.as_micros()
    );
    let (mut scheduled, mut written) = (Vec::new(), before);
    for _ in 0..3 {
        conn.query_drop(&sql).await.unwrap();
        scheduled.push(conn.last_insert_id().unwrap());
        written = Instant::now();
    }
    let is_scheduled = |id: Option<u64>| id.is_some_and(|id| scheduled.contains(&id));
    until("the scheduled jobs are called", Duration::from_secs(10), async || {
        receiver.requests()[earlier..].iter().filter(|call| is_scheduled(call.job_id())).count() == 3
    })
    .await;
    let calls = receiver.requests();
    let mut times: Vec<Instant> = calls.iter().filter(|call| is_scheduled(call.job_id())).map(|call| call.at).collect();
    times.sort_unstable();
    let after: Vec<Duration> = times.iter().map(|at| *at - before).collect();
    assert!(
        times[0] >= before + AHEAD && times[2] <= written + AHEAD + LATE,
        "called {after:?} after they were inserted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_whose_clocks_are_hours_off_call_jobs_at_their_time_and_take_none_from_each_other() {
    let (database, receiver) = stage().await;
    let ini = database.ini("[sweep]\ninterval_secs: 1\n[retry]\njitter: 0\n[dispatch]\ndrain_secs: 1\n");
    let mut behind = with_shifted_clock(&database, &ini, -7).await;
    let mut ahead = with_shifted_clock(&database, &ini, 9).await;
    // The logs tell the host's time: the hour is one of the first thirteen letters' last.
    let [one, other] = [&behind, &ahead].map(|service| service.lines()[0][..13].to_owned());
    assert_ne!(one, other, "the clocks are not shifted");
    let load = Load::start(&database, &base(&receiver), (4, 60));
    for _ in 0..times(1, 10) {
        schedule_and_wait(&database, &receiver).await;
    }
    assert_eq!(stop_in_time(&mut behind).await, Some(0));
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    report("clocks hours off", format!("{found:?}"));
    assert_eq!(stop_in_time(&mut ahead).await, Some(0));
    for service in [&behind, &ahead] {
        ledger::assert_nothing_lost(service);
    }
}

/// Seconds between two changes of the restless zone's clocks: by an hour, back and forward in turn.
const RESTLESS: i64 = 3;

/// A zone whose clocks go on changing for as long as the test may take; one of its own sessions.
async fn enter_a_restless_zone(database: &TestDatabase) -> Conn {
    let now = unix_time(database).await;
    let changes: Vec<i64> = (1..300).map(|change| now + RESTLESS * change).collect();
    make_zone(database, "Test/Restless", [7_200, 3_600], &changes).await;
    let mut conn = database.conn().await;
    conn.query_drop("SET time_zone = 'Test/Restless'").await.unwrap();
    conn
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_come_at_their_time_while_the_servers_zone_changes_and_its_clocks_are_put_back_and_forward() {
    let server = OwnServer::start(&["--default-time-zone=+09:30"]).await;
    let (database, receiver) = stage_on(server.access()).await;
    let mut service = following(&database.ini(NO_SWEEP)).await;
    let zones = ["-11:00", "+13:00", "+05:45", "Test/Restless"];
    let mut restless = enter_a_restless_zone(&database).await;
    let load = Load::start_with(&database, &base(&receiver), (4, 60), |writer| {
        format!("SET SESSION time_zone = '{}'", zones[writer])
    });
    for _ in 0..times(1, 8) {
        // Two clock changes, seen by sessions with the server's zone and by those with their own.
        database.execute("SET GLOBAL time_zone = 'Test/Restless'").await;
        for hour in [3_600, 7_200] {
            until("the clocks change", SETTLES, async || offset(&mut restless).await == hour).await;
            schedule_and_wait(&database, &receiver).await;
        }
        database.execute("SET GLOBAL time_zone = '-12:00'").await;
        schedule_and_wait(&database, &receiver).await;
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    report("zones", format!("{found:?}"));
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_nothing_lost(&service);
}
