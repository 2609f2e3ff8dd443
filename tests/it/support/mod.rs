//! What the tests stand on: a database of their own, a receiver and a proxy that can misbehave, rows, the program.
#![allow(dead_code, reason = "a kit: not every run of the tests uses every tool")]

pub mod account;
pub mod checker;
pub mod cluster;
pub mod database;
pub mod factory;
pub mod group;
pub mod islands;
pub mod keyring;
pub mod ledger;
pub mod left_out;
pub mod names;
pub mod pair;
pub mod place;
pub mod private_file;
pub mod proxy;
pub mod receiver;
pub mod semi_sync;
pub mod server;
pub mod service;
pub mod template;
pub mod tiny_disk;
pub mod tls;
pub mod turn;
pub mod wait;
