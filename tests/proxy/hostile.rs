//! Input that nobody sane sends, and clients that do not behave.
//!
//! Each does its worst while a witness on a connection of its own goes on as if nothing were; the offender gets Redis's
//! words where Redis has some. The proxy neither dies nor grows.

use crate::support::client::{Client, encode};
use crate::support::proxy::{Patience, Proxy, ProxyOptions};
use crate::support::random::Random;
use crate::support::redis::Redis;
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::time::Duration;

/// Resident memory that an attack may cost at most, far below what it asks for.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

/// A proxy under attack, and somebody who only wants an answer.
struct Scene {
    redis: Redis,
    proxy: Proxy,
    witness: Client,
    asked: u32,
}

impl Scene {
    fn new() -> Self {
        Self::with_config("")
    }

    fn with_config(config: &str) -> Self {
        let redis = Redis::start();
        let upstream = Some(redis.url());
        let proxy = Proxy::start(ProxyOptions {
            upstream,
            config: config.into(),
            patience: Patience::Long,
            ..ProxyOptions::default()
        });
        let witness = proxy.client();
        let mut scene = Self { redis, proxy, witness, asked: 0 };
        scene.nobody_else_is_harmed();
        scene
    }

    /// The witness writes and reads something new, by both ways, and the proxy still runs.
    #[track_caller]
    fn nobody_else_is_harmed(&mut self) {
        assert!(self.proxy.runs());
        self.asked += 1;
        let (query, value) = (format!("witness {}", self.asked), format!("answer {}", self.asked));
        assert_eq!(self.witness.command(["FCA.SET", "witness", &query, &value]), Value::ok());
        assert_eq!(self.witness.command(["FCA.GET", "witness", &query]), Value::bulk(&value));
        assert_eq!(self.witness.command(["SET", &query, &value]), Value::ok());
        assert_eq!(self.witness.command(["GET", &query]), Value::bulk(&value));
    }
}

#[test]
fn faulty_fca_commands_get_an_error_and_keep_their_connection() {
    let mut scene = Scene::with_config("[limits]\nquery_bytes_max = \"1KiB\"\nvalue_bytes_max = \"4KiB\"\n");
    let mut client = scene.proxy.client();
    let long_query = "q".repeat(1025);
    let long_value = "v".repeat(4097);
    let long_namespace = "n".repeat(65);
    let cases: &[(&[&[u8]], &str)] = &[
        (&[b"FCA.GET"], "ERR wrong number of arguments for 'fca.get' command"),
        (&[b"FCA.GET", b"faq"], "ERR wrong number of arguments for 'fca.get' command"),
        (&[b"FCA.SET", b"faq", b"q"], "ERR wrong number of arguments for 'fca.set' command"),
        (&[b"FCA.MGET", b"faq"], "ERR wrong number of arguments for 'fca.mget' command"),
        (&[b"FCA.MSET", b"faq", b"q"], "ERR wrong number of arguments for 'fca.mset' command"),
        (&[b"FCA.DEL", b"faq"], "ERR wrong number of arguments for 'fca.del' command"),
        (&[b"FCA.TTL", b"faq"], "ERR wrong number of arguments for 'fca.ttl' command"),
        (&[b"FCA.KEY", b"faq"], "ERR wrong number of arguments for 'fca.key' command"),
        (&[b"FCA.FLUSH"], "ERR wrong number of arguments for 'fca.flush' command"),
        (&[b"FCA.SET", b"faq", b"q", b"v", b"NONSENSE"], "ERR syntax error"),
        (&[b"FCA.SET", b"faq", b"q", b"v", b"EX"], "ERR syntax error"),
        (&[b"FCA.SET", b"faq", b"q", b"v", b"EX", b"0"], "ERR invalid expire time in 'fca.set' command"),
        (&[b"FCA.SET", b"faq", b"q", b"v", b"PX", b"-1"], "ERR invalid expire time in 'fca.set' command"),
        (&[b"FCA.SET", b"faq", b"q", b"v", b"EX", b"soon"], "ERR value is not an integer or out of range"),
        (
            &[b"FCA.SET", b"faq", b"q", b"v", b"EX", b"99999999999999999999"],
            "ERR value is not an integer or out of range",
        ),
        (&[b"FCA.GET", b"", b"q"], "ERR invalid namespace"),
        (&[b"FCA.GET", b"a b", b"q"], "ERR invalid namespace"),
        (&[b"FCA.GET", b"a:b", b"q"], "ERR invalid namespace"),
        (&[b"FCA.GET", b"a*", b"q"], "ERR invalid namespace"),
        (&[b"FCA.GET", "é".as_bytes(), b"q"], "ERR invalid namespace"),
        (&[b"FCA.GET", long_namespace.as_bytes(), b"q"], "ERR invalid namespace"),
        (&[b"FCA.GET", b"faq", b"\xff\xfe"], "ERR "),
        (&[b"FCA.SET", b"faq", b"caf\xe9", b"v"], "ERR "),
        (&[b"FCA.GET", b"faq", long_query.as_bytes()], "ERR "),
        (&[b"FCA.SET", b"faq", b"q", long_value.as_bytes()], "ERR "),
        (&[b"FCA.GET", b"faq", b"{", b"PARAMS"], "ERR "),
        (&[b"FCA.GET", b"faq", b"NaN", b"PARAMS"], "ERR "),
        (&[b"FCA.GET", b"faq", b"1e999", b"PARAMS"], "ERR "),
        (&[b"FCA.GET", b"faq", b"\"\\ud800\"", b"PARAMS"], "ERR "),
        (&[b"FCA.NONSENSE", b"faq"], "ERR unknown command"),
    ];
    for (words, error) in cases {
        let reply = client.command(*words);
        assert!(reply.is_error() && reply.text().starts_with(error), "{words:?} answered {reply:?}");
    }
    assert!(cases.len() >= 30);
    assert_eq!(client.command(["PING"]), Value::simple("PONG"));
    let stored = scene.redis.client().command(["DBSIZE"]).integer();
    assert_eq!(stored, 2, "only what the witness wrote");
    scene.nobody_else_is_harmed();
}

