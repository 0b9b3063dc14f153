//! The little that all workers share of an upstream: counts, and who says in the log that it went or came back.
//!
//! Guarantees one line for each change, whichever worker notices it first, and no more connections than are allowed.

use super::connect::{Address, ConnectError};
use crate::metrics::{Gauge, Recorder};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What all workers know of the upstream together.
#[derive(Debug)]
pub struct NodeStatus {
    name: String,
    connections: AtomicUsize,
    workers_without: AtomicUsize,
    connected_once: AtomicBool,
    /// Whether it asks for a password that the configuration does not name.
    wants_login: AtomicBool,
}

/// Whether the upstream is there, as all workers together see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// No worker has connected yet.
    Connecting,
    /// Every worker's breaker is closed.
    Reachable,
    /// At least one worker's breaker is open.
    Unreachable,
}

impl NodeStatus {
    /// The status of an upstream that nobody has connected to.
    pub fn new(address: &Address) -> Arc<Self> {
        Arc::new(Self {
            name: address.to_string(),
            connections: AtomicUsize::new(0),
            workers_without: AtomicUsize::new(0),
            connected_once: AtomicBool::new(false),
            wants_login: AtomicBool::new(false),
        })
    }

    /// The upstream's address, without credentials.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the upstream is there.
    pub fn state(&self) -> NodeState {
        if self.workers_without.load(Ordering::Relaxed) > 0 {
            NodeState::Unreachable
        } else if self.connected_once.load(Ordering::Relaxed) {
            NodeState::Reachable
        } else {
            NodeState::Connecting
        }
    }

    /// A worker's breaker has opened.
    pub(super) fn opened(&self, reason: &dyn std::fmt::Display) {
        if self.workers_without.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(upstream = %self.name, "upstream is unreachable, answering nil until it is back: {reason}");
        }
    }

    /// A worker's breaker has closed.
    pub(super) fn closed(&self) {
        if self.workers_without.fetch_sub(1, Ordering::Relaxed) == 1 {
            tracing::info!(upstream = %self.name, "upstream is reachable again");
        }
    }

    /// A connection without a login was made.
    pub(super) fn connected_without_login(&self, wants_login: bool) {
        if !self.wants_login.swap(wants_login, Ordering::Relaxed) && wants_login {
            tracing::warn!(
                upstream = %self.name,
                "the upstream asks for a password: clients have to authenticate, or set upstream.password_file or \
                 FCA_PROXY_UPSTREAM_PASSWORD"
            );
        }
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// A connection was made.
    pub(super) fn connected(&self) {
        if !self.connected_once.swap(true, Ordering::Relaxed) {
            tracing::info!(upstream = %self.name, "upstream is reachable");
        }
    }
}

/// Leave to have one more connection, for as long as it lives.
pub(super) struct Permit {
    status: Arc<NodeStatus>,
    recorder: Arc<Recorder>,
}

impl Permit {
    /// Takes one, where there may be so many.
    pub(super) fn take(status: &Arc<NodeStatus>, max: usize, recorder: &Arc<Recorder>) -> Result<Self, ConnectError> {
        if status.connections.fetch_add(1, Ordering::Relaxed) >= max {
            status.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(ConnectError::TooMany);
        }
        recorder.gauge(Gauge::UpstreamConnections, 1);
        Ok(Self { status: Arc::clone(status), recorder: Arc::clone(recorder) })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.status.connections.fetch_sub(1, Ordering::Relaxed);
        self.recorder.gauge(Gauge::UpstreamConnections, -1);
    }
}
