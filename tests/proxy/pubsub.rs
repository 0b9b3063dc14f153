//! What the server says unasked: messages, MONITOR, invalidations; and CLIENT REPLY.

use crate::support::client::Client;
use crate::support::proxy::{Patience, Proxy, ProxyOptions};
use crate::support::random::Random;
use crate::support::redis::Redis;
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};
use std::time::Duration;

/// A client of the proxy and one of Redis, in the same version of the protocol.
fn pair(proxy: &Proxy, redis: &Redis, resp3: bool) -> (Client, Client) {
    match resp3 {
        false => (proxy.client(), redis.client()),
        true => (proxy.client_resp3(), Client::connect_resp3(redis.address())),
    }
}

/// A proxy that has made the one connection that it makes unasked, and says nothing more on it by itself.
fn alone(redis: &Redis) -> Proxy {
    let proxy = Proxy::start(ProxyOptions {
        upstream: Some(redis.url()),
        config: "near_cache.enabled = false".to_owned(),
        arguments: vec!["--workers", "1"],
        patience: Patience::Long,
    });
    assert_eq!(proxy.client().say("SET k v"), Value::ok());
    proxy
}

/// Sends the same to both and compares so many frames of the answer.
#[track_caller]
fn same(pair: &mut (Client, Client), line: &str, frames: usize) {
    pair.0.send(line.split(' '));
    pair.1.send(line.split(' '));
    for frame in 0..frames {
        let (proxied, direct) = (pair.0.raw_reply(), pair.1.raw_reply());
        assert_eq!(proxied.escape_ascii().to_string(), direct.escape_ascii().to_string(), "{line}, frame {frame}");
    }
}

#[test]
fn subscriptions_are_confirmed_and_heard_as_from_redis() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut publisher = proxy.client();
    for resp3 in [false, true] {
        let mut pair = pair(&proxy, &redis, resp3);
        same(&mut pair, "SUBSCRIBE a b a", 3);
        same(&mut pair, "PSUBSCRIBE n* m*", 2);
        same(&mut pair, "SSUBSCRIBE s", 1);
        same(&mut pair, "UNSUBSCRIBE none", 1);
        for (channel, hears) in [("a", 1), ("b", 1), ("news", 1), ("c", 0)] {
            assert_eq!(publisher.say(&format!("PUBLISH {channel} hello")), Value::Integer(2 * hears));
            for _ in 0..hears {
                assert_eq!(pair.0.raw_reply(), pair.1.raw_reply());
            }
        }
        assert_eq!(publisher.say("SPUBLISH s hello"), Value::Integer(2));
        assert_eq!(pair.0.raw_reply(), pair.1.raw_reply());
        same(&mut pair, "PING", 1);
        same(&mut pair, "PING hello", 1);
        same(&mut pair, "SUBSCRIBE", 1);
        same(&mut pair, "UNSUBSCRIBE", 2);
        same(&mut pair, "PUNSUBSCRIBE m*", 1);
        same(&mut pair, "PUNSUBSCRIBE", 1);
        same(&mut pair, "PUNSUBSCRIBE", 1);
        same(&mut pair, "SUNSUBSCRIBE", 1);
        same(&mut pair, "UNSUBSCRIBE", 1);
        same(&mut pair, "UNSUBSCRIBE x y", 2);
        same(&mut pair, "PING", 1);
        same(&mut pair, "GET a", 1);
    }
    let mut client = proxy.client();
    assert_eq!(
        client.say("PUBSUB NUMSUB a"),
        Value::Array(vec![Value::bulk("a"), Value::Integer(0)]),
        "nobody is left"
    );
}

