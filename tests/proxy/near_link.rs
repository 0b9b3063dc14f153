//! The near cache's link to the upstream: when the near cache may answer, and what is said of it.
//!
//! What the bytes on the link mean is tested beside the machine that reads them; here is shown that it is connected,
//! that whatever ends it closes the near cache, and that servers which can't track are told once.

use crate::support::client::Client;
use crate::support::peer::Peer;
use crate::support::proxy::{Patience, Proxy, ProxyOptions};
use crate::support::redis::{Redis, RedisOptions};
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};

/// How the link is called in CLIENT LIST.
const NAME: &str = "name=fca-proxy-link ";

#[test]
fn it_comes_up_and_says_so_once() {
    let redis = Redis::start();
    let proxy = with(redis.url(), "");
    wait_until_up(&proxy);
    let link = link_of(&redis).expect("a connection of this name");
    // t: tracks keys, B: those under prefixes.
    let flags = field(&link, "flags");
    assert!(flags.contains('t') && flags.contains('B'), "{link}");
    assert_eq!(state(&proxy), "up");
    wait_until(SOON, "it is told", || !proxy.log_lines_containing("near cache").is_empty());
    let said = proxy.log_lines_containing("near cache");
    assert!(said.len() == 1 && said[0].contains("near cache is up: keys that begin with fca:"), "{said:#?}");
}

#[test]
fn it_logs_in_and_speaks_over_a_socket_of_the_file_system() {
    let redis = Redis::start_with(RedisOptions { password: Some("secret"), ..RedisOptions::default() });
    wait_until_up(&with(redis.url(), ""));
    let redis = Redis::start();
    wait_until_up(&with(redis.unix_url(), ""));
}

#[test]
fn changes_under_the_prefixes_are_heard_and_no_others() {
    let redis = Redis::start();
    let proxy = with(redis.url(), "near_cache.prefixes = [\"own:\"]");
    wait_until_up(&proxy);
    let mut writer = redis.client();
    for key in ["other:1", "own:1", "fca:faq:1", "fca", "own:2"] {
        assert_eq!(writer.command(["SET", key, "v"]), Value::ok());
    }
    let heard = || proxy.metrics().sum("fca_proxy_near_cache_invalidations_total");
    wait_until(SOON, "three changes are heard", || heard() >= 3.0);
    // A database of its own makes no difference: Redis tells the names of keys alone.
    assert_eq!(writer.command(["SELECT", "5"]), Value::ok());
    assert_eq!(writer.command(["SET", "own:3", "v"]), Value::ok());
    wait_until(SOON, "the fourth is heard", || heard() >= 4.0);
    assert_eq!(heard() as u64, 4);
    assert_eq!(flushes(&proxy), 0);
    assert_eq!(writer.command(["FLUSHALL"]), Value::ok());
    wait_until(SOON, "the flush is heard", || flushes(&proxy) == 1);
}

#[test]
fn a_script_that_changes_many_keys_is_heard_whole_and_one_that_changes_too_many_empties_it() {
    // Redis tells all of them in one push; the second is above what is held of one.
    let script = "for i = 1, ARGV[1] do redis.call('SET', 'fca:' .. string.rep('x', 40) .. i, '') end";
    let redis = Redis::start();
    let proxy = with(redis.url(), "");
    wait_until_up(&proxy);
    let mut writer = redis.client();
    assert_eq!(writer.command(["EVAL", script, "0", "50000"]), Value::Nil);
    let heard = || proxy.metrics().sum("fca_proxy_near_cache_invalidations_total") as u64;
    wait_until(SOON, "all changes are heard", || heard() == 50_000);
    assert_eq!(flushes(&proxy), 0);
    assert_eq!(writer.command(["EVAL", script, "0", "200000"]), Value::Nil);
    wait_until(SOON, "the near cache is emptied", || flushes(&proxy) == 1);
    wait_until_up(&proxy);
    wait_until(SOON, "its end is told", || !proxy.log_lines_containing("near cache is down").is_empty());
    let said = proxy.log_lines_containing("near cache is down");
    assert!(said.len() == 1 && said[0].contains("bytes of changed keys at once"), "{said:#?}");
}

