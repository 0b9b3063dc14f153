//! Commands that are not for every client: an operator's, a replica's, a cluster client's.

use super::support::port::free_address;
use super::support::proxy::{Patience, Proxy, ProxyOptions};
use super::support::redis::{Redis, RedisOptions};
use super::support::value::Value;
use super::support::wait::{SOON, wait_until};

fn refused(name: &str) -> Value {
    Value::error(&format!("ERR {name} is refused by fca-proxy: allow it with upstream.admin_commands"))
}

fn allowing(redis: &Redis, commands: &str) -> Proxy {
    Proxy::start(ProxyOptions {
        upstream: Some(redis.url()),
        config: format!("[upstream]\nadmin_commands = [{commands}]\n"),
        patience: Patience::Long,
        ..ProxyOptions::default()
    })
}

fn debuggable() -> Redis {
    let arguments = ["--enable-debug-command", "yes"].map(str::to_owned).to_vec();
    Redis::start_with(RedisOptions { arguments, ..RedisOptions::default() })
}

#[test]
fn an_operators_command_is_refused_unless_the_configuration_names_it() {
    let redis = debuggable();
    let proxy = allowing(&redis, "");
    let mut client = proxy.client();
    let lines = [("SHUTDOWN NOSAVE", "SHUTDOWN"), ("shutdown", "SHUTDOWN"), ("FAILOVER", "FAILOVER")];
    for (line, name) in lines.into_iter().chain([("DEBUG SLEEP 0", "DEBUG")]) {
        assert_eq!(client.say(line), refused(name));
        assert_eq!(client.say("MULTI"), Value::ok());
        assert_eq!(client.say(line), refused(name));
        assert_eq!(client.say("SET k v"), Value::simple("QUEUED"));
        assert!(client.say("EXEC").text().starts_with("EXECABORT"), "{line}");
        assert_eq!(client.say("GET k"), Value::Nil);
    }
    // A reload opens one gate, and shuts it again.
    proxy.reload_with("[upstream]\nadmin_commands = [\"debug\"]\n");
    wait_until(SOON, "DEBUG is let through", || client.say("DEBUG SLEEP 0") == Value::ok());
    assert_eq!(client.say("SHUTDOWN NOSAVE"), refused("SHUTDOWN"));
    proxy.reload_with("");
    wait_until(SOON, "DEBUG is refused", || client.say("DEBUG SLEEP 0") == refused("DEBUG"));
    assert_eq!(client.say("PING"), Value::simple("PONG"));
}

#[test]
fn an_operators_command_that_is_allowed_reaches_the_upstream() {
    let mut redis = debuggable();
    let proxy = allowing(&redis, "\"debug\", \"failover\", \"shutdown\"");
    let (mut client, mut direct) = (proxy.client(), redis.client());
    for line in ["DEBUG SLEEP 0", "DEBUG", "FAILOVER ABORT", "SHUTDOWN NONSENSE", "SHUTDOWN ABORT"] {
        assert_eq!(client.say(line), direct.say(line), "{line}");
    }
    assert_eq!(client.say("MULTI"), Value::ok());
    assert_eq!(client.say("DEBUG SLEEP 0"), Value::simple("QUEUED"));
    assert_eq!(client.say("EXEC"), Value::Array(vec![Value::ok()]));
    // The upstream goes without a word, and the proxy goes on.
    assert_eq!(client.say("SHUTDOWN NOSAVE"), Value::Nil);
    wait_until(SOON, "nobody is there", || !redis.answers_ping());
    assert_eq!(client.say("PING"), Value::simple("PONG"));
    redis.restart();
    wait_until(SOON, "it is found again", || client.say("SET k v") == Value::ok());
}

#[test]
fn a_replica_and_a_debugger_are_told_where_to_go() {
    let redis = Redis::start();
    let proxy = allowing(&redis, "\"debug\", \"failover\", \"shutdown\"");
    let mut client = proxy.client();
    for (line, name) in [("SYNC", "SYNC"), ("PSYNC ? -1", "PSYNC"), ("REPLCONF capa eof", "REPLCONF")] {
        let text = format!("ERR {name} is refused by fca-proxy: a replica must connect to Redis itself");
        assert_eq!(client.say(line), Value::error(&text));
    }
    for line in ["SCRIPT DEBUG YES", "script debug sync"] {
        let text = "ERR SCRIPT DEBUG is refused by fca-proxy: a debugger must connect to Redis itself";
        assert_eq!(client.say(line), Value::error(text));
    }
    for line in ["SCRIPT", "SCRIPT EXISTS ffff", "SCRIPT FLUSH"] {
        assert_eq!(client.say(line), redis.client().say(line), "{line}");
    }
}

#[test]
fn a_cluster_client_is_answered_as_by_a_redis_that_is_no_node() {
    let redis = Redis::start();
    // By default ten thousand above its port, which may be no port.
    let bus_port = free_address().port().to_string();
    let cluster_arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus_port].map(str::to_owned).to_vec();
    let node = Redis::start_with(RedisOptions { arguments: cluster_arguments, ..RedisOptions::default() });
    let mut direct = redis.client();
    for upstream in [&redis, &node] {
        let proxy = Proxy::patient(upstream.url());
        let mut client = proxy.client();
        for line in ["READONLY", "READWRITE", "ASKING", "READONLY x", "asking x y"] {
            assert_eq!(client.say(line), direct.say(line), "{line}");
        }
        for line in ["MULTI", "READONLY", "EXEC", "MULTI", "ASKING x", "EXEC"] {
            assert_eq!(client.say(line), direct.say(line), "{line}");
        }
    }
}

#[test]
fn the_embedded_store_does_not_know_these_commands() {
    let proxy = Proxy::embedded();
    let mut client = proxy.client();
    for line in ["SHUTDOWN NOSAVE", "DEBUG SLEEP 0", "READONLY", "PSYNC ? -1", "SCRIPT DEBUG YES"] {
        let reply = client.say(line);
        assert!(reply.is_error() && reply.text().starts_with("ERR unknown command"), "{line}: {reply:?}");
    }
}
