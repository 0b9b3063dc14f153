//! What the recorders cannot know, since it is somebody's state rather than a sum of events.
//!
//! The owner of that state gives a source, which is asked once for each exposition and must not block.

/// A look at the state of the other parts, taken at the moment of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Whether the upstream is taken to be reachable. The embedded store always is.
    pub upstream_up: bool,
    /// The embedded store; zeros where there is none.
    pub embedded: StoreUse,
    /// Whether the near cache hears of changes and may answer.
    pub near_cache_up: bool,
    /// The near cache; zeros where there is none.
    pub near_cache: StoreUse,
}

/// What a store in this process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreUse {
    /// Entries.
    pub entries: u64,
    /// Bytes, the overhead of each entry included.
    pub bytes: u64,
    /// Entries dropped to make room, since the start.
    pub evictions: u64,
}
