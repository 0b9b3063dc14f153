//! The string literals of JSON: out of one spelling and into the one that Python writes.
//!
//! Guarantees: reads what Python's strict decoder reads, but for lone surrogates, which have no UTF-8 form and are
//! refused; writes what its encoder writes with `ensure_ascii`, every byte of it printable ASCII.

use super::error::ParamsError;
use crate::key::digest::hex_digit;

/// Appends the characters of the literal whose opening quote is at `at`; returns the offset behind its closing one.
pub(super) fn decode(json: &str, mut at: usize, decoded: &mut String) -> Result<usize, ParamsError> {
    at += 1;
    loop {
        let rest = &json[at..];
        let Some(plain) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20)) else {
            return Err(ParamsError::Expected { what: "`\"`", at: json.len() });
        };
        decoded.push_str(&rest[..plain]);
        at += plain;
        match rest.as_bytes()[plain] {
            b'"' => return Ok(at + 1),
            b'\\' => {
                let (character, bytes) = escape(&rest.as_bytes()[plain..], at)?;
                decoded.push(character);
                at += bytes;
            }
            _ => return Err(ParamsError::ControlCharacter { at }),
        }
    }
}

/// Reads the escape that `rest` starts with, which stands at byte `at`: its character, and how many bytes it takes.
fn escape(rest: &[u8], at: usize) -> Result<(char, usize), ParamsError> {
    let character = match rest.get(1) {
        Some(&(b'"' | b'\\' | b'/')) => char::from(rest[1]),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(rest, at),
        _ => return Err(ParamsError::BadEscape { at }),
    };
    Ok((character, 2))
}

fn unicode_escape(rest: &[u8], at: usize) -> Result<(char, usize), ParamsError> {
    let unit = code_unit(rest).ok_or(ParamsError::BadEscape { at })?;
    if let Some(character) = char::from_u32(unit) {
        return Ok((character, 6));
    }
    // Decoding the pair refuses a low surrogate that comes first as well as one that is missing.
    let pair = [Some(unit), rest.get(6..).and_then(code_unit)];
    match char::decode_utf16(pair.into_iter().flatten().map(|unit| unit as u16)).next() {
        Some(Ok(character)) => Ok((character, 12)),
        _ => Err(ParamsError::LoneSurrogate { at }),
    }
}

/// The UTF-16 code unit of `\uXXXX` at the start of `rest`.
fn code_unit(rest: &[u8]) -> Option<u32> {
    let digits = rest.strip_prefix(br"\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
}

/// Appends `text` as a literal, quotes included.
pub(super) fn encode(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    loop {
        let plain = rest.bytes().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
        out.extend_from_slice(&rest.as_bytes()[..plain]);
        let mut behind = rest[plain..].chars();
        let Some(character) = behind.next() else { break };
        encode_escaped(character, out);
        rest = behind.as_str();
    }
    out.push(b'"');
}

/// Whether Python writes the byte as it is.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn encode_escaped(character: char, out: &mut Vec<u8>) {
    let letter = match character {
        '"' | '\\' => character as u8,
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        '\u{8}' => b'b',
        '\u{c}' => b'f',
        _ => {
            for &mut unit in character.encode_utf16(&mut [0; 2]) {
                let [a, b] = unit.to_be_bytes();
                let digits = [a >> 4, a & 0xf, b >> 4, b & 0xf].map(hex_digit);
                out.extend_from_slice(br"\u");
                out.extend_from_slice(&digits);
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}
