//! Replies made comparable: what depends on chance, on time or on the process is taken out, and nothing else.

use crate::support::value;
use std::collections::BTreeSet;

/// How many commands the proxy adds to the table.
const FCA_COMMANDS: i64 = 12;

/// How a reply is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Byte by byte.
    Exact,
    /// Its elements in any order.
    Unordered,
    /// Whether the number is below 0, 0 or above.
    Sign,
    /// Types and lengths all the way down; numbers and texts may be any.
    Shape,
    /// Only its type.
    Kind,
    /// As SCAN answers: everything in any order, where both replies tell everything.
    Scan,
    /// HELLO, without the number of the connection.
    WithoutId,
    /// INFO: the names of its fields, of which the proxied reply may have more.
    Fields,
    /// A number, which is higher through the proxy, or the same.
    CountWithFca,
    /// Rows in any order; the proxied reply has the proxy's commands among them.
    TableWithFca,
    /// As the table, for a map.
    DocsWithFca,
}

/// Which server's reply it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Direct,
    Proxied,
}

/// Both replies reduced, to be compared.
pub(super) fn reduced(rule: Rule, direct: &[u8], proxied: &[u8]) -> (Vec<u8>, Vec<u8>) {
    if rule == Rule::CountWithFca && direct == proxied {
        return (Vec::new(), Vec::new());
    }
    if rule == Rule::Scan && (is_partial(direct) || is_partial(proxied)) {
        return (direct[..1].to_vec(), proxied[..1].to_vec());
    }
    let mut both = (reduce(rule, direct, Side::Direct), reduce(rule, proxied, Side::Proxied));
    if rule == Rule::Fields && !is_error(direct) {
        let known: BTreeSet<&[u8]> = both.0.split(|&byte| byte == b'\n').collect();
        let of_redis = |line: &&[u8]| known.contains(line);
        both.1 = both.1.split(|&byte| byte == b'\n').filter(of_redis).collect::<Vec<_>>().join(&b'\n');
    }
    both
}

/// The elements of EXEC's reply, if it is one.
pub(super) fn elements(reply: &[u8]) -> Option<Vec<&[u8]>> {
    (reply.first() == Some(&b'*') && !reply.starts_with(b"*-1")).then(|| children(reply).1)
}

pub(super) fn is_error(reply: &[u8]) -> bool {
    matches!(reply.first(), Some(b'-' | b'!'))
}

/// Whether a reply to SCAN tells less than everything: how much that is depends on the order of a hash table.
fn is_partial(reply: &[u8]) -> bool {
    !is_error(reply) && !reply.starts_with(b"*2\r\n$1\r\n0\r\n")
}

fn reduce(rule: Rule, reply: &[u8], side: Side) -> Vec<u8> {
    if is_error(reply) {
        return reply.to_vec();
    }
    match rule {
        Rule::Exact => with_sets_sorted(reply),
        Rule::Unordered => unordered(reply),
        Rule::Sign => match integer(reply) {
            Some(number) => number.signum().to_string().into_bytes(),
            None => reply.to_vec(),
        },
        Rule::Shape => shape(reply),
        Rule::Kind => reply[..1].to_vec(),
        Rule::Scan => match children(reply) {
            (_, parts) if parts.len() == 2 => unordered(parts[1]),
            _ => reply.to_vec(),
        },
        Rule::WithoutId => without_id(reply),
        Rule::Fields => fields(reply),
        Rule::CountWithFca => match integer(reply) {
            Some(count) if side == Side::Proxied => (count - FCA_COMMANDS).to_string().into_bytes(),
            Some(count) => count.to_string().into_bytes(),
            None => reply.to_vec(),
        },
        Rule::TableWithFca => rows(reply, 1),
        Rule::DocsWithFca => rows(reply, 2),
    }
}

/// The line of an aggregate, and the bytes of each of its elements; nothing for what is no aggregate.
fn children(reply: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let end = reply.iter().position(|&byte| byte == b'\n').map_or(reply.len(), |at| at + 1);
    let (head, mut rest) = reply.split_at(end);
    let mut elements = Vec::new();
    if matches!(head[0], b'*' | b'~' | b'%' | b'>') {
        while let Ok(Some((_, length))) = value::parse(rest) {
            let (element, behind) = rest.split_at(length);
            elements.push(element);
            rest = behind;
        }
    }
    (head, elements)
}

fn unordered(reply: &[u8]) -> Vec<u8> {
    let (head, elements) = children(reply);
    if elements.is_empty() {
        return reply.to_vec();
    }
    let mut elements: Vec<Vec<u8>> = elements.into_iter().map(with_sets_sorted).collect();
    elements.sort();
    [head.to_vec(), elements.concat()].concat()
}

/// RESP3 says which aggregates have no order.
fn with_sets_sorted(reply: &[u8]) -> Vec<u8> {
    match children(reply) {
        (_, elements) if elements.is_empty() => reply.to_vec(),
        (head, _) if head[0] == b'~' => unordered(reply),
        (head, elements) => [head.to_vec(), elements.into_iter().flat_map(with_sets_sorted).collect()].concat(),
    }
}

fn sorted_throughout(reply: &[u8]) -> Vec<u8> {
    match children(reply) {
        (_, elements) if elements.is_empty() => reply.to_vec(),
        (head, elements) => {
            let mut elements: Vec<Vec<u8>> = elements.into_iter().map(sorted_throughout).collect();
            elements.sort();
            [head.to_vec(), elements.concat()].concat()
        }
    }
}

fn shape(reply: &[u8]) -> Vec<u8> {
    match children(reply) {
        (head, elements) if elements.is_empty() => match head[0] {
            b'*' | b'~' | b'%' | b'_' => head.to_vec(),
            _ if head == b"$-1\r\n" => head.to_vec(),
            kind => vec![kind],
        },
        (head, elements) => [head.to_vec(), elements.into_iter().flat_map(shape).collect()].concat(),
    }
}

fn integer(reply: &[u8]) -> Option<i64> {
    str::from_utf8(reply.strip_prefix(b":")?).ok()?.trim_end().parse().ok()
}

fn without_id(reply: &[u8]) -> Vec<u8> {
    let (head, mut elements) = children(reply);
    if let Some(at) = elements.iter().position(|element| *element == b"$2\r\nid\r\n") {
        elements.drain(at..(at + 2).min(elements.len()));
    }
    [head, elements.concat().as_slice()].concat()
}

/// The sections and field names, a line for each; of keyspaces and commands there are as many as were used.
fn fields(reply: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(reply);
    let names = text.lines().skip(1).filter(|line| !line.is_empty()).map(|line| line.split(':').next().unwrap_or(line));
    let lasting = names
        .filter(|name| !["cmdstat_", "errorstat_", "latency_percentiles_", "db"].iter().any(|of| name.starts_with(of)));
    lasting.collect::<Vec<_>>().join("\n").into_bytes()
}

/// The rows of a table in any order, without the proxy's own; each of `width` elements.
fn rows(reply: &[u8], width: usize) -> Vec<u8> {
    let (head, elements) = children(reply);
    let of_redis = |row: &&[&[u8]]| {
        let start = row[0].to_ascii_lowercase();
        !start.windows(6).take(24).any(|window| window == b"\r\nfca.")
    };
    // Subcommands stand in the order of a hash table, at any depth.
    let mut rows: Vec<Vec<u8>> = elements
        .chunks(width)
        .filter(of_redis)
        .map(|row| row.iter().flat_map(|part| sorted_throughout(part)).collect())
        .collect();
    rows.sort();
    [vec![head[0]], rows.len().to_string().into_bytes(), rows.concat()].concat()
}
