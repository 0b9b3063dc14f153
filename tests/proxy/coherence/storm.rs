//! Everything at once: clients of two proxies and a writer that goes to Redis directly, over a handful of questions,
//! while links are cut, silenced and lost, and Redis and the proxies stand still.
//!
//! Nobody ever sees a version older than one he saw before, or than one whose write through the same proxy was
//! acknowledged before the read began; nothing written elsewhere stays unseen for longer than `link_timeout`, or,
//! while the link is well, than a push takes. `COHERENCE_SECONDS` sets how long it takes, `COHERENCE_SEED` what happens.

use super::versions::{Effect, Fault, Floor, PROXIES, Question, Seen, Side, Staleness};
use super::{hits, is_up, key_of, tracking_proxy};
use crate::support::client::{Client, encode};
use crate::support::fault::{Carries, Direction, Pipe};
use crate::support::proxy::Proxy;
use crate::support::random::Random;
use crate::support::redis::Redis;
use crate::support::value::Value;
use crate::support::wait::{MachineStalls, SOON, observe_for, wait_until};
use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::thread;
use std::time::{Duration, Instant};

/// Clients; half of them use one proxy, half the other.
const CLIENTS: usize = 8;
/// Connections of each: on any worker, in either protocol.
const CONNECTIONS: usize = 3;
/// Questions at a time.
const QUESTIONS: usize = 4;
/// How long the link may be silent.
const LINK_TIMEOUT: Duration = Duration::from_millis(400);
const NEAR_CACHE: &str = "link_timeout = \"400ms\"";
/// How long a direct write may stay unseen while the link is well: what a push may take on its way through a pipe on a
/// machine that is as busy as this test makes it. How long it takes otherwise is shown in `link`.
const PUSH_DELAY_MAX: Duration = Duration::from_millis(200);
/// How long the storm takes where nobody says.
const SECONDS: u64 = 5;
/// How long there is peace at the end, in which nearly all reads are near.
const QUIET: Duration = Duration::from_millis(800);

/// How many reads the quiet phase has at least.
const QUIET_READS_MIN: u64 = 100;

/// How much longer the storm may go on where it has not met enough.
const PATIENCE: Duration = Duration::from_secs(60);
/// What all threads of the storm share.
struct Storm {
    redis: Redis,
    pipes: [Pipe; PROXIES],
    proxies: [Proxy; PROXIES],
    questions: [RwLock<Arc<Question>>; QUESTIONS],
    numbers: AtomicU64,
    phase: AtomicUsize,
    /// Since when both links have been well without a break; none while a fault is on.
    well_since: Mutex<Option<Instant>>,
    stalls: MachineStalls,
    counts: Counts,
    /// By kind: how many there were, and the first of them.
    faults: Mutex<BTreeMap<String, (u64, String)>>,
}

/// What goes on.
const WILD: usize = 0;
const PEACE: usize = 1;
const OVER: usize = 2;

/// Sends everybody home, also where the test fails: a scope waits for all its threads.
struct Over<'s>(&'s Storm);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.phase.store(OVER, Ordering::SeqCst);
    }
}

/// What happened.
#[derive(Default)]
struct Counts {
    reads: AtomicU64,
    nils: AtomicU64,
    writes: AtomicU64,
    direct_writes: AtomicU64,
    retired: AtomicU64,
    reconnects: AtomicU64,
    quiet_reads: AtomicU64,
    /// Reads that were sent after a newer version was acknowledged elsewhere.
    stale: AtomicU64,
    stalest_micros: AtomicU64,
    /// Those among them while the links were well.
    stale_while_well: AtomicU64,
    stalest_while_well_micros: AtomicU64,
    faults: AtomicU64,
    cuts: [AtomicU64; CUTS.len()],
}

/// A fault, and how it ends.
struct Cut {
    what: &'static str,
    begin: fn(&Storm, usize),
    end: fn(&Storm, usize),
    /// How long it lasts, in percent of the link's timeout at most.
    percent_max: usize,
}

