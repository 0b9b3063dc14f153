//! The link: one connection on which the upstream says which keys have changed, as a machine without a socket.
//!
//! ```text
//!            OK to CLIENT TRACKING            PONG
//!   Asking ────────────────────────▶ Tracking ────┐
//!      │                               │  ▲───────┘
//!      │ refused                       │
//!      └───────────▶ LinkError ◀───────┘ silent, broken, no RESP; a new one begins with a new connection
//! ```
//!
//! Guarantees: what the upstream pushes is told in its order, among the answers to our PINGs, so that whoever hears of
//! an answered PING has heard of every change before it was sent; it is silent when an answer is due for `timeout`; at
//! most one PING for a fence is in flight, and its number was known before it was sent. Redis pushes the changes of one
//! round of its event loop behind that round's replies and before anybody reads them (`beforeSleep` in `server.c`), so
//! a PING that is sent behind an acknowledgement comes in a later round. Whatever bytes come, memory is bounded.
//! Leaves to others what is done about it, and when to connect anew.

#[cfg(test)]
mod tests;

use crate::resp::{BadReply, ReplyScanner, encode, error_words, payload};
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

/// What the connection is called in the server's CLIENT LIST.
pub const LINK_NAME: &str = "fca-proxy-link";

/// The longest push that is taken. Redis puts the keys that changed in one round of its event loop into one push: a
/// script or an import that changes more than about 200 000 of them is a reason to begin anew, with an empty store.
pub const PUSH_BYTES_MAX: usize = 8 << 20;

/// Room that is kept for what arrives; what a longer push took is given back.
const INPUT_KEPT_BYTES: usize = 64 << 10;

/// PINGs in the time after which a silent link is lost: one or two may be slow, and the link is well.
const PINGS_PER_TIMEOUT: u32 = 4;

/// Error replies to a PING that say as much as a PONG: all that was pushed before has come. Not BUSY: while a script runs
/// for long, Redis answers and does not push (`processEventsWhileBlocked` in `networking.c`, `beforeSleep` in `server.c`).
const ERRORS_AS_PONG: &[&str] = &["NOPERM"];

/// Error replies that are about the server's present state, not about what it can.
const PASSING_ERRORS: &[&str] = &["BUSY ", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"];

/// What came on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent<'a> {
    /// Every change is told from now on. The request was sent then.
    Tracking {
        /// When.
        sent: Instant,
    },
    /// This key has changed.
    Invalidate(&'a [u8]),
    /// All keys have changed.
    InvalidateAll,
    /// A PING was answered: every change before it was sent has been told.
    Answered {
        /// When it was sent.
        sent: Instant,
        /// The fence that it was for.
        fence: Option<u64>,
    },
}

/// Why a link is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// The server won't track keys for us. Its words.
    Refused(String),
    /// The server serves nobody at present. Its words.
    NotServed(String),
    /// An answer is due for too long.
    Silent,
    /// The bytes that came are not RESP.
    NotRedis(BadReply),
    /// A push was longer than [`PUSH_BYTES_MAX`]; what it said is lost.
    TooLong,
    /// A reply to no request, or not to the one that was its turn.
    Unexpected,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(words) | Self::NotServed(words) => write!(f, "the server says: {words}"),
            Self::Silent => f.write_str("no answer to a PING within near_cache.link_timeout"),
            Self::NotRedis(error) => write!(f, "what came is not RESP: {error}"),
            Self::TooLong => write!(f, "more than {PUSH_BYTES_MAX} bytes of changed keys at once"),
            Self::Unexpected => f.write_str("a reply that belongs to no request"),
        }
    }
}

impl std::error::Error for LinkError {}

