//! Where a client's request ends and where its arguments stand.
//!
//! Guarantees: a request is found exactly where Redis finds it; no byte is looked at twice however it arrives (the
//! scanner keeps its place); nothing is allocated for what is only declared; every refusal has Redis's own words.
//! Leaves to others: the splitting of an inline request ([`super::split_inline`]), what a command means.

use super::number::{self, Line};
use std::fmt;
use std::ops::Index;

/// Bounds on one request.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Arguments of one request, its name included (`limits.request_args_max`).
    pub args_max: usize,
    /// Bytes of one request from its first to its last (`limits.request_bytes_max`); below 4 GiB.
    pub bytes_max: usize,
}

/// The longest inline request, and the longest header line, in bytes: `PROTO_INLINE_MAX_SIZE` of Redis's `server.h`.
pub(super) const INLINE_BYTES_MAX: usize = 64 * 1024;

/// The longest argument, in bytes: the default of Redis's `proto-max-bulk-len`.
pub(super) const BULK_BYTES_MAX: i64 = 512 * 1024 * 1024;

/// What a scan found at the start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A whole request of this many bytes; its arguments are in [`RequestScanner::arguments`].
    Multibulk(usize),
    /// A line of text of this many bytes, its line end included.
    Inline(usize),
    /// This many bytes that ask for nothing (an empty line, `*0`) and get no reply.
    Nothing(usize),
    /// The request has not arrived whole.
    Partial,
}

/// Why a client's bytes are no request; its `Display` is the text behind `-ERR `.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The count behind `*` is no number or exceeds [`RequestLimits::args_max`].
    InvalidMultibulkLength,
    /// The line behind `*` does not end.
    TooBigMultibulkCount,
    /// An argument starts with this byte in place of `$`.
    ExpectedDollar(u8),
    /// The length behind `$` is no number, is negative, or exceeds 512 MiB.
    InvalidBulkLength,
    /// The bytes behind an argument are not CRLF.
    ExpectedLineEnd,
    /// The request exceeds [`RequestLimits::bytes_max`].
    TooBigRequest,
    /// A line of text exceeds 64 KiB.
    TooBigInline,
    /// A quotation mark of an inline request is not closed.
    UnbalancedQuotes,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            Self::InvalidMultibulkLength => f.write_str("invalid multibulk length"),
            Self::TooBigMultibulkCount => f.write_str("too big mbulk count string"),
            Self::ExpectedDollar(got) if got.is_ascii_graphic() || *got == b' ' => {
                write!(f, "expected '$', got '{}'", char::from(*got))
            }
            // Redis copies the byte as it is; a control character would break the reply's line.
            Self::ExpectedDollar(_) => f.write_str("expected '$', got ' '"),
            Self::InvalidBulkLength => f.write_str("invalid bulk length"),
            Self::ExpectedLineEnd => f.write_str("expected CRLF after bulk"),
            Self::TooBigRequest => f.write_str("request exceeds limits.request_bytes_max"),
            Self::TooBigInline => f.write_str("too big inline request"),
            Self::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// Finds the requests of one client, one after the other.
///
/// Between requests it holds nothing, so one scanner serves all clients of a worker; a client whose request has
/// arrived in part takes the scanner with it.
#[derive(Debug, Default)]
pub struct RequestScanner {
    /// Arguments still to come; 0 between requests.
    todo: usize,
    /// Where the next argument's header starts.
    at: usize,
    /// How much of an unfinished inline line was searched for its end.
    searched: usize,
    /// The request's length as far as it is declared: what the buffer should have room for.
    declared: usize,
    /// Begin and end of each argument that was found.
    spans: Vec<(u32, u32)>,
}

impl RequestScanner {
    /// Looks for the request that starts at `buffer[0]`.
    ///
    /// After [`Request::Partial`] call again with the same bytes and more behind them; after anything else, with what
    /// follows the request.
    ///
    /// # Errors
    /// The bytes are no request: answer with the error's text and close the connection, as Redis does.
    #[inline]
    pub fn scan(&mut self, buffer: &[u8], limits: &RequestLimits) -> Result<Request, ProtocolError> {
        if self.todo == 0 {
            match buffer.first() {
                None => return Ok(Request::Partial),
                Some(b'*') => {}
                Some(_) => return self.scan_inline(buffer),
            }
            self.spans.clear();
            match number::read(buffer, 1) {
                Line::Number(count, next) if count > 0 => {
                    let count = usize::try_from(count).unwrap_or(usize::MAX);
                    if count > limits.args_max {
                        return Err(ProtocolError::InvalidMultibulkLength);
                    }
                    (self.todo, self.at) = (count, next);
                }
                Line::Number(_, next) => return Ok(Request::Nothing(next)),
                Line::Partial => return Ok(Request::Partial),
                Line::Invalid => return Err(ProtocolError::InvalidMultibulkLength),
            }
        }
        self.scan_arguments(buffer, limits)
    }

