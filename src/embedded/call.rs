//! One command that is being carried out, with what that takes.

use super::refusal::Refusal;
use super::store::Store;
use crate::resp::Protocol;

/// A command under way: its reply is appended to `reply`.
pub(super) struct Call<'a> {
    pub(super) store: &'a mut Store,
    /// The wall clock in milliseconds; stands still while the command runs.
    pub(super) unix_ms: u64,
    pub(super) database: u32,
    pub(super) protocol: Protocol,
    /// The command's name as errors quote it.
    pub(super) name: &'static str,
    /// The name and what follows it, as many as the command's arity promises.
    pub(super) arguments: &'a [&'a [u8]],
    pub(super) reply: &'a mut Vec<u8>,
}

/// A command has replied, or is refused and has changed nothing.
pub(super) type Outcome = Result<(), Refusal>;

impl Call<'_> {
    /// The wall clock as Redis counts it, with a sign.
    pub(super) fn now(&self) -> i64 {
        i64::try_from(self.unix_ms).unwrap_or(i64::MAX)
    }
}