#[test]
fn what_is_no_request_ends_its_connection_in_the_words_of_redis() {
    let mut scene = Scene::new();
    let cases: &[&[u8]] = &[
        b"*99999999999\r\n",
        b"*x\r\n",
        b"*1\r\n$-2\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$x\r\n",
        b"*1\r\n$9999999999999\r\n",
        b"*1\r\n*1\r\n",
        b"*1\r\n:1\r\n",
        b"SET \"unbalanced\r\n",
        b"SET 'a'b\r\n",
    ];
    for bytes in cases {
        let mut direct = scene.redis.client();
        direct.send_raw(bytes);
        let right = String::from_utf8_lossy(&direct.read_until_closed()).into_owned();
        assert!(right.starts_with("-ERR Protocol error: "), "{} is no fault to Redis", bytes.escape_ascii());
        let mut client = scene.proxy.client();
        client.send_raw(bytes);
        let said = String::from_utf8_lossy(&client.read_until_closed()).into_owned();
        assert_eq!(said, right, "{}", bytes.escape_ascii());
        scene.nobody_else_is_harmed();
    }
    assert!(cases.len() >= 10);

    // Redis itself would wait for two thousand million arguments.
    let mut client = scene.proxy.client();
    client.send_raw(b"*2000000000\r\n");
    assert_eq!(client.read_until_closed(), b"-ERR Protocol error: invalid multibulk length\r\n");
    scene.nobody_else_is_harmed();
}

#[test]
fn empty_requests_are_passed_over() {
    let mut scene = Scene::new();
    let mut client = scene.proxy.client();
    client.send_raw(b"\r\n*0\r\n*-1\r\n\n   \r\nPING\r\n");
    assert_eq!(client.raw_reply(), b"+PONG\r\n");
    assert_eq!(client.command(["ECHO", "next"]), Value::bulk("next"));
    scene.nobody_else_is_harmed();
}

