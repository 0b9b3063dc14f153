//! One client asks about the others, or closes them: over all workers, and in Redis's words.

use super::support::client::Client;
use super::support::proxy::Proxy;
use super::support::redis::Redis;
use super::support::value::Value;
use super::support::wait::{SOON, wait_until};
use std::collections::BTreeMap;

/// More than one for each of the two workers, which are given clients in turn.
const CLIENTS: usize = 6;

/// The lines of CLIENT LIST, each as its fields in order.
fn list(client: &mut Client, line: &str) -> Vec<Vec<(String, String)>> {
    let reply = client.say(line);
    reply.text().trim_start_matches("txt:").lines().map(fields).collect()
}

fn fields(line: &str) -> Vec<(String, String)> {
    let fields = line.split(' ').map(|field| field.split_once('=').unwrap_or_else(|| panic!("{field:?} in {line:?}")));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The line of the client with this name.
fn line_of(client: &mut Client, name: &str) -> BTreeMap<String, String> {
    let lines = list(client, "CLIENT LIST");
    let line = lines.into_iter().find(|line| line.contains(&("name".to_owned(), name.to_owned())));
    line.unwrap_or_else(|| panic!("no client is called {name}")).into_iter().collect()
}

fn ids(lines: &[Vec<(String, String)>]) -> Vec<i64> {
    lines.iter().map(|line| line[0].1.parse().unwrap()).collect()
}

/// Clients on all workers, oldest first, and what CLIENT ID says to each.
fn crowd(proxy: &Proxy) -> (Vec<Client>, Vec<i64>) {
    let one = |_| {
        let mut client = proxy.client();
        let number = client.say("CLIENT ID").integer();
        (client, number)
    };
    (0..CLIENTS).map(one).unzip()
}

#[test]
fn every_client_is_told_of_whatever_worker_it_is_on() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut clients, expected) = crowd(&proxy);
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.say(&format!("CLIENT SETNAME c{n}")), Value::ok());
    }
    for client in &mut clients {
        let lines = list(client, "CLIENT LIST");
        assert_eq!(ids(&lines), expected, "in the order in which they came");
        let names: Vec<_> = lines.iter().map(|line| line[4].1.clone()).collect();
        assert_eq!(names, (0..CLIENTS).map(|n| format!("c{n}")).collect::<Vec<_>>());
        assert_eq!(ids(&list(client, "CLIENT LIST TYPE normal")), expected);
        assert_eq!(list(client, "CLIENT LIST TYPE pubsub"), [[]; 0]);
    }
    drop(clients.pop());
    wait_until(SOON, "the one that left is not told of", || {
        ids(&list(&mut clients[0], "client list")) == expected[..CLIENTS - 1]
    });
}

#[test]
fn a_client_is_described_in_redis_own_fields() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let names = |client: &mut Client, line: &str| -> Vec<String> {
        list(client, line).remove(0).into_iter().map(|(name, _)| name).collect()
    };
    for line in ["CLIENT LIST", "CLIENT INFO"] {
        let redis_says = names(&mut redis.client(), line);
        let [expected, added] = [redis_says, ["lib-name", "lib-ver"].map(str::to_owned).to_vec()];
        // `resp` is the last in 7.0, and what 7.2 says more comes behind it.
        for mut client in [proxy.client(), proxy.client_resp3()] {
            let said = names(&mut client, line);
            assert_eq!(said[..expected.len()], expected);
            assert_eq!(said[expected.len()..], added);
        }
    }
}

#[test]
fn a_client_is_described_as_what_it_is_doing() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut one, mut other) = (proxy.client(), proxy.client_resp3());
    one.say("CLIENT SETNAME one");
    one.say("CLIENT SETINFO LIB-NAME lib");
    let line = line_of(&mut other, "one");
    assert_eq!((&*line["flags"], &*line["multi"], &*line["cmd"]), ("N", "-1", "client|setinfo"));
    assert_eq!((&*line["db"], &*line["resp"], &*line["lib-name"]), ("0", "2", "lib"));
    assert_eq!(line["laddr"], proxy.address().to_string());
    one.say("SELECT 3");
    one.say("MULTI");
    one.say("GET a");
    one.say("GET b");
    let line = line_of(&mut other, "one");
    assert_eq!((&*line["flags"], &*line["multi"], &*line["cmd"], &*line["db"]), ("x", "2", "get", "3"));
    one.say("EXEC");
    one.say("HELLO 3");
    let line = line_of(&mut other, "one");
    assert_eq!((&*line["flags"], &*line["multi"], &*line["cmd"], &*line["resp"]), ("N", "-1", "hello", "3"));
    let own = one.say("CLIENT INFO");
    assert!(own.text().contains(" name=one ") && own.text().contains(" cmd=client|info "), "{own:?}");
}

