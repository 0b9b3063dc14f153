//! What is kept, how much of it, and how long.

use super::*;
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// jemalloc's size classes, as its manual lists them; small ones are 16 apart here.
const SIZE_CLASSES: [usize; 36] = [
    16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792,
    2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192, 10240, 12288, 14336, 16384,
];

/// What an entry takes besides.
const OVERHEAD: u64 = 112;

fn options(bytes_max: u64, value_bytes_max: usize) -> NearCacheOptions {
    NearCacheOptions {
        bytes_max,
        value_bytes_max,
        ttl_max: Duration::from_secs(60),
        ttl_max_without_tracking: Duration::from_secs(2),
        prefixes: vec![b"fca:".to_vec()],
        workers: 1,
    }
}

fn open(options: NearCacheOptions) -> (NearCache, Instant) {
    let now = crate::clock::now();
    let cache = NearCache::new(options, now);
    cache.open(now + Duration::from_secs(3600), None);
    (cache, now)
}

fn fill(cache: &NearCache, key: &[u8], frame: &[u8], now: Instant) -> Kept {
    let read = stamp(cache, key, now);
    cache.answered(cache.hash(key), key, read, &Answer::Value(frame, Life::Endless))
}

fn charge(bytes: usize) -> u64 {
    *SIZE_CLASSES.iter().find(|&&class| class >= bytes).unwrap() as u64 + OVERHEAD
}

#[test]
fn an_entry_is_charged_what_its_allocation_takes() {
    let (cache, now) = open(options(1 << 20, 1 << 14));
    for bytes in 6..16_384 {
        let key = b"fca:k";
        assert_eq!(fill(&cache, key, &vec![b'x'; bytes - key.len()], now), Kept::Kept);
        assert_eq!(cache.stats(now).bytes, charge(bytes), "{bytes}");
        cache.invalidate(key);
    }
    assert_eq!((cache.stats(now).bytes, cache.stats(now).entries), (0, 0));
}

#[test]
fn what_is_kept_weighs_the_sum_of_its_entries() {
    let (cache, now) = open(options(1 << 20, 1 << 10));
    let mut bytes = 0;
    for number in 0..500_usize {
        let (key, frame) = (format!("fca:{number:03}"), vec![b'x'; number]);
        assert_eq!(fill(&cache, key.as_bytes(), &frame, now), Kept::Kept);
        bytes += charge(key.len() + number);
    }
    let stats = cache.stats(now);
    assert_eq!((stats.entries, stats.bytes, stats.evictions), (500, bytes, 0));
}

#[test]
fn the_largest_entry_that_is_kept_is_found() {
    let key = b"fca:k";
    for bytes_max in (1_000..40_000).step_by(37) {
        let (cache, now) = open(options(bytes_max, 16_000));
        let kept = fill(&cache, key, &[b'x'; 9_000], now);
        assert_eq!(kept == Kept::Kept, value(&cache, key, now).is_some(), "{bytes_max}: {kept:?}");
        assert_eq!(cache.stats(now).evictions, 0, "{bytes_max}");
    }
}

#[test]
fn a_value_above_its_bound_is_refused_and_drops_the_one_before() {
    let (cache, now) = open(options(1 << 20, 100));
    let key = b"fca:k";
    assert_eq!(fill(&cache, key, &[b'x'; 100], now), Kept::Kept);
    assert_eq!(fill(&cache, key, &[b'y'; 101], now), Kept::Refused);
    assert_eq!(value(&cache, key, now), None, "somebody was given another value");
}

