//! Once a write through the proxy is acknowledged, nobody reads the older value through it.
//!
//! The link hears nothing meanwhile, so what is shown holds without the server's help: by the acknowledgement alone. A
//! write that the proxy took no notice of would leave the old value where the next read finds it.

use super::{Bench, LONG_SILENCE, key_of, large};
use crate::support::client::Client;
use crate::support::fault::Direction;
use crate::support::redis::Redis;
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};

/// The key that is written to, and one of another value.
const KEY: &str = "fca:key";
const OTHER: &str = "fca:other";

/// A value in Redis' own form, for RESTORE.
fn dump(redis: &Redis, value: &str) -> Vec<u8> {
    let mut direct = redis.client();
    direct.command(["SET", "dumped", value]);
    direct.command(["DUMP", "dumped"]).bytes().to_vec()
}

/// Has the old value kept, carries out `write` while the link hears nothing, and compares what everyone then reads with
/// what Redis holds.
#[track_caller]
fn is_seen_at_once(bench: &Bench, readers: &mut [Client], what: &str, write: impl FnOnce(&mut Client)) {
    let mut direct = bench.redis.client();
    assert_eq!(direct.command(["SET", OTHER, "another value"]), Value::ok());
    bench.keep(KEY, "old");
    bench.hear_nothing();
    write(&mut bench.proxy.client());
    let held = direct.command(["GET", KEY]);
    assert_ne!(held, Value::bulk("old"), "{what} changes the value");
    for reader in readers {
        assert_eq!(kind(&reader.command(["GET", KEY])), kind(&held), "{what}");
    }
    bench.hear_again();
    direct.command(["FLUSHALL"]);
}

/// Errors are compared by their first word, since RESP3 and RESP2 agree in it.
fn kind(reply: &Value) -> Value {
    match reply {
        Value::Error(_) => Value::error(reply.text().split(' ').next().unwrap_or_default()),
        other => other.clone(),
    }
}

#[test]
fn every_command_that_changes_a_value_is_seen_at_once() {
    let bench = Bench::start(LONG_SILENCE);
    let mut readers = bench.readers();
    for line in [
        "SET fca:key new",
        "SET fca:key new XX GET",
        "SETEX fca:key 100 new",
        "PSETEX fca:key 100000 new",
        "GETSET fca:key new",
        "APPEND fca:key er",
        "SETRANGE fca:key 1 x",
        "SETBIT fca:key 1 0",
        "BITFIELD fca:key SET u8 0 65",
        "BITOP NOT fca:key fca:other",
        "MSET fca:a 1 fca:key new fca:b 2",
        "GETDEL fca:key",
        "DEL fca:nothing fca:key",
        "UNLINK fca:key",
        "EXPIRE fca:key -1",
        "PEXPIRE fca:key 0",
        "EXPIREAT fca:key 1",
        "PEXPIREAT fca:key 1",
        "GETEX fca:key PXAT 1",
        "RENAME fca:key fca:away",
        "RENAME fca:other fca:key",
        "COPY fca:other fca:key REPLACE",
        "MOVE fca:key 1",
        "SORT fca:none STORE fca:key",
        "SUNIONSTORE fca:key fca:none",
        "ZUNIONSTORE fca:key 1 fca:none",
        "FLUSHDB",
        "FLUSHALL ASYNC",
        "SWAPDB 0 1",
        "SWAPDB 1 0",
        "EVAL redis.call('SET',KEYS[1],'new') 1 fca:key",
        "EVAL redis.call('SET',ARGV[1],'new') 0 fca:key",
        "EVAL redis.call('SET','fca:key','new') 1 fca:other",
    ] {
        is_seen_at_once(&bench, &mut readers, line, |client| {
            let reply = client.say(line);
            assert!(!reply.is_error(), "{line}: {reply:?}");
        });
    }
    let dumped = dump(&bench.redis, "new");
    is_seen_at_once(&bench, &mut readers, "RESTORE", |client| {
        let words: [&[u8]; 5] = [b"RESTORE", KEY.as_bytes(), b"0", &dumped, b"REPLACE"];
        assert_eq!(client.command(words), Value::ok());
    });
    is_seen_at_once(&bench, &mut readers, "an inline SET", |client| {
        client.send_raw(format!("SET {KEY} new\r\n"));
        assert_eq!(client.reply(), Value::ok());
    });
    is_seen_at_once(&bench, &mut readers, "a SET that is streamed", |client| {
        assert_eq!(client.command(["SET", KEY, &large("new")]), Value::ok());
    });
    is_seen_at_once(&bench, &mut readers, "an MSET that is streamed", |client| {
        assert_eq!(client.command(["MSET", "fca:first", &large("x"), KEY, "new"]), Value::ok());
    });
    is_seen_at_once(&bench, &mut readers, "an EVAL that is streamed", |client| {
        let script = "return redis.call('SET', ARGV[1], 'new')";
        assert_eq!(client.command(["EVAL", script, "0", KEY, &large("x")]), Value::ok());
    });
}

