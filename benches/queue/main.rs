//! The benchmark: the real program on a private server, with a handler that answers at once.
//!
//! `./bench.sh` runs it; `--help` lists the options. Figures depend on the machine: compare those of one run.
#![allow(clippy::cast_precision_loss, reason = "counts of jobs are far below 2^52")]
#![allow(clippy::print_stdout, reason = "the table is the product")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that can't go on must say where"
)]

mod bench;
mod handler;
mod inside;
mod process;
mod report;
mod scenarios;

use bench::{Bench, Options};
use clap::Parser;
use report::Report;

// One thread: the less the handler costs, the more is measured of the rest.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let options = Options::parse();
    let mut report = Report::default();
    let bench = Bench::start(&options).await;
    for scenario in options.scenarios() {
        for run in 1..=options.runs {
            eprintln!("{} {}: run {run} of {}", bench.server_name(), scenario.name(), options.runs);
            report.add(bench.server_name(), scenario.name(), scenario.run(&bench, &options).await);
        }
    }
    bench.stop().await;
    print!("{}", report.table());
    if let Some(file) = &options.json {
        std::fs::write(file, report.json()).expect("the JSON file can be written");
    }
}
