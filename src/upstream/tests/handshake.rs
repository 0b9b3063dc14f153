//! What a server may say to a new connection, and what is made of it.

use super::dialogue::{HELLO_2, HELLO_3, Peer, WHO, run_id};
use super::rig::{RESP2, RESP3, run};
use crate::config::{Credentials, Secret};
use crate::upstream::LaneKey;
use crate::upstream::connect::{ConnectError, Identity, ServerFacts, connect};
use std::rc::Rc;

const PING: &str = "*1\r\n$4\r\nPING\r\n";
const SELECT_9: &str = "*2\r\n$6\r\nSELECT\r\n$1\r\n9\r\n";
const AUTH: &str = "*2\r\n$4\r\nAUTH\r\n$6\r\nsesame\r\n";
const AUTH_ALI: &str = "*3\r\n$4\r\nAUTH\r\n$3\r\nali\r\n$6\r\nsesame\r\n";
const HELLO_MAP: &str = "%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.4.1\r\n";
const HELLO_LIST: &str = "*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.4.1\r\n";

/// What came of a handshake, in a word and the server's words.
async fn shake(
    key: LaneKey,
    credentials: Option<Credentials>,
    expected: &[u8],
    script: &[u8],
) -> (&'static str, String) {
    let peer = Peer::listen().await;
    let address = peer.address();
    let server = async {
        let mut dialogue = peer.accept().await;
        dialogue.expect(expected).await;
        dialogue.try_send(script).await;
    };
    let (result, ()) = tokio::join!(connect(&address, credentials.as_ref(), &key, Identity::Ignored), server);
    match result {
        Ok((_, facts)) if facts.wants_login => ("wants login", facts.version.unwrap_or_default()),
        Ok((_, facts)) if facts.speaks_resp3 => ("up", facts.version.unwrap_or_default()),
        Ok((_, facts)) => ("up, old", facts.version.unwrap_or_default()),
        Err(ConnectError::Refused(words)) => ("refused", words),
        Err(ConnectError::LaneRefused(words)) => ("lane refused", words),
        Err(ConnectError::LoginWanted(words)) => ("login wanted", words),
        Err(ConnectError::NotRedis(error)) => ("not redis", error.to_string()),
        Err(ConnectError::Io(error)) => ("io", error.kind().to_string()),
        Err(ConnectError::TimedOut | ConnectError::TooMany) => ("nobody bounds it here", String::new()),
    }
}

