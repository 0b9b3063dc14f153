//! What a read keeps, what it is served, and that nobody's reads go backwards.

use super::{Bench, LONG_SILENCE, count, hits, key_of, large, tracking_proxy};
use crate::support::fault::{Carries, Direction};
use crate::support::redis::Redis;
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};

const KEY: &str = "fca:key";

#[test]
fn a_kept_value_costs_redis_nothing() {
    const ROUNDS: usize = 50;
    let bench = Bench::start("");
    let spellings = ["How do I open an account?", "  how DO i open an\taccount? ", "how do i open an account"];
    let key = key_of(&bench.proxy, spellings[0]);
    bench.keep(&key, "Come in.");
    let mut readers = bench.readers();
    // The spelling without a question mark is not there: that costs a GET, as it always did.
    let (gets, near) = (bench.gets(), hits(&bench.proxy));
    for _ in 0..ROUNDS {
        for reader in &mut readers {
            for spelling in &spellings[..2] {
                assert_eq!(reader.command(["FCA.GET", "faq", spelling]), Value::bulk("Come in."));
            }
            let both = reader.command(["FCA.MGET", "faq", spellings[0], spellings[1]]);
            assert_eq!(both, Value::bulks(["Come in.", "Come in."]));
            assert_eq!(reader.command(["GET", &key]), Value::bulk("Come in."));
            reader.send_raw(format!("get {key}\r\n"));
            assert_eq!(reader.reply(), Value::bulk("Come in."));
        }
    }
    assert_eq!(bench.gets(), gets, "no GET went to Redis");
    let reads = (ROUNDS * readers.len() * 5) as f64;
    wait_until(SOON, "all reads are counted", || hits(&bench.proxy) - near >= reads);
    assert_eq!(readers[0].command(["FCA.GET", "faq", spellings[2]]), Value::bulk("Come in."));
    assert_eq!(bench.gets(), gets + 1, "the other spelling alone was asked for");
    let near_hits = bench.proxy.metrics().sum_where("fca_proxy_fca_gets_total", &[("result", "near_hit")]);
    assert!(near_hits >= (ROUNDS * readers.len() * 2) as f64, "near hits of FCA.GET: {near_hits}");
}

#[test]
fn reads_through_any_spelling_and_command_fill_it() {
    let bench = Bench::start("");
    let mut direct = bench.redis.client();
    let key = key_of(&bench.proxy, "question");
    for fill in [vec!["FCA.GET", "faq", "Question"], vec!["FCA.MGET", "faq", "question"], vec!["GET", &key]] {
        assert_eq!(direct.command(["SET", &key, "answer", "EX", "100"]), Value::ok());
        let mut client = bench.proxy.client();
        let mut gets = bench.gets();
        wait_until(SOON, &format!("{fill:?} is answered without Redis"), || {
            client.command(&fill);
            let before = std::mem::replace(&mut gets, bench.gets());
            before == gets
        });
        assert_eq!(direct.command(["DEL", &key]), Value::Integer(1));
        wait_until(SOON, "it is gone", || client.command(["GET", &key]).is_nil());
    }
}

#[test]
fn values_come_back_byte_by_byte() {
    let bench = Bench::start("");
    let mut direct = bench.redis.client();
    let mut readers = bench.readers();
    let every_byte: Vec<u8> = (0..=255).collect();
    for value in [b"".as_slice(), b"\r\n", b"$3\r\nabc\r\n", b"-ERR no", &every_byte, &every_byte.repeat(200)] {
        assert_eq!(direct.command([b"SET".as_slice(), KEY.as_bytes(), value]), Value::ok());
        let mut reads = 0;
        let before = hits(&bench.proxy);
        wait_until(SOON, "it is served from the near cache", || {
            for reader in &mut readers {
                wait_until(SOON, "the new value is seen", || {
                    reads += 1;
                    reader.command(["GET", KEY]) == Value::bulk(value)
                });
            }
            hits(&bench.proxy) >= before + readers.len() as f64
        });
    }
}

