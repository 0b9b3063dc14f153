//! Logging in to the upstream through the proxy: ACL users, wrong and changed passwords, a password for everybody.
//!
//! What a session says with AUTH or HELLO is judged by the server, and everything it does afterwards is done as that
//! user; no other session is ever that user's because of it. Replies are compared with those of a direct connection
//! wherever both can be asked the same.

use crate::support::client::{Client, encode};
use crate::support::proxy::Proxy;
use crate::support::redis::{Redis, RedisOptions};
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};

const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NOAUTH: &str = "NOAUTH Authentication required.";

/// Alice may do everything to keys that begin with `a:`, Bob little, to those that begin with `b:`.
const USERS: &str = "--user alice on >pa ~a:* ~shared &* +@all \
                     --user bob on >pb ~b:* ~shared +@read +@write +@connection +@transaction +acl|whoami -select";

fn redis_with_users(password: Option<&'static str>) -> Redis {
    Redis::start_with(RedisOptions { password, arguments: USERS.split_whitespace().map(str::to_owned).collect() })
}

/// Both servers' answers to a line, as bytes; they have to be the same.
#[track_caller]
fn same(ours: &mut Client, theirs: &mut Client, line: &str) -> String {
    let request = encode(line.split(' '));
    ours.send_raw(&request);
    theirs.send_raw(&request);
    let (ours, theirs) = (ours.raw_reply(), theirs.raw_reply());
    assert_eq!(ours.escape_ascii().to_string(), theirs.escape_ascii().to_string(), "{line}");
    String::from_utf8_lossy(&ours).into_owned()
}

fn whoami(client: &mut Client) -> String {
    client.say("ACL WHOAMI").text().to_owned()
}

/// The server's connections, that of the question included and the near cache's own not.
fn connections(redis: &Redis) -> usize {
    let list = redis.client().say("CLIENT LIST");
    list.text().lines().filter(|line| !line.contains(" name=fca-proxy-link ")).count()
}

#[test]
fn each_session_has_its_own_users_rights() {
    const SESSIONS: usize = 24;
    const ROUNDS: usize = 20;
    let (redis, beside) = (redis_with_users(None), redis_with_users(None));
    let proxy = Proxy::patient(redis.url());
    let logins: [(&str, [&str; 2]); 4] = [
        ("default", ["PING", "RESET"]),
        ("alice", ["AUTH alice pa", "AUTH alice pa"]),
        ("bob", ["AUTH bob pb", "AUTH bob pb"]),
        ("alice", ["HELLO 3 AUTH alice pa", "HELLO 3 AUTH alice pa"]),
    ];
    let mut sessions: Vec<_> = (0..SESSIONS)
        .map(|n| {
            let (user, lines) = logins[n % logins.len()];
            let (mut ours, mut theirs) = (proxy.client(), beside.client());
            for line in lines {
                assert!(!ours.say(line).is_error() && !theirs.say(line).is_error(), "{line}");
            }
            (user, ours, theirs)
        })
        .collect();
    for round in 0..ROUNDS {
        for line in [
            &format!("SET a:{round} {round}"),
            &format!("GET a:{round}"),
            &format!("SET b:{round} {round}"),
            &format!("GET b:{round}"),
            "GET other",
            "INCR shared",
            "SELECT 1",
            "CONFIG GET maxmemory",
            "PUBLISH news x",
            "ACL WHOAMI",
            "SELECT 0",
        ] {
            // All ask before anybody hears.
            let request = encode(line.split(' '));
            for (_, ours, theirs) in &mut sessions {
                ours.send_raw(&request);
                theirs.send_raw(&request);
            }
            for (user, ours, theirs) in &mut sessions {
                let (ours, theirs) = (ours.raw_reply(), theirs.raw_reply());
                match line {
                    // In which order all of them counted is nobody's business.
                    "INCR shared" => assert_eq!(ours[0], theirs[0]),
                    _ => {
                        assert_eq!(ours.escape_ascii().to_string(), theirs.escape_ascii().to_string(), "{user}: {line}")
                    }
                }
                if line == "ACL WHOAMI" {
                    assert!(String::from_utf8_lossy(&ours).contains(*user), "{user}: {}", ours.escape_ascii());
                }
            }
        }
    }
    // Ten kinds of session on two workers, and some that ask: they do share.
    assert!(connections(&redis) <= 24, "{} connections for {SESSIONS} sessions", connections(&redis));
}

