//! Whether an upstream is there, and when to look again.
//!
//! Guarantees: at most one probe at a time; waits grow from `min` to `max`, jittered so that many proxies do not come
//! back in step; a server that accepts connections but serves nobody does not reset the wait. Leaves connecting to
//! the node, and saying so in the log to whoever sees a change of state.
//!
//! ```text
//!            failure                     timeout
//!   Closed ──────────▶ Open { until } ─────────────▶ Probing
//!      ▲                  ▲      failure (longer)        │
//!      │                  └──────────────────────────────┤
//!      └─────────────────────────────────────── success ─┘
//! ```

use std::time::{Duration, Instant};

/// The shortest and the longest wait between two probes.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// After the first failure.
    pub min: Duration,
    /// After many.
    pub max: Duration,
}

/// The state of one upstream as one worker knows it.
#[derive(Debug)]
pub struct Breaker {
    backoff: Backoff,
    state: State,
    /// Failures since the upstream last served a request.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    Probing,
}

impl Breaker {
    /// A breaker that lets requests through until it hears of a failure.
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, state: State::Closed, failures: 0 }
    }

    /// Whether requests may be sent.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// A connection could not be made, or broke without having served a request. `random` is uniform. True when
    /// this opened the breaker.
    pub fn on_failure(&mut self, now: Instant, random: u64) -> bool {
        if matches!(self.state, State::Open { .. }) {
            // Another connection of the same upstream failed before; its wait stands.
            return false;
        }
        let opened = self.is_closed();
        let wait = self.backoff.min.saturating_mul(1 << self.failures.min(16)).min(self.backoff.max);
        // From half the wait to all of it, so that the upstream's return is noticed within one wait.
        let wait = wait / 2 + (wait / 2).mul_f64(random as f64 / u64::MAX as f64);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Open { until: now + wait };
        opened
    }

    /// A probe connected. True when this closed the breaker.
    pub fn on_connected(&mut self) -> bool {
        let closed = !self.is_closed();
        self.state = State::Closed;
        closed
    }

    /// The upstream served a request: the next failure starts with the shortest wait again.
    pub fn on_served(&mut self) {
        self.failures = 0;
    }

    /// When to probe.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed | State::Probing => None,
        }
    }

    /// True when the caller is to probe now, and to report with [`Self::on_connected`] or [`Self::on_failure`].
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let due = matches!(self.state, State::Open { until } if until <= now);
        if due {
            self.state = State::Probing;
        }
        due
    }
}