proptest! {
    #[test]
    fn it_never_holds_more_than_its_bytes(sizes in prop::collection::vec(0_usize..4000, 1..400), bytes_max in 1_000_u64..200_000) {
        let (cache, now) = open(options(bytes_max, 4000));
        let mut kept = 0;
        for (number, size) in sizes.into_iter().enumerate() {
            kept += u64::from(fill(&cache, format!("fca:{number}").as_bytes(), &vec![0; size], now) == Kept::Kept);
            let stats = cache.stats(now);
            prop_assert!(stats.bytes <= bytes_max, "{} of {bytes_max}", stats.bytes);
            prop_assert_eq!(stats.entries + stats.evictions, kept, "each was kept and is there, or was dropped");
        }
    }

    #[test]
    fn any_reply_to_pttl_says_something(frame: Vec<u8>, digits in "[-+]?[0-9]{0,24}", sent in 0_u64..1 << 40) {
        let _ = Life::from_reply(&frame);
        let life = Life::from_reply(format!(":{digits}\r\n").as_bytes());
        let (cache, began) = open(options(1 << 20, 100));
        let now = began + Duration::from_millis(sent);
        cache.open(now + Duration::from_secs(1), None);
        let read = cache.stamp(cache.hash(b"fca:k"), now);
        cache.answered(cache.hash(b"fca:k"), b"fca:k", read, &Answer::Value(b"$0\r\n\r\n", life));
    }
}

#[test]
fn a_life_is_what_redis_says_or_unknown() {
    let lives: [(&[u8], Life); 12] = [
        (b":-1\r\n", Life::Endless),
        (b":0\r\n", Life::Milliseconds(0)),
        (b":1500\r\n", Life::Milliseconds(1500)),
        (b":18446744073709551615\r\n", Life::Milliseconds(u64::MAX)),
        (b":18446744073709551616\r\n", Life::Unknown),
        (b":-2\r\n", Life::Unknown),
        (b":\r\n", Life::Unknown),
        (b":1", Life::Unknown),
        (b"", Life::Unknown),
        (b"-ERR no\r\n", Life::Unknown),
        (b"$1\r\n1\r\n", Life::Unknown),
        (b":\xff\r\n", Life::Unknown),
    ];
    for (frame, life) in lives {
        assert_eq!(Life::from_reply(frame), life, "{}", String::from_utf8_lossy(frame));
    }
}

#[test]
fn a_life_is_counted_from_the_read_and_ends_with_the_longest() {
    let (cache, sent) = open(options(1 << 20, 100));
    let at = |millis| sent + Duration::from_millis(millis);
    for (life, ends) in
        [(Life::Milliseconds(500), 500), (Life::Milliseconds(u64::MAX), 60_000), (Life::Endless, 60_000)]
    {
        let key = b"fca:k";
        let read = stamp(&cache, key, sent);
        // However late the answer comes.
        cache.answered(cache.hash(key), key, read, &Answer::Value(b"x", life));
        assert!(value(&cache, key, at(ends - 1)).is_some(), "{life:?}");
        assert_eq!(value(&cache, key, at(ends)), None, "{life:?}");
        cache.invalidate(key);
    }
    assert_eq!(fill(&cache, b"fca:k", b"x", sent), Kept::Kept);
    let read = cache.stamp(cache.hash(b"fca:k"), at(400));
    let again = Answer::Value(b"x", Life::Milliseconds(100));
    assert_eq!(cache.answered(cache.hash(b"fca:k"), b"fca:k", read, &again), Kept::AsBefore);
    assert_eq!(value(&cache, b"fca:k", at(500)), None, "the later read knows better");
}

#[test]
fn without_tracking_an_entry_ends_sooner() {
    let (cache, now) = open(options(1 << 20, 100));
    cache.open_untracked();
    assert_eq!(fill(&cache, b"fca:k", b"x", now), Kept::Kept);
    assert!(value(&cache, b"fca:k", now + Duration::from_millis(1_999)).is_some());
    assert_eq!(value(&cache, b"fca:k", now + Duration::from_secs(2)), None);
    cache.written(&Written::Unknown);
    assert_eq!(value(&cache, b"fca:k", now), None, "nobody would tell what was written");
    assert!(cache.is_open(now), "there is no fence to wait for");
}

