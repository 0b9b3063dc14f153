//! The namespaces that have a label of their own.
//!
//! Guarantees that no client can make a label: only configured names get one, at most [`NAMESPACES_MAX`] in the life of
//! the process, and everything else is counted as `other`. A label once given keeps its meaning, also when a reload
//! drops the namespace, since a counter must not go backwards.

use std::collections::HashMap;
use std::sync::Arc;

/// The most namespaces with a label of their own, over all reloads. Each costs some fifteen series in every scrape and
/// about a hundred bytes per worker.
pub const NAMESPACES_MAX: usize = 256;

/// What stands in the exposition for every namespace without a label of its own. A configured namespace of this very
/// name shares it.
pub const OTHER_NAMESPACES: &str = "other";

/// A namespace as the metrics know it, to be looked up when the configuration is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NamespaceLabel(u16);

impl NamespaceLabel {
    /// Every namespace that has no label of its own.
    pub const OTHER: Self = Self(0);

    /// Its place in [`super::Recorder::namespaces`].
    #[inline]
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Which label belongs to which name. Grows only.
#[derive(Clone)]
pub(super) struct NamespaceLabels {
    by_name: HashMap<Arc<str>, NamespaceLabel>,
    /// The names by label; the first is [`OTHER_NAMESPACES`].
    names: Vec<Arc<str>>,
}

impl NamespaceLabels {
    pub(super) fn new() -> Self {
        let other: Arc<str> = OTHER_NAMESPACES.into();
        Self { by_name: HashMap::from([(Arc::clone(&other), NamespaceLabel::OTHER)]), names: vec![other] }
    }

    /// Gives the name a label if it has none and one is left.
    pub(super) fn add(&mut self, name: &str) {
        if self.by_name.contains_key(name) || self.names.len() > NAMESPACES_MAX {
            return;
        }
        let name: Arc<str> = name.into();
        self.by_name.insert(Arc::clone(&name), NamespaceLabel(self.names.len() as u16));
        self.names.push(name);
    }

    /// The label of the name, or [`NamespaceLabel::OTHER`].
    pub(super) fn label(&self, name: &str) -> NamespaceLabel {
        self.by_name.get(name).copied().unwrap_or(NamespaceLabel::OTHER)
    }

    /// Every label and its name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NamespaceLabel, &str)> {
        self.names.iter().enumerate().map(|(index, name)| (NamespaceLabel(index as u16), &**name))
    }
}