#[test]
fn a_wrong_password_is_told_in_the_servers_words_and_changes_nothing() {
    let redis = redis_with_users(None);
    let proxy = Proxy::patient(redis.url());
    let (mut ours, mut theirs) = (proxy.client(), redis.client());
    for user in ["default", "alice", "bob"] {
        for line in [
            "AUTH alice wrong",
            "AUTH nobody pa",
            "AUTH wrong",
            "AUTH",
            "AUTH a b c",
            "HELLO 3 AUTH alice wrong",
            "HELLO 3 AUTH bob wrong SETNAME other",
            "HELLO 2 AUTH nobody x",
            "HELLO 4 AUTH alice pa",
            "CLIENT GETNAME",
            "ACL WHOAMI",
            "GET a:1",
            "GET b:1",
        ] {
            let said = same(&mut ours, &mut theirs, line);
            assert!(!line.contains("wrong") || said.starts_with('-'), "{line}: {said}");
            assert!(line != "ACL WHOAMI" || said.contains(user), "{user}: {said}");
        }
        match user {
            "default" => same(&mut ours, &mut theirs, "AUTH alice pa"),
            _ => same(&mut ours, &mut theirs, "AUTH bob pb"),
        };
    }
    // With one write.
    let lines = ["AUTH alice pa", "ACL WHOAMI", "SET a:1 x", "AUTH bob wrong", "ACL WHOAMI", "AUTH bob pb", "GET a:1"];
    let commands: Vec<Vec<&str>> = lines.iter().map(|line| line.split(' ').collect()).collect();
    assert_eq!(ours.pipeline(&commands), theirs.pipeline(&commands));
}

#[test]
fn hello_sets_protocol_login_and_name_together_or_not_at_all() {
    let redis = redis_with_users(None);
    let proxy = Proxy::patient(redis.url());
    let mut client = proxy.client();
    assert_eq!(client.say("HELLO 3 AUTH alice wrong SETNAME me"), Value::error(WRONGPASS));
    assert_eq!(client.say("GET none"), Value::Nil);
    assert_eq!(client.say("CLIENT GETNAME"), Value::Nil);
    assert!(matches!(client.say("HELLO 3 AUTH alice pa SETNAME me"), Value::Map(_)));
    assert_eq!(client.say("CLIENT GETNAME"), Value::bulk("me"));
    assert_eq!(whoami(&mut client), "alice");
    let line = client.say("CLIENT INFO");
    assert!(line.text().contains(" user=alice ") && line.text().contains(" resp=3 "), "{}", line.text());
    client.send(["GET", "a:none"]);
    assert_eq!(client.raw_reply(), b"_\r\n");
    assert!(matches!(client.say("HELLO 2 AUTH bob pb"), Value::Array(_)));
    assert_eq!(whoami(&mut client), "bob");
    client.send(["GET", "b:none"]);
    assert_eq!(client.raw_reply(), b"$-1\r\n");
}

#[test]
fn reset_makes_a_session_who_it_was() {
    for password in [None, Some("secret")] {
        let redis = redis_with_users(password);
        let proxy = Proxy::patient(redis.url());
        let mut client = proxy.client();
        assert_eq!(client.say("AUTH alice pa"), Value::ok());
        assert_eq!(whoami(&mut client), "alice");
        assert_eq!(client.say("RESET"), Value::simple("RESET"));
        assert_eq!(whoami(&mut client), "default");
        assert!(client.say("CLIENT INFO").text().contains(" user=default "));
    }
}

