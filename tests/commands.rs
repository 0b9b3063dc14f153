//! The command table and the merged `COMMAND` replies, against a live Redis 7.0.
//!
//! The server is started by the test on a socket of its own and ended with it. A machine without `redis-server`, or
//! with another version than 7.0, fails these tests: what they claim can't be seen there.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's own helpers fail by panicking")]

use fca_proxy::command::{self, Command, KeyPositions, append_info};
use fca_proxy::fca::{Introspection, append_docs};
use fca_proxy::key::glob_matches;
use fca_proxy::resp::{Protocol, ReplyScanner, elements, encode};
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const PROTOCOLS: [Protocol; 2] = [Protocol::Resp2, Protocol::Resp3];

#[test]
fn the_table_says_what_a_live_server_says() {
    let redis = Redis::start();
    let mut client = redis.connect(Protocol::Resp2);
    let live = Value::decode(&client.ask(&[b"COMMAND"]));
    let mut seen = HashSet::new();
    for entry in live.array() {
        let [name, arity, flags, first, last, step, categories, _tips, _key_specs, subcommands] = entry.array() else {
            panic!("not ten fields: {entry:?}")
        };
        let name = name.text();
        let command = command::find(name.as_bytes()).unwrap_or_else(|| panic!("{name} is not in the table"));
        assert_eq!(command.name, name.to_uppercase());
        assert_eq!(i64::from(command.arity), arity.number(), "{name}");
        assert_eq!(words(command.flags.words(), ""), flags.texts(), "{name}");
        assert_eq!(words(command.categories.words(), "@"), categories.texts(), "{name}");
        let KeyPositions { first: table_first, last: table_last, step: table_step } = command.keys;
        let keys = [first, last, step].map(Value::number);
        assert_eq!([table_first, table_last, table_step].map(i64::from), keys, "{name}");
        assert_eq!(command.has_subcommands, !subcommands.array().is_empty(), "{name}");
        seen.insert(command.name);
    }
    assert!(seen.len() >= 240, "only {} commands were compared", seen.len());
    let ours: HashSet<&str> = command::all().iter().map(|command| command.name).collect();
    let family: HashSet<&str> = command::fca().iter().map(|command| command.name).collect();
    assert_eq!(ours.difference(&seen).copied().collect::<HashSet<_>>(), family, "names that the server does not know");
}

#[test]
fn an_entry_of_the_table_has_the_bytes_of_the_server_s() {
    let redis = Redis::start();
    for protocol in PROTOCOLS {
        let mut client = redis.connect(protocol);
        let reply = client.ask(&[b"COMMAND"]);
        let mut compared = 0;
        for entry in elements(&reply).unwrap() {
            let fields = elements(entry).unwrap();
            let command = command::find(Value::decode(fields[0]).text().as_bytes()).unwrap();
            let mut ours = Vec::new();
            append_info(&mut ours, protocol, command);
            let our_fields = elements(&ours).unwrap();
            assert_eq!(our_fields.len(), fields.len());
            // Behind the seventh are tips, key specifications and subcommands, which the table leaves out.
            assert_eq!(our_fields[..7], fields[..7], "{}", command.name);
            assert_eq!(our_fields[7][0], fields[7][0], "{}", command.name);
            compared += 1;
        }
        assert!(compared >= 240, "only {compared} entries were compared");
    }
}

#[test]
fn a_merged_table_is_the_server_s_with_the_family_behind_it() {
    let redis = Redis::start();
    for protocol in PROTOCOLS {
        let mut client = redis.connect(protocol);
        for line in ["COMMAND", "command info"] {
            let (theirs, merged) = client.introspect(line);
            let theirs = theirs.unwrap();
            let (theirs, merged) = (elements(&theirs).unwrap(), elements(&merged).unwrap());
            assert!(theirs.len() >= 240);
            assert_eq!(merged[..theirs.len()], theirs, "the server's entries are passed on as they came");
            assert_eq!(merged[theirs.len()..], family(|out, command| append_info(out, protocol, command)));
        }
        let (theirs, merged) = client.introspect("COMMAND LIST");
        let names = Value::decode(&merged).texts();
        assert_eq!(names.len(), Value::decode(&theirs.unwrap()).array().len() + command::fca().len());
        assert!(names.contains(&"fca.get".to_owned()) && names.contains(&"config|get".to_owned()));
        let (theirs, merged) = client.introspect("COMMAND COUNT");
        assert_eq!(Value::decode(&merged).number(), Value::decode(&theirs.unwrap()).number() + 12);
    }
}

