//! Commands that wait in the server, and their clients: who waits, who does not, and what is left when they go.

use crate::support::client::Client;
use crate::support::proxy::{Proxy, SHORT};
use crate::support::redis::{Redis, RedisOptions};
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};
use std::time::Duration;

/// Waits until so many clients wait in Redis.
fn wait_for_blocked(redis: &Redis, count: u64) {
    wait_until(SOON, "clients wait in Redis", || redis.info("clients")["blocked_clients"] == count.to_string());
}

/// Every command that waits, and what it answers once `v` was pushed to `l`, or added to `z` or `x`.
const WAITING: [(&str, &str); 10] = [
    ("BLPOP l 0", "RPUSH l v"),
    ("BRPOP none l 0", "RPUSH l v"),
    ("BLMOVE l m LEFT LEFT 0", "RPUSH l v"),
    ("BRPOPLPUSH l m 0", "RPUSH l v"),
    ("BLMPOP 0 1 l LEFT", "RPUSH l v"),
    ("BZPOPMIN z 0", "ZADD z 1 v"),
    ("BZPOPMAX z 0", "ZADD z 1 v"),
    ("BZMPOP 0 1 z MIN", "ZADD z 1 v"),
    ("XREAD BLOCK 0 STREAMS x $", "XADD x 1-1 f v"),
    ("XREADGROUP GROUP g c BLOCK 0 STREAMS y >", "XADD y 1-1 f v"),
];

#[test]
fn a_waiting_client_holds_nobody_up_and_is_woken() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    for connect in [Proxy::client, Proxy::client_resp3] {
        let (mut waiting, mut other, mut direct) = (connect(&proxy), proxy.client(), redis.client());
        for (command, wakes) in WAITING {
            direct.say("FLUSHALL");
            direct.say("XGROUP CREATE y g $ MKSTREAM");
            waiting.send(command.split(' '));
            wait_for_blocked(&redis, 1);
            assert_eq!(other.say("SET k v"), Value::ok(), "{command}");
            assert_eq!(other.say("GET k"), Value::bulk("v"), "{command}");
            assert!(waiting.hears_nothing_for(Duration::from_millis(30)), "{command}");
            assert!(!other.say(wakes).is_error());
            let reply = waiting.reply();
            assert!(format!("{reply:?}").contains('v') && !reply.is_error(), "{command}: {reply:?}");
            assert_eq!(waiting.say("GET k"), Value::bulk("v"), "{command}");
        }
    }
}

#[test]
fn a_waiting_client_outlives_the_budget_and_what_waits_with_it_too() {
    let redis = Redis::start();
    let proxy = Proxy::with_short_patience(redis.url());
    let (mut for_ever, mut for_a_while, mut direct) = (proxy.client(), proxy.client_resp3(), redis.client());
    for_ever.send_raw(b"BLPOP l 0\r\nGET k\r\n");
    for_a_while.send_raw(format!("BLPOP m {}\r\nGET k\r\n", SHORT.as_secs_f64() + 0.3));
    wait_for_blocked(&redis, 2);
    assert_eq!(direct.say("SET k v"), Value::ok());
    assert!(for_ever.hears_nothing_for(SHORT + SHORT / 4));
    assert_eq!(for_a_while.reply(), Value::Nil);
    assert_eq!(direct.say("RPUSH l v"), Value::Integer(1));
    assert_eq!(for_ever.reply(), Value::bulks(["l", "v"]));
    for client in [&mut for_ever, &mut for_a_while] {
        assert_eq!(client.reply(), Value::bulk("v"));
    }
}

