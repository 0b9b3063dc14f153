//! The commands on deadlines: `EXPIRE`, `TTL`, `PERSIST`.
//!
//! Replies, errors and their order are those of `expire.c` in Redis 7.0.

use super::call::{Call, Outcome};
use super::entry::Deadline;
use super::number;
use super::refusal::{Refusal, c_text};
use super::store::Look;
use crate::resp::encode;

/// `EXPIRE key seconds [NX | XX | GT | LT …]`.
pub(super) fn expire(call: &mut Call<'_>) -> Outcome {
    end_after(call, 1000)
}

/// `PEXPIRE key milliseconds [NX | XX | GT | LT …]`.
pub(super) fn pexpire(call: &mut Call<'_>) -> Outcome {
    end_after(call, 1)
}

/// `TTL key`: seconds, rounded to the nearest.
pub(super) fn ttl(call: &mut Call<'_>) -> Outcome {
    reply_remaining(call, |ms| ms.saturating_add(500) / 1000);
    Ok(())
}

/// `PTTL key`.
pub(super) fn pttl(call: &mut Call<'_>) -> Outcome {
    reply_remaining(call, |ms| ms);
    Ok(())
}

/// `PERSIST key`.
pub(super) fn persist(call: &mut Call<'_>) -> Outcome {
    let found = call.store.find(call.unix_ms, call.database, call.arguments[1]);
    let removed = found.is_some_and(|place| {
        let entry = &mut call.store.entries[place.index()];
        std::mem::replace(&mut entry.deadline, Deadline::NEVER) != Deadline::NEVER
    });
    encode::integer(call.reply, i64::from(removed));
    Ok(())
}

fn reply_remaining(call: &mut Call<'_>, in_unit: fn(u64) -> u64) {
    let remaining = match call.store.read(call.unix_ms, call.database, call.arguments[1], Look::Peek) {
        None => -2,
        Some(place) => match call.store.entries[place.index()].deadline.unix_ms() {
            None => -1,
            Some(end) => i64::try_from(in_unit(end.saturating_sub(call.unix_ms))).unwrap_or(i64::MAX),
        },
    };
    encode::integer(call.reply, remaining);
}

fn end_after(call: &mut Call<'_>, ms_per_unit: i64) -> Outcome {
    let (key, time) = (call.arguments[1], call.arguments[2]);
    let rule = Rule::parse(&call.arguments[3..])?;
    let number = number::integer(time).ok_or(Refusal::NOT_AN_INTEGER)?;
    let end = number
        .checked_mul(ms_per_unit)
        .and_then(|ms| ms.checked_add(call.now()))
        .ok_or_else(|| Refusal::expire_time(call.name))?;
    let Some(place) = call.store.find(call.unix_ms, call.database, key) else {
        encode::integer(call.reply, 0);
        return Ok(());
    };
    let allowed = rule.allows(call.store.entries[place.index()].deadline, end);
    if allowed && end <= call.now() {
        call.store.remove(place);
    } else if allowed {
        call.store.entries[place.index()].deadline = Deadline::at(end);
    }
    encode::integer(call.reply, i64::from(allowed));
    Ok(())
}

/// Which deadlines `EXPIRE` may change; several rules hold together.
#[derive(Clone, Copy, Debug, Default)]
struct Rule {
    /// `NX`: only none.
    nx: bool,
    /// `XX`: only one that there is.
    xx: bool,
    /// `GT`: only to a later one; none is later than all.
    gt: bool,
    /// `LT`: only to an earlier one.
    lt: bool,
}

impl Rule {
    fn parse(options: &[&[u8]]) -> Result<Self, Refusal> {
        let mut rule = Self::default();
        for option in options {
            match c_text(option).to_ascii_lowercase().as_slice() {
                b"nx" => rule.nx = true,
                b"xx" => rule.xx = true,
                b"gt" => rule.gt = true,
                b"lt" => rule.lt = true,
                _ => return Err(Refusal::unsupported_option(option)),
            }
        }
        if rule.nx && (rule.xx || rule.gt || rule.lt) {
            return Err(Refusal::NX_AND_OTHERS);
        }
        if rule.gt && rule.lt {
            return Err(Refusal::GT_AND_LT);
        }
        Ok(rule)
    }

    fn allows(self, current: Deadline, end: i64) -> bool {
        match current.unix_ms().map(|current| i64::try_from(current).unwrap_or(i64::MAX)) {
            None => !self.xx && !self.gt,
            Some(current) => !(self.nx || self.gt && end <= current || self.lt && end >= current),
        }
    }
}
