//! From a namespace and a question to the key of an entry.
//!
//! Pure functions over bytes, equal to CPython's for every input: a Python program that computes
//! `hashlib.sha256(" ".join(query.lower().split()).encode()).hexdigest()[:16]`, or the same over
//! `json.dumps(json.loads(params), sort_keys=True)`, finds the entries that this module names.
//! Guarantees: no input panics, work is linear in the input but for the sorting of JSON members, and output is only
//! appended when it is whole. The unguarded edge: characters that Python's Unicode version does not assign yet may
//! differ, see [`normalise`].
//! Leaves to others: the prefix and the order of look-ups, which `fca` and `flow` decide.

mod digest;
mod glob;
mod namespace;
mod normalise;
mod params;
mod twin;

pub use digest::{Digest, KeySecret, digest, is_digest};
pub use glob::{escape_glob, glob_matches};
pub use namespace::{NAMESPACE_BYTES_MAX, namespace_is_valid};
pub use normalise::{NotUtf8, normalise};
pub use params::{INTEGER_DIGITS_MAX, PARAMS_DEPTH_MAX, ParamsError, canonical_params};
pub use twin::twin;
