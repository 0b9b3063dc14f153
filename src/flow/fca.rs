//! The FCA family: from a namespace and a question to commands on keys, and from their replies to answers.
//!
//! Guarantees: a hit costs one GET; an entry is written with its time to live in one command; a question is never
//! asked of the upstream in clear; an upstream fault is a nil. Commands that concern one entry are carried out in the
//! order of the session, also where a look-up takes two steps. Leaves FCA.FLUSH to `flush.rs`, the embedded store's
//! way to `fca/embedded.rs`, transactions to `fca/queued.rs`.

mod embedded;
mod queued;

pub(super) use queued::queue;

use super::gather::Gather;
use super::request::{Call, Handled};
use super::settings::{Namespace, Settings};
use super::step::{Step, To, Turn, Waiter, is_outage};
use super::{Link, flush, introspect};
use crate::command::Fca;
use crate::fca::{self, Expiry, Form, Lifetime, Query, Request, TtlBounds, Write};
use crate::key::{self, Digest, ParamsError};
use crate::metrics::{GetResult, Limit, NamespaceLabel, Outcome, SetResult};
use crate::resp::{ReplyError, elements, encode};
use crate::session::Session;
use crate::upstream::Lane;
use std::hash::BuildHasher;
use std::rc::Rc;

/// A GET, TTL or PTTL of one spelling of an entry.
pub struct Lookup {
    namespace: Rc<Namespace>,
    /// How much of the note is the key's prefix; the rest is the normalised question.
    prefix_bytes: u32,
    spelling: Spelling,
    ask: Ask,
}

/// Which spelling of an entry is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// As it was asked, and there is another.
    Exact,
    /// The only one left.
    Last,
}

/// What is asked of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Value,
    Ttl,
    Pttl,
}

impl Ask {
    fn command(self) -> &'static [u8] {
        match self {
            Self::Value => b"GET",
            Self::Ttl => b"TTL",
            Self::Pttl => b"PTTL",
        }
    }

    /// Whether the upstream says that there is no such key.
    fn is_absent(self, frame: &[u8]) -> bool {
        match self {
            Self::Value => frame == b"$-1\r\n" || frame == b"_\r\n",
            Self::Ttl | Self::Pttl => frame == b":-2\r\n",
        }
    }
}

/// One entry: where it stands upstream.
struct Entry {
    namespace: Rc<Namespace>,
    /// The key's prefix and, behind it, the text that was hashed.
    text: Vec<u8>,
    prefix_bytes: usize,
    digest: Digest,
    /// Whether it may have a second spelling.
    has_twin: bool,
}

impl Entry {
    fn prefix(&self) -> &[u8] {
        &self.text[..self.prefix_bytes]
    }

    fn key(&self) -> Vec<u8> {
        [self.prefix(), &self.digest].concat()
    }

    /// The key of the other spelling.
    fn twin_key(&self) -> Option<Vec<u8>> {
        if !self.has_twin {
            return None;
        }
        let digest = twin_digest(&self.namespace, &self.text[self.prefix_bytes..])?;
        Some([self.prefix(), &digest].concat())
    }

    /// What both spellings have in common, as a hash. Two entries that share one only wait for each other.
    fn identity(&self) -> u64 {
        let end = self.text.iter().rposition(|&b| b != b'?' && b != b' ').map_or(0, |last| last + 1);
        foldhash::fast::FixedState::default().hash_one(&self.text[..end.max(self.prefix_bytes)])
    }
}

fn twin_digest(namespace: &Namespace, normalised: &[u8]) -> Option<Digest> {
    let mut twin = Vec::with_capacity(normalised.len() + 1);
    key::twin(normalised, &mut twin).then(|| key::digest(&twin, namespace.secret.as_ref()))
}

