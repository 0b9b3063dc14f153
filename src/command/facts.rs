//! The form in which the table's rows are written, and the words of their flags.
//!
//! Guarantees that a row with a word that Redis does not use is no program: the rows are read by the compiler.
//! Flags and ACL categories keep Redis's order, so that `COMMAND INFO` can be answered as Redis would. Leaves to others
//! what the proxy does with a command.

use super::{Categories, Flags, KeyPositions};

/// One row: what Redis itself says of a command.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    /// The name in upper case.
    pub(super) name: &'static str,
    /// The number of arguments with the name; negative: at least so many.
    pub(super) arity: i16,
    pub(super) flags: Flags,
    pub(super) categories: Categories,
    pub(super) keys: KeyPositions,
    /// Whether the first argument names a subcommand that has facts of its own.
    pub(super) has_subcommands: bool,
}

/// A row of a command without subcommands.
pub(super) const fn row(
    name: &'static str,
    arity: i16,
    flags: &str,
    categories: &str,
    first: i16,
    last: i16,
    step: i16,
) -> Facts {
    Facts {
        name,
        arity,
        flags: Flags::from_words(flags),
        categories: Categories::from_words(categories),
        keys: KeyPositions { first, last, step },
        has_subcommands: false,
    }
}

/// A row of a command whose first argument names a subcommand.
pub(super) const fn container(name: &'static str, arity: i16, flags: &str, categories: &str) -> Facts {
    let facts = row(name, arity, flags, categories, 0, 0, 0);
    Facts { has_subcommands: true, ..facts }
}
