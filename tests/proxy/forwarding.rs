//! What is not the proxy's own comes back as it would have from Redis.
//!
//! Two Redis servers that start empty get the same commands, one directly and one through the proxy, and every reply is
//! compared byte by byte. So only commands whose replies depend on nothing else are listed: no times, no random choice,
//! no order of a hash table.

use crate::support::client::{Client, encode};
use crate::support::proxy::{Patience, Proxy, ProxyOptions};
use crate::support::random::Random;
use crate::support::redis::Redis;
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};

/// A Redis, and another one behind a proxy.
struct Twins {
    direct: Redis,
    behind: Redis,
    proxy: Proxy,
}

impl Twins {
    fn new() -> Self {
        let (direct, behind) = (Redis::start(), Redis::start());
        let proxy = Proxy::patient(behind.url());
        Self { direct, behind, proxy }
    }

    fn pair(&self) -> Pair {
        Pair { direct: self.direct.client(), proxied: self.proxy.client() }
    }

    fn pair_resp3(&self) -> Pair {
        let direct = Client::connect_resp3(self.direct.address());
        Pair { direct, proxied: self.proxy.client_resp3() }
    }
}

/// Two clients that say the same.
struct Pair {
    direct: Client,
    proxied: Client,
}

impl Pair {
    #[track_caller]
    fn same(&mut self, line: &str) {
        self.same_words(&line.split(' ').collect::<Vec<_>>());
    }

    #[track_caller]
    fn same_words<A: AsRef<[u8]>>(&mut self, words: &[A]) {
        self.same_bytes(&encode(words), 1);
    }

    /// Sends these bytes to both, and compares the next `replies` replies.
    #[track_caller]
    fn same_bytes(&mut self, bytes: &[u8], replies: usize) {
        let differences = self.differences(bytes, replies);
        assert!(differences.is_empty(), "{differences:#?}");
    }

    /// Sends these bytes to both, and says where the next `replies` replies differ.
    fn differences(&mut self, bytes: &[u8], replies: usize) -> Vec<String> {
        const SHOWN_MAX: usize = 300;
        self.direct.send_raw(bytes);
        self.proxied.send_raw(bytes);
        let shown = |bytes: &[u8]| bytes[..bytes.len().min(SHOWN_MAX)].escape_ascii().to_string();
        let mut differences = Vec::new();
        for number in 0..replies {
            let right = self.direct.raw_reply();
            let came = self.proxied.try_reply_bytes();
            if came.as_ref().is_ok_and(|came| *came == right) {
                continue;
            }
            let said = came.as_ref().map_or_else(ToString::to_string, |came| shown(came));
            differences.push(format!("{} (reply {number}): {said}, where Redis says {}", shown(bytes), shown(&right)));
            if came.is_err() {
                break;
            }
        }
        differences
    }
}