/// Derives an entry's key; its text stands in `text`, which is cleared first.
fn derive(call: &Call<'_>, name: &[u8], query: Query<'_>, mut text: Vec<u8>) -> Result<Entry, ReplyError> {
    let settings = call.settings;
    let namespace = Rc::clone(settings.namespace(name)?);
    text.clear();
    text.extend_from_slice(&settings.key_prefix);
    text.extend_from_slice(name);
    text.push(b':');
    let prefix_bytes = text.len();
    let (Query::Text(bytes) | Query::Params(bytes)) = query;
    if bytes.len() > settings.limits.query_bytes_max {
        call.client.core.recorder.limit(Limit::QueryBytes);
        return Err(ReplyError::new(format!(
            "ERR query exceeds limits.query_bytes_max ({} bytes)",
            settings.limits.query_bytes_max
        )));
    }
    let has_twin = match query {
        Query::Text(bytes) => {
            key::normalise(bytes, &mut text).map_err(|_| ReplyError::new("ERR query is not valid UTF-8"))?;
            namespace.twins
        }
        Query::Params(json) => {
            key::canonical_params(json, &mut text).map_err(|fault| {
                if matches!(fault, ParamsError::TooDeep { .. }) {
                    call.client.core.recorder.limit(Limit::Depth);
                }
                ReplyError::new(format!("ERR PARAMS is not JSON: {fault}"))
            })?;
            false
        }
    };
    let digest = key::digest(&text[prefix_bytes..], namespace.secret.as_ref());
    Ok(Entry { namespace, text, prefix_bytes, digest, has_twin })
}

/// Carries out an FCA command outside a transaction.
pub(super) fn handle(call: &Call<'_>, session: &mut Session, which: Fca, arguments: &[&[u8]]) -> Handled {
    match fca::parse(which, arguments).and_then(|request| carry_out(call, session, &request)) {
        Ok(handled) => handled,
        Err(error) => call.reject(session, &error),
    }
}

fn carry_out(call: &Call<'_>, session: &mut Session, request: &Request<'_>) -> Result<Handled, ReplyError> {
    match *request {
        Request::Get { namespace, query } => look_up(call, session, namespace, query, Ask::Value),
        Request::Ttl { namespace, query } => look_up(call, session, namespace, query, Ask::Ttl),
        Request::Pttl { namespace, query } => look_up(call, session, namespace, query, Ask::Pttl),
        Request::Mget { namespace, queries } => look_up_all(call, session, namespace, queries),
        Request::Set { namespace, query, value, expiry } => {
            let items = [(query, value)];
            store(call, session, namespace, &items, expiry, Answer::Single)
        }
        Request::Mset { namespace, pairs } => {
            let items: Vec<_> = pairs.chunks_exact(2).map(|pair| (Query::Text(pair[0]), pair[1])).collect();
            store(call, session, namespace, &items, None, Answer::Count)
        }
        Request::Del { namespace, queries, form } => delete(call, session, namespace, queries, form),
        Request::Key { namespace, query } => {
            let entry = derive(call, namespace, query, Vec::new())?;
            Ok(call.say(session, Outcome::Ok, |out| encode::bulk(out, &entry.key())))
        }
        Request::Flush { namespace, glob } => flush::start(call, session, namespace, glob),
        Request::Available => Ok(available(call, session)),
        Request::Stats { namespace } => introspect::stats(call, session, namespace),
        Request::Help => Ok(call.say(session, Outcome::Ok, fca::append_help)),
    }
}

fn available(call: &Call<'_>, session: &mut Session) -> Handled {
    match call.link {
        Link::Embedded(_) => call.say(session, Outcome::Ok, |out| encode::integer(out, 1)),
        Link::Lane(lane, _) if lane.accepts().is_ok() => {
            let slot = session.replies.open();
            // A server that can't serve keys at present (LOADING, MASTERDOWN, CLUSTERDOWN) may still answer a PING.
            lane.push_with(call.deadline, call.waiter(To::Slot(slot), Step::Available), &[], |out| {
                encode::command(out, &[b"EXISTS", &call.settings.key_prefix]);
            });
            Handled::Done
        }
        _ => call.say(session, Outcome::Ok, |out| encode::integer(out, 0)),
    }
}