#[test]
fn clients_are_listed_by_number_in_the_order_asked_for() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut clients, numbers) = crowd(&proxy);
    let line = format!("CLIENT LIST ID {} 999999 -3 {}", numbers[4], numbers[1]);
    assert_eq!(ids(&list(&mut clients[2], &line)), [numbers[4], numbers[1]]);
    assert_eq!(list(&mut clients[2], "CLIENT LIST ID 999999"), [[]; 0]);
}

#[test]
fn a_client_is_closed_by_its_number_and_the_others_stay() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut clients, numbers) = crowd(&proxy);
    for killer in [3, 4] {
        // One on the killer's worker, and one on the other.
        for mut victim in [proxy.client(), proxy.client()] {
            let number = victim.say("CLIENT ID").integer();
            assert_eq!(clients[killer].say(&format!("CLIENT KILL ID {number}")), Value::Integer(1));
            assert_eq!(victim.read_until_closed(), b"");
            assert_eq!(clients[killer].say(&format!("CLIENT KILL ID {number}")), Value::Integer(0));
        }
    }
    wait_until(SOON, "the others are there", || ids(&list(&mut clients[0], "CLIENT LIST")) == numbers);
    for client in &mut clients {
        assert_eq!(client.say("PING"), Value::simple("PONG"));
    }
}

#[test]
fn a_client_is_closed_by_its_address() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut clients, _) = crowd(&proxy);
    let addresses: Vec<String> = list(&mut clients[0], "CLIENT LIST").iter().map(|line| line[1].1.clone()).collect();
    assert_eq!(clients[0].say(&format!("CLIENT KILL {}", addresses[3])), Value::ok());
    assert_eq!(clients[3].read_until_closed(), b"");
    assert_eq!(clients[0].say(&format!("CLIENT KILL {}", addresses[3])), Value::error("ERR No such client"));
    assert_eq!(clients[1].say(&format!("CLIENT KILL ADDR {}", addresses[4])), Value::Integer(1));
    assert_eq!(clients[4].read_until_closed(), b"");
    // All that are left but the one who asks.
    let local = proxy.address();
    assert_eq!(clients[1].say(&format!("CLIENT KILL LADDR {local} MAXAGE 1000000")), Value::Integer(0));
    assert_eq!(clients[1].say(&format!("CLIENT KILL LADDR {local} TYPE normal USER default")), Value::Integer(3));
    for gone in [0, 2, 5] {
        assert_eq!(clients[gone].read_until_closed(), b"");
    }
    assert_eq!(clients[1].say("PING"), Value::simple("PONG"));
}

#[test]
fn who_closes_itself_has_its_answer_first_as_with_redis() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    for mut client in [proxy.client(), proxy.client(), redis.client()] {
        let address = list(&mut client, "CLIENT INFO")[0][1].1.clone();
        client.send_raw(format!("CLIENT KILL {address}\r\nPING\r\n"));
        assert_eq!(client.read_until_closed(), b"+OK\r\n");
    }
    for mut client in [proxy.client(), proxy.client(), redis.client()] {
        let number = client.say("CLIENT ID").integer();
        client.send_raw(format!("ECHO before\r\nCLIENT KILL ID {number} SKIPME no\r\nPING\r\n"));
        assert_eq!(client.read_until_closed(), b"$6\r\nbefore\r\n:1\r\n");
    }
}

