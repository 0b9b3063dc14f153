//! What `COMMAND DOCS` says of the FCA family, as bytes.
//!
//! Guarantees the structure of Redis 7.0 (<https://redis.io/docs/latest/commands/command-docs/>): a map of summary,
//! since, group, complexity and arguments, with sets of flags; flat arrays in RESP2. From the arguments `redis-cli`
//! draws its hints while one types. Leaves to others the entries of Redis's own commands.

use crate::command::Fca;
use crate::resp::{Protocol, encode};

/// The version of this program that had the family first.
const SINCE: &str = "0.1.0";

/// The group under which `help @fca` of `redis-cli` lists the family.
const GROUP: &str = "fca";

/// What people are told of one command.
struct Docs {
    summary: &'static str,
    complexity: &'static str,
    arguments: &'static [Argument],
}

/// One argument of a command.
#[derive(Clone, Copy)]
struct Argument {
    name: &'static str,
    kind: ArgumentKind,
    /// The word that stands before the argument.
    token: Option<&'static str>,
    flag: Option<Flag>,
}

/// The types of arguments that the family has, of those that Redis knows.
#[derive(Clone, Copy)]
enum ArgumentKind {
    String,
    Integer,
    Pattern,
    /// The token alone.
    PureToken,
    /// One of these.
    OneOf(&'static [Argument]),
    /// These in a row.
    Block(&'static [Argument]),
}

/// How often an argument can stand.
#[derive(Clone, Copy)]
enum Flag {
    Optional,
    Multiple,
}

const NAMESPACE: Argument = Argument::new("namespace", ArgumentKind::String);
const QUERY: Argument = Argument::new("query", ArgumentKind::String);
const VALUE: Argument = Argument::new("value", ArgumentKind::String);
const PARAMS: Argument = Argument::new("params", ArgumentKind::PureToken).token("PARAMS").flag(Flag::Optional);
const EXPIRATION: Argument = Argument::new("expiration", ArgumentKind::OneOf(&[SECONDS, MILLISECONDS]));
const SECONDS: Argument = Argument::new("seconds", ArgumentKind::Integer).token("EX");
const MILLISECONDS: Argument = Argument::new("milliseconds", ArgumentKind::Integer).token("PX");
const QUERY_VALUE: Argument = Argument::new("query_value", ArgumentKind::Block(&[QUERY, VALUE]));
const PATTERN: Argument = Argument::new("pattern", ArgumentKind::Pattern).token("MATCH");

const ONE_QUERY: &[Argument] = &[NAMESPACE, QUERY, PARAMS];
const SET: &[Argument] = &[NAMESPACE, QUERY, VALUE, EXPIRATION.flag(Flag::Optional), PARAMS];
const MGET: &[Argument] = &[NAMESPACE, QUERY.flag(Flag::Multiple)];
const MSET: &[Argument] = &[NAMESPACE, QUERY_VALUE.flag(Flag::Multiple)];
const DEL: &[Argument] = &[NAMESPACE, QUERY.flag(Flag::Multiple), PARAMS];
const FLUSH: &[Argument] = &[NAMESPACE, PATTERN.flag(Flag::Optional)];
const NONE: &[Argument] = &[];
const STATS: &[Argument] = &[NAMESPACE.flag(Flag::Optional)];

const CONSTANT: &str = "O(1)";
const BY_QUERIES: &str = "O(N) where N is the number of queries";
const BY_KEYS: &str = "O(N) where N is the number of keys in the database";

const fn docs(fca: Fca) -> Docs {
    let (summary, complexity, arguments) = match fca {
        Fca::Get => ("Get the cached value of a query", CONSTANT, ONE_QUERY),
        Fca::Set => ("Cache the value of a query, always with an expiration", CONSTANT, SET),
        Fca::Mget => ("Get the cached values of several queries", BY_QUERIES, MGET),
        Fca::Mset => ("Cache the values of several queries", BY_QUERIES, MSET),
        Fca::Del => ("Remove the entries of queries", BY_QUERIES, DEL),
        Fca::Ttl => ("Get the remaining life of an entry in seconds", CONSTANT, ONE_QUERY),
        Fca::Pttl => ("Get the remaining life of an entry in milliseconds", CONSTANT, ONE_QUERY),
        Fca::Key => ("Get the key under which the entry of a query is kept", CONSTANT, ONE_QUERY),
        Fca::Flush => ("Remove all entries of a namespace", BY_KEYS, FLUSH),
        Fca::Available => ("Tell whether the upstream answers", CONSTANT, NONE),
        Fca::Stats => ("Get counters of the cache", CONSTANT, STATS),
        Fca::Help => ("Show helpful text about the FCA commands", CONSTANT, NONE),
    };
    Docs { summary, complexity, arguments }
}

/// Appends one pair of the reply of `COMMAND DOCS`: the command's name and what is said of it.
pub fn append_docs(out: &mut Vec<u8>, protocol: Protocol, fca: Fca) {
    let Docs { summary, complexity, arguments: args } = docs(fca);
    encode::bulk(out, fca.command().name.to_ascii_lowercase().as_bytes());
    encode::map(out, protocol, 4 + u64::from(!args.is_empty()));
    for (field, text) in [("summary", summary), ("since", SINCE), ("group", GROUP), ("complexity", complexity)] {
        pair(out, field, text);
    }
    if !args.is_empty() {
        arguments(out, protocol, args);
    }
}

impl Argument {
    const fn new(name: &'static str, kind: ArgumentKind) -> Self {
        Self { name, kind, token: None, flag: None }
    }

    const fn token(self, token: &'static str) -> Self {
        Self { token: Some(token), ..self }
    }

    const fn flag(self, flag: Flag) -> Self {
        Self { flag: Some(flag), ..self }
    }

    fn append_to(&self, out: &mut Vec<u8>, protocol: Protocol) {
        let (kind, parts) = match self.kind {
            ArgumentKind::String => ("string", None),
            ArgumentKind::Integer => ("integer", None),
            ArgumentKind::Pattern => ("pattern", None),
            ArgumentKind::PureToken => ("pure-token", None),
            ArgumentKind::OneOf(parts) => ("oneof", Some(parts)),
            ArgumentKind::Block(parts) => ("block", Some(parts)),
        };
        let fields = [self.token.is_some(), self.flag.is_some(), parts.is_some()];
        encode::map(out, protocol, 2 + fields.into_iter().map(u64::from).sum::<u64>());
        pair(out, "name", self.name);
        pair(out, "type", kind);
        if let Some(token) = self.token {
            pair(out, "token", token);
        }
        if let Some(flag) = self.flag {
            encode::bulk(out, b"flags");
            match protocol {
                Protocol::Resp2 => encode::header(out, b'*', 1),
                Protocol::Resp3 => encode::header(out, b'~', 1),
            }
            encode::simple(
                out,
                match flag {
                    Flag::Optional => "optional",
                    Flag::Multiple => "multiple",
                },
            );
        }
        if let Some(parts) = parts {
            arguments(out, protocol, parts);
        }
    }
}

/// Appends the field `arguments`. An argument holds others at most one deep, as the constants above do.
fn arguments(out: &mut Vec<u8>, protocol: Protocol, arguments: &[Argument]) {
    encode::bulk(out, b"arguments");
    encode::header(out, b'*', arguments.len() as u64);
    for argument in arguments {
        argument.append_to(out, protocol);
    }
}

fn pair(out: &mut Vec<u8>, field: &str, text: &str) {
    encode::bulk(out, field.as_bytes());
    encode::bulk(out, text.as_bytes());
}
