//! A load of clients that notice any wrong reply.
//!
//! Each client has one connection and keys of its own, so it knows what every read may answer: nil, or precisely the
//! value of its last acknowledged write. A value is a function of its key and version, so a reply that belongs to
//! somebody else cannot pass for the right one. A write that was not acknowledged may still happen, at any time; its
//! key is not used again. A closed connection, an error reply and a reply out of turn are faults.

use super::client::{Client, encode};
use super::value::Value;
use super::wait::{MachineStalls, SOON, wait_until};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Requests in one pipeline.
const PIPELINE_LEN: u64 = 50;
/// Every so many rounds of a client are a pipeline.
const PIPELINE_EVERY: u64 = 6;
/// Between two rounds of a client: enough to be a load, and little enough to leave the machine to the proxy.
const PAUSE: Duration = Duration::from_millis(8);
/// Faults that are kept; the first tells most.
const FAULTS_MAX: usize = 5;
/// Keys that each client works on at a time.
const KEYS_PER_CLIENT: u64 = 4;
/// The longest filler of a value, in bytes.
const FILLER_BYTES_MAX: u64 = 3000;

/// Clients at work until told to stop.
pub(crate) struct Load {
    ended: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    stalls: MachineStalls,
    clients: Vec<JoinHandle<()>>,
}

/// What the clients have seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Reads answered with the right value.
    pub(crate) hits: u64,
    /// Reads and writes answered with nil.
    pub(crate) nils: u64,
    /// The longest that a round took, from the first byte sent to the last reply read.
    pub(crate) worst: Duration,
    /// What should not have been.
    pub(crate) faults: Vec<String>,
}

