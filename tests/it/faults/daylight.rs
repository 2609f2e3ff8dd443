//! The hour that daylight saving repeats in autumn, and the one that it skips in spring: writers and the server itself
//! live in zones whose clocks change while the test runs. The rows say when each job is due, for a `TIMESTAMP` is UTC.

use super::checker::check;
use super::load::Load;
use super::zones::{make_zone, offset, unix_time};
use super::{ENOUGH, NO_SWEEP, base, following, ledger, report, stage_on, times};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::{Received, Receiver};
use crate::support::server::OwnServer;
use crate::support::wait::until;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};

/// How long before the change the writers begin, in seconds.
const LEAD: i64 = 12;
/// Seconds that come twice or never: so few that all of them pass while the test looks, and an hour, as in life.
const SPANS: [i64; 2] = [SHORT, 3_600];
const SHORT: i64 = 4;
/// A call later than this is late, in seconds: less than any span.
const LATE: f64 = 2.5;
/// A job due later than this, in seconds from the last look, is not waited for: it is an hour ahead.
const FAR: f64 = 60.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Season {
    /// The clocks are put back.
    Autumn,
    /// The clocks are put forward.
    Spring,
}

impl Season {
    fn offsets(self, span: i64) -> [i64; 2] {
        match self {
            Season::Autumn => [7_200, 7_200 - span],
            Season::Spring => [3_600, 3_600 + span],
        }
    }

    /// Local times before, in and after the span, as seconds after the last one before the change; and how many moments
    /// have each of them.
    fn local_times(self, span: i64) -> [(i64, usize); 5] {
        match self {
            Season::Autumn => [(-span, 1), (1 - span, 2), (0, 2), (1, 1), (2, 1)],
            Season::Spring => [(0, 1), (1, 0), (span, 0), (span + 1, 1), (span + 2, 1)],
        }
    }
}

/// The server's clock held against the test's own: it was read between two instants.
struct Clock {
    read: [Instant; 2],
    unix: f64,
}

impl Clock {
    async fn read(database: &TestDatabase) -> Clock {
        let mut conn = database.conn().await;
        conn.query_drop("SET time_zone = '+00:00'").await.unwrap();
        let before = Instant::now();
        let unix: Option<f64> = conn.query_first("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) AS DOUBLE)").await.unwrap();
        Clock { read: [before, Instant::now()], unix: unix.unwrap() }
    }

    /// The server's time at an instant after that: the latest and the earliest that it may have been.
    fn bounds(&self, at: Instant) -> [f64; 2] {
        self.read.map(|read| self.unix + at.duration_since(read).as_secs_f64())
    }
}

/// A job, when it was written at the latest and when it is due, by the server's clock.
#[derive(Debug)]
struct Planned {
    id: u64,
    what: String,
    written: f64,
    due: f64,
}

/// An application in a zone.
struct Writer<'a> {
    conn: Conn,
    clock: &'a Clock,
    url: String,
    season: Season,
    span: i64,
    change: i64,
    planned: Vec<Planned>,
}

impl Writer<'_> {
    /// Writes the jobs of one moment: due now, soon, and at each of the local times.
    async fn write(&mut self, changed: bool) {
        assert_eq!(offset(&mut self.conn).await, self.season.offsets(self.span)[usize::from(changed)], "{changed}");
        self.insert("DEFAULT", "by default").await;
        let Planned { written, due, .. } = self.planned.last().unwrap();
        assert!((written - due).abs() < LATE, "due at {due}, written until {written}");
        self.insert("NOW(6)", "now").await;
        self.insert("NOW(6) + INTERVAL 2 SECOND", "in two seconds").await;
        for (seconds, moments) in self.season.local_times(self.span) {
            let local = self.local_time(seconds).await;
            assert_eq!(self.moments(&local).await, moments, "{local}, {seconds} s from {}", self.change);
            self.insert(&format!("'{local}'"), &format!("at {local}, {seconds} s from the change")).await;
        }
    }

    async fn local_time(&mut self, seconds: i64) -> String {
        let sql = format!("SELECT CAST(FROM_UNIXTIME({}) + INTERVAL {seconds} SECOND AS CHAR)", self.change - 1);
        self.conn.query_first(sql).await.unwrap().unwrap()
    }

    /// How many moments have this local time.
    async fn moments(&mut self, local: &str) -> usize {
        let mut moments = 0;
        for offset in self.season.offsets(self.span) {
            let sql = format!(
                "SELECT CAST(FROM_UNIXTIME(TIMESTAMPDIFF(SECOND, '1970-01-01', '{local}') - {offset}) AS CHAR) = '{local}'"
            );
            moments += self.conn.query_first::<usize, _>(sql).await.unwrap().unwrap();
        }
        moments
    }

    async fn insert(&mut self, run_at: &str, what: &str) {
        let sql =
            format!("INSERT INTO queued_job (http_method, url, run_at) VALUES ('post', '{}', {run_at})", self.url);
        self.conn.query_drop(sql).await.unwrap();
        let id = self.conn.last_insert_id().unwrap();
        let [written, _] = self.clock.bounds(Instant::now());
        let due = format!("SELECT CAST(UNIX_TIMESTAMP(run_at) AS DOUBLE) FROM queued_job WHERE id = {id}");
        let due = self.conn.query_first(due).await.unwrap().unwrap();
        let what = format!("{:?} of {} s at {}: {what}", self.season, self.span, self.change);
        self.planned.push(Planned { id, what, written, due });
    }
}