#[test]
fn values_that_are_too_large_and_keys_that_are_not_tracked_are_not_kept() {
    let bench = Bench::start("value_bytes_max = \"1KiB\"\nprefixes = [\"fca:\", \"session:\"]");
    let mut direct = bench.redis.client();
    let mut client = bench.proxy.client();
    let (small, far_over) = ("x".repeat(900), large("x"));
    let (largest, over) = ("x".repeat(1024), "x".repeat(1025));
    for (key, value, is_kept) in [
        ("fca:small", &small, true),
        ("fca:largest", &largest, true),
        ("session:small", &small, true),
        ("fca:over", &over, false),
        ("fca:far-over", &far_over, false),
        ("other:small", &small, false),
        ("fcab", &small, false),
    ] {
        assert_eq!(direct.command(["SET", key, value]), Value::ok());
        assert_eq!(client.command(["GET", key]), Value::bulk(value));
        if is_kept {
            bench.have_kept(key, value);
        } else {
            let gets = bench.gets();
            for _ in 0..10 {
                assert_eq!(client.command(["GET", key]), Value::bulk(value));
            }
            assert_eq!(bench.gets(), gets + 10, "{key} is asked of Redis each time");
        }
    }
    // What grows past the limit makes room, too.
    assert_eq!(client.command(["APPEND", "fca:small", &small]), Value::Integer(1800));
    assert_eq!(client.command(["GET", "fca:small"]), Value::bulk(small.repeat(2)));
}

#[test]
fn a_value_that_would_be_passed_on_in_pieces_is_kept_where_the_configuration_says_so() {
    let bench = Bench::start("value_bytes_max = \"2MiB\"");
    let question = "how";
    let key = key_of(&bench.proxy, question);
    for bytes in [300 << 10, 2 << 20] {
        let value = "x".repeat(bytes);
        bench.keep(&key, &value);
        let gets = bench.gets();
        for mut reader in bench.readers() {
            assert_eq!(reader.command(["GET", &key]), Value::bulk(&value));
            assert_eq!(reader.command(["FCA.GET", "faq", question]), Value::bulk(&value));
        }
        assert_eq!(bench.gets(), gets, "{bytes} bytes");
    }
}

#[test]
fn a_value_whose_read_began_before_its_change_is_answered_but_not_kept() {
    let bench = Bench::start("");
    let mut direct = bench.redis.client();
    assert_eq!(direct.command(["SET", KEY, "old"]), Value::ok());
    let mut client = bench.proxy.client();
    assert_eq!(client.command(["PING"]), Value::simple("PONG"));
    bench.pipe.hold_what(Carries::Requests, Direction::Replies);
    let gets = bench.gets();
    client.send(["GET", KEY]);
    wait_until(SOON, "Redis has answered", || bench.gets() > gets);
    let heard = count(&bench.proxy, "invalidations_total");
    assert_eq!(direct.command(["SET", KEY, "new"]), Value::ok());
    wait_until(SOON, "the link has heard", || count(&bench.proxy, "invalidations_total") > heard);
    bench.pipe.go_on(Direction::Replies);
    assert_eq!(client.reply(), Value::bulk("old"), "as it was when Redis was asked");
    for mut reader in bench.readers() {
        assert_eq!(reader.command(["GET", KEY]), Value::bulk("new"));
    }
}

