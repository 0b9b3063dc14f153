//! Loopback ports that stay free while a server is down.
//!
//! Taken from below the range that the kernel gives to outgoing connections: a port from inside it could be taken by
//! somebody's connection between kill and restart, and a proxy that dials it meanwhile could even meet itself. The pool
//! is divided into blocks; whoever listens on the first port of a block has all of it, so that no two test processes
//! on a machine are ever given the same port.

use super::wait::{SOON, wait_until};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Mutex;

/// The pool; Linux dials out from 32768 on.
const POOL: Range<u16> = 20_000..32_000;
/// Ports of a block, the one included that says whose it is.
const BLOCK_LEN: u16 = 100;

static OURS: Mutex<Ours> = Mutex::new(Ours { left: 0..0, next_block: POOL.start, guards: Vec::new() });

/// The ports of this process.
struct Ours {
    /// Of the block that was taken last, those that were not given out.
    left: Range<u16>,
    /// Where to look for the next block.
    next_block: u16,
    /// What makes the blocks ours; listened on to the end.
    guards: Vec<TcpListener>,
}

impl Ours {
    /// A port that was given out to nobody.
    fn next(&mut self) -> SocketAddr {
        loop {
            if let Some(port) = self.left.next() {
                return SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            }
            let block = self.next_block;
            assert!(block < POOL.end, "no free port on 127.0.0.1 between {} and {}", POOL.start, POOL.end);
            self.next_block = block + BLOCK_LEN;
            if let Ok(guard) = TcpListener::bind((Ipv4Addr::LOCALHOST, block)) {
                self.guards.push(guard);
                self.left = block + 1..block + BLOCK_LEN;
            }
        }
    }
}

/// An address nobody listens on, given out once.
pub(crate) fn free_address() -> SocketAddr {
    // Asked by dialling: a listener that was opened to find out could live on for a moment in a child that another
    // thread is about to start.
    next_address(|address| TcpStream::connect(address).is_err().then_some(address))
}

/// A listener on an address that was given out to nobody else.
pub(crate) fn listener() -> TcpListener {
    next_address(|address| TcpListener::bind(address).ok())
}

/// Listens again where somebody has just stopped to listen.
pub(crate) fn listener_again(address: SocketAddr) -> TcpListener {
    let mut listener = None;
    wait_until(SOON, "the port is free again", || {
        listener = TcpListener::bind(address).ok();
        listener.is_some()
    });
    listener.expect("the wait above ends with a listener")
}

fn next_address<T>(try_it: impl Fn(SocketAddr) -> Option<T>) -> T {
    loop {
        let address = OURS.lock().expect("nobody panics while a port is left").next();
        if let Some(found) = try_it(address) {
            return found;
        }
    }
}
