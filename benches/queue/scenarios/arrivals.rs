//! From an INSERT's return, or from its `run_at`, to the call's arrival; alone and under load.

use super::{Meter, body, warm_up};
use crate::bench::Bench;
use crate::report::{Figures, quantile};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Writers that INSERT one row at a time at a fixed rate together; from each INSERT's return to its call's arrival.
pub async fn arrivals(bench: &Bench, (writers, per_second): (u32, u32), seconds: u32) -> Figures {
    let service = bench.start_service();
    warm_up(bench).await;
    bench.handler.reset();
    let meter = Meter::begin(service, bench);
    let mut writing = Vec::new();
    for _ in 0..writers {
        let (conn, url) = (bench.conn().await, bench.handler.url());
        let pace = Duration::from_secs(1) * writers / per_second;
        writing.push(tokio::spawn(write_at_pace(conn, url, pace, seconds)));
    }
    let (mut returned, mut inserts) = (HashMap::new(), Vec::new());
    for writer in writing {
        for (job, sent, answered) in writer.await.unwrap() {
            returned.insert(job, answered);
            inserts.push((answered - sent).as_secs_f64() * 1e3);
        }
    }
    let inserted = returned.len() as f64 / meter.seconds();
    bench.handler.wait_for(returned.len() as u64).await;
    assert_eq!(bench.handler.calls(), returned.len() as u64, "each job is called once");
    let delays = delays(bench, &returned);
    let mut figures = vec![
        ("inserted_per_s", inserted),
        ("insert_p50_ms", quantile(inserts, 0.5)),
        ("p50_ms", quantile(delays.clone(), 0.5)),
        ("p99_ms", quantile(delays.clone(), 0.99)),
        ("max_ms", quantile(delays, 1.0)),
    ];
    figures.extend(meter.figures(returned.len() as f64));
    meter.into_service().terminate().await;
    figures.push(("claims_repeated", bench.counted(0, "claims_repeated") / returned.len() as f64));
    figures
}

/// From each INSERT's return to its call's arrival, in milliseconds.
pub(super) fn delays(bench: &Bench, returned: &HashMap<u64, Instant>) -> Vec<f64> {
    bench
        .handler
        .arrivals()
        .into_iter()
        .filter_map(|(job, arrived)| {
            let inserted: &Instant = returned.get(&job)?;
            // A call may arrive before its INSERT has returned: the log runs ahead of the answer.
            let early = inserted.saturating_duration_since(arrived).as_secs_f64();
            Some((arrived.saturating_duration_since(*inserted).as_secs_f64() - early) * 1e3)
        })
        .collect()
}

/// Jobs that are to run some time from now: how late they arrive.
pub async fn timers(bench: &Bench, jobs: u32) -> Figures {
    let service = bench.start_service();
    warm_up(bench).await;
    bench.handler.reset();
    let meter = Meter::begin(service, bench);
    let (mut conn, url) = (bench.conn().await, bench.handler.url());
    let mut due = HashMap::new();
    for number in 0..jobs {
        let delay = Duration::from_millis(1_000 + u64::from(number * 7 % 2_000));
        let sql = "INSERT INTO queued_job (http_method, url, body, run_at) \
                   VALUES ('post', ?, ?, NOW(6) + INTERVAL ? MICROSECOND)";
        // The server reads its clock at the beginning of the statement.
        let now = Instant::now();
        conn.exec_drop(sql, (&url, body(), u64::try_from(delay.as_micros()).unwrap())).await.unwrap();
        due.insert(conn.last_insert_id().unwrap(), now + delay);
    }
    bench.handler.wait_for(due.len() as u64).await;
    assert_eq!(bench.handler.calls(), due.len() as u64, "each job is called once");
    let late: Vec<f64> = bench
        .handler
        .arrivals()
        .into_iter()
        .filter_map(|(job, arrived)| Some(arrived.saturating_duration_since(*due.get(&job)?).as_secs_f64() * 1e3))
        .collect();
    let mut figures = vec![
        ("late_p50_ms", quantile(late.clone(), 0.5)),
        ("late_p99_ms", quantile(late.clone(), 0.99)),
        ("late_max_ms", quantile(late, 1.0)),
    ];
    figures.extend(meter.figures(due.len() as f64));
    figures
}

/// Each job with the moments when its INSERT was sent and answered.
pub(super) async fn write_at_pace(
    mut conn: Conn,
    url: String,
    pace: Duration,
    seconds: u32,
) -> Vec<(u64, Instant, Instant)> {
    let begun = Instant::now();
    let mut returned = Vec::new();
    let sql = "INSERT INTO queued_job (http_method, url, body) VALUES ('post', ?, ?)";
    while begun.elapsed() < Duration::from_secs(seconds.into()) {
        let due = begun + pace * u32::try_from(returned.len()).unwrap();
        tokio::time::sleep_until(due.into()).await;
        let sent = Instant::now();
        conn.exec_drop(sql, (&url, body())).await.unwrap();
        returned.push((conn.last_insert_id().unwrap(), sent, Instant::now()));
    }
    returned
}
