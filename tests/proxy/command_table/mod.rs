//! Every command that the server lists, sent to a Redis and to another Redis behind the proxy: the replies are the same
//! byte by byte, and so is what is stored afterwards.
//!
//! The requests are made up from the server's own COMMAND DOCS ([`syntax`], [`author`]) and from hand-written ones where
//! a syntax does not tell what succeeds ([`lists`]). They are played as scenes: a connection to each server, the same
//! fixtures, some forty requests, one by one, pipelined, or in transactions, over RESP2 and RESP3. What cannot be the
//! same is reduced as little as possible ([`reduce`]). Every command has to be compared, and to succeed at least once.
//!
//! `COMMAND_TABLE_SECONDS` lets it run so long, `COMMAND_TABLE_SEED` says where its seeds begin. What differs is played
//! again alone and shown as short as it gets.

mod author;
mod lists;
mod reduce;
mod syntax;

use crate::support::client::{Client, encode};
use crate::support::proxy::{Patience, Proxy, ProxyOptions};
use crate::support::random::Random;
use crate::support::redis::{Redis, RedisOptions};
use crate::support::wait::{SOON, wait_until};
use author::{Author, Payloads, Words};
use lists::{ALWAYS_ERRORS, FIXTURES, NOT_QUEUED, REDUCED, REFUSED, SCENES, SCENES_ONLY, WRITTEN_ONLY};
use reduce::{Rule, is_error, reduced};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use std::{env, iter};
use syntax::Command;

/// Requests of one scene, without its fixtures.
const SCENE_REQUESTS: usize = 40;
/// The most requests that are sent before their replies are read; their replies have to fit into sockets' buffers.
const DEPTH_MAX: usize = 30;
/// The most requests of one transaction.
const TRANSACTION_MAX: usize = 8;
/// How many differences are shown.
const DIFFERENCES_MAX: usize = 40;
/// How many rounds are played for the sake of a command that chance kept from succeeding.
const ROUNDS_MAX: u32 = 4;
/// The least number of commands in the table of a Redis 7.
const COMMANDS_MIN: usize = 350;

/// Stands for the reply that does not come since the connection has ended.
const HUNG_UP: &[u8] = b"-the connection has ended";

#[test]
fn every_command_of_the_table_answers_as_on_redis() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let until = number("COMMAND_TABLE_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut seed = number("COMMAND_TABLE_SEED").unwrap_or(1);
    let servers = Servers::start();
    let payloads = servers.payloads();
    let commands = syntax::table(&mut servers.direct.client());
    assert!(commands.len() >= COMMANDS_MIN, "{} commands", commands.len());
    let mut tally = Tally::default();
    let mut rounds = 0;
    loop {
        for protocol in ["2", "3"] {
            for pace in [Pace::OneByOne, Pace::Pipelined, Pace::Transactions] {
                let scenes = scenes(&commands, &payloads, seed, protocol, pace);
                scenes.iter().for_each(|scene| tally.play(&servers, scene));
                seed += 1;
            }
        }
        rounds += 1;
        let is_time = until.is_none_or(|until| Instant::now() >= until);
        let is_whole = commands.iter().all(|command| tally.lack(&command.name).is_none());
        if tally.differences.len() >= DIFFERENCES_MAX || is_time && (is_whole || rounds >= ROUNDS_MAX) {
            break;
        }
    }
    tally.check(&servers, &commands);
    assert_eq!(servers.proxy.metrics().sum("fca_proxy_session_panics_total"), 0.0);
}

/// A Redis, and another behind a proxy; both let their data be summed up.
struct Servers {
    direct: Redis,
    behind: Redis,
    proxy: Proxy,
}

impl Servers {
    fn start() -> Self {
        let debuggable = || {
            let arguments = ["--enable-debug-command", "yes"].map(str::to_owned).into();
            Redis::start_with(RedisOptions { arguments, ..RedisOptions::default() })
        };
        let (direct, behind) = (debuggable(), debuggable());
        // What is for operators is let through, to be compared as well.
        let config = "[upstream]\nadmin_commands = [\"debug\", \"failover\", \"shutdown\"]\n".to_owned();
        let upstream = Some(behind.url());
        let proxy =
            Proxy::start(ProxyOptions { upstream, config, patience: Patience::Long, ..ProxyOptions::default() });
        Self { direct, behind, proxy }
    }

    fn payloads(&self) -> Payloads {
        let mut payloads = Payloads { dump: Vec::new(), functions: Vec::new(), script: Vec::new() };
        let mut client = self.direct.client();
        for line in FIXTURES {
            let words = Author::new(0, &payloads).words(line);
            let reply = client.command(&words);
            assert!(!reply.is_error(), "{line}: {reply:?}");
            if line.starts_with("SCRIPT LOAD") {
                payloads.script = reply.bytes().to_vec();
            }
        }
        payloads.dump = client.command(["DUMP", "string:1"]).bytes().to_vec();
        payloads.functions = client.command(["FUNCTION", "DUMP"]).bytes().to_vec();
        payloads
    }

