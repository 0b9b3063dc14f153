//! The sums that `INFO` and `FCA.STATS` tell, as plain numbers.

use super::labels::{GetResult, SetResult};
use super::recorder::NamespaceCells;
use std::time::Duration;

/// What all recorders have counted together, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// For how long the process has been running.
    pub uptime: Duration,
    /// Client connections open now.
    pub clients: u64,
    /// Client connections accepted.
    pub connections_accepted: u64,
    /// Client connections turned away.
    pub connections_rejected: u64,
    /// Requests of clients that have their reply.
    pub commands: u64,
    /// Bytes received from clients.
    pub bytes_in: u64,
    /// Bytes sent to clients.
    pub bytes_out: u64,
    /// Times that any bound of the configuration was hit.
    pub limit_hits: u64,
    /// Connections to the upstream open now.
    pub upstream_connections: u64,
    /// Requests that the upstream has yet to answer.
    pub upstream_in_flight: u64,
    /// Connections to the upstream that came up in place of one that had ended.
    pub upstream_reconnects: u64,
    /// Commands that the upstream did not answer in time.
    pub upstream_timeouts: u64,
}

/// What became of the queries and values of one namespace, or of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceTotals {
    /// Queries looked up: the sum of the six fields that follow.
    pub gets: u64,
    /// Found in the upstream.
    pub hits: u64,
    /// Found in the near cache.
    pub near_hits: u64,
    /// Not there.
    pub misses: u64,
    /// Nil because the upstream did not answer.
    pub unreachable: u64,
    /// Nil because the cache or the namespace is switched off.
    pub disabled: u64,
    /// Nil because the upstream answered with an error.
    pub errors: u64,
    /// Values to be stored: the sum of the five fields that follow.
    pub sets: u64,
    /// Stored.
    pub sets_stored: u64,
    /// Refused by the upstream.
    pub sets_refused: u64,
    /// Not known to be stored, as the upstream did not answer.
    pub sets_unreachable: u64,
    /// Not stored because the cache or the namespace is switched off.
    pub sets_disabled: u64,
    /// Not stored for another reason.
    pub sets_failed: u64,
    /// Entries removed by `FCA.DEL`.
    pub deletes: u64,
    /// Values stored for less time than was asked for.
    pub ttl_capped: u64,
}

impl NamespaceTotals {
    /// The share of all gets that were answered with a value, from 0 to 1; 0 before the first get. An outage lowers it,
    /// since the caller had to build those answers.
    pub fn hit_ratio(&self) -> f64 {
        if self.gets == 0 { 0.0 } else { (self.hits + self.near_hits) as f64 / self.gets as f64 }
    }

    pub(super) fn add(&mut self, cells: &NamespaceCells) {
        for &result in GetResult::ALL {
            let count = cells.gets[result as usize].read();
            self.gets += count;
            *match result {
                GetResult::Hit => &mut self.hits,
                GetResult::NearHit => &mut self.near_hits,
                GetResult::Miss => &mut self.misses,
                GetResult::Unreachable => &mut self.unreachable,
                GetResult::Disabled => &mut self.disabled,
                GetResult::Error => &mut self.errors,
            } += count;
        }
        for &result in SetResult::ALL {
            let count = cells.sets[result as usize].read();
            self.sets += count;
            *match result {
                SetResult::Stored => &mut self.sets_stored,
                SetResult::Refused => &mut self.sets_refused,
                SetResult::Unreachable => &mut self.sets_unreachable,
                SetResult::Disabled => &mut self.sets_disabled,
                SetResult::Error => &mut self.sets_failed,
            } += count;
        }
        self.deletes += cells.deleted_entries.read();
        self.ttl_capped += cells.capped_ttls.read();
    }
}
