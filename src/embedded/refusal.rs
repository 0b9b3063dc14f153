//! The errors of the embedded store, in Redis's own words.
//!
//! Bytes and not text, because Redis quotes a client's arguments as they came. Guarantees one line: CR and LF inside
//! become spaces, as `sdsmapchars` makes them in Redis's `networking.c`.

use std::borrow::Cow;

/// One error line, without the leading `-` and the line end. Nothing was changed by the command that gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal(Cow<'static, [u8]>);

impl Refusal {
    pub(super) const SYNTAX: Self = Self::fixed(b"ERR syntax error");
    pub(super) const NOT_AN_INTEGER: Self = Self::fixed(b"ERR value is not an integer or out of range");
    pub(super) const OVERFLOW: Self = Self::fixed(b"ERR increment or decrement would overflow");
    pub(super) const DECREMENT_OVERFLOW: Self = Self::fixed(b"ERR decrement would overflow");
    pub(super) const INVALID_CURSOR: Self = Self::fixed(b"ERR invalid cursor");
    pub(super) const DATABASE: Self = Self::fixed(b"ERR DB index is out of range");
    pub(super) const STRING_TOO_LONG: Self =
        Self::fixed(b"ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    pub(super) const NX_AND_OTHERS: Self =
        Self::fixed(b"ERR NX and XX, GT or LT options at the same time are not compatible");
    pub(super) const GT_AND_LT: Self = Self::fixed(b"ERR GT and LT options at the same time are not compatible");
    /// For an entry that alone exceeds the store.
    pub(super) const OUT_OF_MEMORY: Self = Self::fixed(b"OOM command not allowed when used memory > 'maxmemory'.");

    const fn fixed(line: &'static [u8]) -> Self {
        Self(Cow::Borrowed(line))
    }

    /// `command` in lower case.
    pub(super) fn wrong_arity(command: &str) -> Self {
        Self(Cow::Owned(format!("ERR wrong number of arguments for '{command}' command").into_bytes()))
    }

    /// `command` in lower case.
    pub(super) fn expire_time(command: &str) -> Self {
        Self(Cow::Owned(format!("ERR invalid expire time in '{command}' command").into_bytes()))
    }

    /// For an option of `EXPIRE` that is none.
    pub(super) fn unsupported_option(option: &[u8]) -> Self {
        let option = c_text(option);
        // `addReplyErrorFormat` trims line ends before it replaces those within.
        let kept = option.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
        Self(Cow::Owned([b"ERR Unsupported option ", &option[..kept]].concat()))
    }

    /// For a command that is none: `commandCheckExistence` in `server.c` of Redis 7.0.
    pub(super) fn unknown_command(command: &[&[u8]]) -> Self {
        let (name, arguments) = command.split_first().map_or((&b""[..], command), |(name, rest)| (*name, rest));
        let mut quoted = Vec::new();
        for argument in arguments {
            if quoted.len() >= QUOTED_BYTES_MAX {
                break;
            }
            let room = QUOTED_BYTES_MAX - quoted.len();
            quoted.push(b'\'');
            quoted.extend_from_slice(first(c_text(argument), room));
            quoted.extend_from_slice(b"' ");
        }
        let name = first(c_text(name), QUOTED_BYTES_MAX);
        Self(Cow::Owned([b"ERR unknown command '", name, b"', with args beginning with: ", &quoted[..]].concat()))
    }

    /// Appends the whole error frame.
    pub(super) fn append_to(&self, reply: &mut Vec<u8>) {
        reply.push(b'-');
        reply.extend(self.0.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
        reply.extend_from_slice(b"\r\n");
    }
}

/// How much of a name, and about how much of the arguments, an error repeats.
const QUOTED_BYTES_MAX: usize = 128;

/// An argument as C's string functions see it, and so Redis's options: up to its first NUL.
pub(super) fn c_text(argument: &[u8]) -> &[u8] {
    first(argument, memchr::memchr(0, argument).unwrap_or(argument.len()))
}

fn first(bytes: &[u8], count: usize) -> &[u8] {
    &bytes[..count.min(bytes.len())]
}
