//! One entry of `COMMAND INFO`, as bytes.
//!
//! Guarantees the ten fields of Redis 7.0 in the shape of either protocol (sets in RESP3). Tips, key specifications and
//! subcommands, which the table leaves out, are empty.

use super::Command;
use crate::resp::{Protocol, encode};

/// How many fields an entry has since Redis 7.0.
const FIELDS_COUNT: u64 = 10;

/// Appends what `COMMAND INFO` says of one command.
pub fn append_info(out: &mut Vec<u8>, protocol: Protocol, command: &Command) {
    encode::header(out, b'*', FIELDS_COUNT);
    encode::bulk(out, command.name.to_ascii_lowercase().as_bytes());
    encode::integer(out, command.arity.into());
    words(out, protocol, command.flags.words().map(str::to_owned));
    encode::integer(out, command.keys.first.into());
    encode::integer(out, command.keys.last.into());
    encode::integer(out, command.keys.step.into());
    words(out, protocol, command.categories.words().map(|word| format!("@{word}")));
    for _tips_and_keys_and_subcommands in 0..3 {
        encode::header(out, set(protocol), 0);
    }
}

fn words(out: &mut Vec<u8>, protocol: Protocol, words: impl Iterator<Item = String> + Clone) {
    encode::header(out, set(protocol), words.clone().count() as u64);
    for word in words {
        encode::simple(out, &word);
    }
}

/// The kind of a set's header.
fn set(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Resp2 => b'*',
        Protocol::Resp3 => b'~',
    }
}