#[test]
fn a_subscribed_client_of_resp2_may_ask_for_little_and_of_resp3_for_all() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    for resp3 in [false, true] {
        let mut pair = pair(&proxy, &redis, resp3);
        same(&mut pair, "SUBSCRIBE a", 1);
        for line in [
            "GET k",
            "SET k v",
            "ECHO x",
            "SELECT 1",
            "SELECT 0",
            "MULTI",
            "WATCH k",
            "NOSUCH",
            "CLIENT GETNAME",
            "PING",
        ] {
            same(&mut pair, line, 1);
            if line == "MULTI" && resp3 {
                same(&mut pair, "INCR n", 1);
                same(&mut pair, "DISCARD", 1);
            }
        }
        pair.0.send(["FCA.KEY", "faq", "q"]);
        let reply = pair.0.reply();
        assert_eq!(reply.is_error(), !resp3, "{reply:?}");
        assert!(resp3 || reply.text().starts_with("ERR Can't execute 'fca.key': only (P|S)SUBSCRIBE"), "{reply:?}");
        same(&mut pair, "RESET", 1);
        same(&mut pair, "GET k", 1);
        assert!(pair.0.hears_nothing_for(Duration::from_millis(5)));
    }
}

#[test]
fn messages_and_replies_mix_on_one_connection_in_order() {
    const MESSAGES: usize = 2000;
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut client, mut publisher) = (proxy.client_resp3(), redis.client());
    client.send(["SUBSCRIBE", "a"]);
    client.reply();
    let publishing = std::thread::spawn(move || {
        for number in 0..MESSAGES {
            publisher.command(["PUBLISH", "a", &number.to_string()]);
        }
    });
    let mut random = Random::seeded(7);
    let (mut heard, mut asked, mut answered) = (0, 0, 0);
    while heard < MESSAGES || answered < asked {
        if heard < MESSAGES && asked - answered < 20 && random.below(2) == 0 {
            client.send(["ECHO", &format!("echo {asked}")]);
            client.send(["SET", "k", &asked.to_string()]);
            client.send(["GET", "k"]);
            asked += 3;
        }
        match client.reply() {
            Value::Push(words) => {
                assert_eq!(words[2], Value::bulk(heard.to_string()));
                heard += 1;
            }
            reply => {
                let number = answered - answered % 3;
                let expected = match answered % 3 {
                    0 => Value::bulk(format!("echo {number}")),
                    1 => Value::ok(),
                    _ => Value::bulk(number.to_string()),
                };
                assert_eq!(reply, expected);
                answered += 1;
            }
        }
    }
    publishing.join().expect("it publishes");
}

#[test]
fn a_subscriber_holds_one_connection_and_gives_it_back() {
    let redis = Redis::start();
    let proxy = alone(&redis);
    let received = || redis.info("stats")["total_connections_received"].parse::<u64>().expect("a number");
    let mut client = proxy.client();
    client.say("SUBSCRIBE a");
    client.say("UNSUBSCRIBE a");
    let before = received();
    for round in 0..20 {
        client.say(&format!("SUBSCRIBE {round}"));
        client.say("UNSUBSCRIBE");
        assert_eq!(client.say("SET k v"), Value::ok());
        // The connection that was given back carries no trace of it.
        assert_eq!(client.say("MULTI"), Value::ok());
        assert_eq!(client.say("PUBLISH 1 x"), Value::simple("QUEUED"));
        assert_eq!(client.say("EXEC"), Value::Array(vec![Value::Integer(0)]));
    }
    // `info` has a connection of its own each time.
    assert!(received() - before <= 1, "{} connections", received() - before);
}

#[test]
fn a_watch_survives_a_subscription_and_both_leave_no_trace() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut client, mut direct) = (proxy.client_resp3(), redis.client());
    for changes in [true, false] {
        client.say("SET k 1");
        assert_eq!(client.say("WATCH k"), Value::ok());
        client.say("SUBSCRIBE a");
        if changes {
            direct.say("SET k 2");
        }
        assert_eq!(client.say("MULTI"), Value::ok());
        assert_eq!(client.say("INCR k"), Value::simple("QUEUED"));
        assert_eq!(client.say("EXEC").is_nil(), changes);
        client.say("UNSUBSCRIBE");
        assert_eq!(client.say("SET k 3"), Value::ok());
    }
    // One that vanishes in the middle of everything.
    for line in ["WATCH k", "SUBSCRIBE gone", "MULTI", "SET k lost"] {
        client.say(line);
    }
    drop(client);
    let numsub = || redis.client().say("PUBSUB NUMSUB gone");
    wait_until(SOON, "it is unsubscribed", || numsub() == Value::Array(vec![Value::bulk("gone"), Value::Integer(0)]));
    let mut next = proxy.client_resp3();
    for (line, reply) in
        [("MULTI", Value::ok()), ("GET k", Value::simple("QUEUED")), ("EXEC", Value::Array(vec![Value::bulk("3")]))]
    {
        assert_eq!(next.say(line), reply);
    }
}

