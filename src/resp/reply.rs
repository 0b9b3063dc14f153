//! Where a reply of the upstream ends, in RESP2 and RESP3.
//!
//! Guarantees: iterative (a reply nested a million deep costs a counter), resumable (no byte is looked at twice), all
//! types of RESP2 and RESP3 that a server sends, CRLF checked behind every payload. Redis before 7.2 sends a client that
//! publishes within MULTI to itself the push in the middle of EXEC's reply: it is passed over. Leaves to others what the reply
//! says. Streamed strings and aggregates (`$?`, `*?`), which no Redis sends, are refused.

use super::number::{self, Line};
use std::fmt;

/// The longest line of a simple string, error or big number, in bytes; Redis's own are far below it.
pub(super) const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The upstream's bytes are no reply: the pairing with its requests is lost, and the connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadReply {
    /// No type of RESP starts with this byte.
    UnknownType(u8),
    /// A length that is no number, or below -1.
    InvalidLength,
    /// No CRLF where one belongs.
    ExpectedLineEnd,
    /// A line longer than 1 MiB.
    TooLongLine,
    /// More elements than can be counted.
    TooManyElements,
}

impl fmt::Display for BadReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType(byte) => write!(f, "no reply starts with '{}'", byte.escape_ascii()),
            Self::InvalidLength => f.write_str("an invalid length"),
            Self::ExpectedLineEnd => f.write_str("a payload without its line end"),
            Self::TooLongLine => write!(f, "a line of more than {LINE_BYTES_MAX} bytes"),
            Self::TooManyElements => f.write_str("an aggregate of too many elements"),
        }
    }
}

impl std::error::Error for BadReply {}

/// Finds the replies of one upstream connection, one after the other.
#[derive(Clone, Debug, Default)]
pub struct ReplyScanner {
    /// Elements still to come; 0 between replies.
    todo: u64,
    /// Where the next element starts.
    at: usize,
    /// How much of an unfinished line was searched for its end.
    searched: usize,
    /// The reply's length as far as it is declared.
    declared: usize,
}

impl ReplyScanner {
    /// The length of the reply that starts at `buffer[0]`, or `None` while it has not arrived whole: call again with
    /// the same bytes and more behind them.
    ///
    /// # Errors
    /// The bytes are no reply; nothing behind them can be trusted.
    #[inline(always)]
    pub fn scan(&mut self, buffer: &[u8]) -> Result<Option<usize>, BadReply> {
        if self.todo == 0
            && let Some(length) = whole(buffer)
        {
            return Ok(Some(length));
        }
        self.scan_any(buffer)
    }

    fn scan_any(&mut self, buffer: &[u8]) -> Result<Option<usize>, BadReply> {
        let (mut at, mut todo) = if self.todo == 0 { (0, 1) } else { (self.at, self.todo) };
        let declared = loop {
            let Some(&kind) = buffer.get(at) else { break at };
            match kind {
                b'$' | b'=' | b'!' => {
                    let (length, start) = match number::read(buffer, at + 1) {
                        Line::Number(length, start) => (length, start),
                        Line::Partial => break at,
                        Line::Invalid => return Err(BadReply::InvalidLength),
                    };
                    if length < 0 {
                        if length != -1 {
                            return Err(BadReply::InvalidLength);
                        }
                        at = start;
                    } else {
                        let end = usize::try_from(length)
                            .ok()
                            .and_then(|length| start.checked_add(length))
                            .filter(|end| *end < usize::MAX - 2)
                            .ok_or(BadReply::InvalidLength)?;
                        match buffer.get(end..end + 2) {
                            Some(b"\r\n") => at = end + 2,
                            Some(_) => return Err(BadReply::ExpectedLineEnd),
                            None => break end + 2,
                        }
                    }
                }
                b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(' => match self.line_end(buffer, at)? {
                    Some(next) => at = next,
                    None => break at,
                },
                b'*' | b'%' | b'~' | b'>' | b'|' => {
                    let (count, next) = match number::read(buffer, at + 1) {
                        Line::Number(count, next) if count >= -1 => (count.max(0).unsigned_abs(), next),
                        Line::Partial => break at,
                        _ => return Err(BadReply::InvalidLength),
                    };
                    let elements = match kind {
                        b'%' => count.checked_mul(2),
                        // The value that an attribute describes follows it and takes its place.
                        b'|' => count.checked_mul(2).and_then(|pairs| pairs.checked_add(1)),
                        // Within a reply it is none of its elements.
                        b'>' if at > 0 => count.checked_add(1),
                        _ => Some(count),
                    };
                    todo = elements.and_then(|n| n.checked_add(todo)).ok_or(BadReply::TooManyElements)?;
                    at = next;
                }
                other => return Err(BadReply::UnknownType(other)),
            }
            todo -= 1;
            if todo == 0 {
                self.todo = 0;
                return Ok(Some(at));
            }
        };
        (self.at, self.todo, self.declared) = (at, todo, declared);
        Ok(None)
    }

