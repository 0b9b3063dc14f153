//! The test bench itself: a tool that lies would make every other test worthless.

use crate::support::client::{Client, encode};
use crate::support::fault::{Direction, Pipe};
use crate::support::load::Load;
use crate::support::peer::Peer;
use crate::support::redis::{Redis, RedisOptions};
use crate::support::value::Value;
use crate::support::wait::SOON;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A silence long enough to be one, short enough for a test.
const SILENCE: Duration = Duration::from_millis(100);

#[test]
fn redis_is_killed_frozen_and_brought_back_on_its_port() {
    let mut redis = Redis::start();
    let mut client = redis.client();
    assert_eq!(client.command(["SET", "k", "v"]), Value::ok());
    redis.stop();
    client.send(["GET", "k"]);
    assert!(client.hears_nothing_for(SILENCE));
    redis.cont();
    assert_eq!(client.reply(), Value::bulk("v"));

    redis.kill();
    assert_eq!(client.read_until_closed(), b"");
    assert!(Client::try_connect(redis.address()).is_err(), "nobody listens");
    redis.restart();
    assert_eq!(redis.client().command(["GET", "k"]), Value::Nil, "nothing was written to disk");
    assert_eq!(redis.info("server")["tcp_port"], redis.address().port().to_string());
}

#[test]
fn redis_says_loading_for_a_while() {
    let mut redis = Redis::start();
    redis.restart_loading();
    redis.finish_loading();
    assert_eq!(redis.client().command(["GET", "load:500"]), Value::bulk("x".repeat(1024)));
}

#[test]
fn redis_asks_for_its_password() {
    let redis = Redis::start_with(RedisOptions { password: Some("secret"), ..RedisOptions::default() });
    assert!(Client::connect(redis.address()).command(["GET", "k"]).text().starts_with("NOAUTH"));
    assert_eq!(redis.client().command(["GET", "k"]), Value::Nil);
    assert!(redis.url().contains("secret@") && redis.unix_url().starts_with("unix:///"));
}

#[test]
fn a_client_reads_large_replies_pipelines_and_resp3() {
    let redis = Redis::start();
    let mut client = Client::connect_resp3(redis.address());
    let large = "x".repeat(3 << 20);
    let replies = client.pipeline(&[vec!["SET", "k", &large], vec!["GET", "k"], vec!["GET", "none"]]);
    assert_eq!(replies, [Value::ok(), Value::bulk(&large), Value::Nil]);
    client.send(["GET", "none"]);
    assert_eq!(client.raw_reply(), b"_\r\n");
}

#[test]
fn a_peer_plays_its_script_on_every_connection() {
    let peer = Peer::playing(|dialogue| {
        dialogue.expect(&["GET", "k"])?;
        dialogue.send(format!(":{}\r\n", dialogue.number()).as_bytes())
    });
    for number in 0..2 {
        let mut client = Client::connect(peer.address());
        assert_eq!(client.command(["PING"]), Value::simple("PONG"));
        assert_eq!(client.command(["GET", "k"]), Value::Integer(number));
        assert_eq!(client.read_until_closed(), b"");
    }
    assert_eq!((peer.connections(), peer.count_of(&["GET", "k"])), (2, 2));
}

#[test]
#[should_panic(expected = "expected [\"GET\", \"k\"]")]
fn a_peer_that_hears_something_else_fails_its_test() {
    let peer = Peer::playing(|dialogue| dialogue.expect(&["GET", "k"]));
    let mut client = Client::connect(peer.address());
    client.send(["GET", "other"]);
    client.read_until_closed();
}

#[test]
fn a_black_hole_says_nothing_and_a_drip_says_it_slowly() {
    let hole = Peer::black_hole();
    let mut client = Client::connect(hole.address());
    client.send(["PING"]);
    assert!(client.hears_nothing_for(SILENCE));
    hole.wait_for(SOON, &["PING"]);

    let drip = Peer::dripping(b"$1\r\nv\r\n", Duration::from_millis(10));
    let begun = Instant::now();
    assert_eq!(Client::connect(drip.address()).command(["GET", "k"]), Value::bulk("v"));
    assert!(begun.elapsed() >= Duration::from_millis(70));
}

