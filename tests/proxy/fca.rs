//! The FCA commands, on a real Redis and on the embedded store: each claim holds on both.
//!
//! On Redis the keys and values are also read directly, as another program on the same Redis would, and compared with
//! what CPython derives. What is refused, and in which words, is `hostile`'s.

use crate::support::client::{Client, encode};
use crate::support::proxy::{Patience, Proxy, ProxyOptions};
use crate::support::redis::Redis;
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A proxy on one kind of store.
struct Bench {
    /// None: the embedded store.
    redis: Option<Redis>,
    proxy: Proxy,
}

/// The kinds of store.
#[derive(Clone, Copy)]
enum Store {
    Redis,
    Embedded,
}

impl Bench {
    fn on(store: Store) -> Self {
        Self::with_config(store, "")
    }

    fn with_config(store: Store, config: &str) -> Self {
        let redis = match store {
            Store::Redis => Some(Redis::start()),
            Store::Embedded => None,
        };
        let upstream = redis.as_ref().map(Redis::url);
        let proxy = Proxy::start(ProxyOptions {
            upstream,
            config: config.into(),
            patience: Patience::Long,
            ..ProxyOptions::default()
        });
        Self { redis, proxy }
    }

    /// A connection that sees the store's keys as they are.
    fn direct(&self) -> Client {
        self.redis.as_ref().map_or_else(|| self.proxy.client(), Redis::client)
    }
}