#[test]
fn merged_documentation_is_the_server_s_with_the_family_behind_it() {
    let redis = Redis::start();
    for protocol in PROTOCOLS {
        let mut client = redis.connect(protocol);
        let (theirs, merged) = client.introspect("COMMAND DOCS");
        let theirs = theirs.unwrap();
        assert_eq!(merged[0], theirs[0], "both are maps, or both are flat");
        let (theirs, merged) = (elements(&theirs).unwrap(), elements(&merged).unwrap());
        assert!(theirs.len() >= 2 * 240);
        assert_eq!(merged[..theirs.len()], theirs);
        let ours = family(|out, command| {
            let command::Kind::Fca(fca) = command.kind else { panic!("{command:?}") };
            append_docs(out, protocol, fca);
        });
        assert_eq!(merged[theirs.len()..].concat(), ours.concat());
        // A pair's second half is what the server says of its own commands: the same fields, in the same order.
        for command in command::fca() {
            let docs = Value::decode(&ours.concat_of(command));
            let fields: Vec<&str> = docs.pairs().iter().map(|(field, _)| field.text()).collect();
            assert_eq!(fields[..4], ["summary", "since", "group", "complexity"]);
            assert!(matches!(fields[4..], [] | ["arguments"]), "{fields:?}");
        }
    }
}

#[test]
fn answers_to_names_interleave_in_the_order_of_the_names() {
    let redis = Redis::start();
    for protocol in PROTOCOLS {
        let mut client = redis.connect(protocol);
        let (_, merged) = client.introspect("COMMAND INFO get FCA.GET nosuch config|get fca.set Get");
        let merged = Value::decode(&merged);
        let names: Vec<Option<&str>> = merged
            .array()
            .iter()
            .map(|entry| if *entry == Value::Nil { None } else { Some(entry.array()[0].text()) })
            .collect();
        let expected = [Some("get"), Some("fca.get"), None, Some("config|get"), Some("fca.set"), Some("get")];
        assert_eq!(names, expected);

        let (_, merged) = client.introspect("COMMAND DOCS FCA.SET SET nosuch fca.get config|get set fca.nosuch");
        let merged = Value::decode(&merged);
        let names: Vec<&str> = merged.pairs().iter().map(|(name, _)| name.text()).collect();
        assert_eq!(names, ["fca.set", "set", "fca.get", "config|get", "set"]);

        let (theirs, merged) = client.introspect("COMMAND INFO fca.get fca.nosuch");
        assert_eq!(elements(&theirs.unwrap()).unwrap().len(), 1);
        assert_eq!(Value::decode(elements(&merged).unwrap()[1]), Value::Nil);
    }
}

#[test]
fn filters_take_the_same_commands_here_as_in_the_server() {
    let redis = Redis::start();
    let mut client = redis.connect(Protocol::Resp2);
    let patterns = ["*", "get", "GET", "x*", "[f-h]*", "[^a-y]*", "?set", "*range*", "h\\get", "z[", "", "[]", "fca.*"];
    let categories = ["fast", "SLOW", "string", "dangerous", "nosuch", "all", ""];
    let filters = patterns.map(|what| ("PATTERN", what)).into_iter().chain(categories.map(|what| ("ACLCAT", what)));
    let mut compared = 0;
    for (kind, what) in filters {
        let request = [b"COMMAND".as_slice(), b"LIST", b"FILTERBY", kind.as_bytes(), what.as_bytes()];
        let introspection = Introspection::parse(&request).unwrap();
        let live: HashSet<String> = Value::decode(&client.ask(&introspection.upstream_request().unwrap()))
            .texts()
            .into_iter()
            .filter(|name| !name.contains('|'))
            .collect();
        let mut alone = Vec::new();
        introspection.append_reply(&mut alone, Protocol::Resp2, None);
        let alone = Value::decode(&alone).texts();
        let (family, ours): (HashSet<String>, HashSet<String>) =
            alone.into_iter().partition(|name| name.starts_with("fca."));
        assert_eq!(ours, live, "{kind} {what}");
        if kind == "PATTERN" {
            let matching = command::fca().iter().filter(|command| {
                glob_matches(what.to_ascii_lowercase().as_bytes(), command.name.to_ascii_lowercase().as_bytes())
            });
            assert_eq!(family.len(), matching.count());
        }
        compared += 1;
    }
    assert_eq!(compared, 20);
}