#[test]
fn a_value_whose_read_began_before_a_write_of_ours_is_not_kept() {
    let bench = Bench::start(LONG_SILENCE);
    let mut direct = bench.redis.client();
    assert_eq!(direct.command(["SET", KEY, "old"]), Value::ok());
    let (mut reader, mut writer) = (bench.proxy.client(), bench.proxy.client());
    for client in [&mut reader, &mut writer] {
        assert_eq!(client.command(["GET", "fca:none"]), Value::Nil);
    }
    bench.hear_nothing();
    bench.pipe.hold_what(Carries::Requests, Direction::Replies);
    let gets = bench.gets();
    reader.send(["GET", KEY]);
    wait_until(SOON, "Redis has answered the read", || bench.gets() > gets);
    writer.send(["SET", KEY, "new"]);
    wait_until(SOON, "Redis has carried out the write", || direct.command(["GET", KEY]) == Value::bulk("new"));
    bench.pipe.go_on_what(Carries::Requests, Direction::Replies);
    assert_eq!(reader.reply(), Value::bulk("old"), "as it was when Redis was asked");
    assert_eq!(writer.reply(), Value::ok());
    for mut reader in bench.readers() {
        assert_eq!(reader.command(["GET", KEY]), Value::bulk("new"));
    }
}

#[test]
fn whatever_read_shows_a_newer_value_nobody_is_served_the_older_one() {
    let bench = Bench::start(LONG_SILENCE);
    let mut readers = bench.readers();
    let mut direct = bench.redis.client();
    let mut faults = Vec::new();
    for line in [
        "MGET fca:none fca:key",
        "GETRANGE fca:key 0 -1",
        "SUBSTR fca:key 0 -1",
        "GETEX fca:key",
        "EVAL return@redis.call('GET',KEYS[1]) 1 fca:key",
        "EVAL_RO return@redis.call('GET',KEYS[1]) 1 fca:key",
        "EVAL_RO return@redis.call('GET',ARGV[1]) 0 fca:key",
        "SORT fca:list BY nosort GET fca:*",
        "SORT_RO fca:list BY nosort GET fca:*",
        "MULTI;GET fca:key;EXEC",
        "MULTI;FCA.GET faq question;GET fca:key;EXEC",
        "WATCH fca:key;GET fca:key;UNWATCH",
        "CLIENT TRACKING ON;GET fca:key;CLIENT TRACKING OFF",
        "GETSET fca:other x;MGET fca:key",
        "LCS fca:key fca:key",
    ] {
        bench.keep(KEY, "old");
        direct.command(["DEL", "fca:list"]);
        assert_eq!(direct.command(["RPUSH", "fca:list", "key"]), Value::Integer(1));
        bench.hear_nothing();
        assert_eq!(direct.command(["SET", KEY, "new"]), Value::ok());
        let mut client = bench.proxy.client_resp3();
        let replies: Vec<Value> = line
            .split(';')
            .map(|command| client.command(command.split(' ').map(|word| word.replace('@', " "))))
            .collect();
        assert!(format!("{replies:?}").contains("\"new\""), "{line} shows the new value: {replies:?}");
        for reader in &mut readers {
            let seen = reader.command(["GET", KEY]);
            if seen != Value::bulk("new") {
                faults.push(format!("{seen:?} behind {line}"));
                break;
            }
        }
        bench.hear_again();
    }
    assert!(faults.is_empty(), "served although a newer value was seen: {faults:#?}");
}

#[test]
fn a_question_found_in_its_other_spelling_is_not_the_keys_value() {
    let bench = Bench::start("");
    let spellings = ["how do i open an account", "How do I open an account?"];
    let keys = spellings.map(|spelling| key_of(&bench.proxy, spelling));
    for (asked, stored) in [(0, 1), (1, 0)] {
        assert_eq!(bench.redis.client().command(["SET", &keys[stored], "value"]), Value::ok());
        let near = hits(&bench.proxy);
        let mut readers = bench.readers();
        wait_until(SOON, "it is served from the near cache", || {
            for reader in &mut readers {
                assert_eq!(reader.command(["FCA.GET", "faq", spellings[asked]]), Value::bulk("value"));
            }
            hits(&bench.proxy) >= near + 10.0
        });
        for reader in &mut readers {
            assert_eq!(reader.command(["GET", &keys[asked]]), Value::Nil);
            assert_eq!(reader.command(["GET", &keys[stored]]), Value::bulk("value"));
        }
        assert_eq!(bench.redis.client().command(["DEL", &keys[stored]]), Value::Integer(1));
        for reader in &mut readers {
            wait_until(SOON, "it is gone", || reader.command(["FCA.GET", "faq", spellings[asked]]).is_nil());
        }
    }
}