#[test]
fn a_time_that_is_up_is_answered_as_redis_does() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    for (mut client, mut direct) in
        [(proxy.client(), redis.client()), (proxy.client_resp3(), Client::connect_resp3(redis.address()))]
    {
        for line in [
            "BLPOP l 0.3",
            "BLMOVE a b LEFT LEFT 0.01",
            "BRPOPLPUSH a b 0.01",
            "BLMPOP 0.01 1 l LEFT",
            "BZPOPMIN z 0.01",
            "BZMPOP 0.01 1 z MIN",
            "XREAD BLOCK 10 STREAMS x $",
            "XREAD BLOCK 10 STREAMS x 0",
            "WAIT 1 10",
            "WAIT 0 0",
            // What Redis refuses is refused at once.
            "BLPOP l",
            "BLPOP l -1",
            "BLPOP l x",
            "BLPOP l inf",
            "BLMPOP 0 0 l LEFT",
            "XREAD BLOCK x STREAMS x $",
            "WAIT x 1",
            "BZPOPMIN",
        ] {
            client.send(line.split(' '));
            direct.send(line.split(' '));
            assert_eq!(client.raw_reply(), direct.raw_reply(), "{line}");
        }
    }
}

#[test]
fn what_is_asked_behind_a_waiting_command_is_answered_behind_it() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut client, mut direct) = (proxy.client(), redis.client());
    for words in [vec!["SET", "k", "1"], vec!["BLPOP", "l", "0"], vec!["GET", "k"], vec!["INCR", "k"], vec!["PING"]] {
        client.send(words);
    }
    assert_eq!(client.reply(), Value::ok());
    wait_for_blocked(&redis, 1);
    assert_eq!(direct.say("GET k"), Value::bulk("1"), "nothing behind it is carried out yet");
    assert_eq!(direct.say("RPUSH l v"), Value::Integer(1));
    assert_eq!(client.reply(), Value::Array(vec![Value::bulk("l"), Value::bulk("v")]));
    assert_eq!(client.reply(), Value::bulk("1"));
    assert_eq!(client.reply(), Value::Integer(2));
    assert_eq!(client.reply(), Value::simple("PONG"));
}

#[test]
fn a_client_that_goes_away_while_it_waits_takes_nothing_with_it() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut direct = redis.client();
    for behind in ["", "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "*2\r\n$3\r\nGE"] {
        let mut client = proxy.client();
        client.send(["BLPOP", "l", "0"]);
        client.send_raw(behind);
        wait_for_blocked(&redis, 1);
        drop(client);
        wait_for_blocked(&redis, 0);
        assert_eq!(direct.say("RPUSH l v"), Value::Integer(1));
        assert_eq!(direct.say("LLEN l"), Value::Integer(1), "nobody was there to take it");
        direct.say("DEL l");
    }
    assert_eq!(proxy.client().say("PING"), Value::simple("PONG"));
}

#[test]
fn workers_of_a_queue_share_few_connections() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut clients: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    let mut direct = redis.client();
    for round in 0..5 {
        for client in &mut clients {
            client.send(["BLPOP", "l", "0"]);
        }
        // Asked on the one connection, since it is connections that are counted.
        wait_until(SOON, "all of them wait", || {
            direct.command(["INFO", "clients"]).text().contains("blocked_clients:20\r\n")
        });
        for number in 0..20 {
            direct.command(["RPUSH", "l", &format!("{round}:{number}")]);
        }
        let mut got: Vec<String> = clients.iter_mut().map(|client| format!("{:?}", client.reply())).collect();
        got.sort();
        got.dedup();
        assert_eq!(got.len(), 20, "every element went to one client");
    }
    let connections: u64 = redis.info("stats")["total_connections_received"].parse().expect("a number");
    assert!(connections < 20 + 20, "{connections} connections for 20 clients that waited five times");
}

#[test]
fn nothing_waits_inside_a_transaction() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut client = proxy.client();
    for line in ["MULTI", "BLPOP l 0", "XREAD BLOCK 0 STREAMS x $", "BLMOVE a b LEFT LEFT 0", "WAIT 1 0"] {
        assert!(!client.say(line).is_error(), "{line}");
    }
    assert_eq!(client.say("EXEC"), Value::Array(vec![Value::Nil, Value::Nil, Value::Nil, Value::Integer(0)]));
    assert_eq!(client.say("RPUSH l v"), Value::Integer(1));
    assert_eq!(client.say("WATCH l"), Value::ok());
    assert_eq!(client.say("BLPOP l 0"), Value::Array(vec![Value::bulk("l"), Value::bulk("v")]));
    assert_eq!(client.say("MULTI"), Value::ok());
    assert!(client.say("EXEC").is_nil(), "what was watched has changed, on the same connection");
}