#[test]
fn a_password_that_was_changed_is_refused_although_a_connection_with_it_lives() {
    let redis = redis_with_users(None);
    let proxy = Proxy::patient(redis.url());
    let mut early = proxy.client();
    assert_eq!(early.say("AUTH alice pa"), Value::ok());
    assert_eq!(early.say("SET a:1 x"), Value::ok());
    assert_eq!(redis.client().say("ACL SETUSER alice resetpass >new"), Value::ok());
    // On both workers.
    for _ in 0..8 {
        let mut late = proxy.client();
        assert_eq!(late.say("AUTH alice pa"), Value::error(WRONGPASS));
        assert_eq!(late.say("HELLO 3 AUTH alice pa"), Value::error(WRONGPASS));
        assert_eq!(whoami(&mut late), "default");
        assert_eq!(late.say("AUTH alice new"), Value::ok());
        assert_eq!(late.say("GET a:1"), Value::bulk("x"));
    }
    // As on a connection of its own.
    assert_eq!(early.say("GET a:1"), Value::bulk("x"));
}

#[test]
fn a_changed_password_is_not_let_in_by_a_server_that_is_slow_to_say_so() {
    let redis = redis_with_users(None);
    let proxy = Proxy::with_short_patience(redis.url());
    let mut early = proxy.client();
    wait_until(SOON, "the upstream is there", || {
        early.say("AUTH alice pa") == Value::ok() && whoami(&mut early) == "alice"
    });
    assert_eq!(early.say("SET a:1 x"), Value::ok());
    assert_eq!(redis.client().say("ACL SETUSER alice resetpass >new"), Value::ok());
    let mut late: Vec<_> = (0..8).map(|_| proxy.client()).collect();
    redis.stop();
    for late in &mut late {
        late.send(["AUTH", "alice", "pa"]);
    }
    for late in &mut late {
        assert_eq!(late.reply(), Value::ok(), "nobody could be asked");
    }
    redis.cont();
    for late in &mut late {
        wait_until(SOON, "the server has its say", || {
            let reply = late.say("GET a:1");
            assert!(reply.is_nil() || reply == Value::error(WRONGPASS), "{reply:?}");
            !reply.is_nil()
        });
        let watched = late.say("MULTI");
        assert!(watched.is_nil() || watched == Value::error(WRONGPASS), "{watched:?}");
    }
}

#[test]
fn a_deleted_user_is_told_so_and_nobody_else_takes_its_place() {
    let redis = redis_with_users(None);
    let proxy = Proxy::patient(redis.url());
    let (mut alice, mut bob, mut nobody) = (proxy.client(), proxy.client(), proxy.client());
    assert_eq!(alice.say("AUTH alice pa"), Value::ok());
    assert_eq!(bob.say("AUTH bob pb"), Value::ok());
    assert_eq!(alice.say("SET a:1 x"), Value::ok());
    assert_eq!(alice.say("FCA.SET faq q x"), Value::Nil, "no permission for that key");
    assert_eq!(redis.client().say("ACL DELUSER alice"), Value::Integer(1));
    for _ in 0..20 {
        let reply = alice.say("GET a:1");
        assert!(reply.is_nil() || reply == Value::error(WRONGPASS), "{reply:?}");
        let reply = alice.say("ACL WHOAMI");
        assert!(reply.is_nil() || reply == Value::error(WRONGPASS), "{reply:?}");
        assert_eq!(alice.say("FCA.GET faq q"), Value::Nil);
        assert_eq!(whoami(&mut bob), "bob");
        assert_eq!(whoami(&mut nobody), "default");
    }
    assert_eq!(alice.say("GET a:1"), Value::error(WRONGPASS));
    assert_eq!(alice.say("MULTI"), Value::error(WRONGPASS));
    assert_eq!(alice.say("EXEC"), Value::error("ERR EXEC without MULTI"));
    assert!(proxy.log_lines_containing("unreachable").is_empty(), "no outage: {:#?}", proxy.log_lines());
    // Come back with another password.
    assert_eq!(redis.client().say("ACL SETUSER alice on >back ~* +@all"), Value::ok());
    assert_eq!(alice.say("AUTH alice back"), Value::ok());
    assert_eq!(alice.say("GET a:1"), Value::bulk("x"));
}