    /// The offset behind the line that starts at `at`.
    fn line_end(&mut self, buffer: &[u8], at: usize) -> Result<Option<usize>, BadReply> {
        let from = self.searched.clamp(at, buffer.len());
        match memchr::memchr(b'\r', &buffer[from..]) {
            Some(found) => {
                let end = from + found;
                match buffer.get(end + 1) {
                    Some(b'\n') => {
                        self.searched = 0;
                        Ok(Some(end + 2))
                    }
                    Some(_) => Err(BadReply::ExpectedLineEnd),
                    None => {
                        self.searched = end;
                        Ok(None)
                    }
                }
            }
            None if buffer.len() - at > LINE_BYTES_MAX => Err(BadReply::TooLongLine),
            None => {
                self.searched = buffer.len();
                Ok(None)
            }
        }
    }

    /// How many bytes the reply has as far as it is declared: what the buffer should have room for.
    pub fn declared(&self) -> usize {
        if self.todo == 0 { 0 } else { self.declared }
    }
}

/// The length of what nearly every reply is, if it is there whole: a value, a nil, or OK.
#[inline(always)]
fn whole(buffer: &[u8]) -> Option<usize> {
    if buffer.first() != Some(&b'$') {
        return buffer.starts_with(OK).then_some(OK.len());
    }
    let Line::Number(length, start) = number::read(buffer, 1) else { return None };
    if length == -1 {
        return Some(start);
    }
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    let is_whole = buffer.get(end..)?.starts_with(b"\r\n");
    is_whole.then_some(end + 2)
}

const OK: &[u8] = b"+OK\r\n";

/// The text of one whole bulk or verbatim string, a verbatim string's without its format; `None` for a nil and anything
/// else.
pub fn payload(reply: &[u8]) -> Option<&[u8]> {
    let start = memchr::memchr(b'\n', reply)? + 1;
    let text = reply.get(start..reply.len().checked_sub(2)?)?;
    match reply[0] {
        b'$' => Some(text),
        b'=' => text.get(4..),
        _ => None,
    }
}

/// The text of one whole error reply (`-ERR …`) for a log line or another client: a hostile server's is cut short, and
/// has nothing in it that ends a line.
pub fn error_words(reply: &[u8]) -> Option<String> {
    let words = reply.strip_prefix(b"-")?;
    let words = String::from_utf8_lossy(&words[..words.len().min(ERROR_WORDS_MAX)]);
    Some(words.chars().filter(|c| !c.is_control()).collect())
}

/// How many bytes of a server's error are kept: what Redis says to a HELLO without a login takes 213.
const ERROR_WORDS_MAX: usize = 256;

/// The elements of one whole array, set or push (`*`, `~`, `>`), or of a map (keys and values in turn), as bytes; `None`
/// for anything else or when the bytes are not one whole reply. A push that stands before an element goes with it.
pub fn elements(reply: &[u8]) -> Option<Vec<&[u8]>> {
    let Line::Number(count, start) = number::read(reply, 1) else { return None };
    let count = match reply.first()? {
        b'*' | b'~' | b'>' => usize::try_from(count).ok()?,
        b'%' => usize::try_from(count).ok()?.checked_mul(2)?,
        _ => return None,
    };
    let mut rest = &reply[start..];
    // An element has at least three bytes, so a declared count is never believed beyond what arrived.
    let mut found = Vec::with_capacity(count.min(rest.len() / 3));
    for _ in 0..count {
        let mut length = 0;
        while {
            let is_push = rest.get(length) == Some(&b'>');
            length += ReplyScanner::default().scan(rest.get(length..)?).ok()??;
            is_push
        } {}
        let (element, behind) = rest.split_at(length);
        found.push(element);
        rest = behind;
    }
    rest.is_empty().then_some(found)
}
