//! `COMMAND` and its subcommands, as clients and `redis-cli` ask what a server can do.
//!
//! A request is read once ([`Introspection::parse`]); it says what the upstream has to be asked
//! ([`Introspection::upstream_request`]), and with the upstream's reply, or without one, gives the client's
//! ([`Introspection::append_reply`]). Guarantees an answer without an upstream: the built-in table stands in for it.
//! So it does for an upstream that refuses (an ACL, a server older than the subcommand).
//! How two tables become one is [`super::merge`]'s.

use super::merge::{self, own};
use crate::command::{self, Command, Flags};
use crate::key::glob_matches;
use crate::resp::{Protocol, ReplyError, encode};

/// What a client wants to know about commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Introspection<'a> {
    /// `COMMAND`, or `COMMAND INFO` without a name: every command.
    Table,
    /// `COMMAND COUNT`
    Count,
    /// `COMMAND LIST [FILTERBY …]`
    List(Option<Filter<'a>>),
    /// `COMMAND INFO name [name …]`
    Info(&'a [&'a [u8]]),
    /// `COMMAND DOCS [name …]`; without a name: every command.
    Docs(&'a [&'a [u8]]),
    /// `COMMAND GETKEYS name [arg …]`: the whole command behind the subcommand.
    GetKeys(&'a [&'a [u8]]),
    /// `COMMAND GETKEYSANDFLAGS name [arg …]`
    GetKeysAndFlags(&'a [&'a [u8]]),
    /// `COMMAND HELP`
    Help,
    /// What Redis 7.0 does not know; the upstream may. The whole request.
    Other(&'a [&'a [u8]]),
}

/// Which commands `COMMAND LIST` is to name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter<'a> {
    /// `MODULE`: those that a module of this name brought; none of the proxy's.
    Module(&'a [u8]),
    /// `ACLCAT`: those of an ACL category.
    Category(&'a [u8]),
    /// `PATTERN`: those whose name matches a glob.
    Pattern(&'a [u8]),
}

impl<'a> Introspection<'a> {
    /// Reads a request; `args` with `COMMAND` first.
    ///
    /// # Errors
    /// `ERR wrong number of arguments for 'command|…' command`.
    pub fn parse(args: &'a [&'a [u8]]) -> Result<Self, ReplyError> {
        let Some((subcommand, rest)) = args.get(1..).and_then(<[_]>::split_first) else { return Ok(Self::Table) };
        match (subcommand.to_ascii_lowercase().as_slice(), rest) {
            (b"info", []) => Ok(Self::Table),
            (b"info", names) => Ok(Self::Info(names)),
            (b"docs", names) => Ok(Self::Docs(names)),
            (b"count", []) => Ok(Self::Count),
            (b"count", _) => Err(ReplyError::wrong_arity("command|count")),
            (b"list", []) => Ok(Self::List(None)),
            (b"list", [by, kind, what]) if by.eq_ignore_ascii_case(b"FILTERBY") => {
                Ok(Filter::parse(kind, what).map_or(Self::Other(args), |filter| Self::List(Some(filter))))
            }
            // The arity is that of 7.0: the command and at least one argument.
            (b"getkeys", [_, _, ..]) => Ok(Self::GetKeys(rest)),
            (b"getkeys", _) => Err(ReplyError::wrong_arity("command|getkeys")),
            (b"getkeysandflags", [_, _, ..]) => Ok(Self::GetKeysAndFlags(rest)),
            (b"getkeysandflags", _) => Err(ReplyError::wrong_arity("command|getkeysandflags")),
            (b"help", []) => Ok(Self::Help),
            (b"help", _) => Err(ReplyError::wrong_arity("command|help")),
            _ => Ok(Self::Other(args)),
        }
    }

    /// What the upstream has to be asked; `None` when its answer would change nothing.
    pub fn upstream_request(&self) -> Option<Vec<&'a [u8]>> {
        let request = |subcommand: &'static str, rest: &[&'a [u8]]| {
            Some([&[b"COMMAND".as_slice(), subcommand.as_bytes()], rest].concat())
        };
        match *self {
            Self::Table => Some(vec![b"COMMAND"]),
            Self::Count => request("COUNT", &[]),
            Self::List(None) => request("LIST", &[]),
            Self::List(Some(filter)) => {
                let (kind, what) = filter.words();
                request("LIST", &[b"FILTERBY", kind, what])
            }
            Self::Info(names) => request("INFO", &foreign(names)?),
            Self::Docs([]) => request("DOCS", &[]),
            Self::Docs(names) => request("DOCS", &foreign(names)?),
            Self::GetKeys(command) if own(command[0]).is_none() => request("GETKEYS", command),
            Self::GetKeysAndFlags(command) if own(command[0]).is_none() => request("GETKEYSANDFLAGS", command),
            Self::GetKeys(_) | Self::GetKeysAndFlags(_) => None,
            Self::Help => request("HELP", &[]),
            Self::Other(args) => Some(args.to_vec()),
        }
    }

    /// Appends the client's reply. `upstream` is the whole reply to [`Introspection::upstream_request`], in the same
    /// protocol; `None` when there is no upstream, or nothing was asked.
    pub fn append_reply(&self, out: &mut Vec<u8>, protocol: Protocol, upstream: Option<&[u8]>) {
        match (*self, upstream) {
            (Self::Table, _) => merge::table(out, protocol, upstream),
            (Self::Count, _) => merge::count(out, upstream),
            (Self::List(filter), _) => {
                merge::list(out, upstream, |command| filter.is_none_or(|filter| filter.takes(command)));
            }
            (Self::Info(names), _) => merge::info(out, protocol, names, upstream),
            (Self::Docs([]), _) => merge::all_docs(out, protocol, upstream),
            (Self::Docs(names), _) => merge::docs(out, protocol, names, upstream),
            (Self::GetKeys(_) | Self::GetKeysAndFlags(_) | Self::Help | Self::Other(_), Some(reply)) => {
                out.extend_from_slice(reply);
            }
            (Self::GetKeys(args), None) => match keys(args) {
                Ok(Some(keys)) => {
                    encode::header(out, b'*', keys.len() as u64);
                    keys.iter().for_each(|key| encode::bulk(out, key));
                }
                Ok(None) => encode::nil(out, protocol),
                Err(error) => error.append_to(out),
            },
            (Self::GetKeysAndFlags(args), None) => match keys(args) {
                // What a command does to each of its keys is in no table but the upstream's.
                Ok(_) => encode::nil(out, protocol),
                Err(error) => error.append_to(out),
            },
            (Self::Help, None) => help(out),
            (Self::Other(args), None) => unknown(args).append_to(out),
        }
    }
}