#[test]
fn requests_before_a_protocol_error_are_answered_first() {
    let mut scene = Scene::new();
    let mut client = scene.proxy.client();
    client.send_raw(b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n*1\r\n$-2\r\n*1\r\n$4\r\nPING\r\n");
    assert_eq!(
        client.read_until_closed().escape_ascii().to_string(),
        b"+PONG\r\n+OK\r\n-ERR Protocol error: invalid bulk length\r\n".escape_ascii().to_string()
    );
    scene.nobody_else_is_harmed();
}

#[test]
fn declared_lengths_and_depth_cost_no_memory() {
    let mut scene = Scene::new();
    let before = scene.proxy.resident_bytes();
    let mut bomb = b"*2000000000\r\n".to_vec();
    bomb.extend(b"$1\r\na\r\n".repeat(1000));
    let attacks: [Vec<u8>; 6] = [
        b"*2000000000\r\n".to_vec(),
        bomb,
        b"*1000000\r\n$500000000\r\n".to_vec(),
        b"*2\r\n$3\r\nGET\r\n$536870911\r\n".to_vec(),
        b"*1\r\n".repeat(500_000),
        b"\0".repeat(1 << 20),
    ];
    let mut open = Vec::new();
    for attack in &attacks {
        for _ in 0..5 {
            let mut client = scene.proxy.client();
            // The proxy may hang up before the last byte.
            let _ = client.try_send_raw(attack);
            open.push(client);
        }
        scene.nobody_else_is_harmed();
    }
    let grown = scene.proxy.resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "grown by {grown} bytes");
}

#[test]
fn garbage_of_any_kind_ends_at_most_its_own_connection() {
    const ROUNDS: usize = 300;
    let mut scene = Scene::new();
    let mut random = Random::seeded(7);
    // Bytes near the grammar of RESP reach further into the parser than random ones. No letters, so that no round
    // spells SHUTDOWN.
    let alphabet = b"*$-+:0123456789\r\n\r\n\r\n \"'\\\0\xff%>_~";
    for round in 0..ROUNDS {
        let mut client = scene.proxy.client();
        let len = random.below(200);
        let bytes: Vec<u8> = (0..len).map(|_| random.one_of(alphabet)).collect();
        client.send_raw(&bytes);
        if round % 3 == 0 {
            client.close_writing();
            client.read_until_closed();
        }
        if round % 50 == 0 {
            scene.nobody_else_is_harmed();
        }
    }
    scene.nobody_else_is_harmed();
}

#[test]
fn a_request_that_comes_byte_by_byte_is_answered_like_any_other() {
    let mut scene = Scene::new();
    let mut client = scene.proxy.client();
    let mut bytes = encode(["FCA.SET", "faq", "Byte by Byte?", "v\r\n$1"]);
    bytes.extend(b"FCA.GET faq \"byte by byte\"\r\n");
    bytes.extend(encode(["GET", "none"]));
    for byte in &bytes {
        client.send_raw([*byte]);
    }
    assert_eq!(client.reply(), Value::ok());
    assert_eq!(client.reply(), Value::bulk("v\r\n$1"));
    assert_eq!(client.reply(), Value::Nil);
    scene.nobody_else_is_harmed();
}

#[test]
fn every_cut_of_a_pipeline_into_two_writes_is_answered_the_same() {
    let mut scene = Scene::new();
    let mut bytes = encode(["SET", "k", "a\r\nb"]);
    bytes.extend(encode(["FCA.SET", "faq", "q", "v"]));
    bytes.extend(b"PING\r\n");
    bytes.extend(encode(["GET", "k"]));
    bytes.extend(encode(["FCA.GET", "faq", "q"]));
    let replies = [Value::ok(), Value::ok(), Value::simple("PONG"), Value::bulk("a\r\nb"), Value::bulk("v")];
    let mut client = scene.proxy.client();
    for cut in 0..=bytes.len() {
        client.send_raw(&bytes[..cut]);
        client.send_raw(&bytes[cut..]);
        for reply in &replies {
            assert_eq!(client.reply(), *reply, "cut at {cut}");
        }
    }
    scene.nobody_else_is_harmed();
}

