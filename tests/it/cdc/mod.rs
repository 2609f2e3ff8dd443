//! The follower against real servers: one contract, kept by both clients.

mod breaks;
mod connections;
mod contents;
mod cuts;
mod inserts;
mod panics;
mod rig;
mod transactions;
pub mod unknown;

/// Each scenario as a test of the plain and of the secure client.
macro_rules! for_both_clients {
    ($($scenario:ident)*) => {
        mod plain {
            $(#[tokio::test] async fn $scenario() { super::$scenario(strings_queue::cdc::BinlogStream::Plain).await; })*
        }
        mod secure {
            $(#[tokio::test] async fn $scenario() { super::$scenario(strings_queue::cdc::BinlogStream::Secure).await; })*
        }
    };
}
use for_both_clients;