/// A lane, and what it is to say first.
struct Asker {
    key: LaneKey,
    credentials: Option<Credentials>,
    says: String,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn resp2() -> Asker {
    Asker { key: RESP2, credentials: None, says: text(HELLO_2) }
}

fn resp3() -> Asker {
    Asker { key: RESP3, says: text(HELLO_3), ..resp2() }
}

fn database_9() -> Asker {
    let key = LaneKey { database: 9, ..RESP2 };
    Asker { key, says: text(HELLO_2).replace(PING, &[SELECT_9, PING].concat()), ..resp2() }
}

fn with_password() -> Asker {
    let credentials = Credentials::new(None, Secret::new(b"sesame".to_vec()));
    Asker { credentials: Some(credentials), says: [AUTH, &text(HELLO_2)].concat(), ..resp2() }
}

fn as_ali() -> Asker {
    let credentials = Credentials::new(Some(b"ali"), Secret::new(b"sesame".to_vec()));
    Asker { credentials: Some(credentials), says: [AUTH_ALI, &text(HELLO_2)].concat(), ..resp2() }
}

/// A session's own login, where `as_ali` is the configuration's.
fn logged_in_as_ali() -> Asker {
    let login = as_ali().credentials.map(Rc::new);
    Asker { key: LaneKey { login, ..RESP2 }, ..as_ali() }
}

/// After these lines of the server, this is what came of it.
#[track_caller]
fn check(asker: &Asker, script: &[&str], expected: (&str, &str)) {
    let script = script.concat();
    run(async {
        let (came, words) =
            shake(asker.key.clone(), asker.credentials.clone(), asker.says.as_bytes(), script.as_bytes()).await;
        assert_eq!((came, words.as_str()), expected, "after {}", script.escape_debug());
    });
}

#[test]
fn a_server_of_any_age_is_asked_for_what_it_can() {
    let up = ("up", "7.4.1");
    check(&resp2(), &[HELLO_LIST, "+PONG\r\n"], up);
    check(&resp3(), &[HELLO_MAP, "+PONG\r\n"], up);
    check(&database_9(), &[HELLO_LIST, "+OK\r\n+PONG\r\n"], up);
    check(&with_password(), &["+OK\r\n", HELLO_LIST, "+PONG\r\n"], up);
    check(&as_ali(), &["+OK\r\n", HELLO_LIST, "+PONG\r\n"], up);
    // A user that may not PING has been answered all the same.
    check(&resp2(), &[HELLO_LIST, "-NOPERM User ali has no permissions to run the 'ping' command\r\n"], up);
    // Redis before 6 does not know HELLO: good enough for RESP2.
    let unknown = "-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n";
    check(&resp2(), &[unknown, "+PONG\r\n:9\r\n"], ("up, old", ""));
}

#[test]
fn a_connection_knows_what_the_server_calls_it() {
    let unknown = "-ERR unknown command `HELLO`\r\n+PONG\r\n";
    let list = HELLO_LIST.replace("*4", "*6") + "$2\r\nid\r\n:12\r\n+PONG\r\n";
    let map = HELLO_MAP.replace("%2", "%3") + "$2\r\nid\r\n:12\r\n+PONG\r\n";
    let cases = [
        (resp2(), list, Some(12)),
        (resp3(), map, Some(12)),
        (resp2(), HELLO_LIST.to_owned() + "+PONG\r\n", None),
        // Redis 5 says it only when it is asked; what is older can't.
        (resp2(), unknown.to_owned() + ":34\r\n", Some(34)),
        (resp2(), unknown.to_owned() + "-ERR unknown subcommand\r\n", None),
        (resp2(), unknown.to_owned() + ":-34\r\n", None),
    ];
    for (asker, script, expected) in cases {
        run(async {
            let peer = Peer::listen().await;
            let address = peer.address();
            let connecting = connect(&address, asker.credentials.as_ref(), &asker.key, Identity::Ignored);
            let server = peer.accept_saying(asker.says.as_bytes(), script.as_bytes());
            let (result, _dialogue) = tokio::join!(connecting, server);
            let (_, facts) = result.unwrap();
            assert_eq!(facts.connection_id, expected, "after {}", script.escape_debug());
        });
    }
}

/// What came of a handshake in which the server is asked who it is, after these lines of the server.
async fn ask(asker: &Asker, script: &str) -> Result<ServerFacts, ConnectError> {
    let peer = Peer::listen().await;
    let address = peer.address();
    let connecting = connect(&address, asker.credentials.as_ref(), &asker.key, Identity::Asked);
    let says = [asker.says.as_bytes(), WHO].concat();
    let (result, _dialogue) = tokio::join!(connecting, peer.accept_saying(&says, script.as_bytes()));
    result.map(|(_, facts)| facts)
}

#[test]
fn who_the_server_is_it_says_last_or_keeps_to_itself() {
    const UNKNOWN: &str = "-ERR unknown command `HELLO`\r\n+PONG\r\n";
    const NOPERM: &str = "-NOPERM User app has no permissions to run the 'info' command\r\n";
    let list = HELLO_LIST.to_owned() + "+PONG\r\n";
    let told = run_id(9);
    let silent = "$21\r\nredis_version:7.4.1\r\n\r\n";
    for (asker, script, expected) in [
        (resp2(), [list.as_str(), &told].concat(), Some(9)),
        (resp3(), [HELLO_MAP, "+PONG\r\n", &told].concat(), Some(9)),
        (database_9(), [HELLO_LIST, "+OK\r\n+PONG\r\n", &told].concat(), Some(9)),
        (with_password(), ["+OK\r\n", list.as_str(), &told].concat(), Some(9)),
        (resp2(), [UNKNOWN, &told, ":34\r\n"].concat(), Some(9)),
        // A user that may neither PING nor ask.
        (resp2(), [HELLO_LIST, NOPERM, NOPERM].concat(), None),
        (resp2(), [list.as_str(), NOPERM].concat(), None),
        (resp2(), [list.as_str(), silent].concat(), None),
        (resp2(), [list.as_str(), "+OK\r\n"].concat(), None),
        (resp2(), [UNKNOWN, "-ERR wrong number of arguments for 'info' command\r\n", ":34\r\n"].concat(), None),
    ] {
        run(async {
            let facts = ask(&asker, &script).await.unwrap();
            let came = facts.run_id.map(|id| id.number().get());
            let shown = script.escape_debug();
            assert_eq!(came, expected, "after {shown}");
            assert_eq!(facts.connection_id, script.ends_with(":34\r\n").then_some(34), "after {shown}");
        });
    }
}

#[test]
fn whether_the_server_serves_is_told_by_what_comes_before() {
    run(async {
        let required = "-NOAUTH Authentication required.\r\n";
        let facts = ask(&resp2(), &required.repeat(3)).await.unwrap();
        assert_eq!((facts.wants_login, facts.run_id), (true, None));
        let loading = "LOADING Redis is loading the dataset in memory";
        // Redis answers INFO all the same while it loads.
        let script = [HELLO_LIST, "-", loading, "\r\n", &run_id(9)].concat();
        let Err(ConnectError::Refused(words)) = ask(&resp2(), &script).await else { panic!("it is refused") };
        assert_eq!(words, loading);
    });
}

#[test]
fn a_lane_that_is_refused_is_told_from_a_server_that_refuses() {
    let unknown = "ERR unknown command `HELLO`, with args beginning with: `3`, ";
    check(&resp3(), &["-", unknown, "\r\n+PONG\r\n"], ("lane refused", unknown));
    let version = "NOPROTO unsupported protocol version";
    check(&resp3(), &["-", version, "\r\n+PONG\r\n"], ("lane refused", version));
    let range = "ERR DB index is out of range";
    check(&database_9(), &[HELLO_LIST, "-", range, "\r\n+PONG\r\n"], ("lane refused", range));
    let loading = "LOADING Redis is loading the dataset in memory";
    check(&database_9(), &[HELLO_LIST, "-", loading, "\r\n-LOADING\r\n"], ("refused", loading));
    check(&resp2(), &[HELLO_LIST, "-", loading, "\r\n"], ("refused", loading));
    let master = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
    check(&resp2(), &[HELLO_LIST, "-", master, "\r\n"], ("refused", master));
}

#[test]
fn a_missing_or_wrong_password_is_told_in_the_servers_words() {
    let missing = "NOAUTH HELLO must be called with the client already authenticated";
    let required = "NOAUTH Authentication required.";
    // It serves those who log in.
    check(&resp2(), &["-", missing, "\r\n-", required, "\r\n"], ("wants login", ""));
    check(&resp3(), &["-", missing, "\r\n-", required, "\r\n"], ("login wanted", missing));
    check(&database_9(), &["-", missing, "\r\n-", required, "\r\n-", required, "\r\n"], ("login wanted", required));
    // Redis 5 does not know HELLO, and asks for the password at PING.
    check(&resp2(), &["-ERR unknown command `HELLO`\r\n-", required, "\r\n"], ("wants login", ""));
    let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
    check(&as_ali(), &["-", wrong, "\r\n-NOAUTH\r\n-NOAUTH\r\n"], ("refused", wrong));
}

#[test]
fn a_refused_login_of_a_session_is_about_its_lane_alone() {
    for words in [
        "WRONGPASS invalid username-password pair or user is disabled.",
        "ERR invalid password",
        "ERR Client sent AUTH, but no password is set",
        "ERR wrong number of arguments for 'auth' command",
    ] {
        check(&logged_in_as_ali(), &["-", words, "\r\n"], ("lane refused", words));
    }
    for words in ["LOADING Redis is loading the dataset in memory", "ERR max number of clients reached"] {
        check(&logged_in_as_ali(), &["-", words, "\r\n"], ("refused", words));
    }
}

#[test]
fn what_is_no_redis_is_told_so() {
    check(&resp2(), &["HTTP/1.1 400 Bad Request\r\n"], ("not redis", "no reply starts with 'H'"));
    check(&resp2(), &[HELLO_LIST], ("io", "unexpected end of file"));
    check(&resp2(), &[], ("io", "unexpected end of file"));
}

#[test]
fn a_servers_words_can_not_end_or_fill_a_line_of_the_log() {
    check(&resp2(), &["-ERR a\tb\x1b[31m\n\0c\r\n"], ("refused", "ERR ab[31mc"));
    let endless = ["-ERR ", &"x".repeat(5000), "\r\n"].concat();
    check(&resp2(), &[&endless], ("refused", &endless[1..=256]));
}

#[test]
fn a_handshake_without_an_end_is_cut_short() {
    run(async {
        let endless = [b"$10000000\r\n".as_slice(), &[b'x'; 200_000]].concat();
        let (came, _) = shake(RESP2, None, HELLO_2, &endless).await;
        assert_eq!(came, "not redis");
    });
}
