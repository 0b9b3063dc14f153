//! Where a frame ends that is passed on while it arrives.
//!
//! The scanners want a frame whole in one buffer; these two are fed with its pieces, from its first byte on, and keep
//! nothing of them but a header line that a cut has split. Guarantees: they find the end, and the faults, that the
//! scanners find, however the bytes are cut; they hold as much for a frame of 512 MiB as for one of a byte.

use super::number::{self, Line};
use super::reply::{BadReply, LINE_BYTES_MAX};
use super::request::{BULK_BYTES_MAX, ProtocolError, RequestLimits};

/// Room for the longest header line, with its type in front: above what [`number::read`] looks at.
const SPLIT_BYTES_MAX: usize = 24;

/// The beginning of a header line, or of the CRLF behind a payload.
#[derive(Debug, Default)]
struct Split {
    bytes: [u8; SPLIT_BYTES_MAX],
    length: usize,
}

/// A header line: its type, its number, and how many bytes of the piece belong to it.
struct Header {
    kind: u8,
    number: i64,
    length: usize,
}

impl Split {
    /// The first byte of the line that goes on with `piece`, which is not empty.
    fn kind(&self, piece: &[u8]) -> u8 {
        if self.length > 0 { self.bytes[0] } else { piece[0] }
    }

    /// The header line that goes on with `piece`; `None` when all of that belongs to it and more is to come.
    fn header(&mut self, piece: &[u8]) -> Result<Option<Header>, NotANumber> {
        let kind = self.kind(piece);
        if self.length == 0
            && let Line::Number(number, length) = number::read(piece, 1)
        {
            return Ok(Some(Header { kind, number, length }));
        }
        let before = self.take(piece);
        match number::read(&self.bytes[..self.length], 1) {
            Line::Number(number, next) => {
                self.length = 0;
                Ok(Some(Header { kind, number, length: next - before }))
            }
            Line::Partial if self.length < SPLIT_BYTES_MAX => Ok(None),
            Line::Partial | Line::Invalid => Err(NotANumber),
        }
    }

    /// How many bytes of `piece` belong to the line end that goes on with it, and whether it is whole; `None` when it
    /// is none.
    fn line_end(&mut self, piece: &[u8]) -> Option<(usize, bool)> {
        let before = self.take(&piece[..piece.len().min(2 - self.length.min(2))]);
        let length = self.length - before;
        if self.length < 2 {
            return Some((length, false));
        }
        self.length = 0;
        self.bytes.starts_with(b"\r\n").then_some((length, true))
    }

    /// Keeps as much of `piece` as there is room for; returned is how much was kept before.
    fn take(&mut self, piece: &[u8]) -> usize {
        let before = self.length;
        let taken = piece.len().min(SPLIT_BYTES_MAX - before);
        self.bytes[before..before + taken].copy_from_slice(&piece[..taken]);
        self.length += taken;
        before
    }
}

/// What stands where a length belongs.
struct NotANumber;

/// What the next byte of a frame is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// The first of the frame, or inside of its first header.
    #[default]
    Begin,
    /// The first of an argument or element, or inside of its header.
    Header,
    /// So many bytes before the line end behind a payload.
    Payload(usize),
    /// Of the line end behind a payload.
    LineEnd,
    /// Behind so many bytes of a line of text.
    Text(usize),
    /// Behind the CR of a line of text.
    TextEnd,
}

/// Finds the end of one request that is passed on in pieces.
#[derive(Debug, Default)]
pub struct RequestTail {
    place: Place,
    split: Split,
    /// Arguments still to come.
    todo: usize,
    /// Bytes of the request so far.
    length: usize,
}