const CUTS: &[Cut] = &[
    Cut {
        what: "CLIENT KILL",
        begin: |storm, _| {
            let mut direct = storm.redis.client();
            let list = direct.say("CLIENT LIST");
            for line in list.text().lines().filter(|line| line.contains("name=fca-proxy-link ")) {
                let id = line.split(' ').find_map(|field| field.strip_prefix("id=")).expect("an id");
                direct.command(["CLIENT", "KILL", "ID", id]);
            }
        },
        end: |_, _| {},
        percent_max: 20,
    },
    Cut {
        what: "link cut",
        begin: |storm, at| storm.pipes[at].cut(Carries::Invalidations),
        end: |_, _| {},
        percent_max: 20,
    },
    Cut {
        what: "pushes dropped",
        begin: |storm, at| storm.pipes[at].hold_what(Carries::Invalidations, Direction::Replies),
        end: |storm, at| storm.pipes[at].go_on(Direction::Replies),
        percent_max: 200,
    },
    Cut {
        what: "pings dropped",
        begin: |storm, at| storm.pipes[at].hold_what(Carries::Invalidations, Direction::Requests),
        end: |storm, at| storm.pipes[at].go_on(Direction::Requests),
        percent_max: 200,
    },
    Cut {
        what: "replies dropped",
        begin: |storm, at| storm.pipes[at].hold_what(Carries::Requests, Direction::Replies),
        end: |storm, at| storm.pipes[at].go_on(Direction::Replies),
        percent_max: 50,
    },
    Cut {
        what: "all dropped",
        begin: |storm, at| {
            storm.pipes[at].hold(Direction::Requests);
            storm.pipes[at].hold(Direction::Replies);
        },
        end: |storm, at| {
            storm.pipes[at].go_on(Direction::Replies);
            storm.pipes[at].go_on(Direction::Requests);
        },
        percent_max: 150,
    },
    Cut { what: "all cut", begin: |storm, at| storm.pipes[at].cut_all(), end: |_, _| {}, percent_max: 20 },
    Cut {
        what: "link slow",
        begin: |storm, at| storm.pipes[at].delay_link(Direction::Replies, LINK_TIMEOUT / 8),
        end: |storm, at| storm.pipes[at].delay_link(Direction::Replies, Duration::ZERO),
        percent_max: 200,
    },
    Cut {
        what: "SIGSTOP Redis",
        begin: |storm, _| storm.redis.stop(),
        end: |storm, _| storm.redis.cont(),
        percent_max: 150,
    },
    Cut {
        what: "SIGSTOP proxy",
        begin: |storm, at| storm.proxies[at].freeze(),
        end: |storm, at| storm.proxies[at].thaw(),
        percent_max: 150,
    },
];

#[test]
fn nobody_ever_sees_what_was_written_over() {
    let seed = from_environment("COHERENCE_SEED", 1);
    let span = Duration::from_secs(from_environment("COHERENCE_SECONDS", SECONDS));
    let storm = Storm::gather();
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let storm = &storm;
            scope.spawn(move || Visitor::new(storm, number, seed).live());
        }
        scope.spawn(|| storm.write_directly(Random::seeded(seed ^ 0xd1)));
        let _over = Over(&storm);
        storm.rage(span, Random::seeded(seed ^ 0xfa));
        storm.rest();
    });
    println!("seed {seed}, {span:?}: {storm}");
    let faults = storm.faults.lock().expect("no visitor panics");
    assert!(faults.is_empty(), "seed {seed}, {storm}: {faults:#?}");
    storm.check_what_it_met();
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
        Err(_) => otherwise,
    }
}

impl Storm {
    fn gather() -> Self {
        let redis = Redis::start();
        let pipes = [Pipe::to(redis.address()), Pipe::to(redis.address())];
        let proxies = [0, 1].map(|at: usize| tracking_proxy(pipes[at].url(), NEAR_CACHE));
        let questions = [0, 1, 2, 3].map(|number| RwLock::new(Arc::new(question(&proxies[0], number))));
        Self {
            redis,
            pipes,
            proxies,
            questions,
            numbers: AtomicU64::new(QUESTIONS as u64),
            phase: AtomicUsize::new(WILD),
            well_since: Mutex::new(Some(Instant::now())),
            stalls: MachineStalls::watch(),
            counts: Counts::default(),
            faults: Mutex::default(),
        }
    }

    fn phase(&self) -> usize {
        self.phase.load(Ordering::SeqCst)
    }

