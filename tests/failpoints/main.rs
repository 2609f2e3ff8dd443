//! The program aborts, waits, panics and fails at the boundaries of claim, call, finish and log: built with the
//! feature `failpoints`, which no build for use has. Run by `./test.sh` as a step of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on must say where")]
#![allow(clippy::missing_panics_doc, reason = "tests panic to fail")]

mod aborts;
mod answers;
mod delays;
mod panics;
mod stage;
mod supervision;
#[path = "../it/support/mod.rs"]
mod support;