    /// Waits until nothing goes on in the background.
    fn settle(&self) {
        for redis in [&self.direct, &self.behind] {
            wait_until(SOON, "the last save has ended", || {
                let info = redis.info("persistence");
                ["rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled"]
                    .iter()
                    .all(|field| info.get(*field).is_some_and(|flag| flag == "0"))
            });
        }
    }

    /// What is stored differently, if anything.
    fn stored_differently(&self) -> Option<String> {
        let (mut direct, mut behind) = (self.direct.client(), self.behind.client());
        let digest = |client: &mut Client| client.command(["DEBUG", "DIGEST"]);
        if digest(&mut direct) == digest(&mut behind) {
            return None;
        }
        let mut differing = String::new();
        for database in ["0", "1", "2"] {
            let mut keys = BTreeSet::new();
            for client in [&mut direct, &mut behind] {
                client.command(["SELECT", database]);
                // Removes what has expired, too, which a digest still counts.
                keys.extend(client.command(["KEYS", "*"]).items().iter().map(|key| key.bytes().to_vec()));
            }
            for key in keys {
                let digest = |client: &mut Client| client.command([b"DEBUG".as_slice(), b"DIGEST-VALUE", &key]);
                if digest(&mut direct) != digest(&mut behind) {
                    let _ = write!(differing, " {} of database {database}", key.escape_ascii());
                }
            }
        }
        (digest(&mut direct) != digest(&mut behind)).then_some(differing)
    }
}

/// How the requests of a scene follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// The reply to each is read before the next is sent.
    OneByOne,
    /// Several are sent at once.
    Pipelined,
    /// Pipelined, and between MULTI and EXEC.
    Transactions,
}

/// A dialogue on a connection of its own.
#[derive(Clone)]
struct Scene {
    seed: u64,
    protocol: &'static str,
    requests: Vec<Request>,
}

#[derive(Clone)]
struct Request {
    /// The command of the table that it tests.
    command: String,
    words: Words,
    /// How many replies it has.
    replies: usize,
    /// Whether the replies up to here are read before more is said.
    pauses: bool,
}

impl Request {
    fn new(command: &str, words: Words) -> Self {
        Self { command: command.to_owned(), words, replies: 1, pauses: true }
    }

    fn rule(&self) -> Rule {
        // By what is said, for a word less or more may have made it a request for another command.
        let said = self.words.iter().take(2).map(|word| String::from_utf8_lossy(word).to_uppercase());
        let said = said.collect::<Vec<_>>().join(" ");
        REDUCED
            .iter()
            .find(|(name, _)| said.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')))
            .map_or(Rule::Exact, |(_, rule)| *rule)
    }

    fn shown(&self) -> String {
        let words: Vec<String> = self.words.iter().map(|word| shown(word)).collect();
        words.join(" ") + if self.pauses { "\n" } else { "  (pipelined)\n" }
    }
}

/// All scenes of one round: every command in random order, and the written scenes.
fn scenes(commands: &[Command], payloads: &Payloads, seed: u64, protocol: &'static str, pace: Pace) -> Vec<Scene> {
    let mut author = Author::new(seed, payloads);
    let mut requests = Vec::new();
    for command in commands {
        let name = command.name.as_str();
        // Where Redis queues what the proxy refuses, nothing behind it can be compared.
        let spoils_all = pace == Pace::Transactions && (is_refused(name) || NOT_QUEUED.contains(&name));
        if SCENES_ONLY.contains(&name) || spoils_all {
            continue;
        }
        for words in author.requests(command) {
            // A transaction that holds one faulty request tells nothing of the others.
            let spoils = pace != Pace::Transactions || author.random.below(20) == 0;
            if spoils && !WRITTEN_ONLY.contains(&name) {
                requests.push(Request::new(&command.name, author.spoilt(&words)));
            }
            requests.push(Request::new(&command.name, words));
        }
    }
    shuffle(&mut requests, &mut author.random);
    let mut scenes: Vec<Scene> = requests
        .chunks(SCENE_REQUESTS)
        .map(|requests| Scene { seed, protocol, requests: paced(requests, pace, &mut author) })
        .collect();
    for lines in SCENES {
        let mut requests: Vec<Request> =
            lines.iter().map(|(line, replies)| written(line, *replies, &mut author)).collect();
        if pace == Pace::OneByOne {
            // Half a second of each server's time.
            requests.retain(|request| request.command != "PFSELFTEST" || protocol == "2");
        } else {
            requests.retain(|request| request.command != "PFSELFTEST");
            requests.iter_mut().for_each(|request| request.pauses = author.random.below(4) == 0);
        }
        scenes.push(Scene { seed, protocol, requests });
    }
    scenes
}

fn written(line: &str, replies: usize, author: &mut Author<'_>) -> Request {
    let words = author.words(line);
    let text = |word: &Vec<u8>| String::from_utf8_lossy(word).into_owned();
    let containers = ["CLIENT", "CONFIG", "OBJECT"];
    let command = match text(&words[0]) {
        container if containers.contains(&container.as_str()) => format!("{container} {}", text(&words[1])),
        name => name,
    };
    Request { replies, ..Request::new(&command, words) }
}

fn paced(requests: &[Request], pace: Pace, author: &mut Author<'_>) -> Vec<Request> {
    let mut paced = Vec::new();
    match pace {
        Pace::OneByOne => paced.extend_from_slice(requests),
        Pace::Pipelined => paced.extend(requests.iter().map(|request| {
            let pauses = author.random.below(DEPTH_MAX / 2) == 0;
            Request { pauses, ..request.clone() }
        })),
        Pace::Transactions => {
            let mut rest = requests;
            while !rest.is_empty() {
                let length = 1 + author.random.below(TRANSACTION_MAX.min(rest.len()));
                let (queued, behind) = rest.split_at(length);
                let control = |word: &str| Request::new(word, vec![word.into()]);
                let from = paced.len();
                paced.push(control("MULTI"));
                paced.extend_from_slice(queued);
                paced.push(control("EXEC"));
                let pauses = author.random.below(2) == 0;
                paced[from..].iter_mut().for_each(|request| request.pauses = pauses);
                rest = behind;
            }
        }
    }
    let mut depth = 0;
    for request in &mut paced {
        depth = if request.pauses { 0 } else { depth + 1 };
        request.pauses |= depth == DEPTH_MAX;
    }
    paced
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last + 1));
    }
}