    fn question(&self, slot: usize) -> Arc<Question> {
        Arc::clone(&self.questions[slot].read().expect("no visitor panics"))
    }

    /// Puts a new question in the place of one whose last write nobody knows the fate of.
    fn replace(&self, slot: usize, retired: &Question) {
        retired.retire();
        self.counts.retired.fetch_add(1, Ordering::Relaxed);
        let number = self.numbers.fetch_add(1, Ordering::SeqCst);
        // FCA.KEY asks nobody, but the proxy may stand still.
        let fresh = Arc::new(question(&self.proxies[0], number));
        *self.questions[slot].write().expect("no visitor panics") = fresh;
    }

    /// One fault after another, with a while of health between them.
    fn rage(&self, span: Duration, mut random: Random) {
        let ends = Instant::now() + span;
        let mut number = random.below(CUTS.len());
        // A busy machine is given as long as it takes to have met enough.
        while Instant::now() < ends || (!self.has_met_enough() && Instant::now() < ends + PATIENCE) {
            observe_for(Duration::from_millis(100 + random.below(150) as u64));
            let cut = &CUTS[number % CUTS.len()];
            let at = random.below(PROXIES);
            *self.well_since.lock().expect("no visitor panics") = None;
            (cut.begin)(self, at);
            observe_for(LINK_TIMEOUT * random.below(cut.percent_max) as u32 / 100);
            (cut.end)(self, at);
            self.counts.cuts[number % CUTS.len()].fetch_add(1, Ordering::Relaxed);
            self.wait_until_well();
            number += 1;
        }
    }

    fn wait_until_well(&self) {
        // A link that is up now may yet notice that it was lost: it is well once it has answered for its timeout.
        wait_until(SOON, "both links are up", || self.proxies.iter().all(is_up));
        observe_for(LINK_TIMEOUT);
        wait_until(SOON, "both links are up", || self.proxies.iter().all(is_up));
        *self.well_since.lock().expect("no visitor panics") = Some(Instant::now());
    }

    /// Reads alone, which the near caches can answer; then the end.
    fn rest(&self) {
        self.phase.store(PEACE, Ordering::SeqCst);
        let mut direct = self.redis.client();
        for slot in 0..QUESTIONS {
            // What is absent is nobody's near hit.
            let question = self.question(slot);
            let held = question.writing.lock().expect("no visitor panics");
            let effects = [Effect::Sets; 2];
            let version = question.draw(effects);
            let (values, keys) =
                ([0, 1].map(|side| question.value(side, version)), [0, 1].map(|side| question.key(side)));
            assert_eq!(direct.command(["MSET", keys[0], &values[0], keys[1], &values[1]]), Value::ok());
            question.acknowledge(version, effects, None);
            drop(held);
        }
        let so_far = || (self.proxies.iter().map(hits).sum::<f64>(), self.counts.reads.load(Ordering::SeqCst));
        // Anew, where the machine has kept the links from being heard.
        wait_until(PATIENCE, "the near caches answer most reads of the quiet phase", || {
            let before = so_far();
            observe_for(QUIET);
            let after = so_far();
            let reads = after.1 - before.1;
            self.counts.quiet_reads.store(reads, Ordering::SeqCst);
            reads >= QUIET_READS_MIN && (after.0 - before.0) * 2.0 >= reads as f64
        });
    }

    /// The writer that no proxy knows of.
    fn write_directly(&self, mut random: Random) {
        let mut direct = self.redis.client();
        let mut seen = Seen::default();
        while self.phase() == WILD {
            observe_for(Duration::from_millis(random.below(6) as u64));
            let slot = random.below(QUESTIONS);
            let question = self.question(slot);
            let Ok(held) = question.writing.try_lock() else { continue };
            if let Some(fate) = self.write(&mut random, &question, &held, &mut direct, None, &mut seen) {
                fate.unwrap_or_else(|error| panic!("Redis itself is not cut: {error}"));
                self.counts.direct_writes.fetch_add(1, Ordering::Relaxed);
            }
            if question.is_retired() {
                drop(held);
                self.fault("a direct write was refused", format!("of question {slot}"));
            }
        }
    }