#[test]
fn a_clock_that_goes_backwards_is_no_harm() {
    let (cache, now) = open(options(1 << 20, 100));
    let Some(before) = now.checked_sub(Duration::from_secs(5)) else { return };
    assert_eq!(fill(&cache, b"fca:k", b"x", before), Kept::Kept);
    assert!(value(&cache, b"fca:k", before).is_some());
    assert_eq!(value(&cache, b"fca:k", now + Duration::from_secs(60)), None);
    cache.open(before, None);
    assert!(!cache.is_open(now), "that is over");
}

#[test]
fn what_is_read_often_survives_a_scan() {
    let (cache, now) = open(options(1 << 20, 1 << 10));
    let frame = [b'x'; 200];
    let hot: Vec<String> = (0..1000).map(|number| format!("fca:hot:{number}")).collect();
    for _ in 0..3 {
        for key in &hot {
            if value(&cache, key.as_bytes(), now).is_none() {
                fill(&cache, key.as_bytes(), &frame, now);
            }
        }
    }
    // Ten times what there is room for, each read once.
    let entries = (1 << 20) / (charge(frame.len() + 12));
    for number in 0..entries * 10 {
        fill(&cache, format!("fca:once:{number}").as_bytes(), &frame, now);
    }
    let left = hot.iter().filter(|key| value(&cache, key.as_bytes(), now).is_some()).count();
    assert!(left >= 950, "{left} of 1000 are left");
}

#[test]
fn a_part_whose_thread_panicked_is_emptied_and_goes_on() {
    let (cache, now) = open(options(1 << 20, 100));
    let key = b"fca:k";
    assert_eq!(fill(&cache, key, b"x", now), Kept::Kept);
    let read = cache.stamp(cache.hash(key), now);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _part = cache.shard(cache.hash(key));
        panic!("in the middle of a change");
    }));
    assert!(panicked.is_err());
    assert_eq!(value(&cache, key, now), None);
    let answer = Answer::Value(b"x", Life::Endless);
    assert_eq!(cache.answered(cache.hash(key), key, read, &answer), Kept::Refused);
    assert_eq!(fill(&cache, key, b"y", now), Kept::Kept);
    assert_eq!(value(&cache, key, now).as_deref(), Some(&b"y"[..]));
}

#[test]
fn keys_with_the_same_hash_are_never_each_others() {
    let (cache, now) = open(options(1 << 20, 100));
    let (hash, keys) = (KeyHash(7), [b"fca:a", b"fca:b"]);
    let found = |key: &[u8]| {
        let mut out = Vec::new();
        (cache.look_up(hash, key, now, &mut out) == LookUp::Hit).then_some(out)
    };
    for key in [keys[0], keys[1], keys[0]] {
        let read = cache.stamp(hash, now);
        assert_eq!(cache.answered(hash, key, read, &Answer::Value(key, Life::Endless)), Kept::Kept);
        for other in keys {
            assert_eq!(found(other).as_deref(), (other == key).then_some(&key[..]));
        }
    }
    // The same bytes under the other key are not the ones that are kept.
    let read = cache.stamp(hash, now);
    assert_eq!(cache.answered(hash, keys[1], read, &Answer::Value(keys[0], Life::Endless)), Kept::Kept);
    assert_eq!(found(keys[0]), None);
    cache.answered(hash, keys[0], None, &Answer::Absent);
    assert_eq!(found(keys[1]), None, "it may have been dropped, it must not be another's");
}

#[test]
fn a_twin_is_followed_for_entries_alone_and_one_step() {
    let (cache, now) = open(options(1 << 20, 100));
    let entry = |key: &[u8]| {
        let mut out = Vec::new();
        (cache.look_up_entry(cache.hash(key), key, now, &mut out) == LookUp::Hit).then_some(out)
    };
    let elsewhere = |key: &[u8], other: &[u8]| {
        let read = cache.stamp(cache.hash(key), now);
        cache.answered(cache.hash(key), key, read, &Answer::Elsewhere(other))
    };
    assert_eq!(elsewhere(b"fca:e", b"fca:t"), Kept::Kept);
    assert_eq!(entry(b"fca:e"), None, "the twin's value is not known");
    assert_eq!(fill(&cache, b"fca:t", b"x", now), Kept::Kept);
    assert_eq!(entry(b"fca:e").as_deref(), Some(&b"x"[..]));
    assert_eq!(value(&cache, b"fca:e", now), None, "under this key itself there is nothing");
    assert_eq!(elsewhere(b"fca:t", b"fca:e"), Kept::Kept);
    assert_eq!((entry(b"fca:e"), entry(b"fca:t")), (None, None), "in a circle");
    cache.invalidate(b"fca:t");
    fill(&cache, b"fca:t", b"y", now);
    assert!(entry(b"fca:e").is_some());
    cache.invalidate(b"fca:e");
    assert_eq!(entry(b"fca:e"), None, "the entry came into being");
}

