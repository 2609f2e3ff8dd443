//! A server, or somebody in between, whose answer makes the plain client's library panic.

use super::rig::{Rig, Setup};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use std::net::{Ipv4Addr, SocketAddr};
use strings_queue::cdc::BinlogStream;
use strings_queue::metrics::Counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the plain client asks for when it is logged in; the other one writes it in upper case.
const QUESTION: &[u8] = b"set @master_heartbeat_period=";
/// A packet of no bytes, whose first byte the library reads.
const EMPTY_PACKET: [u8; 4] = [0, 0, 0, 1];

/// Passes everything on, but answers the question with an empty packet; its port.
async fn spiteful_relay(server: SocketAddr) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(relay(client, server));
        }
    });
    port
}

async fn relay(client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let mut chunk = vec![0; 64 * 1024];
    let mut answer = vec![0; 64 * 1024];
    loop {
        tokio::select! {
            length = from_client.read(&mut chunk) => {
                let sent = &chunk[..length?];
                if sent.windows(QUESTION.len()).any(|window| window == QUESTION) {
                    to_client.write_all(&EMPTY_PACKET).await?;
                    continue;
                }
                if sent.is_empty() {
                    return Ok(());
                }
                to_server.write_all(sent).await?;
            }
            length = from_server.read(&mut answer) => {
                let length = length?;
                if length == 0 {
                    return Ok(());
                }
                to_client.write_all(&answer[..length]).await?;
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_makes_the_library_panic_is_survived_by_the_other_client() {
    let database = TestDatabase::with_schema().await;
    let port = spiteful_relay(database.server().address()).await;
    let mut setup = Setup::new(&database, BinlogStream::Plain).await.port(port);
    // As in the service, where the settings choose; they choose the plain one here.
    setup.client = None;
    let rig: Rig = setup.start();
    // The other client may be there before anybody has seen that the first one broke; its panic is counted.
    rig.until_following().await;
    assert_eq!(rig.metrics.get(Counter::StreamPanics), 1);
    let ids = job().insert_times(&database, 3).await;
    rig.assert_rung(&database, &ids).await;
    assert_eq!((rig.metrics.get(Counter::StreamPanics), rig.metrics.get(Counter::StreamBreaks)), (1, 0));
}
