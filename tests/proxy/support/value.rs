//! Replies as values, and a strict walk over their bytes.
//!
//! Independent of the proxy's own scanner, so that the two cannot be wrong together. Refuses what Redis never sends:
//! lengths below -1, a payload without its CRLF, streamed types. RESP2 and RESP3, attributes and pushes included.

use std::fmt;

/// How deep a reply may nest before the walk calls it an attack.
const DEPTH_MAX: usize = 64;

/// One reply.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// `+OK`
    Simple(Vec<u8>),
    /// `-ERR …`, without the dash; also RESP3's `!`.
    Error(Vec<u8>),
    /// `:1`
    Integer(i64),
    /// `$…`; also RESP3's verbatim string, with its `txt:` in front.
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`
    Nil,
    /// `#t` or `#f`
    Boolean(bool),
    /// `,1.5` or `(123…`, as it was written
    Number(Vec<u8>),
    /// `*…` or `~…`
    Array(Vec<Self>),
    /// `%…`, in the order of arrival
    Map(Vec<(Self, Self)>),
    /// `>…`
    Push(Vec<Self>),
}

/// The bytes are no reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotAReply(pub(crate) String);

impl Value {
    /// `+OK`
    pub(crate) fn ok() -> Self {
        Self::simple("OK")
    }

    /// A simple string.
    pub(crate) fn simple(text: &str) -> Self {
        Self::Simple(text.into())
    }

    /// A bulk string.
    pub(crate) fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    /// An array of bulk strings.
    pub(crate) fn bulks<const N: usize>(items: [&str; N]) -> Self {
        Self::Array(items.map(Self::bulk).into())
    }

    /// An error line, without the dash.
    pub(crate) fn error(text: &str) -> Self {
        Self::Error(text.into())
    }

    /// Whether this is the nil of either protocol.
    pub(crate) fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }

    /// Whether this is an error.
    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    /// The bytes of a string or error.
    #[track_caller]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Simple(bytes) | Self::Error(bytes) | Self::Bulk(bytes) | Self::Number(bytes) => bytes,
            other => panic!("a string was expected, not {other:?}"),
        }
    }

    /// The text of a string or error.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(self.bytes()).expect("UTF-8")
    }

    /// The number of an integer reply.
    #[track_caller]
    pub(crate) fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            other => panic!("an integer was expected, not {other:?}"),
        }
    }

    /// The elements of an array or push.
    #[track_caller]
    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) | Self::Push(items) => items,
            other => panic!("an array was expected, not {other:?}"),
        }
    }
}

/// Bytes as a test should show them: escaped, and cut when long.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 200;
        let shown = |bytes: &[u8]| match bytes.get(..SHOWN_MAX) {
            Some(head) => format!("{}… ({} bytes)", head.escape_ascii(), bytes.len()),
            None => bytes.escape_ascii().to_string(),
        };
        match self {
            Self::Simple(bytes) => write!(f, "+{}", shown(bytes)),
            Self::Error(bytes) => write!(f, "-{}", shown(bytes)),
            Self::Integer(number) => write!(f, ":{number}"),
            Self::Bulk(bytes) => write!(f, "\"{}\"", shown(bytes)),
            Self::Nil => f.write_str("nil"),
            Self::Boolean(truth) => write!(f, "#{truth}"),
            Self::Number(bytes) => write!(f, ",{}", shown(bytes)),
            Self::Array(items) => f.debug_list().entries(items).finish(),
            Self::Map(pairs) => f.debug_map().entries(pairs.iter().map(|(k, v)| (k, v))).finish(),
            Self::Push(items) => {
                f.write_str(">")?;
                f.debug_list().entries(items).finish()
            }
        }
    }
}

/// Reads the reply that starts at `bytes[0]`: the value and its length, or `None` while it is not whole.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Value, usize)>, NotAReply> {
    let mut walk = Walk { bytes, at: 0 };
    match walk.value(0) {
        Ok(value) => Ok(Some((value, walk.at))),
        Err(Stop::Unfinished) => Ok(None),
        Err(Stop::Broken(fault)) => Err(NotAReply(fault)),
    }
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

enum Stop {
    Unfinished,
    Broken(String),
}

