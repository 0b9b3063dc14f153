//! The embedded store against a real Redis 7.0: the same commands, the same replies, byte for byte.
//!
//! Needs `redis-server` on the path and fails when it is missing. Each test has a server of its own on a free loopback
//! port, without persistence, ended when the test ends.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "the whole file is tests")]

/// A redis-server of the test's own, and a connection to it.
mod redis;

/// Both sides under the same commands, and how their replies are compared.
mod pair;

/// Random sequences over a small key space; expiry; arguments that are hostile.
mod commands;

/// Patterns, by `KEYS` and `SCAN … MATCH`.
mod glob;
