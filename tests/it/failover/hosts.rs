//! The list of hosts itself: which one is used, how long another one may hold us up, and that all of us move together.

use super::{NO_SWEEP, SOON, following};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::Receiver;
use crate::support::wait::until;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;

/// A port on which connections are never completed: its queue is full, and the kernel drops what comes.
async fn black_hole() -> (u16, Vec<Box<dyn std::any::Any>>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held: Vec<Box<dyn std::any::Any>> = vec![Box::new(listener)];
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
    {
        held.push(Box::new(stream));
    }
    (address.port(), held)
}

fn ini(database: &TestDatabase, ports: &[u16]) -> PathBuf {
    let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let path = database.files().join(format!("{:08x}.ini", rand::random::<u32>()));
    let text = format!("[db]\nhost: {}\nuser: root\ndb: {}\n{NO_SWEEP}", hosts.join(", "), database.name());
    std::fs::write(&path, text).unwrap();
    path
}

/// Each connection would otherwise wait ten seconds for it, and each role makes one.
#[tokio::test]
async fn a_first_host_that_swallows_everything_holds_nobody_up() {
    let database = TestDatabase::with_schema().await;
    let receiver = Receiver::start().await;
    let (port, _held) = black_hole().await;
    let id = job().url(receiver.url("/")).insert(&database).await;
    let begun = Instant::now();
    let service = following(&ini(&database, &[port, database.server().port])).await;
    receiver.wait_for(1, SOON).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}:\n{}", service.lines().join("\n"));
    until("it is done", SOON, async || {
        let state: String =
            database.query_one(&format!("SELECT CAST(state AS CHAR) FROM queued_job WHERE id = {id}")).await;
        state == "completed"
    })
    .await;
}
