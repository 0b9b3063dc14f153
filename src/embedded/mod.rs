//! The store inside the process: what serves when there is no Redis to ask.
//!
//! A plain value without sockets, clock or lock: commands go in with the wall clock's time, replies come out in the
//! words of Redis 7.0. Guarantees: `bytes` never exceeds [`StoreOptions::bytes_max`] after a command; what has passed
//! its deadline is never answered; no command's work depends on the table being resized.
//! Leaves out: persistence, sharing between processes, every type but strings, transactions, and the checks that come
//! before a command (AUTH, SELECT). The caller wraps it in its lock and calls [`Store::sweep`] from time to time.

mod call;
mod chance;
mod commands;
mod entry;
mod execute;
mod expiry;
mod ghosts;
mod keys;
mod number;
mod queue;
mod refusal;
mod scan;
mod set_options;
mod store;
mod strings;
mod table;

pub use commands::serves;
pub use store::{Store, StoreOptions, StoreStats};

#[cfg(test)]
mod tests;
