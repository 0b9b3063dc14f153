//! The commands on values: `GET`, `SET` and their kin, counters, `APPEND`.
//!
//! Replies, errors and their order are those of `t_string.c` in Redis 7.0.

use super::call::{Call, Outcome};
use super::entry::Deadline;
use super::number;
use super::refusal::Refusal;
use super::set_options::{Answer, Condition, Lifetime, SetOptions, Unit};
use super::store::{Expiry, Look};
use crate::resp::encode;

/// The longest value that `APPEND` makes: the default of Redis's `proto-max-bulk-len`.
const STRING_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// `GET key`.
pub(super) fn get(call: &mut Call<'_>) -> Outcome {
    reply_value(call, call.arguments[1]);
    Ok(())
}

/// `SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`.
pub(super) fn set(call: &mut Call<'_>) -> Outcome {
    let [_, key, value, options @ ..] = call.arguments else { return Err(Refusal::SYNTAX) };
    let SetOptions { condition, answer, lifetime } = SetOptions::parse(options)?;
    let expiry = match lifetime.deadline(call)? {
        None if lifetime == Lifetime::Keep => Expiry::Keep,
        end => Expiry::At(end.unwrap_or(Deadline::NEVER)),
    };
    if answer == Answer::OldValue {
        reply_value(call, key);
    }
    let written = write_if(call, condition, key, value, expiry)?;
    match (answer, written) {
        (Answer::OldValue, _) => {}
        (Answer::Status, true) => encode::simple(call.reply, "OK"),
        (Answer::Status, false) => encode::nil(call.reply, call.protocol),
    }
    Ok(())
}

/// `SETEX key seconds value`.
pub(super) fn setex(call: &mut Call<'_>) -> Outcome {
    set_with_end(call, Unit::Seconds)
}

/// `PSETEX key milliseconds value`.
pub(super) fn psetex(call: &mut Call<'_>) -> Outcome {
    set_with_end(call, Unit::Milliseconds)
}

/// `SETNX key value`.
pub(super) fn setnx(call: &mut Call<'_>) -> Outcome {
    let (key, value) = (call.arguments[1], call.arguments[2]);
    let written = write_if(call, Condition::IfAbsent, key, value, Expiry::At(Deadline::NEVER))?;
    encode::integer(call.reply, i64::from(written));
    Ok(())
}

/// `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`.
pub(super) fn getex(call: &mut Call<'_>) -> Outcome {
    let key = call.arguments[1];
    let lifetime = Lifetime::parse(&call.arguments[2..])?;
    let Some(place) = call.store.read(call.unix_ms, call.database, key, Look::Use) else {
        encode::nil(call.reply, call.protocol);
        return Ok(());
    };
    let end = lifetime.deadline(call)?;
    let entry = &mut call.store.entries[place.index()];
    encode::bulk(call.reply, entry.value());
    match end {
        // An absolute time in the past deletes at once: `checkAlreadyExpired`.
        Some(end) if end.unix_ms().is_some_and(|unix_ms| unix_ms <= call.unix_ms) => call.store.remove(place),
        Some(end) => entry.deadline = end,
        None if lifetime == Lifetime::Persist => entry.deadline = Deadline::NEVER,
        None => {}
    }
    Ok(())
}

/// `GETDEL key`.
pub(super) fn getdel(call: &mut Call<'_>) -> Outcome {
    let key = call.arguments[1];
    reply_value(call, key);
    if let Some(place) = call.store.find(call.unix_ms, call.database, key) {
        call.store.remove(place);
    }
    Ok(())
}

/// `MGET key [key …]`.
pub(super) fn mget(call: &mut Call<'_>) -> Outcome {
    let keys = &call.arguments[1..];
    encode::header(call.reply, b'*', keys.len() as u64);
    for key in keys {
        reply_value(call, key);
    }
    Ok(())
}

/// `MSET key value [key value …]`: all, or none when one of them alone exceeds the store.
pub(super) fn mset(call: &mut Call<'_>) -> Outcome {
    let (pairs, []) = call.arguments[1..].as_chunks::<2>() else {
        return Err(Refusal::wrong_arity(call.name));
    };
    for [key, value] in pairs {
        call.store.admits(key, value.len() as u64)?;
    }
    for [key, value] in pairs {
        call.store.write(call.unix_ms, call.database, key, value, Expiry::At(Deadline::NEVER))?;
    }
    encode::simple(call.reply, "OK");
    Ok(())
}

