//! The commands on keys: `DEL`, `EXISTS`, `TYPE`, `KEYS`, `DBSIZE`, `RANDOMKEY`, the flushes.
//!
//! Replies, errors and their order are those of `db.c` in Redis 7.0. `SCAN` has its own file.

use super::call::{Call, Outcome};
use super::refusal::{Refusal, c_text};
use super::store::Look;
use crate::key::glob_matches;
use crate::resp::encode;

/// `DEL key [key …]`, `UNLINK key [key …]`.
pub(super) fn del(call: &mut Call<'_>) -> Outcome {
    let mut removed = 0;
    for key in &call.arguments[1..] {
        if let Some(place) = call.store.find(call.unix_ms, call.database, key) {
            call.store.remove(place);
            removed += 1;
        }
    }
    encode::integer(call.reply, removed);
    Ok(())
}

/// `EXISTS key [key …]`: a key named twice counts twice.
pub(super) fn exists(call: &mut Call<'_>) -> Outcome {
    let mut found = 0;
    for key in &call.arguments[1..] {
        found += i64::from(call.store.read(call.unix_ms, call.database, key, Look::Peek).is_some());
    }
    encode::integer(call.reply, found);
    Ok(())
}

/// `TYPE key`.
pub(super) fn type_name(call: &mut Call<'_>) -> Outcome {
    let found = call.store.read(call.unix_ms, call.database, call.arguments[1], Look::Peek);
    encode::simple(call.reply, if found.is_some() { "string" } else { "none" });
    Ok(())
}

/// `KEYS pattern`.
pub(super) fn keys(call: &mut Call<'_>) -> Outcome {
    let pattern = call.arguments[1];
    let all = pattern == b"*";
    let mut found = Vec::new();
    let mut cursor = Some(0);
    while let Some(position) = cursor
        && let Some(table) = call.store.table(call.database)
    {
        let (mut link, next) = table.bucket(position);
        while let Some(place) = link {
            let entry = &call.store.entries[place.index()];
            if !entry.deadline.passed(call.unix_ms) && (all || glob_matches(pattern, entry.key())) {
                found.push(entry.key());
            }
            link = entry.chained;
        }
        cursor = next;
    }
    encode::header(call.reply, b'*', found.len() as u64);
    for key in found {
        encode::bulk(call.reply, key);
    }
    Ok(())
}

/// `DBSIZE`: as in Redis those past their deadline count until they are found out.
pub(super) fn dbsize(call: &mut Call<'_>) -> Outcome {
    encode::integer(call.reply, call.store.len(call.database) as i64);
    Ok(())
}

/// `RANDOMKEY`.
pub(super) fn randomkey(call: &mut Call<'_>) -> Outcome {
    match call.store.random(call.unix_ms, call.database) {
        Some(place) => encode::bulk(call.reply, call.store.entries[place.index()].key()),
        None => encode::nil(call.reply, call.protocol),
    }
    Ok(())
}

/// `FLUSHDB [SYNC | ASYNC]`.
pub(super) fn flushdb(call: &mut Call<'_>) -> Outcome {
    check_flush(call)?;
    call.store.clear_database(call.database);
    encode::simple(call.reply, "OK");
    Ok(())
}

/// `FLUSHALL [SYNC | ASYNC]`.
pub(super) fn flushall(call: &mut Call<'_>) -> Outcome {
    check_flush(call)?;
    call.store.clear();
    encode::simple(call.reply, "OK");
    Ok(())
}

/// Both ways of flushing are the same here.
fn check_flush(call: &Call<'_>) -> Outcome {
    match call.arguments {
        [_] => Ok(()),
        [_, way] if c_text(way).eq_ignore_ascii_case(b"sync") || c_text(way).eq_ignore_ascii_case(b"async") => Ok(()),
        _ => Err(Refusal::SYNTAX),
    }
}