/// FCA.GET, FCA.TTL, FCA.PTTL.
fn look_up(
    call: &Call<'_>,
    session: &mut Session,
    name: &[u8],
    query: Query<'_>,
    ask: Ask,
) -> Result<Handled, ReplyError> {
    let entry = derive(call, name, query, call.client.core.text.take())?;
    let recorder = &call.client.core.recorder;
    if !entry.namespace.enabled {
        count_get(call, ask, entry.namespace.label, GetResult::Disabled);
        return Ok(say_nothing_there(call, session, ask));
    }
    match call.link {
        Link::Embedded(store) => embedded::look_up(call, session, store, &entry, ask),
        Link::Lane(lane, _) if lane.accepts().is_ok() => {
            let slot = session.replies.open();
            send_lookup(call, session, lane, To::Slot(slot), &entry, ask);
        }
        Link::Lane(..) | Link::Disabled | Link::Unreachable => {
            let disabled = matches!(call.link, Link::Disabled);
            let result = if disabled { GetResult::Disabled } else { GetResult::Unreachable };
            count_get(call, ask, entry.namespace.label, result);
            recorder.request(call.family, Outcome::Unreachable, Default::default());
            call.client.say(session, |out| out.extend_from_slice(encode::nil_frame(call.protocol)));
        }
    }
    call.client.core.text.replace(entry.text);
    Ok(Handled::Done)
}

fn say_nothing_there(call: &Call<'_>, session: &mut Session, ask: Ask) -> Handled {
    match ask {
        Ask::Value => call.say(session, Outcome::Ok, |out| encode::nil(out, call.protocol)),
        Ask::Ttl | Ask::Pttl => call.say(session, Outcome::Ok, |out| encode::integer(out, -2)),
    }
}

fn count_get(call: &Call<'_>, ask: Ask, label: NamespaceLabel, result: GetResult) {
    if ask == Ask::Value {
        call.client.core.recorder.fca_get(label, result);
    }
}

/// Asks for the exact spelling; the note lets the reply's turn derive the other.
fn send_lookup(call: &Call<'_>, session: &mut Session, lane: &Lane<Waiter>, to: To, entry: &Entry, ask: Ask) {
    let spelling = if entry.has_twin { Spelling::Exact } else { Spelling::Last };
    let note: &[u8] = if entry.has_twin { &entry.text } else { &[] };
    if entry.has_twin {
        session.lookups.push_back(entry.identity());
    }
    let prefix_bytes = entry.prefix_bytes as u32;
    let lookup = Lookup { namespace: Rc::clone(&entry.namespace), prefix_bytes, spelling, ask };
    lane.push_with(call.deadline, call.waiter(to, Step::Lookup(lookup)), note, |out| {
        write_lookup(out, ask, entry.prefix(), &entry.digest);
    });
}

fn write_lookup(out: &mut Vec<u8>, ask: Ask, prefix: &[u8], digest: &Digest) {
    encode::header(out, b'*', 2);
    encode::bulk(out, ask.command());
    write_key(out, prefix, digest);
}

fn write_key(out: &mut Vec<u8>, prefix: &[u8], digest: &Digest) {
    encode::header(out, b'$', (prefix.len() + digest.len()) as u64);
    out.extend_from_slice(prefix);
    out.extend_from_slice(digest);
    out.extend_from_slice(b"\r\n");
}

/// The upstream said whether an entry is there.
pub(super) fn on_looked_up(turn: Turn<'_>, lookup: Lookup, lane: &Rc<Lane<Waiter>>, note: &[u8], frame: &[u8]) {
    let both = if frame[0] == b'*' { elements(frame).unwrap_or_default() } else { Vec::new() };
    let frame =
        both.iter().find(|value| !lookup.ask.is_absent(value)).or_else(|| both.first()).copied().unwrap_or(frame);
    let absent = lookup.ask.is_absent(frame);
    if lookup.spelling == Spelling::Exact {
        if absent && lane.accepts().is_ok() {
            return ask_for_twin(turn, lookup, lane, note);
        }
        // Replies come in the order of the questions, so the oldest look-up is this one.
        turn.session.lookups.pop_front();
    }
    finish_lookup(turn, &lookup, frame, absent);
}

