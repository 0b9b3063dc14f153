//! Redis and the embedded store side by side.
//!
//! What is compared byte for byte, and what can't be: `KEYS` is compared sorted, remaining times with a tolerance,
//! `SCAN` by what a whole walk returns, `RANDOMKEY` by whether there is a key.

use crate::redis::{Connection, Redis};
use fca_proxy::embedded::{Store, StoreOptions};
use fca_proxy::resp::Protocol;
use std::time::{SystemTime, UNIX_EPOCH};

/// How many milliseconds the two clocks of one batch may lie apart.
const CLOCKS_APART_MS_MAX: i64 = 8_000;

/// So many commands go to Redis before the first reply is read.
const BATCH: usize = 200;

/// Both sides, empty.
pub(crate) struct Pair {
    pub(crate) connection: Connection,
    pub(crate) store: Store,
    protocol: Protocol,
    _redis: Redis,
}

impl Pair {
    pub(crate) fn new(protocol: Protocol) -> Self {
        let redis = Redis::start();
        let mut connection = redis.connect();
        if protocol == Protocol::Resp3 {
            connection.send(&words("HELLO 3"));
            connection.receive();
        }
        let store = Store::new(StoreOptions { bytes_max: 1 << 30, databases: 16, seed: 11 });
        Self { connection, store, protocol, _redis: redis }
    }

    /// Runs the commands on both sides and compares every reply.
    pub(crate) fn run(&mut self, commands: &[Vec<Vec<u8>>]) {
        for batch in commands.chunks(BATCH) {
            for command in batch {
                self.connection.send(command);
            }
            let unix_ms = unix_ms();
            for command in batch {
                let expected = self.connection.receive();
                let reply = self.ask(unix_ms, command);
                assert!(
                    agree(&command[0], &reply, &expected),
                    "{}\n embedded: {}\n redis:    {}",
                    shown(command),
                    reply.escape_ascii(),
                    expected.escape_ascii()
                );
            }
        }
    }

    /// The reply of the embedded store alone.
    pub(crate) fn ask(&mut self, unix_ms: u64, command: &[Vec<u8>]) -> Vec<u8> {
        let mut reply = Vec::new();
        let command: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        self.store.execute(unix_ms, 0, self.protocol, &command, &mut reply);
        reply
    }

    /// The reply of Redis alone.
    pub(crate) fn ask_redis(&mut self, command: &[Vec<u8>]) -> Vec<u8> {
        self.connection.send(command);
        self.connection.receive()
    }
}

#[expect(clippy::disallowed_methods, reason = "the other side of the comparison is a real server with a real clock")]
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// A command from its words.
pub(crate) fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// The strings of a flat array, sorted.
pub(crate) fn sorted(array: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = array;
    let count = take_header(&mut rest, b'*');
    let mut strings = Vec::new();
    for _ in 0..count {
        let bytes = take_header(&mut rest, b'$');
        strings.push(rest[..bytes].to_vec());
        rest = &rest[bytes + 2..];
    }
    assert!(rest.is_empty());
    strings.sort();
    strings
}

/// The cursor of a `SCAN` reply, and the array behind it.
pub(crate) fn cursor_and_keys(reply: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut rest = reply;
    assert_eq!(take_header(&mut rest, b'*'), 2);
    let bytes = take_header(&mut rest, b'$');
    (rest[..bytes].to_vec(), &rest[bytes + 2..])
}

fn take_header(rest: &mut &[u8], kind: u8) -> usize {
    let end = rest.iter().position(|&byte| byte == b'\r').unwrap();
    assert_eq!(rest[0], kind, "{}", rest.escape_ascii());
    let count = std::str::from_utf8(&rest[1..end]).unwrap().parse().unwrap();
    *rest = &rest[end + 2..];
    count
}

fn agree(name: &[u8], reply: &[u8], expected: &[u8]) -> bool {
    match name.to_ascii_lowercase().as_slice() {
        b"keys" if both_start(reply, expected, b'*') => sorted(reply) == sorted(expected),
        b"scan" if both_start(reply, expected, b'*') => true,
        b"randomkey" if both_start(reply, expected, b'$') => reply.starts_with(b"$-1") == expected.starts_with(b"$-1"),
        b"ttl" | b"pttl" if reply != expected && both_start(reply, expected, b':') => {
            let (reply, expected) = (number(reply), number(expected));
            let tolerance = if name.len() == 3 { CLOCKS_APART_MS_MAX / 1000 } else { CLOCKS_APART_MS_MAX };
            reply > tolerance && expected > tolerance && reply.abs_diff(expected) <= tolerance as u64
        }
        _ => reply == expected,
    }
}

fn both_start(reply: &[u8], expected: &[u8], kind: u8) -> bool {
    reply.first() == Some(&kind) && expected.first() == Some(&kind)
}

fn number(reply: &[u8]) -> i64 {
    std::str::from_utf8(&reply[1..reply.len() - 2]).unwrap().parse().unwrap()
}

fn shown(command: &[Vec<u8>]) -> String {
    command.iter().map(|word| format!("{:?}", word.escape_ascii().to_string())).collect::<Vec<_>>().join(" ")
}
