//! Why params have no canonical form.
//!
//! Guarantees: each error says what is wrong and at which byte (the first is byte 0), and never repeats the input, which
//! may be personal.

use super::{INTEGER_DIGITS_MAX, PARAMS_DEPTH_MAX};
use std::fmt;

/// What is wrong with the params, and at which byte of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamsError {
    /// The bytes are not UTF-8 from here on.
    NotUtf8 {
        /// Offset in bytes.
        at: usize,
    },
    /// Something else stands here than JSON allows; an unfinished document ends here.
    Expected {
        /// What JSON allows here.
        what: &'static str,
        /// Offset in bytes.
        at: usize,
    },
    /// A control character stands unescaped in a string.
    ControlCharacter {
        /// Offset in bytes.
        at: usize,
    },
    /// A backslash starts no escape of JSON's.
    BadEscape {
        /// Offset of the backslash in bytes.
        at: usize,
    },
    /// An escape is half of a surrogate pair without the other half, so the text has no UTF-8 form.
    LoneSurrogate {
        /// Offset of the escape in bytes.
        at: usize,
    },
    /// The number is `NaN` or infinite, or a float too large to be finite.
    NotFinite {
        /// Offset of the number in bytes.
        at: usize,
    },
    /// An integer has more than [`INTEGER_DIGITS_MAX`] digits.
    IntegerTooLong {
        /// Offset of the number in bytes.
        at: usize,
    },
    /// Arrays and objects nest deeper than [`PARAMS_DEPTH_MAX`].
    TooDeep {
        /// Offset of the bracket in bytes.
        at: usize,
    },
}

impl fmt::Display for ParamsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 { at } => write!(f, "not valid UTF-8 at byte {at}"),
            Self::Expected { what, at } => write!(f, "expected {what} at byte {at}"),
            Self::ControlCharacter { at } => write!(f, "unescaped control character in a string at byte {at}"),
            Self::BadEscape { at } => write!(f, "invalid escape in a string at byte {at}"),
            Self::LoneSurrogate { at } => write!(f, "lone surrogate in a string at byte {at}"),
            Self::NotFinite { at } => write!(f, "number that is not finite at byte {at}"),
            Self::IntegerTooLong { at } => write!(f, "integer of more than {INTEGER_DIGITS_MAX} digits at byte {at}"),
            Self::TooDeep { at } => write!(f, "nested deeper than {PARAMS_DEPTH_MAX} at byte {at}"),
        }
    }
}

impl std::error::Error for ParamsError {}
