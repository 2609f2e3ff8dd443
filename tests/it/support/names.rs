//! A name server of a test's own, and the program run so that it asks this one alone.

use super::service::wrapped_program;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::net::UdpSocket;
use tokio::process::Command;
use tokio::task::JoinHandle;

/// What stands in front of the program: a view of the file system of its own, with our files in it.
const VIEW: &str = "mount --bind \"$1\" /etc/resolv.conf && shift && \
    if [ -e /etc/nsswitch.conf ]; then mount --bind \"$1\" /etc/nsswitch.conf; fi && shift && exec \"$@\"";

/// What is known of a name.
#[derive(Debug, Clone)]
pub enum Told {
    /// Its addresses.
    Addresses(Vec<Ipv4Addr>),
    /// Nothing, ever: the question is not answered.
    Silence,
    /// That the name server failed.
    Failure,
}

/// A listening name server; gone when dropped. Names that it was not told of don't exist.
pub struct NameServer {
    address: Ipv4Addr,
    book: Arc<Mutex<Book>>,
    answering: JoinHandle<()>,
}

#[derive(Default)]
struct Book {
    names: HashMap<String, Told>,
    questions: HashMap<String, usize>,
}

impl NameServer {
    /// On an address of its own; none where we may not listen there or may not change a program's view, which
    /// takes root.
    pub async fn start() -> Option<NameServer> {
        let may =
            Command::new("unshare").args(["--mount", "true"]).output().await.is_ok_and(|out| out.status.success());
        let address = Ipv4Addr::from_bits(0x7f00_0000 | (rand::random::<u32>() & 0x00ff_fffe) | 2);
        let socket = UdpSocket::bind((address, 53)).await.ok().filter(|_| may)?;
        let book = Arc::new(Mutex::new(Book::default()));
        let answering = tokio::spawn(answer(socket, Arc::clone(&book)));
        Some(NameServer { address, book, answering })
    }

    /// Tells it of a name.
    pub fn tell(&self, name: &str, told: Told) {
        self.book.lock().unwrap().names.insert(name.to_owned(), told);
    }

    /// How often it was asked for a name's addresses (IPv4; a question may be repeated).
    pub fn questions(&self, name: &str) -> usize {
        self.book.lock().unwrap().questions.get(name).copied().unwrap_or(0)
    }

    /// A command that runs the program with this name server and no other, which is asked once and given so many
    /// seconds; files go to the folder.
    pub fn program(&self, folder: &Path, timeout_secs: u32) -> Command {
        let (resolver, order) = (folder.join("resolv.conf"), folder.join("nsswitch.conf"));
        std::fs::write(&resolver, format!("nameserver {}\noptions timeout:{timeout_secs} attempts:1\n", self.address))
            .unwrap();
        std::fs::write(&order, "hosts: files dns\n").unwrap();
        let wrapper = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", VIEW, "sh"];
        let wrapper = wrapper.into_iter().map(Into::into).chain([resolver.into_os_string(), order.into_os_string()]);
        wrapped_program(wrapper)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

async fn answer(socket: UdpSocket, book: Arc<Mutex<Book>>) {
    let mut packet = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut packet).await {
        let reply = reply(&packet[..length], &book);
        if let Some(reply) = reply {
            send(&socket, &reply, from).await;
        }
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], to: SocketAddr) {
    let _ = socket.send_to(reply, to).await;
}

/// The answer to a question (RFC 1035, section 4); none where there is to be silence.
fn reply(packet: &[u8], book: &Mutex<Book>) -> Option<Vec<u8>> {
    const ADDRESS: &[u8] = &[0, 1];
    let (name, end) = question_name(packet)?;
    let kind = packet.get(end..end + 2)?;
    let told = {
        let mut book = book.lock().unwrap();
        if kind == ADDRESS {
            *book.questions.entry(name.clone()).or_default() += 1;
        }
        book.names.get(&name).cloned()
    };
    let (code, addresses) = match told {
        Some(Told::Silence) => return None,
        Some(Told::Failure) => (2, Vec::new()),
        Some(Told::Addresses(addresses)) => (0, if kind == ADDRESS { addresses } else { Vec::new() }),
        None => (3, Vec::new()),
    };
    let count = u8::try_from(addresses.len()).unwrap();
    let mut reply = packet[..2].to_vec();
    reply.extend_from_slice(&[0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    reply.extend_from_slice(packet.get(12..end + 4)?);
    for address in addresses {
        reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        reply.extend_from_slice(&address.octets());
    }
    Some(reply)
}

/// The name that is asked for, and where its labels end.
fn question_name(packet: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_lowercase());
        at += length;
    }
}
