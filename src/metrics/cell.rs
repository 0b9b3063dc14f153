//! Numbers that one thread writes and any thread may read.
//!
//! Guarantees that a write is a plain load, an addition and a plain store: no locked instruction, no fence. The price is
//! that two writers of one cell would lose counts (never more than that); [`super::Recorder`] says who writes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A whole number. As a gauge it is read in two's complement.
pub(super) struct Cell(AtomicU64);

impl Cell {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds, wrapping around. Only the owning thread calls this.
    #[inline]
    pub(super) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A sum of times. It is a float because whole nanoseconds would overflow: ten thousand clients in blocking commands add
/// up 2^64 of them in three weeks. Below 104 days it is exact to the nanosecond.
pub(super) struct Sum(AtomicU64);

impl Sum {
    pub(super) const fn new() -> Self {
        // The bits of 0.0.
        Self(AtomicU64::new(0))
    }

    /// Adds. Only the owning thread calls this.
    #[inline]
    pub(super) fn add(&self, x: f64) {
        self.0.store((f64::from_bits(self.0.load(Relaxed)) + x).to_bits(), Relaxed);
    }

    pub(super) fn read(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}
