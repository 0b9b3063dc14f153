//! Random dialogues through the proxy answer byte by byte as Redis does, and random FCA commands as a map would.
//!
//! Several sessions at a time, each on keys of its own, say the same to a Redis and to another Redis behind one proxy:
//! requests of all kinds, right and wrong, cut anywhere, at any depth of pipelining. Their whole reply streams are
//! compared, so a reply that is lost, doubled, out of order or somebody else's is seen. What fails is played again alone
//! and shown as short as it gets. Left out: replies that depend on chance or time, and what waits in the server.
//!
//! `DIFFERENTIAL_SECONDS` lets the first test run so long, `DIFFERENTIAL_SEED` says where its seeds begin.

use crate::support::client::{Client, encode};
use crate::support::proxy::Proxy;
use crate::support::random::Random;
use crate::support::redis::Redis;
use crate::support::value::{self, Value};
use crate::support::wait::SOON;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use std::{env, fmt, iter, thread};

/// Pipelines of FCA commands in a run, and the most commands of one.
const PIPELINES: usize = 120;
const PIPELINE_MAX: usize = 60;

/// Sessions that play at a time.
const SESSIONS: u64 = 6;
/// Rounds of so many sessions, each with seeds of its own.
const ROUNDS: u64 = 6;
/// Requests of one session.
const STEPS: usize = 250;
/// The longest value, in bytes.
const VALUE_BYTES_MAX: usize = 300 * 1024;
/// The most requests that are sent before their replies are read.
const DEPTH_MAX: usize = 300;
/// The longest piece that is sent at once, in bytes.
const PIECE_BYTES_MAX: usize = 100 * 1024;

#[test]
fn random_dialogues_answer_byte_by_byte_as_redis_does() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let until = number("DIFFERENTIAL_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut seed = number("DIFFERENTIAL_SEED").unwrap_or(1);
    let servers = Servers::start();
    let (mut rounds, mut replies) = (0, 0);
    while rounds < ROUNDS || until.is_some_and(|until| Instant::now() < until) {
        let seeds = seed..seed + SESSIONS;
        let played: Vec<(u64, Result<usize, Difference>)> = thread::scope(|scope| {
            let sessions: Vec<_> = seeds
                .map(|seed| {
                    let servers = &servers;
                    (seed, scope.spawn(move || compare(servers, &Dialogue::of(seed))))
                })
                .collect();
            sessions.into_iter().map(|(seed, session)| (seed, session.join().expect("a session plays on"))).collect()
        });
        for (seed, outcome) in played {
            replies += outcome.unwrap_or_else(|difference| fail(seed, &difference));
        }
        seed += SESSIONS;
        rounds += 1;
    }
    assert!(replies >= (ROUNDS * SESSIONS) as usize * STEPS / 2, "{replies} replies");
    assert_eq!(servers.proxy.metrics().sum("fca_proxy_session_panics_total"), 0.0);
}

/// A Redis, and another behind a proxy.
struct Servers {
    direct: Redis,
    /// Kept running; reached through the proxy only.
    _behind: Redis,
    proxy: Proxy,
}

impl Servers {
    fn start() -> Self {
        let (direct, behind) = (Redis::start(), Redis::start());
        let proxy = Proxy::patient(behind.url());
        Self { direct, _behind: behind, proxy }
    }
}

/// Where the two first answered differently.
struct Difference {
    /// Which reply, counted from 0.
    reply: usize,
    direct: String,
    proxied: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reply {} is {}, where Redis says {}", self.reply, self.proxied, self.direct)
    }
}

