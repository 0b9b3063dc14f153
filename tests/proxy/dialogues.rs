//! How client libraries open a connection, word for word: each of them can connect and stay connected, whatever becomes
//! of the upstream.
//!
//! `tests/dialogues/*.txt` holds what each library sends, most of it recorded between the library and a Redis, and which
//! replies it cannot do without. Every dialogue is played in front of a live Redis, where each reply is what Redis itself
//! says; in front of one that is gone and one that stands still, where each command gets one reply, in order, and the
//! connection stays; and over the embedded store. `tests/dialogues/README.md` describes the language.

use crate::support::client::{Client, encode};
use crate::support::fault::Pipe;
use crate::support::proxy::{Proxy, ProxyOptions};
use crate::support::redis::{Redis, RedisOptions};
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, io, iter, thread};

/// There are at least so many dialogues; fewer means that they were not found.
const DIALOGUES_MIN: usize = 70;
/// They hold at least so many commands.
const REPLIES_MIN: usize = 1000;
/// Players at a time where the upstream is silent: they mostly wait.
const PLAYERS: usize = 12;
/// The user whom the dialogues log in as.
const USER: [&str; 7] = ["--user", "app", "on", ">secret", "~*", "&*", "+@all"];

/// Dialogues that are not played yet before some upstreams, and what they wait for.
const NOT_YET: [(&str, &[Upstream], &str); 2] = [
    ("rueidis-1.0.27-plain", &[Upstream::Embedded], "the embedded store tracks nobody's reads"),
    ("rueidis-1.0.27-full", &[Upstream::Embedded], "the embedded store tracks nobody's reads"),
];

#[test]
fn a_library_that_connects_through_the_proxy_reads_what_redis_says() {
    let (direct, behind) = (with_user(), with_user());
    let proxy = Proxy::patient(behind.url());
    let (mut faults, mut replies) = (Vec::new(), 0);
    for dialogue in &dialogues(Upstream::There) {
        for redis in [&direct, &behind] {
            for command in ["FLUSHALL", "SCRIPT FLUSH", "CONFIG RESETSTAT"] {
                assert_eq!(redis.client().say(command), Value::ok());
            }
        }
        let expected = play(direct.address(), dialogue, Upstream::Direct);
        let played = play(proxy.address(), dialogue, Upstream::There);
        faults.extend(expected.faults.iter().map(|fault| format!("{}: Redis itself: {fault}", dialogue.name)));
        faults.extend(played.faults.iter().map(|fault| format!("{}: {fault}", dialogue.name)));
        replies += played.replies.len();
        faults.extend(iter::zip(&expected.replies, &played.replies).filter_map(|(expected, played)| {
            let command = dialogue.command(played.line);
            let difference = command.live.difference(command, &expected.frames, &played.frames)?;
            Some(format!("{}:{}: {command}: {difference}", dialogue.name, played.line))
        }));
    }
    assert!(replies >= REPLIES_MIN, "{replies} replies were compared");
    report(&faults);
    assert_eq!(proxy.metrics().sum("fca_proxy_session_panics_total"), 0.0);
}

#[test]
fn a_library_connects_while_the_upstream_is_gone() {
    let redis = Redis::not_started(RedisOptions::default());
    let proxy = Proxy::in_front_of(redis.url());
    play_all(Upstream::Away, |_| proxy.address());
    assert_eq!(proxy.metrics().sum("fca_proxy_session_panics_total"), 0.0);
}

#[test]
fn a_library_connects_while_the_upstream_stands_still() {
    let redis = with_user();
    // One each, so that each dialogue meets the silence itself and not what another one has learnt of it.
    let proxies: BTreeMap<String, Proxy> = dialogues(Upstream::Away)
        .into_iter()
        .map(|dialogue| {
            let proxy = Proxy::start(ProxyOptions { upstream: Some(redis.url()), ..ProxyOptions::default() });
            // Its connection stands before the silence begins; whether the answer came in time does not matter.
            proxy.client().command(["GET", "warm"]);
            (dialogue.name, proxy)
        })
        .collect();
    redis.stop();
    play_all(Upstream::Away, |dialogue| proxies[&dialogue.name].address());
    redis.cont();
}

