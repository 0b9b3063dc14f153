//! The frames that the proxy itself says: commands towards the upstream, replies towards clients.
//!
//! Guarantees that what is appended is one whole frame. Text that goes into a line (a simple string, an error) loses
//! its CR and LF, so that no caller's text can end the line.

use super::Protocol;

/// Appends a command.
pub fn command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    header(out, b'*', arguments.len() as u64);
    for argument in arguments {
        bulk(out, argument);
    }
}

/// Appends `$<length>`, the bytes and the line end.
#[inline]
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    header(out, b'$', bytes.len() as u64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends the header of an aggregate or a bulk: its kind, a count and the line end.
#[inline]
pub fn header(out: &mut Vec<u8>, kind: u8, count: u64) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends the header of a map of so many pairs: a flat array in RESP2.
pub fn map(out: &mut Vec<u8>, protocol: Protocol, pairs: u64) {
    match protocol {
        Protocol::Resp2 => header(out, b'*', pairs * 2),
        Protocol::Resp3 => header(out, b'%', pairs),
    }
}

/// Appends a nil.
#[inline]
pub fn nil(out: &mut Vec<u8>, protocol: Protocol) {
    out.extend_from_slice(nil_frame(protocol));
}

/// The nil of a single value.
pub fn nil_frame(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Resp2 => b"$-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    }
}

/// The nil that stands in place of an array, which `EXEC` answers when it did not run.
pub fn nil_array_frame(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Resp2 => b"*-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    }
}

/// Appends text as RESP3's verbatim string, whose format is plain text.
pub fn verbatim(out: &mut Vec<u8>, text: &[u8]) {
    header(out, b'=', text.len() as u64 + 4);
    out.extend_from_slice(b"txt:");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number.
pub fn integer(out: &mut Vec<u8>, value: i64) {
    out.push(b':');
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a simple string.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    line(out, b'+', text);
}

/// Appends an error; `text` starts with its code, as in `ERR unknown command`.
pub fn error(out: &mut Vec<u8>, text: &str) {
    line(out, b'-', text);
}

fn line(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    out.extend(text.bytes().map(|byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}
