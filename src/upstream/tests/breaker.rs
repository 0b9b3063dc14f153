//! The breaker against a model, with time and randomness passed in.

use crate::clock;
use crate::upstream::{Backoff, Breaker};
use proptest::prelude::*;
use std::time::{Duration, Instant};

const BACKOFF: Backoff = Backoff { min: Duration::from_millis(50), max: Duration::from_secs(2) };

/// One thing that can happen to an upstream.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// A connection failed.
    Fail { random: u64 },
    /// The probe that is under way connected, where one is.
    Connect,
    /// A connection served a request.
    Serve,
    /// So much time passed.
    Pass(Duration),
    /// Time passed until the breaker asked to be called.
    PassUntilDue,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let random = prop_oneof![Just(0), Just(u64::MAX), any::<u64>()];
    let op = prop_oneof![
        4 => random.prop_map(|random| Op::Fail { random }),
        2 => Just(Op::Connect),
        1 => Just(Op::Serve),
        2 => (0u64..3000).prop_map(|ms| Op::Pass(Duration::from_millis(ms))),
        4 => Just(Op::PassUntilDue),
    ];
    proptest::collection::vec(op, 1..100)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    Closed,
    Open { until: Instant },
    Probing,
}

/// The wait that `failures` failures before this one make, without its jitter.
fn whole_wait(failures: u32) -> Duration {
    (0..failures).fold(BACKOFF.min, |wait, _| (wait * 2).min(BACKOFF.max))
}

proptest! {
    #[test]
    fn a_breaker_waits_longer_each_time_and_probes_once_at_a_time(ops in ops()) {
        let mut breaker = Breaker::new(BACKOFF);
        let (mut model, mut failures, mut now) = (Model::Closed, 0, clock::now());
        for op in ops {
            match op {
                Op::Fail { random } => {
                    let opened = breaker.on_failure(now, random);
                    prop_assert_eq!(opened, model == Model::Closed);
                    if !matches!(model, Model::Open { .. }) {
                        let Some(until) = breaker.poll_timeout() else {
                            return Err(TestCaseError::fail("nobody would look again"));
                        };
                        let whole = whole_wait(failures);
                        prop_assert!((whole / 2..=whole).contains(&(until - now)), "{:?} of {whole:?}", until - now);
                        failures += 1;
                        model = Model::Open { until };
                    }
                }
                Op::Connect => if model == Model::Probing {
                    prop_assert!(breaker.on_connected());
                    model = Model::Closed;
                }
                Op::Serve => {
                    breaker.on_served();
                    failures = 0;
                }
                Op::Pass(passed) => now += passed,
                Op::PassUntilDue => now = breaker.poll_timeout().unwrap_or(now).max(now),
            }
            let due = matches!(model, Model::Open { until } if until <= now);
            prop_assert_eq!(breaker.handle_timeout(now), due);
            if due {
                model = Model::Probing;
            }
            prop_assert!(!breaker.handle_timeout(now), "a second probe while one is under way");
            prop_assert_eq!(breaker.is_closed(), model == Model::Closed);
            let timeout = match model {
                Model::Open { until } => Some(until),
                Model::Closed | Model::Probing => None,
            };
            prop_assert_eq!(breaker.poll_timeout(), timeout);
        }
    }

    #[test]
    fn jitter_takes_off_at_most_half_and_never_adds(random in any::<u64>(), failures in 0u32..70) {
        let now = clock::now();
        let mut breaker = Breaker::new(BACKOFF);
        for _ in 0..failures {
            breaker.on_failure(now, random);
            breaker.handle_timeout(now + BACKOFF.max);
        }
        breaker.on_failure(now, random);
        let wait = breaker.poll_timeout().map(|until| until - now);
        let whole = whole_wait(failures);
        prop_assert!(wait.is_some_and(|wait| (whole / 2..=whole).contains(&wait)), "{wait:?} of {whole:?}");
    }
}

#[test]
fn a_server_that_only_accepts_does_not_shorten_the_wait() {
    let mut now = clock::now();
    let mut breaker = Breaker::new(BACKOFF);
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert!(breaker.on_failure(now, u64::MAX));
        let until = breaker.poll_timeout().unwrap();
        waits.push((until - now).as_millis());
        now = until;
        assert!(breaker.handle_timeout(now));
        assert!(breaker.on_connected());
    }
    assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
    breaker.on_served();
    breaker.on_failure(now, u64::MAX);
    assert_eq!(breaker.poll_timeout(), Some(now + BACKOFF.min));
}

#[test]
fn a_failure_of_another_connection_does_not_put_the_probe_off() {
    let now = clock::now();
    let mut breaker = Breaker::new(BACKOFF);
    assert!(breaker.on_failure(now, 0));
    let until = breaker.poll_timeout();
    assert_eq!(until, Some(now + BACKOFF.min / 2));
    assert!(!breaker.on_failure(now + BACKOFF.min / 4, u64::MAX));
    assert_eq!(breaker.poll_timeout(), until);
}