#[test]
fn a_library_stays_connected_when_the_upstream_goes_away_in_the_middle() {
    let redis = with_user();
    let mut faults = Vec::new();
    for mut dialogue in dialogues(Upstream::Away) {
        let pipe = Pipe::to(redis.address());
        let proxy = Proxy::patient(pipe.url());
        // What follows is judged by what may be answered without an upstream; before it, the live test compares.
        dialogue.goes_away_at = Some(dialogue.steps.len() / 2);
        let played = play_until(proxy.address(), &dialogue, &|| {
            pipe.refuse();
            pipe.cut_all();
            // A client that asks for tracking between the two would be sent away, to ask again.
            wait_until(SOON, "the proxy has noticed", || proxy.metrics().sum("fca_proxy_upstream_up") == 0.0);
        });
        faults.extend(played.faults.iter().map(|fault| format!("{}: {fault}", dialogue.name)));
    }
    report(&faults);
}

#[test]
fn a_library_connects_to_the_embedded_store() {
    let proxy = Proxy::embedded();
    play_all(Upstream::Embedded, |_| proxy.address());
    assert_eq!(proxy.metrics().sum("fca_proxy_session_panics_total"), 0.0);
}

/// What is behind the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upstream {
    /// Nothing: there is no proxy either.
    Direct,
    There,
    Away,
    Embedded,
}

/// What a library says, on all its connections, in the order in which it says it.
struct Dialogue {
    /// The file's name without its ending.
    name: String,
    steps: Vec<Step>,
    /// Before which step the upstream goes away.
    goes_away_at: Option<usize>,
}

enum Step {
    /// What follows is said on this connection; it is opened when it is first named.
    On(String),
    /// Commands that leave in one write.
    Write(Vec<Command>),
    /// Something comes that is no reply: a message, an invalidation.
    Message,
}

struct Command {
    /// Where it stands in its file.
    line: usize,
    words: Vec<Vec<u8>>,
    /// What the library cannot do without, wherever the reply comes from.
    insists: Option<Insists>,
    live: Live,
    /// It waits in the server until another connection has spoken: its reply is read before this connection's next write.
    waits: bool,
}

/// A reply that a library can work with: any of these.
struct Insists(Vec<Kind>);

enum Kind {
    Ok,
    Pong,
    Queued,
    /// The argument comes back.
    Echo,
    Integer,
    /// A string that holds these words.
    Text(Vec<String>),
    /// An array, a map or a set.
    Aggregate,
    /// A map, in RESP2 a flat array, with these fields.
    Fields(Vec<String>),
    Nil,
    Error,
}

/// How near to Redis's own reply the proxy's is when there is an upstream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Live {
    Same,
    /// But for the numbers in it, which depend on time.
    Near,
    Kind,
    Any,
}

/// What was said to a dialogue.
struct Played {
    replies: Vec<Reply>,
    faults: Vec<String>,
}

struct Reply {
    line: usize,
    /// One frame; as many as channels for SUBSCRIBE and its kin.
    frames: Vec<Value>,
}

/// One of a library's connections.
struct Connection {
    client: Client,
    /// Lines of the commands whose replies were not read yet.
    waiting: Vec<usize>,
    /// It has said QUIT or MONITOR, after which nothing can be asked.
    is_over: bool,
    quits: bool,
    /// The server speaks to it unasked: it is subscribed, or tracks keys.
    hears: bool,
}

/// Plays a dialogue in front of an upstream that goes away in its course.
fn play_until(address: SocketAddr, dialogue: &Dialogue, go_away: &dyn Fn()) -> Played {
    let mut played = Played { replies: Vec::new(), faults: Vec::new() };
    if let Err(error) = try_to_play(address, dialogue, Upstream::There, go_away, &mut played) {
        let line = played.replies.last().map_or(0, |reply| reply.line);
        played.faults.push(format!("after line {line}: {error}"));
    }
    played
}

/// Plays a dialogue; stops at the first reply that does not come.
fn play(address: SocketAddr, dialogue: &Dialogue, upstream: Upstream) -> Played {
    let mut played = Played { replies: Vec::new(), faults: Vec::new() };
    if let Err(error) = try_to_play(address, dialogue, upstream, &|| (), &mut played) {
        let line = played.replies.last().map_or(0, |reply| reply.line);
        played.faults.push(format!("after line {line}: {error}"));
    }
    played
}

