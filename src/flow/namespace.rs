//! What the configuration says of one namespace, as a worker needs it.

use crate::key::KeySecret;
use crate::metrics::NamespaceLabel;
use std::time::Duration;

/// What holds for the entries of one namespace.
pub struct Namespace {
    /// Its label in the metrics.
    pub label: NamespaceLabel,
    /// Whether it is cached at all.
    pub enabled: bool,
    /// How long an entry lives that says nothing of it.
    pub ttl: Duration,
    /// How long an entry lives at most.
    pub ttl_max: Duration,
    /// Whether two spellings that differ in a question mark are one entry.
    pub twins: bool,
    /// The secret that keys are derived with.
    pub secret: Option<KeySecret>,
}
