//! Machines of their own, as far as the network goes: each is a network namespace with one cable to a common switch, and
//! any cable may be pulled. Nothing of it touches the network of this machine.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::process::{Command, Output};
use tokio::net::{TcpListener as Listener, TcpStream};
use tokio::sync::oneshot;

/// So many machines and a switch; gone when dropped, once their processes have ended.
pub struct Islands {
    name: String,
    network: [u8; 3],
    count: usize,
    relays: Vec<oneshot::Sender<()>>,
}

impl Islands {
    /// None where that can't be arranged, which takes root and `ip`.
    pub fn new(count: usize) -> Option<Islands> {
        let name = format!("sq-{:08x}", rand::random::<u32>());
        let islands = Islands { name, network: [10, 77, 0], count, relays: Vec::new() };
        islands.set_up().then_some(islands)
    }

    fn set_up(&self) -> bool {
        let switch = self.switch();
        let mut all = ip(&format!("netns add {switch}"))
            && ip(&format!("-n {switch} link add switch type bridge"))
            && ip(&format!("-n {switch} link set switch up"));
        for island in 0..self.count {
            let (name, address) = (self.island(island), self.address(island));
            all = all
                && ip(&format!("netns add {name}"))
                && ip(&format!("-n {name} link set lo up"))
                && ip(&format!("-n {name} link add cable type veth peer name port{island} netns {switch}"))
                && ip(&format!("-n {name} addr add {address}/24 dev cable"))
                && ip(&format!("-n {name} link set cable up"))
                && ip(&format!("-n {switch} link set port{island} up"));
            if all {
                self.plug_in(island);
            }
        }
        all
    }

    fn switch(&self) -> String {
        format!("{}-s", self.name)
    }

    fn island(&self, island: usize) -> String {
        format!("{}-{island}", self.name)
    }

    /// By which the others reach it.
    pub fn address(&self, island: usize) -> Ipv4Addr {
        let [first, second, third] = self.network;
        Ipv4Addr::new(first, second, third, u8::try_from(island + 1).unwrap())
    }

    /// Pulls a machine's cable: whatever it sends vanishes, and so does what is sent to it.
    pub fn pull_out(&self, island: usize) {
        assert!(ip(&format!("-n {} link set port{island} nomaster", self.switch())));
    }

    /// Plugs it in again.
    pub fn plug_in(&self, island: usize) {
        assert!(ip(&format!("-n {} link set port{island} master switch", self.switch())));
    }

    /// Runs a part of the test there: the processes and the sockets that it makes belong there.
    pub async fn on<T>(&self, island: usize, deed: impl Future<Output = T>) -> T {
        let home = File::open("/proc/thread-self/ns/net").unwrap();
        self.go_to(island);
        let done = deed.await;
        enter(&home);
        done
    }

    fn go_to(&self, island: usize) {
        enter(&File::open(format!("/run/netns/{}", self.island(island))).unwrap());
    }

    /// A port of 127.0.0.1 here that leads to one of 127.0.0.1 there, whether the cable is plugged in or not.
    pub fn lead_to(&mut self, island: usize, port: u16) -> u16 {
        let here = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        here.set_nonblocking(true).unwrap();
        let address = here.local_addr().unwrap();
        let there = File::open(format!("/run/netns/{}", self.island(island))).unwrap();
        let (relay, ended) = oneshot::channel();
        std::thread::spawn(move || {
            // What listens was made here; what connects is made there.
            enter(&there);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = carry(here, (Ipv4Addr::LOCALHOST, port).into()) => {}
                    _ = ended => {}
                }
            });
        });
        self.relays.push(relay);
        address.port()
    }
}

impl Drop for Islands {
    fn drop(&mut self) {
        for name in (0..self.count).map(|island| self.island(island)).chain([self.switch()]) {
            ip(&format!("netns del {name}"));
        }
    }
}

async fn carry(here: TcpListener, there: SocketAddr) {
    let here = Listener::from_std(here).unwrap();
    while let Ok((mut client, _)) = here.accept().await {
        tokio::spawn(async move {
            let Ok(mut server) = TcpStream::connect(there).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

fn enter(namespace: &File) {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn ip(arguments: &str) -> bool {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    output.is_ok_and(|Output { status, .. }| status.success())
}

#[tokio::test]
async fn what_is_pulled_out_is_reached_from_here_and_by_no_other() {
    use tokio::time::{Duration, timeout};
    let Some(mut islands) = Islands::new(2) else {
        return super::left_out::left_out("networks of our own: they take root and ip");
    };
    let listener = islands.on(0, Listener::bind((Ipv4Addr::UNSPECIFIED, 0))).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepting = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"here").await;
        }
    });
    let lead = islands.lead_to(0, port);
    let there = (islands.address(0), port);
    assert!(islands.on(1, TcpStream::connect(there)).await.is_ok());
    islands.pull_out(0);
    assert!(islands.on(1, timeout(Duration::from_millis(500), TcpStream::connect(there))).await.is_err());
    let mut said = [0; 4];
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, lead)).await.unwrap();
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut said).await.unwrap();
    assert_eq!(&said, b"here");
    islands.plug_in(0);
    assert!(islands.on(1, TcpStream::connect(there)).await.is_ok());
    accepting.abort();
}