#[test]
fn keys_that_are_told_without_the_upstream_are_those_that_it_tells() {
    let redis = Redis::start();
    let mut told = HashMap::new();
    for protocol in PROTOCOLS {
        let mut client = redis.connect(protocol);
        for command in command::all() {
            for arguments in 1..7 {
                let placeholders = ["1", "2", "3", "4", "5", "6"];
                let line = format!("COMMAND GETKEYS {} {}", command.name, placeholders[..arguments].join(" "));
                if line == "COMMAND GETKEYS PFMERGE 1" {
                    // Redis 7.0 counts a destination alone as a mistake here, but carries the command out.
                    continue;
                }
                let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
                let introspection = Introspection::parse(&args).unwrap();
                let Some(request) = introspection.upstream_request() else {
                    assert!(command.name.starts_with("FCA."));
                    continue;
                };
                let live = client.ask(&request);
                let mut alone = Vec::new();
                introspection.append_reply(&mut alone, protocol, None);
                // Nil is the answer to what only the upstream can tell.
                if Value::decode(&alone) != Value::Nil {
                    assert_eq!(alone.escape_ascii().to_string(), live.escape_ascii().to_string(), "{line}");
                    *told.entry(live[0]).or_insert(0) += 1;
                }
            }
        }
    }
    assert!(told[&b'*'] > 500 && told[&b'-'] > 500, "{told:?}");
}

#[test]
fn mistakes_are_answered_as_the_server_does() {
    let redis = Redis::start();
    let mut client = redis.connect(Protocol::Resp2);
    for line in [
        "COMMAND COUNT x",
        "COMMAND GETKEYS",
        "COMMAND GETKEYS ping",
        "COMMAND GETKEYSANDFLAGS ping",
        "COMMAND GETKEYS nosuch a",
        "COMMAND GETKEYS publish a b",
        "COMMAND HELP x",
        "COMMAND LIST x",
        "COMMAND LIST FILTERBY x y",
        "COMMAND LIST FILTERBY ACLCAT x y",
        "COMMAND nosuch",
        "COMMAND nosuch x y",
    ] {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let live = client.ask(&args);
        let mut ours = Vec::new();
        match Introspection::parse(&args) {
            Ok(introspection) => introspection.append_reply(&mut ours, Protocol::Resp2, None),
            Err(error) => error.append_to(&mut ours),
        }
        assert_eq!(ours.escape_ascii().to_string(), live.escape_ascii().to_string(), "{line}");
    }
}

#[test]
fn an_independent_decoder_reads_what_was_merged() {
    let redis = Redis::start();
    let mut client = redis.connect(Protocol::Resp2);
    for line in ["COMMAND", "COMMAND DOCS", "COMMAND LIST", "COMMAND INFO fca.set get nosuch", "COMMAND DOCS fca.set"] {
        let (_, merged) = client.introspect(line);
        let (frame, read) = redis_protocol::resp2::decode::decode(&merged).unwrap().unwrap();
        assert_eq!(read, merged.len());
        assert!(matches!(frame, redis_protocol::resp2::types::OwnedFrame::Array(elements) if !elements.is_empty()));
    }
}

/// The FCA family's entries, one after the other.
fn family(append: impl Fn(&mut Vec<u8>, &Command)) -> Vec<Vec<u8>> {
    command::fca()
        .iter()
        .map(|command| {
            let mut out = Vec::new();
            append(&mut out, command);
            out
        })
        .collect()
}

/// Finds one command's documentation among pairs of bytes.
trait PairOf {
    fn concat_of(&self, command: &Command) -> Vec<u8>;
}

impl PairOf for Vec<Vec<u8>> {
    fn concat_of(&self, command: &Command) -> Vec<u8> {
        let mut name = Vec::new();
        encode::bulk(&mut name, command.name.to_lowercase().as_bytes());
        self.iter().find_map(|pair| pair.strip_prefix(name.as_slice())).unwrap().to_vec()
    }
}

fn words(words: impl Iterator<Item = &'static str>, prefix: &str) -> Vec<String> {
    words.map(|word| format!("{prefix}{word}")).collect()
}

/// A reply, decoded strictly: every byte is accounted for.
#[derive(Debug, PartialEq)]
enum Value {
    Nil,
    Number(i64),
    Text(String),
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

impl Value {
    fn decode(reply: &[u8]) -> Self {
        let (value, rest) = Self::split(reply);
        assert!(rest.is_empty(), "{} bytes behind the reply", rest.len());
        value
    }