    /// One write of any kind, by a proxy's client or directly. None: the question was retired meanwhile. Retires it
    /// where the fate of the write is unknown.
    fn write(
        &self,
        random: &mut Random,
        question: &Question,
        _held: &MutexGuard<'_, ()>,
        client: &mut Client,
        through: Option<usize>,
        seen: &mut Seen,
    ) -> Option<io::Result<()>> {
        if question.is_retired() {
            return None;
        }
        let side = random.below(2);
        let plan = Plan::random(random, side, through.is_some());
        let version = question.draw(plan.effects);
        let commands = plan.commands(question, side, version);
        let bytes: Vec<u8> = commands.iter().flat_map(encode).collect();
        let replies = client
            .try_send_raw(bytes)
            .and_then(|()| commands.iter().map(|_| client.try_reply()).collect::<io::Result<Vec<_>>>());
        match &replies {
            Ok(replies) if replies.iter().all(is_done) => {
                question.acknowledge(version, plan.effects, through);
                seen.wrote(question, plan.effects, version);
                if let Some(read) = plan.reads_back {
                    let floor = question.floor(seen, through.unwrap_or(0));
                    let value = Some(replies[read].bytes());
                    if let Err(Fault(kind, fault)) = question.judge_key(side, value, &floor, seen, plan.name) {
                        self.fault(&kind, fault);
                    }
                }
            }
            _ => question.retire(),
        }
        Some(replies.map(drop))
    }

    fn fault(&self, kind: &str, fault: String) {
        self.counts.faults.fetch_add(1, Ordering::SeqCst);
        let mut faults = self.faults.lock().expect("no visitor panics");
        faults.entry(kind.to_owned()).or_insert_with(|| (0, fault)).0 += 1;
    }

    /// Takes note of one answer.
    fn judged(&self, what: &str, verdict: Result<Option<Staleness>, Fault>) {
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        let stale = match verdict {
            Err(Fault(kind, fault)) => return self.fault(&kind, fault),
            Ok(None) => return,
            Ok(Some(stale)) => stale,
        };
        let counts = &self.counts;
        let micros = stale.by.as_micros() as u64;
        counts.stale.fetch_add(1, Ordering::Relaxed);
        counts.stalest_micros.fetch_max(micros, Ordering::Relaxed);
        let excused = 2 * self.stalls.worst();
        if stale.by > LINK_TIMEOUT + excused {
            self.fault("stale past the link's timeout", format!("{what}: by {:?}", stale.by));
        }
        let well_since = *self.well_since.lock().expect("no visitor panics");
        if well_since.is_some_and(|well| well < stale.since) {
            counts.stale_while_well.fetch_add(1, Ordering::Relaxed);
            counts.stalest_while_well_micros.fetch_max(micros, Ordering::Relaxed);
            if stale.by > PUSH_DELAY_MAX + excused {
                self.fault("stale while the link was well", format!("{what}: by {:?}", stale.by));
            }
        }
    }

    /// What a storm that met nothing would not have.
    #[track_caller]
    fn check_what_it_met(&self) {
        assert!(self.has_met_enough(), "{self}");
        assert!(self.counts.quiet_reads.load(Ordering::SeqCst) >= QUIET_READS_MIN, "{self}");
    }

    fn has_met_enough(&self) -> bool {
        let counts = &self.counts;
        let met = |count: &AtomicU64| count.load(Ordering::SeqCst);
        met(&counts.reads) >= 1000
            && met(&counts.writes) >= 100
            && met(&counts.direct_writes) >= 50
            && counts.cuts.iter().map(met).sum::<u64>() >= 3
    }
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = |count: &AtomicU64| count.load(Ordering::SeqCst);
        let counts = &self.counts;
        let near: f64 = self.proxies.iter().map(hits).sum();
        write!(
            f,
            "{} reads checked ({} nil), {near} near hits, {} writes, {} direct writes, {} questions retired, {} reconnects, \
             {} reads behind a write elsewhere (by {:?} at most; {} while the links were well, by {:?} at most), worst stall {:?}, \
             {} faults; cuts:",
            met(&counts.reads),
            met(&counts.nils),
            met(&counts.writes),
            met(&counts.direct_writes),
            met(&counts.retired),
            met(&counts.reconnects),
            met(&counts.stale),
            Duration::from_micros(met(&counts.stalest_micros)),
            met(&counts.stale_while_well),
            Duration::from_micros(met(&counts.stalest_while_well_micros)),
            self.stalls.worst(),
            met(&counts.faults),
        )?;
        CUTS.iter().zip(&counts.cuts).try_for_each(|(cut, count)| write!(f, " {} {},", met(count), cut.what))
    }
}