/// Plays a dialogue on both; how many replies were the same.
fn compare(servers: &Servers, dialogue: &Dialogue) -> Result<usize, Difference> {
    let direct = play(servers.direct.address(), dialogue);
    let proxied = play(servers.proxy.address(), dialogue);
    let shown =
        |replies: &[Vec<u8>], at: usize| replies.get(at).map_or_else(|| "nothing".to_owned(), |reply| shown(reply));
    match iter::zip(&direct, &proxied).position(|(direct, proxied)| direct != proxied) {
        None if direct.len() == proxied.len() => Ok(direct.len()),
        found => {
            let reply = found.unwrap_or_else(|| direct.len().min(proxied.len()));
            Err(Difference { reply, direct: shown(&direct, reply), proxied: shown(&proxied, reply) })
        }
    }
}

/// Shows what failed: alone and with as few requests as still fail, if it fails alone.
fn fail(seed: u64, difference: &Difference) -> ! {
    let dialogue = Dialogue::of(seed).up_to_reply(difference.reply);
    let servers = Servers::start();
    let fails = |dialogue: &Dialogue| {
        for address in [servers.direct.address(), servers.proxy.address()] {
            Client::connect(address).command(["FLUSHALL"]);
        }
        compare(&servers, dialogue).err()
    };
    let Some(mut last) = fails(&dialogue) else {
        panic!("seed {seed}, only beside others: {difference}, after\n{}", dialogue.shown());
    };
    let mut shortest = dialogue;
    for length in [32, 8, 1, 1] {
        let mut at = shortest.steps.len();
        while at > 0 {
            let end = at.min(shortest.steps.len());
            at = at.saturating_sub(length);
            let mut shorter = shortest.clone();
            shorter.steps.drain(at..end);
            if let Some(difference) = fails(&shorter) {
                (shortest, last) = (shorter, difference);
            }
        }
    }
    panic!("seed {seed}: {last}, after\n{}", shortest.shown());
}

/// What one session says.
#[derive(Clone)]
struct Dialogue {
    seed: u64,
    steps: Vec<Step>,
}

/// One request, or bytes that ask for nothing.
#[derive(Clone)]
struct Step {
    bytes: Vec<u8>,
    answer: Answer,
    /// Whether the replies up to here are read before more is said.
    pauses: bool,
}

/// What comes back for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// One reply.
    Reply,
    /// Nothing.
    Nothing,
    /// One reply, and the end of the connection.
    Last,
}

impl Step {
    fn new(bytes: impl Into<Vec<u8>>, answer: Answer) -> Self {
        Self { bytes: bytes.into(), answer, pauses: false }
    }
}

impl Dialogue {
    fn of(seed: u64) -> Self {
        let mut author = Author { random: Random::seeded(seed), seed, in_multi: false, depth: 0 };
        // The first numbers of small seeds resemble each other.
        (0..16).for_each(|_| _ = author.random.below(2));
        let mut steps: Vec<Step> = (0..STEPS).map(|_| author.step_and_pause()).collect();
        steps.push(author.farewell());
        Self { seed, steps }
    }

    fn up_to_reply(&self, reply: usize) -> Self {
        let mut replies = 0;
        let steps = self.steps.iter().take_while(|step| {
            let before = replies;
            replies += usize::from(step.answer != Answer::Nothing);
            before <= reply
        });
        Self { seed: self.seed, steps: steps.cloned().collect() }
    }

    fn shown(&self) -> String {
        let pause = |step: &Step| if step.pauses { "\n(its replies are read)\n" } else { "\n" };
        self.steps.iter().map(|step| shown(&step.bytes) + pause(step)).collect()
    }
}

/// Writes a dialogue.
struct Author {
    random: Random,
    /// Tells the sessions' keys apart.
    seed: u64,
    /// Whether MULTI was said and neither EXEC nor DISCARD.
    in_multi: bool,
    /// How many requests are still to be said before the next pause.
    depth: usize,
}

