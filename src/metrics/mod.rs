//! What the program counts, and the page that tells it.
//!
//! Each worker writes to a [`Recorder`] of its own, which costs a few plain instructions; the [`Registry`] adds the
//! recorders up when somebody asks: `/metrics`, `INFO`, `FCA.STATS`. Every metric stands in [`catalog`]; every label
//! has a closed set of values, the namespaces a bounded one. No query, key or client address is ever a label.

mod catalog;
mod cell;
mod exposition;
mod histogram;
mod labels;
mod namespaces;
mod observed;
mod recorder;
mod registry;
mod totals;

pub use catalog::{Counter, Gauge, Kind, Metric, catalog};
pub use histogram::{EDGES_NS, Took};
pub use labels::{Family, GetResult, Limit, Outcome, SetResult};
pub use namespaces::{NAMESPACES_MAX, NamespaceLabel, OTHER_NAMESPACES};
pub use observed::{NearCacheState, Observed, StoreUse};
pub use recorder::Recorder;
pub use registry::{BuildInfo, Registry};
pub use totals::{NamespaceTotals, Totals};

#[cfg(test)]
mod tests;
