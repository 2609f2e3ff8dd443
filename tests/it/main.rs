//! All integration tests, in one binary: real servers, real sockets, the real program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on must say where")]
#![allow(clippy::missing_panics_doc, reason = "tests panic to fail")]

mod cdc;
mod check;
mod cli;
mod docs;
mod failover;
mod faults;
mod handlers;
mod idle;
mod layering;
mod migrations;
mod moves;
mod operations;
mod packaging;
mod promptness;
mod sandbox;
mod scripts;
mod store;
mod support;
mod threats;