#[test]
fn writes_of_scripts_and_functions_are_seen_at_once() {
    let bench = Bench::start(LONG_SILENCE);
    let mut readers = bench.readers();
    let script = "return redis.call('SET', ARGV[1], 'new')";
    let library = "#!lua name=mine\nredis.register_function('put', function(keys, arguments) \
                   return redis.call('SET', arguments[1], 'new') end)";
    let mut direct = bench.redis.client();
    let digest = direct.command(["SCRIPT", "LOAD", script]).text().to_owned();
    assert_eq!(direct.command(["FUNCTION", "LOAD", library]).text(), "mine");
    is_seen_at_once(&bench, &mut readers, "EVALSHA", |client| {
        assert_eq!(client.command(["EVALSHA", &digest, "0", KEY]), Value::ok());
    });
    is_seen_at_once(&bench, &mut readers, "FCALL", |client| {
        assert_eq!(client.command(["FCALL", "put", "0", KEY]), Value::ok());
    });
    is_seen_at_once(&bench, &mut readers, "a script that fails behind its write", |client| {
        let fails = "redis.call('SET', ARGV[1], 'new') return redis.call('NOSUCH')";
        assert!(client.command(["EVAL", fails, "0", KEY]).is_error());
    });
    is_seen_at_once(&bench, &mut readers, "a script that selects the database", |client| {
        assert_eq!(client.say("SELECT 3"), Value::ok());
        let selects = "redis.call('SELECT', 0) return redis.call('SET', ARGV[1], 'new')";
        assert_eq!(client.command(["EVAL", selects, "0", KEY]), Value::ok());
    });
}

#[test]
fn writes_of_transactions_are_seen_at_once() {
    let bench = Bench::start(LONG_SILENCE);
    let mut readers = bench.readers();
    for (what, queued) in [
        ("SET in MULTI", "SET fca:key new"),
        ("DEL in MULTI", "DEL fca:key"),
        ("EVAL in MULTI", "EVAL redis.call('SET',ARGV[1],'new') 0 fca:key"),
        ("FLUSHDB in MULTI", "FLUSHDB"),
        ("RENAME in MULTI", "RENAME fca:other fca:key"),
    ] {
        is_seen_at_once(&bench, &mut readers, what, |client| {
            let replies = ["MULTI", "PING", queued, "GET fca:other", "EXEC"].map(|line| client.say(line));
            assert_eq!(replies[4].items().len(), 3, "{what}: {replies:?}");
        });
    }
    is_seen_at_once(&bench, &mut readers, "MULTI to EXEC in one pipeline", |client| {
        let replies = client.pipeline(&[vec!["MULTI"], vec!["SET", KEY, "new"], vec!["EXEC"]]);
        assert_eq!(replies[2], Value::Array(vec![Value::ok()]));
    });
    is_seen_at_once(&bench, &mut readers, "a SET behind WATCH", |client| {
        assert_eq!(client.command(["WATCH", KEY]), Value::ok());
        assert_eq!(client.command(["SET", KEY, "new"]), Value::ok());
    });
    is_seen_at_once(&bench, &mut readers, "an EXEC with one command that fails", |client| {
        let replies = ["MULTI", "SET fca:key new", "LPUSH fca:key x", "EXEC"].map(|line| client.say(line));
        assert!(replies[3].items()[1].is_error(), "{replies:?}");
    });
}

