//! A proxy before a MySQL server that speaks TLS: it counts the client's records, which it cannot read, and bends one bit of
//! what the server answers to the k-th.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// A proxy at work; it ends with the test's process.
pub struct Garbler {
    /// Where it listens.
    pub port: u16,
    seen: Arc<AtomicUsize>,
}

impl Garbler {
    /// A proxy before a port of this machine.
    pub fn new(server: u16, k: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&seen);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let seen = Arc::clone(&counter);
                thread::spawn(move || connection(client, server, k, &seen));
            }
        });
        Self { port, seen }
    }

    /// How many records the clients have sent.
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

fn connection(mut client: TcpStream, mut server: TcpStream, k: usize, seen: &AtomicUsize) {
    let bends = Arc::new(AtomicBool::new(false));
    let (answers, to_client, is_due) =
        (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"), Arc::clone(&bends));
    thread::spawn(move || answer(answers, to_client, &is_due));
    let mut bytes = Vec::new();
    // First a packet of MySQL that asks for TLS, then records: a byte of kind, two of version, two of length.
    let mut has_begun = false;
    loop {
        let header = if has_begun { 5 } else { 4 };
        bytes.resize(header, 0);
        if client.read_exact(&mut bytes).is_err() {
            break;
        }
        let length = match has_begun {
            true => usize::from(bytes[3]) << 8 | usize::from(bytes[4]),
            false => usize::from(bytes[0]) | usize::from(bytes[1]) << 8,
        };
        bytes.resize(header + length, 0);
        if client.read_exact(&mut bytes[header..]).is_err() {
            break;
        }
        if has_begun && seen.fetch_add(1, Ordering::SeqCst) + 1 == k {
            bends.store(true, Ordering::SeqCst);
        }
        has_begun = true;
        if server.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}

fn answer(mut server: TcpStream, mut client: TcpStream, bends: &AtomicBool) {
    let mut bytes = [0; 1 << 14];
    while let Ok(count @ 1..) = server.read(&mut bytes) {
        if bends.swap(false, Ordering::SeqCst) {
            bytes[count - 1] ^= 1;
        }
        if client.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}