#[test]
fn ten_thousand_pipelined_requests_are_answered_in_order() {
    const REQUESTS: usize = 10_000;
    let mut scene = Scene::new();
    let mut client = scene.proxy.client();
    client.set_deadline(Duration::from_secs(30));
    let mut sender = Vec::new();
    for at in 0..REQUESTS {
        match at % 4 {
            0 => sender.extend(encode(["SET", &format!("k{at}"), &format!("v{at}")])),
            1 => sender.extend(encode(["GET", &format!("k{}", at - 1)])),
            2 => sender.extend(encode(["ECHO", &at.to_string()])),
            _ => sender.extend(encode(["FCA.GET", "faq", &format!("none {at}")])),
        }
    }
    client.send_raw(&sender);
    for at in 0..REQUESTS {
        let right = match at % 4 {
            0 => Value::ok(),
            1 => Value::bulk(format!("v{}", at - 1)),
            2 => Value::bulk(at.to_string()),
            _ => Value::Nil,
        };
        assert_eq!(client.reply(), right, "reply {at}");
    }
    scene.nobody_else_is_harmed();
}

#[test]
fn a_client_that_never_reads_is_cut_off_at_its_bound() {
    let mut scene = Scene::with_config("[limits]\noutput_bytes_pause = \"1MiB\"\noutput_bytes_max = \"8MiB\"\n");
    // As large as a reply can be that is not passed on in pieces.
    scene.redis.client().command(["SET", "large", &"x".repeat(200 << 10)]);
    let before = scene.proxy.resident_bytes();
    let mut client = Client::connect_with_receive_buffer(scene.proxy.address(), 16 << 10);
    let request = encode(["GET", "large"]).repeat(100);
    let mut unsent = request.as_slice();
    // Back-pressure (the proxy takes no more) and the cut are both right; unbounded growth is not.
    let mut refusals = 0;
    wait_until(SOON, "the proxy takes no more from it", || match client.send_what_fits(unsent) {
        Ok(0) => {
            refusals += 1;
            refusals > 100
        }
        Ok(sent) => {
            unsent = if sent == unsent.len() { &request } else { &unsent[sent..] };
            scene.nobody_else_is_harmed();
            false
        }
        Err(_) => true,
    });
    scene.nobody_else_is_harmed();
    let grown = scene.proxy.resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "grown by {grown} bytes");
    wait_until(SOON, "the limit's hit is counted", || {
        let hits = |limit| scene.proxy.metrics().sum_where("fca_proxy_limit_hits_total", &[("limit", limit)]);
        hits("output_pause") + hits("output_bytes") > 0.0
    });
}

#[test]
fn a_frame_that_never_ends_is_given_up() {
    let mut scene = Scene::with_config("[limits]\nframe_timeout = \"300ms\"\n");
    let mut endless = scene.proxy.client();
    endless.send_raw(b"*2\r\n$3\r\nGET\r\n$10\r\nabc");
    let mut idle = scene.proxy.client();
    endless.read_until_closed();
    assert_eq!(idle.command(["PING"]), Value::simple("PONG"), "who has begun no frame may take all the time");
    scene.nobody_else_is_harmed();
    wait_until(SOON, "the limit's hit is counted", || {
        scene.proxy.metrics().sum_where("fca_proxy_limit_hits_total", &[("limit", "frame_timeout")]) == 1.0
    });
}

#[test]
fn the_client_past_the_limit_is_told_so_and_the_others_stay() {
    const CLIENTS_MAX: usize = 1000;
    let wanted = 2 * CLIENTS_MAX as u64;
    let mut files = getrlimit(Resource::Nofile);
    if files.current.is_some_and(|current| current < wanted) {
        files.current = Some(files.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        setrlimit(Resource::Nofile, files).expect("the soft limit may rise to the hard one");
    }
    let mut scene = Scene::with_config(&format!("[limits]\nclients_max = {CLIENTS_MAX}\n"));
    let mut clients: Vec<Client> = (1..CLIENTS_MAX).map(|_| scene.proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.command(["PING"]), Value::simple("PONG"));
    }
    let mut late = scene.proxy.client();
    assert_eq!(late.reply(), Value::error("ERR max number of clients reached"));
    assert_eq!(late.read_until_closed(), b"");
    scene.nobody_else_is_harmed();
    for client in &mut clients {
        client.send(["GET", "k"]);
    }
    for client in &mut clients {
        assert_eq!(client.reply(), Value::Nil);
    }
    clients.truncate(10);
    wait_until(SOON, "there is room again", || {
        scene.proxy.client().try_command(["PING"]).is_ok_and(|reply| reply == Value::simple("PONG"))
    });
    let hits = scene.proxy.metrics().sum_where("fca_proxy_limit_hits_total", &[("limit", "clients")]);
    assert!(hits >= 1.0);
}

