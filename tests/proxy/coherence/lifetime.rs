//! Nothing is served past the end of its key in Redis.
//!
//! Redis says when a key ends (PEXPIRETIME) on a clock that is compared with ours; a reply that was asked for after that
//! is a fault if it holds the value. Counted from when the question was asked, so a slow machine excuses nothing but
//! the proxy's own clock.

use super::{Bench, LONG_SILENCE, hits, key_of};
use crate::support::client::Client;
use crate::support::random::Random;
use crate::support::value::Value;
use crate::support::wait::{MachineStalls, SOON, wait_until};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far two clocks of one machine may be apart.
const CLOCKS_APART: Duration = Duration::from_millis(10);
/// What the issue allows.
const ALLOWED: Duration = Duration::from_millis(10);
/// How long it may take to hear of a life that somebody else has cut short, on a machine with much else to do; it was a
/// hundred seconds before.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
}

/// Redis' clock.
fn time_of(direct: &mut Client) -> Duration {
    let time = direct.command(["TIME"]);
    let number = |at: usize| time.items()[at].text().parse().expect("a number");
    Duration::from_secs(number(0)) + Duration::from_micros(number(1))
}

/// Fails unless Redis' clock is ours.
#[track_caller]
fn compare_clocks(direct: &mut Client) {
    wait_until(SOON, "the clocks agree", || {
        let before = now();
        let theirs = time_of(direct);
        let after = now();
        before.saturating_sub(theirs) < CLOCKS_APART && theirs.saturating_sub(after) < CLOCKS_APART
    });
}

/// How a value gets its end.
const WAYS: &[&str] = &["SET PX", "PSETEX", "FCA.SET PX", "PEXPIRE", "PEXPIREAT", "GETEX PX", "EVAL"];

#[test]
fn nothing_is_served_past_its_end() {
    const THREADS: u64 = 4;
    const KEYS: usize = 12;
    let bench = Bench::start("");
    compare_clocks(&mut bench.redis.client());
    let near = hits(&bench.proxy);
    let stalls = MachineStalls::watch();
    let late: Vec<String> = thread::scope(|scope| {
        let (bench, stalls) = (&bench, &stalls);
        let threads: Vec<_> =
            (0..THREADS).map(|seed| scope.spawn(move || live_and_let_die(bench, stalls, seed, KEYS))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    compare_clocks(&mut bench.redis.client());
    let near = hits(&bench.proxy) - near;
    println!("{} keys, {near} near hits, worst stall {:?}", THREADS as usize * KEYS, stalls.worst());
    assert!(late.is_empty(), "{late:#?}");
    assert!(near >= THREADS as f64 * KEYS as f64, "only {near} near hits");
}

/// Writes short-lived values, and reads each of them until it is gone; returns what was served too late.
fn live_and_let_die(bench: &Bench, stalls: &MachineStalls, seed: u64, keys: usize) -> Vec<String> {
    let mut random = Random::seeded(seed);
    let mut direct = bench.redis.client();
    let mut readers = bench.readers();
    let mut writer = bench.proxy.client();
    let mut late = Vec::new();
    for number in 0..keys {
        let question = format!("question {seed} {number}");
        let key = key_of(&bench.proxy, &question);
        let span = 60 + random.below(150);
        let (px, at) = (span.to_string(), (now().as_millis() as usize + span).to_string());
        let way = WAYS[(number + seed as usize) % WAYS.len()];
        if !way.contains("SET ") && way != "PSETEX" {
            // Kept with a long life first, which is then cut short.
            assert_eq!(writer.command(["SET", &key, "value", "EX", "100"]), Value::ok());
            for reader in &mut readers {
                assert_eq!(reader.command(["GET", &key]), Value::bulk("value"));
            }
        }
        // By one of the proxy's clients, or by somebody else.
        let is_ours = random.below(2) == 0 || way.starts_with("FCA");
        let client = if is_ours { &mut writer } else { &mut direct };
        let reply = match way {
            "SET PX" => client.command(["SET", &key, "value", "PX", &px]),
            "PSETEX" => client.command(["PSETEX", &key, &px, "value"]),
            "FCA.SET PX" => client.command(["FCA.SET", "faq", &question, "value", "PX", &px]),
            "PEXPIRE" => client.command(["PEXPIRE", &key, &px]),
            "PEXPIREAT" => client.command(["PEXPIREAT", &key, &at]),
            "GETEX PX" => client.command(["GETEX", &key, "PX", &px]),
            _ => client.command(["EVAL", "return redis.call('PEXPIRE', ARGV[1], ARGV[2])", "0", &key, &px]),
        };
        assert!(!reply.is_error() && !reply.is_nil(), "{way}: {reply:?}");
        let Ok(end) = u64::try_from(direct.command(["PEXPIRETIME", &key]).integer()) else { continue };
        let end = Duration::from_millis(end);
        let mut gone = 0;
        while gone < readers.len() {
            let reader = random.below(readers.len());
            let asked = now();
            let reply = match random.below(2) {
                0 => readers[reader].command(["GET", &key]),
                _ => readers[reader].command(["FCA.GET", "faq", &question]),
            };
            if reply.is_nil() {
                gone += 1;
                continue;
            }
            assert_eq!(reply, Value::bulk("value"));
            // A change by somebody else is heard of within one push: until then the old life is served, if it was kept.
            let over = asked.saturating_sub(end);
            let allowed = if is_ours { ALLOWED } else { HEARD_WITHIN };
            if over > allowed + 2 * stalls.worst() {
                late.push(format!("{way}: {over:?} past its end"));
            }
        }
    }
    late
}

#[test]
fn a_life_cut_short_by_a_client_of_ours_needs_no_push() {
    let bench = Bench::start(LONG_SILENCE);
    let mut direct = bench.redis.client();
    let mut readers = bench.readers();
    for line in ["PEXPIRE fca:key 60", "SET fca:key new PX 60", "GETEX fca:key PX 60"] {
        bench.keep("fca:key", "old");
        bench.hear_nothing();
        let reply = bench.proxy.client().say(line);
        assert!(!reply.is_error() && !reply.is_nil(), "{line}: {reply:?}");
        // Kept again, with what is left of its life.
        for reader in &mut readers {
            reader.command(["GET", "fca:key"]);
        }
        wait_until(SOON, "it has ended in Redis", || direct.command(["GET", "fca:key"]).is_nil());
        for reader in &mut readers {
            wait_until(SOON, &format!("it has ended behind {line}"), || reader.command(["GET", "fca:key"]).is_nil());
        }
        bench.hear_again();
    }
}

#[test]
fn nothing_is_kept_longer_than_the_configuration_says() {
    let bench = Bench::start("ttl_max = \"200ms\"\nlink_timeout = \"60s\"");
    bench.keep("fca:key", "old");
    bench.hear_nothing();
    assert_eq!(bench.redis.client().command(["SET", "fca:key", "new"]), Value::ok());
    for mut reader in bench.readers() {
        wait_until(SOON, "Redis is asked again", || reader.command(["GET", "fca:key"]) == Value::bulk("new"));
    }
}