impl<'a> Walk<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        if depth > DEPTH_MAX {
            return Err(Stop::Broken(format!("nested deeper than {DEPTH_MAX}")));
        }
        let kind = *self.bytes.get(self.at).ok_or(Stop::Unfinished)?;
        self.at += 1;
        let line = self.line()?;
        match kind {
            b'+' => Ok(Value::Simple(line.to_vec())),
            b'-' => Ok(Value::Error(line.to_vec())),
            b':' => Ok(Value::Integer(number(line)?)),
            b'_' if line.is_empty() => Ok(Value::Nil),
            b'#' if line == b"t" => Ok(Value::Boolean(true)),
            b'#' if line == b"f" => Ok(Value::Boolean(false)),
            b',' | b'(' => Ok(Value::Number(line.to_vec())),
            b'$' | b'*' if line == b"-1" => Ok(Value::Nil),
            b'$' | b'=' => Ok(Value::Bulk(self.payload(length(line)?)?.to_vec())),
            b'!' => Ok(Value::Error(self.payload(length(line)?)?.to_vec())),
            b'*' | b'~' => Ok(Value::Array(self.values(length(line)?, depth)?)),
            b'>' => Ok(Value::Push(self.values(length(line)?, depth)?)),
            b'%' => Ok(Value::Map(self.pairs(length(line)?, depth)?)),
            b'|' => {
                self.pairs(length(line)?, depth)?;
                self.value(depth + 1)
            }
            other => Err(Stop::Broken(format!("no reply is {}{}", other.escape_ascii(), line.escape_ascii()))),
        }
    }

    fn values(&mut self, count: usize, depth: usize) -> Result<Vec<Value>, Stop> {
        (0..count).map(|_| self.value(depth + 1)).collect()
    }

    fn pairs(&mut self, count: usize, depth: usize) -> Result<Vec<(Value, Value)>, Stop> {
        (0..count).map(|_| Ok((self.value(depth + 1)?, self.value(depth + 1)?))).collect()
    }

    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\r' || byte == b'\n').ok_or(Stop::Unfinished)?;
        let line = &rest[..end];
        self.at += end;
        self.line_end()?;
        Ok(line)
    }

    fn payload(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let payload = self.bytes.get(self.at..self.at + length).ok_or(Stop::Unfinished)?;
        self.at += length;
        self.line_end()?;
        Ok(payload)
    }

    fn line_end(&mut self) -> Result<(), Stop> {
        match self.bytes.get(self.at..self.at + 2) {
            None => Err(Stop::Unfinished),
            Some(b"\r\n") => {
                self.at += 2;
                Ok(())
            }
            Some(other) => Err(Stop::Broken(format!("{} where a line ends", other.escape_ascii()))),
        }
    }
}

fn number(line: &[u8]) -> Result<i64, Stop> {
    let digits = line.strip_prefix(b"-").unwrap_or(line);
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(line).ok().filter(|_| plain);
    text.and_then(|text| text.parse().ok()).ok_or_else(|| Stop::Broken(format!("{} is no number", line.escape_ascii())))
}

fn length(line: &[u8]) -> Result<usize, Stop> {
    usize::try_from(number(line)?).map_err(|_| Stop::Broken(format!("{} is no length", line.escape_ascii())))
}

mod tests {
    use super::{Value, parse};

    #[test]
    fn a_walk_takes_exactly_one_reply_and_no_prefix_of_it() {
        let replies: &[(&[u8], Value)] = &[
            (b"+OK\r\n", Value::ok()),
            (b"-ERR no\r\n", Value::error("ERR no")),
            (b":-12\r\n", Value::Integer(-12)),
            (b"$0\r\n\r\n", Value::bulk("")),
            (b"$4\r\na\r\nb\r\n", Value::bulk("a\r\nb")),
            (b"$-1\r\n", Value::Nil),
            (b"*-1\r\n", Value::Nil),
            (b"_\r\n", Value::Nil),
            (b"#t\r\n", Value::Boolean(true)),
            (b",1.5\r\n", Value::Number(b"1.5".to_vec())),
            (
                b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
                Value::Array(vec![Value::bulk("a"), Value::Array(vec![Value::Integer(1)])]),
            ),
            (b"~1\r\n+a\r\n", Value::Array(vec![Value::simple("a")])),
            (b"%1\r\n+a\r\n:1\r\n", Value::Map(vec![(Value::simple("a"), Value::Integer(1))])),
            (b"|1\r\n+ttl\r\n:1\r\n+OK\r\n", Value::ok()),
            (b">1\r\n+x\r\n", Value::Push(vec![Value::simple("x")])),
            (b"=5\r\ntxt:a\r\n", Value::bulk("txt:a")),
            (b"!3\r\nERR\r\n", Value::error("ERR")),
        ];
        for (bytes, value) in replies {
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{} cut at {cut}", bytes.escape_ascii());
            }
            let followed = [bytes, b"+next\r\n".as_slice()].concat();
            assert_eq!(parse(&followed), Ok(Some((value.clone(), bytes.len()))));
        }
    }

    #[test]
    fn what_redis_never_sends_is_refused() {
        for bytes in ["$-2\r\n", "$+1\r\na\r\n", "$1\r\nab\r\n", "*x\r\n", "$?\r\n", "hello\r\n", "+a\rb\r\n", ":\r\n"]
        {
            assert!(parse(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
        assert!(parse("*1\r\n".repeat(100).as_bytes()).is_err(), "a depth bomb");
    }
}
