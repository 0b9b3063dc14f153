//! What the upstream machines promise, checked.
//!
//! The pipeline and the breaker are compared with models, without a socket and with time passed in. Lanes and nodes are
//! run on loopback against a scripted peer that shares their thread, so a dialogue is in step with them; no test here
//! waits for a length of time and then looks, each waits for what it claims and fails at a deadline.

mod breaker;
/// One connection: batches, pairing, its end.
mod connection;
mod dialogue;
mod handshake;
/// Large requests and replies, in pieces.
mod incoming;
/// Shared and exclusive lanes, the breaker at work, the bounds.
mod node;
mod pipeline;
mod rig;
/// Budgets, and servers that say nothing.
mod silence;
