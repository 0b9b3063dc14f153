//! What the recorders cannot know, since it is somebody's state rather than a sum of events.
//!
//! The owner of that state gives a source, which is asked once for each exposition, INFO and FCA.STATS and must not
//! block.

/// A look at the state of the other parts, taken at the moment of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Whether the upstream is taken to be reachable. The embedded store always is.
    pub upstream_up: bool,
    /// The embedded store; zeros where there is none.
    pub embedded: StoreUse,
    /// What the near cache does.
    pub near_cache_state: NearCacheState,
    /// The near cache; zeros where there is none.
    pub near_cache: StoreUse,
}

/// What a near cache does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NearCacheState {
    /// There is none.
    #[default]
    Off,
    /// Nothing: nobody says what changes in the upstream.
    Down,
    /// It serves values for a short time, though nobody says what changes.
    Ttl,
    /// It serves values for as long as nothing is said to have changed them.
    Up,
}

impl NearCacheState {
    /// In a word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Down => "down",
            Self::Ttl => "ttl",
            Self::Up => "up",
        }
    }

    /// Whether it may answer.
    pub const fn may_answer(self) -> bool {
        matches!(self, Self::Ttl | Self::Up)
    }
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