#[test]
fn a_link_that_is_killed_empties_the_near_cache_and_comes_back() {
    let redis = Redis::start();
    let proxy = with(redis.url(), "");
    wait_until_up(&proxy);
    let first = link_of(&redis).expect("a connection of this name");
    assert_eq!(redis.client().command(["CLIENT", "KILL", "ID", field(&first, "id")]), Value::Integer(1));
    wait_until(SOON, "the near cache is emptied", || flushes(&proxy) == 1);
    wait_until_up(&proxy);
    let second = link_of(&redis).expect("a connection of this name");
    assert_ne!(field(&first, "id"), field(&second, "id"));
    wait_until(SOON, "the end and the return are told", || proxy.log_lines_containing("near cache is up").len() == 2);
    assert_eq!(proxy.log_lines_containing("near cache is down").len(), 1);
}

#[test]
fn a_redis_that_is_frozen_closes_it_and_one_that_goes_on_opens_it() {
    let redis = Redis::start();
    let proxy = Proxy::start(ProxyOptions {
        upstream: Some(redis.url()),
        config: "near_cache.link_timeout = \"500ms\"".to_owned(),
        patience: Patience::Long,
        ..ProxyOptions::default()
    });
    wait_until_up(&proxy);
    redis.stop();
    wait_until_down(&proxy);
    assert_eq!(state(&proxy), "down");
    redis.cont();
    wait_until_up(&proxy);
}

#[test]
fn a_redis_that_is_gone_is_one_line_and_its_return_another() {
    let mut redis = Redis::start();
    let proxy = with(redis.url(), "");
    wait_until_up(&proxy);
    redis.kill();
    wait_until_down(&proxy);
    let failures = || proxy.metrics().sum("fca_proxy_upstream_connect_failures_total");
    let so_far = failures();
    wait_until(SOON, "the outage lasts for some attempts", || failures() >= so_far + 4.0);
    let ends = || proxy.log_lines_containing("near cache is down").len();
    wait_until(SOON, "its end is told", || ends() > 0);
    assert_eq!(ends(), 1, "{:#?}", proxy.log_lines());
    redis.restart();
    wait_until_up(&proxy);
    wait_until(SOON, "its return is told", || proxy.log_lines_containing("near cache is up").len() == 2);
}

#[test]
fn a_user_without_the_permission_is_one_line_and_is_asked_again_when_its_connection_ends() {
    let redis = Redis::start();
    let (url, mut admin) = without_tracking(&redis);
    let proxy = with(url, "");
    wait_until(SOON, "the reason is told", || proxy.log_lines_containing("near cache is off").len() == 1);
    let said = &proxy.log_lines_containing("near cache is off")[0];
    assert!(said.contains("NOPERM") && said.contains("CLIENT TRACKING"), "{said}");
    assert_eq!(state(&proxy), "down");
    assert_eq!(proxy.client().command(["FCA.SET", "faq", "q", "v"]), Value::ok());

    // The same again after its end: nothing more is said.
    let first = link_of(&redis).expect("the connection is held");
    assert_eq!(admin.command(["CLIENT", "KILL", "ID", field(&first, "id")]), Value::Integer(1));
    wait_until(SOON, "it connects anew", || {
        link_of(&redis).is_some_and(|link| field(&link, "id") != field(&first, "id"))
    });
    assert_eq!(admin.command(["ACL", "SETUSER", "app", "+client|tracking"]), Value::ok());
    let second = link_of(&redis).expect("the connection is held");
    assert_eq!(admin.command(["CLIENT", "KILL", "ID", field(&second, "id")]), Value::Integer(1));
    wait_until_up(&proxy);
    wait_until(SOON, "its return is told", || !proxy.log_lines_containing("near cache is up").is_empty());
    let said = proxy.log_lines_containing("near cache");
    assert_eq!(said.len(), 2, "{said:#?}");
}

#[test]
fn a_server_without_resp3_is_one_line_and_served_as_before() {
    let peer = Peer::playing(|dialogue| {
        loop {
            let command = dialogue.next_command()?;
            let reply: &[u8] = match command[0].to_ascii_uppercase().as_slice() {
                b"HELLO" => b"-ERR unknown command `HELLO`, with args beginning with: \r\n",
                b"PING" => b"+PONG\r\n",
                b"CLIENT" => b":7\r\n",
                _ => b"$1\r\nv\r\n",
            };
            dialogue.send(reply)?;
        }
    });
    let proxy = with(peer.url(), "");
    wait_until(SOON, "the reason is told", || proxy.log_lines_containing("near cache is off").len() == 1);
    assert_eq!(proxy.client().command(["GET", "k"]), Value::bulk("v"));
    assert_eq!(proxy.metrics().sum("fca_proxy_near_cache_up") as u64, 0);
    assert_eq!(peer.count_of(&["HELLO", "3"]), 1, "it is left alone for a while");
}