/// A link on a connection that has shaken hands in RESP3.
#[derive(Debug)]
pub struct Link {
    timeout: Duration,
    state: State,
    /// What arrived and was not told yet, from `taken` on.
    input: Vec<u8>,
    taken: usize,
    scanner: ReplyScanner,
    /// Where in `input` the keys stand of the push that is being told.
    keys: Range<usize>,
    output: Vec<u8>,
    /// What the next replies are to, the oldest first. Bounded by time: [`PINGS_PER_TIMEOUT`] and what is sent once.
    awaited: VecDeque<Awaited>,
    next_ping: Instant,
    /// The fence whose first PING is answered and whose second was not sent.
    marked: Option<u64>,
    fence_reached: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asking,
    Tracking,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Awaited {
    sent: Instant,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Name,
    Life,
    Tracking,
    Ping,
    /// The first of two for a fence.
    Mark(u64),
    Fence(u64),
}

impl Link {
    /// A link that asks for the changes under these prefixes, of which none begins with another.
    pub fn new(prefixes: &[Vec<u8>], timeout: Duration, now: Instant) -> Self {
        let mut link = Self {
            timeout,
            state: State::Asking,
            input: Vec::new(),
            taken: 0,
            scanner: ReplyScanner::default(),
            keys: 0..0,
            output: Vec::new(),
            awaited: VecDeque::new(),
            next_ping: now,
            marked: None,
            fence_reached: 0,
        };
        link.send(&[b"CLIENT", b"SETNAME", LINK_NAME.as_bytes()], What::Name, now);
        // Before each read goes a PTTL: a user who may not ask that is one for whom nothing can be kept.
        link.send(&[b"PTTL", prefixes.first().map_or(b"", Vec::as_slice)], What::Life, now);
        let mut tracking: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON", b"BCAST"];
        tracking.extend(prefixes.iter().flat_map(|prefix| [b"PREFIX".as_slice(), prefix]));
        link.send(&tracking, What::Tracking, now);
        link
    }

    /// Sends what is due: a PING from time to time, and two for the fence of this number where it is not reached yet and
    /// no other is on its way: the second once the first is answered. In the round of its event loop in which Redis
    /// acknowledged the write it may answer a PING before it pushes, at the round's end, what the write has changed
    /// (`beforeSleep` in `server.c`); what is sent behind that answer comes in a later round. To be called once a turn.
    pub fn handle_turn(&mut self, now: Instant, fence_wanted: u64) {
        let has_fence = self.awaited.iter().any(|awaited| matches!(awaited.what, What::Mark(_) | What::Fence(_)));
        if let Some(number) = self.marked.take() {
            self.ping(What::Fence(number), now);
        } else if self.state == State::Tracking && fence_wanted > self.fence_reached && !has_fence {
            self.ping(What::Mark(fence_wanted), now);
        } else if self.next_ping <= now {
            self.ping(What::Ping, now);
        }
    }

    /// When [`Self::handle_turn`] or [`Self::handle_timeout`] has something to do, should nothing arrive.
    pub fn poll_timeout(&self) -> Instant {
        self.silent_at().map_or(self.next_ping, |silent| silent.min(self.next_ping))
    }

    /// Time has passed, and nothing more has arrived.
    ///
    /// # Errors
    /// The link is silent.
    pub fn handle_timeout(&self, now: Instant) -> Result<(), LinkError> {
        if self.silent_at().is_some_and(|silent| silent <= now) { Err(LinkError::Silent) } else { Ok(()) }
    }

    /// Takes what arrived; [`Self::poll_event`] tells what it says.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        // All events were polled, so that no key of a push stands in what goes.
        if self.keys.is_empty() {
            self.input.drain(..self.taken);
            self.taken = 0;
            if self.input.is_empty() {
                self.input.shrink_to(INPUT_KEPT_BYTES);
            }
        }
        self.input.extend_from_slice(bytes);
    }

    /// What came next; none before more arrives.
    ///
    /// # Errors
    /// The link is over; nothing more may be asked of it.
    pub fn poll_event(&mut self) -> Result<Option<LinkEvent<'_>>, LinkError> {
        loop {
            if !self.keys.is_empty() {
                let key = self.next_key()?;
                return Ok(Some(LinkEvent::Invalidate(&self.input[key])));
            }
            let arrived = &self.input[self.taken..];
            let Some(length) = self.scanner.scan(arrived).map_err(LinkError::NotRedis)? else {
                let is_long = arrived.len().max(self.scanner.declared()) > PUSH_BYTES_MAX;
                return if is_long { Err(LinkError::TooLong) } else { Ok(None) };
            };
            let frame = self.taken..self.taken + length;
            self.taken = frame.end;
            let event = if self.input[frame.start] == b'>' { self.push(frame)? } else { self.reply(frame)? };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// The bytes to be sent, if any.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        (!self.output.is_empty()).then(|| std::mem::take(&mut self.output))
    }

    fn silent_at(&self) -> Option<Instant> {
        self.awaited.front().map(|oldest| oldest.sent + self.timeout)
    }

