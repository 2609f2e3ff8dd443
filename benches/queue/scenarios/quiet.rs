//! What a service costs that has nothing to call: idle, beside the traffic of other tables, at its start.

use super::{Meter, insert_many, warm_up};
use crate::bench::Bench;
use crate::report::Figures;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::time::{Duration, Instant};

/// Nothing to do.
pub async fn idle(bench: &Bench, seconds: u32) -> Figures {
    let service = bench.start_service();
    warm_up(bench).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut conn = bench.conn().await;
    let before = statements(&mut conn).await;
    let meter = Meter::begin(service, bench);
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let seconds = meter.seconds();
    let mut figures = meter.figures(seconds * 1e6);
    // Asking is one statement itself.
    let asked = (statements(&mut conn).await - before - 1) as f64;
    figures.push(("statements_per_s", asked / seconds));
    figures[0].0 = "service_cores";
    figures[1].0 = "database_cores";
    figures
}

async fn statements(conn: &mut Conn) -> i64 {
    let row: Option<(String, i64)> = conn.query_first("SHOW GLOBAL STATUS LIKE 'Questions'").await.unwrap();
    row.unwrap().1
}

/// Events of other tables, which went into the log while the service was stopped by a signal.
pub async fn foreign(bench: &Bench, events: u32) -> Figures {
    let service = bench.start_service();
    warm_up(bench).await;
    let mut conn = bench.conn().await;
    conn.query_drop("CREATE TABLE IF NOT EXISTS other (id INT PRIMARY KEY AUTO_INCREMENT, a INT, b VARCHAR(100))")
        .await
        .unwrap();
    service.stop_for_now();
    // A statement is two events: which table it is, and the row.
    for _ in 0..events / 2_000 {
        let statements = "INSERT INTO other (a, b) VALUES (7, 'some text of a common length');".repeat(1_000);
        conn.query_drop(format!("START TRANSACTION; {statements} COMMIT")).await.unwrap();
    }
    bench.handler.reset();
    insert_many(&mut conn, bench, 1).await;
    let meter = Meter::begin(service, bench);
    meter.service().go_on();
    bench.handler.wait_for(1).await;
    let seconds = meter.seconds();
    conn.query_drop("DROP TABLE other").await.unwrap();
    let mut figures = vec![("events_per_s", f64::from(events) / seconds)];
    figures.extend(meter.figures(f64::from(events)));
    figures
}

/// From the start of the program to the line that says that it follows the log.
pub async fn start(bench: &Bench) -> Figures {
    let begun = Instant::now();
    let service = bench.start_service();
    while !bench.log_of(0).contains("following the log") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let started = begun.elapsed().as_secs_f64() * 1e3;
    vec![("start_ms", started), ("service_mib", service.memory_mib())]
}