/// Commands and their arguments: `k` is a key, `v` a value of any bytes, `n` a small number, all else is said as it is.
const COMMANDS: &[&str] = &[
    "SET k v",
    "SET k v NX",
    "SET k v XX GET",
    "SET k n",
    "GET k",
    "GET k",
    "GETSET k v",
    "GETDEL k",
    "APPEND k v",
    "STRLEN k",
    "GETRANGE k n 5",
    "SETRANGE k n v",
    "SETNX k v",
    "MSET k v k v",
    "MSETNX k v k v",
    "MGET k k k",
    "INCR k",
    "INCR k",
    "INCR k",
    "DECR k",
    "INCRBY k n",
    "INCRBYFLOAT k 0.5",
    "SETBIT k n 1",
    "BITCOUNT k",
    "SETEX k 1000 v",
    "SETEX k 0 v",
    "SET k v EX",
    "SET k v BOGUS",
    "RPUSH k v v",
    "LPUSH k n n n",
    "LRANGE k 0 -1",
    "LRANGE k 0 n",
    "LPOP k",
    "RPOP k n",
    "LLEN k",
    "LINDEX k n",
    "LSET k n v",
    "LREM k 0 v",
    "LTRIM k 0 n",
    "LMOVE k k LEFT RIGHT",
    "LINSERT k BEFORE n v",
    "HSET k n v",
    "HSET k n v n v",
    "HGET k n",
    "HMGET k n n n",
    "HDEL k n",
    "HLEN k",
    "HINCRBY k n n",
    "HEXISTS k n",
    "HSTRLEN k n",
    "HSET k odd",
    "SADD k n n",
    "SISMEMBER k n",
    "SMISMEMBER k n n",
    "SCARD k",
    "SREM k n",
    "SMOVE k k n",
    "SORT k",
    "ZADD k n v",
    "ZADD k n n n n",
    "ZADD k nan x",
    "ZRANGE k 0 -1 WITHSCORES",
    "ZSCORE k n",
    "ZMSCORE k n n",
    "ZINCRBY k 0.5 n",
    "ZRANK k n",
    "ZPOPMIN k",
    "ZCARD k",
    "ZRANGEBYSCORE k -inf n",
    "ZREM k n",
    "DEL k",
    "DEL k k k",
    "UNLINK k",
    "EXISTS k k",
    "TYPE k",
    "RENAME k k",
    "COPY k k",
    "PERSIST k",
    "TOUCH k k",
    "OBJECT ENCODING k",
    "DUMP none",
    "PFADD k v",
    "PFCOUNT k",
    "GEOADD k 13.3 38.1 n",
    "GEOPOS k n",
    "XADD k 1-n f v",
    "XLEN k",
    "XRANGE k - +",
    "XREAD COUNT 2 STREAMS k 0",
    "PING",
    "PING v",
    "PING a b",
    "ECHO v",
    "ECHO",
    "GET",
    "GET k k",
    "INCR",
    "NONSENSE",
    "NONSENSE v k",
    "nonsense. k",
    "get k",
    "sEt k v",
    "CLIENT SETNAME n",
    "CLIENT GETNAME",
    "CLIENT NONSENSE",
    "PUBLISH k v",
    "CONFIG GET none",
    "SCRIPT EXISTS ffff",
    "MEMORY USAGE none",
    "COMMAND GETKEYS MSET a 1 b 2",
    "TIME x",
    "OBJECT NONSENSE k",
];

/// Scripts, each with one key and one argument.
const SCRIPTS: &[&str] = &[
    "return redis.call('INCR', KEYS[1])",
    "return {1, 'two', {3, {4}}, false, ARGV[1]}",
    "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])",
    "return {err = 'ERR so it is'}",
    "return {ok = ARGV[1]}",
    "return redis.pcall('LPUSH', KEYS[1], ARGV[1])",
    "redis.setresp(3) return {map = {field = ARGV[1]}}",
    "redis.setresp(3) return {double = 3.5}",
    "redis.setresp(3) return true",
    "return redis.call('NONSENSE')",
    "nonsense(",
];

impl Author {
    fn step_and_pause(&mut self) -> Step {
        let mut step = self.step();
        step.pauses = self.depth == 0;
        self.depth = match self.random.below(10) {
            _ if !step.pauses => self.depth - 1,
            0..=2 => 0,
            3..=8 => self.random.below(30),
            _ => self.random.below(DEPTH_MAX),
        };
        step
    }

