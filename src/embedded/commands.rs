//! The commands that the embedded store knows: name, arity, and what carries it out.
//!
//! Arity as in Redis's command table: the exact number of arguments with the name, or the least number, negated.
//! A row's function may index the arguments that its arity promises.

use super::call::{Call, Outcome};
use super::{expiry, keys, scan, strings};

/// One command.
pub(super) struct Command {
    /// In lower case, as errors quote it.
    pub(super) name: &'static str,
    arity: i8,
    pub(super) run: fn(&mut Call<'_>) -> Outcome,
}

impl Command {
    const fn new(name: &'static str, arity: i8, run: fn(&mut Call<'_>) -> Outcome) -> Self {
        Self { name, arity, run }
    }

    /// Whether so many arguments, the name among them, are allowed.
    pub(super) fn takes(&self, arguments: usize) -> bool {
        let bound = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { arguments >= bound } else { arguments == bound }
    }
}

/// Whether the embedded store knows this command, in any case of letters.
pub fn serves(name: &[u8]) -> bool {
    find(name).is_some()
}

/// The command with this name, in any case of letters.
pub(super) fn find(name: &[u8]) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name.as_bytes().eq_ignore_ascii_case(name))
}

/// The ones that a cache lives on come first, since the table is searched from the top.
pub(super) static COMMANDS: &[Command] = &[
    Command::new("get", 2, strings::get),
    Command::new("set", -3, strings::set),
    Command::new("setex", 4, strings::setex),
    Command::new("psetex", 4, strings::psetex),
    Command::new("del", -2, keys::del),
    Command::new("unlink", -2, keys::del),
    Command::new("mget", -2, strings::mget),
    Command::new("mset", -3, strings::mset),
    Command::new("setnx", 3, strings::setnx),
    Command::new("getex", -2, strings::getex),
    Command::new("getdel", 2, strings::getdel),
    Command::new("exists", -2, keys::exists),
    Command::new("ttl", 2, expiry::ttl),
    Command::new("pttl", 2, expiry::pttl),
    Command::new("expire", -3, expiry::expire),
    Command::new("pexpire", -3, expiry::pexpire),
    Command::new("persist", 2, expiry::persist),
    Command::new("type", 2, keys::type_name),
    Command::new("incr", 2, strings::incr),
    Command::new("incrby", 3, strings::incrby),
    Command::new("decr", 2, strings::decr),
    Command::new("decrby", 3, strings::decrby),
    Command::new("append", 3, strings::append),
    Command::new("strlen", 2, strings::strlen),
    Command::new("keys", 2, keys::keys),
    Command::new("scan", -2, scan::scan),
    Command::new("dbsize", 1, keys::dbsize),
    Command::new("randomkey", 1, keys::randomkey),
    Command::new("flushdb", -1, keys::flushdb),
    Command::new("flushall", -1, keys::flushall),
];
