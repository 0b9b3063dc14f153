//! Thousands of random commands on both sides.
//!
//! The sequences come from fixed seeds. Times are either in the past or at least 1000 s ahead, in steps of 10 s, so that
//! the few milliseconds between the two clocks decide nothing.

use crate::pair::{Pair, cursor_and_keys, sorted, unix_ms, words};
use fca_proxy::embedded::serves;
use fca_proxy::resp::Protocol;
use proptest::test_runner::{RngAlgorithm, TestRng};
use rand::{below, pick};

/// Every command that the store serves.
const NAMES: &[&str] = &[
    "GET",
    "SET",
    "SETEX",
    "PSETEX",
    "SETNX",
    "GETEX",
    "GETDEL",
    "MGET",
    "MSET",
    "DEL",
    "UNLINK",
    "EXISTS",
    "TTL",
    "PTTL",
    "EXPIRE",
    "PEXPIRE",
    "PERSIST",
    "TYPE",
    "INCR",
    "INCRBY",
    "DECR",
    "DECRBY",
    "APPEND",
    "STRLEN",
    "KEYS",
    "SCAN",
    "DBSIZE",
    "FLUSHDB",
    "FLUSHALL",
    "RANDOMKEY",
];

/// Choices from a seed.
mod rand {
    use proptest::prelude::Rng;
    use proptest::test_runner::TestRng;

    pub(super) fn below(rng: &mut TestRng, bound: u64) -> u64 {
        rng.next_u64() % bound
    }

    pub(super) fn pick<'a, T: ?Sized>(rng: &mut TestRng, choices: &[&'a T]) -> &'a T {
        choices[below(rng, choices.len() as u64) as usize]
    }
}

fn rng(seed: u8) -> TestRng {
    TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32])
}

#[test]
fn random_sequences_get_the_same_replies() {
    let mut compared = 0;
    for (protocol, seed) in [(Protocol::Resp2, 1), (Protocol::Resp3, 2), (Protocol::Resp2, 3), (Protocol::Resp3, 4)] {
        let mut rng = rng(seed);
        let mut pair = Pair::new(protocol);
        let mut commands = Vec::new();
        for _ in 0..6000 {
            random_command(&mut rng, &mut commands);
        }
        pair.run(&commands);
        compared += commands.len();
    }
    assert!(compared >= 24_000, "{compared}");
}

#[test]
fn hostile_arguments_get_the_same_replies() {
    let mut compared = 0;
    for (protocol, seed) in [(Protocol::Resp2, 5), (Protocol::Resp3, 6)] {
        let mut rng = rng(seed);
        let mut pair = Pair::new(protocol);
        let mut commands = Vec::new();
        for name in NAMES {
            assert!(serves(name.as_bytes()), "{name}");
            for arguments in 0..7 {
                for _ in 0..40 {
                    let name = if below(&mut rng, 2) == 0 { name.to_lowercase() } else { (*name).to_owned() };
                    let mut command = vec![name.into_bytes()];
                    command.extend((0..arguments).map(|_| hostile(&mut rng)));
                    // Keys that are past their end are found out on one side as late as on the other.
                    if command[0].eq_ignore_ascii_case(b"dbsize") {
                        commands.push(existence_of_hostile_keys());
                    }
                    commands.push(command);
                }
            }
        }
        pair.run(&commands);
        compared += commands.len();
    }
    assert!(compared >= NAMES.len() * 7 * 40 * 2, "{compared}");
}

