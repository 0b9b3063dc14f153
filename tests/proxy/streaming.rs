//! Large requests and replies: passed on while they arrive, in bounded memory, whoever is slow.
//!
//! Memory is the process's own (VmRSS), looked at throughout; values are compared byte by byte, where they are too
//! large for that, by a sum over position and byte.

use crate::support::client::{Client, encode};
use crate::support::fault::{Direction, Pipe};
use crate::support::proxy::{Patience, Proxy, ProxyOptions, SHORT};
use crate::support::random::Random;
use crate::support::redis::Redis;
use crate::support::value::Value;
use crate::support::wait::{SOON, observe_for, wait_until};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const MIB: usize = 1 << 20;

/// What is large here.
const LARGE_BYTES: usize = 100 * MIB;

/// Resident memory that any number of bytes through one client may cost: buffers of a lane, a session and a reader.
const GROWTH_BYTES_MAX: u64 = 24 << 20;

/// Bytes that differ wherever they are shifted by anything but a multiple of a prime.
fn pattern(bytes: usize) -> Vec<u8> {
    let block: Vec<u8> = (0..65_521u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    block.iter().copied().cycle().take(bytes).collect()
}

/// The most memory that a proxy has while something happens, above what it had before.
fn growth_during<T>(proxy: &Proxy, run: impl FnOnce() -> T) -> (u64, T) {
    let before = proxy.resident_bytes();
    let (most, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                most.fetch_max(proxy.resident_bytes(), Ordering::Relaxed);
                observe_for(Duration::from_millis(2));
            }
        });
        // Whatever comes of it, the watcher ends.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        ended.store(true, Ordering::Relaxed);
        outcome
    });
    let outcome = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    (most.load(Ordering::Relaxed).saturating_sub(before), outcome)
}

#[track_caller]
fn within_bound(growth: u64) {
    assert!(growth <= GROWTH_BYTES_MAX, "the proxy grew by {} MiB", growth >> 20);
}

/// A raw connection, which reads into a buffer of its own size and no further.
fn raw(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("a TCP socket");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.set_write_timeout(Some(SOON)).expect("a timeout");
    stream
}

/// Reads exactly these bytes.
#[track_caller]
fn read_same(stream: &mut impl Read, mut expected: &[u8]) {
    let mut chunk = vec![0; 256 * 1024];
    while !expected.is_empty() {
        let wanted = chunk.len().min(expected.len());
        let read = stream.read(&mut chunk[..wanted]).expect("more of the reply");
        assert!(read > 0, "{} bytes are missing", expected.len());
        assert!(chunk[..read] == expected[..read], "the reply differs, {} bytes before its end", expected.len());
        expected = &expected[read..];
    }
}

/// A bulk string as it stands in a reply.
fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

#[test]
fn a_value_of_any_size_goes_through_both_ways_in_bounded_memory() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let value = pattern(LARGE_BYTES);
    let mut client = proxy.client();
    assert_eq!(client.command(["SET", "warm", "up"]), Value::ok());
    let set = encode([b"SET".as_slice(), b"large", &value, b"EX", b"1000"]);
    let (growth, ()) = growth_during(&proxy, || {
        client.send_raw(&set);
        assert_eq!(client.reply(), Value::ok());
    });
    within_bound(growth);
    drop(set);
    assert_eq!(redis.client().command(["STRLEN", "large"]), Value::Integer(LARGE_BYTES as i64));

    let expected = bulk(&value);
    drop(value);
    let (growth, ()) = growth_during(&proxy, || {
        let mut stream = raw(proxy.address());
        // Behind something small and before it; twice, since the second goes another way.
        for _ in 0..2 {
            stream.write_all(b"GET warm\r\nGET large\r\nTTL none\r\n").unwrap();
            read_same(&mut stream, b"$2\r\nup\r\n");
            read_same(&mut stream, &expected);
            read_same(&mut stream, b":-2\r\n");
        }
    });
    within_bound(growth);
    assert_eq!(client.command(["GET", "warm"]), Value::bulk("up"));
}