#[test]
fn a_password_that_the_configuration_does_not_name_is_the_clients_affair() {
    let redis = redis_with_users(Some("secret"));
    let proxy = Proxy::patient(format!("redis://{}", redis.address()));
    wait_until(SOON, "the upstream is there", || !proxy.log_lines_containing("asks for a password").is_empty());
    let (mut ours, mut theirs) = (proxy.client(), Client::connect(redis.address()));
    for line in [
        "GET k",
        "SET k v",
        "MULTI",
        "GET k",
        "WATCH k",
        "SELECT 1",
        "SELECT 1",
        "NONSENSE",
        "HELLO",
        "HELLO 2",
        "HELLO 3",
        "AUTH wrong",
        "AUTH alice wrong",
        "HELLO 3 AUTH default wrong",
        "GET k",
        "AUTH secret",
        "SET k v",
        "GET k",
        "SELECT 1",
        "GET k",
        "MULTI",
        "GET k",
        "EXEC",
        "SELECT 0",
        "AUTH alice pa",
        "GET k",
        "AUTH default secret",
        "GET k",
        "RESET",
        "GET k",
    ] {
        same(&mut ours, &mut theirs, line);
    }
    for _ in 0..4 {
        let mut client = proxy.client();
        assert_eq!(client.say("FCA.SET faq q x"), Value::Nil);
        assert_eq!(client.say("FCA.GET faq q"), Value::Nil);
        assert!(client.say("HELLO 3").text().starts_with("NOAUTH HELLO must be called with"));
        client.send(["FCA.GET", "faq", "q"]);
        assert_eq!(client.raw_reply(), b"$-1\r\n", "still RESP2");
        assert!(matches!(client.say("HELLO 3 AUTH default secret"), Value::Map(_)));
        assert_eq!(client.say("FCA.SET faq q x"), Value::ok());
        assert_eq!(client.say("FCA.GET faq q"), Value::bulk("x"));
        assert_eq!(client.say("FCA.DEL faq q"), Value::Integer(1));
        assert!(matches!(client.say("HELLO 2"), Value::Array(_)));
        assert!(matches!(client.say("HELLO 3"), Value::Map(_)));
        assert_eq!(client.say("RESET"), Value::simple("RESET"));
        assert_eq!(client.say("GET k"), Value::error(NOAUTH));
    }
    assert_eq!(proxy.log_lines_containing("asks for a password").len(), 1, "{:#?}", proxy.log_lines());
    assert!(proxy.log_lines_containing("unreachable").is_empty(), "{:#?}", proxy.log_lines());
    assert!(proxy.log_lines_containing("secret").is_empty(), "a password in the log");
}

#[test]
fn a_database_of_the_configuration_is_not_reached_without_a_login() {
    let redis = redis_with_users(Some("secret"));
    let proxy = Proxy::patient(format!("redis://{}/3", redis.address()));
    let mut client = proxy.client();
    assert_eq!(client.say("GET k"), Value::error(NOAUTH));
    // The server gives up asking: nobody must find himself in another database.
    assert_eq!(redis.client().say("SET k zero"), Value::ok());
    assert_eq!(redis.client().say("CONFIG SET requirepass ").text(), "OK");
    assert_eq!(client.say("GET k"), Value::Nil);
    assert_eq!(client.say("SET k three"), Value::ok());
    let mut direct = Client::connect(redis.address());
    assert_eq!(direct.say("GET k"), Value::bulk("zero"));
    assert_eq!(direct.say("SELECT 3"), Value::ok());
    assert_eq!(direct.say("GET k"), Value::bulk("three"));
}