fn ask_for_twin(turn: Turn<'_>, lookup: Lookup, lane: &Rc<Lane<Waiter>>, note: &[u8]) {
    let (prefix, normalised) = note.split_at(lookup.prefix_bytes as usize);
    let Some(digest) = twin_digest(&lookup.namespace, normalised) else {
        turn.session.lookups.pop_front();
        let frame: &[u8] = if lookup.ask == Ask::Value { encode::nil_frame(turn.session.protocol) } else { b":-2\r\n" };
        return finish_lookup(turn, &lookup, frame, true);
    };
    let ask = lookup.ask;
    // The command is sent now: what the session writes from here on comes behind it.
    turn.session.lookups.pop_front();
    let exact = key::digest(normalised, lookup.namespace.secret.as_ref());
    let step = Step::Lookup(Lookup { spelling: Spelling::Last, ..lookup });
    let waiter = Waiter { client: Rc::clone(turn.client), to: turn.to, step, family: turn.family };
    lane.push_with(turn.deadline, waiter, &[], |out| match ask {
        // Both in one command: in between, somebody may have stored the exact spelling and removed the other.
        Ask::Value => {
            encode::header(out, b'*', 3);
            encode::bulk(out, b"MGET");
            write_key(out, prefix, &digest);
            write_key(out, prefix, &exact);
        }
        Ask::Ttl | Ask::Pttl => write_lookup(out, ask, prefix, &digest),
    });
}

fn finish_lookup(turn: Turn<'_>, lookup: &Lookup, frame: &[u8], absent: bool) {
    let (result, outcome) = match frame[0] {
        b'-' if is_outage(frame) => (GetResult::Unreachable, Outcome::Unreachable),
        b'-' => (GetResult::Error, Outcome::Error),
        _ if absent => (GetResult::Miss, Outcome::Ok),
        _ => (GetResult::Hit, Outcome::Ok),
    };
    if lookup.ask == Ask::Value {
        turn.client.core.recorder.fca_get(lookup.namespace.label, result);
    }
    if frame[0] == b'-' { turn.finish_nil(outcome) } else { turn.finish(frame, outcome) }
}

/// The upstream did not say whether an entry is there.
pub(super) fn on_lookup_failed(turn: Turn<'_>, lookup: &Lookup) {
    if lookup.spelling == Spelling::Exact {
        turn.session.lookups.pop_front();
    }
    if lookup.ask == Ask::Value {
        turn.client.core.recorder.fca_get(lookup.namespace.label, GetResult::Unreachable);
    }
    turn.finish_nil(Outcome::Unreachable);
}

/// FCA.MGET.
fn look_up_all(call: &Call<'_>, session: &mut Session, name: &[u8], queries: &[&[u8]]) -> Result<Handled, ReplyError> {
    let entries: Vec<Entry> =
        queries.iter().map(|query| derive(call, name, Query::Text(query), Vec::new())).collect::<Result<_, _>>()?;
    let enabled = entries.first().is_some_and(|entry| entry.namespace.enabled);
    match call.link {
        Link::Embedded(store) if enabled => embedded::look_up_all(call, session, store, &entries),
        Link::Lane(lane, _) if enabled && lane.accepts().is_ok() => {
            let slot = session.replies.open();
            let gather = Gather::array(slot, call.family, call.deadline, entries.len() as u32);
            for (index, entry) in entries.iter().enumerate() {
                send_lookup(call, session, lane, To::Part(Rc::clone(&gather), index as u32), entry, Ask::Value);
            }
        }
        _ => {
            let disabled = !enabled || matches!(call.link, Link::Disabled);
            let result = if disabled { GetResult::Disabled } else { GetResult::Unreachable };
            entries.iter().for_each(|entry| count_get(call, Ask::Value, entry.namespace.label, result));
            let outcome = if enabled { Outcome::Unreachable } else { Outcome::Ok };
            call.say(session, outcome, |out| {
                encode::header(out, b'*', entries.len() as u64);
                entries.iter().for_each(|_| encode::nil(out, call.protocol));
            });
        }
    }
    Ok(Handled::Done)
}

/// How a command that stores is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// OK, or nil.
    Single,
    /// How many were stored.
    Count,
}

