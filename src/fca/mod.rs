//! The FCA family of commands.
//!
//! What a client may say ([`parse()`]), how long what it sets may live ([`Lifetime`]), and what it is told about the
//! family: the lines of `FCA.HELP` ([`append_help`]) and the proxy's part of Redis's `COMMAND` replies
//! ([`Introspection`]). Pure functions over bytes: nothing here knows a socket, a clock or a key.
//!
//! Leaves to others: the derivation of keys, the limits on queries and values, and the doing.

mod docs;
mod help;
mod introspection;
mod merge;
mod parse;
mod ttl;

pub use docs::append_docs;
pub use help::append_help;
pub use introspection::{Filter, Introspection};
pub use parse::{Expiry, Form, Query, Request, parse, valid};
pub use ttl::{Lifetime, TtlBounds, Write};