/// `INCR key`.
pub(super) fn incr(call: &mut Call<'_>) -> Outcome {
    add(call, 1)
}

/// `DECR key`.
pub(super) fn decr(call: &mut Call<'_>) -> Outcome {
    add(call, -1)
}

/// `INCRBY key increment`.
pub(super) fn incrby(call: &mut Call<'_>) -> Outcome {
    let increment = number::integer(call.arguments[2]).ok_or(Refusal::NOT_AN_INTEGER)?;
    add(call, increment)
}

/// `DECRBY key decrement`.
pub(super) fn decrby(call: &mut Call<'_>) -> Outcome {
    let decrement = number::integer(call.arguments[2]).ok_or(Refusal::NOT_AN_INTEGER)?;
    add(call, decrement.checked_neg().ok_or(Refusal::DECREMENT_OVERFLOW)?)
}

/// `APPEND key value`.
pub(super) fn append(call: &mut Call<'_>) -> Outcome {
    let (key, tail) = (call.arguments[1], call.arguments[2]);
    let total = match call.store.find(call.unix_ms, call.database, key) {
        Some(place) => {
            let total = appended_bytes(call.store.entries[place.index()].value().len(), tail.len())?;
            call.store.append(call.unix_ms, place, tail)?;
            total
        }
        None => {
            call.store.write(call.unix_ms, call.database, key, tail, Expiry::Keep)?;
            tail.len() as u64
        }
    };
    encode::integer(call.reply, total.cast_signed());
    Ok(())
}

/// `STRLEN key`.
pub(super) fn strlen(call: &mut Call<'_>) -> Outcome {
    let value = call.store.value(call.unix_ms, call.database, call.arguments[1]);
    encode::integer(call.reply, value.map_or(0, <[u8]>::len) as i64);
    Ok(())
}

fn reply_value(call: &mut Call<'_>, key: &[u8]) {
    match call.store.value(call.unix_ms, call.database, key) {
        Some(value) => encode::bulk(call.reply, value),
        None => encode::nil(call.reply, call.protocol),
    }
}

fn set_with_end(call: &mut Call<'_>, unit: Unit) -> Outcome {
    let (key, time, value) = (call.arguments[1], call.arguments[2], call.arguments[3]);
    let end = Lifetime::Ends(unit, time).deadline(call)?;
    call.store.write(call.unix_ms, call.database, key, value, Expiry::At(end.unwrap_or(Deadline::NEVER)))?;
    encode::simple(call.reply, "OK");
    Ok(())
}

/// Writes if the condition holds, and says whether it did.
fn write_if(
    call: &mut Call<'_>,
    condition: Condition,
    key: &[u8],
    value: &[u8],
    expiry: Expiry,
) -> Result<bool, Refusal> {
    let wanted = match condition {
        Condition::Always => true,
        Condition::IfAbsent => call.store.find(call.unix_ms, call.database, key).is_none(),
        Condition::IfPresent => call.store.find(call.unix_ms, call.database, key).is_some(),
    };
    if wanted {
        call.store.write(call.unix_ms, call.database, key, value, expiry)?;
    }
    Ok(wanted)
}

fn add(call: &mut Call<'_>, increment: i64) -> Outcome {
    let key = call.arguments[1];
    let old = match call.store.find(call.unix_ms, call.database, key) {
        Some(place) => number::integer(call.store.entries[place.index()].value()).ok_or(Refusal::NOT_AN_INTEGER)?,
        None => 0,
    };
    let new = old.checked_add(increment).ok_or(Refusal::OVERFLOW)?;
    let text = itoa::Buffer::new().format(new).to_owned();
    call.store.write(call.unix_ms, call.database, key, text.as_bytes(), Expiry::Keep)?;
    encode::integer(call.reply, new);
    Ok(())
}

/// The length of a value after `APPEND` (`checkStringLength`).
fn appended_bytes(value: usize, tail: usize) -> Result<u64, Refusal> {
    let total = value as u64 + tail as u64;
    if total > STRING_BYTES_MAX { Err(Refusal::STRING_TOO_LONG) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_grows_to_512_mib_and_no_further() {
        let most = STRING_BYTES_MAX as usize;
        assert_eq!(appended_bytes(most - 1, 1), Ok(STRING_BYTES_MAX));
        assert_eq!(appended_bytes(most, 1), Err(Refusal::STRING_TOO_LONG));
    }
}
