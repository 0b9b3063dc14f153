//! fca-proxy: a caching proxy that speaks RESP.
//!
//! The binary in `main.rs` is a table of contents over these modules; ARCHITECTURE.md draws how they hang together.
//! Imports run one way: [`resp`], [`key`] and [`command`] know nothing of the others; [`fca`], [`config`] and
//! [`metrics`] build on them; the machines ([`session`], [`upstream`], [`embedded`],
//! [`near_cache`]) never import each other;
//! [`flow`] joins them.

pub mod admin;
pub mod alarm;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod embedded;
pub mod fca;
pub mod flow;
pub mod key;
pub mod log;
pub mod metrics;
pub mod near_cache;
pub mod near_link;
pub mod resp;
pub mod server;
pub mod session;
pub mod upstream;
pub mod worker;