#[test]
fn writes_from_other_databases_are_seen_at_once() {
    let bench = Bench::start(LONG_SILENCE);
    let mut readers = bench.readers();
    for line in ["MOVE fca:key 0", "COPY fca:key fca:key DB 0 REPLACE", "FLUSHALL", "SWAPDB 0 3"] {
        let mut elsewhere = bench.redis.client();
        is_seen_at_once(&bench, &mut readers, &format!("{line} from database 3"), |client| {
            assert_eq!(client.say("SELECT 3"), Value::ok());
            assert_eq!(client.command(["SET", KEY, "new"]), Value::ok());
            if line.starts_with("MOVE") {
                // It moves nothing onto a key that is there.
                assert_eq!(elsewhere.command(["DEL", KEY]), Value::Integer(1));
            }
            let reply = client.say(line);
            assert!(reply == Value::ok() || reply == Value::Integer(1), "{line}: {reply:?}");
        });
    }
}

#[test]
fn writes_of_sessions_in_every_mode_are_seen_at_once() {
    let bench = Bench::start(LONG_SILENCE);
    let mut readers = bench.readers();
    let mut direct = bench.redis.client();
    assert_eq!(direct.say("ACL SETUSER writer on >secret ~* &* +@all"), Value::ok());
    for (what, mode) in [
        ("a session that logged in", &["AUTH writer secret"][..]),
        ("a session that says HELLO AUTH", &["HELLO 3 AUTH writer secret"]),
        ("a session that tracks", &["HELLO 3", "CLIENT TRACKING ON"]),
        ("a subscribed session", &["HELLO 3", "SUBSCRIBE news"]),
        ("a session that was elsewhere", &["SELECT 3", "SELECT 0"]),
        ("a session that was reset", &["MULTI", "RESET"]),
        ("a session that waited", &["BLPOP fca:list 0.001"]),
        ("a session behind a gate", &["CLIENT NO-EVICT ON"]),
    ] {
        is_seen_at_once(&bench, &mut readers, what, |client| {
            for line in mode {
                let reply = client.say(line);
                assert!(!reply.is_error(), "{what}: {line}: {reply:?}");
            }
            assert_eq!(client.command(["SET", KEY, "new"]), Value::ok());
        });
    }
    is_seen_at_once(&bench, &mut readers, "a session whose replies are off", |client| {
        client.send_raw(format!("CLIENT REPLY OFF\r\nSET {KEY} new\r\nCLIENT REPLY ON\r\n"));
        assert_eq!(client.reply(), Value::ok(), "CLIENT REPLY ON comes behind the write");
    });
    is_seen_at_once(&bench, &mut readers, "a command that is gone before it is answered", |client| {
        client.send(["SET", KEY, "new"]);
        client.close_writing();
        assert_eq!(client.reply(), Value::ok());
    });
}