fn try_to_play(
    address: SocketAddr,
    dialogue: &Dialogue,
    mut upstream: Upstream,
    go_away: &dyn Fn(),
    played: &mut Played,
) -> Result<(), io::Error> {
    let mut connections: BTreeMap<&str, Connection> = BTreeMap::new();
    let mut closed = BTreeSet::new();
    let mut on = "";
    for (at, step) in dialogue.steps.iter().enumerate() {
        if dialogue.goes_away_at == Some(at) {
            go_away();
            upstream = Upstream::Away;
            // Who hears pushes loses its connection with the one on which it hears them, as it would Redis's.
            for (name, connection) in connections.iter_mut().filter(|(_, connection)| connection.hears) {
                connection.client.read_until_closed();
                closed.insert(*name);
            }
        }
        if let Step::On(name) = step {
            on = name;
        }
        if matches!(step, Step::On(_)) || closed.contains(on) {
            continue;
        }
        let connection = connections.entry(on).or_insert_with(|| Connection {
            client: Client::connect(address),
            waiting: Vec::new(),
            is_over: false,
            quits: false,
            hears: false,
        });
        match step {
            Step::Write(commands) => {
                connection.catch_up(dialogue, upstream, played)?;
                let bytes: Vec<u8> = commands.iter().flat_map(|command| encode(&command.words)).collect();
                connection.client.try_send_raw(bytes)?;
                connection.waiting.extend(commands.iter().map(|command| command.line));
                connection.quits |= commands.iter().any(|command| command.is("QUIT"));
                connection.is_over |= commands.iter().any(|command| command.is("QUIT") || command.is("MONITOR"));
                if !commands.iter().any(|command| command.waits) {
                    connection.catch_up(dialogue, upstream, played)?;
                }
            }
            // Nobody sends any where there is no upstream.
            Step::Message if matches!(upstream, Upstream::Direct | Upstream::There) => {
                let frames = vec![connection.client.try_reply()?];
                played.replies.push(Reply { line: 0, frames });
            }
            Step::Message | Step::On(_) => {}
        }
    }
    for (name, connection) in connections.iter_mut().filter(|(name, _)| !closed.contains(*name)) {
        connection.catch_up(dialogue, upstream, played)?;
        if connection.quits {
            assert_eq!(connection.client.read_until_closed(), b"", "{}: nothing follows QUIT", dialogue.name);
        } else if !connection.is_over {
            // It is still there, and no reply too many or too few was given.
            let last = connection.client.try_command(["PING", "the end"])?;
            let is_pong = match &last {
                Value::Array(items) => items.last() == Some(&Value::bulk("the end")),
                last => *last == Value::bulk("the end"),
            };
            if !is_pong {
                played.faults.push(format!("connection {name}: the last PING is answered {last:?}"));
            }
        }
    }
    Ok(())
}

impl Connection {
    /// Reads the replies to everything that was sent.
    fn catch_up(&mut self, dialogue: &Dialogue, upstream: Upstream, played: &mut Played) -> io::Result<()> {
        for line in std::mem::take(&mut self.waiting) {
            let command = dialogue.command(line);
            let mut frames = vec![self.client.try_reply()?];
            let more =
                if command.subscribes() && is_subscription(&frames[0]) { command.words.len().max(2) - 2 } else { 0 };
            for _ in 0..more {
                frames.push(self.client.try_reply()?);
            }
            self.listens(command, &frames);
            if let Some(fault) = command.fault(&frames[0], upstream) {
                played.faults.push(format!("line {line}: {command}: {fault}"));
            }
            played.replies.push(Reply { line, frames });
        }
        Ok(())
    }

    /// Minds whether the server will speak to it unasked.
    fn listens(&mut self, command: &Command, frames: &[Value]) {
        match frames.last() {
            Some(Value::Push(items) | Value::Array(items)) if command.subscribes() => {
                self.hears = items.last() != Some(&Value::Integer(0));
            }
            Some(reply) if command.is("MONITOR") || command.is("CLIENT") && command.says("TRACKING") => {
                self.hears |= *reply == Value::ok();
            }
            _ => {}
        }
    }
}

