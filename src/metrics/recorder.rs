//! What one thread counts.
//!
//! Guarantees that recording takes no lock, no locked instruction, no hash and no allocation, and that two recorders
//! share no cache line. Reading goes on meanwhile, from any thread; each number read is one that was true, though two of
//! them may be of different moments. Leaves the adding up and the names to [`super::Registry`].

use super::catalog::{Counter, Gauge};
use super::cell::Cell;
use super::histogram::{Histogram, Took};
use super::labels::{Family, GetResult, Limit, Outcome, SetResult};
use super::namespaces::{NAMESPACES_MAX, NamespaceLabel};

/// The counts of one thread: a worker, or the control thread.
///
/// Only that thread calls the methods that record. If two did, some of their counts would be lost, nothing worse.
///
/// Aligned to two cache lines, because processors fetch them in pairs: neither the neighbours in memory nor the
/// reference count of its `Arc` then slow down its thread.
#[repr(align(128))]
pub struct Recorder {
    pub(super) requests: [[Cell; Outcome::COUNT]; Family::COUNT],
    pub(super) request_times: [Histogram; Family::COUNT],
    pub(super) round_trips: Histogram,
    pub(super) counters: [Cell; Counter::COUNT],
    pub(super) gauges: [Cell; Gauge::COUNT],
    pub(super) limits: [Cell; Limit::COUNT],
    /// By label; the first is [`NamespaceLabel::OTHER`]'s.
    pub(super) namespaces: [NamespaceCells; NAMESPACES_MAX + 1],
}

/// The counts of one namespace.
pub(super) struct NamespaceCells {
    pub(super) gets: [Cell; GetResult::COUNT],
    pub(super) sets: [Cell; SetResult::COUNT],
    pub(super) deleted_entries: Cell,
    pub(super) capped_ttls: Cell,
}

impl Recorder {
    pub(super) const fn new() -> Self {
        Self {
            requests: [const { [const { Cell::new() }; Outcome::COUNT] }; Family::COUNT],
            request_times: [const { Histogram::new() }; Family::COUNT],
            round_trips: Histogram::new(),
            counters: [const { Cell::new() }; Counter::COUNT],
            gauges: [const { Cell::new() }; Gauge::COUNT],
            limits: [const { Cell::new() }; Limit::COUNT],
            namespaces: [const { NamespaceCells::new() }; NAMESPACES_MAX + 1],
        }
    }

    /// Counts a request whose reply is ready, and how long that took since it had arrived whole.
    #[inline]
    pub fn request(&self, family: Family, outcome: Outcome, took: impl Into<Took>) {
        self.requests[family as usize][outcome as usize].add(1);
        self.request_times[family as usize].observe(took.into());
    }

    /// Counts a reply of the upstream, and how long it took since its request was handed to the connection.
    #[inline]
    pub fn upstream_round_trip(&self, took: impl Into<Took>) {
        self.round_trips.observe(took.into());
    }

    /// Counts the look-up of one query: once for `FCA.GET`, once for each query of `FCA.MGET`.
    #[inline]
    pub fn fca_get(&self, namespace: NamespaceLabel, result: GetResult) {
        self.namespaces[namespace.index()].gets[result as usize].add(1);
    }

    /// Counts the storing of one value: once for `FCA.SET`, once for each pair of `FCA.MSET`.
    #[inline]
    pub fn fca_set(&self, namespace: NamespaceLabel, result: SetResult) {
        self.namespaces[namespace.index()].sets[result as usize].add(1);
    }

    /// Counts entries that `FCA.DEL` removed.
    #[inline]
    pub fn fca_deleted(&self, namespace: NamespaceLabel, entries: u64) {
        self.namespaces[namespace.index()].deleted_entries.add(entries);
    }

    /// Counts a time to live that was shortened to `ttl_max`, for the namespace and as [`Limit::TtlMax`].
    #[inline]
    pub fn fca_ttl_capped(&self, namespace: NamespaceLabel) {
        self.namespaces[namespace.index()].capped_ttls.add(1);
        self.limit(Limit::TtlMax);
    }

    /// Adds to a counter.
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        self.counters[counter as usize].add(n);
    }

    /// Changes a gauge. What one recorder counted up another may count down: only the sum of all is shown.
    #[inline]
    pub fn gauge(&self, gauge: Gauge, change: i64) {
        self.gauges[gauge as usize].add(change.cast_unsigned());
    }

    /// Counts a bound that was hit.
    #[inline]
    pub fn limit(&self, limit: Limit) {
        self.limits[limit as usize].add(1);
    }
}

impl NamespaceCells {
    const fn new() -> Self {
        Self {
            gets: [const { Cell::new() }; GetResult::COUNT],
            sets: [const { Cell::new() }; SetResult::COUNT],
            deleted_entries: Cell::new(),
            capped_ttls: Cell::new(),
        }
    }
}