    fn ping(&mut self, what: What, now: Instant) {
        self.send(&[b"PING"], what, now);
        self.next_ping = now + self.timeout / PINGS_PER_TIMEOUT;
    }

    fn send(&mut self, command: &[&[u8]], what: What, now: Instant) {
        encode::command(&mut self.output, command);
        self.awaited.push_back(Awaited { sent: now, what });
    }

    /// A push came: an invalidation has two elements, the second an array of keys, or a nil for all of them.
    fn push(&mut self, frame: Range<usize>) -> Result<Option<LinkEvent<'static>>, LinkError> {
        let bytes = &self.input[frame.clone()];
        let kind_at = line_length(bytes)?;
        let what_at = kind_at + element_length(&bytes[kind_at..])?;
        if !is_word(&bytes[kind_at..what_at], b"invalidate") {
            return Ok(None);
        }
        let what = &bytes[what_at..];
        match what {
            _ if !bytes.starts_with(b">2\r\n") => Err(LinkError::Unexpected),
            b"_\r\n" | b"*-1\r\n" | b"$-1\r\n" => Ok(Some(LinkEvent::InvalidateAll)),
            [b'*' | b'~', ..] => {
                self.keys = frame.start + what_at + line_length(what)?..frame.end;
                Ok(None)
            }
            _ => Err(LinkError::Unexpected),
        }
    }

    /// The place of the next key of the push that is being told.
    fn next_key(&mut self) -> Result<Range<usize>, LinkError> {
        let start = self.keys.start;
        let rest = &self.input[self.keys.clone()];
        let length = element_length(rest)?;
        let element = &rest[..length];
        let key_bytes = payload(element).ok_or(LinkError::Unexpected)?.len();
        self.keys.start += length;
        // Its line end is not part of it.
        let end = start + length - 2;
        Ok(end - key_bytes..end)
    }

    /// A reply came, to the oldest request.
    fn reply(&mut self, frame: Range<usize>) -> Result<Option<LinkEvent<'static>>, LinkError> {
        let frame = &self.input[frame];
        let awaited = self.awaited.pop_front().ok_or(LinkError::Unexpected)?;
        let (sent, words) = (awaited.sent, error_words(frame));
        let begins = |words: &str, starts: &[&str]| starts.iter().any(|start| words.starts_with(start));
        let is_answer = match &words {
            Some(words) => begins(words, ERRORS_AS_PONG),
            None => is_word(frame, b"PONG"),
        };
        let fence = match (awaited.what, words) {
            // The name is for people; a user who may not give one is served all the same.
            (What::Name, _) | (What::Life, None) => return Ok(None),
            // Nobody has to be allowed all keys of a prefix: those that he may read he may ask about.
            (What::Life, Some(words)) if begins(&words, &["NOPERM"]) && words.contains("key") => return Ok(None),
            (What::Tracking, None) if is_word(frame, b"OK") => {
                self.state = State::Tracking;
                return Ok(Some(LinkEvent::Tracking { sent }));
            }
            (What::Life | What::Tracking, Some(words)) if !begins(&words, PASSING_ERRORS) => {
                return Err(LinkError::Refused(words));
            }
            (What::Ping, _) if is_answer => None,
            (What::Mark(number), _) if is_answer => {
                self.marked = Some(number);
                None
            }
            (What::Fence(number), _) if is_answer => Some(number),
            (_, Some(words)) => return Err(LinkError::NotServed(words)),
            (_, None) => return Err(LinkError::Unexpected),
        };
        self.fence_reached = fence.unwrap_or(self.fence_reached);
        Ok(Some(LinkEvent::Answered { sent, fence }))
    }
}

/// Whether an element is this word, as a simple string or as a bulk.
fn is_word(element: &[u8], word: &[u8]) -> bool {
    let simple = || element.strip_prefix(b"+")?.strip_suffix(b"\r\n");
    payload(element).or_else(simple) == Some(word)
}

/// The length of the line at the start, its end included.
fn line_length(frame: &[u8]) -> Result<usize, LinkError> {
    memchr::memchr(b'\n', frame).map(|end| end + 1).ok_or(LinkError::Unexpected)
}

/// The length of the element at the start.
fn element_length(frame: &[u8]) -> Result<usize, LinkError> {
    ReplyScanner::default().scan(frame).map_err(LinkError::NotRedis)?.ok_or(LinkError::Unexpected)
}
