//! What the near cache must not answer: what is older than an acknowledgement, a push or a read that a client of this
//! proxy was given, on whatever way that reached it.
//!
//! Where the order matters the upstream says nothing of changes (`without_tracking`), so that what is kept goes only
//! where the proxy itself drops it.

use crate::support::client::Client;
use crate::support::proxy::{Patience, Proxy, ProxyOptions};
use crate::support::redis::Redis;
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};

/// A key or value that is passed on while it arrives.
const LARGE_BYTES: usize = 400_000;

#[test]
fn databases_that_are_swapped_are_read_anew() {
    let redis = Redis::start();
    let proxy = tracked(&redis);
    let (mut writer, mut reader) = (redis.client(), proxy.client());
    for (database, value) in [("1", "other"), ("0", "old")] {
        assert_eq!(writer.command(["SELECT", database]), Value::ok());
        assert_eq!(writer.command(["SET", "fca:k", value]), Value::ok());
        assert_eq!(writer.command(["SET", "fca:fence", value]), Value::ok());
    }
    keep(&proxy, &mut reader, "fca:k");
    // Redis itself says nothing of it, so that no fence would help.
    assert_eq!(proxy.client().command(["SWAPDB", "0", "1"]), Value::ok());
    keep(&proxy, &mut reader, "fca:fence");
    assert_eq!(reader.command(["GET", "fca:k"]), Value::bulk("other"));
}

#[test]
fn all_keys_of_a_large_write_are_dropped() {
    let redis = Redis::start();
    let (proxy, _) = untracked(&redis);
    let (mut writer, mut reader) = (proxy.client(), proxy.client());
    assert_eq!(writer.command(["SET", "fca:k", "old"]), Value::ok());
    keep(&proxy, &mut reader, "fca:k");
    let large = "x".repeat(LARGE_BYTES);
    assert_eq!(writer.command(["DEL", "fca:other", &large, "fca:k"]), Value::Integer(1));
    assert_eq!(reader.command(["GET", "fca:k"]), Value::Nil);
}

#[test]
fn a_large_write_of_one_key_says_nothing_of_others() {
    let redis = Redis::start();
    let (proxy, _) = untracked(&redis);
    let (mut writer, mut reader) = (proxy.client(), proxy.client());
    for key in ["fca:k", "fca:large"] {
        assert_eq!(writer.command(["SET", key, "old"]), Value::ok());
        keep(&proxy, &mut reader, key);
    }
    let large = "x".repeat(LARGE_BYTES);
    assert_eq!(writer.command(["SETEX", "other", "100", &large]), Value::ok());
    assert_eq!(writer.command(["SETEX", "fca:large", "100", &large]), Value::ok());
    let before = hits(&proxy);
    assert_eq!(reader.command(["GET", "fca:k"]), Value::bulk("old"));
    assert_eq!(hits(&proxy), before + 1);
    assert_eq!(reader.command(["GET", "fca:large"]), Value::bulk(large));
}

#[test]
fn what_a_client_who_logged_in_has_read_nobody_reads_older() {
    let redis = Redis::start();
    let (proxy, mut admin) = untracked(&redis);
    let (mut other, mut reader) = (proxy.client(), proxy.client());
    assert_eq!(other.command(["AUTH", "other", "secret"]), Value::ok());
    for read in [&["GET", "fca:k"][..], &["FCA.GET", "faq", "q"]] {
        let key = match read {
            ["GET", key] => (*key).to_owned(),
            _ => reader.command(["FCA.KEY", "faq", "q"]).text().to_owned(),
        };
        assert_eq!(admin.command(["SET", &key, "old"]), Value::ok());
        keep(&proxy, &mut reader, &key);
        assert_eq!(admin.command(["SET", &key, "new"]), Value::ok());
        assert_eq!(other.command(read), Value::bulk("new"), "he is not served from the near cache");
        assert_eq!(reader.command(["GET", &key]), Value::bulk("new"));
    }
}

#[test]
fn what_a_client_was_told_has_changed_is_read_anew() {
    let redis = Redis::start();
    let (proxy, mut admin) = untracked(&redis);
    let mut reader = proxy.client();
    let keep_old = |admin: &mut Client, reader: &mut Client| {
        assert_eq!(admin.command(["SET", "fca:k", "old"]), Value::ok());
        keep(&proxy, reader, "fca:k");
    };

    let mut tracker = proxy.client_resp3();
    assert_eq!(tracker.command(["AUTH", "other", "secret"]), Value::ok());
    keep_old(&mut admin, &mut reader);
    assert_eq!(tracker.command(["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "fca:"]), Value::ok());
    assert_eq!(admin.command(["SET", "fca:k", "new"]), Value::ok());
    let keys = Value::Array(vec![Value::bulk("fca:k")]);
    assert_eq!(tracker.reply(), Value::Push(vec![Value::bulk("invalidate"), keys]));
    assert_eq!(reader.command(["GET", "fca:k"]), Value::bulk("new"));

    keep(&proxy, &mut reader, "fca:k");
    assert_eq!(admin.command(["FLUSHALL"]), Value::ok());
    assert_eq!(tracker.reply(), Value::Push(vec![Value::bulk("invalidate"), Value::Nil]));
    assert_eq!(reader.command(["GET", "fca:k"]), Value::Nil);
}

/// A proxy whose near cache hears of changes, once it may answer.
fn tracked(redis: &Redis) -> Proxy {
    let proxy = Proxy::patient(redis.url());
    wait_until_up(&proxy);
    proxy
}

/// A proxy whose near cache hears of nothing, once it may answer; and a client of the server, where another user may do
/// anything.
fn untracked(redis: &Redis) -> (Proxy, Client) {
    let mut admin = redis.client();
    for (user, but) in [("app", "-client|tracking"), ("other", "+ping")] {
        assert_eq!(admin.command(["ACL", "SETUSER", user, "on", ">secret", "~*", "&*", "+@all", but]), Value::ok());
    }
    let proxy = Proxy::start(ProxyOptions {
        upstream: Some(format!("redis://app:secret@{}", redis.address())),
        config: "[near_cache]\nwithout_tracking = \"ttl\"\nttl_max_without_tracking = \"1m\"".to_owned(),
        patience: Patience::Long,
        ..ProxyOptions::default()
    });
    wait_until_up(&proxy);
    (proxy, admin)
}

#[track_caller]
fn wait_until_up(proxy: &Proxy) {
    wait_until(SOON, "the near cache may answer", || proxy.metrics().sum("fca_proxy_near_cache_up") > 0.0);
}

fn hits(proxy: &Proxy) -> u64 {
    proxy.metrics().sum("fca_proxy_near_cache_hits_total") as u64
}

/// Reads a key until the near cache answers.
#[track_caller]
fn keep(proxy: &Proxy, reader: &mut Client, key: &str) {
    let before = hits(proxy);
    wait_until(SOON, "the near cache has the value", || {
        reader.command(["GET", key]);
        hits(proxy) > before
    });
}
