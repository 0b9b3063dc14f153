//! The store against the plainest model of itself, with the time passed in.
//!
//! Claims on bounds, expiry, eviction and `SCAN`; agreement with a real Redis is tested in `tests/embedded`.

use super::*;
use crate::resp::Protocol;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::{BTreeMap, BTreeSet};

const NOW: u64 = 1_700_000_000_000;

const OVERHEAD: usize = entry::ENTRY_OVERHEAD_BYTES as usize;

fn store(bytes_max: u64) -> Store {
    Store::new(StoreOptions { bytes_max, databases: 16, seed: 7 })
}

fn ask(store: &mut Store, unix_ms: u64, database: u32, command: &[&[u8]]) -> String {
    let mut reply = b"before".to_vec();
    store.execute(unix_ms, database, Protocol::Resp2, command, &mut reply);
    reply.strip_prefix(b"before").unwrap().escape_ascii().to_string()
}

fn set(store: &mut Store, key: &str, value: &[u8]) {
    assert_eq!(ask(store, NOW, 0, &[b"SET", key.as_bytes(), value]), "+OK\\r\\n");
}

/// One `SCAN`: the next cursor and the keys.
fn scan(store: &mut Store, cursor: &str, count: &str) -> (String, Vec<String>) {
    let mut reply = Vec::new();
    let command: [&[u8]; 4] = [b"SCAN", cursor.as_bytes(), b"COUNT", count.as_bytes()];
    store.execute(NOW, 0, Protocol::Resp2, &command, &mut reply);
    let text = String::from_utf8(reply).unwrap();
    let mut words = text.split("\r\n").filter(|word| !word.is_empty() && !word.starts_with(['*', '$']));
    let cursor = words.next().unwrap().to_owned();
    (cursor, words.map(str::to_owned).collect())
}

