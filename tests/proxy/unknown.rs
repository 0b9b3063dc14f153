//! Commands that the proxy's table lacks: a Redis whose commands were given other names stands for one with modules.

use super::support::client::Client;
use super::support::proxy::{Proxy, SHORT};
use super::support::redis::{Redis, RedisOptions};
use super::support::value::Value;
use super::support::wait::{SOON, wait_until};

fn redis_with_strange_names() -> Redis {
    let renamed = [("BLPOP", "made.blpop"), ("GET", "made.get")];
    let words = renamed.iter().flat_map(|(name, made)| ["--rename-command", name, made]);
    Redis::start_with(RedisOptions { arguments: words.map(str::to_owned).collect(), ..RedisOptions::default() })
}

/// How often the server was asked what a command is.
fn lessons(redis: &Redis) -> u64 {
    redis.calls("command|info")
}

#[test]
fn a_command_that_may_wait_holds_nobody_up_though_nobody_knows_it() {
    let redis = redis_with_strange_names();
    // A budget that it outlives.
    let proxy = Proxy::with_short_patience(redis.url());
    for connect in [Proxy::client, Proxy::client_resp3] {
        let mut waiting: Vec<Client> = (0..4).map(|_| connect(&proxy)).collect();
        for client in &mut waiting {
            // Behind other requests, and twice, since the second time it is known.
            client.send_raw(b"SET k v\r\nMade.Blpop l 0\r\nmade.get k\r\n");
            assert_eq!(client.reply(), Value::ok());
        }
        wait_until(SOON, "all of them wait", || redis.info("clients")["blocked_clients"] == "4");
        let mut other = connect(&proxy);
        assert_eq!(other.say("MADE.GET k"), Value::bulk("v"));
        for client in &mut waiting {
            assert!(client.hears_nothing_for(SHORT / 3));
        }
        // Redis serves whoever has waited longest, which need not be the first of them.
        assert_eq!(other.say("RPUSH l x x x x"), Value::Integer(4));
        for client in &mut waiting {
            assert_eq!(client.reply(), Value::bulks(["l", "x"]));
            assert_eq!(client.reply(), Value::bulk("v"));
        }
    }
    assert!(lessons(&redis) <= 2 * 4, "once for each name and worker, but for those that ask at one moment");
}

#[test]
fn what_was_learned_is_kept_until_the_server_may_be_another() {
    let mut redis = redis_with_strange_names();
    let proxy = Proxy::patient(redis.url());
    let mut client = proxy.client();
    for _ in 0..10 {
        assert_eq!(client.say("made.get k"), Value::Nil);
        assert_eq!(client.say("MADE.GET k"), Value::Nil);
    }
    assert_eq!(lessons(&redis), 1);
    redis.kill();
    redis.restart();
    wait_until(SOON, "it is found again", || client.say("SET k v") == Value::ok());
    for _ in 0..10 {
        assert_eq!(client.say("made.get k"), Value::bulk("v"));
    }
    assert_eq!(lessons(&redis), 1, "asked anew, and once");
}

#[test]
fn what_nobody_knows_is_answered_by_the_server_in_its_place() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let long = format!("{} x", "n".repeat(100));
    let lines = ["SET k 1", "NONSENSE x", "INCR k", "nonsense", "\u{fc}nknown", &long, "GET k"];
    for (mut through, mut direct) in
        [(proxy.client(), redis.client()), (proxy.client_resp3(), Client::connect_resp3(redis.address()))]
    {
        let commands = lines.map(|line| line.split(' ').collect());
        assert_eq!(through.pipeline(&commands), direct.pipeline(&commands));
        for line in ["MULTI", "NONSENSE", "EXEC", "WATCH k", "NONSENSE", "GET k", "UNWATCH"] {
            assert_eq!(through.say(line), direct.say(line), "{line}");
        }
        through.send_raw(b"NONSENSE y\r\n");
        through.close_writing();
        assert!(through.reply().is_error());
    }
}

#[test]
fn an_upstream_that_can_not_say_what_a_command_is_costs_no_more_than_the_budget() {
    let mut redis = redis_with_strange_names();
    let proxy = Proxy::with_short_patience(redis.url());
    let mut client = proxy.client();
    assert_eq!(client.say("SET k v"), Value::ok());
    redis.stop();
    assert!(client.say("made.get k").is_nil());
    redis.cont();
    wait_until(SOON, "it is asked again", || client.say("made.get k") == Value::bulk("v"));
    redis.kill();
    wait_until(SOON, "the upstream is gone", || client.say("FCA.AVAILABLE") == Value::Integer(0));
    assert!(client.say("made.get k").is_nil());
    assert!(client.say("made.other k").is_nil());
}

#[test]
fn what_could_not_be_learned_of_one_command_is_no_word_about_another() {
    let redis = redis_with_strange_names();
    let proxy = Proxy::with_short_patience(redis.url());
    let mut client = proxy.client();
    // One on every worker, so that one shares its lane.
    let mut others: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    let mut all_are_served = |client: &mut Client, value: &str| {
        wait_until(SOON, "the upstream answers", || client.command(["SET", "k", value]) == Value::ok());
        for other in &mut others {
            wait_until(SOON, "and on every worker", || other.say("MGET k") == Value::bulks([value]));
        }
    };
    all_are_served(&mut client, "v");
    redis.stop();
    assert!(client.say("made.get k").is_nil());
    redis.cont();
    all_are_served(&mut client, "w");
    client.send_raw(b"made.blpop l 0\r\n");
    wait_until(SOON, "it waits", || redis.info("clients")["blocked_clients"] == "1");
    for other in &mut others {
        assert_eq!(other.say("STRLEN k"), Value::Integer(1));
    }
    assert_eq!(others[0].say("RPUSH l x"), Value::Integer(1));
    assert_eq!(client.reply(), Value::bulks(["l", "x"]));
}
