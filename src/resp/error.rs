//! Errors that are replies.
//!
//! A [`ReplyError`] is data: it goes into a client's reply slot as one line in Redis's own words and closes nothing.

use super::encode;
use std::borrow::Cow;
use std::fmt;

/// One error line of RESP: its code and text (`ERR syntax error`), without the leading `-` and the line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyError(Cow<'static, str>);

impl ReplyError {
    /// An error with this code and text.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }

    /// `ERR wrong number of arguments for '<command>' command`; `command` as Redis writes it, in lower case.
    pub fn wrong_arity(command: &str) -> Self {
        Self::new(format!("ERR wrong number of arguments for '{}' command", command.to_ascii_lowercase()))
    }

    /// `ERR syntax error`.
    pub const fn syntax() -> Self {
        Self(Cow::Borrowed("ERR syntax error"))
    }

    /// Appends the whole error frame.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        encode::error(out, &self.0);
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReplyError {}
