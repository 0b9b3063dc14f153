//! What a case is, and the loop that all of them share.

use fca_proxy::clock;
use std::hint::black_box;
use std::time::Duration;

/// One thing that is measured.
pub(crate) struct Case {
    /// What is done, as `area/what`.
    pub(crate) name: &'static str,
    /// How many requests, replies or look-ups one operation carries.
    pub(crate) items: u64,
    /// Over how many operations its instructions are counted: enough that what differs from run to run is lost in them.
    pub(crate) counted_over: u64,
    /// What to know when reading its figures; empty for nothing.
    pub(crate) note: &'static str,
    /// Prepares, carries out so many operations, and says how long these took.
    pub(crate) run: Box<dyn Fn(u64) -> Duration>,
}

impl Case {
    /// A case whose operations carry one item.
    pub(crate) fn new(name: &'static str, run: impl Fn(u64) -> Duration + 'static) -> Self {
        Self { name, items: 1, counted_over: 10_000, note: "", run: Box::new(run) }
    }

    /// The same with so many items an operation.
    pub(crate) fn of(self, items: u64) -> Self {
        Self { items, ..self }
    }

    /// The same, counted over so many operations.
    pub(crate) fn counted_over(self, counted_over: u64) -> Self {
        Self { counted_over, ..self }
    }

    /// The same with a note.
    pub(crate) fn noting(self, note: &'static str) -> Self {
        Self { note, ..self }
    }
}

/// The note of cases that hash.
pub(crate) const SHA256: &str = "sha256";

/// Carries out an operation so many times; it is told how many came before.
pub(crate) fn repeat(operations: u64, mut operation: impl FnMut(u64)) -> Duration {
    let began = clock::now();
    for number in 0..operations {
        operation(number);
    }
    clock::now() - began
}

/// What the loop itself costs, which is in every other figure.
pub(crate) fn empty() -> Case {
    Case::new("loop", |operations| {
        repeat(operations, |number| {
            black_box(number);
        })
    })
}