impl<'a> Filter<'a> {
    fn parse(kind: &[u8], what: &'a [u8]) -> Option<Self> {
        match kind.to_ascii_lowercase().as_slice() {
            b"module" => Some(Self::Module(what)),
            b"aclcat" => Some(Self::Category(what)),
            b"pattern" => Some(Self::Pattern(what)),
            _ => None,
        }
    }

    fn words(self) -> (&'static [u8], &'a [u8]) {
        match self {
            Self::Module(what) => (b"MODULE", what),
            Self::Category(what) => (b"ACLCAT", what),
            Self::Pattern(what) => (b"PATTERN", what),
        }
    }

    /// Whether a command of the built-in table is among those asked for.
    fn takes(self, command: &Command) -> bool {
        match self {
            Self::Module(_) => false,
            Self::Category(name) => command.categories.words().any(|word| word.as_bytes().eq_ignore_ascii_case(name)),
            Self::Pattern(pattern) => {
                glob_matches(&pattern.to_ascii_lowercase(), &command.name.as_bytes().to_ascii_lowercase())
            }
        }
    }
}

/// The names that are not the proxy's; `None` when there is none.
fn foreign<'a>(names: &[&'a [u8]]) -> Option<Vec<&'a [u8]>> {
    let foreign: Vec<&[u8]> = names.iter().copied().filter(|name| own(name).is_none()).collect();
    (!foreign.is_empty()).then_some(foreign)
}

/// The keys of a command as the built-in table knows them, in the order of checks and with the errors of
/// `getKeysSubcommandImpl` in Redis 7.0's `server.c`; `Ok(None)` where only the upstream can tell.
fn keys<'a>(args: &[&'a [u8]]) -> Result<Option<Vec<&'a [u8]>>, ReplyError> {
    let Some(command) = args.first().and_then(|name| command::find(name)) else {
        return Err(ReplyError::new("ERR Invalid command specified"));
    };
    if command.has_subcommands || command.flags.contains(Flags::MOVABLE_KEYS) {
        return Ok(None);
    }
    // A shard's channels stand where keys would, for routing, and are none.
    if command.keys.first == 0 || command.flags.contains(Flags::PUBSUB) {
        return Err(ReplyError::new("ERR The command has no key arguments"));
    }
    if !command.takes(args.len()) {
        return Err(ReplyError::new("ERR Invalid number of arguments specified for command"));
    }
    Ok(Some(command.keys.places(args.len()).filter_map(|place| args.get(place).copied()).collect()))
}

/// The longest part of a subcommand's name that an error repeats, in bytes: Redis's own bound.
const ECHO_BYTES_MAX: usize = 128;

fn unknown(args: &[&[u8]]) -> ReplyError {
    let subcommand = args.get(1).copied().unwrap_or_default();
    if subcommand.eq_ignore_ascii_case(b"LIST") {
        return ReplyError::syntax();
    }
    let echo = String::from_utf8_lossy(&subcommand[..subcommand.len().min(ECHO_BYTES_MAX)]);
    ReplyError::new(format!("ERR unknown subcommand '{echo}'. Try COMMAND HELP."))
}

fn help(out: &mut Vec<u8>) {
    const LINES: [&str; 15] = [
        "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "(no subcommand)",
        "    Return details about all commands.",
        "COUNT",
        "    Return the total number of commands.",
        "LIST [FILTERBY <MODULE <name>|ACLCAT <category>|PATTERN <pattern>>]",
        "    Return the names of all commands, or of some.",
        "INFO [<command-name> ...]",
        "    Return details about commands.",
        "DOCS [<command-name> ...]",
        "    Return documentation details about commands.",
        "GETKEYS <full-command>",
        "    Return the keys from a full command.",
        "HELP",
        "    Prints this help.",
    ];
    encode::header(out, b'*', LINES.len() as u64);
    LINES.iter().for_each(|line| encode::simple(out, line));
}

#[cfg(test)]
mod tests;
