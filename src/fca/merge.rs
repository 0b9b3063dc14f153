//! Two tables of commands as one: the upstream's reply with the FCA family put in.
//!
//! Guarantees that the upstream's bytes are passed on as they came, element by element, and that what comes out is one
//! whole reply whatever came in. A reply of another shape than expected (an error, a nil) counts as none, and the
//! built-in table takes its place. What the upstream itself says of an FCA command (another such proxy) gives way to
//! our own words. Elements are found by [`resp::elements`], which nesting costs no stack.

use super::docs::append_docs;
use crate::command::{self, Command, Kind, append_info};
use crate::resp::{self, Protocol, encode};

/// The command of the FCA family that has this name.
pub(super) fn own(name: &[u8]) -> Option<command::Fca> {
    match command::find(name)?.kind {
        Kind::Fca(fca) => Some(fca),
        _ => None,
    }
}

/// The reply of `COMMAND`.
pub(super) fn table(out: &mut Vec<u8>, protocol: Protocol, upstream: Option<&[u8]>) {
    let Some(entries) = array(upstream) else {
        encode::header(out, b'*', command::all().len() as u64);
        command::all().iter().for_each(|command| append_info(out, protocol, command));
        return;
    };
    let entries: Vec<&[u8]> = entries.into_iter().filter(|entry| !entry_is_own(entry)).collect();
    encode::header(out, b'*', (entries.len() + command::fca().len()) as u64);
    entries.iter().for_each(|entry| out.extend_from_slice(entry));
    command::fca().iter().for_each(|command| append_info(out, protocol, command));
}

/// The reply of `COMMAND COUNT`. A number does not tell what it counted, so the family counts twice behind another such
/// proxy.
pub(super) fn count(out: &mut Vec<u8>, upstream: Option<&[u8]>) {
    let counted: Option<i64> = upstream
        .and_then(|reply| reply.strip_prefix(b":")?.strip_suffix(b"\r\n"))
        .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    let whole = counted.map(|count| count.saturating_add_unsigned(command::fca().len() as u64));
    encode::integer(out, whole.unwrap_or_else(|| command::all().len() as i64));
}

/// The reply of `COMMAND LIST`; `takes` is its filter.
pub(super) fn list(out: &mut Vec<u8>, upstream: Option<&[u8]>, takes: impl Fn(&Command) -> bool) {
    let names = array(upstream);
    let ours = if names.is_some() { command::fca() } else { command::all() };
    let ours: Vec<&Command> = ours.iter().filter(|command| takes(command)).collect();
    let names: Vec<&[u8]> = names.unwrap_or_default().into_iter().filter(|name| !name_is_own(name)).collect();
    encode::header(out, b'*', (names.len() + ours.len()) as u64);
    names.iter().for_each(|name| out.extend_from_slice(name));
    ours.iter().for_each(|command| encode::bulk(out, command.name.to_ascii_lowercase().as_bytes()));
}

/// The reply of `COMMAND INFO` with names: one element for each name, nil for an unknown one. The upstream was asked
/// for those that are not the proxy's and answered in their order.
pub(super) fn info(out: &mut Vec<u8>, protocol: Protocol, names: &[&[u8]], upstream: Option<&[u8]>) {
    let foreign = names.iter().filter(|name| own(name).is_none()).count();
    let mut theirs = array(upstream).filter(|entries| entries.len() == foreign).map(Vec::into_iter);
    encode::header(out, b'*', names.len() as u64);
    for name in names {
        match (own(name), &mut theirs) {
            (Some(fca), _) => append_info(out, protocol, fca.command()),
            (None, Some(entries)) => match entries.next() {
                Some(entry) => out.extend_from_slice(entry),
                None => encode::nil(out, protocol),
            },
            (None, None) => match command::find(name) {
                Some(command) => append_info(out, protocol, command),
                None => encode::nil(out, protocol),
            },
        }
    }
}

/// The reply of `COMMAND DOCS` without a name. The built-in table has no documentation: without an upstream it is the
/// family's alone.
pub(super) fn all_docs(out: &mut Vec<u8>, protocol: Protocol, upstream: Option<&[u8]>) {
    let theirs = pairs(upstream).into_iter().filter(|pair| !name_is_own(pair.0));
    let ours = command::fca().iter().filter_map(|command| own(command.name.as_bytes()));
    append_pairs(out, protocol, &theirs.map(Pair::Theirs).chain(ours.map(Pair::Ours)).collect::<Vec<_>>());
}

/// The reply of `COMMAND DOCS` with names: a pair for each name that is known, in the order of the names.
pub(super) fn docs(out: &mut Vec<u8>, protocol: Protocol, names: &[&[u8]], upstream: Option<&[u8]>) {
    // The upstream left out what it doesn't know, so its pairs are matched by name. A command that was renamed there
    // is documented under its old name, which matches nothing: such pairs are kept, at the end.
    let mut theirs = pairs(upstream).into_iter().peekable();
    let mut merged = Vec::with_capacity(names.len());
    for name in names {
        if let Some(fca) = own(name) {
            merged.push(Pair::Ours(fca));
        } else if let Some(pair) =
            theirs.next_if(|(theirs, _)| text(theirs).is_some_and(|theirs| theirs.eq_ignore_ascii_case(name)))
        {
            merged.push(Pair::Theirs(pair));
        }
    }
    merged.extend(theirs.map(Pair::Theirs));
    append_pairs(out, protocol, &merged);
}

/// One pair of the reply of `COMMAND DOCS`.
enum Pair<'a> {
    Ours(command::Fca),
    Theirs((&'a [u8], &'a [u8])),
}

fn append_pairs(out: &mut Vec<u8>, protocol: Protocol, pairs: &[Pair<'_>]) {
    encode::map(out, protocol, pairs.len() as u64);
    for pair in pairs {
        match *pair {
            Pair::Ours(fca) => append_docs(out, protocol, fca),
            Pair::Theirs((name, docs)) => {
                out.extend_from_slice(name);
                out.extend_from_slice(docs);
            }
        }
    }
}

/// The elements of a reply that is an array.
fn array(reply: Option<&[u8]>) -> Option<Vec<&[u8]>> {
    reply.filter(|reply| reply.first() == Some(&b'*')).and_then(resp::elements)
}

/// The pairs of a reply that is a map, or a flat array in its place; none for anything else.
fn pairs(reply: Option<&[u8]>) -> Vec<(&[u8], &[u8])> {
    let elements = reply.and_then(resp::elements).unwrap_or_default();
    let (pairs, odd) = elements.as_chunks::<2>();
    if odd.is_empty() { pairs.iter().map(|&[name, docs]| (name, docs)).collect() } else { Vec::new() }
}

/// Whether an entry of the upstream's table describes one of the proxy's commands.
fn entry_is_own(entry: &[u8]) -> bool {
    resp::elements(entry).and_then(|fields| fields.first().copied()).is_some_and(name_is_own)
}

/// Whether this element names one of the proxy's commands.
fn name_is_own(element: &[u8]) -> bool {
    text(element).and_then(own).is_some()
}

/// The text of an element that is a string.
fn text(element: &[u8]) -> Option<&[u8]> {
    let line_end = memchr::memchr(b'\r', element)?;
    match element.first()? {
        b'+' => element.get(1..line_end),
        b'$' => element.get(line_end + 2..)?.strip_suffix(b"\r\n"),
        _ => None,
    }
}