#[test]
fn unknown_commands_are_refused_in_the_same_words() {
    let mut pair = Pair::new(Protocol::Resp2);
    let mut rng = rng(7);
    let mut commands = vec![
        words("FOO"),
        words("foo a b"),
        words("fca.get ns query"),
        vec![b"x".repeat(300), b"y".repeat(300), b"z".to_vec()],
        vec![b"nul\0nul".to_vec(), b"a\0b".to_vec(), b"line\r\nend".to_vec(), b"\xff\xfe".to_vec()],
        // Redis compares names up to a NUL, where its table of random order has both in one place: none is called "g".
        vec![b"g\0et".to_vec(), b"k".to_vec()],
        vec![b"".to_vec(), b"".to_vec()],
    ];
    for length in 100..140 {
        commands.push(vec![b"foo".to_vec(), vec![b'a'; length], b"b".to_vec(), b"c".to_vec()]);
        commands.push(vec![vec![b'f'; length], vec![b'a'; length / 2], vec![b'b'; length / 2], b"c".to_vec()]);
    }
    for _ in 0..2000 {
        let arguments = below(&mut rng, 30);
        let mut command = vec![b"no-such-command".to_vec()];
        command.extend((0..arguments).map(|_| hostile(&mut rng)));
        commands.push(command);
    }
    pair.run(&commands);
}

#[test]
fn a_whole_scan_returns_the_same_keys() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut pair = Pair::new(protocol);
        let fill: Vec<_> = (0..3000).map(|i| words(&format!("SET key:{i} v"))).collect();
        pair.run(&fill);
        for options in
            ["", " COUNT 1", " COUNT 7", " COUNT 100000", " MATCH *1?", " TYPE string COUNT 50", " TYPE list"]
        {
            let whole = |ask: &mut dyn FnMut(&[Vec<u8>]) -> Vec<u8>| {
                let (mut cursor, mut keys) = (b"0".to_vec(), Vec::new());
                loop {
                    let mut command = words(&format!("SCAN 0{options}"));
                    command[1] = cursor;
                    let reply = ask(&command);
                    let (next, found) = cursor_and_keys(&reply);
                    keys.extend(sorted(found));
                    cursor = next;
                    if cursor == b"0" {
                        break;
                    }
                }
                keys.sort();
                keys
            };
            let now = unix_ms();
            let expected = whole(&mut |command| pair.ask_redis(command));
            let found = whole(&mut |command| pair.ask(now, command));
            assert_eq!(found, expected, "{options}");
        }
    }
}

/// Adds one command over a small key space, most of them well formed.
fn random_command(rng: &mut TestRng, commands: &mut Vec<Vec<Vec<u8>>>) {
    let key = |rng: &mut TestRng| pick(rng, &["a", "b", "c", "d", "e", "k\0\r\n", ""]).as_bytes().to_vec();
    let name = pick(rng, NAMES);
    let mut command = vec![name.as_bytes().to_vec()];
    match name {
        "MGET" | "DEL" | "UNLINK" | "EXISTS" => command.extend((0..1 + below(rng, 4)).map(|_| key(rng))),
        "MSET" => (0..1 + below(rng, 4)).for_each(|_| command.extend([key(rng), value(rng)])),
        "SET" => {
            command.extend([key(rng), value(rng)]);
            for _ in 0..below(rng, 4) {
                match pick(rng, &["NX", "xx", "GET", "KEEPTTL", "EX", "px", "EXAT", "PXAT"]) {
                    timed @ ("EX" | "px" | "EXAT" | "PXAT") => command.extend([timed.into(), time(rng, timed)]),
                    option => command.push(option.into()),
                }
            }
        }
        "GETEX" => {
            command.push(key(rng));
            match pick(rng, &["", "PERSIST", "EX", "PX", "exat", "PXAT"]) {
                "" => {}
                "PERSIST" => command.push(b"persist".to_vec()),
                timed => command.extend([timed.into(), time(rng, timed)]),
            }
        }
        "SETEX" => command.extend([key(rng), time(rng, "EX"), value(rng)]),
        "PSETEX" => command.extend([key(rng), time(rng, "PX"), value(rng)]),
        "SETNX" | "APPEND" => command.extend([key(rng), value(rng)]),
        "EXPIRE" | "PEXPIRE" => {
            command.extend([key(rng), time(rng, if name == "EXPIRE" { "EX" } else { "PX" })]);
            for _ in 0..below(rng, 3) {
                command.push(pick(rng, &["NX", "xx", "GT", "LT"]).into());
            }
        }
        "INCRBY" | "DECRBY" => command.extend([key(rng), value(rng)]),
        "KEYS" => command.push(pick(rng, &["*", "?", "[a-c]", "", "k*"]).into()),
        "SCAN" => command.push(b"0".to_vec()),
        // They would leave nothing to compare if they came as often as the others.
        "FLUSHDB" | "FLUSHALL" if below(rng, 10) > 0 => return random_command(rng, commands),
        "FLUSHDB" | "FLUSHALL" | "RANDOMKEY" => {}
        "DBSIZE" => {
            let all = ["a", "b", "c", "d", "e", "k\0\r\n", ""];
            let mut exists = vec![b"EXISTS".to_vec()];
            exists.extend(all.iter().map(|key| key.as_bytes().to_vec()));
            // Finds out on both sides what is past its end.
            commands.push(exists);
        }
        _ => command.push(key(rng)),
    }
    commands.push(command);
}