#[test]
fn large_arguments_of_any_command_arrive_as_they_were_sent() {
    const BYTES: usize = 3 * MIB + 17;
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (large, other) = (pattern(BYTES), pattern(MIB + 1));
    for mut client in [proxy.client(), proxy.client_resp3()] {
        client.command(["FLUSHALL"]);
        let len = |n: usize| Value::Integer(n as i64);
        assert_eq!(client.command([b"APPEND".as_slice(), b"a", &large]), len(BYTES));
        assert_eq!(client.command([b"APPEND".as_slice(), b"a", &other]), len(BYTES + other.len()));
        assert_eq!(client.command([b"SETRANGE".as_slice(), b"a", b"5", &other]), len(BYTES + other.len()));
        assert_eq!(client.command([b"MSET".as_slice(), b"b", &large, b"c", b"small", b"d", &other]), Value::ok());
        assert_eq!(
            client.command(["MGET", "b", "c", "d"]),
            Value::Array(vec![Value::bulk(&large), Value::bulk("small"), Value::bulk(&other),])
        );
        let script = b"return {ARGV[1], #ARGV[2], ARGV[3]}".as_slice();
        assert_eq!(
            client.command([b"EVAL".as_slice(), script, b"0", b"first", &large, b"last"]),
            Value::Array(vec![Value::bulk("first"), len(BYTES), Value::bulk("last")])
        );
        // Small arguments, but many.
        let fields: Vec<String> = (0..60_000).map(|n| format!("field:{n:08}")).collect();
        let hset = [String::from("HSET"), String::from("h")].into_iter().chain(fields.iter().cloned());
        assert_eq!(client.command(hset), len(30_000));
        // A name that is longer than any.
        let reply = client.command([&large]);
        assert!(reply.is_error() && reply.text().starts_with("ERR unknown command"), "{reply:?}");
        assert_eq!(client.command(["GET", "c"]), Value::bulk("small"));
    }
    let direct = redis.client().command(["GET", "a"]);
    let mut expected = [large, other.clone()].concat();
    expected[5..5 + other.len()].copy_from_slice(&other);
    assert!(direct == Value::bulk(&expected));
}

#[test]
fn large_replies_of_small_elements_take_no_memory() {
    const ELEMENTS: usize = 1_000_000;
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let fill = "local t = {} for j = ARGV[1], ARGV[1] + 999 do t[#t + 1] = string.format('%064d', j) end \
                redis.call('RPUSH', 'list', unpack(t))";
    let mut direct = redis.client();
    for first in (1..=ELEMENTS).step_by(1000) {
        direct.command(["EVAL", fill, "0", &first.to_string()]);
    }
    let mut expected = format!("*{ELEMENTS}\r\n").into_bytes();
    for n in 1..=ELEMENTS {
        write!(expected, "$64\r\n{n:064}\r\n").unwrap();
    }
    let (growth, ()) = growth_during(&proxy, || {
        let mut stream = raw(proxy.address());
        stream.write_all(b"LRANGE list 0 -1\r\nPING\r\n").unwrap();
        read_same(&mut stream, &expected);
        read_same(&mut stream, b"+PONG\r\n");
    });
    within_bound(growth);
    redis.client().command(["EVAL", "for i = 1, 20000 do redis.call('HSET', 'hash', i, string.rep('v', 50)) end", "0"]);
    let direct = Client::connect_resp3(redis.address()).command(["HGETALL", "hash"]);
    assert!(proxy.client_resp3().command(["HGETALL", "hash"]) == direct);
}