impl Load {
    /// Lets `clients` clients loose on this address.
    pub(crate) fn start(address: SocketAddr, clients: u64) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let clients = (0..clients)
            .map(|number| {
                let worker = Worker::new(address, number, Arc::clone(&tally));
                let ended = Arc::clone(&ended);
                thread::spawn(move || worker.run(&ended))
            })
            .collect();
        Self { ended, tally, stalls: MachineStalls::watch(), clients }
    }

    /// What was seen so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.lock().expect("no client panics").clone()
    }

    /// Waits for `count` more right values, and says how long that took.
    #[track_caller]
    pub(crate) fn wait_for_hits(&self, deadline: Duration, count: u64) -> Duration {
        let before = self.tally().hits;
        wait_until(deadline, "clients hit again", || self.check().hits >= before + count)
    }

    /// Waits for `count` more nils.
    #[track_caller]
    pub(crate) fn wait_for_nils(&self, count: u64) {
        let before = self.tally().nils;
        wait_until(SOON, "clients get nil", || self.check().nils >= before + count);
    }

    /// Ends the load; fails on any fault, and when a round took longer than `bound` on a machine that kept up.
    #[track_caller]
    pub(crate) fn finish(mut self, bound: Duration) -> Tally {
        self.ended.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().expect("a client of the load does not panic");
        }
        let tally = self.check();
        let bound = bound + self.stalls.worst();
        assert!(tally.worst <= bound, "a round took {:?}, the bound is {bound:?}", tally.worst);
        tally
    }

    #[track_caller]
    fn check(&self) -> Tally {
        let tally = self.tally();
        assert!(tally.faults.is_empty(), "wrong replies: {:#?}", tally.faults);
        tally
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// One client.
struct Worker {
    address: SocketAddr,
    number: u64,
    entries: Vec<Own>,
    /// Counts up with every write and every ECHO; no two are alike.
    serial: u64,
    tally: Arc<Mutex<Tally>>,
}

/// What a client knows of one of its keys.
struct Own {
    name: String,
    /// The version that the server confirmed last.
    stored: Option<u64>,
    /// Whether a write since then was not confirmed.
    uncertain: bool,
}

/// A request and what its reply may be.
enum Asked {
    Read(usize),
    Write(usize, u64),
    Echo(String),
}

impl Worker {
    fn new(address: SocketAddr, number: u64, tally: Arc<Mutex<Tally>>) -> Self {
        let mut worker = Self { address, number, entries: Vec::new(), serial: 0, tally };
        for _ in 0..KEYS_PER_CLIENT {
            let entry = worker.fresh_key();
            worker.entries.push(entry);
        }
        worker
    }

    fn run(mut self, ended: &AtomicBool) {
        let mut client = Client::connect(self.address);
        let mut round = self.number;
        while !ended.load(Ordering::Relaxed) {
            round += 1;
            let len = if round.is_multiple_of(PIPELINE_EVERY) { PIPELINE_LEN } else { 1 };
            if let Err(fault) = self.play(&mut client, round, len) {
                let mut tally = self.tally.lock().expect("no client panics");
                if tally.faults.len() < FAULTS_MAX {
                    tally.faults.push(format!("client {}: {fault}", self.number));
                }
                return;
            }
            thread::sleep(PAUSE);
        }
    }

    /// One round: `len` requests in one write, then their replies.
    fn play(&mut self, client: &mut Client, round: u64, len: u64) -> Result<(), String> {
        let mut bytes = Vec::new();
        let asked: Vec<Asked> = (0..len).map(|step| self.ask(round + step, &mut bytes)).collect();
        let begun = Instant::now();
        client.try_send_raw(&bytes).map_err(|error| format!("the connection broke: {error}"))?;
        let (mut hits, mut nils) = (0, 0);
        for (step, asked) in asked.into_iter().enumerate() {
            let reply = client.try_reply().map_err(|error| format!("no reply {step} of {len}: {error}"))?;
            match self.judge(asked, &reply)? {
                Verdict::Hit => hits += 1,
                Verdict::Nil => nils += 1,
                Verdict::Done => {}
            }
        }
        let mut tally = self.tally.lock().expect("no client panics");
        tally.hits += hits;
        tally.nils += nils;
        tally.worst = tally.worst.max(begun.elapsed());
        drop(tally);
        self.retire_uncertain_keys();
        Ok(())
    }

    fn ask(&mut self, turn: u64, bytes: &mut Vec<u8>) -> Asked {
        let at = (turn / 8 % KEYS_PER_CLIENT) as usize;
        // Half of the keys are entries of the cache, half are plain keys.
        let cached = at.is_multiple_of(2);
        let name = self.entries[at].name.clone();
        self.serial += 1;
        let (words, asked) = match turn % 8 {
            0 | 4 => {
                let value = value_of(&name, self.serial);
                let words = match cached {
                    true => vec!["FCA.SET".into(), "load".into(), name, value],
                    false => vec!["SET".into(), name, value],
                };
                (words, Asked::Write(at, self.serial))
            }
            3 => {
                let token = format!("{}-{}", self.number, self.serial);
                (vec!["ECHO".into(), token.clone()], Asked::Echo(token))
            }
            _ => match cached {
                true => (vec!["FCA.GET".into(), "load".into(), name], Asked::Read(at)),
                false => (vec!["GET".into(), name], Asked::Read(at)),
            },
        };
        bytes.extend(encode::<String>(words));
        asked
    }

    fn judge(&mut self, asked: Asked, reply: &Value) -> Result<Verdict, String> {
        match (asked, reply) {
            (Asked::Echo(token), reply) if *reply == Value::bulk(&token) => Ok(Verdict::Done),
            (Asked::Write(at, _), Value::Nil) => {
                self.entries[at].uncertain = true;
                Ok(Verdict::Nil)
            }
            (Asked::Write(at, version), reply) if *reply == Value::ok() => {
                self.entries[at].stored = Some(version);
                Ok(Verdict::Done)
            }
            (Asked::Read(_), Value::Nil) => Ok(Verdict::Nil),
            (Asked::Read(at), Value::Bulk(value)) => {
                let own = &self.entries[at];
                match own.stored.filter(|_| !own.uncertain) {
                    Some(version) if *value == value_of(&own.name, version).into_bytes() => Ok(Verdict::Hit),
                    // Between an unconfirmed write and the end of the round, any version of this key will do.
                    _ if own.uncertain && value.starts_with(format!("{}#", own.name).as_bytes()) => Ok(Verdict::Done),
                    stored => Err(format!("{} holds version {stored:?} and read {reply:?}", own.name)),
                }
            }
            (Asked::Echo(token), reply) => Err(format!("ECHO {token} answered {reply:?}")),
            (Asked::Write(at, version), reply) => {
                Err(format!("writing version {version} of {} answered {reply:?}", self.entries[at].name))
            }
            (Asked::Read(at), reply) => Err(format!("reading {} answered {reply:?}", self.entries[at].name)),
        }
    }

    fn retire_uncertain_keys(&mut self) {
        for at in 0..self.entries.len() {
            if self.entries[at].uncertain {
                self.entries[at] = self.fresh_key();
            }
        }
    }

    fn fresh_key(&mut self) -> Own {
        self.serial += 1;
        Own { name: format!("load:{}:{}", self.number, self.serial), stored: None, uncertain: false }
    }
}

enum Verdict {
    Hit,
    Nil,
    Done,
}

/// The one right value of a version of a key; its length varies, so that replies start and end anywhere.
fn value_of(key: &str, version: u64) -> String {
    let filler = version.wrapping_mul(0x9e37_79b9_7f4a_7c15) % FILLER_BYTES_MAX;
    format!("{key}#{version}#{}", "v".repeat(filler as usize))
}