impl RequestTail {
    /// Takes the next piece, the first from the request's `*` on: how many of its bytes end the request, or `None` when
    /// all belong to it and more is to come.
    ///
    /// # Errors
    /// As [`super::RequestScanner::scan`].
    pub fn feed(&mut self, piece: &[u8], limits: &RequestLimits) -> Result<Option<usize>, ProtocolError> {
        let mut at = 0;
        while at < piece.len() {
            let rest = &piece[at..];
            let used = match self.place {
                Place::Begin => {
                    let header = self.split.header(rest).map_err(|NotANumber| ProtocolError::InvalidMultibulkLength)?;
                    let Some(header) = header else { break };
                    self.todo = usize::try_from(header.number).unwrap_or(0);
                    if self.todo > limits.args_max {
                        return Err(ProtocolError::InvalidMultibulkLength);
                    }
                    if self.todo == 0 {
                        return Ok(Some(at + header.length));
                    }
                    self.place = Place::Header;
                    header.length
                }
                Place::Header => match self.argument(rest, limits)? {
                    Some(used) => used,
                    None => break,
                },
                Place::Payload(left) => {
                    let used = left.min(rest.len());
                    self.place = if used == left { Place::LineEnd } else { Place::Payload(left - used) };
                    used
                }
                Place::LineEnd | Place::Text(_) | Place::TextEnd => {
                    let (used, whole) = self.split.line_end(rest).ok_or(ProtocolError::ExpectedLineEnd)?;
                    if whole {
                        self.todo -= 1;
                        self.place = Place::Header;
                        if self.todo == 0 {
                            return Ok(Some(at + used));
                        }
                    }
                    used
                }
            };
            at += used;
            self.length += used;
        }
        self.length += piece.len() - at;
        Ok(None)
    }

    /// An argument's header; returned is how many bytes of `rest` belong to it.
    fn argument(&mut self, rest: &[u8], limits: &RequestLimits) -> Result<Option<usize>, ProtocolError> {
        match self.split.kind(rest) {
            b'$' => {}
            other => return Err(ProtocolError::ExpectedDollar(other)),
        }
        let header = self.split.header(rest).map_err(|NotANumber| ProtocolError::InvalidBulkLength)?;
        let Some(header) = header else { return Ok(None) };
        let length = usize::try_from(header.number).ok().filter(|_| header.number <= BULK_BYTES_MAX);
        let length = length.ok_or(ProtocolError::InvalidBulkLength)?;
        if self.length + header.length + length + 2 > limits.bytes_max {
            return Err(ProtocolError::TooBigRequest);
        }
        self.place = Place::Payload(length);
        Ok(Some(header.length))
    }
}

/// Finds the end of one reply that is passed on in pieces.
#[derive(Debug)]
pub struct ReplyTail {
    place: Place,
    split: Split,
    /// Elements still to come, at least 1 before the reply's end.
    todo: u64,
}

impl Default for ReplyTail {
    fn default() -> Self {
        Self { place: Place::Header, split: Split::default(), todo: 1 }
    }
}