#[test]
fn a_subscriber_hears_of_a_lost_upstream_by_the_end_of_its_connection() {
    let mut redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut subscriber, mut other) = (proxy.client(), proxy.client());
    subscriber.say("SUBSCRIBE a");
    redis.kill();
    assert_eq!(subscriber.read_until_closed(), b"");
    assert!(other.say("GET k").is_nil());
    let mut again = proxy.client();
    assert!(again.say("SUBSCRIBE a").text().starts_with("ERR upstream unreachable"));
    assert_eq!(again.say("PING"), Value::simple("PONG"), "and it goes on");
    redis.restart();
    wait_until(SOON, "Redis is back", || !again.say("SUBSCRIBE a").is_error());
    wait_until(SOON, "others hear Redis too", || other.say("PUBLISH a x") == Value::Integer(1));
    assert!(format!("{:?}", again.reply()).contains("message"));
}

#[test]
fn a_subscription_inside_multi_is_refused_and_aborts_it() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut client = proxy.client();
    assert_eq!(client.say("MULTI"), Value::ok());
    assert!(client.say("SUBSCRIBE a").is_error());
    assert!(client.say("EXEC").text().starts_with("EXECABORT"));
    assert_eq!(client.say("SET k v"), Value::ok());
}

#[test]
fn monitor_shows_every_request_until_reset() {
    let redis = Redis::start();
    let proxy = alone(&redis);
    for connect in [Proxy::client, Proxy::client_resp3] {
        let (mut monitor, mut other) = (connect(&proxy), proxy.client());
        assert_eq!(monitor.say("MONITOR"), Value::ok());
        for number in 0..50 {
            other.command(["SET", "k", &number.to_string()]);
        }
        for number in 0..50 {
            let line = monitor.reply();
            assert!(line.text().ends_with(&format!("\"SET\" \"k\" \"{number}\"")), "{line:?}");
        }
        // Redis answers a client that monitors, but lets it at no key.
        assert_eq!(monitor.say("GET k"), Value::error("ERR Replica can't interact with the keyspace"));
        assert_eq!(monitor.say("ECHO x"), Value::bulk("x"));
        assert_eq!(monitor.say("RESET"), Value::simple("RESET"));
        other.say("SET k v");
        assert_eq!(monitor.say("GET k"), Value::bulk("v"), "no line of MONITOR before it");
    }
}

#[test]
fn client_reply_silences_what_redis_would_silence() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let script = "SET k 1|CLIENT REPLY SKIP|INCR k|GET k|CLIENT REPLY SKIP|CLIENT REPLY SKIP|INCR k|GET k|CLIENT REPLY OFF|\
                  INCR k|NOSUCH|ECHO x|CLIENT REPLY SKIP|INCR k|MULTI|INCR k|EXEC|CLIENT REPLY ON|GET k|CLIENT REPLY|\
                  CLIENT REPLY MAYBE|CLIENT REPLY SKIP|CLIENT REPLY ON|GET k|CLIENT REPLY OFF|HELLO 3|SELECT 1|SELECT 0|\
                  CLIENT REPLY ON|GET k|CLIENT REPLY OFF|RESET|GET k|PING end";
    let bytes: Vec<u8> =
        script.split('|').flat_map(|line| crate::support::client::encode(line.split_whitespace())).collect();
    let heard: Vec<String> = [proxy.client(), redis.client()]
        .into_iter()
        .map(|mut client| {
            client.say("FLUSHALL");
            client.send_raw(&bytes);
            let mut heard = Vec::new();
            while !heard.ends_with(b"$3\r\nend\r\n") {
                heard.extend(client.raw_reply());
            }
            heard.escape_ascii().to_string()
        })
        .collect();
    assert_eq!(heard[0], heard[1]);
    // The commands of the proxy itself as well.
    let mut client = proxy.client();
    for line in ["CLIENT REPLY OFF", "FCA.SET faq q v", "FCA.GET faq q", "CLIENT REPLY ON"] {
        client.send(line.split(' '));
    }
    assert_eq!(client.reply(), Value::ok());
    assert_eq!(client.say("FCA.GET faq q"), Value::bulk("v"));
}

