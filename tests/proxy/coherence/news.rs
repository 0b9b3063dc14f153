//! News of a key that is no value: that it is gone, or that it is no string any more.
//!
//! Somebody else changes the key while the link hears nothing; a client of the proxy is told so by a reply. From then on
//! nobody is served what was kept: to that end it makes no difference which command had the news.

use super::{Bench, LONG_SILENCE, key_of};
use crate::support::value::Value;

/// A question in its two spellings.
const QUESTION: &str = "how";
const OTHER_SPELLING: &str = "how?";

/// Has a value kept, changes it as `changes` say, has a client ask what `lines` say, and compares what everyone then reads
/// with what Redis holds. `@key` stands for the key.
#[track_caller]
fn is_news(changes: &[&str], lines: &[&str]) {
    let bench = Bench::start(LONG_SILENCE);
    let key = key_of(&bench.proxy, QUESTION);
    let mut readers = bench.readers();
    let mut direct = bench.redis.client();
    let mut faults = Vec::new();
    for line in lines {
        bench.keep(&key, "old");
        bench.hear_nothing();
        for change in changes {
            direct.say(&change.replace("@key", &key));
        }
        let mut client = bench.proxy.client();
        let replies: Vec<Value> = line.split(';').map(|command| client.say(&command.replace("@key", &key))).collect();
        let held = direct.command(["GET", &key]);
        for reader in &mut readers {
            let (seen, answer) = (reader.command(["GET", &key]), reader.command(["FCA.GET", "faq", QUESTION]));
            if seen.is_error() != held.is_error() || seen == Value::bulk("old") || answer == Value::bulk("old") {
                faults.push(format!("{seen:?} and {answer:?} behind {line}, which was answered {replies:?}"));
                break;
            }
        }
        bench.hear_again();
        direct.command(["FLUSHALL"]);
    }
    assert!(faults.is_empty(), "served although it was said to be gone: {faults:#?}");
}

#[test]
fn a_key_that_is_said_to_be_no_string_is_not_served_as_one() {
    let lists = ["DEL @key", "RPUSH @key a b c"];
    is_news(
        &lists,
        &[
            "WATCH none;GET @key;UNWATCH",
            "WATCH none;FCA.GET faq how;UNWATCH",
            "WATCH none;FCA.GET faq how?;UNWATCH",
            "APPEND @key x",
            "LLEN @key",
        ],
    );
    is_news(
        &lists,
        &[
            "BLPOP @key 1",
            "BRPOP none @key 1",
            "BLMPOP 1 1 @key LEFT",
            "BLMOVE @key none LEFT LEFT 1",
            "BRPOPLPUSH @key none 1",
            "MULTI;BLPOP @key 1;EXEC",
        ],
    );
    is_news(&["DEL @key", "RPUSH from a b"], &["BLMOVE from @key LEFT LEFT 1", "BRPOPLPUSH from @key 1"]);
}

#[test]
fn a_key_that_is_said_to_be_gone_is_not_served() {
    is_news(
        &["DEL @key"],
        &[
            "TTL @key",
            "PTTL @key",
            "EXPIRETIME @key",
            "PEXPIRETIME @key",
            "TOUCH none @key",
            "EXISTS @key",
            "MULTI;TTL @key;EXEC",
            "FCA.TTL faq how",
            "FCA.TTL faq how?",
            "FCA.PTTL faq how",
            "MULTI;FCA.TTL faq how;EXEC",
        ],
    );
}

#[test]
fn a_pipeline_that_hears_of_the_end_of_a_key_is_not_served_it_behind_that() {
    let bench = Bench::start(LONG_SILENCE);
    let key = key_of(&bench.proxy, QUESTION);
    let mut direct = bench.redis.client();
    for mut client in bench.readers() {
        for (asks, reads) in [
            (vec!["TTL", &key], vec!["GET", &key]),
            (vec!["TTL", &key], vec!["FCA.GET", "faq", QUESTION]),
            (vec!["FCA.TTL", "faq", QUESTION], vec!["FCA.GET", "faq", QUESTION]),
            (vec!["FCA.PTTL", "faq", OTHER_SPELLING], vec!["GET", &key]),
        ] {
            bench.keep(&key, "old");
            bench.hear_nothing();
            assert_eq!(direct.command(["DEL", &key]), Value::Integer(1));
            let replies = client.pipeline(&[asks.clone(), reads]);
            assert_eq!(replies, [Value::Integer(-2), Value::Nil], "{asks:?}");
            bench.hear_again();
        }
    }
}

#[test]
fn asking_for_what_is_left_of_a_life_drops_nothing() {
    let bench = Bench::start(LONG_SILENCE);
    let key = key_of(&bench.proxy, QUESTION);
    bench.keep(&key, "value");
    let gets = bench.gets();
    for mut client in bench.readers() {
        for line in ["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"] {
            assert!(client.command([line, &key]).integer() > 0);
        }
        assert!(client.command(["FCA.TTL", "faq", OTHER_SPELLING]).integer() > 0);
        assert_eq!(client.command(["GET", &key]), Value::bulk("value"));
    }
    assert_eq!(bench.gets(), gets);
}