#[derive(Clone, Debug)]
enum Op {
    Advance(u64),
    Set { database: u32, key: u8, bytes: usize, px: Option<u16> },
    Append { database: u32, key: u8, bytes: usize },
    Expire { database: u32, key: u8, ms: i16 },
    Persist { database: u32, key: u8 },
    Get { database: u32, key: u8 },
    Delete { database: u32, key: u8 },
    Sweep(usize),
    Flush(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let of = || (0..3u32, 0..40u8);
    prop_oneof![
        3 => (0..300u64).prop_map(Op::Advance),
        12 => (of(), 0..300usize, prop::option::of(1..2000u16))
            .prop_map(|((database, key), bytes, px)| Op::Set { database, key, bytes, px }),
        4 => (of(), 0..300usize).prop_map(|((database, key), bytes)| Op::Append { database, key, bytes }),
        3 => (of(), any::<i16>()).prop_map(|((database, key), ms)| Op::Expire { database, key, ms }),
        1 => of().prop_map(|(database, key)| Op::Persist { database, key }),
        6 => of().prop_map(|(database, key)| Op::Get { database, key }),
        4 => of().prop_map(|(database, key)| Op::Delete { database, key }),
        2 => (0..50usize).prop_map(Op::Sweep),
        1 => (0..40u32).prop_map(Op::Flush),
    ]
}

/// What must be there: value and deadline by database and key.
type Model = BTreeMap<(u32, u8), (Vec<u8>, Option<u64>)>;

/// Applies one operation to both, and compares what the store says with what the model says.
fn step(store: &mut Store, model: &mut Model, now: &mut u64, index: usize, op: &Op) {
    let bytes_max = 4000;
    let fill = b'a' + (index % 26) as u8;
    model.retain(|_, (_, deadline)| deadline.is_none_or(|deadline| *now <= deadline));
    match *op {
        Op::Advance(ms) => *now += ms,
        Op::Set { database, key, bytes, px } => {
            let value = vec![fill; bytes];
            let reply = match px {
                Some(px) => ask(store, *now, database, &[b"PSETEX", &[key], px.to_string().as_bytes(), &value]),
                None => ask(store, *now, database, &[b"SET", &[key], &value]),
            };
            assert_eq!(reply, "+OK\\r\\n");
            model.insert((database, key), (value, px.map(|px| *now + u64::from(px))));
        }
        Op::Append { database, key, bytes } => {
            let old = model.get(&(database, key)).map_or(0, |(value, _)| value.len());
            let reply = ask(store, *now, database, &[b"APPEND", &[key], &vec![fill; bytes]]);
            if OVERHEAD + 1 + old + bytes > bytes_max && reply.starts_with("-OOM") {
                return;
            }
            assert_eq!(reply, format!(":{}\\r\\n", old + bytes));
            model.entry((database, key)).or_default().0.extend(vec![fill; bytes]);
        }
        Op::Expire { database, key, ms } => {
            let reply = ask(store, *now, database, &[b"PEXPIRE", &[key], ms.to_string().as_bytes()]);
            let known = model.contains_key(&(database, key));
            assert_eq!(reply, format!(":{}\\r\\n", u8::from(known)));
            match now.checked_add_signed(ms.into()).filter(|_| ms > 0) {
                Some(end) if known => model.get_mut(&(database, key)).unwrap().1 = Some(end),
                _ => drop(model.remove(&(database, key))),
            }
        }
        Op::Persist { database, key } => {
            let entry = model.get_mut(&(database, key));
            let removed = entry.is_some_and(|(_, deadline)| deadline.take().is_some());
            assert_eq!(ask(store, *now, database, &[b"PERSIST", &[key]]), format!(":{}\\r\\n", u8::from(removed)));
        }
        Op::Get { database, key } => {
            let expected = model.get(&(database, key)).map(|(value, _)| value.as_slice());
            assert_eq!(store.value(*now, database, &[key]), expected);
        }
        Op::Delete { database, key } => {
            let removed = model.remove(&(database, key)).is_some();
            assert_eq!(ask(store, *now, database, &[b"DEL", &[key]]), format!(":{}\\r\\n", u8::from(removed)));
        }
        Op::Sweep(budget) => assert!(store.sweep(*now, budget) <= budget),
        Op::Flush(database) if database < 3 => {
            ask(store, *now, database, &[b"FLUSHDB"]);
            model.retain(|(of, _), _| *of != database);
        }
        Op::Flush(_) => {}
    }
}

/// Forgets in the model what the store no longer has, and says how much that was.
fn forget_evicted(store: &mut Store, model: &mut Model, now: u64) -> usize {
    let before = model.len();
    model.retain(|(database, key), (value, deadline)| {
        let place = store.find(now, *database, &[*key]);
        if let Some(place) = place {
            assert_eq!(store.entries[place.index()].value(), value, "what is kept is kept as it was written");
            assert_eq!(store.entries[place.index()].deadline.unix_ms(), *deadline);
        }
        place.is_some()
    });
    before - model.len()
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn with_room_for_all_the_store_is_a_map_with_deadlines(ops in prop::collection::vec(op(), 0..250)) {
        let (mut store, mut model, mut now) = (store(1 << 30), Model::new(), NOW);
        for (index, op) in ops.iter().enumerate() {
            step(&mut store, &mut model, &mut now, index, op);
            store.audit();
        }
        model.retain(|_, (_, deadline)| deadline.is_none_or(|deadline| now <= deadline));
        prop_assert_eq!(forget_evicted(&mut store, &mut model, now), 0);
        // The rest of the round under way, and a whole one.
        store.sweep(now, usize::MAX);
        store.sweep(now, usize::MAX);
        prop_assert_eq!(store.stats().entries, model.len() as u64, "a whole sweep leaves only what is alive");
    }

    #[test]
    fn a_full_store_loses_entries_but_never_changes_one(ops in prop::collection::vec(op(), 0..250)) {
        let (mut store, mut model, mut now) = (store(4000), Model::new(), NOW);
        for (index, op) in ops.iter().enumerate() {
            step(&mut store, &mut model, &mut now, index, op);
            store.audit();
            model.retain(|_, (_, deadline)| deadline.is_none_or(|deadline| now <= deadline));
            forget_evicted(&mut store, &mut model, now);
        }
    }
}

#[test]
fn churn_leaves_no_growth_behind() {
    let mut store = store(1 << 30);
    for round in 0..4 {
        for i in 0..5000 {
            set(&mut store, &format!("{round}:{i}"), &[b'v'; 40]);
        }
        let room = store.entries.capacity();
        assert!(room <= 5000 * 9 / 8 + 64, "round {round} took {room}");
        for i in 0..5000 {
            ask(&mut store, NOW, 0, &[b"DEL", format!("{round}:{i}").as_bytes()]);
        }
        store.audit();
        let stats = store.stats();
        assert_eq!((stats.entries, stats.bytes), (0, 0));
        assert!(store.entries.capacity() <= 2 * 64 + 1, "{}", store.entries.capacity());
        assert_eq!(store.table(0).unwrap().buckets(), 16);
    }
}

#[test]
fn an_entry_larger_than_the_store_is_refused_and_changes_nothing() {
    let mut store = store(1000);
    set(&mut store, "a", b"1");
    set(&mut store, "b", b"2");
    let large = vec![b'x'; 1000 - OVERHEAD];
    let refused = "-OOM command not allowed when used memory > \\'maxmemory\\'.\\r\\n";
    let commands: &[&[&[u8]]] = &[
        &[b"SET", b"a", &large],
        &[b"SET", b"a", &large, b"GET"],
        &[b"SETEX", b"a", b"10", &large],
        &[b"SETNX", b"c", &large],
        &[b"APPEND", b"a", &large],
        &[b"APPEND", b"c", &large],
        &[b"MSET", b"a", b"new", b"c", &large],
    ];
    for command in commands {
        assert_eq!(ask(&mut store, NOW, 0, command), refused, "{}", command[0].escape_ascii());
        store.audit();
    }
    assert_eq!(store.value(NOW, 0, b"a"), Some(&b"1"[..]));
    assert_eq!(store.value(NOW, 0, b"b"), Some(&b"2"[..]));
    // One byte less is admitted, and is then alone.
    set(&mut store, "a", &large[1..]);
    assert_eq!((store.stats().entries, store.stats().bytes), (1, 1000));
}

#[test]
fn a_value_that_grows_evicts_others_and_not_itself() {
    let mut store = store(20_000);
    for i in 0..100 {
        set(&mut store, &format!("{i:03}"), b"");
    }
    let mut total = 0;
    while OVERHEAD + 3 + total + 500 <= 20_000 {
        total += 500;
        assert_eq!(ask(&mut store, NOW, 0, &[b"APPEND", b"050", &[b'x'; 500]]), format!(":{total}\\r\\n"));
        store.audit();
    }
    assert!(total >= 19_000);
    assert_eq!(store.value(NOW, 0, b"050").map(<[u8]>::len), Some(total));
}

#[test]
fn a_scan_of_keys_asked_for_once_leaves_the_used_ones() {
    let mut store = store(1000 * 200);
    let keys: Vec<String> = (0..500).map(|i| format!("hot:{i}")).collect();
    for key in &keys {
        set(&mut store, key, &[b'v'; 64]);
        for _ in 0..2 {
            store.value(NOW, 0, key.as_bytes());
        }
    }
    for i in 0..20_000 {
        set(&mut store, &format!("once:{i}"), &[b'v'; 64]);
    }
    store.audit();
    let kept = keys.iter().filter(|key| store.find(NOW, 0, key.as_bytes()).is_some()).count();
    assert_eq!(kept, 500);
}

/// A skewed load with scans in between, as a cache sees it: look up, and write what was missing.
#[test]
fn the_eviction_keeps_more_hits_than_lru() {
    let mut store = store(1000 * (OVERHEAD as u64 + 4 + 60));
    let (mut lru, mut order, mut clock) = (BTreeMap::new(), BTreeMap::new(), 0u64);
    let mut random = chance::Random::new(3);
    let (mut hits, mut lru_hits) = (0, 0);
    for round in 0..60_000u32 {
        // A scan touches 1500 keys once; else small numbers are drawn far more often than large ones.
        let key = if round % 10_000 < 1500 {
            1_000_000 + round
        } else {
            let unit = f64::from(random.bits()) / f64::from(u32::MAX);
            (20_000f64.powf(unit)) as u32
        };
        if store.value(NOW, 0, &key.to_be_bytes()).is_some() {
            hits += 1;
        } else {
            ask(&mut store, NOW, 0, &[b"SET", &key.to_be_bytes(), &[0; 60]]);
        }
        clock += 1;
        match lru.insert(key, clock) {
            Some(before) => {
                lru_hits += 1;
                order.remove(&before);
            }
            None if lru.len() > 1000 => {
                let (_, oldest) = order.pop_first().unwrap();
                lru.remove(&oldest);
            }
            None => {}
        }
        order.insert(clock, key);
    }
    store.audit();
    println!("hits of 60000: {hits}, with LRU {lru_hits}");
    assert!(hits > lru_hits, "{hits} against {lru_hits}");
}

#[test]
fn a_scan_returns_once_what_stays_while_others_come_and_go() {
    let mut loops = 0;
    for (count, churn) in [("1", 7), ("10", 0), ("10", 50), ("100", 1000)] {
        let mut store = store(1 << 30);
        for i in 0..1000 {
            set(&mut store, &format!("stays:{i}"), b"");
        }
        let (mut cursor, mut seen, mut born, mut calls) = ("0".to_owned(), Vec::new(), 0, 0);
        loop {
            let (next, keys) = scan(&mut store, &cursor, count);
            calls += 1;
            seen.extend(keys.into_iter().filter(|key| key.starts_with("stays:")));
            if next == "0" {
                break;
            }
            cursor = next;
            // First the database grows to many times its size, later it shrinks again.
            for _ in 0..churn {
                let (verb, i): (&[u8], _) = if born < 20_000 { (b"SET", born) } else { (b"UNLINK", born - 20_000) };
                let key = format!("moves:{i}");
                let command: &[&[u8]] =
                    if verb == b"SET" { &[verb, key.as_bytes(), b""] } else { &[verb, key.as_bytes()] };
                ask(&mut store, NOW, 0, command);
                born += 1;
            }
        }
        assert!(calls >= 10, "{calls} calls");
        seen.sort_unstable();
        let expected: BTreeSet<String> = (0..1000).map(|i| format!("stays:{i}")).collect();
        assert_eq!(seen, expected.into_iter().collect::<Vec<_>>());
        loops += 1;
    }
    assert_eq!(loops, 4);
}

#[test]
fn a_scan_call_is_bounded_in_a_database_that_became_sparse() {
    let mut store = store(1 << 30);
    for i in 0..4000 {
        set(&mut store, &i.to_string(), b"");
    }
    for i in 1..4000 {
        ask(&mut store, NOW, 0, &[b"DEL", i.to_string().as_bytes()]);
    }
    let (mut cursor, mut calls, mut found) = ("0".to_owned(), 0, 0);
    while calls == 0 || cursor != "0" {
        let (next, keys) = scan(&mut store, &cursor, "1");
        (cursor, calls, found) = (next, calls + 1, found + keys.len());
    }
    assert_eq!(found, 1);
    assert!(calls <= 3, "sixteen buckets at ten a call: {calls}");
}

#[test]
fn sweeps_go_round_and_remove_what_has_passed() {
    let mut store = store(1 << 30);
    for i in 0..1000u64 {
        let ms = if i % 2 == 0 { b"10".as_slice() } else { b"1000" };
        ask(&mut store, NOW, (i % 3) as u32, &[b"PSETEX", i.to_string().as_bytes(), ms, b"v"]);
    }
    assert_eq!(store.sweep(NOW + 10, usize::MAX), 0, "still there in the millisecond of the deadline");
    let removed: usize = (0..100).map(|_| store.sweep(NOW + 11, 10)).sum();
    assert_eq!(removed, 500);
    store.audit();
    assert_eq!((store.stats().entries, store.stats().expired), (500, 500));
    assert_eq!(store.sweep(NOW + 1001, 10_000), 500);
    assert_eq!(store.stats().bytes, 0);
}

#[test]
fn remaining_seconds_are_rounded_to_the_nearest() {
    let mut store = store(1 << 20);
    ask(&mut store, NOW, 0, &[b"PSETEX", b"k", b"2000", b"v"]);
    let cases = [(0, 2), (500, 2), (501, 1), (1500, 1), (1501, 0), (2000, 0), (2001, -2)];
    for (later, seconds) in cases {
        assert_eq!(ask(&mut store, NOW + later, 0, &[b"TTL", b"k"]), format!(":{seconds}\\r\\n"), "{later} ms later");
    }
}

#[test]
fn a_hot_key_that_expired_comes_back_without_probation() {
    let mut store = store(100_000);
    ask(&mut store, NOW, 0, &[b"PSETEX", b"hot", b"10", b"v"]);
    store.value(NOW, 0, b"hot");
    assert_eq!(store.value(NOW + 11, 0, b"hot"), None);
    set(&mut store, "hot", b"v");
    for i in 0..10_000 {
        set(&mut store, &format!("once:{i}"), b"v");
    }
    assert!(store.find(NOW, 0, b"hot").is_some());
}

#[test]
fn databases_are_apart_and_bounded() {
    let mut store = store(1 << 20);
    ask(&mut store, NOW, 0, &[b"SET", b"k", b"zero"]);
    ask(&mut store, NOW, 15, &[b"SET", b"k", b"fifteen"]);
    assert_eq!(store.value(NOW, 15, b"k"), Some(&b"fifteen"[..]));
    assert_eq!(store.value(NOW, 7, b"k"), None);
    assert_eq!(ask(&mut store, NOW, 16, &[b"GET", b"k"]), "-ERR DB index is out of range\\r\\n");
    assert_eq!(store.value(NOW, u32::MAX, b"k"), None);
    ask(&mut store, NOW, 15, &[b"FLUSHDB"]);
    assert_eq!(store.value(NOW, 15, b"k"), None);
    assert_eq!(store.value(NOW, 0, b"k"), Some(&b"zero"[..]));
    ask(&mut store, NOW, 3, &[b"FLUSHALL"]);
    store.audit();
    assert_eq!(store.stats().entries, 0);
}

#[test]
fn reads_are_counted_as_hits_and_misses() {
    let mut store = store(1 << 20);
    set(&mut store, "a", b"1");
    ask(&mut store, NOW, 0, &[b"MGET", b"a", b"b", b"a"]);
    ask(&mut store, NOW, 0, &[b"EXISTS", b"a", b"b"]);
    store.value(NOW, 0, b"a");
    assert_eq!((store.stats().hits, store.stats().misses), (4, 2));
}

#[test]
fn a_random_key_is_any_key_of_its_database() {
    let mut store = store(1 << 30);
    for i in 0..20u32 {
        ask(&mut store, NOW, 1, &[b"SET", format!("one:{i}").as_bytes(), b""]);
    }
    for i in 0..5000u32 {
        set(&mut store, &format!("zero:{i}"), b"");
    }
    let seen: BTreeSet<String> = (0..1000).map(|_| ask(&mut store, NOW, 1, &[b"RANDOMKEY"])).collect();
    assert!(seen.iter().all(|reply| reply.contains("one:")), "{seen:?}");
    assert!(seen.len() >= 10, "{}", seen.len());
    assert_eq!(ask(&mut store, NOW, 2, &[b"RANDOMKEY"]), "$-1\\r\\n");
    ask(&mut store, NOW, 2, &[b"PSETEX", b"gone", b"1", b""]);
    assert_eq!(ask(&mut store, NOW + 2, 2, &[b"RANDOMKEY"]), "$-1\\r\\n");
    assert_eq!(store.len(2), 0);
}

#[test]
fn every_command_says_one_whole_reply_to_any_arguments() {
    let mut store = store(1 << 20);
    let words: [&[u8]; 8] = [b"", b"k", b"0", b"-1", b"EX", b"\r\n", b"\xff\0", b"99999999999999999999"];
    let mut asked = 0;
    for command in commands::COMMANDS {
        assert!(serves(command.name.to_uppercase().as_bytes()));
        for count in 0..5u32 {
            for pick in 0..200usize {
                let mut request: Vec<&[u8]> = vec![command.name.as_bytes()];
                request.extend((0..count).map(|i| words[(pick >> i) * 7 % words.len()]));
                let mut reply = Vec::new();
                store.execute(NOW, 0, Protocol::Resp3, &request, &mut reply);
                let mut scanner = crate::resp::ReplyScanner::default();
                assert_eq!(scanner.scan(&reply), Ok(Some(reply.len())), "{}", reply.escape_ascii());
                asked += 1;
            }
        }
    }
    assert_eq!(asked, commands::COMMANDS.len() * 1000);
    assert!(!serves(b"HGET") && !serves(b"get\0") && !serves(b""));
    assert!(ask(&mut store, NOW, 0, &[]).starts_with("-ERR unknown command"));
}