#[test]
fn client_reply_silences_neither_confirmations_nor_messages() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut publisher = redis.client();
    for resp3 in [false, true] {
        let mut pair = pair(&proxy, &redis, resp3);
        same(&mut pair, "CLIENT REPLY OFF", 0);
        same(&mut pair, "UNSUBSCRIBE", 1);
        same(&mut pair, "SUBSCRIBE a b", 2);
        same(&mut pair, "PSUBSCRIBE", 0);
        same(&mut pair, "UNSUBSCRIBE a", 1);
        assert_eq!(publisher.say("PUBLISH b message"), Value::Integer(2));
        same(&mut pair, "PING unheard", 1);
        same(&mut pair, "RESET", 1);
        same(&mut pair, "CLIENT REPLY SKIP", 0);
        same(&mut pair, "PUNSUBSCRIBE x", 1);
        same(&mut pair, "CLIENT REPLY SKIP", 0);
        same(&mut pair, "RESET", 0);
        same(&mut pair, "CLIENT REPLY SKIP", 0);
        same(&mut pair, "SSUBSCRIBE s", 1);
        same(&mut pair, "RESET", 1);
    }
}

#[test]
fn client_reply_silences_what_monitor_shows() {
    let redis = Redis::start();
    // What is shown before CLIENT REPLY OFF is heard.
    let proxy = alone(&redis);
    for connect in [Proxy::client, Proxy::client_resp3] {
        let mut client = connect(&proxy);
        assert_eq!(client.say("MONITOR"), Value::ok());
        client.send(["CLIENT", "REPLY", "OFF"]);
        client.send(["TIME"]);
        assert_eq!(client.say("RESET"), Value::simple("RESET"));
    }
}

#[test]
fn client_reply_silences_the_answer_to_a_large_request() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut client = proxy.client();
    client.send(["CLIENT", "REPLY", "OFF"]);
    client.send([&b"SET"[..], b"k", &vec![b'x'; 1024 * 1024]]);
    client.send(["CLIENT", "REPLY", "ON"]);
    client.send(["STRLEN", "k"]);
    assert_eq!(client.reply(), Value::ok());
    assert_eq!(client.reply(), Value::Integer(1024 * 1024));
}

/// Redis before 7.2 pushes it in the middle of EXEC's reply.
#[test]
fn what_a_client_publishes_to_itself_in_a_transaction_leaves_its_replies_in_order() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    // The second transaction has an answer in it that is put together here.
    let script = "HELLO 3|SUBSCRIBE news|MULTI|SET k 1|PUBLISH news one|INCR k|EXEC|INCR k|MULTI|PUBLISH news two|\
                  CLIENT GETNAME|INCR k|EXEC|GET k|UNSUBSCRIBE|RESET|QUIT";
    let bytes: Vec<u8> =
        script.split('|').flat_map(|line| crate::support::client::encode(line.split_whitespace())).collect();
    let heard = [proxy.client(), redis.client()].map(|mut client| {
        client.send_raw(&bytes);
        let heard = client.read_until_closed();
        let behind_hello = memchr::memmem::find(&heard, b"$9\r\nsubscribe").unwrap();
        heard[behind_hello..].escape_ascii().to_string()
    });
    assert_eq!(heard[0], heard[1]);
    assert_eq!(proxy.metrics().sum("fca_proxy_upstream_reply_mismatches_total"), 0.0);
}

