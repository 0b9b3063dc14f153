//! The two clocks, read here and nowhere else.
//!
//! Machines take the time as an argument; tasks read it once per turn and pass it on. `Instant` measures budgets, the
//! wall clock dates what the embedded store keeps, as Redis dates its keys.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The steady clock: budgets, deadlines, latencies.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the steady clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds of wall-clock time since 1970, 0 for a clock that stands before it.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
