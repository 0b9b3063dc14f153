//! Loopback ports that stay free while a server is down.
//!
//! Taken from below the range that the kernel gives to outgoing connections: a port from inside it could be taken by
//! somebody's connection between kill and restart, and a proxy that dials it meanwhile could even meet itself.

use super::wait::{SOON, wait_until};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// The first port of the pool.
const POOL_FIRST: u16 = 20_000;
/// How many ports the pool holds; Linux dials out from 32768 on.
const POOL_LEN: u16 = 12_000;

static TAKEN: AtomicU16 = AtomicU16::new(0);

/// An address nobody listens on, given out once in this process.
pub(crate) fn free_address() -> SocketAddr {
    // Asked by dialling: a listener that was opened to find out could live on for a moment in a child that another
    // thread is about to start.
    next_address(|address| TcpStream::connect(address).is_err().then_some(address))
}

/// A listener on an address that was given out to nobody else in this process.
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
    // Two test processes at a time start at different places of the pool.
    let start = (process::id() % u32::from(POOL_LEN / 100)) as u16 * 100;
    for _ in 0..POOL_LEN {
        let step = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = POOL_FIRST + start.wrapping_add(step) % POOL_LEN;
        if let Some(found) = try_it(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
            return found;
        }
    }
    panic!("no free port on 127.0.0.1 between {POOL_FIRST} and {}", POOL_FIRST + POOL_LEN);
}