fn question(proxy: &Proxy, number: u64) -> Question {
    let texts = [format!("how do i open account {number}"), format!("How do I open account {number}?")];
    let keys = [key_of(proxy, &texts[0]), key_of(proxy, &texts[1])];
    Question::new(number, keys, texts)
}

/// Whether a command was carried out: an outage is a nil, and nothing here may fail.
fn is_done(reply: &Value) -> bool {
    match reply {
        Value::Array(items) => items.iter().all(is_done),
        other => !other.is_nil() && !other.is_error(),
    }
}

/// One kind of write.
struct Plan {
    name: &'static str,
    effects: [Effect; 2],
    /// Which reply is the value that was just written.
    reads_back: Option<usize>,
}

/// Writes that any client of Redis may do.
const PLAIN: &[&str] = &[
    "SET",
    "SET",
    "SETEX",
    "PSETEX",
    "GETSET",
    "MSET",
    "DEL",
    "UNLINK",
    "PEXPIRE",
    "RENAME",
    "RENAME away",
    "COPY",
    "EVAL",
    "EVAL undeclared",
    "MULTI",
    "MULTI EVAL",
    "APPEND",
    "SET GET",
    "EXPIRE",
    "SET WATCH",
];

/// Those of the proxy's clients.
const FCA: &[&str] = &["FCA.SET", "FCA.SET", "FCA.SET", "FCA.MSET", "FCA.DEL", "FCA.SET GET", "FCA MULTI"];

impl Plan {
    fn random(random: &mut Random, side: Side, through_a_proxy: bool) -> Self {
        let name = match through_a_proxy && random.below(2) == 0 {
            true => random.one_of(FCA),
            false => random.one_of(PLAIN),
        };
        let mut effects = [Effect::None; 2];
        match name {
            "MSET" => effects = [Effect::Sets; 2],
            "FCA.DEL" => effects = [Effect::Removes; 2],
            "DEL" | "UNLINK" | "PEXPIRE" | "RENAME away" => effects[side] = Effect::Removes,
            // Changes no value, but must not bring an old one back.
            "EXPIRE" => {}
            name => {
                effects[side] = Effect::Sets;
                if name.starts_with("FCA") {
                    effects[1 - side] = Effect::Removes;
                }
            }
        }
        let reads_back = match name {
            "SET GET" | "FCA.SET GET" => Some(1),
            _ => None,
        };
        Self { name, effects, reads_back }
    }