    fn split(reply: &[u8]) -> (Self, &[u8]) {
        let end = reply.windows(2).position(|pair| pair == b"\r\n").expect("a line end");
        let (line, rest) = (str::from_utf8(&reply[1..end]).unwrap(), &reply[end + 2..]);
        match reply[0] {
            b'_' => (Self::Nil, rest),
            b'$' | b'*' if line == "-1" => (Self::Nil, rest),
            b'+' | b'-' => (Self::Text(line.to_owned()), rest),
            b':' => (Self::Number(line.parse().unwrap()), rest),
            b'$' => {
                let (text, rest) = rest.split_at(line.parse().unwrap());
                let text = String::from_utf8(text.to_vec()).unwrap();
                (Self::Text(text), rest.strip_prefix(b"\r\n").expect("a line end behind the text"))
            }
            b'*' | b'~' => {
                let (mut rest, mut found) = (rest, Vec::new());
                for _ in 0..line.parse::<usize>().unwrap() {
                    let (element, behind) = Self::split(rest);
                    found.push(element);
                    rest = behind;
                }
                (Self::Array(found), rest)
            }
            b'%' => {
                let (mut rest, mut found) = (rest, Vec::new());
                for _ in 0..line.parse::<usize>().unwrap() {
                    let (key, behind) = Self::split(rest);
                    let (value, behind) = Self::split(behind);
                    found.push((key, value));
                    rest = behind;
                }
                (Self::Map(found), rest)
            }
            other => panic!("no reply starts with {other:#x}"),
        }
    }

    fn array(&self) -> &[Self] {
        let Self::Array(elements) = self else { panic!("no array: {self:?}") };
        elements
    }

    /// The pairs of a map, or of a flat array in its place.
    fn pairs(&self) -> Vec<(&Self, &Self)> {
        match self {
            Self::Map(pairs) => pairs.iter().map(|(key, value)| (key, value)).collect(),
            Self::Array(elements) => {
                assert!(elements.len().is_multiple_of(2));
                elements.chunks(2).map(|pair| (&pair[0], &pair[1])).collect()
            }
            other => panic!("no map: {other:?}"),
        }
    }

    fn text(&self) -> &str {
        let Self::Text(text) = self else { panic!("no text: {self:?}") };
        text
    }

    fn texts(&self) -> Vec<String> {
        self.array().iter().map(|element| element.text().to_owned()).collect()
    }

    fn number(&self) -> i64 {
        let Self::Number(number) = self else { panic!("no number: {self:?}") };
        *number
    }
}

/// A server of this test's own, on a unix socket; it ends with the value.
struct Redis {
    server: Child,
    socket: PathBuf,
    /// Held open, so that the server can go on writing its log.
    _log: BufReader<ChildStdout>,
}

impl Redis {
    fn start() -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let socket = std::env::temp_dir().join(format!("fca-proxy-commands-{}-{number}.sock", std::process::id()));
        let mut server = std::process::Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", ""])
            .arg("--unixsocket")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("these tests need redis-server 7.0 on the PATH");
        let mut log = BufReader::new(server.stdout.take().unwrap());
        let (mut line, mut all) = (String::new(), String::new());
        while !line.contains("now ready to accept connections") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "redis-server ended: {all}");
            all.push_str(&line);
        }
        assert!(all.contains("Redis version=7.0."), "these tests need Redis 7.0: {all}");
        Self { server, socket, _log: log }
    }

    fn connect(&self, protocol: Protocol) -> Client {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut client = Client { stream, protocol };
        if protocol == Protocol::Resp3 {
            assert_eq!(client.ask(&[b"HELLO", b"3"])[0], b'%');
        }
        client
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        drop(std::fs::remove_file(&self.socket));
    }
}

/// One connection to it.
struct Client {
    stream: UnixStream,
    protocol: Protocol,
}

impl Client {
    /// Sends one request and reads the whole reply.
    fn ask(&mut self, request: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, request);
        self.stream.write_all(&bytes).unwrap();
        let (mut reply, mut scanner, mut chunk) = (Vec::new(), ReplyScanner::default(), vec![0; 64 * 1024]);
        loop {
            let read = self.stream.read(&mut chunk).unwrap();
            assert_ne!(read, 0, "the server closed the connection");
            reply.extend_from_slice(&chunk[..read]);
            if let Some(length) = scanner.scan(&reply).unwrap() {
                assert_eq!(length, reply.len(), "more than one reply");
                return reply;
            }
        }
    }

    /// What the server says to the part of a question that is asked of it, and what the client is told.
    fn introspect(&mut self, line: &str) -> (Option<Vec<u8>>, Vec<u8>) {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let introspection = Introspection::parse(&args).unwrap();
        let theirs = introspection.upstream_request().map(|request| self.ask(&request));
        let mut merged = Vec::new();
        introspection.append_reply(&mut merged, self.protocol, theirs.as_deref());
        drop(Value::decode(&merged));
        (theirs, merged)
    }
}