#[test]
fn a_thousand_guesses_leave_nothing_behind() {
    const GUESSES: usize = 1000;
    const LOG_LINES_MAX: usize = 3;
    let redis = redis_with_users(None);
    let proxy = Proxy::patient(redis.url());
    let mut clients: Vec<_> = (0..10).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.say("SET k v"), Value::ok());
    }
    let (before, lines) = (connections(&redis), proxy.log_lines().len());
    for guess in 0..GUESSES / clients.len() {
        for (n, client) in clients.iter_mut().enumerate() {
            match guess % 2 {
                0 => client.send(["AUTH", "alice", &format!("guess-{n}-{guess}")]),
                _ => client.send(["HELLO", "3", "AUTH", "default-not", &format!("guess-{n}-{guess}")]),
            }
        }
        for client in &mut clients {
            assert_eq!(client.reply(), Value::error(WRONGPASS));
        }
    }
    wait_until(SOON, "the connections of the guesses are gone", || connections(&redis) <= before);
    for client in &mut clients {
        assert_eq!(client.say("GET k"), Value::bulk("v"));
        assert_eq!(whoami(client), "default");
    }
    let lines = proxy.log_lines().split_off(lines);
    assert!(lines.len() <= LOG_LINES_MAX, "{lines:#?}");
    assert_eq!(proxy.metrics().sum("fca_proxy_upstream_breaker_opened_total"), 0.0);
}

#[test]
fn a_login_while_the_server_is_gone_is_judged_once_it_is_back() {
    let mut redis = redis_with_users(None);
    let proxy = Proxy::patient(redis.url());
    let (mut right, mut wrong, mut hello, mut held) = (proxy.client(), proxy.client(), proxy.client(), proxy.client());
    wait_until(SOON, "the upstream is there", || right.say("SET shared x") == Value::ok());
    redis.kill();
    assert_eq!(right.say("GET shared"), Value::Nil);
    assert_eq!(right.say("AUTH alice pa"), Value::ok());
    assert_eq!(wrong.say("AUTH alice wrong"), Value::ok());
    assert!(matches!(hello.say("HELLO 3 AUTH bob pb SETNAME me"), Value::Map(_)));
    assert_eq!(hello.say("CLIENT GETNAME"), Value::bulk("me"));
    assert_eq!(held.say("WATCH shared"), Value::ok());
    assert_eq!(held.say("AUTH alice pa"), Value::ok());
    for client in [&mut right, &mut wrong, &mut hello, &mut held] {
        assert_eq!(client.say("GET shared"), Value::Nil);
        assert_eq!(client.say("FCA.GET faq q"), Value::Nil);
    }
    assert_eq!(wrong.say("AUTH nonsense"), Value::ok());
    assert_eq!(wrong.say("AUTH alice wrong"), Value::ok());
    redis.restart();
    wait_until(SOON, "the upstream is back", || right.say("SET shared x") == Value::ok());
    assert_eq!(whoami(&mut right), "alice");
    for (client, user) in [(&mut hello, "bob"), (&mut held, "alice")] {
        wait_until(SOON, "the other worker knows", || client.say("GET shared") == Value::bulk("x"));
        assert_eq!(whoami(client), user);
    }
    wait_until(SOON, "the other worker knows", || !wrong.say("GET shared").is_nil());
    assert_eq!(wrong.say("GET shared"), Value::error(WRONGPASS));
    assert_eq!(wrong.say("AUTH alice pa"), Value::ok());
    assert_eq!(whoami(&mut wrong), "alice");
}

#[test]
fn sessions_that_logged_in_during_an_outage_share_a_connection_again() {
    const SESSIONS: usize = 60;
    let mut redis = redis_with_users(None);
    let proxy = Proxy::patient(redis.url());
    let mut sessions: Vec<_> = (0..SESSIONS).map(|_| proxy.client()).collect();
    redis.kill();
    for session in &mut sessions {
        assert_eq!(session.say("AUTH alice pa"), Value::ok());
    }
    redis.restart();
    for session in &mut sessions {
        wait_until(SOON, "the upstream is back", || session.say("SET shared x") == Value::ok());
    }
    for session in &mut sessions {
        assert_eq!(whoami(session), "alice");
    }
    // Of each worker the main one and Alice's, and ours.
    wait_until(SOON, "they share", || connections(&redis) <= 5);
}

#[test]
fn without_a_server_ever_a_login_is_answered_as_everything_is() {
    let proxy = Proxy::in_front_of(Redis::not_started(RedisOptions::default()).url());
    let mut client = proxy.client();
    for n in 0..300 {
        assert_eq!(client.command(["AUTH", "alice", &n.to_string()]), Value::ok());
        assert_eq!(client.say("GET k"), Value::Nil);
    }
    let long = "x".repeat(20_000);
    assert!(client.command(["AUTH", &long]).is_error());
    assert_eq!(client.say("PING"), Value::simple("PONG"));
}