    fn commands(&self, question: &Question, side: Side, version: u64) -> Vec<Vec<String>> {
        let (key, text) = (question.key(side), question.text(side));
        let value = &question.value(side, version);
        let set = |command: &'static str| vec![command, key, value];
        let fca_set = vec!["FCA.SET", "faq", text, value, "EX", "80000"];
        let (other, other_value) = (question.key(1 - side), &question.value(1 - side, version));
        let staged = &format!("staged:{{{key}}}");
        let eval = "return redis.call('SET', KEYS[1], ARGV[1])";
        let eval_undeclared = "return redis.call('SET', ARGV[1], ARGV[2])";
        let commands: Vec<Vec<&str>> = match self.name {
            "SET" => vec![set("SET")],
            "SETEX" => vec![vec!["SETEX", key, "80000", value]],
            "PSETEX" => vec![vec!["PSETEX", key, "80000000", value]],
            // So that there is something to get.
            "GETSET" => vec![set("SET"), set("GETSET")],
            "MSET" => vec![vec!["MSET", key, value, other, other_value]],
            "DEL" => vec![vec!["DEL", key]],
            "UNLINK" => vec![vec!["UNLINK", "nothing", key]],
            "PEXPIRE" => vec![vec!["PEXPIRE", key, "-1"]],
            "EXPIRE" => vec![vec!["EXPIRE", key, "80000"]],
            "RENAME" => vec![vec!["SET", staged, value], vec!["RENAME", staged, key]],
            // It must be there to be renamed.
            "RENAME away" => vec![vec!["APPEND", key, value], vec!["RENAME", key, staged]],
            "COPY" => vec![vec!["SET", staged, value], vec!["COPY", staged, key, "REPLACE"]],
            "EVAL" => vec![vec!["EVAL", eval, "1", key, value]],
            "EVAL undeclared" => vec![vec!["EVAL", eval_undeclared, "0", key, value]],
            "MULTI" => vec![vec!["MULTI"], set("SET"), vec!["GET", key], vec!["EXEC"]],
            "MULTI EVAL" => vec![vec!["MULTI"], vec!["EVAL", eval_undeclared, "0", key, value], vec!["EXEC"]],
            "APPEND" => vec![set("APPEND")],
            "SET GET" => vec![set("SET"), vec!["GET", key]],
            "SET WATCH" => vec![vec!["WATCH", key], set("SET"), vec!["UNWATCH"]],
            "FCA.SET" => vec![fca_set],
            "FCA.MSET" => vec![vec!["FCA.MSET", "faq", text, value]],
            "FCA.DEL" => vec![vec!["FCA.DEL", "faq", text]],
            "FCA.SET GET" => vec![fca_set, vec!["FCA.GET", "faq", text]],
            "FCA MULTI" => vec![vec!["MULTI"], fca_set, vec!["EXEC"]],
            name => panic!("no such write: {name}"),
        };
        commands.into_iter().map(|command| command.into_iter().map(str::to_owned).collect()).collect()
    }
}

/// One client: some connections to one proxy, one request after the other.
struct Visitor<'s> {
    storm: &'s Storm,
    proxy: usize,
    random: Random,
    connections: Vec<Client>,
    seen: Seen,
}

/// What was asked, to be compared with the answer.
struct Asked {
    question: Arc<Question>,
    side: Side,
    floor: Floor,
    /// Whether by its key, or as a question.
    by_key: bool,
}

impl<'s> Visitor<'s> {
    fn new(storm: &'s Storm, number: usize, seed: u64) -> Self {
        let proxy = number % PROXIES;
        let connections = (0..CONNECTIONS).map(|at| connect(storm, proxy, at)).collect();
        let random = Random::seeded(seed * 1000 + number as u64);
        Self { storm, proxy, random, connections, seen: Seen::default() }
    }

    fn live(mut self) {
        loop {
            let phase = self.storm.phase();
            let at = self.random.below(CONNECTIONS);
            let outcome = match self.random.below(10) {
                _ if phase == OVER => return,
                0..=2 if phase == WILD => self.write(at),
                3 | 4 => self.read_many(at),
                5 if phase == WILD => self.read_in_transaction(at),
                _ => self.read_one(at),
            };
            if outcome.is_err() {
                self.storm.counts.reconnects.fetch_add(1, Ordering::Relaxed);
                self.connections[at] = connect(self.storm, self.proxy, at);
            }
        }
    }

    fn write(&mut self, at: usize) -> io::Result<()> {
        let slot = self.random.below(QUESTIONS);
        let question = self.storm.question(slot);
        // Somebody else's turn is no reason to wait.
        let Ok(held) = question.writing.try_lock() else { return Ok(()) };
        let client = &mut self.connections[at];
        let fate = self.storm.write(&mut self.random, &question, &held, client, Some(self.proxy), &mut self.seen);
        let Some(fate) = fate else { return Ok(()) };
        self.storm.counts.writes.fetch_add(1, Ordering::Relaxed);
        if question.is_retired() {
            self.storm.replace(slot, &question);
            self.seen.forget_before(self.storm.numbers.load(Ordering::SeqCst).saturating_sub(1000));
            // An EXEC that was not carried out may have left its connection in a transaction.
            return Err(io::ErrorKind::Interrupted.into());
        }
        fate
    }

    fn ask(&mut self, by_key: bool) -> (Asked, Vec<String>) {
        let question = self.storm.question(self.random.below(QUESTIONS));
        let side = self.random.below(2);
        let words = match by_key {
            true => vec!["GET", question.key(side)],
            false => vec!["FCA.GET", "faq", question.text(side)],
        };
        let command = words.into_iter().map(str::to_owned).collect();
        let floor = question.floor(&self.seen, self.proxy);
        (Asked { question, side, floor, by_key }, command)
    }

