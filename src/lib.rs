//! strings-queue: an HTTP job queue whose API is one SQL table.
//!
//! An application INSERTs into `queued_job`; this library follows the server's binary log, claims the row,
//! makes the HTTP call, and writes the outcome back.
//!
//! # The floors
//!
//! Dependencies go strictly down, and neighbours on one floor never import each other:
//!
//! ```text
//! main -> cli -> service -> { cdc | dispatch | sandbox } -> store -> config
//!     -> { wakeup | followed | metrics | logging | reconnect | failpoints | panics } -> job
//! ```
//!
//! `cdc` and `dispatch` meet only through [`wakeup`] and [`followed`]. A test (`tests/it/layering.rs`) reads the sources and
//! holds this rule.

pub mod cdc;
pub mod cli;
pub mod config;
pub mod dispatch;
pub mod failpoints;
pub mod followed;
pub mod job;
pub mod logging;
pub mod metrics;
pub mod panics;
pub mod reconnect;
pub mod sandbox;
pub mod service;
pub mod store;
pub mod wakeup;