/// Commands by capability; each line's arguments are separated by one space.
const COMMANDS: &[(&str, &[&str])] = &[
    (
        "strings",
        &[
            "SET s hello",
            "GET s",
            "GET none",
            "SET s again NX",
            "SET s again XX GET",
            "SET n 10",
            "INCR n",
            "DECR n",
            "INCRBY n 41",
            "DECRBY n 1",
            "INCRBYFLOAT n 0.5",
            "APPEND s !",
            "STRLEN s",
            "STRLEN none",
            "GETRANGE s 1 3",
            "SETRANGE s 1 EY",
            "GETSET s new",
            "GETDEL s",
            "GETDEL s",
            "SETNX s v",
            "SETNX s v",
            "SETEX s 100 v",
            "TTL s",
            "PSETEX s 100000 v",
            "GETEX s PERSIST",
            "TTL s",
            "MSET a 1 b 2 c 3",
            "MGET a b none c",
            "MSETNX a 1 z 2",
            "SUBSTR a 0 0",
            "LCS a b",
            "INCR s",
            "SET s",
            "SET s v EX",
            "SET s v EX 0",
            "SET s v BOGUS",
            "get a",
            "GeT a",
            "GET",
            "GET a b",
            "SETBIT bits 7 1",
            "GETBIT bits 7",
            "BITCOUNT bits",
            "BITPOS bits 1",
            "BITOP NOT nbits bits",
            "BITFIELD bits SET u8 0 255 GET u4 0",
            "PFADD h a b c",
            "PFADD h a",
            "PFCOUNT h",
            "PFMERGE h2 h",
            "PFCOUNT h h2",
        ],
    ),
    (
        "lists",
        &[
            "RPUSH l a b c d",
            "LPUSH l z",
            "LPUSHX none a",
            "LRANGE l 0 -1",
            "LRANGE l 5 1",
            "LLEN l",
            "LINDEX l 0",
            "LINDEX l 99",
            "LSET l 0 y",
            "LSET l 99 y",
            "LINSERT l BEFORE a x",
            "LREM l 1 b",
            "LPOP l",
            "RPOP l 2",
            "LPOP none",
            "LPOP none 2",
            "LPOS l c",
            "LMOVE l l2 LEFT RIGHT",
            "RPOPLPUSH l l2",
            "LTRIM l 0 0",
            "LMPOP 1 l2 LEFT COUNT 2",
            "LMPOP 1 none LEFT",
            "RPUSH l",
            "GET l2",
            "LPUSH bits x",
        ],
    ),
    (
        "hashes",
        &[
            "HSET h f v g w",
            "HGET h f",
            "HGET h none",
            "HMGET h f none g",
            "HGETALL h",
            "HGETALL none",
            "HKEYS h",
            "HVALS h",
            "HLEN h",
            "HEXISTS h f",
            "HSTRLEN h f",
            "HSETNX h f x",
            "HINCRBY h n 5",
            "HINCRBYFLOAT h n 0.25",
            "HDEL h f none",
            "HMSET h a 1",
            "HRANDFIELD none",
            "HSCAN h 0",
            "HSET h odd",
            "HINCRBY h g 1",
        ],
    ),
    (
        "sets",
        &[
            "SADD s 1 2 3",
            "SADD s 1",
            "SCARD s",
            "SISMEMBER s 1",
            "SMISMEMBER s 1 9",
            "SMEMBERS s",
            "SMEMBERS none",
            "SREM s 1",
            "SADD t 2 9",
            "SINTER s t",
            "SINTERCARD 2 s t",
            "SUNION s t",
            "SDIFF s t",
            "SDIFFSTORE d s t",
            "SMOVE s t 3",
            "SSCAN s 0",
            "SPOP none",
            "SRANDMEMBER none",
            "SRANDMEMBER none 3",
        ],
    ),
    (
        "sorted sets",
        &[
            "ZADD z 1 a 2 b 3.5 c",
            "ZADD z NX 9 a",
            "ZADD z INCR 1 a",
            "ZADD z CH 7 b",
            "ZSCORE z c",
            "ZSCORE z none",
            "ZMSCORE z a none",
            "ZRANGE z 0 -1",
            "ZRANGE z 0 -1 WITHSCORES",
            "ZRANGE z 0 -1 REV WITHSCORES",
            "ZRANGE z 2 +inf BYSCORE LIMIT 0 1",
            "ZRANGEBYSCORE z -inf (4 WITHSCORES",
            "ZRANK z a",
            "ZRANK z none",
            "ZREVRANK z a",
            "ZCARD z",
            "ZCOUNT z 2 4",
            "ZINCRBY z 0.1 a",
            "ZREM z none",
            "ZADD y 5 a",
            "ZUNION 2 z y WITHSCORES",
            "ZINTER 2 z y",
            "ZINTERCARD 2 z y",
            "ZDIFF 2 z y WITHSCORES",
            "ZPOPMIN z",
            "ZPOPMAX z 2",
            "ZPOPMIN none",
            "ZMPOP 1 none MIN",
            "ZADD z inf i -inf m",
            "ZSCORE z i",
            "ZRANGEBYLEX none - +",
            "ZSCAN z 0",
            "ZADD z nan a",
            "GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
            "GEODIST g Palermo Catania km",
            "GEOPOS g Palermo none",
            "GEOHASH g Catania",
            "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km ASC",
        ],
    ),
    (
        "streams",
        &[
            "XADD x 1-1 f v",
            "XADD x 1-2 f w g x",
            "XADD x 1-1 f v",
            "XLEN x",
            "XRANGE x - +",
            "XREVRANGE x + - COUNT 1",
            "XREAD COUNT 1 STREAMS x 0",
            "XREAD STREAMS x 9",
            "XGROUP CREATE x g 0",
            "XGROUP CREATE x g 0",
            "XREADGROUP GROUP g c COUNT 1 STREAMS x >",
            "XPENDING x g",
            "XACK x g 1-1",
            "XINFO GROUPS x",
            "XDEL x 1-1",
            "XTRIM x MAXLEN 0",
            "XADD none NOMKSTREAM * f v",
        ],
    ),
    (
        "keys",
        &[
            "SET k v",
            "EXISTS k k none",
            "TYPE k",
            "TYPE none",
            "EXPIRE k 100",
            "TTL k",
            "EXPIRE k 200 LT",
            "PERSIST k",
            "PERSIST k",
            "PTTL none",
            "EXPIREAT k 32503680000",
            "EXPIRETIME k",
            "RENAME k k2",
            "RENAME none k3",
            "RENAMENX k2 k2",
            "COPY k2 k4",
            "TOUCH k2 k4",
            "OBJECT ENCODING k2",
            "OBJECT REFCOUNT k2",
            "OBJECT ENCODING none",
            "DUMP none",
            "UNLINK k4",
            "DEL k2 none",
            "RANDOMKEY",
            "KEYS *",
            "SCAN 0",
            "DBSIZE",
            "SET one 1",
            "KEYS o*",
            "SCAN 0 MATCH one COUNT 10 TYPE string",
            "SCAN nonsense",
            "SORT none",
            "RPUSH l 3 1 2",
            "SORT l",
            "SORT l DESC LIMIT 0 2",
            "MOVE one 3",
            "FLUSHDB",
            "DBSIZE",
            "FLUSHALL",
            "SWAPDB 0 1",
        ],
    ),
    (
        "scripts",
        &[
            "EVAL return{1,'two',{3},false} 0",
            "EVAL return{KEYS[1],ARGV[1]} 1 k a",
            "EVAL return{ok='fine'} 0",
            "EVAL return{err='ERR'} 0",
            "EVAL return(redis.call('SET',KEYS[1],ARGV[1])) 1 k v",
            "EVAL return(redis.call('INCR',KEYS[1])) 1 k",
            "EVAL nonsense( 0",
            "EVALSHA ffffffffffffffffffffffffffffffffffffffff 0",
            "SCRIPT LOAD return(1)",
            "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
            "SCRIPT EXISTS ffff",
            "EVAL redis.setresp(3)return{double=3.5} 0",
            "EVAL redis.setresp(3)return{map={a=1}} 0",
            "EVAL redis.setresp(3)return(true) 0",
            "EVAL_RO return(1) 0",
            "SCRIPT FLUSH",
            "FUNCTION LIST",
            "FCALL none 0",
            "EVAL return(1) nonsense",
            "EVAL return(1) 5",
        ],
    ),
    (
        "server and connection",
        &[
            "PING",
            "PING hello",
            "PING a b",
            "ECHO hello",
            "ECHO",
            "SELECT 1",
            "SELECT 99",
            "SELECT x",
            "SELECT 0",
            "CLIENT SETNAME me",
            "CLIENT GETNAME",
            "CLIENT NONSENSE",
            "CLIENT NO-EVICT on",
            "CONFIG GET maxmemory",
            "CONFIG GET none",
            "CONFIG SET none 1",
            "ACL WHOAMI",
            "ACL CAT nonsense",
            "OBJECT HELP",
            "NONSENSE",
            "NONSENSE a b c",
            "nonsense.with.dots x",
            "COMMAND GETKEYS MSET a 1 b 2",
            "COMMAND GETKEYS PING",
            "PUBLISH news hello",
            "PUBSUB CHANNELS",
            "PUBSUB NUMSUB a",
            "AUTH wrong",
            "AUTH user wrong",
            "LATENCY RESET",
            "SLOWLOG LEN",
            "MEMORY USAGE none",
            "MODULE LIST",
            "CLUSTER INFO",
            "LASTSAVE x",
            "HELLO 9",
            "HELLO x",
            "RESET",
        ],
    ),
];