#[test]
fn clients_that_vanish_in_the_middle_of_things_leave_nothing_behind() {
    let mut scene = Scene::new();
    let large = "x".repeat(1 << 20);
    scene.redis.client().command(["SET", "large", &large]);
    for at in 0..200 {
        let mut client = scene.proxy.client();
        match at % 5 {
            0 => client.send(["GET", "large"]),
            1 => client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\nabc"),
            2 => client.send_raw(encode(["MULTI"]).into_iter().chain(encode(["SET", "k", "v"])).collect::<Vec<_>>()),
            3 => client.send(["BLPOP", "nothing", "0"]),
            _ => client.send(["SUBSCRIBE", "news"]),
        }
    }
    scene.nobody_else_is_harmed();
    wait_until(SOON, "only the witness is connected", || scene.proxy.metrics().sum("fca_proxy_clients") == 1.0);
    assert_eq!(scene.redis.client().command(["EXISTS", "k"]), Value::Integer(0));
    wait_until(SOON, "nobody blocks in Redis any more", || scene.redis.info("clients")["blocked_clients"] == "0");
    scene.nobody_else_is_harmed();
}

/// Whatever mode a client was about to enter when it went, its connection towards Redis is clean or closed.
#[test]
fn a_dialogue_through_all_modes_that_is_cut_anywhere_leaves_nothing_behind() {
    /// Cuts are so many bytes apart: no two modes are begun between them.
    const STEP: usize = 3;
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let script = "HELLO 3|CLIENT TRACKING ON|SUBSCRIBE news|WATCH k|MULTI|SET k v|EXEC|SELECT 3|UNSUBSCRIBE|\
                  CLIENT TRACKING OFF|CLIENT REPLY OFF|BLPOP none 0.001|SET k v|MONITOR|MULTI|SELECT 5|EXEC|BLPOP none 0";
    let bytes: Vec<u8> = script.split('|').flat_map(|line| encode(line.split_whitespace())).collect();
    let cuts: Vec<usize> = (1..=bytes.len()).step_by(STEP).collect();
    assert!(cuts.len() > 100);
    for cut in cuts {
        let mut client = proxy.client();
        client.send_raw(&bytes[..cut]);
        if cut % 2 == 0 {
            // All of it that is whole was carried out, or waits.
            client.hears_nothing_for(Duration::from_millis(1));
        }
        drop(client);
        let mut next = proxy.client();
        assert_eq!(next.say("WATCH other"), Value::ok(), "after {cut} bytes");
        assert_eq!(next.say("MULTI"), Value::ok(), "after {cut} bytes");
        assert_eq!(next.say("HGETALL none"), Value::simple("QUEUED"), "after {cut} bytes");
        assert_eq!(next.say("EXEC"), Value::Array(vec![Value::Array(vec![])]), "after {cut} bytes");
        assert_eq!(next.say("ECHO end"), Value::bulk("end"), "after {cut} bytes");
    }
    let mut direct = redis.client();
    wait_until(SOON, "no connection carries state", || {
        let list = direct.say("CLIENT LIST");
        let is_clean = |line: &str| line.contains(" flags=N ") && line.contains(" sub=0 psub=0 ssub=0 multi=-1 ");
        // The near cache's tracks keys, as it should.
        list.text().lines().filter(|line| !line.contains(" name=fca-proxy-link ")).all(is_clean)
    });
    assert_eq!(proxy.metrics().sum("fca_proxy_upstream_reply_mismatches_total"), 0.0);
    assert_eq!(proxy.metrics().sum("fca_proxy_session_panics_total"), 0.0);
}
