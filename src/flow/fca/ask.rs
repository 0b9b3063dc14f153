//! What a command of the family asks, and how it is answered, wherever its entries stand.

use super::Call;
use crate::metrics::{GetResult, NamespaceLabel};

/// What is asked of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Value,
    Ttl,
    Pttl,
}

impl Ask {
    pub(super) fn command(self) -> &'static [u8] {
        match self {
            Self::Value => b"GET",
            Self::Ttl => b"TTL",
            Self::Pttl => b"PTTL",
        }
    }

    /// Whether the upstream says that there is no such key.
    pub(super) fn is_absent(self, frame: &[u8]) -> bool {
        match self {
            Self::Value => frame == b"$-1\r\n" || frame == b"_\r\n",
            Self::Ttl | Self::Pttl => frame == b":-2\r\n",
        }
    }
}

/// How a command that stores is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// OK, or nil.
    Single,
    /// How many were stored.
    Count,
}

/// Counts a question that was answered.
pub(super) fn count_get(call: &Call<'_>, ask: Ask, label: NamespaceLabel, result: GetResult) {
    if ask == Ask::Value {
        call.client.core.recorder.fca_get(label, result);
    }
}
