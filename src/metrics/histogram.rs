//! Durations counted into fixed buckets.
//!
//! Guarantees that an observation is a handful of instructions and that nothing grows with the number of them. One
//! thread observes; any thread may read, and sees a count that is the sum of the buckets which it saw. The buckets are
//! the same for every histogram, so that they can be added up over workers and processes.

use super::cell::{Cell, Sum};
use std::time::Duration;

/// The upper edges of the buckets, inclusive, in nanoseconds: from the time of an answer out of memory (20 µs) to five
/// seconds. 250 ms is among them because it is the upstream's default time budget. Past the last edge is `+Inf`.
pub const EDGES_NS: [u64; 20] = {
    const US: u64 = 1_000;
    const MS: u64 = 1_000 * US;
    [
        20 * US,
        35 * US,
        50 * US,
        75 * US,
        100 * US,
        150 * US,
        250 * US,
        500 * US,
        MS,
        2_500 * US,
        5 * MS,
        10 * MS,
        25 * MS,
        50 * MS,
        100 * MS,
        250 * MS,
        500 * MS,
        1_000 * MS,
        2_500 * MS,
        5_000 * MS,
    ]
};

/// The buckets of a histogram: one below each edge, and the one past the last.
pub(super) const BUCKETS: usize = EDGES_NS.len() + 1;

/// What a longer observation is taken for, in seconds (285 years): its nanoseconds have 63 bits, which a processor turns
/// into a float in one step.
const SECONDS_MAX: u64 = 9_000_000_000;

/// A histogram with one writer.
pub(super) struct Histogram {
    buckets: [Cell; BUCKETS],
    /// Of all observations, in nanoseconds.
    sum: Sum,
}

impl Histogram {
    pub(super) const fn new() -> Self {
        Self { buckets: [const { Cell::new() }; BUCKETS], sum: Sum::new() }
    }

    /// Counts one observation. Only the owning thread calls this.
    #[inline]
    pub(super) fn observe(&self, took: Took) {
        self.buckets[took.bucket].add(1);
        self.sum.add(took.nanos);
    }
}

/// A duration as histograms count it: one that several requests took is looked at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Took {
    /// The bucket that it belongs to.
    bucket: usize,
    nanos: f64,
}

impl From<Duration> for Took {
    #[inline]
    fn from(took: Duration) -> Self {
        let nanos = took.as_secs().min(SECONDS_MAX) * 1_000_000_000 + u64::from(took.subsec_nanos());
        Self { bucket: bucket_of(nanos), nanos: nanos as f64 }
    }
}

/// What one or several histograms had counted when they were read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Distribution {
    /// Observations in each bucket alone.
    pub(super) buckets: [u64; BUCKETS],
    /// Of all observations.
    pub(super) sum_seconds: f64,
}

impl Distribution {
    /// Adds what the histogram has counted.
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (total, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += bucket.read();
        }
        self.sum_seconds += histogram.sum.read() / 1e9;
    }

    /// The observations that were counted.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// The bucket that an observation belongs to: the number of edges below it.
///
/// Its length in bits leaves at most [`OCTAVE_EDGES_MAX`] edges to compare with, however many there are.
#[inline]
pub(super) fn bucket_of(nanos: u64) -> usize {
    let octave = &OCTAVES[(u64::BITS - nanos.leading_zeros()) as usize];
    octave.edges.iter().fold(octave.edges_below, |below, &edge| below + usize::from(nanos > edge))
}

/// The numbers of one length in bits: from one power of two to below the next.
#[derive(Clone, Copy)]
struct Octave {
    /// How many edges are below all of them.
    edges_below: usize,
    /// The edges among them, and then `u64::MAX`, above which nothing is.
    edges: [u64; OCTAVE_EDGES_MAX],
}

/// The most edges in one octave.
const OCTAVE_EDGES_MAX: usize = 2;

/// By length in bits.
const OCTAVES: [Octave; u64::BITS as usize + 1] = {
    let mut octaves = [Octave { edges_below: 0, edges: [u64::MAX; OCTAVE_EDGES_MAX] }; u64::BITS as usize + 1];
    let mut edge = 0;
    while edge < EDGES_NS.len() {
        let bits = (u64::BITS - EDGES_NS[edge].leading_zeros()) as usize;
        let mut higher = bits + 1;
        while higher < octaves.len() {
            octaves[higher].edges_below = edge + 1;
            higher += 1;
        }
        // Does not compile if the edges of one octave are too many.
        octaves[bits].edges[edge - octaves[bits].edges_below] = EDGES_NS[edge];
        edge += 1;
    }
    octaves
};