fn value(rng: &mut TestRng) -> Vec<u8> {
    let numbers = ["0", "1", "-1", "10", "9223372036854775807", "-9223372036854775808", "9223372036854775800"];
    match below(rng, 4) {
        0 => pick(rng, &["", "x", "01", "1.5", "a\r\nb"]).into(),
        1 => (0..below(rng, 300)).map(|_| below(rng, 256) as u8).collect(),
        _ => pick(rng, &numbers).into(),
    }
}

/// A time for such an option: seldom one that is refused or past, else far enough ahead.
fn time(rng: &mut TestRng, option: &str) -> Vec<u8> {
    let odd = below(rng, 8);
    if odd == 0 {
        return pick(rng, &["0", "-1", "x", "", "9223372036854775807", "-9223372036854775808", "9223372036854775"])
            .into();
    }
    let seconds = 1000 + 10 * below(rng, 1_000_000);
    let now = unix_ms() / 1000;
    let time = match option.to_ascii_uppercase().as_str() {
        "EX" => seconds,
        "PX" => seconds * 1000,
        "EXAT" if odd == 1 => 1 + seconds,
        "PXAT" if odd == 1 => 1 + seconds,
        "EXAT" => now + seconds,
        _ => (now + seconds) * 1000,
    };
    time.to_string().into_bytes()
}

/// Words that options, numbers, cursors and keys are made of, and some that nothing is made of. A number that is a time
/// is past, refused or days ahead, in every unit.
const HOSTILE: &[&[u8]] = &[
    b"",
    b"0",
    b"500000000",
    b"-1",
    b"-0",
    b"+1",
    b"01",
    b" 1",
    b"1 ",
    b"1.5",
    b"1e3",
    b"1\0",
    b"\0",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"-9223372036854775809",
    b"9223372036854775",
    b"-9223372036854775",
    b"9223372036854776",
    b"18446744073709551615",
    b"18446744073709551616",
    b"99999999999999999999999999",
    b"EX",
    b"ex\0tra",
    b"PX",
    b"EXAT",
    b"PXAT",
    b"NX",
    b"nx\0",
    b"XX",
    b"GT",
    b"LT",
    b"GET",
    b"KEEPTTL",
    b"PERSIST",
    b"MATCH",
    b"COUNT",
    b"TYPE",
    b"string",
    b"ASYNC",
    b"sync",
    b"*",
    b"[",
    b"\r\n",
    b"a\r\n",
    b"\xff\xfe",
    b"nan",
    b"-",
    b"+",
];

fn hostile(rng: &mut TestRng) -> Vec<u8> {
    pick(rng, HOSTILE).to_vec()
}

fn existence_of_hostile_keys() -> Vec<Vec<u8>> {
    std::iter::once(b"EXISTS".to_vec()).chain(HOSTILE.iter().map(|key| key.to_vec())).collect()
}