#[test]
fn two_spellings_that_a_reload_tells_apart_have_an_answer_each() {
    let redis = Redis::start();
    let proxy = tracking_proxy(redis.url(), "");
    let mut client = proxy.client();
    assert_eq!(client.command(["FCA.SET", "faq", "how?", "value"]), Value::ok());
    wait_until(SOON, "it is served in the other spelling", || {
        assert_eq!(client.command(["FCA.GET", "faq", "how"]), Value::bulk("value"));
        hits(&proxy) > 0.0
    });
    proxy.reload_with(&format!("upstream.url = \"{}\"\n[namespaces.faq]\nquestion_mark = \"distinct\"\n", redis.url()));
    let reloads = || proxy.metrics().sum("fca_proxy_config_reloads_total");
    wait_until(SOON, "the configuration is reloaded", || reloads() > 0.0);
    // Each worker hears of it by a message of its own, in front of which no client's can be.
    for mut client in [proxy.client(), proxy.client(), proxy.client(), proxy.client()] {
        wait_until(SOON, "the other spelling is another question", || {
            client.command(["FCA.GET", "faq", "how"]).is_nil()
        });
        assert_eq!(client.command(["FCA.MGET", "faq", "how"]), Value::Array(vec![Value::Nil]));
        assert_eq!(client.command(["FCA.GET", "faq", "how?"]), Value::bulk("value"));
    }
}

#[test]
fn a_direct_write_is_seen_although_nobody_of_ours_wrote() {
    let bench = Bench::start("");
    let mut readers = bench.readers();
    let mut direct = bench.redis.client();
    for line in [
        "SET fca:key new",
        "DEL fca:key",
        "RENAME fca:other fca:key",
        "RENAME fca:key fca:away",
        "EXPIRE fca:key 0",
        "EVAL return@redis.call('SET','fca:key','new') 0",
        "FLUSHALL",
        "FLUSHDB",
        "MOVE fca:key 7",
        "APPEND fca:key er",
        "COPY fca:other fca:key REPLACE",
    ] {
        direct.command(["SET", "fca:other", "another"]);
        bench.keep(KEY, "old");
        let reply = direct.command(line.split(' ').map(|word| word.replace('@', " ")));
        assert!(!reply.is_error(), "{line}: {reply:?}");
        let held = direct.command(["GET", KEY]);
        assert_ne!(held, Value::bulk("old"), "{line} changes the value");
        for reader in &mut readers {
            wait_until(SOON, &format!("{line} is seen"), || reader.command(["GET", KEY]) == held);
        }
        direct.command(["FLUSHALL"]);
    }
}

#[test]
fn many_values_stay_within_the_bytes() {
    const VALUE_BYTES: usize = 4000;
    const VALUES: usize = 1000;
    let bench = Bench::start("memory = \"1MiB\"\nvalue_bytes_max = \"8KiB\"");
    let value = "x".repeat(VALUE_BYTES);
    let mut client = bench.proxy.client();
    let keys: Vec<String> = (0..VALUES).map(|number| format!("fca:{number}")).collect();
    let mut direct = bench.redis.client();
    let sets: Vec<Vec<&str>> = keys.iter().map(|key| vec!["SET", key, &value]).collect();
    direct.pipeline(&sets);
    let gets: Vec<Vec<&str>> = keys.iter().map(|key| vec!["GET", key]).collect();
    wait_until(SOON, "values are evicted", || {
        assert!(client.pipeline(&gets).iter().all(|reply| *reply == Value::bulk(&value)));
        let bytes = count(&bench.proxy, "bytes");
        assert!(bytes <= f64::from(1 << 20), "{bytes} bytes");
        count(&bench.proxy, "evictions_total") > 0.0 && bytes > f64::from(1 << 18)
    });
    assert!(count(&bench.proxy, "entries") > 20.0);
}
