//! `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`.
//!
//! The cursor is the position at which the next bucket starts, so it means the same after the table was resized, fits
//! 32 bits, and needs no state here. Guarantees: a key that is there from the first call to the last is returned
//! exactly once; a call looks at no more than ten buckets for each key that `COUNT` asks for, as in Redis.
//! Option parsing, errors and their order are those of `scanGenericCommand` of `db.c` in Redis 7.0.

use super::call::{Call, Outcome};
use super::number;
use super::refusal::{Refusal, c_text};
use crate::key::glob_matches;
use crate::resp::encode;

/// `SCAN`.
pub(super) fn scan(call: &mut Call<'_>) -> Outcome {
    let cursor = parse_cursor(call.arguments[1]).ok_or(Refusal::INVALID_CURSOR)?;
    let options = ScanOptions::parse(&call.arguments[2..])?;
    // Past the last position there is nothing: as if the walk had ended there.
    let mut cursor = u32::try_from(cursor).ok();
    let mut looked_at = 0;
    let mut buckets_left = options.count.saturating_mul(BUCKETS_PER_COUNT_MAX);
    let mut found = Vec::new();
    while let Some(position) = cursor {
        let Some(table) = call.store.table(call.database) else {
            cursor = None;
            break;
        };
        let (mut link, next) = table.bucket(position);
        while let Some(place) = link {
            let entry = &call.store.entries[place.index()];
            // A bucket may start before the cursor, when it was joined since the last call.
            if entry.position >= position {
                looked_at += 1;
                if !entry.deadline.passed(call.unix_ms) && options.wants(entry.key()) {
                    found.push(entry.key());
                }
            }
            link = entry.chained;
        }
        cursor = next;
        buckets_left -= 1;
        if looked_at >= options.count || buckets_left == 0 {
            break;
        }
    }
    encode::header(call.reply, b'*', 2);
    encode::bulk(call.reply, itoa::Buffer::new().format(cursor.unwrap_or(0)).as_bytes());
    encode::header(call.reply, b'*', found.len() as u64);
    for key in found {
        encode::bulk(call.reply, key);
    }
    Ok(())
}

/// As many buckets are looked at for each key asked for, when they turn out to be empty.
const BUCKETS_PER_COUNT_MAX: u64 = 10;

/// What `SCAN` asks for when it does not say.
const COUNT_DEFAULT: u64 = 10;

struct ScanOptions<'a> {
    /// `None` takes every key.
    pattern: Option<&'a [u8]>,
    /// At least 1.
    count: u64,
    /// `TYPE` named a type that no entry here has.
    other_type: bool,
}

impl<'a> ScanOptions<'a> {
    fn parse(mut options: &[&'a [u8]]) -> Result<Self, Refusal> {
        let mut parsed = Self { pattern: None, count: COUNT_DEFAULT, other_type: false };
        while !options.is_empty() {
            let [option, argument, rest @ ..] = options else { return Err(Refusal::SYNTAX) };
            match c_text(option).to_ascii_lowercase().as_slice() {
                b"count" => {
                    let count = number::integer(argument).ok_or(Refusal::NOT_AN_INTEGER)?;
                    parsed.count = u64::try_from(count).ok().filter(|&count| count > 0).ok_or(Refusal::SYNTAX)?;
                }
                b"match" => parsed.pattern = (*argument != b"*").then_some(*argument),
                b"type" => parsed.other_type = !c_text(argument).eq_ignore_ascii_case(b"string"),
                _ => return Err(Refusal::SYNTAX),
            }
            options = rest;
        }
        Ok(parsed)
    }

    fn wants(&self, key: &[u8]) -> bool {
        !self.other_type && self.pattern.is_none_or(|pattern| glob_matches(pattern, key))
    }
}

/// Reads a cursor as C's `strtoul` does in `parseScanCursorOrReply`: a sign is allowed and a negative number wraps,
/// nothing at all is 0.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    let text = c_text(text);
    if text.is_empty() {
        return Some(0);
    }
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if negative { number.wrapping_neg() } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_strtoul_reads_them() {
        let cases: &[(&[u8], Option<u64>)] = &[
            (b"0", Some(0)),
            (b"", Some(0)),
            (b"007", Some(7)),
            (b"+7", Some(7)),
            (b"-1", Some(u64::MAX)),
            (b"7\0x", Some(7)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b" 7", None),
            (b"7 ", None),
            (b"-", None),
            (b"--1", None),
            (b"x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_cursor(text), *expected, "{}", text.escape_ascii());
        }
    }
}
