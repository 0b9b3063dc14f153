//! Which requests may wait in the server, and for how long.
//!
//! Guarantees that options are read as `t_stream.c` and `blocked.c` of Redis 7.0 read them: a stream or group that is
//! called `BLOCK` blocks nothing. Arguments that Redis would refuse don't block: the refusal comes at once.
//! Leaves to others that nothing blocks inside MULTI.

use super::{Categories, Command, Effect, Family, Flags, KeyPositions, Kind};
use std::time::Duration;

/// The longest time that is told; what is longer is as good as for ever.
const TIMEOUT_SECONDS_MAX: f64 = 1e9;

/// Stands for a command that the table lacks and of which the server says that it may wait, for how long nobody knows.
pub static UNKNOWN_BLOCKING: Command = Command {
    name: "UNKNOWN",
    arity: -1,
    flags: Flags::BLOCKING,
    categories: Categories::BLOCKING,
    keys: KeyPositions { first: 0, last: 0, step: 0 },
    has_subcommands: false,
    kind: Kind::Blocking,
    family: Family::Blocking,
    effect: Effect::AnyKeys,
};

/// Where a command has its timeout, and in which unit.
enum Timeout {
    /// Seconds, with a fraction, as the last argument.
    LastSeconds,
    /// Seconds, with a fraction, as the first argument.
    FirstSeconds,
    /// Milliseconds, as the second argument.
    SecondMilliseconds,
    /// Milliseconds, behind the option `BLOCK`.
    BlockOption,
    /// Nobody knows where.
    Unknown,
}

/// Whether this request may wait before it is answered; `args` with the name first.
pub fn blocks(command: &Command, args: &[&[u8]]) -> bool {
    match timeout_of(command) {
        None => false,
        Some(Timeout::BlockOption) => block_option(args).is_some(),
        Some(_) => command.takes(args.len()),
    }
}

/// How long this request may wait by its own arguments. `None` for one that doesn't block, that waits for ever, or
/// whose timeout Redis would refuse.
pub fn blocking_timeout(command: &Command, args: &[&[u8]]) -> Option<Duration> {
    if !blocks(command, args) {
        return None;
    }
    let (text, per_second) = match timeout_of(command)? {
        Timeout::LastSeconds => (*args.last()?, 1.0),
        Timeout::FirstSeconds => (*args.get(1)?, 1.0),
        Timeout::SecondMilliseconds => (*args.get(2)?, 1000.0),
        Timeout::BlockOption => (block_option(args)?, 1000.0),
        Timeout::Unknown => return None,
    };
    let seconds = str::from_utf8(text).ok()?.parse::<f64>().ok()? / per_second;
    (seconds > 0.0 && seconds <= TIMEOUT_SECONDS_MAX).then(|| Duration::from_secs_f64(seconds))
}

fn timeout_of(command: &Command) -> Option<Timeout> {
    if command.kind != Kind::Blocking {
        return None;
    }
    Some(match command.name {
        "BLMPOP" | "BZMPOP" => Timeout::FirstSeconds,
        "WAIT" => Timeout::SecondMilliseconds,
        "UNKNOWN" => Timeout::Unknown,
        "XREAD" | "XREADGROUP" => Timeout::BlockOption,
        _ => Timeout::LastSeconds,
    })
}

/// The argument of `BLOCK` among the options of `XREAD` or `XREADGROUP`, which end at `STREAMS`.
fn block_option<'a>(args: &[&'a [u8]]) -> Option<&'a [u8]> {
    let mut block = None;
    let mut rest = args.get(1..)?.iter();
    while let Some(option) = rest.next() {
        if option.eq_ignore_ascii_case(b"BLOCK") {
            block = Some(*rest.next()?);
        } else if option.eq_ignore_ascii_case(b"COUNT") {
            rest.next()?;
        } else if option.eq_ignore_ascii_case(b"GROUP") {
            rest.nth(1)?;
        } else if option.eq_ignore_ascii_case(b"STREAMS") {
            return block;
        } else if !option.eq_ignore_ascii_case(b"NOACK") {
            return None;
        }
    }
    None
}
