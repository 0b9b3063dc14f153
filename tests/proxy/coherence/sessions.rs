//! Sessions whose reads are the server's alone.
//!
//! Redis is written to directly while the link hears nothing: whoever is served from the near cache reads the old
//! value, whoever asks Redis the new one.

use super::{Bench, LONG_SILENCE, hits};
use crate::support::client::Client;
use crate::support::redis::RedisOptions;
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};

const KEY: &str = "fca:key";

#[test]
fn the_silent_link_leaves_the_old_value_to_plain_sessions() {
    // What the tests below rest on: without it they would show nothing.
    let bench = Bench::start(LONG_SILENCE);
    bench.keep(KEY, "old");
    bench.hear_nothing();
    let mut direct = bench.redis.client();
    assert_eq!(direct.command(["SET", KEY, "new"]), Value::ok());
    for mut reader in bench.readers() {
        assert_eq!(reader.command(["GET", KEY]), Value::bulk("old"));
    }
    bench.hear_again();
    for mut reader in bench.readers() {
        assert_eq!(reader.command(["GET", KEY]), Value::bulk("new"));
    }
}

#[test]
fn sessions_in_a_mode_ask_the_server() {
    let bench = Bench::start(LONG_SILENCE);
    let mut direct = bench.redis.client();
    assert_eq!(direct.say("ACL SETUSER reader on >secret ~* &* +@all"), Value::ok());
    direct.say("ACL SETUSER blind on >secret ~other* &* +@all");
    let read = |client: &mut Client| {
        client.send(["GET", KEY]);
        loop {
            match client.reply() {
                Value::Push(_) => {}
                reply => break reply,
            }
        }
    };
    for (what, before, right) in [
        ("behind WATCH", &["WATCH fca:none"][..], Value::bulk("new")),
        ("another database", &["SELECT 1"], Value::bulk("elsewhere")),
        ("CLIENT TRACKING", &["HELLO 3", "CLIENT TRACKING ON"], Value::bulk("new")),
        ("CLIENT TRACKING BCAST", &["HELLO 3", "CLIENT TRACKING ON BCAST"], Value::bulk("new")),
        ("AUTH", &["AUTH reader secret"], Value::bulk("new")),
        ("HELLO AUTH", &["HELLO 3 AUTH reader secret"], Value::bulk("new")),
        ("a user who may not read it", &["AUTH blind secret"], Value::error("NOPERM")),
    ] {
        direct.say("SELECT 1");
        direct.command(["SET", KEY, "elsewhere"]);
        direct.say("SELECT 0");
        bench.keep(KEY, "old");
        let mut client = bench.proxy.client();
        for line in before {
            let reply = client.say(line);
            assert!(!reply.is_error(), "{what}: {line}: {reply:?}");
        }
        bench.hear_nothing();
        assert_eq!(direct.command(["SET", KEY, "new"]), Value::ok());
        let near = hits(&bench.proxy);
        match read(&mut client) {
            Value::Error(words) => {
                assert!(right.is_error() && words.starts_with(b"NOPERM"), "{what}: {}", words.escape_ascii());
            }
            reply => assert_eq!(reply, right, "{what}"),
        }
        assert_eq!(hits(&bench.proxy), near, "{what}");
        bench.hear_again();
    }
}

#[test]
fn reads_in_a_transaction_are_the_servers() {
    let bench = Bench::start(LONG_SILENCE);
    let mut direct = bench.redis.client();
    for resp3 in [false, true] {
        bench.keep(KEY, "old");
        bench.hear_nothing();
        assert_eq!(direct.command(["SET", KEY, "new"]), Value::ok());
        let mut client = if resp3 { bench.proxy.client_resp3() } else { bench.proxy.client() };
        let replies = client.pipeline(&[vec!["MULTI"], vec!["GET", KEY], vec!["FCA.GET", "faq", "none"], vec!["EXEC"]]);
        assert_eq!(replies[1], Value::simple("QUEUED"));
        assert_eq!(replies[3], Value::Array(vec![Value::bulk("new"), Value::Nil]));
        bench.hear_again();
    }
}

#[test]
fn what_a_mode_ends_is_served_again() {
    let bench = Bench::start("");
    for mode in [
        &["MULTI", "DISCARD"][..],
        &["WATCH fca:none", "UNWATCH"],
        &["MULTI", "GET fca:key", "EXEC"],
        &["SELECT 1", "SELECT 0"],
        &["HELLO 3", "CLIENT TRACKING ON", "CLIENT TRACKING OFF"],
        &["HELLO 3", "CLIENT TRACKING ON", "RESET"],
        &["SET fca:other x"],
        &["EVAL return 0"],
    ] {
        bench.keep(KEY, "value");
        let mut client = bench.proxy.client();
        for line in mode {
            client.say(line);
        }
        let mut served = 0;
        wait_until(SOON, &format!("near hits behind {mode:?}"), || {
            let near = hits(&bench.proxy);
            assert_eq!(client.command(["GET", KEY]), Value::bulk("value"));
            served += usize::from(hits(&bench.proxy) > near);
            served >= 3
        });
    }
}

#[test]
fn an_upstream_with_a_password_is_tracked_with_it() {
    let options = RedisOptions { password: Some("secret"), ..RedisOptions::default() };
    let bench = Bench::start_with(options, "");
    bench.keep(KEY, "old");
    let mut direct = bench.redis.client();
    assert_eq!(direct.command(["SET", KEY, "new"]), Value::ok());
    for mut reader in bench.readers() {
        wait_until(SOON, "the new value is seen", || reader.command(["GET", KEY]) == Value::bulk("new"));
    }
}

#[test]
fn the_keys_of_the_upstreams_database_are_served_and_no_others() {
    // With `/5` the proxy's database is 5; the same key in database 0 is another one.
    let redis = crate::support::redis::Redis::start();
    let proxy = super::tracking_proxy(format!("{}/5", redis.url()), "");
    let (mut direct, mut client) = (redis.client(), proxy.client());
    assert_eq!(direct.command(["SET", KEY, "zero"]), Value::ok());
    assert_eq!(direct.say("SELECT 5"), Value::ok());
    assert_eq!(direct.command(["SET", KEY, "five"]), Value::ok());
    wait_until(SOON, "near hits", || {
        assert_eq!(client.command(["GET", KEY]), Value::bulk("five"));
        hits(&proxy) > 3.0
    });
    let mut elsewhere = proxy.client();
    elsewhere.say("SELECT 0");
    let seen = elsewhere.command(["GET", KEY]);
    assert_eq!(seen, Value::bulk("zero"));
    assert_eq!(direct.command(["SET", KEY, "new"]), Value::ok());
    wait_until(SOON, "a write in database 5 is seen", || client.command(["GET", KEY]) == Value::bulk("new"));
}