#[test]
fn a_slow_reader_of_a_large_reply_harms_nobody_and_takes_no_memory() {
    let redis = Redis::start();
    let proxy = Proxy::start(ProxyOptions {
        upstream: Some(redis.url()),
        arguments: vec!["--workers", "1"],
        patience: Patience::Long,
        ..ProxyOptions::default()
    });
    let value = pattern(LARGE_BYTES);
    redis.client().command([b"SET".as_slice(), b"large", &value]);
    redis.client().command(["SET", "small", "s"]);
    let expected = bulk(&value);
    let mut neighbour = proxy.client();
    let mut neighbour_resp3 = proxy.client_resp3();
    assert_eq!(neighbour.command(["GET", "small"]), Value::bulk("s"));
    let (growth, ()) = growth_during(&proxy, || {
        let mut slow: Vec<TcpStream> = (0..3).map(|_| raw(proxy.address())).collect();
        for stream in &mut slow {
            stream.write_all(b"GET large\r\nGET small\r\n").unwrap();
            read_same(stream, &expected[..100]);
        }
        // Each of them reads a MiB only after its neighbours were answered.
        let mut at = 100;
        while at < expected.len() {
            let next = (at + MIB).min(expected.len());
            for stream in &mut slow {
                read_same(stream, &expected[at..next]);
            }
            assert_eq!(neighbour.command(["GET", "small"]), Value::bulk("s"));
            assert_eq!(neighbour_resp3.command(["INCR", "n"]), Value::Integer((at / MIB) as i64 + 1));
            at = next;
        }
        for stream in &mut slow {
            read_same(stream, b"$1\r\ns\r\n");
            // What comes next goes as before.
            stream.write_all(b"SET after x\r\nGET after\r\n").unwrap();
            read_same(stream, b"+OK\r\n$1\r\nx\r\n");
        }
    });
    within_bound(growth);
    wait_until(SOON, "retired connections end", || {
        let metrics = proxy.metrics();
        metrics.sum("fca_proxy_upstream_retired_connections_total") >= 1.0
            && metrics.sum("fca_proxy_upstream_connections") <= 6.0
    });
    assert_eq!(proxy.metrics().sum("fca_proxy_upstream_timeouts_total"), 0.0);
}

#[test]
fn a_slow_writer_has_its_budget_for_each_step_and_harms_nobody() {
    const STEPS: usize = 60;
    /// Far less than the budget, which is for a step; all of them are far more.
    const PAUSE: Duration = Duration::from_millis(50);
    let redis = Redis::start();
    let proxy = Proxy::start(ProxyOptions {
        upstream: Some(redis.url()),
        arguments: vec!["--workers", "1"],
        patience: Patience::Short,
        ..ProxyOptions::default()
    });
    let value = pattern(STEPS * 16 * 1024);
    let request = encode([b"SET".as_slice(), b"large", &value, b"EX", b"100"]);
    let (mut slow, mut neighbour) = (proxy.client(), proxy.client());
    let began = std::time::Instant::now();
    for piece in request.chunks(16 * 1024) {
        slow.send_raw(piece);
        assert_eq!(neighbour.command(["SET", "k", "v"]), Value::ok());
        observe_for(PAUSE);
    }
    slow.send(["GET", "k"]);
    assert!(began.elapsed() > SHORT, "it takes longer than the budget");
    assert_eq!(slow.reply(), Value::ok());
    assert_eq!(slow.reply(), Value::bulk("v"));
    assert!(slow.command(["GET", "large"]) == Value::bulk(&value));
}

#[test]
fn a_request_whose_upstream_goes_away_is_read_to_its_end_and_answered_nil() {
    let value = pattern(20 * MIB);
    let request = encode([b"SET".as_slice(), b"large", &value]);
    for frozen in [false, true] {
        let redis = Redis::start();
        let pipe = Pipe::to(redis.address());
        let proxy = Proxy::in_front_of(pipe.url());
        let mut client = proxy.client();
        wait_until(SOON, "the upstream is up", || client.command(["SET", "k", "v"]) == Value::ok());
        if frozen {
            client.send_raw(&request[..MIB]);
            pipe.hold(Direction::Requests);
        } else {
            pipe.cut_after(Direction::Requests, 5 * MIB);
        }
        let rest = if frozen { &request[MIB..] } else { &request[..] };
        let (growth, ()) = growth_during(&proxy, || {
            client.send_raw(rest);
            client.send(["PING"]);
            assert_eq!(client.reply(), Value::Nil, "frozen: {frozen}");
            assert_eq!(client.reply(), Value::simple("PONG"));
        });
        within_bound(growth);
        pipe.go_on(Direction::Requests);
        wait_until(SOON, "the same connection gets answers", || client.command(["GET", "k"]) == Value::bulk("v"));
        assert_eq!(redis.client().command(["EXISTS", "large"]), Value::Integer(0));
    }
}