/// Makes two tests of each claim.
macro_rules! on_both_stores {
    ($($claim:ident)+) => {
        mod on_redis {
            $(#[test] fn $claim() { super::$claim(super::Store::Redis); })+
        }
        mod on_the_embedded_store {
            $(#[test] fn $claim() { super::$claim(super::Store::Embedded); })+
        }
    };
}

on_both_stores! {
    every_spelling_of_a_question_is_one_entry
    keys_are_those_of_python_and_hold_the_bytes_of_the_value
    params_in_any_order_are_one_entry
    a_question_mark_makes_no_difference_and_at_most_one_spelling_is_stored
    question_marks_are_distinct_where_the_namespace_says_so
    every_entry_has_a_ttl_within_its_bounds
    entries_end_when_their_time_is_up
    values_of_any_bytes_and_size_come_back_as_they_went
    mget_and_mset_answer_in_order
    del_counts_entries_and_removes_both_spellings
    ttl_and_key_touch_nothing
    names_and_options_are_taken_in_any_case_and_order
    the_family_works_inline_in_pipelines_and_in_resp3
    flush_removes_one_namespace_and_nothing_else
    flush_takes_a_glob_within_the_namespace
    flush_takes_special_characters_of_the_prefix_literally
    two_hundred_thousand_keys_are_flushed_and_nobody_waits
    namespaces_can_be_disabled_limited_and_unknown
    a_key_secret_makes_keys_that_cannot_be_guessed
    available_help_and_stats_answer
    redis_cli_and_libraries_find_the_family_in_command
    gets_and_sets_are_counted_by_namespace
}

fn every_spelling_of_a_question_is_one_entry(store: Store) {
    let bench = Bench::on(store);
    let (mut writer, mut reader) = (bench.proxy.client(), bench.proxy.client());
    assert_eq!(reader.command(["FCA.GET", "faq", "How do I open an account?"]), Value::Nil);
    assert_eq!(writer.command(["FCA.SET", "faq", "How do I open an account?", "Come in."]), Value::ok());
    for spelling in [
        "How do I open an account?",
        "how do i open an account?",
        "  HOW  do\tI open\r\nan account?  ",
        "how\u{a0}do\u{2003}i\u{1c}open an\u{3000}account?",
        "how do i open an account",
    ] {
        assert_eq!(reader.command(["FCA.GET", "faq", spelling]), Value::bulk("Come in."), "{spelling:?}");
    }
    assert_eq!(reader.command(["FCA.GET", "other", "how do i open an account?"]), Value::Nil, "another namespace");
    assert_eq!(reader.command(["FCA.GET", "faq", "how do i close an account?"]), Value::Nil, "another question");
    assert_eq!(bench.direct().command(["DBSIZE"]), Value::Integer(1));
}

fn keys_are_those_of_python_and_hold_the_bytes_of_the_value(store: Store) {
    let bench = Bench::on(store);
    let (mut client, mut direct) = (bench.proxy.client(), bench.direct());
    // f"fca:faq:{hashlib.sha256(' '.join(query.lower().split()).encode()).hexdigest()[:16]}"
    let keys = [
        ("How do I open an account?", "fca:faq:9e130e2d85456537"),
        ("  how   DO i\topen\nan ACCOUNT? ", "fca:faq:9e130e2d85456537"),
        ("Каков курс?", "fca:faq:92e91c096a49ccd4"),
        ("ΟΔΥΣΣΕΥΣ", "fca:faq:3c70e8e70fb6820b"),
        ("İstanbul", "fca:faq:4a4df120f7d1f3c2"),
        ("a\u{1c}b", "fca:faq:c8687a08aa5d6ed2"),
        ("", "fca:faq:e3b0c44298fc1c14"),
        ("???", "fca:faq:a03b221c6c6eae71"),
        ("Straße", "fca:faq:787f4770613d3824"),
    ];
    for (query, key) in keys {
        assert_eq!(client.command(["FCA.KEY", "faq", query]), Value::bulk(key), "{query:?}");
        assert_eq!(client.command(["FCA.SET", "faq", query, "answer"]), Value::ok(), "{query:?}");
        assert_eq!(direct.command(["GET", key]), Value::bulk("answer"), "{query:?}");
        assert_eq!(direct.command(["SETEX", key, "100", "from elsewhere"]), Value::ok());
        wait_until(SOON, "what another program wrote is read", || {
            client.command(["FCA.GET", "faq", query]) == Value::bulk("from elsewhere")
        });
        assert_eq!(direct.command(["DEL", key]), Value::Integer(1));
    }
}

fn params_in_any_order_are_one_entry(store: Store) {
    let bench = Bench::on(store);
    let (mut client, mut direct) = (bench.proxy.client(), bench.direct());
    assert_eq!(client.command(["FCA.SET", "faq", r#"{"a":1,"b":2}"#, "v", "PARAMS"]), Value::ok());
    for spelling in
        [r#"{"b":2,"a":1}"#, " { \"b\" : 2 ,\n\"a\" : 1 } ", r#"{"a":7,"b":2,"a":1}"#, r#"{"\u0061":1,"b":2}"#]
    {
        assert_eq!(client.command(["FCA.GET", "faq", spelling, "PARAMS"]), Value::bulk("v"), "{spelling}");
    }
    for other in [r#"{"a":1,"b":2.0}"#, r#"{"a":1,"b":3}"#, r#"[1,2]"#] {
        assert_eq!(client.command(["FCA.GET", "faq", other, "PARAMS"]), Value::Nil, "{other}");
    }
    assert_eq!(client.command(["FCA.GET", "faq", r#"{"a":1,"b":2}"#]), Value::Nil, "as a question it is another");
    assert_eq!(direct.command(["GET", "fca:faq:d8497d9d82770a70"]), Value::bulk("v"));
    for (params, key) in [
        (r#"{"b":2,"a":1.0}"#, "fca:faq:3feb810a05b094f9"),
        (r#"[1e16, "é", {"z":[],"a":null}]"#, "fca:faq:59bba9c450ddf38d"),
        (r#""plain""#, "fca:faq:945603a8f587786b"),
    ] {
        assert_eq!(client.command(["FCA.KEY", "faq", params, "PARAMS"]), Value::bulk(key), "{params}");
    }
}

fn a_question_mark_makes_no_difference_and_at_most_one_spelling_is_stored(store: Store) {
    let bench = Bench::on(store);
    let (mut client, mut direct) = (bench.proxy.client(), bench.direct());
    let spellings = ["what is it", "What is it?", "WHAT  is it?", "what is it"];
    for (version, spelling) in spellings.iter().enumerate() {
        let version = version.to_string();
        assert_eq!(client.command(["FCA.SET", "faq", spelling, &version]), Value::ok());
        assert_eq!(client.command(["FCA.GET", "faq", "what is it"]), Value::bulk(&version), "{spelling}");
        assert_eq!(client.command(["FCA.GET", "faq", "what is it?"]), Value::bulk(&version), "{spelling}");
    }
    assert_eq!(direct.command(["DBSIZE"]), Value::Integer(1));
    // The other spelling of one with several marks is the one without; "it ??" and "it?" are two entries.
    assert_eq!(client.command(["FCA.GET", "faq", "what is it ??"]), Value::bulk("3"));
    assert_eq!(client.command(["FCA.DEL", "faq", "what is it?"]), Value::Integer(1));
    assert_eq!(client.command(["FCA.GET", "faq", "what is it"]), Value::Nil);
    // An empty twin is none.
    assert_eq!(client.command(["FCA.SET", "faq", "", "nothing"]), Value::ok());
    assert_eq!(client.command(["FCA.GET", "faq", "?"]), Value::Nil);
}

fn question_marks_are_distinct_where_the_namespace_says_so(store: Store) {
    let bench = Bench::with_config(store, "[namespaces.exact]\nquestion_mark = \"distinct\"\n");
    let mut client = bench.proxy.client();
    assert_eq!(client.command(["FCA.SET", "exact", "open?", "asked"]), Value::ok());
    assert_eq!(client.command(["FCA.GET", "exact", "open"]), Value::Nil);
    assert_eq!(client.command(["FCA.SET", "exact", "open", "told"]), Value::ok());
    assert_eq!(client.command(["FCA.GET", "exact", "open?"]), Value::bulk("asked"));
    assert_eq!(client.command(["FCA.DEL", "exact", "open?"]), Value::Integer(1));
    assert_eq!(client.command(["FCA.GET", "exact", "open"]), Value::bulk("told"));
}

fn every_entry_has_a_ttl_within_its_bounds(store: Store) {
    let config = "[namespaces.short]\nttl = \"60s\"\nttl_max = \"2m\"\n";
    let bench = Bench::with_config(store, config);
    let (mut client, mut direct) = (bench.proxy.client(), bench.direct());
    for (words, milliseconds) in [
        (vec!["FCA.SET", "faq", "a", "v"], 300_000),
        (vec!["FCA.SET", "faq", "b", "v", "EX", "10"], 10_000),
        (vec!["FCA.SET", "faq", "c", "v", "PX", "12345"], 12_345),
        (vec!["FCA.SET", "faq", "d", "v", "EX", "999999999"], 86_400_000),
        (vec!["FCA.SET", "short", "a", "v"], 60_000),
        (vec!["FCA.SET", "short", "b", "v", "EX", "121"], 120_000),
        (vec!["FCA.SET", "short", "c", "v", "PX", "1000000000000"], 120_000),
        (vec!["FCA.SET", "faq", "{}", "v", "EX", "20", "PARAMS"], 20_000),
    ] {
        assert_eq!(client.command(&words), Value::ok(), "{words:?}");
        let mut question = vec!["FCA.KEY", words[1], words[2]];
        question.extend(words.last().filter(|word| **word == "PARAMS"));
        let key = client.command(&question);
        let left = direct.command(["PTTL", key.text()]).integer();
        assert!((milliseconds - 5_000..=milliseconds).contains(&left), "{words:?} left {left} ms");
        question[0] = "FCA.PTTL";
        let left = client.command(&question).integer();
        assert!((milliseconds - 5_000..=milliseconds).contains(&left), "{words:?} left {left} ms");
    }
    assert_eq!(client.command(["FCA.MSET", "short", "x", "1", "y", "2"]), Value::Integer(2));
    let keys = direct.command(["KEYS", "*"]);
    assert!(keys.items().len() >= 10);
    for key in keys.items() {
        assert!(direct.command(["TTL", key.text()]).integer() > 0, "{key:?} would live for ever");
    }
}

fn entries_end_when_their_time_is_up(store: Store) {
    let bench = Bench::on(store);
    let mut client = bench.proxy.client();
    let (mut begun, mut reads) = (Instant::now(), 0);
    // Again, where the machine takes all of its time.
    wait_until(SOON, "it is read while it lives", || {
        begun = Instant::now();
        assert_eq!(client.command(["FCA.SET", "faq", "brief", "v", "PX", "300"]), Value::ok());
        wait_until(SOON, "it ends", || {
            let read = client.command(["FCA.GET", "faq", "brief"]);
            assert!(read.is_nil() || read == Value::bulk("v"));
            reads += u32::from(!read.is_nil());
            read.is_nil()
        });
        assert!(begun.elapsed() >= Duration::from_millis(290), "not before its time: {:?}", begun.elapsed());
        reads > 0
    });
    assert_eq!(client.command(["FCA.TTL", "faq", "brief"]), Value::Integer(-2));
}

fn values_of_any_bytes_and_size_come_back_as_they_went(store: Store) {
    let bench = Bench::on(store);
    let (mut client, mut direct) = (bench.proxy.client(), bench.direct());
    for len in [0_u32, 1, 256, 20 << 10, 1 << 20, 5 << 20] {
        let value: Vec<u8> = (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let query = len.to_string();
        assert_eq!(client.command([b"FCA.SET".as_slice(), b"faq", query.as_bytes(), &value]), Value::ok());
        assert!(client.command(["FCA.GET", "faq", &query]) == Value::bulk(&value), "{len} bytes");
        let key = client.command(["FCA.KEY", "faq", &query]);
        assert!(direct.command(["GET", key.text()]) == Value::bulk(&value), "{len} bytes, read directly");
    }
}

fn mget_and_mset_answer_in_order(store: Store) {
    let bench = Bench::on(store);
    let mut client = bench.proxy.client();
    assert_eq!(client.command(["FCA.MSET", "faq", "One", "1", "two?", "2", "three", "3"]), Value::Integer(3));
    let read = client.command(["FCA.MGET", "faq", "three?", "none", "two", "ONE", "two"]);
    let right = [Value::bulk("3"), Value::Nil, Value::bulk("2"), Value::bulk("1"), Value::bulk("2")];
    assert_eq!(read, Value::Array(right.into()));
    assert_eq!(client.command(["FCA.GET", "faq", "one"]), Value::bulk("1"));

    let many: Vec<String> = (0..500).flat_map(|at| [format!("q{at}"), format!("v{at}")]).collect();
    let words = |name: &str| vec![name.to_owned(), "faq".to_owned()];
    assert_eq!(client.command([words("FCA.MSET"), many.clone()].concat()), Value::Integer(500));
    let queries: Vec<String> = many.iter().step_by(2).cloned().collect();
    let values = many.iter().skip(1).step_by(2).map(Value::bulk).collect();
    assert_eq!(client.command([words("FCA.MGET"), queries].concat()), Value::Array(values));
}

fn del_counts_entries_and_removes_both_spellings(store: Store) {
    let bench = Bench::on(store);
    let mut client = bench.proxy.client();
    assert_eq!(client.command(["FCA.MSET", "faq", "a?", "1", "b", "2", "c", "3"]), Value::Integer(3));
    assert_eq!(client.command(["FCA.SET", "faq", "{}", "4", "PARAMS"]), Value::ok());
    assert_eq!(client.command(["FCA.DEL", "faq", "a", "B?", "none"]), Value::Integer(2));
    assert_eq!(
        client.command(["FCA.MGET", "faq", "a", "a?", "b", "c"]).items()[..3],
        [Value::Nil, Value::Nil, Value::Nil]
    );
    assert_eq!(client.command(["FCA.DEL", "faq", " { } ", "[]", "PARAMS"]), Value::Integer(1));
    assert_eq!(client.command(["FCA.GET", "faq", "c"]), Value::bulk("3"));
}

fn ttl_and_key_touch_nothing(store: Store) {
    let bench = Bench::on(store);
    let (mut client, mut direct) = (bench.proxy.client(), bench.direct());
    assert_eq!(client.command(["FCA.TTL", "faq", "none"]), Value::Integer(-2));
    assert_eq!(client.command(["FCA.PTTL", "faq", "{}", "PARAMS"]), Value::Integer(-2));
    assert_eq!(client.command(["FCA.KEY", "faq", "none"]).text().len(), "fca:faq:".len() + 16);
    assert_eq!(direct.command(["DBSIZE"]), Value::Integer(0));
    assert_eq!(client.command(["FCA.SET", "faq", "there?", "v", "EX", "50"]), Value::ok());
    for spelling in ["there?", "there"] {
        let left = client.command(["FCA.TTL", "faq", spelling]).integer();
        assert!((45..=50).contains(&left), "{spelling}: {left}");
    }
}

fn names_and_options_are_taken_in_any_case_and_order(store: Store) {
    let bench = Bench::on(store);
    let mut client = bench.proxy.client();
    assert_eq!(client.command(["fca.set", "faq", "{}", "v", "params", "ex", "50"]), Value::ok());
    assert_eq!(client.command(["Fca.Get", "faq", "{ }", "Params"]), Value::bulk("v"));
    assert_eq!(client.command(["fca.SET", "faq", "{}", "w", "Px", "50000", "PARAMS"]), Value::ok());
    assert!((45..=50).contains(&client.command(["FCA.ttl", "faq", "{}", "PARAMS"]).integer()));
    assert_eq!(client.command(["FCA.SET", "faq", "both", "v", "EX", "5", "PX", "5"]), Value::error("ERR syntax error"));
    assert_eq!(client.command(["FCA.GET", "FAQ", "{}", "PARAMS"]), Value::Nil, "namespaces are case-sensitive");
}

fn the_family_works_inline_in_pipelines_and_in_resp3(store: Store) {
    let bench = Bench::on(store);
    let mut client = bench.proxy.client();
    client.send_raw("FCA.SET faq \"how do i\" 'it is easy'\r\nfca.get faq \"How do I\"\r\nFCA.GET faq none\r\n");
    assert_eq!(client.raw_reply(), b"+OK\r\n");
    assert_eq!(client.raw_reply(), b"$10\r\nit is easy\r\n");
    assert_eq!(client.raw_reply(), b"$-1\r\n");

    let commands: Vec<Vec<String>> = (0..200)
        .flat_map(|at| {
            let (query, value) = (format!("question {at}"), format!("answer {at}"));
            [vec!["FCA.SET".into(), "faq".into(), query.clone(), value], vec!["FCA.GET".into(), "faq".into(), query]]
        })
        .collect();
    for (at, pair) in client.pipeline(&commands).chunks(2).enumerate() {
        assert_eq!(*pair, [Value::ok(), Value::bulk(format!("answer {at}"))]);
    }

    let mut client = bench.proxy.client_resp3();
    client.send(["FCA.GET", "faq", "none"]);
    assert_eq!(client.raw_reply(), b"_\r\n");
    client.send(["FCA.MGET", "faq", "none", "how do i"]);
    assert_eq!(client.raw_reply(), b"*2\r\n_\r\n$10\r\nit is easy\r\n");
    client.send(["FCA.SET", "faq", "q", "v"]);
    assert_eq!(client.raw_reply(), b"+OK\r\n");
    assert!(matches!(client.command(["FCA.STATS"]), Value::Map(_)));
}

fn flush_removes_one_namespace_and_nothing_else(store: Store) {
    let bench = Bench::on(store);
    let (mut client, mut direct) = (bench.proxy.client(), bench.direct());
    for namespace in ["faq", "faq.b", "faqs", "Faq", "f-q"] {
        for at in 0..30 {
            assert_eq!(client.command(["FCA.SET", namespace, &format!("q{at}"), "v"]), Value::ok());
        }
    }
    assert_eq!(direct.command(["SET", "fca:other", "v"]), Value::ok());
    assert_eq!(direct.command(["SET", "faq", "v"]), Value::ok());
    assert_eq!(client.command(["FCA.FLUSH", "faq"]), Value::Integer(30));
    assert_eq!(client.command(["FCA.GET", "faq", "q0"]), Value::Nil);
    assert_eq!(client.command(["FCA.FLUSH", "faq"]), Value::Integer(0));
    assert_eq!(direct.command(["DBSIZE"]), Value::Integer(4 * 30 + 2));
}

fn flush_takes_a_glob_within_the_namespace(store: Store) {
    let bench = Bench::on(store);
    let (mut client, mut direct) = (bench.proxy.client(), bench.direct());
    let mut digests: Vec<String> = Vec::new();
    for at in 0..200 {
        let query = format!("q{at}");
        assert_eq!(client.command(["FCA.SET", "faq", &query, "v"]), Value::ok());
        assert_eq!(client.command(["FCA.SET", "other", &query, "v"]), Value::ok());
        digests.push(client.command(["FCA.KEY", "faq", &query]).text()["fca:faq:".len()..].to_owned());
    }
    let first = digests.iter().filter(|digest| digest.starts_with('a')).count();
    assert!(first > 0);
    assert_eq!(client.command(["FCA.FLUSH", "faq", "MATCH", "a*"]), Value::Integer(first as i64));
    let second = digests.iter().filter(|digest| digest.starts_with(['b', 'c'])).count();
    assert_eq!(client.command(["FCA.FLUSH", "faq", "match", "[bc]*"]), Value::Integer(second as i64));
    assert_eq!(client.command(["FCA.FLUSH", "faq", "MATCH", "x*"]), Value::Integer(0));
    assert_eq!(direct.command(["DBSIZE"]), Value::Integer((400 - first - second) as i64));
}

fn flush_takes_special_characters_of_the_prefix_literally(store: Store) {
    let bench = Bench::with_config(store, "key_prefix = \"f*[a]?:\"\n");
    let (mut client, mut direct) = (bench.proxy.client(), bench.direct());
    assert_eq!(client.command(["FCA.SET", "faq", "q", "v"]), Value::ok());
    assert_eq!(client.command(["FCA.KEY", "faq", "q"]).text()[..11], *"f*[a]?:faq:");
    for innocent in ["fxxax:faq:8e35c2cd3bf6641b", "fxa!:faq:8e35c2cd3bf6641b", "fca:faq:8e35c2cd3bf6641b"] {
        assert_eq!(direct.command(["SET", innocent, "v"]), Value::ok());
    }
    assert_eq!(client.command(["FCA.FLUSH", "faq"]), Value::Integer(1));
    assert_eq!(direct.command(["DBSIZE"]), Value::Integer(3));
}

fn two_hundred_thousand_keys_are_flushed_and_nobody_waits(store: Store) {
    const KEYS: i64 = 200_000;
    /// On the average, for those who wait for a step to end.
    const STEP_KEYS_MAX: u64 = 1000;
    /// One may be answered as the flush begins, and one as it ends; more only in between.
    const ANSWERS_MIN: usize = 4;
    /// Enough that one of them shares the flushing client's worker.
    const WATCHING: usize = 4;
    let bench = Bench::on(store);
    let mut client = bench.proxy.client();
    fill(&bench, KEYS);
    assert_eq!(client.command(["FCA.SET", "kept", "q", "v"]), Value::ok());

    let (connected, flushed) = (Barrier::new(WATCHING + 1), AtomicBool::new(false));
    thread::scope(|scope| {
        let watch = || {
            let mut client = bench.proxy.client();
            assert_eq!(client.command(["PING"]), Value::simple("PONG"));
            connected.wait();
            let mut answers = 0;
            loop {
                assert_eq!(client.command(["FCA.GET", "kept", "q"]), Value::bulk("v"));
                if flushed.load(Ordering::SeqCst) {
                    return answers;
                }
                answers += 1;
            }
        };
        let watching: Vec<_> = (0..WATCHING).map(|_| scope.spawn(watch)).collect();
        client.set_deadline(Duration::from_secs(60));
        connected.wait();
        let removed = client.command(["FCA.FLUSH", "many"]);
        flushed.store(true, Ordering::SeqCst);
        assert_eq!(removed, Value::Integer(KEYS));
        for watching in watching {
            let answers = watching.join().expect("everybody is answered throughout");
            assert!(answers >= ANSWERS_MIN, "another client was answered {answers} times meanwhile");
        }
    });
    if let Some(redis) = &bench.redis {
        let steps = redis.calls("scan").min(redis.calls("unlink"));
        assert!(steps >= KEYS as u64 / STEP_KEYS_MAX, "{steps} steps");
    }
    assert_eq!(bench.direct().command(["DBSIZE"]), Value::Integer(1));
}

/// Fills the namespace `many` with so many entries.
fn fill(bench: &Bench, keys: i64) {
    const BATCH: i64 = 2000;
    const SCRIPT_KEYS: i64 = 10_000;
    let mut direct = bench.direct();
    if bench.redis.is_some() {
        let script =
            "for i = ARGV[1], ARGV[2] do redis.call('SETEX', string.format('fca:many:%016x', i), 300, 'v') end";
        // In parts: whoever connects while a script runs for five seconds is told BUSY.
        for first in (1..=keys).step_by(SCRIPT_KEYS as usize) {
            let last = keys.min(first + SCRIPT_KEYS - 1);
            assert!(direct.command(["EVAL", script, "0", &first.to_string(), &last.to_string()]).is_nil());
        }
    } else {
        for first in (0..keys).step_by(BATCH as usize) {
            let requests: Vec<u8> = (first..first + BATCH)
                .flat_map(|at| encode(["SETEX", &format!("fca:many:{at:016x}"), "300", "v"]))
                .collect();
            direct.send_raw(requests);
            for _ in 0..BATCH {
                assert_eq!(direct.reply(), Value::ok());
            }
        }
    }
    assert_eq!(direct.command(["DBSIZE"]), Value::Integer(keys));
}

fn namespaces_can_be_disabled_limited_and_unknown(store: Store) {
    let config = "unknown_namespaces = \"reject\"\n[namespaces.faq]\n[namespaces.off]\nenabled = false\n";
    let bench = Bench::with_config(store, config);
    let mut client = bench.proxy.client();
    assert_eq!(client.command(["FCA.SET", "faq", "q", "v"]), Value::ok());
    assert_eq!(client.command(["FCA.GET", "faq", "q"]), Value::bulk("v"));
    assert_eq!(client.command(["FCA.SET", "off", "q", "v"]), Value::Nil);
    assert_eq!(client.command(["FCA.GET", "off", "q"]), Value::Nil);
    assert_eq!(client.command(["FCA.MGET", "off", "q", "r"]), Value::Array(vec![Value::Nil, Value::Nil]));
    for words in [vec!["FCA.GET", "stranger", "q"], vec!["FCA.SET", "stranger", "q", "v"]] {
        assert!(client.command(&words).is_error(), "{words:?}");
    }
    assert_eq!(bench.direct().command(["DBSIZE"]), Value::Integer(1));
}

fn a_key_secret_makes_keys_that_cannot_be_guessed(store: Store) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("secret");
    fs::write(&file, "0123456789abcdef0123456789abcdef\n").expect("the directory is ours");
    let bench = Bench::with_config(store, &format!("[namespaces.bank]\nkey_secret_file = {file:?}\n"));
    let (mut client, mut direct) = (bench.proxy.client(), bench.direct());
    assert_eq!(client.command(["FCA.SET", "bank", "What is my  balance", "v"]), Value::ok());
    assert_eq!(client.command(["FCA.GET", "bank", "what is my balance?"]), Value::bulk("v"));
    // hmac.new(secret, query, hashlib.sha256).hexdigest()[:16]
    assert_eq!(direct.command(["GET", "fca:bank:6f9ab4c4861e86b3"]), Value::bulk("v"));
    assert!(bench.proxy.log_lines_containing("0123456789abcdef").is_empty(), "a secret in the log");
}

fn available_help_and_stats_answer(store: Store) {
    let bench = Bench::on(store);
    let mut client = bench.proxy.client_resp3();
    assert_eq!(client.command(["FCA.AVAILABLE"]), Value::Integer(1));
    let help = client.command(["FCA.HELP"]);
    for name in ["GET", "SET", "MGET", "MSET", "DEL", "TTL", "KEY", "FLUSH", "AVAILABLE", "STATS", "HELP"] {
        assert!(help.items().iter().any(|line| line.text().contains(name)), "{name} is not in the help");
    }
    assert_eq!(client.command(["FCA.SET", "faq", "q", "v"]), Value::ok());
    assert_eq!(client.command(["FCA.GET", "faq", "q"]), Value::bulk("v"));
    assert_eq!(client.command(["FCA.GET", "faq", "none"]), Value::Nil);
    let mut stats = BTreeMap::new();
    wait_until(SOON, "FCA.STATS has counted them", || {
        let Value::Map(pairs) = client.command(["FCA.STATS"]) else { panic!("a map") };
        stats = pairs.into_iter().map(|(field, value)| (field.text().to_owned(), value)).collect();
        stats["gets"] == Value::Integer(2)
    });
    assert_eq!(
        (&stats["hits"], &stats["misses"], &stats["sets"]),
        (&Value::Integer(1), &Value::Integer(1), &Value::Integer(1))
    );
}

fn redis_cli_and_libraries_find_the_family_in_command(store: Store) {
    let bench = Bench::on(store);
    let mut client = bench.proxy.client();
    let count = client.command(["COMMAND", "COUNT"]).integer();
    let all = client.command(["COMMAND"]);
    assert_eq!(all.items().len() as i64, count);
    let names: Vec<&str> = all.items().iter().map(|command| command.items()[0].text()).collect();
    assert!(names.contains(&"fca.get") && names.contains(&"fca.set") && names.contains(&"get"));
    let info = client.command(["COMMAND", "INFO", "fca.get", "nonsense", "FCA.SET", "get"]);
    assert_eq!(info.items()[0].items()[0], Value::bulk("fca.get"));
    assert_eq!(info.items()[1], Value::Nil);
    assert_eq!(info.items()[2].items()[0], Value::bulk("fca.set"));
    assert_eq!(info.items()[3].items()[0], Value::bulk("get"));
    assert_eq!(client.command(["COMMAND", "DOCS", "fca.get"]).items()[0], Value::bulk("fca.get"));
    let list = client.command(["COMMAND", "LIST"]);
    assert!(list.items().contains(&Value::bulk("fca.flush")));
}

fn gets_and_sets_are_counted_by_namespace(store: Store) {
    let bench = Bench::with_config(store, "[namespaces.faq]\n");
    let mut client = bench.proxy.client();
    for query in ["a", "b"] {
        assert_eq!(client.command(["FCA.SET", "faq", query, "v"]), Value::ok());
        assert_eq!(client.command(["FCA.GET", "faq", query]), Value::bulk("v"));
    }
    assert_eq!(client.command(["FCA.MGET", "faq", "a", "none"]).items().len(), 2);
    assert_eq!(client.command(["FCA.GET", "nameless", "q"]), Value::Nil);
    let mut metrics = bench.proxy.metrics();
    let gets = "fca_proxy_fca_gets_total";
    wait_until(SOON, "the counters have moved", || {
        metrics = bench.proxy.metrics();
        metrics.sum(gets) == 5.0
    });
    let hits = metrics.sum_where(gets, &[("namespace", "faq"), ("result", "hit")])
        + metrics.sum_where(gets, &[("namespace", "faq"), ("result", "near_hit")]);
    assert_eq!(hits, 3.0);
    assert_eq!(metrics.sum_where(gets, &[("namespace", "faq"), ("result", "miss")]), 1.0);
    assert_eq!(metrics.sum_where(gets, &[("namespace", "other"), ("result", "miss")]), 1.0);
    assert_eq!(metrics.sum_where("fca_proxy_fca_sets_total", &[("namespace", "faq"), ("result", "stored")]), 2.0);
    assert!(metrics.series().all(|series| !series.contains("nameless")), "a label that clients can make");
}

#[test]
fn the_family_queues_in_a_transaction_on_redis() {
    let bench = Bench::on(Store::Redis);
    for mut client in [bench.proxy.client(), bench.proxy.client_resp3()] {
        assert_eq!(client.command(["FCA.SET", "faq", "asked?", "before"]), Value::ok());
        let replies = client.pipeline(&[
            vec!["MULTI"],
            vec!["FCA.GET", "faq", "asked"],
            vec!["FCA.SET", "faq", "asked", "after", "EX", "10"],
            vec!["FCA.GET", "faq", "asked?"],
            vec!["SET", "plain", "v"],
            vec!["FCA.MGET", "faq", "asked", "none"],
            vec!["FCA.DEL", "faq", "asked"],
            vec!["FCA.TTL", "faq", "asked"],
            vec!["EXEC"],
            vec!["FCA.GET", "faq", "asked"],
        ]);
        let queued = Value::simple("QUEUED");
        assert_eq!(replies[0], Value::ok());
        assert!(replies[1..8].iter().all(|reply| *reply == queued), "{replies:?}");
        assert_eq!(
            replies[8],
            Value::Array(vec![
                Value::bulk("before"),
                Value::ok(),
                Value::bulk("after"),
                Value::ok(),
                Value::Array(vec![Value::bulk("after"), Value::Nil]),
                Value::Integer(1),
                Value::Integer(-2),
            ])
        );
        assert_eq!(replies[9], Value::Nil);
    }
}

#[test]
fn what_is_asked_behind_exec_sees_what_exec_did() {
    let bench = Bench::on(Store::Redis);
    let mut client = bench.proxy.client();
    for round in 0..50 {
        let (before, after) = (format!("before {round}"), format!("after {round}"));
        assert_eq!(client.command(["FCA.SET", "faq", "q", &before]), Value::ok());
        let replies = client.pipeline(&[
            vec!["MULTI"],
            vec!["FCA.SET", "faq", "q", &after],
            vec!["EXEC"],
            vec!["FCA.GET", "faq", "q"],
            vec!["FCA.MGET", "faq", "q"],
            vec!["FCA.SET", "faq", "q", "last"],
            vec!["FCA.DEL", "faq", "q"],
            vec!["FCA.TTL", "faq", "q"],
        ]);
        assert_eq!(replies[3], Value::bulk(&after), "round {round}: {replies:?}");
        assert_eq!(replies[4], Value::bulks([&after]));
        assert_eq!(replies[5..], [Value::ok(), Value::Integer(1), Value::Integer(-2)]);
    }
}

#[test]
fn a_look_up_of_two_steps_is_done_before_a_transaction_behind_it_begins() {
    let bench = Bench::on(Store::Redis);
    let mut client = bench.proxy.client();
    let twin = client.command(["FCA.KEY", "faq", "q?"]);
    // What comes first leaves the client with a connection of its own for a moment.
    for first in [[vec!["MULTI"], vec!["EXEC"]], [vec!["WATCH", "other"], vec!["PING"]]] {
        let replies = client.pipeline(&[
            first[0].clone(),
            first[1].clone(),
            vec!["FCA.GET", "faq", "q"],
            vec!["MULTI"],
            vec!["SET", twin.text(), "later"],
            vec!["EXEC"],
            vec!["DEL", twin.text()],
        ]);
        assert_eq!(replies[2], Value::Nil, "behind {first:?}: {replies:?}");

        let replies =
            client.pipeline(&[first[0].clone(), first[1].clone(), vec!["FCA.GET", "faq", "q"], vec!["MULTI"]]);
        assert_eq!(replies[2..], [Value::Nil, Value::ok()], "behind {first:?}");
        assert_eq!(client.command(["EXEC"]), Value::Array(vec![]), "behind {first:?}");
    }
}

#[test]
fn a_watching_client_reads_its_own_writes_in_order() {
    let bench = Bench::on(Store::Redis);
    let mut client = bench.proxy.client();
    let key = client.command(["FCA.KEY", "faq", "q"]);
    for round in 0..50 {
        let value = round.to_string();
        let replies = client.pipeline(&[
            vec!["WATCH", "other"],
            vec!["SET", key.text(), &value],
            vec!["FCA.GET", "faq", "q"],
            vec!["FCA.SET", "faq", "q", "fca"],
            vec!["GET", key.text()],
            vec!["UNWATCH"],
        ]);
        assert_eq!((&replies[2], &replies[4]), (&Value::bulk(&value), &Value::bulk("fca")), "round {round}");
    }
}

#[test]
fn the_embedded_store_answers_what_it_does_not_serve_in_the_words_of_redis() {
    let bench = Bench::on(Store::Embedded);
    let mut client = bench.proxy.client();
    let reply = client.command(["LPUSH", "l", "v"]);
    assert_eq!(reply, Value::error("ERR unknown command 'LPUSH', with args beginning with: 'l' 'v' "));
    assert_eq!(client.command(["SET", "k", "v"]), Value::ok());
    assert_eq!(client.command(["GET", "k"]), Value::bulk("v"));
    wait_until(SOON, "a line says what kind of store this is", || {
        bench.proxy.log_lines_containing("neither shared nor persistent").len() == 1
    });
}

#[test]
fn a_value_of_another_type_under_an_entrys_key_is_a_miss_and_no_error() {
    let bench = Bench::on(Store::Redis);
    let mut client = bench.proxy.client();
    let key = client.command(["FCA.KEY", "faq", "q"]);
    assert_eq!(bench.direct().command(["LPUSH", key.text(), "v"]), Value::Integer(1));
    assert_eq!(client.command(["FCA.GET", "faq", "q"]), Value::Nil);
    assert_eq!(client.command(["FCA.SET", "faq", "q", "v"]), Value::ok());
    assert_eq!(client.command(["FCA.GET", "faq", "q"]), Value::bulk("v"));
}
