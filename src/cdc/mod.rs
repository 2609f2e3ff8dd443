//! When to look: follows the server's binary log as a replication client and rings for jobs that were enqueued.
//!
//! ```text
//! watcher ── resume, server_id, source (SQL), status
//!    │
//! stream ─┬─ plain  (thread, mysql_cdc) ── packets, nodelay
//!         └─ secure (task, mysql_async)
//!                │ events
//!            follower ── position ── transaction ── work ──▶ wakeup
//!                │
//!            decoder ── event, table_map, column, rows, layout, query, xid, compressed, payload, bytes
//! ```
//!
//! An event is only a doorbell with an address: "look at job N". Events that are lost, repeated or unreadable do no
//! harm, since the claim reads the row anew and a sweep finds what was never rung. Events of other tables are
//! skipped undecoded.
//!
//! What can't be known from the log is left to the sweep: rows that a trigger or function writes for a statement
//! logged as SQL that does not name our table.

mod bytes;
mod column;
mod compressed;
mod decoder;
mod error;
mod event;
mod follower;
#[cfg(test)]
mod follower_tests;
#[cfg(test)]
mod fuzz;
mod layout;
mod nodelay;
mod packets;
mod payload;
mod plain;
mod position;
mod query;
mod resume;
mod rows;
mod secure;
mod server_id;
mod source;
mod status;
mod stream;
mod table_map;
#[cfg(test)]
mod testing;
mod transaction;
mod watcher;
mod work;
mod xid;

pub use error::StreamError;
pub use status::LogStatus;
pub use stream::BinlogStream;
pub use watcher::Watcher;
