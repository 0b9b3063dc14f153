//! What is known of Redis's commands.
//!
//! [`find`] looks a name up for every request: a few dozen instructions, no allocation, in any mixture of upper and
//! lower case. What it finds are facts (arity, flags, key positions, as Redis 7.0's `COMMAND` says them) and two
//! decisions of the proxy: the [`Kind`], which is what it does with the command, and the [`Family`], under which it
//! counts it. A name that is not in the table (a module's, one from a newer Redis) is forwarded.
//!
//! Leaves to others: what a command does, and where keys stand that the three numbers of [`KeyPositions`] can't say
//! ([`Flags::MOVABLE_KEYS`], subcommands).

mod blocking;
mod facts;
mod fca_table;
mod index;
mod info;
mod kind;
mod learned;
mod table;
mod words;

pub use crate::metrics::Family;
pub use blocking::{UNKNOWN_BLOCKING, blocking_timeout, blocks};
pub use index::{NAME_BYTES_MAX, all, fca, find};
pub use info::append_info;
pub use kind::{Effect, Fca, Kind, Local, Transaction};
pub use learned::{LEARNED_NAME_BYTES_MAX, Learned};
pub use words::{Categories, Flags};

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// The name in upper case.
    pub name: &'static str,
    /// The number of arguments, the name included; negative: at least so many.
    pub arity: i16,
    /// How the command behaves.
    pub flags: Flags,
    /// The ACL categories that it belongs to.
    pub categories: Categories,
    /// Where its keys stand.
    pub keys: KeyPositions,
    /// Whether its first argument names a subcommand, which has facts of its own that are not in this table.
    pub has_subcommands: bool,
    /// What the proxy does with it.
    pub kind: Kind,
    /// Under which group its requests are counted.
    pub family: Family,
    /// What it does with values.
    pub effect: Effect,
}

impl Command {
    /// Whether the command may be called with so many arguments, its name included.
    #[inline]
    pub const fn takes(&self, arguments: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { arguments >= arity } else { arguments == arity }
    }
}

/// Where a command's keys stand among its arguments, as Redis's `COMMAND` counts: the name is argument 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyPositions {
    /// The first key; 0 when there is none, or none at a fixed place.
    pub first: i16,
    /// The last key; negative: counted from the end, -1 being the last argument.
    pub last: i16,
    /// From one key to the next.
    pub step: i16,
}

impl KeyPositions {
    /// The places of the keys in a request of so many arguments, its name included.
    pub fn places(self, arguments: usize) -> impl Iterator<Item = usize> {
        let first = usize::try_from(self.first).unwrap_or(0);
        let last = match usize::try_from(self.last) {
            Ok(last) => last,
            Err(_) => arguments.saturating_sub(usize::from(self.last.unsigned_abs())),
        };
        let behind = if first == 0 { 0 } else { (last + 1).min(arguments) };
        let step = usize::try_from(self.step).unwrap_or(1).max(1);
        (first..behind).step_by(step)
    }
}

/// A request of HTTP, line by line: Redis ends the connection without a word (`securityWarningCommand` in `server.c`),
/// which must not happen to one that others share.
pub fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"HOST:")
}

#[cfg(test)]
mod tests;