    fn step(&mut self) -> Step {
        let words = match self.random.below(100) {
            0..=3 => self.control("MULTI"),
            4..=8 => self.control("EXEC"),
            9 => self.control("DISCARD"),
            10 | 11 => vec![b"WATCH".to_vec(), self.key(), self.key()],
            12 => vec![b"UNWATCH".to_vec()],
            13..=17 => {
                let database = self.random.one_of(&["0", "0", "1", "2", "3", "15", "16", "99", "-1", "x", ""]);
                vec![b"SELECT".to_vec(), database.into()]
            }
            18 | 19 if !self.in_multi => {
                let version = self.random.one_of(&["2", "2", "3", "3", "4", "x"]);
                vec![b"HELLO".to_vec(), version.into()]
            }
            20 => self.control("RESET"),
            21 => return self.nothing(),
            22..=25 => return self.inline(),
            26..=29 => {
                let script = self.random.one_of(SCRIPTS);
                vec![b"EVAL".to_vec(), script.into(), b"1".to_vec(), self.key(), self.value()]
            }
            30 => {
                let arguments = self.random.below(3000);
                let key = self.key();
                let items = (0..=arguments).map(|item| item.to_string().into_bytes());
                [b"RPUSH".to_vec(), key].into_iter().chain(items).collect()
            }
            _ => self.command(),
        };
        Step::new(encode(words), Answer::Reply)
    }

    fn control(&mut self, word: &str) -> Vec<Vec<u8>> {
        self.in_multi = word == "MULTI";
        vec![word.into()]
    }

    fn command(&mut self) -> Vec<Vec<u8>> {
        let line = self.random.one_of(COMMANDS);
        let mut words = Vec::new();
        for word in line.split(' ') {
            words.push(match word {
                "k" => self.key(),
                "v" => self.value(),
                "n" => self.random.below(20).to_string().into_bytes(),
                "1-n" => format!("1-{}", 1 + self.random.below(20)).into_bytes(),
                word => word.into(),
            });
        }
        words
    }

    /// Few keys, so that commands meet; each of any type.
    fn key(&mut self) -> Vec<u8> {
        format!("{}:{}", self.seed, self.random.below(8)).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        let bytes = match self.random.below(100) {
            0 | 1 => self.random.below(VALUE_BYTES_MAX),
            2..=8 => self.random.below(20_000),
            9..=12 => return self.random.one_of(&["", "\r\n", "$-1\r\n", "*1\r\n$4\r\nPING\r\n", "+OK"]).into(),
            13..=40 => return self.random.below(1000).to_string().into(),
            _ => self.random.below(64),
        };
        (0..bytes).map(|_| self.random.below(256) as u8).collect()
    }

    /// What is no request and has no reply.
    fn nothing(&mut self) -> Step {
        let bytes = self.random.one_of(&["*0\r\n", "*-1\r\n", "\r\n", "\n", "  \r\n"]);
        Step::new(bytes, Answer::Nothing)
    }

    fn inline(&mut self) -> Step {
        let key = String::from_utf8(self.key()).expect("a key is ASCII");
        let line = match self.random.below(8) {
            0 => "PING\r\n".to_owned(),
            1 => format!("SET {key} \"a \\x00\\n\\\" b\"\r\n"),
            2 => format!("  GET   {key}  \n"),
            3 => format!("set {key} 'it\\'s'\r\n"),
            4 => "NONSENSE x\r\n".to_owned(),
            5 => format!("ECHO {}\r\n", "e".repeat(self.random.below(5000))),
            6 => "GET \"\"\r\n".to_owned(),
            _ => format!("APPEND {key} \"\"\r\n"),
        };
        Step::new(line, Answer::Reply)
    }