#[test]
fn fca_writes_are_seen_at_once_in_either_spelling() {
    let bench = Bench::start(LONG_SILENCE);
    let mut readers = bench.readers();
    let spellings = ["how do i open an account", "How do I open an account?"];
    let mut direct = bench.redis.client();
    for kept_at in spellings {
        for written_at in spellings {
            let writes: [(&str, Vec<Vec<&str>>, Value); 7] = [
                ("FCA.SET", vec![vec!["FCA.SET", "faq", written_at, "new"]], Value::bulk("new")),
                ("FCA.SET PX", vec![vec!["FCA.SET", "faq", written_at, "new", "PX", "100000"]], Value::bulk("new")),
                ("FCA.MSET", vec![vec!["FCA.MSET", "faq", "another", "x", written_at, "new"]], Value::bulk("new")),
                ("FCA.DEL", vec![vec!["FCA.DEL", "faq", "another", written_at]], Value::Nil),
                ("FCA.FLUSH", vec![vec!["FCA.FLUSH", "faq"]], Value::Nil),
                (
                    "FCA.SET in MULTI",
                    vec![vec!["MULTI"], vec!["FCA.SET", "faq", written_at, "new"], vec!["EXEC"]],
                    Value::bulk("new"),
                ),
                ("FCA.DEL in MULTI", vec![vec!["MULTI"], vec!["FCA.DEL", "faq", written_at], vec!["EXEC"]], Value::Nil),
            ];
            for (what, write, right) in writes {
                bench.keep(&key_of(&bench.proxy, kept_at), "old");
                bench.hear_nothing();
                for command in write {
                    let reply = readers[0].command(&command);
                    assert!(!reply.is_error() && !reply.is_nil(), "{what}: {reply:?}");
                }
                for reader in &mut readers[1..] {
                    for asked in spellings {
                        let seen = reader.command(["FCA.GET", "faq", asked]);
                        assert_eq!(seen, right, "{what} of {written_at:?}, kept was {kept_at:?}, asked {asked:?}");
                    }
                    let seen = reader.command(["FCA.MGET", "faq", spellings[0], "another one", spellings[1]]);
                    let right = Value::Array(vec![right.clone(), Value::Nil, right.clone()]);
                    assert_eq!(seen, right, "{what}: FCA.MGET");
                }
                bench.hear_again();
                direct.command(["FLUSHALL"]);
            }
        }
    }
}

#[test]
fn a_pipeline_reads_its_own_writes() {
    const ROUNDS: usize = 200;
    let bench = Bench::start(LONG_SILENCE);
    bench.keep(KEY, "old");
    bench.hear_nothing();
    for mut client in bench.readers() {
        let commands: Vec<Vec<String>> = (0..ROUNDS)
            .flat_map(|round| {
                let set = ["SET", KEY, &format!("{round}")].map(str::to_owned).to_vec();
                let get = ["GET", KEY].map(str::to_owned).to_vec();
                [set, get.clone(), get]
            })
            .collect();
        let replies = client.pipeline(&commands);
        for (round, replies) in replies.chunks(3).enumerate() {
            let written = Value::bulk(round.to_string());
            assert_eq!(replies, [Value::ok(), written.clone(), written]);
        }
        let question = "pipelined";
        let replies = client.pipeline(&[
            vec!["FCA.SET", "faq", question, "1"],
            vec!["FCA.GET", "faq", question],
            vec!["FCA.SET", "faq", "pipelined?", "2"],
            vec!["FCA.GET", "faq", question],
            vec!["EVAL", "return redis.call('DEL', KEYS[1], ARGV[1])", "1", KEY, "x"],
            vec!["GET", KEY],
            vec!["FCA.DEL", "faq", question],
            vec!["FCA.GET", "faq", question],
        ]);
        let values = [1, 3, 5, 7].map(|at: usize| replies[at].clone());
        assert_eq!(values, [Value::bulk("1"), Value::bulk("2"), Value::Nil, Value::Nil]);
    }
}

#[test]
fn a_write_that_could_not_be_told_is_seen_all_the_same() {
    // The acknowledgement is lost with its connection: nobody was told, but the write took place.
    let bench = Bench::start(LONG_SILENCE);
    bench.keep(KEY, "old");
    bench.hear_nothing();
    bench.pipe.cut_after(Direction::Replies, 0);
    let reply = bench.proxy.client().command(["SET", KEY, "new"]);
    assert!(!bench.pipe.cut_is_due(Direction::Replies), "it was cut");
    assert!(reply.is_nil(), "{reply:?}");
    let mut direct = bench.redis.client();
    wait_until(SOON, "Redis has carried it out", || direct.command(["GET", KEY]) == Value::bulk("new"));
    bench.hear_again();
    let mut reader = bench.proxy.client();
    assert_eq!(reader.command(["GET", KEY]), Value::bulk("new"));
}
