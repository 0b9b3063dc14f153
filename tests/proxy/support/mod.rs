//! What the tests stand on: a real Redis, the proxy as a child process, and peers that misbehave on command.
//!
//! Threads and blocking sockets with deadlines, no runtime: a test reads from top to bottom as what happens. Every
//! child is killed by its id when its guard drops, also when the test panics; every socket is on loopback. What a
//! reply must say is left to the tests.

pub(crate) mod client;
pub(crate) mod fault;
pub(crate) mod load;
pub(crate) mod peer;
pub(crate) mod port;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod redis;
pub(crate) mod value;
pub(crate) mod wait;