#[test]
fn what_redis_refuses_is_refused_in_its_words() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    for protocol in [2, 3] {
        let [mut direct, mut through] = [redis.client(), proxy.client()];
        if protocol == 3 {
            direct.say("HELLO 3");
            through.say("HELLO 3");
        }
        for line in [
            "CLIENT",
            "CLIENT LIST TYPE foo",
            "CLIENT LIST TYPE",
            "CLIENT LIST TYPE master",
            "CLIENT LIST TYPE replica",
            "CLIENT LIST ID",
            "CLIENT LIST ID a",
            "CLIENT LIST ID 0",
            "CLIENT LIST ID 999999 -3",
            "CLIENT LIST foo bar",
            "CLIENT LIST TYPE normal x",
            "CLIENT KILL",
            "CLIENT KILL 127.0.0.2:5",
            "CLIENT KILL ID",
            "CLIENT KILL ID 0",
            "CLIENT KILL ID x",
            "CLIENT KILL ID 999999",
            "CLIENT KILL TYPE x",
            "CLIENT KILL TYPE master",
            "CLIENT KILL USER default ID 999999",
            "CLIENT KILL SKIPME maybe",
            "CLIENT KILL ID 3 SKIPME",
            "CLIENT KILL FOO 3",
            "CLIENT KILL LADDR x",
            "CLIENT KILL ID 1 2",
            "CLIENT UNBLOCK",
            "CLIENT UNBLOCK x",
            "CLIENT UNBLOCK 999999",
            "CLIENT UNBLOCK -1",
            "CLIENT UNBLOCK 999999 FOO",
            "CLIENT UNBLOCK 999999 ERROR",
            "CLIENT UNBLOCK 999999 timeout",
            "CLIENT UNBLOCK 999999 ERROR 3",
            "CLIENT PAUSE",
            "CLIENT PAUSE x",
            "CLIENT PAUSE 0",
            "CLIENT PAUSE 0 some",
            "CLIENT UNPAUSE",
            "CLIENT UNPAUSE 3",
            "CLIENT NO-EVICT",
            "CLIENT NO-EVICT x",
            "CLIENT HELP",
            "CLIENT HELP x",
            "CLIENT Foobar",
            "CLIENT ID x",
        ] {
            assert_eq!(through.say(line), direct.say(line), "{line}");
        }
    }
}

#[test]
fn answers_keep_their_place_in_a_pipeline() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut clients, numbers) = crowd(&proxy);
    for client in &mut clients {
        let lines = ["SET k 1", "CLIENT LIST", "INCR k", "CLIENT KILL ID 999999", "GET k", "CLIENT UNBLOCK 999999"];
        let replies = client.pipeline(&lines.map(|line| line.split(' ').collect()));
        assert_eq!(replies[1].text().lines().count(), numbers.len());
        let others: Vec<_> = replies.iter().enumerate().filter(|(n, _)| *n != 1).map(|(_, reply)| reply).collect();
        let [two, none] = [Value::bulk("2"), Value::Integer(0)];
        assert_eq!(others, [&Value::ok(), &Value::Integer(2), &none, &two, &none]);
    }
}

#[test]
fn a_transaction_refuses_to_look_at_other_clients_and_takes_the_rest() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut client = proxy.client();
    for line in ["CLIENT LIST", "CLIENT KILL ID 1", "CLIENT UNBLOCK 1"] {
        assert_eq!(client.say("MULTI"), Value::ok());
        let refusal = client.say(line);
        assert!(refusal.text().ends_with("is not supported by fca-proxy inside MULTI"), "{line}: {refusal:?}");
        assert!(client.say("EXEC").text().starts_with("EXECABORT"), "{line}");
    }
    assert_eq!(client.say("MULTI"), Value::ok());
    assert_eq!(client.say("CLIENT UNPAUSE"), Value::simple("QUEUED"));
    assert_eq!(client.say("CLIENT GETNAME"), Value::simple("QUEUED"));
    assert_eq!(client.say("EXEC"), Value::Array(vec![Value::ok(), Value::Nil]));
}

