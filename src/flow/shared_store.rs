//! The embedded store as the workers share it: behind one lock.
//!
//! Guarantees that it is held for one request, or one step of a long one, and only where there is no upstream; and that
//! a panic under it costs the command in which it happens, not those behind it. Leaves commands to the store.

use crate::embedded::{Store, StoreOptions};
use std::ops::DerefMut;
use std::sync::{Arc, PoisonError};

/// A store that all workers have.
#[derive(Clone)]
#[expect(
    clippy::disallowed_types,
    reason = "the one named exception: a store that all workers share without an upstream"
)]
pub struct SharedStore(Arc<std::sync::Mutex<Store>>);

impl SharedStore {
    /// An empty one.
    pub fn new(options: StoreOptions) -> Self {
        Self(Arc::new(Store::new(options).into()))
    }

    /// The store, for as long as the guard lives: across no call to a stranger.
    pub fn lock(&self) -> impl DerefMut<Target = Store> {
        // The store's own books are kept per entry, so that one that a panic broke off is sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
