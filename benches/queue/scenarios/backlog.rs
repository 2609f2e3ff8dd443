//! A backlog: by one service, by several, and beside many rows that are done or wait.

use super::{Meter, insert_many};
use crate::bench::{Bench, Options};
use crate::inside::forget_statements;
use crate::report::Figures;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};

/// By one service.
pub async fn backlog(bench: &Bench, options: &Options) -> Figures {
    let jobs = options.jobs;
    let mut conn = bench.conn().await;
    insert_many(&mut conn, bench, jobs).await;
    if options.inside {
        forget_statements(&mut conn).await;
    }
    let meter = Meter::begin(bench.start_service(), bench);
    bench.handler.wait_for(1).await;
    let first_call = meter.seconds();
    wait_until_done(bench, &mut conn, jobs).await;
    let seconds = meter.seconds() - first_call;
    if options.inside {
        meter.show_inside(&mut conn, f64::from(jobs)).await;
    }
    assert_eq!(bench.handler.calls(), u64::from(jobs), "each job is called once");
    let mut figures = vec![("jobs_per_s", f64::from(jobs) / seconds), ("first_call_ms", first_call * 1e3)];
    figures.extend(meter.figures(f64::from(jobs)));
    figures
}

/// By this many services at once.
pub async fn several(bench: &Bench, options: &Options) -> Figures {
    let mut figures = Vec::new();
    for (count, names) in
        [(1, ["jobs_per_s_1", "wasted_1"]), (2, ["jobs_per_s_2", "wasted_2"]), (4, ["jobs_per_s_4", "wasted_4"])]
    {
        bench.empty().await;
        let mut conn = bench.conn().await;
        insert_many(&mut conn, bench, options.jobs).await;
        let services: Vec<_> = (0..count).map(|number| bench.start_service_as(number)).collect();
        bench.handler.wait_for(1).await;
        let begun = Instant::now();
        wait_until_done(bench, &mut conn, options.jobs).await;
        let seconds = begun.elapsed().as_secs_f64();
        for service in services {
            service.terminate().await;
        }
        let wasted: f64 = (0..count).map(|number| bench.counted(number, "claims_wasted")).sum();
        figures.push((names[0], f64::from(options.jobs) / seconds));
        figures.push((names[1], wasted / f64::from(options.jobs)));
        assert_eq!(bench.handler.calls(), u64::from(options.jobs), "each job is called once");
    }
    figures
}

/// Alone, and then beside rows that are done and rows that wait for tomorrow.
pub async fn scale(bench: &Bench, options: &Options) -> Figures {
    let alone = backlog(bench, options).await;
    bench.empty().await;
    let mut conn = bench.conn().await;
    let tomorrow = "NOW(6) + INTERVAL 1 DAY";
    fill(&mut conn, bench, ("'completed'", "NOW(6)"), options.rows).await;
    fill(&mut conn, bench, ("'available'", tomorrow), options.rows / 10).await;
    settle(&mut conn).await;
    let mut figures = backlog(bench, options).await;
    figures.push(("of_alone", figures[0].1 / alone[0].1));
    figures
}

/// Waits as long as the server writes out what was filled in, which is none of what is measured. Some keep a part of it.
async fn settle(conn: &mut Conn) {
    let mut before = u64::MAX;
    loop {
        let sql = "SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'";
        let (_, dirty): (String, u64) = conn.query_first(sql).await.unwrap().unwrap();
        if dirty >= before {
            return;
        }
        before = dirty;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Doubles rows in place. They are none of what is measured, so the log need not have them.
async fn fill(conn: &mut Conn, bench: &Bench, (state, run_at): (&str, &str), rows: u32) {
    let sql = format!(
        "SET SESSION sql_log_bin = 0; INSERT INTO queued_job (http_method, url, body, state, run_at) \
         VALUES ('post', '{}', '{}', {state}, {run_at})",
        bench.handler.url(),
        super::body()
    );
    conn.query_drop(sql).await.unwrap();
    let first = conn.last_insert_id().unwrap();
    let mut there = 1;
    while there < rows {
        let more = there.min(rows - there).min(100_000);
        let sql = format!(
            "INSERT INTO queued_job (http_method, url, body, state, run_at) \
             SELECT http_method, url, body, state, run_at FROM queued_job WHERE id >= {first} ORDER BY id LIMIT {more}"
        );
        conn.query_drop(sql).await.unwrap();
        there += more;
    }
    conn.query_drop("SET SESSION sql_log_bin = 1").await.unwrap();
}

/// Asks only once all calls have come, so that the question does not weigh on what is measured.
async fn wait_until_done(bench: &Bench, conn: &mut Conn, jobs: u32) {
    bench.handler.wait_for(u64::from(jobs)).await;
    loop {
        let left: Option<u64> = conn
            .query_first("SELECT id FROM queued_job WHERE state IN ('executing', 'retryable') LIMIT 1")
            .await
            .unwrap();
        if left.is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