/// FCA.SET, FCA.MSET.
fn store(
    call: &Call<'_>,
    session: &mut Session,
    name: &[u8],
    items: &[(Query<'_>, &[u8])],
    expiry: Option<Expiry>,
    answer: Answer,
) -> Result<Handled, ReplyError> {
    let entries = derive_all_to_store(call, name, items)?;
    if entries.iter().any(|entry| waits_for_lookup(session, entry)) {
        return Ok(Handled::WaitUntilAnswered);
    }
    let Some(first) = entries.first() else { return Err(ReplyError::syntax()) };
    let namespace = Rc::clone(&first.namespace);
    let recorder = &call.client.core.recorder;
    let write = write_within(call, &namespace, expiry, entries.len());
    match call.link {
        Link::Embedded(store) if namespace.enabled => {
            embedded::store(call, session, store, &entries, items, &write, answer);
        }
        Link::Lane(lane, _) if namespace.enabled && lane.accepts().is_ok() => {
            let slot = session.replies.open();
            let gather = (answer == Answer::Count)
                .then(|| Gather::count(slot, call.family, call.deadline, entries.len() as u32));
            for (index, (entry, (_, value))) in entries.iter().zip(items).enumerate() {
                let to = gather.as_ref().map_or(To::Slot(slot), |gather| To::Part(Rc::clone(gather), index as u32));
                send_store(call, lane, to, entry, value, &write);
            }
        }
        _ => {
            let disabled = !namespace.enabled || matches!(call.link, Link::Disabled);
            let result = if disabled { SetResult::Disabled } else { SetResult::Unreachable };
            entries.iter().for_each(|_| recorder.fca_set(namespace.label, result));
            let outcome = if namespace.enabled { Outcome::Unreachable } else { Outcome::Ok };
            call.say(session, outcome, |out| encode::nil(out, call.protocol));
        }
    }
    Ok(Handled::Done)
}

fn derive_all_to_store(call: &Call<'_>, name: &[u8], items: &[(Query<'_>, &[u8])]) -> Result<Vec<Entry>, ReplyError> {
    let value_bytes_max = call.settings.limits.value_bytes_max;
    items
        .iter()
        .map(|(query, value)| {
            if value.len() > value_bytes_max {
                call.client.core.recorder.limit(Limit::ValueBytes);
                let text = format!("ERR value exceeds limits.value_bytes_max ({value_bytes_max} bytes)");
                return Err(ReplyError::new(text));
            }
            derive(call, name, *query, Vec::new())
        })
        .collect()
}

fn write_within(call: &Call<'_>, namespace: &Namespace, expiry: Option<Expiry>, entries: usize) -> Write {
    let bounds = TtlBounds { ttl: namespace.ttl, ttl_max: namespace.ttl_max };
    let lifetime = Lifetime::new(&bounds, expiry);
    if lifetime.capped {
        call.client.core.recorder.limit(Limit::TtlMax);
        (0..entries).for_each(|_| call.client.core.recorder.fca_ttl_capped(namespace.label));
    }
    lifetime.write
}

/// How many look-ups under way a write is compared with.
const LOOKUPS_COMPARED_MAX: usize = 64;

/// Whether a write to this entry has to wait for a look-up of it that may take a second step.
fn waits_for_lookup(session: &Session, entry: &Entry) -> bool {
    let lookups = &session.lookups;
    // Where there are many, waiting for them all is cheaper than looking for the one.
    session.replies.in_flight() > 0
        && (lookups.len() > LOOKUPS_COMPARED_MAX || (!lookups.is_empty() && lookups.contains(&entry.identity())))
}

/// Writes the exact spelling, then removes the other, so that at most one of the two is there.
fn send_store(call: &Call<'_>, lane: &Lane<Waiter>, to: To, entry: &Entry, value: &[u8], write: &Write) {
    let step = Step::Store(entry.namespace.label);
    lane.push_with(call.deadline, call.waiter(to, step), &[], |out| {
        write_store(out, entry.prefix(), &entry.digest, value, write);
    });
    if let Some(twin) = entry.twin_key() {
        lane.push_with(call.deadline, call.waiter(To::Nowhere, Step::Swallow), &[], |out| {
            encode::command(out, &[b"DEL", &twin]);
        });
    }
}

