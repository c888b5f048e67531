//! A proxy before a MySQL server that counts the client's packets and does something at the k-th: the connection is cut
//! before the server sees it, or after, before its answer comes back.

#![allow(dead_code, reason = "each file of tests uses a part of it")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What happens around the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server never sees the packet.
    Before,
    /// The server sees the packet, and its answer is lost.
    After,
    /// The packet and all that follows it are swallowed, and both sides go on waiting: the server until the proxy is dropped.
    Silent,
}

/// Which packet it is.
#[derive(Clone, Debug)]
pub enum At {
    /// The k-th of the client's, from 1, all connections together.
    Packet(usize),
    /// The first that holds a text.
    Text(&'static str),
    /// None: packets are only counted.
    Never,
}

/// Connections to the server that nobody closes.
type Held = Arc<Mutex<Vec<TcpStream>>>;

/// A proxy at work; it ends with the test's process.
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    seen: Arc<AtomicUsize>,
    cuts: Arc<AtomicUsize>,
    held: Held,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for server in self.held.lock().expect("a lock").drain(..) {
            let _ = server.shutdown(Shutdown::Both);
        }
    }
}

impl Proxy {
    /// A proxy before a port of this machine that cuts once; `then` is called in the moment of the cut.
    pub fn new(server: u16, at: At, cut: Cut, then: impl Fn() + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (seen, cuts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let held = Held::default();
        let (then, keep) = (Box::new(then), Arc::clone(&held));
        let plan = Arc::new(Plan { at, cut, then, seen: Arc::clone(&seen), cuts: Arc::clone(&cuts), held: keep });
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (Ok(server), plan) = (TcpStream::connect(("127.0.0.1", server)), Arc::clone(&plan)) else {
                    continue;
                };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                thread::spawn(move || plan.connection(client, server));
            }
        });
        Self { port, seen, cuts, held }
    }

    /// How many packets the clients have sent.
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

struct Plan {
    at: At,
    cut: Cut,
    then: Box<dyn Fn() + Send + Sync>,
    seen: Arc<AtomicUsize>,
    cuts: Arc<AtomicUsize>,
    held: Held,
}

impl Plan {
    fn connection(&self, mut client: TcpStream, mut server: TcpStream) {
        let is_cut = Arc::new(Mutex::new(false));
        let (answers, to_client, silent) =
            (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"), Arc::clone(&is_cut));
        thread::spawn(move || answer(answers, to_client, &silent));
        let mut packet = Vec::new();
        while read_packet(&mut client, &mut packet) {
            let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
            if self.is_it(number, &packet) {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                *is_cut.lock().expect("a lock") = true;
                if self.cut == Cut::After {
                    let _ = server.write_all(&packet);
                    // The server has it once it answers, or has closed; the answer goes nowhere.
                    thread::sleep(Duration::from_millis(100));
                }
                (self.then)();
                if self.cut == Cut::Silent {
                    while read_packet(&mut client, &mut packet) {}
                    // Nothing tells the server that the client is gone.
                    self.held.lock().expect("a lock").push(server);
                    return;
                }
                break;
            }
            if server.write_all(&packet).is_err() {
                break;
            }
        }
        let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    }

    fn is_it(&self, number: usize, packet: &[u8]) -> bool {
        match self.at {
            At::Packet(k) => number == k,
            At::Text(text) => {
                self.cuts.load(Ordering::SeqCst) == 0 && packet.windows(text.len()).any(|w| w == text.as_bytes())
            }
            At::Never => false,
        }
    }
}

fn answer(mut server: TcpStream, mut client: TcpStream, silent: &Mutex<bool>) {
    let mut bytes = [0; 1 << 14];
    while let Ok(count @ 1..) = server.read(&mut bytes) {
        if *silent.lock().expect("a lock") || client.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

/// Reads one packet with its header: three bytes of length, one of sequence.
fn read_packet(stream: &mut TcpStream, packet: &mut Vec<u8>) -> bool {
    packet.resize(4, 0);
    if stream.read_exact(packet).is_err() {
        return false;
    }
    let length = usize::from(packet[0]) | usize::from(packet[1]) << 8 | usize::from(packet[2]) << 16;
    packet.resize(4 + length, 0);
    stream.read_exact(&mut packet[4..]).is_ok()
}