impl Dialogue {
    /// The command of this line; lines without a command are messages.
    fn command(&self, line: usize) -> &Command {
        let commands = self.steps.iter().filter_map(|step| match step {
            Step::Write(commands) => Some(commands),
            _ => None,
        });
        commands.flatten().find(|command| command.line == line).unwrap_or(&MESSAGE)
    }
}

/// Stands for what a message answers.
static MESSAGE: Command = Command { line: 0, words: Vec::new(), insists: None, live: Live::Same, waits: false };

impl Command {
    fn is(&self, name: &str) -> bool {
        self.words.first().is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    }

    fn says(&self, word: &str) -> bool {
        self.words.iter().any(|said| said.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Whether it changes which channels are listened to: one reply for each channel.
    fn subscribes(&self) -> bool {
        const NAMES: [&str; 6] =
            ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"];
        NAMES.iter().any(|name| self.is(name))
    }

    /// What is wrong with a reply, wherever it comes from.
    fn fault(&self, reply: &Value, upstream: Upstream) -> Option<String> {
        // Redis 7.0 does not know yet what the library says; the proxy does.
        if upstream == Upstream::Direct && self.live == Live::Any {
            return None;
        }
        // The embedded store has no transactions, and nobody who knows a user.
        let in_transaction = self.insists.as_ref().is_some_and(Insists::is_about_transaction);
        if upstream == Upstream::Embedded && (in_transaction || self.is("MULTI")) {
            return None;
        }
        let logs_in = self.is("AUTH") || self.is("HELLO") && self.says("AUTH");
        if upstream == Upstream::Embedded && logs_in && reply.is_error() && reply.bytes().starts_with(b"WRONGPASS") {
            return None;
        }
        match &self.insists {
            Some(insists) if !insists.accept(self, reply) => Some(format!("the library can't go on with {reply:?}")),
            Some(_) => None,
            None if upstream != Upstream::Away || self.may_answer(reply) => None,
            None => Some(format!("{reply:?} where there is no upstream")),
        }
    }

    /// Whether this is how the proxy answers what it can't ask anybody: nil, and a clear error where nil says nothing.
    fn may_answer(&self, reply: &Value) -> bool {
        match reply {
            Value::Nil => true,
            Value::Error(_) => {
                const NOT_NIL: [&str; 6] = ["CLIENT", "AUTH", "DISCARD", "MONITOR", "UNWATCH", "READONLY"];
                self.subscribes() || NOT_NIL.iter().any(|name| self.is(name))
            }
            Value::Push(_) | Value::Array(_) => self.subscribes(),
            // A subscribed one is answered otherwise, so nothing is insisted on.
            _ if self.is("PING") => true,
            reply => self.is("CLIENT") || self.is("WATCH") || self.is("UNWATCH") || *reply == Value::ok(),
        }
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN_MAX: usize = 60;
        let line = self.words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ");
        f.write_str(&line.chars().take(SHOWN_MAX).collect::<String>())
    }
}

impl Insists {
    fn is_about_transaction(&self) -> bool {
        matches!(self.0[..], [Kind::Queued])
    }

    fn accept(&self, command: &Command, reply: &Value) -> bool {
        self.0.iter().any(|kind| kind.accepts(command, reply))
    }
}

impl Kind {
    fn accepts(&self, command: &Command, reply: &Value) -> bool {
        match (self, reply) {
            (Self::Ok, reply) => *reply == Value::ok(),
            (Self::Pong, reply) => *reply == Value::simple("PONG"),
            (Self::Queued, reply) => *reply == Value::simple("QUEUED"),
            (Self::Echo, reply) => *reply == Value::bulk(&command.words[1]),
            (Self::Integer, reply) => matches!(reply, Value::Integer(_)),
            (Self::Nil, reply) => reply.is_nil(),
            (Self::Error, reply) => reply.is_error(),
            (Self::Text(words), Value::Simple(bytes) | Value::Bulk(bytes)) => {
                let text = String::from_utf8_lossy(bytes);
                words.iter().all(|word| text.contains(word))
            }
            (Self::Aggregate, reply) => matches!(reply, Value::Array(_) | Value::Map(_)),
            (Self::Fields(fields), Value::Map(pairs)) => {
                let names: BTreeSet<&[u8]> = pairs.iter().map(|(name, _)| name.bytes()).collect();
                fields.iter().all(|field| names.contains(field.as_bytes()))
            }
            (Self::Fields(fields), Value::Array(items)) => {
                let names: BTreeSet<&[u8]> = items.chunks_exact(2).map(|pair| pair[0].bytes()).collect();
                fields.iter().all(|field| names.contains(field.as_bytes()))
            }
            _ => false,
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace().map(str::to_owned);
        Ok(match words.next().as_deref() {
            Some("ok") => Self::Ok,
            Some("pong") => Self::Pong,
            Some("queued") => Self::Queued,
            Some("echo") => Self::Echo,
            Some("integer") => Self::Integer,
            Some("string") => Self::Text(words.collect()),
            Some("aggregate") => Self::Aggregate,
            Some("map") => Self::Fields(words.collect()),
            Some("nil") => Self::Nil,
            Some("error") => Self::Error,
            other => return Err(format!("{other:?} is no kind of reply")),
        })
    }
}

impl Live {
    /// What differs, if it may not.
    fn difference(self, command: &Command, redis: &[Value], proxy: &[Value]) -> Option<String> {
        let is_near = match self {
            Self::Any => true,
            Self::Kind => iter::zip(redis, proxy).all(|(redis, proxy)| kind(redis) == kind(proxy)),
            Self::Same | Self::Near => {
                let known = |frames: &[Value]| frames.iter().map(|frame| canonical(command, frame)).collect::<Vec<_>>();
                known(redis) == known(proxy)
            }
        };
        (!is_near || redis.len() != proxy.len()).then(|| format!("{proxy:?} where Redis says {redis:?}"))
    }
}

/// What a reply is, whatever it says.
fn kind(reply: &Value) -> &'static str {
    match reply {
        Value::Simple(_) => "simple string",
        Value::Error(_) => "error",
        Value::Integer(_) => "integer",
        Value::Bulk(_) => "string",
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Number(_) => "number",
        Value::Array(_) => "array",
        Value::Map(_) => "map",
        Value::Push(_) => "push",
    }
}

/// A reply without what is different on every server: the connection's number, the order of a scan.
fn canonical(command: &Command, reply: &Value) -> Value {
    let is_id = |name: &Value| *name == Value::bulk("id");
    match reply {
        Value::Map(pairs) if command.is("HELLO") => Value::Map(
            pairs
                .iter()
                .map(|(name, value)| (name.clone(), if is_id(name) { Value::Nil } else { value.clone() }))
                .collect(),
        ),
        Value::Array(items) if command.is("HELLO") => {
            let behind_id = |at: usize| at > 0 && is_id(&items[at - 1]);
            let items = items.iter().enumerate();
            Value::Array(items.map(|(at, item)| if behind_id(at) { Value::Nil } else { item.clone() }).collect())
        }
        Value::Array(items) if ["SCAN", "SSCAN", "KEYS", "SMEMBERS"].iter().any(|name| command.is(name)) => {
            let mut items: Vec<Value> = items.iter().map(|item| canonical(command, item)).collect();
            items.sort_by_key(|item| format!("{item:?}"));
            Value::Array(items)
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| canonical(command, item)).collect()),
        Value::Integer(_) if command.live == Live::Near => Value::Nil,
        reply => reply.clone(),
    }
}

fn is_subscription(frame: &Value) -> bool {
    matches!(frame, Value::Push(_) | Value::Array(_))
}

/// A Redis with the user whom the dialogues log in as.
fn with_user() -> Redis {
    let arguments = USER.map(str::to_owned).to_vec();
    Redis::start_with(RedisOptions { arguments, ..RedisOptions::default() })
}

/// Plays all dialogues, many at a time, each with the proxy at this address, and shows all that is wrong with any.
fn play_all(upstream: Upstream, address: impl Fn(&Dialogue) -> SocketAddr + Sync) {
    let dialogues = dialogues(upstream);
    let next = AtomicUsize::new(0);
    let faults = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                while let Some(dialogue) = dialogues.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played = play(address(dialogue), dialogue, upstream);
                    let found = played.faults.iter().map(|fault| format!("{}: {fault}", dialogue.name));
                    faults.lock().expect("no player panics with it").extend(found);
                }
            });
        }
    });
    report(&faults.into_inner().expect("no player panics with it"));
}

