//! Several threads at one store: none sees what another was told to be over before it looked.

use super::*;
use std::sync::atomic::AtomicUsize;
use std::thread;

/// Threads that read and write, and what each does; more where the link's thread was not let run meanwhile, and so kept
/// the store closed.
const THREADS: usize = 4;
const TURNS: u64 = 40_000;
const TURNS_MAX: u64 = 1000 * TURNS;

/// Of so many values one is read slowly.
const YIELDS_EVERY: u64 = 16;

/// Keys of which all threads want the same few.
const KEYS: [&[u8]; 3] = [b"fca:a", b"fca:b", b"fca:c"];

/// An upstream whose keys hold the number of their last write.
#[derive(Default)]
struct Upstream {
    values: [AtomicU64; KEYS.len()],
    /// What a reader who begins now has to be given at least.
    floors: [AtomicU64; KEYS.len()],
    hits: AtomicU64,
    at_work: AtomicUsize,
}

impl Upstream {
    fn read(&self, cache: &NearCache, key: usize, now: Instant) {
        let floor = self.floors[key].load(Ordering::SeqCst);
        let (hash, mut out) = (cache.hash(KEYS[key]), Vec::new());
        let value = match cache.look_up(hash, KEYS[key], now, &mut out) {
            LookUp::Hit => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                u64::from_le_bytes(out.try_into().expect("eight bytes, as they were kept"))
            }
            LookUp::Miss(stamp) => {
                let value = self.values[key].load(Ordering::SeqCst);
                // Somebody else's turn, so that answers come late, too; not every time, as others have long turns.
                if value.is_multiple_of(YIELDS_EVERY) {
                    thread::yield_now();
                }
                cache.answered(hash, KEYS[key], stamp, &Answer::Value(&value.to_le_bytes(), Life::Endless));
                value
            }
        };
        assert!(value >= floor, "{value} of key {key} was given, and {floor} was known");
        self.floors[key].fetch_max(value, Ordering::SeqCst);
    }

    fn write(&self, cache: &NearCache, key: usize, written: &Written) {
        let value = self.values[key].fetch_add(1, Ordering::SeqCst) + 1;
        cache.written(written);
        self.floors[key].fetch_max(value, Ordering::SeqCst);
    }

    fn work(&self, cache: &NearCache, thread: u64, now: Instant) {
        let _done = Done(&self.at_work);
        // A linear congruential generator, its upper bits.
        let mut random = thread;
        let is_enough = |turn| turn >= TURNS && self.hits.load(Ordering::Relaxed) > 0;
        for _ in (0..TURNS_MAX).take_while(|turn| !is_enough(*turn)) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (random >> 33) as usize;
            let key = number % KEYS.len();
            match number / KEYS.len() % 256 {
                0..8 => self.write(cache, key, &Written::One(cache.hash(KEYS[key]))),
                8 => self.write(cache, key, &Written::Unknown),
                // Somebody else's write.
                9..12 => drop(self.values[key].fetch_add(1, Ordering::SeqCst)),
                _ => self.read(cache, key, now),
            }
        }
    }

    /// The link: of every change before a PING is told before its PONG.
    fn link(&self, cache: &NearCache, now: Instant) {
        let mut told = [0; KEYS.len()];
        let mut turns = 0_u64;
        while self.at_work.load(Ordering::SeqCst) > 0 {
            let fence = cache.fence_wanted();
            for ((told, value), key) in told.iter_mut().zip(&self.values).zip(KEYS) {
                let value = value.load(Ordering::SeqCst);
                if std::mem::replace(told, value) != value {
                    cache.invalidate(key);
                }
            }
            cache.fence_reached(fence);
            turns += 1;
            if turns.is_multiple_of(1000) {
                cache.close();
                thread::yield_now();
                cache.open(now + Duration::from_secs(60), None);
            }
        }
    }
}

/// A thread is done, or has panicked.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn no_thread_is_given_what_was_over_before_it_looked() {
    let (cache, now) = cache();
    cache.open(now + Duration::from_secs(60), None);
    let upstream = Upstream { at_work: AtomicUsize::new(THREADS), ..Upstream::default() };
    thread::scope(|scope| {
        for thread in 0..THREADS as u64 {
            let (cache, upstream) = (&cache, &upstream);
            scope.spawn(move || upstream.work(cache, thread, now));
        }
        upstream.link(&cache, now);
    });
    let hits = upstream.hits.load(Ordering::Relaxed);
    // How many, says how often the link's thread was let run.
    assert!(hits > 0, "no hits");
}