#[test]
fn replies_are_those_of_redis_in_resp2() {
    replies_are_those_of_redis(Twins::pair);
}

#[test]
fn replies_are_those_of_redis_in_resp3() {
    replies_are_those_of_redis(Twins::pair_resp3);
}

fn replies_are_those_of_redis(connect: fn(&Twins) -> Pair) {
    let twins = Twins::new();
    let (mut compared, mut differences) = (0, Vec::new());
    for (_, lines) in COMMANDS {
        let mut pair = connect(&twins);
        pair.same("FLUSHALL");
        for line in *lines {
            differences.extend(pair.differences(&encode(line.split(' ')), 1));
            compared += 1;
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(compared >= 264, "{compared} commands");
}

#[test]
fn a_whole_capability_in_one_pipeline_answers_the_same() {
    let twins = Twins::new();
    let mut differences = Vec::new();
    for (capability, lines) in COMMANDS {
        let mut pair = twins.pair();
        pair.same("FLUSHALL");
        let bytes: Vec<u8> = lines.iter().flat_map(|line| encode(line.split(' '))).collect();
        differences
            .extend(pair.differences(&bytes, lines.len()).into_iter().map(|said| format!("{capability}: {said}")));
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn inline_commands_answer_the_same() {
    let twins = Twins::new();
    let mut pair = twins.pair();
    for line in [
        "PING",
        "SET k \"a b\"",
        "GET k",
        "SET k \"\\x00\\xff\\r\\n\\\"\"",
        "GET k",
        "SET k 'it\\'s'",
        "GET k",
        "  GET   k  ",
        "get k",
        "SET empty \"\"",
        "GET empty",
        "NONSENSE",
        "MGET k empty none",
    ] {
        pair.same_bytes(format!("{line}\r\n").as_bytes(), 1);
    }
    pair.same_bytes(b"SET bare newline\nGET bare\n*2\r\n$3\r\nGET\r\n$4\r\nbare\r\nPING\r\n", 4);
}

#[test]
fn values_of_any_bytes_and_up_to_eight_mebibytes_pass() {
    let twins = Twins::new();
    let all: Vec<u8> = (0..=255).collect();
    for mut pair in [twins.pair(), twins.pair_resp3()] {
        pair.same_words(&[b"SET".as_slice(), &all, &all]);
        pair.same_words(&[b"GET".as_slice(), &all]);
        for len in [0, 1, 1023, 16 << 10, (64 << 10) + 1, 1 << 20, 8 << 20] {
            let value: Vec<u8> = (0..len).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            pair.same_words(&[b"SET".as_slice(), b"k", &value]);
            pair.same_words(&[b"GET".as_slice(), b"k"]);
            pair.same_words(&[b"MGET".as_slice(), b"k", b"none", b"k"]);
        }
        let wide: Vec<String> =
            ["RPUSH".into(), "wide".into()].into_iter().chain((0..50_000).map(|at| at.to_string())).collect();
        pair.same_words(&wide);
        pair.same("LRANGE wide 0 -1");
        pair.same("FLUSHALL");
    }
}

#[test]
fn every_database_is_its_own_and_belongs_to_its_client() {
    let twins = Twins::new();
    let (mut zero, mut one) = (twins.pair(), twins.pair());
    one.same("SELECT 1");
    zero.same("SET k zero");
    one.same("GET k");
    one.same("SET k one");
    zero.same("GET k");
    one.same("GET k");
    one.same("SELECT 2");
    one.same("GET k");
    one.same("SELECT 1");
    one.same("GET k");
    zero.same("DBSIZE");
    one.same("FLUSHDB");
    zero.same("GET k");
    one.same("RESET");
    one.same("GET k");
}

#[test]
fn transactions_behave_as_in_redis() {
    let twins = Twins::new();
    for (mut pair, mut other) in [(twins.pair(), twins.pair()), (twins.pair_resp3(), twins.pair())] {
        for line in [
            "EXEC",
            "DISCARD",
            "MULTI",
            "MULTI",
            "WATCH k",
            "SET k v",
            "INCR k",
            "HGETALL k",
            "GET k",
            "PING",
            "SELECT 1",
            "SET k v",
            "SELECT 0",
            "EXEC",
            "GET k",
            "MULTI",
            "NONSENSE",
            "SET k w",
            "EXEC",
            "GET k",
            "MULTI",
            "GET",
            "EXEC",
            "MULTI",
            "SET k x",
            "DISCARD",
            "GET k",
            "MULTI",
            "EXEC",
            "WATCH",
            "UNWATCH",
            "WATCH k",
            "MULTI",
            "SET k y",
            "EXEC",
            "GET k",
        ] {
            pair.same(line);
        }
        pair.same("WATCH k other");
        other.same("SET other changed");
        for line in ["GET k", "MULTI", "SET k z", "EXEC", "GET k", "MULTI", "SET k z", "EXEC", "GET k"] {
            pair.same(line);
        }
        pair.same("WATCH k");
        pair.same("MULTI");
        other.same("SET k other");
        for line in ["SET k mine", "EXEC", "GET k", "WATCH k", "UNWATCH"] {
            pair.same(line);
        }
        other.same("SET k again");
        for line in
            ["MULTI", "GET k", "EXEC", "WATCH k", "MULTI", "DISCARD", "GET k", "MULTI", "SET k v", "RESET", "EXEC"]
        {
            pair.same(line);
        }
        pair.same("FLUSHALL");
    }
}

#[test]
fn a_transaction_in_one_pipeline_among_other_commands_behaves_as_in_redis() {
    let twins = Twins::new();
    let mut pair = twins.pair();
    for _ in 0..20 {
        let lines = [
            "SET k 1", "GET k", "MULTI", "INCR k", "INCR k", "GET k", "EXEC", "GET k", "ECHO x", "WATCH k", "MULTI",
            "DEL k", "EXEC", "GET k", "PING",
        ];
        let bytes: Vec<u8> = lines.iter().flat_map(|line| encode(line.split(' '))).collect();
        pair.same_bytes(&bytes, lines.len());
    }
}

#[test]
fn a_transaction_that_changes_its_connection_answers_the_same() {
    let twins = Twins::new();
    let dialogues: &[&[&str]] = &[
        &["MULTI", "SELECT 1", "SET k v", "EXEC", "SELECT 0", "GET k", "SELECT 1", "GET k"],
        &["SET k v", "SELECT 1", "MULTI", "SELECT 0", "EXEC", "SELECT 1", "GET k"],
        &["MULTI", "SELECT 1", "DISCARD", "SET k v", "SELECT 0", "GET k"],
        &["MULTI", "SELECT 1", "NONSENSE", "EXEC", "SET k v", "SELECT 0", "GET k"],
        &["WATCH k", "SELECT 1", "SET k v", "MULTI", "GET k", "EXEC", "SELECT 0", "GET k"],
        &["MULTI", "UNWATCH", "PING", "ECHO x", "EXEC"],
        &["MULTI", "PING", "ECHO x", "UNWATCH", "GET k", "EXEC"],
    ];
    let mut differences = Vec::new();
    for dialogue in dialogues {
        let mut pair = twins.pair();
        pair.same("FLUSHALL");
        let bytes: Vec<u8> = dialogue.iter().flat_map(|line| encode(line.split(' '))).collect();
        let found = pair.differences(&bytes, dialogue.len());
        differences.extend(found.into_iter().map(|said| format!("{dialogue:?} {said}")));
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn a_connection_that_is_handed_on_carries_nothing_of_its_last_client() {
    let twins = Twins::new();
    for dialogue in [
        ["MULTI", "SET k v"].as_slice(),
        &["MULTI", "DISCARD x"],
        &["MULTI", "EXEC x"],
        &["MULTI", "MULTI x", "NONSENSE"],
        &["MULTI", "SET k v", "RESET"],
        &["MULTI", "QUIT"],
        &["MULTI", "SELECT 1", "EXEC"],
        &["WATCH watched"],
        &["WATCH watched", "UNWATCH x"],
        &["WATCH watched", "RESET"],
        &["WATCH watched", "MULTI", "DISCARD x"],
        &["SELECT 1", "WATCH watched"],
    ] {
        let mut last = twins.proxy.client();
        for line in dialogue {
            last.say(line);
        }
        drop(last);
        let mut next: Vec<Client> = (0..4).map(|_| twins.proxy.client()).collect();
        for client in &mut next {
            assert_eq!(client.say("WATCH other"), Value::ok(), "after {dialogue:?}");
        }
        assert_eq!(twins.proxy.client().say("SET watched changed"), Value::ok());
        for client in &mut next {
            assert_eq!(client.say("SET here 0"), Value::ok(), "after {dialogue:?}");
            assert_eq!(client.say("MULTI"), Value::ok(), "after {dialogue:?}");
            assert_eq!(client.say("GET here"), Value::simple("QUEUED"), "after {dialogue:?}");
        }
        for client in &mut next {
            assert_eq!(client.say("EXEC"), Value::bulks(["0"]), "after {dialogue:?}");
        }
    }
}

#[test]
fn random_dialogues_in_random_pieces_answer_the_same() {
    const DIALOGUES: u64 = 60;
    const COMMANDS_PER_DIALOGUE: usize = 60;
    /// Whether Redis takes longer ones depends on how they arrive.
    const INLINE_BYTES_MAX: usize = 60_000;
    let twins = Twins::new();
    let mut random = Random::seeded(1);
    for dialogue in 0..DIALOGUES {
        let mut pair = if dialogue % 2 == 0 { twins.pair() } else { twins.pair_resp3() };
        pair.same("FLUSHALL");
        let (mut lines, mut queueing) = (Vec::new(), false);
        for _ in 0..COMMANDS_PER_DIALOGUE {
            let line = random_line(&mut random, queueing);
            queueing = match line.as_str() {
                "MULTI" => true,
                "EXEC" | "DISCARD" | "RESET" => false,
                _ => queueing,
            };
            lines.push(line);
        }
        let mut bytes = Vec::new();
        for line in &lines {
            match random.below(10) {
                0 if line.len() < INLINE_BYTES_MAX => bytes.extend(format!("{line}\r\n").bytes()),
                _ => bytes.extend(encode(line.split(' '))),
            }
        }
        pair.direct.send_raw(&bytes);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((1 + random.below(400)).min(rest.len()));
            pair.proxied.send_raw(piece);
            rest = behind;
        }
        for (number, line) in lines.iter().enumerate() {
            let (right, came) = (pair.direct.reply(), pair.proxied.reply());
            // It tells the connection's number, which is another.
            if line.starts_with("HELLO") && !came.is_error() && !right.is_error() {
                continue;
            }
            let context = &lines[number.saturating_sub(12)..=number];
            assert_eq!(came, right, "dialogue {dialogue}, {line:?}, the last of {context:#?}");
        }
    }
}

fn random_line(random: &mut Random, queueing: bool) -> String {
    let (key, value) = (random.one_of(&["a", "b", "c", "list"]), random.below(1000));
    match random.below(30) {
        0..=3 => format!("SET {key} {value}"),
        4..=8 => format!("GET {key}"),
        9 => format!("INCR {key}"),
        10 => format!("APPEND {key} {value}"),
        11 => format!("RPUSH list {value}"),
        12 => "LRANGE list 0 -1".to_owned(),
        13 => format!("DEL {key}"),
        14 => "MGET a b c list".to_owned(),
        15 => format!("ECHO {value}"),
        16 => "PING".to_owned(),
        17 => "NONSENSE".to_owned(),
        18 => format!("WATCH {key}"),
        19 => "UNWATCH".to_owned(),
        20 => "MULTI".to_owned(),
        21 | 22 => random.one_of(&["EXEC", "EXEC", "DISCARD"]).to_owned(),
        23 => "GET".to_owned(),
        24 => format!("SET {key} {}", "x".repeat(value * 100)),
        // Between MULTI and EXEC the proxy refuses HELLO; Redis queues it.
        25 => random.one_of(&["CLIENT GETNAME", "CLIENT SETNAME me", "CLIENT SETNAME other"]).to_owned(),
        26 if !queueing => random.one_of(&["HELLO 2", "HELLO 3", "RESET", "HELLO 4"]).to_owned(),
        27 => format!("GETRANGE {key} 0 {value}"),
        28 => "EXISTS a b c list".to_owned(),
        _ => format!("SELECT {}", random.below(3)),
    }
}

#[test]
fn a_transaction_that_ran_out_of_time_is_not_executed_by_the_next_one() {
    let redis = Redis::start();
    let proxy = Proxy::start(ProxyOptions {
        upstream: Some(redis.url()),
        arguments: vec!["--workers", "1"],
        patience: Patience::Short,
        ..ProxyOptions::default()
    });
    let (mut first, mut second) = (proxy.client(), proxy.client());
    assert_eq!(first.say("MULTI"), Value::ok());
    assert_eq!(first.say("SET stolen 1"), Value::simple("QUEUED"));
    redis.stop();
    assert_eq!(first.say("GET x"), Value::simple("QUEUED"), "nobody there to refuse it");
    assert!(first.say("EXEC").is_nil(), "not executed");
    redis.cont();
    wait_until(SOON, "Redis is back", || second.say("SET k v") == Value::ok());
    assert_eq!(second.say("MULTI"), Value::ok());
    assert_eq!(second.say("SET b 1"), Value::simple("QUEUED"));
    assert_eq!(second.say("EXEC"), Value::Array(vec![Value::ok()]));
    assert_eq!(redis.client().say("EXISTS stolen"), Value::Integer(0), "EXEC had said that it was not executed");
}

#[test]
fn a_watch_whose_connection_broke_lets_no_exec_through() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut client, mut direct) = (proxy.client(), redis.client());
    assert_eq!(client.say("WATCH k"), Value::ok());
    assert!(client.say("GET k").is_nil());
    assert!(
        direct.say("CLIENT KILL TYPE normal SKIPME yes").integer() >= 2,
        "the shared connection and the watching one"
    );
    assert_eq!(direct.say("SET k other"), Value::ok());
    wait_until(SOON, "it is answered again", || client.say("GET k") == Value::bulk("other"));
    assert_eq!(client.say("MULTI"), Value::ok());
    assert_eq!(client.say("SET k mine"), Value::simple("QUEUED"));
    assert!(client.say("EXEC").is_nil(), "somebody changed what was watched");
    assert_eq!(direct.say("GET k"), Value::bulk("other"));
    // The next transaction is a new one.
    for (line, reply) in
        [("MULTI", Value::ok()), ("SET k mine", Value::simple("QUEUED")), ("EXEC", Value::Array(vec![Value::ok()]))]
    {
        assert_eq!(client.say(line), reply);
    }
}

#[test]
fn what_would_spoil_a_shared_connection_does_not_reach_it() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let mut neighbour = proxy.client();
    assert_eq!(neighbour.say("SET k v"), Value::ok());
    for _ in 0..20 {
        let mut http = proxy.client();
        http.send_raw("POST / HTTP/1.1\r\nHost: here\r\n\r\n");
        assert_eq!(http.read_until_closed(), b"", "Redis ends such a connection without a word");
        let mut debugger = proxy.client();
        assert!(debugger.say("SCRIPT DEBUG YES").is_error());
        assert_eq!(debugger.say("MULTI"), Value::ok());
        assert!(debugger.say("SCRIPT DEBUG YES").is_error());
        assert!(debugger.say("EXEC").is_error(), "aborted");
        assert_eq!(debugger.say("EVAL return(1) 0"), Value::Integer(1));
        assert_eq!(neighbour.say("GET k"), Value::bulk("v"));
    }
}

#[test]
fn a_scan_visits_every_key_once() {
    let twins = Twins::new();
    let mut client = twins.proxy.client();
    for at in 0..1000 {
        client.send(["SET", &format!("k{at}"), "v"]);
    }
    for _ in 0..1000 {
        assert_eq!(client.reply(), Value::ok());
    }
    let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
    loop {
        let reply = client.command(["SCAN", &cursor, "COUNT", "100"]);
        let [next, keys] = reply.items() else { panic!("{reply:?}") };
        seen.extend(keys.items().iter().map(|key| key.text().to_owned()));
        cursor = next.text().to_owned();
        if cursor == "0" {
            break;
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 1000);
}

#[test]
fn quit_says_ok_and_closes() {
    let twins = Twins::new();
    let mut client = twins.proxy.client();
    client.send_raw([encode(["GET", "none"]), encode(["QUIT"]), encode(["PING"])].concat());
    assert_eq!(client.read_until_closed(), b"$-1\r\n+OK\r\n");
}

#[test]
fn a_client_that_closes_its_writing_side_still_gets_its_replies() {
    let twins = Twins::new();
    let mut client = twins.proxy.client();
    client.send_raw([encode(["SET", "k", "v"]), encode(["GET", "k"])].concat());
    client.close_writing();
    assert_eq!(client.read_until_closed(), b"+OK\r\n$1\r\nv\r\n");
}

#[test]
fn a_hundred_clients_share_few_upstream_connections() {
    let twins = Twins::new();
    let mut clients: Vec<Client> = (0..100).map(|_| twins.proxy.client()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.send(["SET", &format!("k{at}"), &format!("v{at}")]);
        client.send(["GET", &format!("k{at}")]);
    }
    for (at, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.reply(), Value::ok());
        assert_eq!(client.reply(), Value::bulk(format!("v{at}")));
    }
    let connected: u32 = twins.behind.info("clients")["connected_clients"].parse().expect("a number");
    assert!(connected <= 20, "{connected} connections to Redis for 100 clients");
}

#[test]
fn a_redis_on_a_unix_socket_and_one_with_a_password_are_reached() {
    let redis = Redis::start();
    let proxy = Proxy::patient(redis.unix_url());
    assert_eq!(proxy.client().command(["SET", "k", "v"]), Value::ok());
    assert_eq!(redis.client().command(["GET", "k"]), Value::bulk("v"));

    let options = crate::support::redis::RedisOptions { password: Some("secret"), ..Default::default() };
    let redis = Redis::start_with(options);
    let proxy = Proxy::patient(redis.url());
    assert_eq!(proxy.client().command(["SET", "k", "v"]), Value::ok());
    assert_eq!(proxy.client_resp3().command(["GET", "k"]), Value::bulk("v"));
    assert!(proxy.log_lines_containing("secret").is_empty(), "a password in the log");
}

#[test]
fn transactions_ride_on_connections_that_are_used_again() {
    const CLIENTS: usize = 40;
    const ROUNDS: usize = 30;
    let redis = Redis::start();
    let proxy = Proxy::start(ProxyOptions {
        upstream: Some(redis.url()),
        config: "near_cache.enabled = false".to_owned(),
        patience: Patience::Long,
        ..ProxyOptions::default()
    });
    let mut info = redis.client();
    let mut received = || {
        let stats = info.say("INFO stats");
        let line =
            stats.text().lines().find_map(|line| line.strip_prefix("total_connections_received:").map(str::to_owned));
        line.and_then(|count| count.trim().parse::<u64>().ok()).expect("a count")
    };
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| proxy.client()).collect();
    for client in &mut clients {
        // Over the connection that each worker makes by itself.
        assert!(!client.say("GET k").is_error());
    }
    // All are in the middle of theirs at the same time.
    let mut round = |number: usize| {
        for client in &mut clients {
            assert_eq!(client.say("WATCH n"), Value::ok());
            assert_eq!(client.say("MULTI"), Value::ok());
            assert_eq!(client.say(&format!("SET k {number}")), Value::simple("QUEUED"));
        }
        for client in &mut clients {
            assert_eq!(client.say("EXEC"), Value::Array(vec![Value::ok()]));
        }
    };
    round(0);
    let warm = received();
    (1..ROUNDS).for_each(&mut round);
    assert_eq!(received(), warm, "no new connection for {} transactions", CLIENTS * (ROUNDS - 1));
}