    /// The last words: a proper end, or bytes that are no request.
    fn farewell(&mut self) -> Step {
        let bytes = self.random.one_of(&[
            "*1\r\n$4\r\nQUIT\r\n",
            "quit\r\n",
            "*x\r\n",
            "*1\r\nx4\r\nPING\r\n",
            "*1\r\n$-1\r\n",
            "*2\r\n$3\r\nGET\r\n$nan\r\n",
            "GET \"open\r\n",
        ]);
        Step::new(bytes, Answer::Last)
    }
}

/// Says a dialogue to this server; its replies, with `id` of HELLO made equal.
fn play(address: SocketAddr, dialogue: &Dialogue) -> Vec<Vec<u8>> {
    // The same cuts for both servers.
    let mut random = Random::seeded(dialogue.seed ^ 0xc0ffee);
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("a TCP socket");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.set_write_timeout(Some(SOON)).expect("a timeout");
    let mut replies = Replies { stream: &stream, buffer: Vec::new() };
    let mut heard = Vec::new();
    for now in dialogue.steps.split_inclusive(|step| step.pauses) {
        let pieces = cut(now.iter().flat_map(|step| step.bytes.iter().copied()).collect(), &mut random);
        let whole = thread::scope(|scope| {
            // Who says much at once has to listen meanwhile.
            scope.spawn(|| pieces.iter().try_for_each(|piece| (&stream).write_all(piece)));
            now.iter().filter(|step| step.answer != Answer::Nothing).all(|_| match replies.next() {
                Ok(reply) => {
                    heard.push(without_id(reply));
                    true
                }
                Err(fault) => {
                    heard.push(fault.into_bytes());
                    // Nobody waits for a writer whose reader has given up.
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                    false
                }
            })
        });
        if !whole {
            return heard;
        }
    }
    if dialogue.steps.last().is_some_and(|step| step.answer == Answer::Last) {
        heard.push(replies.rest());
    }
    heard
}

/// Bytes in pieces of one kind of size.
fn cut(bytes: Vec<u8>, random: &mut Random) -> Vec<Vec<u8>> {
    let piece_max = match random.below(6) {
        0 if bytes.len() < 2000 => 1,
        0 | 1 => 64,
        2 => 4096,
        3 | 4 => PIECE_BYTES_MAX,
        _ => usize::MAX,
    };
    let mut pieces = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let length = 1 + random.below(piece_max.min(rest.len()));
        // What is large is not cut into thousands.
        let length = if rest.len() > 200_000 { length.max(rest.len() / 50) } else { length };
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        pieces.push(piece.to_vec());
        rest = behind;
    }
    pieces
}

/// The replies of one connection, one by one.
struct Replies<'a> {
    stream: &'a TcpStream,
    buffer: Vec<u8>,
}

impl Replies<'_> {
    /// The next reply, or what came in its place.
    fn next(&mut self) -> Result<Vec<u8>, String> {
        let mut chunk = [0; 64 * 1024];
        loop {
            match value::parse(&self.buffer) {
                Ok(Some((_, length))) => {
                    let behind = self.buffer.split_off(length);
                    return Ok(std::mem::replace(&mut self.buffer, behind));
                }
                Ok(None) => {}
                Err(fault) => return Err(format!("{fault:?} in {}", shown(&self.buffer))),
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(format!("the end of the connection behind {}", shown(&self.buffer))),
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(fault) => return Err(format!("{:?} behind {}", fault.kind(), shown(&self.buffer))),
            }
        }
    }

    /// Everything up to the end of the connection.
    fn rest(mut self) -> Vec<u8> {
        match self.stream.read_to_end(&mut self.buffer) {
            Ok(_) => {}
            Err(fault) if fault.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(fault) => self.buffer.extend_from_slice(format!("{:?}", fault.kind()).as_bytes()),
        }
        self.buffer
    }
}

