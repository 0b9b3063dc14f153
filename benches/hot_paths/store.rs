//! A hit in the embedded store, with 10,000 entries in it: the value alone, and a GET with its reply.

use crate::case::{Case, repeat};
use fca_proxy::embedded::{Store, StoreOptions};
use fca_proxy::resp::Protocol;
use std::hint::black_box;
use std::time::Duration;

const ENTRIES: usize = 10_000;

/// Odd and no divisor of [`ENTRIES`], so that keys come in no order of the store's.
const STRIDE: u64 = 7919;

const NOW: u64 = 1_700_000_000_000;

const VALUE: [u8; 64] = [b'v'; 64];

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("store/value-10k", value), Case::new("store/get-10k", get)]
}

fn value(operations: u64) -> Duration {
    let (mut store, keys) = filled();
    repeat(operations, |number| {
        let found = store.value(NOW, 0, black_box(key(&keys, number)));
        assert!(black_box(found).is_some());
    })
}

fn get(operations: u64) -> Duration {
    let (mut store, keys) = filled();
    let mut reply = Vec::new();
    repeat(operations, |number| {
        reply.clear();
        store.execute(NOW, 0, Protocol::Resp2, black_box(&[b"GET", key(&keys, number)]), &mut reply);
        assert!(reply.starts_with(b"$64\r\n"));
    })
}

fn key(keys: &[String], number: u64) -> &[u8] {
    keys[(number * STRIDE) as usize % ENTRIES].as_bytes()
}

/// A store and the keys of all its entries.
fn filled() -> (Store, Vec<String>) {
    let mut store = Store::new(StoreOptions { bytes_max: 64 << 20, databases: 16, seed: 1 });
    let keys: Vec<String> = (0..ENTRIES).map(|number| format!("fca:faq:{number:016x}")).collect();
    let mut reply = Vec::new();
    for key in &keys {
        store.execute(NOW, 0, Protocol::Resp2, &[b"SETEX", key.as_bytes(), b"300", &VALUE], &mut reply);
    }
    assert_eq!(store.stats().entries, ENTRIES as u64);
    (store, keys)
}
