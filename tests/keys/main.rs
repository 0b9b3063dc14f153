//! Keys, held against CPython: what a Python program derives on the same Redis is what the proxy derives.
//!
//! Guarantees that a key never depends on how the same question or the same params were written, and that no bytes
//! make the derivation panic. Leaves to others: which commands use which key.

/// Written down by CPython 3.11, with keys.
#[cfg(test)]
mod vectors;

/// A CPython that runs beside the test, on tens of thousands of random texts and documents.
#[cfg(test)]
mod python;

/// What must hold for any JSON document, and for any damage to one.
#[cfg(test)]
mod properties;