    fn judge(&mut self, what: &'static str, asked: &Asked, reply: &Value) {
        let Asked { question, side, floor, by_key } = asked;
        let value = match reply {
            Value::Bulk(value) => Some(value.as_slice()),
            Value::Nil => {
                self.storm.counts.nils.fetch_add(1, Ordering::Relaxed);
                // What is not answered is nil, too: it says nothing while a fault is on.
                if self.storm.well_since.lock().expect("no visitor panics").is_none_or(|well| well > floor.asked()) {
                    return;
                }
                None
            }
            other => return self.storm.fault("an odd reply", format!("{what}: {other:?}")),
        };
        let verdict = match by_key {
            true => question.judge_key(*side, value, floor, &mut self.seen, what),
            false => question.judge_question(*side, value, floor, &mut self.seen, what),
        };
        let verdict = verdict.map_err(|Fault(kind, text)| {
            let mut direct = self.storm.redis.client();
            let held = [0, 1].map(|side| direct.command(["GET", question.key(side)]));
            Fault(kind, format!("{text}; asked for {side} {:?} ago, Redis holds {held:?}", floor.asked().elapsed()))
        });
        self.storm.judged(what, verdict);
    }

    fn read_one(&mut self, at: usize) -> io::Result<()> {
        let by_key = self.random.below(2) == 0;
        let (asked, command) = self.ask(by_key);
        let reply = self.connections[at].try_command(&command)?;
        self.judge(if by_key { "GET" } else { "FCA.GET" }, &asked, &reply);
        Ok(())
    }

    /// Several reads in one pipeline, or in one FCA.MGET.
    fn read_many(&mut self, at: usize) -> io::Result<()> {
        let reads = 2 + self.random.below(4);
        if self.random.below(3) == 0 {
            let (asked, commands): (Vec<_>, Vec<_>) = (0..reads).map(|_| self.ask(false)).unzip();
            let texts = commands.iter().map(|command| command[2].as_str());
            let mget: Vec<&str> = ["FCA.MGET", "faq"].into_iter().chain(texts).collect();
            let reply = self.connections[at].try_command(mget)?;
            if let Value::Array(values) = &reply {
                for (asked, value) in asked.iter().zip(values) {
                    self.judge("FCA.MGET", asked, value);
                }
            }
            return Ok(());
        }
        let (mut asked, commands): (Vec<_>, Vec<_>) = (0..reads)
            .map(|_| {
                let by_key = self.random.below(2) == 0;
                self.ask(by_key)
            })
            .unzip();
        let bytes: Vec<u8> = commands.iter().flat_map(encode).collect();
        self.connections[at].try_send_raw(bytes)?;
        for asked in &mut asked {
            let reply = self.connections[at].try_reply()?;
            asked.question.raise(&mut asked.floor, &self.seen);
            self.judge("a read in a pipeline", asked, &reply);
        }
        Ok(())
    }

    /// Reads that the near cache does not answer, but must not fall behind.
    fn read_in_transaction(&mut self, at: usize) -> io::Result<()> {
        let (asked, command) = self.ask(true);
        let mget = vec!["MGET".to_owned(), command[1].clone()];
        let transaction = [vec!["MULTI".to_owned()], command, vec!["EXEC".to_owned()]];
        let (commands, last): (&[Vec<String>], &str) = match self.random.below(2) {
            0 => (&transaction, "EXEC"),
            _ => (&[mget], "MGET"),
        };
        let bytes: Vec<u8> = commands.iter().flat_map(encode).collect();
        self.connections[at].try_send_raw(bytes)?;
        let mut reply = Value::Nil;
        for _ in commands {
            reply = self.connections[at].try_reply()?;
        }
        if let Value::Array(values) = &reply {
            self.judge(last, &asked, &values[0]);
        }
        Ok(())
    }
}

fn connect(storm: &Storm, proxy: usize, at: usize) -> Client {
    match at % 2 {
        0 => storm.proxies[proxy].client(),
        _ => storm.proxies[proxy].client_resp3(),
    }
}
