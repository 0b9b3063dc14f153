//! The near cache as its users call it.

/// Every order of what may happen in a small world.
mod explore;
/// Bytes, lives, keys, parts.
mod store;
/// Several threads at once.
mod threads;
mod world;

use super::*;

fn cache() -> (NearCache, Instant) {
    let began = crate::clock::now();
    let options = NearCacheOptions {
        bytes_max: 1 << 20,
        value_bytes_max: 1024,
        ttl_max: Duration::from_secs(60),
        ttl_max_without_tracking: Duration::from_secs(2),
        prefixes: vec![b"fca:".to_vec()],
        workers: 1,
    };
    (NearCache::new(options, began), began)
}

fn value(cache: &NearCache, key: &[u8], now: Instant) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    (cache.look_up(cache.hash(key), key, now, &mut out) == LookUp::Hit).then_some(out)
}

fn stamp(cache: &NearCache, key: &[u8], now: Instant) -> Option<Stamp> {
    match cache.look_up(cache.hash(key), key, now, &mut Vec::new()) {
        LookUp::Hit => None,
        LookUp::Miss(stamp) => stamp,
    }
}

#[test]
fn what_was_read_is_found_until_its_key_changes() {
    let (cache, now) = cache();
    let key = b"fca:faq:0123456789abcdef";
    let hash = cache.hash(key);
    assert_eq!(stamp(&cache, key, now), None, "closed: nothing is to be kept");
    cache.open(now + Duration::from_secs(1), None);
    let read = stamp(&cache, key, now);
    let answer = Answer::Value(b"$1\r\nx\r\n", Life::Milliseconds(500));
    assert_eq!(cache.answered(hash, key, read, &answer), Kept::Kept);
    assert_eq!(value(&cache, key, now).as_deref(), Some(&b"$1\r\nx\r\n"[..]));
    assert_eq!(value(&cache, key, now + Duration::from_millis(500)), None, "its life is over");
    cache.invalidate(key);
    assert_eq!(value(&cache, key, now), None);
    assert_eq!(cache.answered(hash, key, read, &answer), Kept::Refused, "it was read before the change");
}