#[test]
fn with_ttl_a_server_that_cannot_track_is_served_from_all_the_same() {
    let redis = Redis::start();
    let (url, mut admin) = without_tracking(&redis);
    let proxy = with(url, "near_cache.without_tracking = \"ttl\"");
    wait_until_up(&proxy);
    assert_eq!(state(&proxy), "ttl");
    wait_until(SOON, "the reason is told", || proxy.log_lines_containing("near cache serves").len() == 1);
    assert_eq!(flushes(&proxy), 0);
    let held = link_of(&redis).expect("the connection is held");
    assert_eq!(admin.command(["ACL", "SETUSER", "app", "+client|tracking"]), Value::ok());
    assert_eq!(admin.command(["CLIENT", "KILL", "ID", field(&held, "id")]), Value::Integer(1));
    wait_until(SOON, "it tracks from now on", || state(&proxy) == "up");
    assert_eq!(flushes(&proxy), 1);
}

#[test]
fn there_is_no_link_where_there_is_no_near_cache() {
    let redis = Redis::start();
    let off = with(redis.url(), "near_cache.enabled = false");
    for proxy in [&off, &Proxy::embedded(), &Proxy::patient("disabled")] {
        assert_eq!(state(proxy), "off");
        assert_eq!(proxy.metrics().sum("fca_proxy_near_cache_up") as u64, 0);
    }
    assert_eq!(link_of(&redis), None);
}

#[test]
fn fca_stats_tells_of_the_near_cache_and_of_one_namespace_does_not() {
    let redis = Redis::start();
    let proxy = with(redis.url(), "");
    wait_until_up(&proxy);
    let mut client = proxy.client_resp3();
    let mut value_of = |words: &[&str], name: &str| {
        let Value::Map(pairs) = client.command(words) else { panic!("a map") };
        pairs.into_iter().find(|(key, _)| key.text() == name).map(|(_, value)| value)
    };
    assert_eq!(value_of(&["FCA.STATS"], "near_cache"), Some(Value::bulk("up")));
    assert_eq!(value_of(&["FCA.STATS"], "near_cache_evictions"), Some(Value::Integer(0)));
    assert_eq!(value_of(&["FCA.STATS", "faq"], "near_cache"), None);
    assert_eq!(value_of(&["FCA.STATS", "faq"], "near_hits"), Some(Value::Integer(0)));
}

/// A proxy with a line of configuration, so patient that a busy machine is no silence of the link.
#[track_caller]
fn with(url: String, config: &str) -> Proxy {
    Proxy::start(ProxyOptions {
        upstream: Some(url),
        config: format!("near_cache.link_timeout = \"60s\"\n{config}"),
        patience: Patience::Long,
        ..ProxyOptions::default()
    })
}

/// The URL of a user who may do anything but track keys, and a client who may change that.
fn without_tracking(redis: &Redis) -> (String, Client) {
    let mut admin = redis.client();
    let rules = ["ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-client|tracking"];
    assert_eq!(admin.command(rules), Value::ok());
    (format!("redis://app:secret@{}", redis.address()), admin)
}

#[track_caller]
fn wait_until_up(proxy: &Proxy) {
    wait_until(SOON, "the near cache may answer", || proxy.metrics().sum("fca_proxy_near_cache_up") > 0.0);
}

#[track_caller]
fn wait_until_down(proxy: &Proxy) {
    wait_until(SOON, "the near cache may not answer", || proxy.metrics().sum("fca_proxy_near_cache_up") < 1.0);
}

fn flushes(proxy: &Proxy) -> u64 {
    proxy.metrics().sum("fca_proxy_near_cache_flushes_total") as u64
}

/// What INFO says of the near cache.
#[track_caller]
fn state(proxy: &Proxy) -> String {
    let info = proxy.client().command(["INFO", "fca_proxy"]);
    let lines = info.text().lines().find_map(|line| line.strip_prefix("fca_proxy_near_cache:").map(str::to_owned));
    lines.expect("a line of this name")
}

/// The line of CLIENT LIST that is the link's.
fn link_of(redis: &Redis) -> Option<String> {
    let list = redis.client().command(["CLIENT", "LIST"]);
    list.text().lines().find(|line| line.contains(NAME)).map(str::to_owned)
}

/// The value of `name=value` in a line of CLIENT LIST.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let found = line.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.expect("a field of this name")
}