#[track_caller]
fn report(faults: &[String]) {
    let shown = faults.iter().fold(String::new(), |mut shown, fault| {
        // Writing to a string can't fail.
        let _ = writeln!(shown, "{fault}");
        shown
    });
    assert!(faults.is_empty(), "{} faults:\n{shown}", faults.len());
}

/// All dialogues that are played in front of such an upstream.
fn dialogues(upstream: Upstream) -> Vec<Dialogue> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let files = fs::read_dir(&directory).expect("the dialogues are there");
    let mut paths: Vec<_> = files.map(|file| file.expect("a readable directory").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    paths.sort();
    assert!(paths.len() >= DIALOGUES_MIN, "{} dialogues", paths.len());
    let stem = |path: &Path| path.file_stem().expect("a file's name").to_string_lossy().into_owned();
    let waits = |name: &str| NOT_YET.iter().any(|(waits, of, _)| *waits == name && of.contains(&upstream));
    let played = paths.iter().filter(|path| !waits(&stem(path)));
    played
        .map(|path| {
            let text = fs::read_to_string(path).expect("a text");
            let steps = parse(&text).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
            Dialogue { name: stem(path), steps, goes_away_at: None }
        })
        .collect()
}

fn parse(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = vec![Step::On("only".to_owned())];
    let mut write = Vec::new();
    let end_write = |write: &mut Vec<Command>, steps: &mut Vec<Step>| {
        if !write.is_empty() {
            steps.push(Step::Write(std::mem::take(write)));
        }
    };
    for (line, text) in iter::zip(1.., text.lines()) {
        match text.split_at_checked(2) {
            Some(("# ", _)) => {}
            Some(("@ ", name)) => {
                end_write(&mut write, &mut steps);
                steps.push(Step::On(name.to_owned()));
            }
            Some(("< ", _)) => {
                end_write(&mut write, &mut steps);
                steps.push(Step::Message);
            }
            _ if text.trim().is_empty() => end_write(&mut write, &mut steps),
            _ => write.push(parse_command(line, text).map_err(|fault| format!("line {line}: {fault}"))?),
        }
    }
    end_write(&mut write, &mut steps);
    Ok(steps)
}

