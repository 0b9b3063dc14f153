//! The FCA family on the embedded store: the same commands on the same keys, carried out on the spot.
//!
//! Guarantees the replies that the same commands have from a Redis. The store is locked for one request at a time.

use super::super::SharedStore;
use super::super::entry::Entry;
use super::Call;
use super::ask::{Answer, Ask, count_get};
use crate::clock;
use crate::embedded::Store;
use crate::fca::{Query, Write};
use crate::metrics::{GetResult, Limit, Outcome, SetResult};
use crate::resp::encode;
use crate::session::Session;
use std::time::Duration;

/// FCA.GET, FCA.TTL, FCA.PTTL.
pub(super) fn look_up(call: &Call<'_>, session: &mut Session, store: &SharedStore, entry: &Entry, ask: Ask) {
    let mut result = GetResult::Miss;
    let database = session.database;
    call.client.say(session, |out| {
        result = append_lookup(call, &mut store.lock(), database, entry, ask, out);
    });
    count_get(call, ask, entry.namespace.label, result);
    call.client.core.recorder.request(call.family, Outcome::Ok, Duration::ZERO);
}

fn append_lookup(
    call: &Call<'_>,
    store: &mut Store,
    database: u32,
    entry: &Entry,
    ask: Ask,
    out: &mut Vec<u8>,
) -> GetResult {
    let before = out.len();
    // The second spelling's key is derived only where the first is absent.
    for spelling in [|entry: &Entry| Some(entry.key().to_vec()), Entry::twin_key] {
        let Some(key) = spelling(entry) else { continue };
        store.execute(clock::unix_ms(), database, call.protocol, &[ask.command(), &key], out);
        if !ask.is_absent(&out[before..]) {
            return GetResult::Hit;
        }
        out.truncate(before);
    }
    match ask {
        Ask::Value => encode::nil(out, call.protocol),
        Ask::Ttl | Ask::Pttl => encode::integer(out, -2),
    }
    GetResult::Miss
}

/// FCA.MGET.
pub(super) fn look_up_all(call: &Call<'_>, session: &mut Session, store: &SharedStore, entries: &[Entry]) {
    let database = session.database;
    call.say(session, Outcome::Ok, |out| {
        let store = &mut *store.lock();
        encode::header(out, b'*', entries.len() as u64);
        for entry in entries {
            let result = append_lookup(call, store, database, entry, Ask::Value, out);
            count_get(call, Ask::Value, entry.namespace.label, result);
        }
    });
}

/// FCA.SET, FCA.MSET.
pub(super) fn store(
    call: &Call<'_>,
    session: &mut Session,
    store: &SharedStore,
    entries: &[Entry],
    items: &[(Query<'_>, &[u8])],
    write: &Write,
    answer: Answer,
) {
    let (name, amount): (&[u8], u64) = match *write {
        Write::Setex(seconds) => (b"SETEX", seconds),
        Write::Psetex(milliseconds) => (b"PSETEX", milliseconds),
    };
    let amount = amount.to_string();
    let recorder = &call.client.core.recorder;
    let mut stored = 0;
    {
        let store = &mut *store.lock();
        let mut reply = Vec::new();
        for (entry, (_, value)) in entries.iter().zip(items) {
            reply.clear();
            let command = [name, entry.key(), amount.as_bytes(), value];
            store.execute(clock::unix_ms(), session.database, call.protocol, &command, &mut reply);
            let accepted = reply == b"+OK\r\n";
            stored += i64::from(accepted);
            let result = if accepted { SetResult::Stored } else { SetResult::Refused };
            recorder.fca_set(entry.namespace.label, result);
            if !accepted {
                recorder.limit(Limit::EmbeddedMemory);
            }
            if let Some(twin) = entry.twin_key() {
                store.execute(clock::unix_ms(), session.database, call.protocol, &[b"DEL", &twin], &mut reply);
            }
        }
    }
    call.say(session, Outcome::Ok, |out| match answer {
        Answer::Count => encode::integer(out, stored),
        Answer::Single if stored == 1 => encode::simple(out, "OK"),
        Answer::Single => encode::nil(out, call.protocol),
    });
}

/// FCA.DEL.
pub(super) fn delete(call: &Call<'_>, session: &mut Session, store: &SharedStore, entries: &[Entry]) {
    let mut removed = 0;
    {
        let store = &mut *store.lock();
        let mut reply = Vec::new();
        for entry in entries {
            reply.clear();
            let (key, twin) = (entry.key(), entry.twin_key());
            let command: Vec<&[u8]> = [Some(&b"DEL"[..]), Some(key), twin.as_deref()].into_iter().flatten().collect();
            store.execute(clock::unix_ms(), session.database, call.protocol, &command, &mut reply);
            let found = i64::from(reply != b":0\r\n");
            removed += found;
            call.client.core.recorder.fca_deleted(entry.namespace.label, found.unsigned_abs());
        }
    }
    call.say(session, Outcome::Ok, |out| encode::integer(out, removed));
}
