//! Many calls under way at once, and what that does to the calls to another handler beside them.

use super::arrivals::{delays, write_at_pace};
use super::{Meter, warm_up};
use crate::bench::{Bench, Options, SLOW};
use crate::handler::Handler;
use crate::report::{Figures, quantile};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use std::collections::HashMap;
use std::time::Duration;

/// Between two INSERTs of the load.
const TICK: Duration = Duration::from_millis(10);

/// Thousands of calls that take two seconds each, and beside them one job each 50 ms for a handler that answers at once.
/// Then the same beside just as many calls per second that are answered at once.
pub async fn slow(bench: &Bench, options: &Options) -> Figures {
    let calls = u64::from(options.jobs.min(5_000));
    let [p50, p99, memory] = beside(bench, &bench.slow_handler, (calls, options.seconds)).await;
    bench.empty().await;
    let [fast_p50, fast_p99, fast_memory] = beside(bench, &bench.busy_handler, (calls, options.seconds)).await;
    vec![
        ("slow_in_flight", bench.slow_handler.most_in_flight() as f64),
        ("p50_ms", p50),
        ("p99_ms", p99),
        ("beside_fast_p50_ms", fast_p50),
        ("beside_fast_p99_ms", fast_p99),
        ("service_mib", memory),
        ("beside_fast_mib", fast_memory),
    ]
}

/// From INSERT-return to arrival, p50 and p99, beside a load on another handler; and the service's memory.
async fn beside(bench: &Bench, loaded: &Handler, (calls, seconds): (u64, u32)) -> [f64; 3] {
    let limits = format!("[dispatch]\nmax_in_flight: {}\nmax_in_flight_per_host: {}\n", calls + 2_000, calls + 1_000);
    let service = bench.start_service_with(0, &limits);
    warm_up(bench).await;
    loaded.reset();
    let feeding = tokio::spawn(feed(bench.conn().await, loaded.url(), (calls, seconds)));
    loaded.wait_for(calls).await;
    bench.handler.reset();
    let meter = Meter::begin(service, bench);
    let pace = Duration::from_millis(50);
    let written = write_at_pace(bench.conn().await, bench.handler.url(), pace, seconds).await;
    let returned: HashMap<u64, _> = written.into_iter().map(|(job, _, answered)| (job, answered)).collect();
    bench.handler.wait_for(returned.len() as u64).await;
    let delays = delays(bench, &returned);
    feeding.abort();
    let memory = meter.service().memory_mib();
    meter.into_service().terminate().await;
    [quantile(delays.clone(), 0.5), quantile(delays, 0.99), memory]
}

/// Enqueues evenly so many calls in the time that a slow handler takes, for some seconds longer than is measured.
async fn feed(mut conn: Conn, url: String, (calls, seconds): (u64, u32)) {
    let ticks = u64::try_from(SLOW.as_millis() / TICK.as_millis()).unwrap();
    let rows = usize::try_from(calls.div_ceil(ticks)).unwrap();
    let values = vec![format!("('post', '{url}', '{}')", super::body()); rows].join(",");
    let begun = tokio::time::Instant::now();
    for tick in 0..u32::try_from(ticks).unwrap() * (seconds + 6) / 2 {
        tokio::time::sleep_until(begun + TICK * tick).await;
        conn.query_drop(format!("INSERT INTO queued_job (http_method, url, body) VALUES {values}")).await.unwrap();
    }
}