#[test]
fn a_transaction_has_its_users_rights() {
    let (redis, beside) = (redis_with_users(None), redis_with_users(None));
    let proxy = Proxy::patient(redis.url());
    let (mut ours, mut theirs) = (proxy.client(), beside.client());
    for line in [
        "AUTH alice pa",
        "WATCH a:1",
        "MULTI",
        "SET a:1 x",
        "SET b:1 x",
        "GET a:1",
        "EXEC",
        "MULTI",
        "ACL WHOAMI",
        "SET a:1 x",
        "EXEC",
        "AUTH bob pb",
        "MULTI",
        "ACL WHOAMI",
        "EXEC",
        // Becoming somebody else while watching.
        "WATCH b:1",
        "AUTH alice wrong",
        "ACL WHOAMI",
        "AUTH alice pa",
        "MULTI",
        "ACL WHOAMI",
        "SET a:1 y",
        "EXEC",
        "ACL WHOAMI",
        "WATCH a:1",
        "SET a:1 changed",
        "AUTH bob pb",
        "MULTI",
        "ACL WHOAMI",
        "EXEC",
        "ACL WHOAMI",
        "MULTI",
        "ACL WHOAMI",
        "EXEC",
    ] {
        same(&mut ours, &mut theirs, line);
    }
    // Where Redis would queue it, and the rest of the transaction would be another's.
    assert_eq!(ours.say("MULTI"), Value::ok());
    assert_eq!(ours.say("AUTH alice pa"), Value::error("ERR Command not allowed inside a transaction"));
    assert!(ours.say("EXEC").text().starts_with("EXECABORT "));
    for (ours, line) in [(&mut ours, "WATCH b:1"), (&mut proxy.client(), "WATCH shared")] {
        assert_eq!(ours.say(line), Value::ok());
        assert!(matches!(ours.say("HELLO 3 AUTH alice pa"), Value::Map(_)));
        assert_eq!(ours.say("MULTI"), Value::ok());
        assert_eq!(ours.say("ACL WHOAMI"), Value::simple("QUEUED"));
        assert_eq!(ours.say("EXEC"), Value::bulks(["alice"]));
        ours.send(["GET", "a:none"]);
        assert_eq!(ours.raw_reply(), b"_\r\n");
        assert_eq!(whoami(ours), "alice");
    }
}

#[test]
fn who_may_not_multi_is_not_in_a_transaction() {
    let redis = redis_with_users(None);
    assert_eq!(redis.client().say("ACL SETUSER carol on >pc ~* +@all -multi"), Value::ok());
    let proxy = Proxy::patient(redis.url());
    let (mut ours, mut theirs) = (proxy.client(), redis.client());
    for line in
        ["AUTH carol pc", "WATCH k", "MULTI", "PING", "GET k", "MULTI", "AUTH alice pa", "ACL WHOAMI", "MULTI", "EXEC"]
    {
        same(&mut ours, &mut theirs, line);
    }
}