/// Between the request and its confirmation nothing else says that the connection is about to change.
#[test]
fn a_connection_whose_client_is_closed_while_it_subscribes_is_nobody_elses() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut direct = redis.client();
    let metric = |name: &str| proxy.metrics().sum(name);
    for (hello, line) in
        [("HELLO 2", "SUBSCRIBE news"), ("HELLO 2", "MONITOR"), ("HELLO 3", "CLIENT TRACKING ON BCAST")]
    {
        let (mut client, mut killer) = (proxy.client(), proxy.client());
        client.say(hello);
        let Value::Integer(id) = client.say("CLIENT ID") else { panic!("no number") };
        // Connected, so that what is sent next is on its way at once.
        client.say("WATCH k");
        redis.stop();
        client.send(line.split(' '));
        wait_until(SOON, "it is on its way", || metric("fca_proxy_upstream_requests_in_flight") > 0.0);
        assert_eq!(killer.say(&format!("CLIENT KILL ID {id}")), Value::Integer(1));
        assert_eq!(client.read_until_closed(), b"");
        redis.cont();
        wait_until(SOON, "nothing is on its way", || metric("fca_proxy_upstream_requests_in_flight") == 0.0);
        let mut others = [proxy.client(), proxy.client(), proxy.client()];
        for other in &mut others {
            other.say(hello);
            assert_eq!(other.say("WATCH k"), Value::ok(), "{line}");
        }
        direct.say("PUBLISH news message");
        direct.say("SET k v");
        for other in &mut others {
            assert_eq!(other.say("MULTI"), Value::ok(), "{line}");
            assert!(other.say("EXEC").is_nil(), "{line}: it was changed");
            assert_eq!(other.say("ECHO x"), Value::bulk("x"), "{line}");
        }
    }
    assert_eq!(metric("fca_proxy_upstream_reply_mismatches_total"), 0.0);
}

#[test]
fn invalidations_reach_the_client_that_tracks() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut client, mut writer, mut other) = (proxy.client_resp3(), redis.client(), proxy.client_resp3());
    let invalidated = |keys: &[&str]| {
        Value::Push(vec![Value::bulk("invalidate"), Value::Array(keys.iter().map(|key| Value::bulk(*key)).collect())])
    };
    writer.say("MSET k 1 user:1 a");
    for (on, reads, hears) in [
        ("CLIENT TRACKING ON", "GET k", true),
        ("CLIENT TRACKING ON OPTIN", "GET k", false),
        ("CLIENT TRACKING ON OPTOUT", "GET k", true),
        ("CLIENT TRACKING ON BCAST PREFIX user:", "PING", false),
    ] {
        assert_eq!(client.say(on), Value::ok(), "{on}");
        client.say(reads);
        other.say("GET k");
        writer.say("SET k 2");
        if hears {
            assert_eq!(client.reply(), invalidated(&["k"]), "{on}");
        }
        if on.contains("OPTIN") {
            assert_eq!(client.say("CLIENT CACHING YES"), Value::ok());
            assert_eq!(client.say("GET k"), Value::bulk("2"));
            writer.say("SET k 3");
            assert_eq!(client.reply(), invalidated(&["k"]));
        }
        if on.contains("BCAST") {
            writer.say("SET user:1 b");
            assert_eq!(client.reply(), invalidated(&["user:1"]));
        }
        let info = format!("{:?}", client.say("CLIENT TRACKINGINFO"));
        assert!(info.contains("on"), "{info}");
        assert_eq!(client.say("CLIENT GETREDIR"), Value::Integer(0));
        assert_eq!(client.say("CLIENT TRACKING OFF"), Value::ok());
        assert_eq!(client.say("CLIENT GETREDIR"), Value::Integer(-1));
        writer.say("SET k 1");
        assert_eq!(client.say("GET k"), Value::bulk("1"), "nothing more is pushed");
    }
    assert!(other.hears_nothing_for(Duration::from_millis(5)), "who does not track hears nothing");
    assert!(client.say("CLIENT CACHING YES").is_error());
    assert!(client.say("CLIENT TRACKING MAYBE").is_error());
    assert!(client.say("CLIENT TRACKING ON PREFIX x").is_error());
    assert_eq!(client.say("GET k"), Value::bulk("1"));
}