#[test]
fn it_is_the_upstream_that_is_paused() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut client = proxy.client();
    assert_eq!(client.say("CLIENT PAUSE 60000 WRITE"), Value::ok());
    let mut direct = redis.client();
    direct.send(["SET", "k", "v"]);
    wait_until(SOON, "a write of another client waits", || redis.info("clients")["blocked_clients"] == "1");
    assert_eq!(client.say("CLIENT UNPAUSE"), Value::ok());
    assert_eq!(direct.reply(), Value::ok());
}

#[test]
fn clients_know_of_each_other_without_an_upstream() {
    let mut redis = Redis::start();
    for (proxy, has_upstream) in [(Proxy::embedded(), false), (Proxy::patient(redis.url()), true)] {
        if has_upstream {
            redis.kill();
        }
        let (mut clients, numbers) = crowd(&proxy);
        assert_eq!(ids(&list(&mut clients[0], "CLIENT LIST")), numbers);
        assert_eq!(clients[0].say(&format!("CLIENT KILL ID {}", numbers[3])), Value::Integer(1));
        assert_eq!(clients[3].read_until_closed(), b"");
        assert_eq!(clients[0].say(&format!("CLIENT UNBLOCK {}", numbers[1])), Value::Integer(0));
        assert!(clients[0].say("CLIENT HELP").items().len() > 40);
    }
}

/// Waits until so many clients wait in Redis.
fn wait_for_blocked(redis: &Redis, count: u64) {
    wait_until(SOON, "clients wait in Redis", || redis.info("clients")["blocked_clients"] == count.to_string());
}

#[test]
fn a_client_that_waits_is_unblocked_from_any_worker() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut clients, numbers) = crowd(&proxy);
    let (mut asker, mut other_asker) = (proxy.client(), proxy.client_resp3());
    for asker in [&mut asker, &mut other_asker] {
        for waiting in [0, 1] {
            let client = &mut clients[waiting];
            let line = |mode: &str| format!("CLIENT UNBLOCK {}{mode}", numbers[waiting]);
            assert_eq!(asker.say(&line("")), Value::Integer(0), "it does not wait");
            client.send(["BLPOP", "l", "0"]);
            wait_for_blocked(&redis, 1);
            let about = list(asker, &format!("CLIENT LIST ID {}", numbers[waiting])).remove(0);
            assert!(about.contains(&("flags".to_owned(), "b".to_owned())), "{about:?}");
            assert!(about.contains(&("cmd".to_owned(), "blpop".to_owned())), "{about:?}");
            assert_eq!(asker.say(&line("")), Value::Integer(1));
            assert!(client.reply().is_nil());
            client.send(["BLMOVE", "l", "m", "LEFT", "LEFT", "0"]);
            wait_for_blocked(&redis, 1);
            assert_eq!(asker.say(&line(" ERROR")), Value::Integer(1));
            assert_eq!(client.reply(), Value::error("UNBLOCKED client unblocked via CLIENT UNBLOCK"));
            assert_eq!(client.say("PING"), Value::simple("PONG"));
            assert_eq!(asker.say(&line(" ERROR")), Value::Integer(0));
        }
    }
}

#[test]
fn a_client_that_is_closed_while_it_waits_takes_nothing_with_it() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut clients, numbers) = crowd(&proxy);
    clients[0].send(["BLPOP", "l", "0"]);
    wait_for_blocked(&redis, 1);
    assert_eq!(clients[1].say(&format!("CLIENT KILL ID {}", numbers[0])), Value::Integer(1));
    assert_eq!(clients[0].read_until_closed(), b"");
    wait_for_blocked(&redis, 0);
    assert_eq!(clients[1].say("RPUSH l v"), Value::Integer(1));
    assert_eq!(clients[1].say("LPOP l"), Value::bulk("v"));
}