/// A reply to HELLO with 0 for the connection's number, which no two servers need have in common.
fn without_id(reply: Vec<u8>) -> Vec<u8> {
    const FIELD: &[u8] = b"$2\r\nid\r\n:";
    let Some(at) = reply.windows(FIELD.len()).position(|window| window == FIELD) else { return reply };
    let start = at + FIELD.len();
    let digits = reply[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    [&reply[..start], b"0", &reply[start + digits..]].concat()
}

fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 160;
    match bytes.get(..SHOWN_MAX) {
        Some(head) => format!("{}… ({} bytes)", head.escape_ascii(), bytes.len()),
        None => bytes.escape_ascii().to_string(),
    }
}

/// Questions, of which some are spellings of one entry, some of one another's twin only.
const QUESTIONS: &[&str] =
    &["a", " A", "a?", "a ?", "a??", "a ? ?", "b", "B  ?", "?", "??", "", "stra\u{df}e?", "x? y"];

#[test]
fn random_fca_and_plain_commands_on_one_entry_answer_as_a_map_does() {
    let redis = Redis::start();
    compare_with_map(&Proxy::patient(redis.url()), Transactions::Some);
    compare_with_map(&Proxy::embedded(), Transactions::None);
}

/// Whether a store knows transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transactions {
    Some,
    None,
}

fn compare_with_map(proxy: &Proxy, transactions: Transactions) {
    for seed in 1..=3 {
        let mut client = proxy.client();
        client.command(["FLUSHALL"]);
        let mut entries = Entries::new(&mut client, Random::seeded(seed));
        let mut compared = 0;
        for _ in 0..PIPELINES {
            let (commands, right) = entries.pipeline(transactions);
            cut(commands.iter().flat_map(encode).collect(), &mut entries.random)
                .iter()
                .for_each(|piece| client.send_raw(piece));
            for (number, right) in right.into_iter().enumerate() {
                let reply = client.reply();
                let behind = &commands[number.saturating_sub(8)..=number];
                assert!(is_right(&reply, &right), "seed {seed}: {reply:?}, not {right:?}, to the last of {behind:?}");
                compared += 1;
            }
        }
        assert!(compared >= PIPELINES, "{compared} replies");
    }
}

/// Whether a reply is the right one; a time to live need only have the right sign.
fn is_right(reply: &Value, right: &Value) -> bool {
    match (reply, right) {
        (Value::Integer(seconds), Value::Integer(LIVES)) => (1..=300).contains(seconds),
        (Value::Array(replies), Value::Array(rights)) => {
            replies.len() == rights.len() && iter::zip(replies, rights).all(|(reply, right)| is_right(reply, right))
        }
        _ => reply == right,
    }
}

/// Stands for the time to live of an entry that has one; no other reply is this number.
const LIVES: i64 = i64::MAX;

/// What the entries of one namespace are, and who asks for them.
struct Entries {
    random: Random,
    /// The key of each normalised question.
    keys: HashMap<String, String>,
    /// The value of each normalised question, and whether it has a time to live.
    values: HashMap<String, (String, bool)>,
}

impl Entries {
    fn new(client: &mut Client, random: Random) -> Self {
        let mut keys = HashMap::new();
        for question in QUESTIONS {
            let key = client.command(["FCA.KEY", "faq", question]);
            keys.insert(normalised(question), key.text().to_owned());
        }
        Self { random, keys, values: HashMap::new() }
    }

    /// Commands, and the right replies.
    fn pipeline(&mut self, transactions: Transactions) -> (Vec<Vec<String>>, Vec<Value>) {
        let (mut commands, mut right) = (Vec::new(), Vec::new());
        let mut queued: Option<Vec<Value>> = None;
        for _ in 0..1 + self.random.below(PIPELINE_MAX) {
            if transactions == Transactions::Some && self.random.below(7) == 0 {
                let (word, reply) = match queued.take() {
                    Some(replies) => ("EXEC", Value::Array(replies)),
                    None => {
                        queued = Some(Vec::new());
                        ("MULTI", Value::ok())
                    }
                };
                commands.push(vec![word.to_owned()]);
                right.push(reply);
                continue;
            }
            let (words, reply) = self.command();
            commands.push(words);
            right.push(match &mut queued {
                Some(replies) => {
                    replies.push(reply);
                    Value::simple("QUEUED")
                }
                None => reply,
            });
        }
        if let Some(replies) = queued {
            commands.push(vec!["EXEC".to_owned()]);
            right.push(Value::Array(replies));
        }
        (commands, right)
    }