#[test]
fn what_needs_a_connection_of_its_own_has_its_users_rights() {
    let redis = redis_with_users(Some("secret"));
    let proxy = Proxy::patient(format!("redis://{}", redis.address()));
    let (mut ours, mut theirs) = (proxy.client(), Client::connect(redis.address()));
    for line in [
        "SUBSCRIBE news",
        "BLPOP a:none 0.01",
        "MONITOR",
        "CLIENT TRACKING on",
        "AUTH bob pb",
        "SUBSCRIBE news",
        "BLPOP b:none 0.01",
        "BLPOP a:none 0.01",
        "MONITOR",
        "AUTH alice pa",
        "BLPOP a:none 0.01",
        "BLPOP b:none 0.01",
        "SUBSCRIBE news",
        "PING",
        "UNSUBSCRIBE news",
        "ACL WHOAMI",
        "HELLO 3 AUTH alice wrong",
        "ACL WHOAMI",
    ] {
        same(&mut ours, &mut theirs, line);
    }
    // Becoming somebody else while hearing pushes.
    for client in [&mut ours, &mut theirs] {
        assert!(matches!(client.say("HELLO 3 AUTH alice pa"), Value::Map(_)));
    }
    for line in ["SUBSCRIBE news", "AUTH default wrong", "ACL WHOAMI", "AUTH default secret", "ACL WHOAMI"] {
        same(&mut ours, &mut theirs, line);
    }
    redis.client().say("PUBLISH news x");
    assert_eq!(ours.raw_reply(), theirs.raw_reply());
    for line in ["UNSUBSCRIBE news", "ACL WHOAMI", "GET shared", "AUTH bob pb", "ACL WHOAMI"] {
        same(&mut ours, &mut theirs, line);
    }
    // A user that is gone.
    assert_eq!(ours.say("AUTH alice pa"), Value::ok());
    assert_eq!(redis.client().say("ACL DELUSER alice"), Value::Integer(1));
    wait_until(SOON, "its connections are gone", || ours.say("GET a:1") == Value::error(WRONGPASS));
    for line in ["SUBSCRIBE news", "BLPOP a:1 1", "MONITOR", "CLIENT TRACKING on", "MULTI", "WATCH a:1"] {
        assert_eq!(ours.say(line), Value::error(WRONGPASS), "{line}");
    }
}

#[test]
fn users_that_take_turns_on_the_same_connections_never_meet() {
    const ROUNDS: usize = 100;
    let redis = redis_with_users(None);
    let proxy = Proxy::patient(redis.url());
    let mut clients: Vec<_> = (0..6).map(|_| proxy.client()).collect();
    for round in 0..ROUNDS {
        for (n, client) in clients.iter_mut().enumerate() {
            let (user, login) = match (n + round) % 3 {
                0 => ("alice", "AUTH alice pa"),
                1 => ("bob", "AUTH bob pb"),
                _ => ("default", "RESET"),
            };
            let lines = [login, "MULTI", "ACL WHOAMI", "EXEC", "ACL WHOAMI"];
            let commands: Vec<Vec<&str>> = lines.iter().map(|line| line.split(' ').collect()).collect();
            let replies = client.pipeline(&commands);
            assert_eq!(replies[3], Value::bulks([user]), "round {round}");
            assert_eq!(replies[4], Value::bulk(user), "round {round}");
            // Every third leaves while it watches.
            if n % 3 == 0 {
                assert_eq!(client.say("WATCH shared"), Value::ok());
                *client = proxy.client();
            }
        }
    }
}

#[test]
fn a_session_that_lost_what_it_watched_does_not_change_the_connection_of_others() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut others: Vec<_> = (0..8).map(|_| proxy.client()).collect();
    let mut client = proxy.client();
    assert_eq!(client.say("WATCH k"), Value::ok());
    let mut direct = redis.client();
    let list = direct.say("CLIENT LIST").text().to_owned();
    let watching = list.lines().find(|line| line.contains(" cmd=watch ")).unwrap();
    let id = watching.split(' ').find_map(|field| field.strip_prefix("id=")).unwrap();
    assert_eq!(direct.command(["CLIENT", "KILL", "ID", id]), Value::Integer(1));
    wait_until(SOON, "the proxy has noticed", || proxy.metrics().sum("fca_proxy_upstream_connections") < 3.0);
    assert_eq!(client.say("SELECT 5"), Value::ok());
    assert!(matches!(client.say("HELLO 3"), Value::Map(_)));
    for other in &mut others {
        assert_eq!(other.say("SET k zero"), Value::ok());
        other.send(["GET", "none"]);
        assert_eq!(other.raw_reply(), b"$-1\r\n");
    }
    assert_eq!(client.say("GET k"), Value::Nil);
    assert_eq!(direct.say("GET k"), Value::bulk("zero"));
    assert_eq!(direct.say("SELECT 5"), Value::ok());
    assert_eq!(direct.say("DBSIZE"), Value::Integer(0));
}