    #[inline]
    fn scan_arguments(&mut self, buffer: &[u8], limits: &RequestLimits) -> Result<Request, ProtocolError> {
        let (mut at, mut todo) = (self.at, self.todo);
        let partial = loop {
            match buffer.get(at) {
                Some(b'$') => {}
                None => break at,
                Some(&other) => return Err(ProtocolError::ExpectedDollar(other)),
            }
            let (length, start) = match number::read(buffer, at + 1) {
                Line::Number(length, start) => (length, start),
                Line::Partial => break at,
                Line::Invalid => return Err(ProtocolError::InvalidBulkLength),
            };
            if !(0..=BULK_BYTES_MAX).contains(&length) {
                return Err(ProtocolError::InvalidBulkLength);
            }
            // At most 512 MiB behind an offset within a buffer: no overflow.
            let end = start + length as usize;
            if end + 2 > limits.bytes_max {
                return Err(ProtocolError::TooBigRequest);
            }
            match buffer.get(end..end + 2) {
                Some(b"\r\n") => {}
                Some(_) => return Err(ProtocolError::ExpectedLineEnd),
                None => break end + 2,
            }
            // `bytes_max` is below 4 GiB.
            self.spans.push((start as u32, end as u32));
            at = end + 2;
            todo -= 1;
            if todo == 0 {
                self.todo = 0;
                return Ok(Request::Multibulk(at));
            }
        };
        (self.at, self.todo, self.declared) = (at, todo, partial);
        Ok(Request::Partial)
    }

    fn scan_inline(&mut self, buffer: &[u8]) -> Result<Request, ProtocolError> {
        let from = self.searched.min(buffer.len());
        let Some(found) = memchr::memchr(b'\n', &buffer[from..]) else {
            if buffer.len() > INLINE_BYTES_MAX {
                return Err(ProtocolError::TooBigInline);
            }
            self.searched = buffer.len();
            return Ok(Request::Partial);
        };
        self.searched = 0;
        let length = from + found + 1;
        if length > INLINE_BYTES_MAX {
            return Err(ProtocolError::TooBigInline);
        }
        let blank = buffer[..length].iter().all(u8::is_ascii_whitespace);
        Ok(if blank { Request::Nothing(length) } else { Request::Inline(length) })
    }

    /// The arguments of the request that the last scan found whole, in its bytes; of one that has arrived in part those
    /// that are there.
    pub fn arguments<'a>(&'a self, request: &'a [u8]) -> Arguments<'a> {
        Arguments { request, spans: &self.spans }
    }

    /// How many bytes the argument takes that has arrived in part, its header included; 0 when that is not known.
    pub fn partial_argument_bytes(&self) -> usize {
        self.declared().saturating_sub(self.at)
    }

    /// How many bytes the buffer must hold before another scan can find more; 0 when that is not known.
    pub fn declared(&self) -> usize {
        if self.todo == 0 { 0 } else { self.declared }
    }
}

/// The arguments of one request, its name first; slices of the request's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Arguments<'a> {
    request: &'a [u8],
    spans: &'a [(u32, u32)],
}

impl<'a> Arguments<'a> {
    /// How many arguments there are, at least 1.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none; a request has at least its name.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `index`.
    #[inline]
    pub fn at(&self, index: usize) -> Option<&'a [u8]> {
        let &(start, end) = self.spans.get(index)?;
        self.request.get(start as usize..end as usize)
    }

    /// All arguments in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let request = self.request;
        self.spans.iter().map(move |&(start, end)| &request[start as usize..end as usize])
    }

    /// The request as it came.
    pub fn bytes(&self) -> &'a [u8] {
        self.request
    }
}

impl Index<usize> for Arguments<'_> {
    type Output = [u8];

    fn index(&self, index: usize) -> &[u8] {
        let (start, end) = self.spans[index];
        &self.request[start as usize..end as usize]
    }
}
