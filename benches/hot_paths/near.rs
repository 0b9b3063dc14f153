//! A hit in the near cache with 10,000 entries in it, and what its other callers ask of it: a miss that takes a stamp,
//! its answer that is kept, and a write that drops an entry.

use crate::case::{Case, repeat};
use fca_proxy::clock;
use fca_proxy::near_cache::{Answer, Kept, Life, LookUp, NearCache, NearCacheOptions, Written};
use std::hint::black_box;
use std::time::{Duration, Instant};

const ENTRIES: usize = 10_000;

/// Odd and no divisor of [`ENTRIES`], so that keys come in no order of the store's.
const STRIDE: u64 = 7919;

/// Longer than any run takes, even under valgrind.
const OPEN_FOR: Duration = Duration::from_hours(1);

/// A value of 64 bytes as a reply.
const FRAME: [u8; 71] = *b"$64\r\nvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv\r\n";

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("near/hit-10k", hit), Case::new("near/written-and-filled", written_and_filled)]
}

/// One that answers from now on, for one worker.
pub(crate) fn open(bytes_max: u64) -> NearCache {
    let options = NearCacheOptions {
        bytes_max,
        value_bytes_max: 64 << 10,
        ttl_max: OPEN_FOR,
        ttl_max_without_tracking: OPEN_FOR,
        prefixes: vec![b"fca:".to_vec()],
        workers: 1,
    };
    let now = clock::now();
    let near = NearCache::new(options, now);
    near.open(now + OPEN_FOR, None);
    near
}

fn hit(operations: u64) -> Duration {
    let near = open(64 << 20);
    let (keys, now) = (keys(), clock::now());
    keys.iter().for_each(|key| assert!(fill(&near, key, now)));
    let mut reply = Vec::new();
    repeat(operations, |number| {
        reply.clear();
        let key = black_box(key(&keys, number));
        assert!(near.tracks(key));
        let found = near.look_up(near.hash(key), key, now, &mut reply);
        assert!(found == LookUp::Hit && reply == FRAME);
    })
}

/// An entry is written by a client of ours, read anew, and kept.
fn written_and_filled(operations: u64) -> Duration {
    let near = open(64 << 20);
    let (keys, now) = (keys(), clock::now());
    keys.iter().for_each(|key| assert!(fill(&near, key, now)));
    repeat(operations, |number| {
        let key = black_box(key(&keys, number));
        near.written(&Written::One(near.hash(key)));
        assert!(fill(&near, key, now));
    })
}

/// A miss, and its answer; whether that is kept.
fn fill(near: &NearCache, key: &[u8], now: Instant) -> bool {
    let hash = near.hash(key);
    let LookUp::Miss(stamp) = near.look_up(hash, key, now, &mut Vec::new()) else { return false };
    let answer = Answer::Value(&FRAME, Life::Milliseconds(3_600_000));
    near.answered(hash, key, stamp, &answer) == Kept::Kept
}

fn keys() -> Vec<Vec<u8>> {
    (0..ENTRIES).map(|number| format!("fca:faq:{number:016x}").into_bytes()).collect()
}

fn key(keys: &[Vec<u8>], number: u64) -> &[u8] {
    &keys[(number * STRIDE) as usize % ENTRIES]
}