    fn command(&mut self) -> (Vec<String>, Value) {
        let (asked, other) = (self.random.one_of(QUESTIONS), self.random.one_of(QUESTIONS));
        let value = "v".repeat(self.random.below(40)) + &self.random.below(100_000).to_string();
        let question = normalised(asked);
        let key = self.keys[&question].clone();
        let count = |some: bool| Value::Integer(i64::from(some));
        let (words, reply): (Vec<&str>, Value) = match self.random.below(16) {
            0..=3 => (vec!["FCA.GET", "faq", asked], self.get(asked)),
            4 | 5 => {
                self.set(asked, &value);
                (vec!["FCA.SET", "faq", asked, &value], Value::ok())
            }
            6 => (vec!["FCA.MGET", "faq", asked, other], Value::Array(vec![self.get(asked), self.get(other)])),
            7 => {
                self.set(asked, &value);
                self.set(other, "other");
                (vec!["FCA.MSET", "faq", asked, &value, other, "other"], Value::Integer(2))
            }
            8 => {
                let removed = i64::from(self.remove(asked)) + i64::from(self.remove(other));
                (vec!["FCA.DEL", "faq", asked, other], Value::Integer(removed))
            }
            9 => {
                let seconds = match self.find(asked) {
                    None => -2,
                    Some((_, true)) => LIVES,
                    Some((_, false)) => -1,
                };
                (vec!["FCA.TTL", "faq", asked], Value::Integer(seconds))
            }
            10 => (vec!["FCA.KEY", "faq", asked], Value::bulk(&key)),
            11 => {
                let found = self.values.get(&question).map_or(Value::Nil, |(value, _)| Value::bulk(value));
                (vec!["GET", &key], found)
            }
            12 => {
                self.values.insert(question, (value.clone(), false));
                (vec!["SET", &key, &value], Value::ok())
            }
            13 => (vec!["DEL", &key], count(self.values.remove(&question).is_some())),
            14 => {
                let entry = self.values.entry(question).or_insert_with(|| (String::new(), false));
                entry.0.push_str("+more");
                let length = entry.0.len();
                (vec!["APPEND", &key, "+more"], Value::Integer(length as i64))
            }
            _ => (vec!["EXISTS", &key], count(self.values.contains_key(&question))),
        };
        (words.into_iter().map(str::to_owned).collect(), reply)
    }

    fn find(&self, question: &str) -> Option<&(String, bool)> {
        let question = normalised(question);
        self.values.get(&question).or_else(|| self.values.get(&twin(&question)?))
    }

    fn get(&self, question: &str) -> Value {
        self.find(question).map_or(Value::Nil, |(value, _)| Value::bulk(value))
    }

    fn set(&mut self, question: &str, value: &str) {
        let question = normalised(question);
        twin(&question).map(|twin| self.values.remove(&twin));
        self.values.insert(question, (value.to_owned(), true));
    }

    fn remove(&mut self, question: &str) -> bool {
        let question = normalised(question);
        let twin = twin(&question).is_some_and(|twin| self.values.remove(&twin).is_some());
        self.values.remove(&question).is_some() || twin
    }
}

fn normalised(question: &str) -> String {
    question.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The other spelling: without the trailing question marks and the space before them, or with one.
fn twin(normalised: &str) -> Option<String> {
    if !normalised.ends_with('?') {
        return Some(format!("{normalised}?"));
    }
    let bare = normalised.trim_end_matches('?').trim_end_matches(' ');
    (!bare.is_empty()).then(|| bare.to_owned())
}