fn write_store(out: &mut Vec<u8>, prefix: &[u8], digest: &Digest, value: &[u8], write: &Write) {
    let (name, amount): (&[u8], u64) = match *write {
        Write::Setex(seconds) => (b"SETEX", seconds),
        Write::Psetex(milliseconds) => (b"PSETEX", milliseconds),
    };
    encode::header(out, b'*', 4);
    encode::bulk(out, name);
    write_key(out, prefix, digest);
    encode::bulk(out, itoa::Buffer::new().format(amount).as_bytes());
    encode::bulk(out, value);
}

/// The upstream said whether an entry was stored.
pub(super) fn on_stored(turn: Turn<'_>, label: NamespaceLabel, frame: &[u8]) {
    let recorder = &turn.client.core.recorder;
    if frame[0] != b'-' {
        recorder.fca_set(label, SetResult::Stored);
        turn.finish(b"+OK\r\n", Outcome::Ok);
    } else if is_outage(frame) {
        recorder.fca_set(label, SetResult::Unreachable);
        turn.finish_nil(Outcome::Unreachable);
    } else {
        recorder.fca_set(label, SetResult::Refused);
        turn.finish_nil(Outcome::Error);
    }
}

/// The upstream did not say whether an entry was stored.
pub(super) fn on_store_failed(turn: Turn<'_>, label: NamespaceLabel) {
    turn.client.core.recorder.fca_set(label, SetResult::Unreachable);
    turn.finish_nil(Outcome::Unreachable);
}

/// FCA.DEL.
fn delete(
    call: &Call<'_>,
    session: &mut Session,
    name: &[u8],
    queries: &[&[u8]],
    form: Form,
) -> Result<Handled, ReplyError> {
    let entries: Vec<Entry> =
        queries.iter().map(|query| derive(call, name, form.query(query), Vec::new())).collect::<Result<_, _>>()?;
    if entries.iter().any(|entry| waits_for_lookup(session, entry)) {
        return Ok(Handled::WaitUntilAnswered);
    }
    let enabled = entries.first().is_some_and(|entry| entry.namespace.enabled);
    match call.link {
        Link::Embedded(store) if enabled => embedded::delete(call, session, store, &entries),
        Link::Lane(lane, _) if enabled && lane.accepts().is_ok() => {
            let slot = session.replies.open();
            let gather = Gather::count(slot, call.family, call.deadline, entries.len() as u32);
            for (index, entry) in entries.iter().enumerate() {
                let step = Step::Delete(entry.namespace.label);
                let waiter = call.waiter(To::Part(Rc::clone(&gather), index as u32), step);
                lane.push_with(call.deadline, waiter, &[], |out| write_delete(out, entry));
            }
        }
        _ if !enabled => {
            call.say(session, Outcome::Ok, |out| encode::integer(out, 0));
        }
        _ => {
            call.say(session, Outcome::Unreachable, |out| encode::nil(out, call.protocol));
        }
    }
    Ok(Handled::Done)
}

/// Removes both spellings with one command, whose reply says whether either was there.
fn write_delete(out: &mut Vec<u8>, entry: &Entry) {
    match entry.twin_key() {
        Some(twin) => encode::command(out, &[b"DEL", &entry.key(), &twin]),
        None => encode::command(out, &[b"DEL", &entry.key()]),
    }
}

/// The upstream said how many spellings of an entry were removed.
pub(super) fn on_deleted(turn: Turn<'_>, label: NamespaceLabel, frame: &[u8]) {
    match frame[0] {
        b':' => {
            turn.client.core.recorder.fca_deleted(label, u64::from(frame != b":0\r\n"));
            turn.finish(frame, Outcome::Ok);
        }
        _ if is_outage(frame) => turn.finish_nil(Outcome::Unreachable),
        _ => turn.finish_nil(Outcome::Error),
    }
}

/// Whether a namespace may be named at all, for commands that take no query.
pub(super) fn known_namespace(settings: &Settings, name: &[u8]) -> Result<Rc<Namespace>, ReplyError> {
    settings.namespace(name).map(Rc::clone)
}
