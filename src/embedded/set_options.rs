//! The options of `SET` and `GETEX`.
//!
//! Guarantees what `parseExtendedStringArgumentsOrReply` of `t_string.c` in Redis 7.0 accepts and refuses: options in
//! any order, the same one again, the last expiry counts. The expiry is checked by [`Lifetime::deadline`] and not while
//! parsing, because `GETEX` on an absent key never looks at it.

use super::call::Call;
use super::entry::Deadline;
use super::number;
use super::refusal::{Refusal, c_text};

/// How an expiry is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// `EX`: seconds from now.
    Seconds,
    /// `PX`: milliseconds from now.
    Milliseconds,
    /// `EXAT`: Unix seconds.
    UnixSeconds,
    /// `PXAT`: Unix milliseconds.
    UnixMilliseconds,
}

/// What an option said of the entry's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime<'a> {
    /// Nothing.
    Unsaid,
    /// `KEEPTTL`, of `SET`.
    Keep,
    /// `PERSIST`, of `GETEX`.
    Persist,
    /// A number, not looked at yet.
    Ends(Unit, &'a [u8]),
}

/// Which keys `SET` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Always,
    /// `NX`.
    IfAbsent,
    /// `XX`.
    IfPresent,
}

/// What `SET` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Whether it wrote.
    Status,
    /// `GET`: the value that was there.
    OldValue,
}

/// The options of one `SET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SetOptions<'a> {
    pub(super) condition: Condition,
    pub(super) answer: Answer,
    pub(super) lifetime: Lifetime<'a>,
}

impl<'a> SetOptions<'a> {
    /// Reads what follows key and value.
    pub(super) fn parse(mut options: &[&'a [u8]]) -> Result<Self, Refusal> {
        let mut parsed = Self { condition: Condition::Always, answer: Answer::Status, lifetime: Lifetime::Unsaid };
        while let [option, rest @ ..] = options {
            options = rest;
            let option = c_text(option);
            if is(option, "nx") && parsed.condition != Condition::IfPresent {
                parsed.condition = Condition::IfAbsent;
            } else if is(option, "xx") && parsed.condition != Condition::IfAbsent {
                parsed.condition = Condition::IfPresent;
            } else if is(option, "get") {
                parsed.answer = Answer::OldValue;
            } else if is(option, "keepttl") && matches!(parsed.lifetime, Lifetime::Unsaid | Lifetime::Keep) {
                parsed.lifetime = Lifetime::Keep;
            } else {
                (parsed.lifetime, options) = ends(parsed.lifetime, option, options)?;
            }
        }
        Ok(parsed)
    }
}

impl<'a> Lifetime<'a> {
    /// Reads what follows the key of `GETEX`.
    pub(super) fn parse(mut options: &[&'a [u8]]) -> Result<Self, Refusal> {
        let mut lifetime = Self::Unsaid;
        while let [option, rest @ ..] = options {
            options = rest;
            let option = c_text(option);
            if is(option, "persist") && matches!(lifetime, Self::Unsaid | Self::Persist) {
                lifetime = Self::Persist;
            } else {
                (lifetime, options) = ends(lifetime, option, options)?;
            }
        }
        Ok(lifetime)
    }

    /// The end that was asked for, `None` when none was. Zero, negative and overflowing times are refused
    /// (`getExpireMillisecondsOrReply`).
    pub(super) fn deadline(self, call: &Call<'_>) -> Result<Option<Deadline>, Refusal> {
        let Self::Ends(unit, text) = self else { return Ok(None) };
        let number = number::integer(text).ok_or(Refusal::NOT_AN_INTEGER)?;
        let unix_ms = match unit {
            Unit::Seconds => number.checked_mul(1000).and_then(|ms| ms.checked_add(call.now())),
            Unit::Milliseconds => number.checked_add(call.now()),
            Unit::UnixSeconds => number.checked_mul(1000),
            Unit::UnixMilliseconds => Some(number),
        };
        match unix_ms {
            Some(unix_ms) if number > 0 => Ok(Some(Deadline::at(unix_ms))),
            _ => Err(Refusal::expire_time(call.name)),
        }
    }
}

/// Reads an expiry option and its number, unless another kind of lifetime was told before.
fn ends<'a, 'o>(
    before: Lifetime<'a>,
    option: &[u8],
    rest: &'o [&'a [u8]],
) -> Result<(Lifetime<'a>, &'o [&'a [u8]]), Refusal> {
    let unit = match () {
        () if is(option, "ex") => Unit::Seconds,
        () if is(option, "px") => Unit::Milliseconds,
        () if is(option, "exat") => Unit::UnixSeconds,
        () if is(option, "pxat") => Unit::UnixMilliseconds,
        () => return Err(Refusal::SYNTAX),
    };
    let agrees = match before {
        Lifetime::Unsaid => true,
        Lifetime::Ends(other, _) => other == unit,
        Lifetime::Keep | Lifetime::Persist => false,
    };
    match rest {
        [number, rest @ ..] if agrees => Ok((Lifetime::Ends(unit, number), rest)),
        _ => Err(Refusal::SYNTAX),
    }
}

fn is(option: &[u8], name: &str) -> bool {
    option.eq_ignore_ascii_case(name.as_bytes())
}