#[test]
fn who_waits_is_answered_nil_when_redis_goes() {
    let mut redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    for (client, line) in
        clients.iter_mut().zip(["BLPOP l 0", "BLMOVE a b LEFT LEFT 0", "BZPOPMIN z 60", "XREAD BLOCK 0 STREAMS x $"])
    {
        client.send(line.split(' '));
    }
    wait_for_blocked(&redis, 4);
    redis.kill();
    for client in &mut clients {
        assert!(client.reply().is_nil());
        assert!(client.say("BLPOP l 0").is_nil(), "at once while it is gone");
        assert_eq!(client.say("PING"), Value::simple("PONG"));
    }
    redis.restart();
    for client in &mut clients {
        wait_until(SOON, "Redis is back, for every worker", || client.say("SET k v") == Value::ok());
    }
    clients[1].send(["BLPOP", "l", "0"]);
    wait_for_blocked(&redis, 1);
    assert_eq!(clients[0].say("RPUSH l v"), Value::Integer(1));
    assert_eq!(clients[1].reply(), Value::Array(vec![Value::bulk("l"), Value::bulk("v")]));
}

#[test]
fn a_frozen_redis_costs_a_waiting_client_its_own_time_and_the_budget() {
    let redis = Redis::start();
    let proxy = Proxy::with_short_patience(redis.url());
    let mut client = proxy.client();
    client.send(["BLPOP", "l", "3"]);
    wait_for_blocked(&redis, 1);
    redis.stop();
    assert!(client.reply().is_nil());
    redis.cont();
    // The connection on which it waited was ended, so nobody takes the element.
    wait_for_blocked(&redis, 0);
    wait_until(SOON, "Redis is back", || client.say("SET k v") == Value::ok());
    assert_eq!(client.say("RPUSH l v"), Value::Integer(1));
    assert_eq!(client.say("LLEN l"), Value::Integer(1));
}

#[test]
fn without_an_upstream_nobody_waits() {
    let proxy = Proxy::in_front_of(Redis::not_started(RedisOptions::default()).url());
    let mut client = proxy.client();
    client.send(["BLPOP", "l", "0"]);
    assert_eq!(client.raw_reply(), b"*-1\r\n", "as when its time is up");
    client.send(["BLMOVE", "a", "b", "LEFT", "LEFT", "0"]);
    assert_eq!(client.raw_reply(), b"$-1\r\n");
    let embedded = Proxy::embedded();
    assert!(embedded.client().say("BLPOP l 0").text().starts_with("ERR unknown command 'BLPOP'"));
}

#[test]
fn wait_counts_replicas_for_writes_that_went_over_a_shared_connection() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let at_once = words(&["--repl-diskless-sync-delay", "0"]);
    let redis = Redis::start_with(RedisOptions { arguments: at_once, ..RedisOptions::default() });
    let port = redis.address().port().to_string();
    let follows = words(&["--replicaof", "127.0.0.1", &port]);
    let replica = Redis::start_with(RedisOptions { arguments: follows, ..RedisOptions::default() });
    wait_until(SOON, "the replica follows", || {
        redis.info("replication").get("slave0").is_some_and(|slave| slave.contains("state=online"))
    });
    let proxy = Proxy::patient(redis.url());
    for mut client in [proxy.client(), proxy.client_resp3()] {
        assert_eq!(client.say("SET before v"), Value::ok());
        assert_eq!(client.say("WAIT 1 0"), Value::Integer(1), "it has what was written before it was frozen");
        replica.stop();
        // The write goes over a connection that others share; WAIT asks on one that has written nothing.
        assert_eq!(client.say("SET k v"), Value::ok());
        assert_eq!(client.say("WAIT 1 50"), Value::Integer(0), "it has not heard of this write");
        client.send(["WAIT", "1", "0"]);
        wait_for_blocked(&redis, 1);
        replica.cont();
        assert_eq!(client.reply(), Value::Integer(1));
    }
}