#[test]
fn a_large_request_without_any_upstream_is_answered_nil() {
    let mut redis = Redis::start();
    let proxy = Proxy::in_front_of(redis.url());
    let mut client = proxy.client();
    wait_until(SOON, "the upstream is up", || client.command(["SET", "k", "v"]) == Value::ok());
    redis.kill();
    wait_until(SOON, "the upstream is known to be gone", || {
        client.command(["GET", "k"]);
        proxy.metrics().sum("fca_proxy_upstream_up") == 0.0
    });
    let value = pattern(30 * MIB);
    let (growth, ()) = growth_during(&proxy, || {
        assert_eq!(client.command([b"SET".as_slice(), b"large", &value]), Value::Nil);
        assert_eq!(client.command(["MULTI"]), Value::ok());
        assert_eq!(client.command([b"SET".as_slice(), b"large", &value]), Value::simple("QUEUED"));
        assert_eq!(client.command(["EXEC"]), Value::Nil);
        assert_eq!(client.command(["PING"]), Value::simple("PONG"));
    });
    within_bound(growth);
}

#[test]
fn a_reply_whose_upstream_goes_away_ends_its_client_and_nobody_else() {
    let redis = Redis::start();
    redis.client().command([b"SET".as_slice(), b"large", &pattern(LARGE_BYTES)]);
    redis.client().command(["SET", "small", "s"]);
    let pipe = Pipe::to(redis.address());
    // Its first byte may take long on a busy machine; what is frozen is given up soon.
    let proxy = Proxy::start(ProxyOptions {
        upstream: Some(pipe.url()),
        config: "[upstream]\ntimeout = \"4s\"\ndead_after = \"4s\"\n".into(),
        arguments: vec!["--workers", "1"],
        ..ProxyOptions::default()
    });
    let mut other = proxy.client();
    wait_until(SOON, "the upstream is up", || other.command(["GET", "small"]) == Value::bulk("s"));
    for frozen in [false, true] {
        let mut client = raw(proxy.address());
        client.set_read_timeout(Some(SOON * 3)).unwrap();
        if !frozen {
            pipe.cut_after(Direction::Replies, 5 * MIB);
        }
        client.write_all(b"GET large\r\n").unwrap();
        read_same(&mut client, b"$104857600\r\n");
        if frozen {
            pipe.hold(Direction::Replies);
        }
        let mut came = 0;
        let mut chunk = vec![0; 64 * 1024];
        // Closed or reset; not left waiting.
        let end = loop {
            match client.read(&mut chunk) {
                Ok(0) => break None,
                Ok(read) => came += read,
                Err(error) => break Some(error.kind()),
            }
        };
        assert!(!matches!(end, Some(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "frozen: {frozen}, {came} bytes");
        assert!(came < LARGE_BYTES);
        pipe.go_on(Direction::Replies);
        wait_until(SOON, "the other goes on", || other.command(["GET", "small"]) == Value::bulk("s"));
    }
}

#[test]
fn clients_that_vanish_in_the_middle_leave_nothing_behind() {
    let redis = Redis::start();
    let value = pattern(20 * MIB);
    redis.client().command([b"SET".as_slice(), b"large", &value]);
    let proxy = Proxy::patient(redis.url());
    let request = encode([b"SET".as_slice(), b"k", &value]);
    for round in 0..8 {
        let mut stream = raw(proxy.address());
        match round % 4 {
            0 => stream.write_all(&request[..request.len() / 2]).unwrap(),
            1 => stream.write_all(b"GET large\r\n").unwrap(),
            2 => {
                stream.write_all(b"GET large\r\n").unwrap();
                read_same(&mut stream, b"$20971520\r\n");
            }
            _ => {
                stream.write_all(b"MULTI\r\nGET large\r\n").unwrap();
                stream.write_all(&request[..request.len() / 2]).unwrap();
            }
        }
    }
    let mut client = proxy.client();
    wait_until(SOON, "only one client is left", || proxy.metrics().sum("fca_proxy_clients") == 1.0);
    assert_eq!(client.command(["EXISTS", "k"]), Value::Integer(0));
    wait_until(SOON, "nothing is in flight", || proxy.metrics().sum("fca_proxy_upstream_requests_in_flight") == 0.0);
    assert!(client.command(["GET", "large"]) == Value::bulk(&value));
}

#[test]
fn replies_end_where_they_end_whatever_the_buffers() {
    const ROUNDS: usize = 120;
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut direct, mut client) = (redis.client(), proxy.client());
    let mut random = Random::seeded(11);
    let all = pattern(MIB);
    for round in 0..ROUNDS {
        let border = [64 * 1024, 128 * 1024, 256 * 1024, 320 * 1024, 512 * 1024][round % 5];
        let size = border - 24 + random.below(48);
        let value = &all[random.below(1000)..][..size];
        let key = format!("k{round}");
        if round % 2 == 0 {
            direct.command([b"SET".as_slice(), key.as_bytes(), value]);
        } else {
            assert_eq!(client.command([b"SET".as_slice(), key.as_bytes(), value]), Value::ok());
        }
        let mut batch = encode(["SET", "before", &key]);
        batch.extend(encode(["GET", "before"]));
        batch.extend(encode(["GET", &key]));
        batch.extend(encode([b"SET".as_slice(), b"copy", value]));
        batch.extend(encode(["ECHO", &key]));
        batch.extend(encode(["FCA.GET", "faq", &key]));
        batch.extend(encode(["MGET", &key, "before", "copy"]));
        let cut = random.below(batch.len());
        client.send_raw(&batch[..cut]);
        client.send_raw(&batch[cut..]);
        assert_eq!(client.reply(), Value::ok());
        assert_eq!(client.reply(), Value::bulk(&key));
        assert!(client.reply() == Value::bulk(value), "round {round}, {size} bytes");
        assert_eq!(client.reply(), Value::ok());
        assert_eq!(client.reply(), Value::bulk(&key));
        assert_eq!(client.reply(), Value::Nil);
        let three = Value::Array(vec![Value::bulk(value), Value::bulk(&key), Value::bulk(value)]);
        assert!(client.reply() == three, "round {round}, {size} bytes");
    }
}

#[test]
fn a_client_that_writes_its_whole_pipeline_before_it_reads_gets_all_its_replies() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let value = pattern(12 * MIB);
    redis.client().command([b"SET".as_slice(), b"large", &value]);
    let mut stream = raw(proxy.address());
    let mut batch = encode(["GET", "large"]).repeat(3);
    batch.extend(encode([b"SET".as_slice(), b"copy", &value]));
    batch.extend(encode(["GET", "copy"]));
    batch.extend(encode(["MULTI"]));
    batch.extend(encode([b"SET".as_slice(), b"again", &value]));
    batch.extend(encode(["EXEC"]));
    stream.write_all(&batch).unwrap();
    for _ in 0..3 {
        read_same(&mut stream, &bulk(&value));
    }
    read_same(&mut stream, b"+OK\r\n");
    read_same(&mut stream, &bulk(&value));
    read_same(&mut stream, b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
}

#[test]
fn a_transaction_may_hold_a_large_value() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let value = pattern(30 * MIB);
    let mut client = proxy.client();
    let mut batch = encode(["WATCH", "w"]);
    batch.extend(encode(["MULTI"]));
    batch.extend(encode(["SET", "small", "s"]));
    batch.extend(encode([b"SET".as_slice(), b"large", &value]));
    batch.extend(encode(["STRLEN", "large"]));
    batch.extend(encode(["GET", "large"]));
    batch.extend(encode(["EXEC"]));
    batch.extend(encode(["GET", "small"]));
    let (growth, ()) = growth_during(&proxy, || {
        let mut stream = raw(proxy.address());
        let expected = [
            b"+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*4\r\n+OK\r\n+OK\r\n:31457280\r\n".as_slice(),
            &bulk(&value),
            b"$1\r\ns\r\n",
        ]
        .concat();
        thread::scope(|scope| {
            let mut writer = stream.try_clone().unwrap();
            scope.spawn(move || writer.write_all(&batch).unwrap());
            read_same(&mut stream, &expected);
        });
    });
    within_bound(growth);
    // What can't be queued aborts it, large or not.
    let long = pattern(17 * MIB);
    assert_eq!(client.command(["MULTI"]), Value::ok());
    assert!(client.command([b"FCA.SET".as_slice(), b"faq", b"q", &long]).is_error());
    assert_eq!(client.command(["EXEC"]).text(), "EXECABORT Transaction discarded because of previous errors.");
}