#[test]
fn a_write_of_many_keys_is_a_write_of_any() {
    let (cache, _) = open(options(1 << 20, 100));
    let written = |count: usize| {
        let keys: Vec<_> = (0..count).map(|number| format!("fca:{number}").into_bytes()).collect();
        cache.written_by(keys.iter().map(Vec::as_slice).chain([&b"other:1"[..], b""]))
    };
    let key = |number: usize| cache.hash(format!("fca:{number}").as_bytes());
    assert_eq!(written(0), Written::Nothing);
    assert_eq!(written(1), Written::One(key(0)));
    assert_eq!(written(2), Written::Two(key(0), key(1)));
    assert!(matches!(written(WRITTEN_KEYS_MAX), Written::Many(keys) if keys.len() == WRITTEN_KEYS_MAX));
    assert_eq!(written(WRITTEN_KEYS_MAX + 1), Written::Unknown);
}

#[test]
fn the_empty_prefix_tracks_every_key() {
    let now = crate::clock::now();
    let tracks = |prefixes: &[&str], key: &[u8]| {
        let prefixes = prefixes.iter().map(|prefix| prefix.as_bytes().to_vec()).collect();
        NearCache::new(NearCacheOptions { prefixes, ..options(1 << 20, 100) }, now).tracks(key)
    };
    assert!(tracks(&[""], b"") && tracks(&[""], b"anything"));
    assert!(tracks(&["fca:", "b:"], b"b:1") && tracks(&["fca:", "b:"], b"fca:"));
    assert!(!tracks(&["fca:", "b:"], b"fca") && !tracks(&["fca:"], b"xfca:1"));
}

#[test]
fn it_is_of_the_server_that_it_was_opened_for_until_it_is_closed() {
    let (cache, now) = cache();
    let [this, other] = [1, 2].map(NonZeroU64::new);
    let relations = || [this, other, None].map(|server| cache.follows(server));
    let unknown = [Follows::Unknown; 3];
    assert_eq!(relations(), unknown);
    cache.open(now + Duration::from_secs(1), this);
    assert_eq!(relations(), [Follows::It, Follows::Another, Follows::Unknown]);
    cache.open(now + Duration::from_secs(1), other);
    assert_eq!(relations(), [Follows::Another, Follows::It, Follows::Unknown]);
    cache.open(now + Duration::from_secs(1), None);
    assert_eq!(relations(), unknown);
    cache.open(now + Duration::from_secs(1), this);
    cache.close();
    assert_eq!(relations(), unknown);
    cache.open(now + Duration::from_secs(1), this);
    cache.open_untracked();
    assert_eq!(relations(), unknown, "nobody tells of any server");
}

#[test]
fn a_lane_that_it_misses_takes_nothing_from_the_others() {
    let (cache, now) = cache();
    let key = b"fca:faq:0123456789abcdef";
    cache.open(now + Duration::from_secs(1), NonZeroU64::new(1));
    let answer = Answer::Value(b"$1\r\nx\r\n", Life::Endless);
    let read = stamp(&cache, key, now);
    assert_eq!(cache.answered(cache.hash(key), key, read, &answer), Kept::Kept);
    cache.miss();
    assert_eq!((cache.missed(), cache.distrusted()), (1, 0));
    assert!(value(&cache, key, now).is_some());
}
