//! How long an entry lives.
//!
//! Guarantees that every write has a life: at least one millisecond, at most the namespace's `ttl_max`, and never one
//! that Redis would refuse. Whole seconds are written with SETEX, all else with PSETEX, so that a write is one command
//! and atomic. Leaves to others: counting what was shortened, and whether the configuration makes sense.

use super::Expiry;
use super::parse::EXPIRY_MILLISECONDS_MAX;
use std::time::Duration;

/// What a namespace says of the life of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlBounds {
    /// For a call that says nothing (`ttl`).
    pub ttl: Duration,
    /// The longest life of any entry (`ttl_max`).
    pub ttl_max: Duration,
}

/// The command and its number, which is never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// `SETEX` with so many seconds.
    Setex(u64),
    /// `PSETEX` with so many milliseconds.
    Psetex(u64),
}

/// The life that an entry gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// How it is written.
    pub write: Write,
    /// Whether the call asked for a longer life than the namespace allows.
    pub capped: bool,
}

impl Lifetime {
    /// The life of an entry for which the call asked `expiry`.
    pub fn new(bounds: &TtlBounds, expiry: Option<Expiry>) -> Self {
        let max = milliseconds(bounds.ttl_max);
        let asked = match expiry {
            None => milliseconds(bounds.ttl),
            Some(Expiry::Seconds(seconds)) => seconds.saturating_mul(1000),
            Some(Expiry::Milliseconds(milliseconds)) => milliseconds,
        };
        let granted = asked.clamp(1, max);
        let write = if granted.is_multiple_of(1000) { Write::Setex(granted / 1000) } else { Write::Psetex(granted) };
        Self { write, capped: expiry.is_some() && asked > max }
    }
}

/// A duration in whole milliseconds that Redis takes; what is shorter than one counts as one.
fn milliseconds(duration: Duration) -> u64 {
    let max = EXPIRY_MILLISECONDS_MAX.unsigned_abs();
    u64::try_from(duration.as_millis()).unwrap_or(max).clamp(1, max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: TtlBounds = TtlBounds { ttl: Duration::from_secs(300), ttl_max: Duration::from_hours(24) };

    fn lifetime(bounds: &TtlBounds, expiry: Option<Expiry>) -> (Write, bool) {
        let Lifetime { write, capped } = Lifetime::new(bounds, expiry);
        (write, capped)
    }

    #[test]
    fn a_life_is_what_the_call_asks_for_up_to_the_namespace_s_maximum() {
        assert_eq!(lifetime(&BOUNDS, None), (Write::Setex(300), false));
        assert_eq!(lifetime(&BOUNDS, Some(Expiry::Seconds(1))), (Write::Setex(1), false));
        assert_eq!(lifetime(&BOUNDS, Some(Expiry::Milliseconds(2000))), (Write::Setex(2), false));
        assert_eq!(lifetime(&BOUNDS, Some(Expiry::Milliseconds(1999))), (Write::Psetex(1999), false));
        assert_eq!(lifetime(&BOUNDS, Some(Expiry::Milliseconds(1))), (Write::Psetex(1), false));
        assert_eq!(lifetime(&BOUNDS, Some(Expiry::Seconds(86_400))), (Write::Setex(86_400), false));
        assert_eq!(lifetime(&BOUNDS, Some(Expiry::Seconds(86_401))), (Write::Setex(86_400), true));
        assert_eq!(lifetime(&BOUNDS, Some(Expiry::Milliseconds(86_400_001))), (Write::Setex(86_400), true));
        assert_eq!(lifetime(&BOUNDS, Some(Expiry::Seconds(u64::MAX))), (Write::Setex(86_400), true));
    }

    #[test]
    fn odd_bounds_give_a_life_that_redis_takes() {
        let short = TtlBounds { ttl: Duration::from_micros(5), ttl_max: Duration::ZERO };
        assert_eq!(lifetime(&short, None), (Write::Psetex(1), false));
        assert_eq!(lifetime(&short, Some(Expiry::Seconds(1))), (Write::Psetex(1), true));
        let fine = TtlBounds { ttl: Duration::from_millis(1500), ttl_max: Duration::from_millis(2500) };
        assert_eq!(lifetime(&fine, None), (Write::Psetex(1500), false));
        assert_eq!(lifetime(&fine, Some(Expiry::Seconds(3))), (Write::Psetex(2500), true));
        let long = TtlBounds { ttl: Duration::MAX, ttl_max: Duration::MAX };
        assert_eq!(lifetime(&long, None), (Write::Psetex(EXPIRY_MILLISECONDS_MAX.unsigned_abs()), false));
        let default_above_max = TtlBounds { ttl: Duration::from_secs(10), ttl_max: Duration::from_secs(5) };
        assert_eq!(lifetime(&default_above_max, None), (Write::Setex(5), false));
    }

    proptest! {
        #[test]
        fn a_life_is_never_0_nor_above_the_maximum(
            ttl in 0..1_000_000_u64,
            ttl_max in 0..1_000_000_u64,
            asked in prop::option::of((1..u64::MAX, any::<bool>())),
        ) {
            let bounds = TtlBounds { ttl: Duration::from_millis(ttl), ttl_max: Duration::from_millis(ttl_max) };
            let expiry = asked.map(|(n, seconds)| if seconds { Expiry::Seconds(n) } else { Expiry::Milliseconds(n) });
            let written = match Lifetime::new(&bounds, expiry).write {
                Write::Setex(seconds) => seconds * 1000,
                Write::Psetex(milliseconds) => milliseconds,
            };
            prop_assert!(written >= 1 && written <= ttl_max.max(1));
        }
    }
}