#[test]
fn a_value_that_the_cache_does_not_take_is_refused_without_being_held() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut client = proxy.client();
    let value = pattern(LARGE_BYTES);
    let (growth, ()) = growth_during(&proxy, || {
        let error = Value::error("ERR value exceeds limits.value_bytes_max (16777216 bytes)");
        assert_eq!(client.command([b"FCA.SET".as_slice(), b"faq", b"q", &value, b"EX", b"5"]), error);
        let reply = client.command([b"FCA.GET".as_slice(), b"faq", &value]);
        assert_eq!(reply, Value::error("ERR query exceeds limits.query_bytes_max (1048576 bytes)"));
    });
    within_bound(growth);
    assert_eq!(client.command([b"FCA.SET".as_slice(), b"faq", b"q", &value[..16 * MIB]]), Value::ok());
    assert!(client.command(["FCA.GET", "faq", "q"]) == Value::bulk(&value[..16 * MIB]));
}

#[test]
fn a_fault_in_the_middle_of_a_large_request_is_told_in_the_words_of_redis() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let value = pattern(MIB);
    let begun = [b"PING\r\n*4\r\n$4\r\nMSET\r\n$1\r\nk\r\n".as_slice(), &bulk(&value)].concat();
    for fault in [b":1\r\n".as_slice(), b"$-2\r\n", b"$600000000\r\n"] {
        let said = [redis.address(), proxy.address()].map(|address| {
            let mut client = Client::connect(address);
            client.send_raw(&begun);
            client.send_raw(fault);
            client.read_until_closed().escape_ascii().to_string()
        });
        assert_eq!(said[1], said[0]);
    }
    assert_eq!(redis.client().command(["EXISTS", "k"]), Value::Integer(0));
}