/// What was compared, and what differed.
#[derive(Default)]
struct Tally {
    /// By command: replies that were compared, and those among them that were no errors.
    counts: BTreeMap<String, (usize, usize)>,
    /// By command, so that each is shown once: where it differed first.
    differences: BTreeMap<String, (Scene, Difference)>,
}

/// Where a scene was first answered differently.
#[derive(Clone)]
struct Difference {
    /// Which request, counted from 0; behind the last for what is stored.
    request: usize,
    command: String,
    direct: String,
    proxied: String,
}

impl Tally {
    fn play(&mut self, servers: &Servers, scene: &Scene) {
        if let Some(difference) = play(servers, scene, &mut |command, succeeded| {
            let (compared, good) = self.counts.entry(command.to_owned()).or_default();
            *compared += 1;
            *good += usize::from(succeeded);
        }) {
            self.differences.entry(difference.command.clone()).or_insert_with(|| (scene.clone(), difference));
        }
    }

    /// What this command still has to show, if anything.
    fn lack(&self, name: &str) -> Option<&'static str> {
        let errs = ALWAYS_ERRORS.iter().any(|(listed, _)| *listed == name) || name.starts_with("CLUSTER ");
        match self.counts.get(name) {
            None | Some((0, _)) => Some("was never compared"),
            Some((_, 0)) if !errs && !is_refused(name) => Some("never succeeded"),
            Some((_, good)) if *good > 0 && errs => Some("succeeds after all"),
            Some(_) => None,
        }
    }

    fn check(self, servers: &Servers, commands: &[Command]) {
        let mut faults = String::new();
        for (scene, difference) in self.differences.values() {
            faults += &shortened(servers, scene.clone(), difference.clone());
        }
        for command in commands {
            if let Some(lack) = self.lack(&command.name) {
                let _ = writeln!(faults, "{} {lack}", command.name);
            }
        }
        let (compared, good) =
            self.counts.values().fold((0, 0), |(compared, good), (more, better)| (compared + more, good + better));
        println!("{} commands, {compared} replies, of which {good} were no errors", self.counts.len());
        assert!(good > compared / 2, "of {compared} replies only {good} were no errors");
        assert!(faults.is_empty(), "\n{faults}");
    }
}