#[test]
fn who_tracks_hears_of_its_own_writes_unless_it_asked_not_to() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut client = proxy.client_resp3();
    assert_eq!(client.say("CLIENT TRACKING ON"), Value::ok());
    assert!(client.say("FCA.GET faq q").is_nil());
    assert_eq!(client.say("SET k 1"), Value::ok());
    assert_eq!(client.say("GET k"), Value::bulk("1"));
    client.send(["SET", "k", "2"]);
    let mut frames = [client.reply(), client.reply()];
    frames.sort_by_key(|frame| *frame != Value::ok());
    assert!(matches!(&frames, [ok, Value::Push(_)] if *ok == Value::ok()), "{frames:?}");
    drop(client);
    let mut client = proxy.client_resp3();
    assert_eq!(client.say("CLIENT TRACKING ON NOLOOP"), Value::ok());
    client.say("GET k");
    assert_eq!(client.say("SET k 3"), Value::ok());
    assert_eq!(client.say("GET k"), Value::bulk("3"));
}

#[test]
fn invalidations_can_go_to_another_client_of_the_proxy() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut tracker, mut writer) = (proxy.client(), redis.client());
    // Over two workers; one target that is subscribed, one that never sent a command that needs a connection.
    let mut targets = Vec::new();
    for subscribes in [true, true, true, true, false, false] {
        let mut target = if subscribes { proxy.client() } else { proxy.client_resp3() };
        let id = target.say("CLIENT ID").integer();
        if subscribes {
            assert!(!target.say("SUBSCRIBE __redis__:invalidate").is_error());
        }
        targets.push((target, id));
    }
    for (target, id) in &mut targets {
        assert_eq!(tracker.say(&format!("CLIENT TRACKING ON REDIRECT {id}")), Value::ok());
        assert_eq!(tracker.say("CLIENT GETREDIR"), Value::Integer(*id));
        tracker.say("GET k");
        writer.say("SET k v");
        let heard = format!("{:?}", target.reply());
        assert!(heard.contains("invalidate") && heard.contains('k'), "{heard}");
        // The server looks for the client also where tracking is turned off.
        assert_eq!(tracker.say(&format!("CLIENT TRACKING OFF REDIRECT {id}")), Value::ok());
        assert_eq!(tracker.say("CLIENT GETREDIR"), Value::Integer(-1));
    }
    let own = tracker.say("CLIENT ID").integer();
    assert_eq!(tracker.say(&format!("CLIENT TRACKING ON REDIRECT {own}")), Value::ok());
    assert_eq!(tracker.say(&format!("CLIENT TRACKING OFF REDIRECT {own}")), Value::ok());
    let gone = "ERR The client ID you want redirect to does not exist";
    assert_eq!(tracker.say("CLIENT TRACKING ON REDIRECT 999999"), Value::error(gone));
    assert!(tracker.say("CLIENT TRACKING ON REDIRECT x").is_error());
    assert!(tracker.say("CLIENT TRACKING ON REDIRECT").is_error());
    assert_eq!(tracker.say("CLIENT GETREDIR"), Value::Integer(-1));
    assert_eq!(tracker.say("GET k"), Value::bulk("v"));
}

#[test]
fn a_library_that_must_track_connects_while_redis_is_gone_and_anew_when_it_is_back() {
    let mut redis = Redis::start();
    let url = redis.url();
    redis.kill();
    let proxy = Proxy::patient(url);
    let mut client = proxy.client_resp3();
    for line in ["CLIENT TRACKING ON OPTIN", "CLIENT CACHING YES"] {
        assert_eq!(client.say(line), Value::ok(), "{line}");
    }
    assert!(client.say("GET k").is_nil());
    redis.restart();
    wait_until(SOON, "its connection ends", || client.try_command(["GET", "k"]).is_err());
    let mut again = proxy.client_resp3();
    assert_eq!(again.say("CLIENT TRACKING ON OPTIN"), Value::ok());
    assert_eq!(again.say("CLIENT CACHING YES"), Value::ok());
    assert!(again.say("GET k").is_nil());
    redis.client().say("SET k v");
    assert!(matches!(again.reply(), Value::Push(_)), "it is told");
    let embedded = Proxy::embedded();
    let refused = "ERR CLIENT TRACKING is not supported by the embedded store";
    assert_eq!(embedded.client_resp3().say("CLIENT TRACKING ON"), Value::error(refused));
}
