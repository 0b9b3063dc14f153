//! The grammar: reads a JSON document once and writes its canonical text as it goes, members in the order they came.
//!
//! Guarantees what Python's `json/scanner.py` and `json/decoder.py` (strict) accept, minus what the parent page refuses.
//! It descends by recursion, at most [`PARAMS_DEPTH_MAX`] deep. Nothing already written is moved: an object whose
//! members are out of order is left to [`Order`].

use super::error::ParamsError;
use super::number;
use super::order::{Canonical, Member, Order};
use super::string;

/// How deep arrays and objects may nest. Python stops at about 1000; params of people's own making stay under ten, and
/// the bound keeps the reader's stack in the tens of KiB.
pub const PARAMS_DEPTH_MAX: usize = 128;

/// Reads a whole document.
pub(super) fn read(json: &str) -> Result<Canonical, ParamsError> {
    let mut reader = Reader {
        json,
        at: 0,
        text: Vec::with_capacity(json.len() + json.len() / 4),
        decoded: String::new(),
        members: Vec::new(),
        order: Order::default(),
    };
    reader.value(0)?;
    reader.skip_whitespace();
    if reader.at < json.len() {
        return Err(reader.expected("the end"));
    }
    Ok(Canonical::new(reader.text, reader.order))
}

struct Reader<'a> {
    json: &'a str,
    /// Offset in `json` of what is read next, always at a character's first byte.
    at: usize,
    /// The canonical text so far, but for the order of members.
    text: Vec<u8>,
    /// The keys of the objects that are open, innermost last, without escapes; behind them the string being read.
    decoded: String,
    /// The members of the objects that are open, innermost last.
    members: Vec<Member>,
    /// What is out of order in the objects that are closed.
    order: Order,
}

impl Reader<'_> {
    /// Reads the value at the next byte that is not whitespace, `depth` arrays and objects deep.
    fn value(&mut self, depth: usize) -> Result<(), ParamsError> {
        self.skip_whitespace();
        match self.next_byte() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string_value(),
            Some(b'-' | b'0'..=b'9') => {
                self.at += number::write(&self.json.as_bytes()[self.at..], self.at, &mut self.text)?;
                Ok(())
            }
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), ParamsError> {
        self.open(depth)?;
        let (start, first_member, first_key) = (self.text.len(), self.members.len(), self.decoded.len());
        self.text.push(b'{');
        if !self.take(b'}') {
            loop {
                self.member(depth + 1)?;
                if self.take(b'}') {
                    break;
                }
                self.separator("`,` or `}`")?;
            }
        }
        self.text.push(b'}');
        let members = self.members.drain(first_member..);
        self.order.close_object(start..self.text.len(), members, &self.decoded);
        self.decoded.truncate(first_key);
        Ok(())
    }

    /// Reads `"key": value` and notes where its parts are.
    fn member(&mut self, depth: usize) -> Result<(), ParamsError> {
        self.skip_whitespace();
        if self.next_byte() != Some(b'"') {
            return Err(self.expected("a key in double quotes"));
        }
        let (key_start, text_start) = (self.decoded.len(), self.text.len());
        self.string()?;
        let key = key_start..self.decoded.len();
        if !self.take(b':') {
            return Err(self.expected("`:`"));
        }
        self.text.extend_from_slice(b": ");
        self.value(depth)?;
        self.members.push(Member { key, text: text_start..self.text.len() });
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), ParamsError> {
        self.open(depth)?;
        self.text.push(b'[');
        if !self.take(b']') {
            loop {
                self.value(depth + 1)?;
                if self.take(b']') {
                    break;
                }
                self.separator("`,` or `]`")?;
            }
        }
        self.text.push(b']');
        Ok(())
    }

    fn string_value(&mut self) -> Result<(), ParamsError> {
        let start = self.decoded.len();
        self.string()?;
        self.decoded.truncate(start);
        Ok(())
    }

    /// Reads the string literal that starts here; leaves its characters at the end of `decoded`.
    fn string(&mut self) -> Result<(), ParamsError> {
        let start = self.decoded.len();
        self.at = string::decode(self.json, self.at, &mut self.decoded)?;
        string::encode(&self.decoded[start..], &mut self.text);
        Ok(())
    }

    fn word(&mut self) -> Result<(), ParamsError> {
        let rest = &self.json.as_bytes()[self.at..];
        for word in [&b"true"[..], b"false", b"null"] {
            if rest.starts_with(word) {
                self.at += word.len();
                self.text.extend_from_slice(word);
                return Ok(());
            }
        }
        if rest.starts_with(b"NaN") || rest.starts_with(b"Infinity") {
            return Err(ParamsError::NotFinite { at: self.at });
        }
        Err(self.expected("a value"))
    }

    /// Steps over the bracket that opens an array or object inside `depth` others.
    fn open(&mut self, depth: usize) -> Result<(), ParamsError> {
        if depth == PARAMS_DEPTH_MAX {
            return Err(ParamsError::TooDeep { at: self.at });
        }
        self.at += 1;
        Ok(())
    }

    fn separator(&mut self, what: &'static str) -> Result<(), ParamsError> {
        if !self.take(b',') {
            return Err(self.expected(what));
        }
        self.text.extend_from_slice(b", ");
        Ok(())
    }

    /// Steps over whitespace, and over `byte` if that comes next.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_whitespace();
        let taken = self.next_byte() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.next_byte() {
            self.at += 1;
        }
    }

    fn next_byte(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn expected(&self, what: &'static str) -> ParamsError {
        ParamsError::Expected { what, at: self.at }
    }
}