/// Plays a scene on both servers; tells `heard` of each reply that was the same, and where they first differed.
fn play(servers: &Servers, scene: &Scene, heard: &mut dyn FnMut(&str, bool)) -> Option<Difference> {
    if scene.requests.iter().any(|request| request.command.contains("SAVE")) {
        servers.settle();
    }
    let mut clients = [servers.direct.client(), servers.proxy.client()];
    let setup = iter::once(format!("HELLO {}", scene.protocol)).chain(FIXTURES.iter().map(|line| (*line).to_owned()));
    let payloads = Payloads { dump: Vec::new(), functions: Vec::new(), script: Vec::new() };
    let mut author = Author::new(0, &payloads);
    let setup: Vec<Words> = setup.map(|line| author.words(&line)).collect();
    for client in &mut clients {
        for (words, reply) in iter::zip(&setup, client.pipeline(&setup)) {
            assert!(!reply.is_error(), "{words:?}: {reply:?}");
        }
    }
    let mut queued: Option<Vec<&Request>> = None;
    let mut number = 0;
    for batch in scene.requests.split_inclusive(|request| request.pauses) {
        let bytes: Vec<u8> = batch.iter().flat_map(|request| encode(&request.words)).collect();
        for client in &mut clients {
            // A server that hung up is found out when its reply is read.
            let _ = client.try_send_raw(&bytes);
        }
        for request in batch {
            for _ in 0..request.replies {
                let [direct, proxied] = clients.each_mut().map(|client| {
                    client.try_reply_bytes().unwrap_or_else(|fault| match fault.kind() {
                        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => HUNG_UP.to_vec(),
                        _ => format!("no reply: {fault}").into_bytes(),
                    })
                });
                let compared = compare(request, queued.as_deref(), &direct, &proxied, heard);
                if let Err((command, direct, proxied)) = compared {
                    return Some(Difference { request: number, command, direct, proxied });
                }
                if direct == HUNG_UP {
                    return None;
                }
                match request.words[0].to_ascii_uppercase().as_slice() {
                    b"MULTI" if direct == b"+OK\r\n" => queued = Some(Vec::new()),
                    b"EXEC" | b"DISCARD" | b"RESET" => queued = None,
                    _ if direct == b"+QUEUED\r\n" => queued.iter_mut().for_each(|queued| queued.push(request)),
                    _ => {}
                }
            }
            number += 1;
        }
    }
    let stored = servers.stored_differently()?;
    Some(Difference { request: number, command: "(what is stored)".to_owned(), direct: String::new(), proxied: stored })
}

/// Whether two replies are the same; if not, the command and the two of them.
fn compare(
    request: &Request,
    queued: Option<&[&Request]>,
    direct: &[u8],
    proxied: &[u8],
    heard: &mut dyn FnMut(&str, bool),
) -> Result<(), (String, String, String)> {
    let parts = reduce::elements(direct).zip(reduce::elements(proxied));
    if let (Some(queued), Some((direct, proxied)), "EXEC") = (queued, parts, request.command.as_str())
        && direct.len() == proxied.len()
        && direct.len() == queued.len()
    {
        heard("EXEC", true);
        return iter::zip(queued, iter::zip(direct, proxied))
            .try_for_each(|(request, (direct, proxied))| compare(request, None, direct, proxied, heard));
    }
    let same = match reduced(request.rule(), direct, proxied) {
        _ if is_refused(&request.command) => is_error(proxied),
        (direct, proxied) => direct == proxied,
    };
    if !same {
        return Err((request.command.clone(), shown(direct), shown(proxied)));
    }
    if direct != b"+QUEUED\r\n" {
        heard(&request.command, !is_error(direct));
    }
    Ok(())
}

/// A difference as it is shown: with as few requests as still lead to it.
fn shortened(servers: &Servers, scene: Scene, first: Difference) -> String {
    let (seed, protocol) = (scene.seed, scene.protocol);
    let mut shortest = scene;
    shortest.requests.truncate(first.request + 1);
    let mut last = first;
    for length in [16, 4, 1, 1] {
        let mut at = shortest.requests.len();
        while at > 0 {
            let end = at.min(shortest.requests.len());
            at = at.saturating_sub(length);
            let mut shorter = shortest.clone();
            shorter.requests.drain(at..end);
            let difference = play(servers, &shorter, &mut |_, _| {});
            if let Some(difference) = difference.filter(|difference| difference.command == last.command) {
                (shortest, last) = (shorter, difference);
            }
        }
    }
    let requests: String = shortest.requests.iter().map(Request::shown).collect();
    let Difference { command, direct, proxied, .. } = last;
    format!("{command}, seed {seed}, RESP{protocol}:\n{requests}  Redis: {direct}\n  proxy: {proxied}\n")
}

fn is_refused(command: &str) -> bool {
    REFUSED.iter().any(|(name, _)| *name == command)
}

fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 300;
    match bytes.get(..SHOWN_MAX) {
        Some(head) => format!("{}… ({} bytes)", head.escape_ascii(), bytes.len()),
        None => bytes.escape_ascii().to_string(),
    }
}