fn calls_of(receiver: &Receiver, id: u64) -> Vec<Received> {
    receiver.requests().into_iter().filter(|call| call.job_id() == Some(id)).collect()
}

/// How many jobs were due when they were written, later, and an hour later.
#[derive(Debug, Default)]
struct Counted {
    at_once: usize,
    later: usize,
    far: usize,
}

/// Each job was called once, at its time; those that are an hour ahead were not, and go.
async fn judge(database: &TestDatabase, receiver: &Receiver, clock: &Clock, planned: &[Planned]) -> Counted {
    let [now, _] = clock.bounds(Instant::now());
    let (far, near): (Vec<_>, Vec<_>) = planned.iter().partition(|job| job.due > now + FAR);
    let called = async || near.iter().all(|job| !calls_of(receiver, job.id).is_empty());
    until("what is due soon is called", Duration::from_secs(20), called).await;
    for job in &near {
        let calls = calls_of(receiver, job.id);
        assert_eq!(calls.len(), 1, "{}: {job:?}", job.what);
        let [latest, earliest] = clock.bounds(calls[0].at);
        assert!(latest >= job.due, "called at {latest}, too early: {}: {job:?}", job.what);
        assert!(earliest <= job.due.max(job.written) + LATE, "called at {earliest}, too late: {}: {job:?}", job.what);
    }
    for job in &far {
        assert!(calls_of(receiver, job.id).is_empty(), "an hour early: {}: {job:?}", job.what);
        database.execute(&format!("DELETE FROM queued_job WHERE id = {}", job.id)).await;
    }
    let at_once = near.iter().filter(|job| job.due <= job.written).count();
    Counted { at_once, later: near.len() - at_once, far: far.len() }
}

/// A first try that fails just before the clocks change is repeated two seconds later, by the service's own reckoning.
async fn judge_retry(receiver: &Receiver, id: u64) {
    until("it is tried again", Duration::from_secs(20), async || calls_of(receiver, id).len() == 2).await;
    let calls = calls_of(receiver, id);
    let pause = (calls[1].at - calls[0].at).as_secs_f64();
    assert!((1.9..2.0 + LATE).contains(&pause), "tried again after {pause} s");
}

async fn until_unix_time(database: &TestDatabase, time: i64) {
    until("it is time", Duration::from_secs(20), async || unix_time(database).await >= time).await;
}

async fn through_the_change(season: Season) {
    let server = OwnServer::start(&[]).await;
    let (database, receiver) = stage_on(server.access()).await;
    for round in 0..times(1, 6) {
        let clock = Clock::read(&database).await;
        let change = unix_time(&database).await + LEAD;
        let zone = |span: i64| format!("Test/{season:?}{span}-{round}");
        for span in SPANS {
            make_zone(&database, &zone(span), season.offsets(span), &[change]).await;
        }
        // The sessions that begin from now on have one of these zones, the service's too.
        database.execute(&format!("SET GLOBAL time_zone = '{}'", zone(SPANS[round % 2]))).await;
        let mut service = following(&database.ini(NO_SWEEP)).await;
        let load = Load::start(&database, &base(&receiver), (4, 60));
        let mut writers = Vec::new();
        for span in SPANS {
            let mut conn = database.conn().await;
            // Lenient, as a server that takes a time that there is not.
            conn.query_drop(format!("SET time_zone = '{}', sql_mode = ''", zone(span))).await.unwrap();
            let (url, clock) = (receiver.url("/work"), &clock);
            writers.push(Writer { conn, clock, url, season, span, change, planned: Vec::new() });
        }
        for writer in &mut writers {
            writer.write(false).await;
        }
        until_unix_time(&database, change - 1).await;
        let flaky = job().url(receiver.url("/flaky?change")).retry_delay(2).insert(&database).await;
        // In the repeated span, and after it.
        for time in [change, change + SHORT] {
            until_unix_time(&database, time).await;
            for writer in &mut writers {
                writer.write(true).await;
            }
        }
        let planned: Vec<Planned> = writers.into_iter().flat_map(|writer| writer.planned).collect();
        let counted = judge(&database, &receiver, &clock, &planned).await;
        assert!(counted.at_once > 0 && counted.later > 0, "{counted:?}");
        assert_eq!(counted.far > 0, season == Season::Autumn, "{counted:?}");
        judge_retry(&receiver, flaky).await;
        let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
        assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
        report(&format!("{season:?}"), format!("{found:?}, {counted:?}"));
        assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
        ledger::assert_nothing_lost(&service);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_the_hour_that_comes_twice_are_called_once_when_their_rows_say() {
    through_the_change(Season::Autumn).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_the_hour_that_never_comes_are_called_once_when_their_rows_say() {
    through_the_change(Season::Spring).await;
}
