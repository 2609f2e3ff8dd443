//! Waiting until the server greets.

use super::SandboxError;
use super::directory::Directory;
use super::process::ServerProcess;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// The first byte of the greeting's payload: the only protocol there is.
const PROTOCOL_VERSION: u8 = 10;

/// Returns when the server takes connections, and fails when it has ended or the deadline has passed.
///
/// The socket is in our own directory, so whoever greets there is our server; its TCP port is open by then,
/// for a server that can't have its port ends.
pub(super) async fn wait(
    process: &ServerProcess,
    directory: &Directory,
    socket: &Path,
    deadline: Duration,
) -> Result<(), SandboxError> {
    let ended_early = |status| SandboxError::EndedEarly { status, log: directory.log(), tail: directory.log_tail() };
    tokio::select! {
        () = greeting(socket) => Ok(()),
        Some(status) = process.ended() => Err(ended_early(status)),
        () = sleep(deadline) => {
            Err(SandboxError::NotReady { waited: deadline, log: directory.log(), tail: directory.log_tail() })
        }
    }
}

async fn greeting(socket: &Path) {
    let mut pause = FIRST_PAUSE;
    while !greets(socket).await {
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Whether it sends a greeting: three bytes of length, a number, the version of the protocol.
async fn greets(socket: &Path) -> bool {
    let read = async {
        let mut head = [0; 5];
        UnixStream::connect(socket).await?.read_exact(&mut head).await?;
        std::io::Result::Ok(head[4])
    };
    matches!(timeout(Duration::from_secs(1), read).await, Ok(Ok(PROTOCOL_VERSION)))
}