#[test]
fn a_pipe_cuts_in_the_middle_of_a_reply_holds_delays_and_refuses() {
    let redis = Redis::start();
    let pipe = Pipe::to(redis.address());
    redis.client().command(["SET", "k", "0123456789"]);

    let mut client = Client::connect(pipe.address());
    assert_eq!(client.command(["GET", "k"]), Value::bulk("0123456789"));
    pipe.cut_after(Direction::Replies, 7);
    client.send(["GET", "k"]);
    assert_eq!(client.read_until_closed(), b"$10\r\n01");
    assert!(!pipe.cut_is_due(Direction::Replies));

    let mut client = Client::connect(pipe.address());
    pipe.hold(Direction::Requests);
    client.send(["PING"]);
    assert!(client.hears_nothing_for(SILENCE));
    pipe.go_on(Direction::Requests);
    assert_eq!(client.reply(), Value::simple("PONG"));

    pipe.delay(Direction::Replies, SILENCE);
    let begun = Instant::now();
    assert_eq!(client.command(["PING"]), Value::simple("PONG"));
    assert!(begun.elapsed() >= SILENCE);

    pipe.refuse();
    assert!(Client::try_connect(pipe.address()).is_err());
    pipe.cut_all();
    assert_eq!(client.read_until_closed(), b"");
    pipe.admit();
    assert_eq!(Client::connect(pipe.address()).command(["PING"]), Value::simple("PONG"));
    assert!(pipe.connections() >= 3);
}

/// What is wrong with a store that a load is let loose on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    AnswersWithTheLastValueOfAnybody,
    ForgetsEveryThirdWrite,
    AnswersWithAnError,
    SwallowsAnEcho,
}

/// A store that answers what a load asks, with a fault from the 200th read on.
fn store(wrong: Wrong) -> Peer {
    let state = Arc::new(Mutex::new((HashMap::<Vec<u8>, Vec<u8>>::new(), 0_usize)));
    Peer::playing(move |dialogue| {
        loop {
            let command = dialogue.next_command()?;
            let words = command.strip_prefix(&[b"load".to_vec()]).unwrap_or(&command);
            let mut state = state.lock().expect("no script panics");
            let (entries, turn) = &mut *state;
            *turn += 1;
            let due = *turn > 200 && turn.is_multiple_of(3);
            let bulk = |value: &[u8]| encode([value])[4..].to_vec();
            let reply = match words[0].as_slice() {
                b"ECHO" if due && wrong == Wrong::SwallowsAnEcho => Vec::new(),
                b"ECHO" => bulk(&words[1]),
                b"SET" | b"FCA.SET" => {
                    let [.., key, value] = words else { unreachable!("a key and a value") };
                    if !(due && wrong == Wrong::ForgetsEveryThirdWrite) {
                        entries.insert(key.clone(), value.clone());
                        entries.insert(b"last".to_vec(), value.clone());
                    }
                    b"+OK\r\n".to_vec()
                }
                _ if due && wrong == Wrong::AnswersWithAnError => b"-ERR upstream unreachable\r\n".to_vec(),
                _ => {
                    let last = due && wrong == Wrong::AnswersWithTheLastValueOfAnybody;
                    let key = if last { b"last".as_slice() } else { &words[words.len() - 1] };
                    entries.get(key).map_or_else(|| b"$-1\r\n".to_vec(), |value| bulk(value))
                }
            };
            drop(state);
            dialogue.send(&reply)?;
        }
    })
}

#[test]
fn a_load_is_content_with_right_replies_and_notices_every_wrong_one() {
    for wrong in [
        Wrong::Nothing,
        Wrong::AnswersWithTheLastValueOfAnybody,
        Wrong::ForgetsEveryThirdWrite,
        Wrong::AnswersWithAnError,
        Wrong::SwallowsAnEcho,
    ] {
        let peer = store(wrong);
        let load = Load::start(peer.address(), 4);
        let content = catch_unwind(AssertUnwindSafe(|| load.wait_for_hits(SOON, 1000)));
        assert_eq!(content.is_ok(), wrong == Wrong::Nothing, "{wrong:?}");
    }
}