impl ReplyTail {
    /// Takes the next piece, the first from the reply's first byte on: how many of its bytes end the reply, or `None`
    /// when all belong to it and more is to come.
    ///
    /// # Errors
    /// As [`super::ReplyScanner::scan`].
    pub fn feed(&mut self, piece: &[u8]) -> Result<Option<usize>, BadReply> {
        let mut at = 0;
        while at < piece.len() {
            let rest = &piece[at..];
            let used = match self.place {
                Place::Begin | Place::Header => match self.element(rest)? {
                    Some(used) => used,
                    None => break,
                },
                Place::Payload(left) => {
                    let used = left.min(rest.len());
                    self.place = if used == left { Place::LineEnd } else { Place::Payload(left - used) };
                    used
                }
                Place::LineEnd => {
                    let (used, whole) = self.split.line_end(rest).ok_or(BadReply::ExpectedLineEnd)?;
                    if whole {
                        self.end_element();
                    }
                    used
                }
                Place::Text(before) => match memchr::memchr(b'\r', rest) {
                    Some(found) => {
                        self.place = Place::TextEnd;
                        found + 1
                    }
                    None if before + rest.len() > LINE_BYTES_MAX => return Err(BadReply::TooLongLine),
                    None => {
                        self.place = Place::Text(before + rest.len());
                        rest.len()
                    }
                },
                Place::TextEnd if rest[0] == b'\n' => {
                    self.end_element();
                    1
                }
                Place::TextEnd => return Err(BadReply::ExpectedLineEnd),
            };
            at += used;
            if self.todo == 0 {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn end_element(&mut self) {
        self.place = Place::Header;
        self.todo -= 1;
    }

    /// The beginning of an element; returned is how many bytes of `rest` belong to it.
    fn element(&mut self, rest: &[u8]) -> Result<Option<usize>, BadReply> {
        let kind = self.split.kind(rest);
        match kind {
            b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(' => {
                self.place = Place::Text(1);
                return Ok(Some(1));
            }
            b'$' | b'=' | b'!' | b'*' | b'%' | b'~' | b'>' | b'|' => {}
            other => return Err(BadReply::UnknownType(other)),
        }
        let Some(header) = self.split.header(rest).map_err(|NotANumber| BadReply::InvalidLength)? else {
            return Ok(None);
        };
        if header.number < -1 {
            return Err(BadReply::InvalidLength);
        }
        let count = header.number.max(0).unsigned_abs();
        match header.kind {
            b'$' | b'=' | b'!' if header.number < 0 => self.end_element(),
            b'$' | b'=' | b'!' => {
                self.place = Place::Payload(usize::try_from(count).map_err(|_| BadReply::InvalidLength)?);
            }
            kind => {
                let elements = match kind {
                    b'%' => count.checked_mul(2),
                    // The value that an attribute describes follows it and takes its place.
                    b'|' => count.checked_mul(2).and_then(|pairs| pairs.checked_add(1)),
                    _ => Some(count),
                };
                // The aggregate itself is an element that has come.
                self.todo = elements.and_then(|n| n.checked_add(self.todo)).ok_or(BadReply::TooManyElements)? - 1;
                self.place = Place::Header;
            }
        }
        Ok(Some(header.length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{ReplyScanner, Request, RequestScanner};
    use proptest::prelude::*;

    const LIMITS: RequestLimits = RequestLimits { args_max: 9, bytes_max: 200 };

    /// The pieces that `cuts` make of some bytes, none of them empty.
    fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([0, bytes.len()]).collect();
        ends.sort_unstable();
        ends.dedup();
        ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
    }

    fn request_end(bytes: &[u8], cuts: &[usize]) -> Result<Option<usize>, ProtocolError> {
        let (mut tail, mut before) = (RequestTail::default(), 0);
        for piece in pieces(bytes, cuts) {
            if let Some(length) = tail.feed(piece, &LIMITS)? {
                return Ok(Some(before + length));
            }
            before += piece.len();
        }
        Ok(None)
    }

    fn reply_end(bytes: &[u8], cuts: &[usize]) -> Result<Option<usize>, BadReply> {
        let (mut tail, mut before) = (ReplyTail::default(), 0);
        for piece in pieces(bytes, cuts) {
            if let Some(length) = tail.feed(piece)? {
                return Ok(Some(before + length));
            }
            before += piece.len();
        }
        Ok(None)
    }

    fn scanned_request(bytes: &[u8]) -> Result<Option<usize>, ProtocolError> {
        Ok(match RequestScanner::default().scan(bytes, &LIMITS)? {
            Request::Multibulk(length) | Request::Nothing(length) => Some(length),
            Request::Inline(_) | Request::Partial => None,
        })
    }

    /// Requests, right ones and nearly right ones, with some bytes changed and some cut off.
    fn some_request() -> impl Strategy<Value = Vec<u8>> {
        let argument = prop_oneof![proptest::collection::vec(any::<u8>(), 0..40), Just(vec![b'\r'; 3])];
        let spoilt = proptest::option::of((any::<usize>(), prop_oneof![any::<u8>(), Just(b'9'), Just(b'\r')]));
        (proptest::collection::vec(argument, 1..11), spoilt, 0usize..30).prop_map(|(arguments, spoilt, short)| {
            let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
            let mut bytes = Vec::new();
            crate::resp::encode::command(&mut bytes, &slices);
            bytes.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
            if let Some((at, byte)) = spoilt {
                // Not the first: a request that begins with another byte is a line of text.
                let at = 1 + at % (bytes.len() - 1);
                bytes[at] = byte;
            }
            bytes.truncate((bytes.len() - short.min(bytes.len() - 1)).max(1));
            bytes
        })
    }

    fn some_reply() -> impl Strategy<Value = Vec<u8>> {
        let text = "[ -~]{0,30}".prop_map(|text: String| text);
        let leaf = prop_oneof![
            ("[+\\-:,(#]", text.clone()).prop_map(|(kind, text)| format!("{kind}{text}\r\n")),
            ("[$=!]", text).prop_map(|(kind, text)| format!("{kind}{}\r\n{text}\r\n", text.len())),
            Just("$-1\r\n".to_owned()),
            Just("_\r\n".to_owned()),
            Just("*-1\r\n".to_owned()),
        ];
        let reply = leaf.prop_recursive(3, 20, 5, |inner| {
            proptest::collection::vec(inner, 0..5).prop_flat_map(|inner| {
                let even = inner.len() / 2;
                prop_oneof![
                    Just(format!("*{}\r\n{}", inner.len(), inner.concat())),
                    Just(format!("~{}\r\n{}", inner.len(), inner.concat())),
                    Just(format!("%{even}\r\n{}", inner[..even * 2].concat())),
                    Just(format!("|{even}\r\n{}:1\r\n", inner[..even * 2].concat())),
                ]
            })
        });
        let spoilt = proptest::option::of((any::<usize>(), prop_oneof![any::<u8>(), Just(b'9'), Just(b'\r')]));
        (reply, spoilt, 0usize..30).prop_map(|(reply, spoilt, short)| {
            let mut bytes = (reply + "+next\r\n").into_bytes();
            if let Some((at, byte)) = spoilt {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            bytes.truncate((bytes.len() - short.min(bytes.len() - 1)).max(1));
            bytes
        })
    }

    proptest! {
        #[test]
        fn a_request_ends_where_the_scanner_finds_its_end(
            bytes in some_request(),
            cuts in proptest::collection::vec(any::<usize>(), 0..20),
        ) {
            prop_assert_eq!(request_end(&bytes, &cuts), scanned_request(&bytes));
            let everywhere: Vec<usize> = (0..bytes.len()).collect();
            prop_assert_eq!(request_end(&bytes, &everywhere), scanned_request(&bytes));
        }

        #[test]
        fn a_reply_ends_where_the_scanner_finds_its_end(
            bytes in some_reply(),
            cuts in proptest::collection::vec(any::<usize>(), 0..20),
        ) {
            prop_assert_eq!(reply_end(&bytes, &cuts), ReplyScanner::default().scan(&bytes));
            let everywhere: Vec<usize> = (0..bytes.len()).collect();
            prop_assert_eq!(reply_end(&bytes, &everywhere), ReplyScanner::default().scan(&bytes));
        }

        #[test]
        fn headers_of_any_kind_are_read_as_the_scanners_read_them(
            kind in "[*$%~>|=!+:-]", number in "-?[0-9]{0,22}", rest in "[\r\n*$a0]{0,8}", cut in 0usize..40,
        ) {
            let bytes = format!("{kind}{number}\r\n{rest}").into_bytes();
            prop_assert_eq!(reply_end(&bytes, &[cut]), ReplyScanner::default().scan(&bytes));
            let request = [b"*3\r\n", &bytes[..]].concat();
            prop_assert_eq!(request_end(&request, &[cut]), scanned_request(&request));
            let count = [b"*", &bytes[1..]].concat();
            prop_assert_eq!(request_end(&count, &[cut]), scanned_request(&count));
        }
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let mut tail = ReplyTail::default();
        assert_eq!(tail.feed(b"*2\r\n+"), Ok(None));
        let text = vec![b'x'; LINE_BYTES_MAX / 4];
        let fed: Vec<_> = (0..5).map(|_| tail.feed(&text)).collect();
        assert_eq!(fed.last(), Some(&Err(BadReply::TooLongLine)));
    }
}