/// `[& ]words [-> kind|kind] [~ near|kind|any]`
fn parse_command(line: usize, text: &str) -> Result<Command, String> {
    let (waits, text) = text.strip_prefix("& ").map_or((false, text), |text| (true, text));
    let mut command = Command { line, words: Vec::new(), insists: None, live: Live::Same, waits };
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix("~ ") {
            command.live = match behind {
                "near" => Live::Near,
                "kind" => Live::Kind,
                "any" => Live::Any,
                other => return Err(format!("{other:?} is no way to compare")),
            };
            break;
        }
        if let Some(behind) = rest.strip_prefix("-> ") {
            let (kinds, behind) = behind.split_at(behind.find(" ~ ").unwrap_or(behind.len()));
            command.insists = Some(Insists(kinds.split('|').map(Kind::parse).collect::<Result<_, _>>()?));
            rest = behind.trim_start();
            continue;
        }
        let (word, behind) = parse_word(rest)?;
        command.words.push(word);
        rest = behind.trim_start();
    }
    match command.words.is_empty() {
        true => Err("no command".to_owned()),
        false => Ok(command),
    }
}

/// One argument, plain or in quotes, where `\n`, `\r`, `\t`, `\\`, `\"` and `\xNN` stand for bytes.
fn parse_word(text: &str) -> Result<(Vec<u8>, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
        return Ok((word.as_bytes().to_vec(), rest));
    };
    let mut word = Vec::new();
    let mut bytes = quoted.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Ok((word, &quoted[at + 1..])),
            b'\\' => word.push(match bytes.next().map(|(_, byte)| byte) {
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b't') => b'\t',
                Some(b'x') => {
                    let digits = quoted.get(at + 2..at + 4).ok_or("\\x is followed by two digits")?;
                    bytes.nth(1);
                    u8::from_str_radix(digits, 16).map_err(|error| error.to_string())?
                }
                Some(byte) => byte,
                None => break,
            }),
            byte => word.push(byte),
        }
    }
    Err("a quote that is not closed".to_owned())
}