#[test]
fn a_client_that_takes_nothing_of_its_replies_is_closed() {
    let redis = Redis::start();
    let proxy = Proxy::start(ProxyOptions {
        upstream: Some(redis.url()),
        config: "[limits]\nwrite_timeout = \"3s\"\n".into(),
        patience: Patience::Long,
        ..ProxyOptions::default()
    });
    redis.client().command([b"SET".as_slice(), b"large", &pattern(LARGE_BYTES)]);
    let mut deaf = raw(proxy.address());
    deaf.write_all(b"GET large\r\n").unwrap();
    let hits = || proxy.metrics().sum_where("fca_proxy_limit_hits_total", &[("limit", "write_timeout")]);
    wait_until(SOON, "the limit's hit is counted", || hits() == 1.0);
    wait_until(SOON, "nothing is in flight", || proxy.metrics().sum("fca_proxy_upstream_requests_in_flight") == 0.0);
    // Who is slow, but takes something, is not: far less than the limit from one time to the next, more in all.
    let mut slow = raw(proxy.address());
    slow.write_all(b"GET large\r\n").unwrap();
    let mut chunk = vec![0; 64 * 1024];
    for _ in 0..14 {
        slow.read_exact(&mut chunk).unwrap();
        observe_for(Duration::from_millis(250));
    }
    assert_eq!(hits(), 1.0);
    assert_eq!(proxy.client().command(["PING"]), Value::simple("PONG"));
}

#[test]
fn a_million_pipelined_requests_take_no_more_memory_than_ten() {
    const REQUESTS: usize = 1_000_000;
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    redis.client().command(["SET", "k", "0123456789"]);
    let mut stream = raw(proxy.address());
    let (growth, ()) = growth_during(&proxy, || {
        thread::scope(|scope| {
            let mut writer = stream.try_clone().unwrap();
            scope.spawn(move || {
                let batch = encode(["GET", "k"]).repeat(1000);
                (0..REQUESTS / 1000).for_each(|_| writer.write_all(&batch).unwrap());
            });
            let replies = bulk(b"0123456789").repeat(1000);
            (0..REQUESTS / 1000).for_each(|_| read_same(&mut stream, &replies));
        });
    });
    within_bound(growth);
}
