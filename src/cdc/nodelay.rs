//! Has a connection send each of its packets at once, though its socket belongs to a library.
//!
//! `mysql_cdc` writes a packet in three pieces. By Nagle's algorithm (RFC 896) all but the first wait for the server's
//! acknowledgement, which the server holds back for 40 ms (Linux; RFC 1122, section 4.2.3.2), with each packet of the
//! handshake. The library's socket is its own, so we look for it among our open files and set `TCP_NODELAY` through a
//! duplicate of its descriptor. Where the system does not allow that, a stream opens some 200 ms later, and that is all.

use rustix::fd::{AsFd, OwnedFd, RawFd};
use rustix::net::{SocketAddrAny, getpeername, sockopt};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

/// Between two looks: a connection to a server nearby is there within so long.
const PAUSE: Duration = Duration::from_millis(1);
/// So many looks. A server farther away answers later than its acknowledgements would come.
const LOOKS: u32 = 100;

/// Looks for a connection to that port that delays what it sends, and ends that; until one is found, or the opening is
/// over.
pub(super) fn set_on_new_connection(port: u16, is_over: impl Fn() -> bool) {
    let Ok(ourselves) = pidfd_open(getpid(), PidfdFlags::empty()) else { return };
    for _ in 0..LOOKS {
        if is_over() || open_files().any(|file| end_delay(&ourselves, file, port).is_some()) {
            return;
        }
        thread::sleep(PAUSE);
    }
}

fn open_files() -> impl Iterator<Item = RawFd> {
    let names = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// None when the file is no such connection. Any other of ours to that port may send at once as well.
fn end_delay(ourselves: impl AsFd, file: RawFd, port: u16) -> Option<()> {
    let socket: OwnedFd = pidfd_getfd(ourselves, file, PidfdGetfdFlags::empty()).ok()?;
    let is_delayed = port_of(getpeername(&socket).ok()??)? == port && !sockopt::tcp_nodelay(&socket).ok()?;
    if is_delayed { sockopt::set_tcp_nodelay(&socket, true).ok() } else { None }
}

fn port_of(address: SocketAddrAny) -> Option<u16> {
    SocketAddr::try_from(address).ok().map(|address| address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_connection_to_the_port_sends_at_once_and_others_stay_as_they_are() {
        let servers = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [ours, other] = servers.each_ref().map(|server| TcpStream::connect(server.local_addr().unwrap()).unwrap());
        assert!(!ours.nodelay().unwrap() && !other.nodelay().unwrap());
        set_on_new_connection(servers[0].local_addr().unwrap().port(), || false);
        assert!(ours.nodelay().unwrap() && !other.nodelay().unwrap());
    }

    #[test]
    fn a_connection_that_is_made_meanwhile_is_found_and_the_look_ends_with_the_opening() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let (looking, has_looked) = std::sync::mpsc::channel();
        let (making, is_made) = std::sync::mpsc::channel();
        // What is moved in is dropped where one side panics, so that the other does not wait for ever.
        let connection = thread::scope(move |scope| {
            scope.spawn(move || {
                let looks = std::cell::Cell::new(0);
                set_on_new_connection(address.port(), || {
                    looks.set(looks.get() + 1);
                    // The first look has found nothing. The next one comes when there is something to find, for all
                    // of them may be over sooner than that.
                    if looks.get() == 2 {
                        let _ = looking.send(());
                        let _ = is_made.recv();
                    }
                    false
                });
            });
            has_looked.recv().unwrap();
            let connection = TcpStream::connect(address).unwrap();
            making.send(()).unwrap();
            connection
        });
        assert!(connection.nodelay().unwrap());
        let looks = std::cell::Cell::new(0);
        set_on_new_connection(address.port(), || {
            looks.set(looks.get() + 1);
            true
        });
        assert_eq!(looks.get(), 1);
    }
}