#[test]
fn subscribers_and_monitors_are_told_from_others() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut clients, numbers) = crowd(&proxy);
    let mut asker = proxy.client();
    for line in ["SUBSCRIBE a", "SUBSCRIBE b", "PSUBSCRIBE c*", "SSUBSCRIBE d"] {
        clients[0].say(line);
    }
    clients[1].say("MONITOR");
    clients[2].say("HELLO 3");
    clients[2].say("CLIENT TRACKING ON");
    clients[4].say("WATCH k");
    let field = |line: &[(String, String)], name: &str| {
        line.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone()).unwrap()
    };
    let lines = list(&mut asker, "CLIENT LIST");
    let counts = ["flags", "sub", "psub", "ssub"].map(|name| field(&lines[0], name));
    assert_eq!(counts, ["P", "2", "1", "1"]);
    assert_eq!(field(&lines[1], "flags"), "O");
    assert_eq!(["flags", "redir"].map(|name| field(&lines[2], name)), ["t", "0"], "to itself");
    assert_eq!(["flags", "redir"].map(|name| field(&lines[4], name)), ["N", "-1"]);
    assert_eq!(ids(&list(&mut asker, "CLIENT LIST TYPE pubsub")), [numbers[0]]);
    assert_eq!(asker.say("CLIENT KILL TYPE pubsub"), Value::Integer(1));
    clients[0].read_until_closed();
    assert_eq!(ids(&list(&mut asker, "CLIENT LIST TYPE pubsub")), [0; 0]);
}

#[test]
fn who_may_not_look_at_others_in_redis_may_not_here() {
    let mut redis = Redis::start();
    for rule in ["reader on >pw ~* +get +auth", "operator on >pw ~* +@all", "lister on >pw ~* +get +client|list"] {
        assert_eq!(redis.client().say(&format!("ACL SETUSER {rule}")), Value::ok());
    }
    let proxy = Proxy::patient(redis.url());
    let (mut clients, numbers) = crowd(&proxy);
    let log_in = |user: &str| {
        let (mut through, mut direct) = (proxy.client(), redis.client());
        for client in [&mut through, &mut direct] {
            assert_eq!(client.say(&format!("AUTH {user} pw")), Value::ok());
        }
        (through, direct)
    };
    let (mut reader, mut direct) = log_in("reader");
    let kill = format!("CLIENT KILL ID {}", numbers[1]);
    for line in ["CLIENT LIST", &*kill, "CLIENT UNBLOCK 1", "CLIENT PAUSE 1"] {
        let refusal = direct.say(line);
        assert!(refusal.text().starts_with("NOPERM"), "{refusal:?}");
        assert_eq!(reader.say(line), refusal);
        assert_eq!(reader.say("GET k"), Value::Nil);
    }
    let (mut lister, mut direct) = log_in("lister");
    assert_eq!(lister.say(&kill), direct.say(&kill));
    let names: Vec<_> =
        list(&mut lister, "CLIENT LIST").into_iter().flatten().filter(|(name, _)| name == "user").collect();
    assert_eq!(names.last().unwrap().1, "lister");
    let (mut operator, _) = log_in("operator");
    assert_eq!(operator.say(&kill), Value::Integer(1));
    assert_eq!(clients[1].read_until_closed(), b"");
    assert_eq!(operator.say("CLIENT KILL USER lister"), Value::Integer(1));
    lister.read_until_closed();
    // Who has named no user does what the proxy's own may; who has can't be judged while nobody is there.
    redis.kill();
    wait_until(SOON, "the upstream is gone", || clients[0].say("FCA.AVAILABLE") == Value::Integer(0));
    assert!(!clients[0].say("CLIENT LIST").is_error());
    let text = "ERR upstream unreachable: it can't be asked whether this user may do this";
    assert_eq!(operator.say("CLIENT LIST"), Value::error(text));
}

#[test]
fn who_has_yet_to_log_in_may_not_look_at_others() {
    let redis = Redis::start();
    assert_eq!(redis.client().say("CONFIG SET requirepass secret"), Value::ok());
    let proxy = Proxy::patient(redis.url());
    let (mut stranger, mut client) = (proxy.client(), proxy.client());
    let no_login = Value::error("NOAUTH Authentication required.");
    wait_until(SOON, "it is known on its worker", || stranger.say("GET k") == no_login);
    assert_eq!(client.say("AUTH secret"), Value::ok());
    let number = client.say("CLIENT ID").integer();
    for line in ["CLIENT LIST", &format!("CLIENT KILL ID {number}"), "CLIENT UNBLOCK 1"] {
        assert_eq!(stranger.say(line), no_login, "{line}");
    }
    assert_eq!(list(&mut client, "CLIENT LIST").len(), 2);
}
