//! The promise: the cache never breaks its caller.
//!
//! Redis is killed, frozen, restarted, black-holed, slow, loading, or talks nonsense, while clients are at work that
//! notice any wrong reply. Every reply is right or nil, in order, on the same connection, within the time budget; the
//! proxy stays idle and quiet meanwhile; hits come back when Redis does.

use crate::support::client::Client;
use crate::support::fault::{Direction, Pipe};
use crate::support::load::Load;
use crate::support::peer::Peer;
use crate::support::proxy::{Patience, Proxy, ProxyOptions, SHORT};
use crate::support::redis::{Redis, RedisOptions};
use crate::support::value::Value;
use crate::support::wait::{MachineStalls, SOON, observe_for, wait_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// `upstream.timeout`, by default.
const BUDGET: Duration = Duration::from_millis(250);
/// What a reply may take that has the default budget. The machine is busy with other tests, and each reply passes
/// through several processes of it; who waits for anything but the budget waits for longer.
const BOUND: Duration = Duration::from_millis(2500);
/// Clients of a load.
const CLIENTS: u64 = 8;
/// Enough hits, or nils, to have met every client and every kind of request.
const MANY: u64 = 300;
/// "A handful": log lines that a change of state and its way back may cost.
const LOG_LINES_MAX: usize = 8;

#[test]
fn a_killed_redis_costs_nils_and_its_return_brings_hits() {
    let mut redis = Redis::start();
    let proxy = Proxy::in_front_of(redis.url());
    let load = Load::start(proxy.address(), CLIENTS);
    load.wait_for_hits(SOON, MANY);
    let lines_before = proxy.log_lines().len();

    for _ in 0..2 {
        redis.kill();
        load.wait_for_nils(MANY);
        redis.restart();
        load.wait_for_hits(SOON, MANY);
    }

    load.finish(BOUND);
    let lines = proxy.log_lines().split_off(lines_before);
    // One at the least: a worker that is still looking for Redis when it goes again makes one outage of two.
    assert!((1..=2 * LOG_LINES_MAX).contains(&lines.len()), "a handful of lines, not {lines:#?}");
}

#[test]
fn a_frozen_redis_costs_nils_and_its_thaw_brings_hits() {
    let redis = Redis::start();
    let proxy = Proxy::in_front_of(redis.url());
    let load = Load::start(proxy.address(), CLIENTS);
    load.wait_for_hits(SOON, MANY);
    let lines_before = proxy.log_lines().len();

    redis.stop();
    load.wait_for_nils(MANY);
    redis.cont();
    load.wait_for_hits(SOON, MANY);

    // Too short to be called dead: what was late is swallowed, and nothing is out of turn.
    redis.stop();
    observe_for(BUDGET + BUDGET / 2);
    redis.cont();
    load.wait_for_hits(SOON, MANY);

    load.finish(BOUND);
    let lines = proxy.log_lines().split_off(lines_before);
    assert!(lines.len() <= 2 * LOG_LINES_MAX, "a handful of lines, not {lines:#?}");
}

#[test]
fn a_redis_that_loads_its_data_costs_nils_until_it_is_done() {
    let mut redis = Redis::start();
    let proxy = Proxy::in_front_of(redis.url());
    let load = Load::start(proxy.address(), CLIENTS);
    load.wait_for_hits(SOON, MANY);
    redis.restart_loading();
    load.wait_for_nils(MANY);
    redis.finish_loading();
    load.wait_for_hits(SOON, MANY);
    load.finish(BOUND);
}

#[test]
fn cuts_in_the_middle_of_frames_mix_no_replies_up() {
    let redis = Redis::start();
    let pipe = Pipe::to(redis.address());
    let proxy = Proxy::in_front_of(pipe.url());
    let load = Load::start(proxy.address(), CLIENTS);
    load.wait_for_hits(SOON, MANY);
    for (direction, bytes) in [
        (Direction::Replies, 1),
        (Direction::Replies, 4001),
        (Direction::Requests, 3),
        (Direction::Requests, 4001),
        (Direction::Replies, 20_003),
    ] {
        pipe.cut_after(direction, bytes);
        wait_until(SOON, "the connection is cut", || !pipe.cut_is_due(direction));
        load.wait_for_hits(SOON, MANY);
    }
    pipe.hold(Direction::Replies);
    load.wait_for_nils(MANY);
    pipe.go_on(Direction::Replies);
    load.wait_for_hits(SOON, MANY);
    pipe.refuse();
    pipe.cut_all();
    load.wait_for_nils(MANY);
    pipe.admit();
    load.wait_for_hits(SOON, MANY);
    load.finish(BOUND);
}

#[test]
fn a_start_without_redis_is_a_normal_start() {
    let mut redis = Redis::not_started(RedisOptions::default());
    let proxy = Proxy::in_front_of(redis.url());
    let load = Load::start(proxy.address(), CLIENTS);
    load.wait_for_nils(MANY);
    assert_eq!(proxy.admin("/healthz").0, 200);
    assert_eq!(proxy.admin("/readyz").0, 200, "it listens, so it is ready");
    redis.restart();
    load.wait_for_hits(SOON, 1);
    load.finish(BOUND);
}

#[test]
fn every_kind_of_broken_upstream_answers_nil_within_the_budget() {
    let upstreams = [
        ("a black hole", Peer::black_hole()),
        ("silent after the handshake", Peer::falls_silent_after_handshake()),
        ("loading", Peer::loading()),
        ("cluster down", Peer::answering(*b"-CLUSTERDOWN The cluster is down\r\n")),
        (
            "master down",
            Peer::answering(*b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n"),
        ),
        ("garbage from the start", Peer::always_answering(b"\0\xff not RESP at all\r\n")),
        ("garbage after the handshake", Peer::answering(*b"\0\xff not RESP at all\r\n")),
        ("an HTTP server", Peer::always_answering(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")),
        ("a negative length", Peer::answering(*b"$-2\r\n")),
        ("a bulk without its line end", Peer::answering(*b"$1\r\nabc")),
        ("a depth bomb", Peer::answering("*1\r\n".repeat(100_000))),
        ("an endless declared length", Peer::answering(*b"$9223372036854775807\r\n")),
        ("endless declared elements", Peer::answering(*b"*2147483647\r\n")),
        ("a slow drip", Peer::dripping(b"$20\r\n01234567890123456789\r\n", Duration::from_millis(100))),
        ("closes on every command", Peer::playing(|dialogue| dialogue.next_command_after_handshake().map(drop))),
        ("closes at once", Peer::playing(|_| Ok(()))),
        (
            "closes in the middle of a reply",
            Peer::playing(|dialogue| {
                dialogue.next_command_after_handshake()?;
                dialogue.send(b"$10\r\n012")
            }),
        ),
    ];
    // Side by side: nearly all of the time is spent waiting for a budget to end.
    thread::scope(|scope| {
        for (what, peer) in &upstreams {
            let spawned = thread::Builder::new()
                .name((*what).to_owned())
                .spawn_scoped(scope, || every_command_is_nil_within_the_budget(what, &peer.url()));
            spawned.expect("a thread");
        }
    });
}

#[test]
fn an_upstream_that_cannot_be_dialled_answers_nil_within_the_budget() {
    let redis = Redis::start_with(RedisOptions { password: Some("secret"), ..RedisOptions::default() });
    let address = redis.address();
    let upstreams = [
        ("a wrong password", format!("redis://:wrong@{address}")),
        ("TLS towards a server without it", format!("rediss://{address}")),
        ("no such host", "redis://no-such-host.invalid:6379".to_owned()),
        ("no such socket", "unix:///no/such/socket".to_owned()),
    ];
    thread::scope(|scope| {
        for (what, url) in &upstreams {
            scope.spawn(|| every_command_is_nil_within_the_budget(what, url));
        }
    });
}

fn every_command_is_nil_within_the_budget(what: &str, url: &str) {
    let stalls = MachineStalls::watch();
    let proxy = Proxy::in_front_of(url);
    let (mut first, mut second) = (proxy.client(), proxy.client_resp3());
    for round in 0..3 {
        let key = format!("key-{round}");
        for words in [
            vec!["FCA.GET", "faq", &key],
            vec!["FCA.SET", "faq", &key, "value"],
            vec!["FCA.MGET", "faq", &key],
            vec!["GET", &key],
            vec!["SET", &key, "value"],
            vec!["LPUSH", &key, "value"],
            vec!["INCR", &key],
        ] {
            let begun = Instant::now();
            first.send(&words);
            second.send(&words);
            let reply = first.try_reply_bytes().unwrap_or_else(|error| panic!("{what}: {words:?}: {error}"));
            let reply3 = second.try_reply_bytes().unwrap_or_else(|error| panic!("{what}: {words:?} in RESP3: {error}"));
            let took = begun.elapsed();
            let (nil, nil3): (&[u8], &[u8]) = match words[0] {
                "FCA.MGET" => (b"*1\r\n$-1\r\n", b"*1\r\n_\r\n"),
                _ => (b"$-1\r\n", b"_\r\n"),
            };
            assert_eq!(reply.escape_ascii().to_string(), nil.escape_ascii().to_string(), "{what}: {words:?}");
            assert_eq!(
                reply3.escape_ascii().to_string(),
                nil3.escape_ascii().to_string(),
                "{what}: {words:?} in RESP3"
            );
            let bound = BOUND + stalls.worst();
            assert!(took <= bound, "{what}: {words:?} took {took:?}, the bound is {bound:?}");
        }
    }
    assert_eq!(first.command(["PING"]), Value::simple("PONG"), "{what}");
    assert_eq!(first.command(["FCA.AVAILABLE"]), Value::Integer(0), "{what}");
}

#[test]
fn the_first_request_of_a_new_lane_is_answered_even_as_the_upstream_is_found_to_be_gone() {
    // The connection for RESP3 is asked for in the moment in which the first one fails; each start is one chance.
    for start in 0..80 {
        let peer = Peer::loading();
        let proxy = Proxy::in_front_of(peer.url());
        let mut client = proxy.client_resp3();
        client.send(["FCA.GET", "faq", "q"]);
        assert!(client.try_reply().is_ok_and(|reply| reply.is_nil()), "start {start}: no reply, or another");
    }
}

#[test]
fn a_large_value_that_keeps_coming_may_take_longer_than_the_budget() {
    const PIECES: usize = 24;
    const PIECE_BYTES: usize = 256 << 10;
    /// Far less than the budget, which is for a step; all of them are far more.
    const PAUSE: Duration = Duration::from_millis(125);
    const { assert!(PIECES as u128 * PAUSE.as_millis() > SHORT.as_millis()) };
    let peer = Peer::playing(|dialogue| {
        // What comes behind a large reply may come over another connection.
        if dialogue.next_command_after_handshake()?[1] == b"next" {
            dialogue.send(b"$1\r\nv\r\n")?;
            return dialogue.swallow();
        }
        dialogue.send(format!("${}\r\n", PIECES * PIECE_BYTES).as_bytes())?;
        for _ in 0..PIECES {
            dialogue.pause(PAUSE)?;
            dialogue.send(&[b'x'; PIECE_BYTES])?;
        }
        dialogue.send(b"\r\n")?;
        dialogue.swallow()
    });
    let proxy = Proxy::with_short_patience(peer.url());
    let mut client = proxy.client();
    let reply = client.command(["GET", "large"]);
    assert!(reply == Value::Bulk(vec![b'x'; PIECES * PIECE_BYTES]), "{reply:?}");
    assert_eq!(client.command(["GET", "next"]), Value::bulk("v"));
}

#[test]
fn a_pipeline_in_front_of_a_frozen_redis_costs_one_budget_in_all() {
    let redis = Redis::start();
    let proxy = Proxy::with_short_patience(redis.url());
    let mut client = proxy.client();
    assert_eq!(client.command(["SET", "k", "v"]), Value::ok());
    let commands: Vec<Vec<String>> = (0..50)
        .map(|at| match at % 2 {
            0 => vec!["FCA.GET".into(), "faq".into(), format!("question {at}")],
            _ => vec!["SET".into(), format!("k{at}"), "v".into()],
        })
        .collect();
    let stalls = MachineStalls::watch();
    redis.stop();
    let begun = Instant::now();
    let replies = client.pipeline(&commands);
    let took = begun.elapsed();
    assert!(replies.iter().all(Value::is_nil), "{replies:?}");
    // Two budgets must not pass for one.
    let bound = 2 * SHORT + stalls.worst();
    assert!(took < bound, "took {took:?}, the bound is {bound:?}");
}

#[test]
fn a_silence_in_the_middle_of_a_pipeline_is_waited_for_once() {
    const BEFORE_IT: Duration = Duration::from_millis(50);
    let peer = Peer::playing(|dialogue| {
        // Both spellings of the first question, so that the write behind it goes out; then no more.
        dialogue.next_command_after_handshake()?;
        dialogue.pause(BEFORE_IT)?;
        dialogue.send(b"$-1\r\n")?;
        dialogue.next_command()?;
        dialogue.send(b"$-1\r\n")?;
        dialogue.swallow()
    });
    let proxy = Proxy::with_short_patience(peer.url());
    let mut client = proxy.client();
    let commands: Vec<Vec<String>> = (0..50)
        .map(|at| match at % 2 {
            0 => vec!["FCA.GET".into(), "faq".into(), format!("question {at}")],
            _ => vec!["SET".into(), format!("k{at}"), "v".into()],
        })
        .collect();
    let stalls = MachineStalls::watch();
    let begun = Instant::now();
    let replies = client.pipeline(&commands);
    let took = begun.elapsed();
    assert!(replies.iter().all(Value::is_nil), "{replies:?}");
    let bound = BEFORE_IT + 2 * SHORT + stalls.worst();
    assert!(took < bound, "took {took:?}, the bound is {bound:?}");
}

#[test]
fn while_the_upstream_is_known_to_be_down_nil_comes_at_once() {
    /// Long before any budget ends.
    const AT_ONCE: Duration = Duration::from_secs(1);
    for (what, peer) in [("black hole", Some(Peer::black_hole())), ("nobody listens", None)] {
        let url = peer.as_ref().map_or_else(|| Redis::not_started(RedisOptions::default()).url(), Peer::url);
        let proxy = Proxy::with_short_patience(url);
        let mut client = proxy.client();
        wait_until(SOON, "the proxy knows", || {
            let begun = Instant::now();
            assert_eq!(client.command(["GET", "k"]), Value::Nil);
            begun.elapsed() < AT_ONCE
        });
        // A probe may take the budget; no two requests in ten are probes.
        let mut took: Vec<Duration> = (0..20)
            .map(|_| {
                let begun = Instant::now();
                assert_eq!(client.command(["FCA.GET", "faq", "q"]), Value::Nil);
                begun.elapsed()
            })
            .collect();
        took.sort();
        assert!(took[15] < AT_ONCE, "{what}: {took:?}");
    }
}

#[test]
fn an_outage_costs_no_cpu_and_no_log_line_per_request() {
    const WINDOW: Duration = Duration::from_millis(1500);
    const CPU_SHARE_MAX: f64 = 0.10;
    for (what, peer) in [("black hole", Some(Peer::black_hole())), ("nobody listens", None)] {
        let url = peer.as_ref().map_or_else(|| Redis::not_started(RedisOptions::default()).url(), Peer::url);
        let proxy = Proxy::in_front_of(url);
        let mut clients: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
        for client in &mut clients {
            for _ in 0..50 {
                client.send(["GET", "k"]);
            }
            for _ in 0..50 {
                assert_eq!(client.reply(), Value::Nil, "{what}");
            }
        }
        let (begun, cpu) = (Instant::now(), proxy.cpu_time());
        observe_for(WINDOW);
        let share = (proxy.cpu_time() - cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
        assert!(share < CPU_SHARE_MAX, "{what}: {share:.2} of a core for nothing");
        let lines = proxy.log_lines();
        assert!(lines.len() <= 2 * LOG_LINES_MAX, "{what}: {lines:#?}");
    }
}

#[test]
fn a_late_reply_is_swallowed_and_never_handed_to_the_next_request() {
    let redis = Redis::start();
    let pipe = Pipe::to(redis.address());
    let proxy = Proxy::in_front_of(pipe.url());
    let mut client = proxy.client();
    for at in 0..10 {
        let set = ["SET".to_owned(), format!("k{at}"), format!("v{at}")];
        wait_until(SOON, "it is stored", || client.command(&set) == Value::ok());
    }
    for at in 0..9 {
        pipe.hold(Direction::Replies);
        assert_eq!(client.command(["GET", &format!("k{at}")]), Value::Nil);
        pipe.go_on(Direction::Replies);
        let (next, right) = (format!("k{}", at + 1), Value::bulk(format!("v{}", at + 1)));
        wait_until(SOON, "hits come back", || {
            let reply = client.command(["GET", &next]);
            assert!(reply.is_nil() || reply == right, "{next} read {reply:?}");
            reply == right
        });
    }
}

#[test]
fn one_slow_request_does_not_fail_its_neighbours() {
    /// Between the two requests, and so between the ends of their budgets.
    const APART: Duration = Duration::from_secs(3);
    let given_up = Arc::new(AtomicBool::new(false));
    let peer = Peer::playing({
        let given_up = Arc::clone(&given_up);
        move |dialogue| {
            dialogue.expect(&["GET", "slow"])?;
            // Meanwhile the neighbour comes to wait behind it, on the same connection.
            while !given_up.load(Ordering::SeqCst) {
                dialogue.pause(Duration::from_millis(1))?;
            }
            dialogue.send(b"$4\r\nlate\r\n")?;
            dialogue.expect(&["GET", "neighbour"])?;
            dialogue.send(b"$7\r\nin time\r\n")?;
            dialogue.swallow()
        }
    });
    let proxy = Proxy::start(ProxyOptions {
        upstream: Some(peer.url()),
        config:
            "[upstream]\ntimeout = \"4s\"\ndead_after = \"20s\"\nconnections_max = 1\n[near_cache]\nenabled = false\n"
                .into(),
        arguments: vec!["--workers", "1"],
        ..ProxyOptions::default()
    });
    let (mut slow, mut neighbour) = (proxy.client(), proxy.client());
    slow.send(["GET", "slow"]);
    peer.wait_for(SOON, &["GET", "slow"]);
    observe_for(APART);
    neighbour.send(["GET", "neighbour"]);
    assert_eq!(slow.reply(), Value::Nil);
    given_up.store(true, Ordering::SeqCst);
    assert_eq!(neighbour.reply(), Value::bulk("in time"));
    assert_eq!(peer.connections(), 1);
}

#[test]
fn an_unanswered_write_is_never_sent_again() {
    let peer = Peer::playing(|dialogue| {
        loop {
            let command = dialogue.next_command_after_handshake()?;
            if command[0] == b"INCR" || command[0] == b"SETEX" {
                return Ok(());
            }
            dialogue.send(b"$4\r\nback\r\n")?;
        }
    });
    let proxy = Proxy::patient(peer.url());
    let mut client = proxy.client();
    assert_eq!(client.command(["INCR", "once"]), Value::Nil);
    wait_until(SOON, "the upstream is back", || client.command(["GET", "k"]) == Value::bulk("back"));
    assert_eq!(peer.count_of(&["INCR", "once"]), 1);
    assert_eq!(client.command(["FCA.SET", "faq", "q", "v"]), Value::Nil);
    wait_until(SOON, "the upstream is back", || client.command(["GET", "k"]) == Value::bulk("back"));
    let key = client.command(["FCA.KEY", "faq", "q"]);
    assert_eq!(peer.count_of(&["SETEX", key.text(), "300", "v"]), 1);
}

#[test]
fn a_client_can_connect_and_stay_connected_while_redis_is_gone() {
    let proxy = Proxy::in_front_of(Redis::not_started(RedisOptions::default()).url());
    let mut client = proxy.client();
    assert_eq!(client.say("PING"), Value::simple("PONG"));
    assert_eq!(client.say("PING hello"), Value::bulk("hello"));
    assert_eq!(client.say("ECHO hello"), Value::bulk("hello"));
    assert_eq!(client.say("SELECT 1"), Value::ok());
    assert_eq!(client.say("CLIENT SETNAME me"), Value::ok());
    assert_eq!(client.say("CLIENT GETNAME"), Value::bulk("me"));
    assert_eq!(client.say("CLIENT SETINFO LIB-NAME lib"), Value::ok());
    assert!(client.say("CLIENT ID").integer() > 0);
    assert!(client.say("COMMAND COUNT").integer() > 200);
    assert!(client.say("INFO").text().contains("# "), "INFO has the proxy's own sections");
    assert!(matches!(client.say("HELLO 3"), Value::Map(_)));
    assert_eq!(client.say("RESET"), Value::simple("RESET"));
    assert_eq!(client.say("FCA.KEY faq q").text().len(), "fca:faq:".len() + 16);
    assert!(client.say("FCA.HELP").items().len() > 5);
    assert!(client.say("FCA.STATS").items().len() > 5);
    assert_eq!(client.say("FCA.AVAILABLE"), Value::Integer(0));
    assert_eq!(client.say("QUIT"), Value::ok());
    assert_eq!(client.read_until_closed(), b"");
}

#[test]
fn exec_is_nil_and_subscribe_a_clear_error_while_redis_is_gone() {
    let proxy = Proxy::in_front_of(Redis::not_started(RedisOptions::default()).url());
    let mut client = proxy.client();
    let replies = client.pipeline(&[vec!["MULTI"], vec!["SET", "k", "v"], vec!["EXEC"], vec!["PING"]]);
    assert_eq!(replies[2], Value::Nil, "not executed: {replies:?}");
    assert_eq!(replies[3], Value::simple("PONG"));
    for words in [["SUBSCRIBE", "news"], ["PSUBSCRIBE", "n*"]] {
        assert!(client.command(words).is_error(), "{words:?}");
    }
    assert!(client.command(["MONITOR"]).is_error());
    assert_eq!(client.command(["PING"]), Value::simple("PONG"));
}

#[test]
fn a_value_whose_connection_breaks_on_the_way_is_not_said_to_be_stored() {
    let redis = Redis::start();
    let pipe = Pipe::to(redis.address());
    let proxy = Proxy::start(ProxyOptions {
        upstream: Some(pipe.url()),
        config: "near_cache.enabled = false".to_owned(),
        patience: Patience::Long,
        ..ProxyOptions::default()
    });
    let mut client = proxy.client();
    assert_eq!(client.command(["FCA.SET", "faq", "q", "short"]), Value::ok());
    // More than the sockets on the way hold, so that the removal of the other spelling was not sent yet.
    let large = "x".repeat(14 << 20);
    pipe.cut_after(Direction::Requests, 1 << 20);
    assert_eq!(client.command(["FCA.SET", "faq", "q", &large]), Value::Nil);
    assert_eq!(client.command(["FCA.SET", "faq", "q", &large]), Value::ok(), "over another connection");
}

#[test]
fn a_transaction_that_redis_dies_under_is_not_executed_and_says_so() {
    let mut redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut client = proxy.client();
    assert_eq!(client.command(["MULTI"]), Value::ok());
    assert_eq!(client.command(["SET", "k", "v"]), Value::simple("QUEUED"));
    redis.kill();
    let exec = client.command(["EXEC"]);
    assert!(exec.is_nil(), "{exec:?}");
    redis.restart();
    wait_until(SOON, "hits come back", || client.command(["SET", "other", "v"]) == Value::ok());
    assert_eq!(client.command(["GET", "k"]), Value::Nil);
}

#[test]
fn on_unreachable_error_makes_forwarded_commands_fail_and_fca_commands_nil() {
    let proxy = Proxy::start(ProxyOptions {
        upstream: Some(Redis::not_started(RedisOptions::default()).url()),
        config: "[upstream]\non_unreachable = \"error\"\n".into(),
        ..ProxyOptions::default()
    });
    let mut client = proxy.client();
    assert_eq!(client.command(["GET", "k"]), Value::error("ERR upstream unreachable"));
    assert_eq!(client.command(["SET", "k", "v"]), Value::error("ERR upstream unreachable"));
    assert_eq!(client.command(["FCA.GET", "faq", "q"]), Value::Nil);
    assert_eq!(client.command(["FCA.SET", "faq", "q", "v"]), Value::Nil);
}

#[test]
fn a_redis_that_refuses_writes_makes_fca_set_nil_and_passes_its_words_on_otherwise() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut client = proxy.client();
    assert_eq!(redis.client().command(["CONFIG", "SET", "maxmemory", "1"]), Value::ok());
    assert_eq!(client.command(["FCA.SET", "faq", "q", "v"]), Value::Nil);
    assert!(client.command(["SET", "k", "v"]).text().starts_with("OOM "));
    assert_eq!(client.command(["FCA.GET", "faq", "q"]), Value::Nil);
    assert_eq!(client.command(["FCA.AVAILABLE"]), Value::Integer(1), "it is there, and full");
}

#[test]
fn a_select_that_had_no_time_left_is_followed_all_the_same() {
    let redis = Redis::start();
    let proxy = Proxy::with_short_patience(redis.url());
    let mut client = proxy.client();
    assert_eq!(client.say("SET warm v"), Value::ok());
    redis.stop();
    // The SELECT waits for the answer before it until the time of both is up.
    client.send_raw("GET warm\r\nSELECT 1\r\n");
    assert!(client.reply().is_nil());
    assert_eq!(client.reply(), Value::ok());
    redis.cont();
    wait_until(SOON, "a write is stored", || client.say("SET k v") == Value::ok());
    let mut direct = redis.client();
    assert_eq!(direct.say("EXISTS k"), Value::Integer(0));
    assert_eq!(direct.say("SELECT 1"), Value::ok());
    assert_eq!(direct.say("GET k"), Value::bulk("v"));
}
