//! One spelling for every way to write a question: Python's `" ".join(query.lower().split())`.
//!
//! Guarantees: equal to CPython 3.11 and later for every text whose characters its Unicode version assigns (3.11: 14.0),
//! but for a capital sigma next to U+0295 or U+1171E, which Unicode has reclassified since. ASCII is folded in one pass,
//! eight bytes a step, without allocating.
//! The tables are std's, so they change with the toolchain; a test pins their version, since keys would change with it.

use std::fmt;
use std::sync::LazyLock;

/// The query is not UTF-8, so it has no spelling in Python either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8;

impl fmt::Display for NotUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("query is not valid UTF-8")
    }
}

impl std::error::Error for NotUtf8 {}

/// Appends the normalised form of `query`: lower case, words parted by one space, none at either end.
///
/// Lower-casing is Unicode's full mapping with the final-sigma rule (Python's `str.lower`); words are parted by what
/// Python's `str.split()` parts on, U+001C–U+001F included. Normalising a normalised text changes nothing.
///
/// # Errors
/// [`NotUtf8`] when the bytes are not UTF-8; nothing is appended then.
pub fn normalise(query: &[u8], out: &mut Vec<u8>) -> Result<(), NotUtf8> {
    let start = out.len();
    out.reserve(query.len());
    // The start of the text counts as a space, so that leading ones are dropped like repeated ones.
    let mut after_space = true;
    let (octets, tail) = query.as_chunks::<8>();
    for octet in octets {
        let word = u64::from_le_bytes(*octet);
        if word & HIGH_BITS != 0 {
            return normalise_unicode(query, start, out);
        }
        if is_single_spaced(word, after_space) {
            out.extend_from_slice(&to_lower(word).to_le_bytes());
            after_space = octet[7] == b' ';
        } else {
            after_space = fold_bytes(octet, after_space, out);
        }
    }
    if !tail.is_ascii() {
        return normalise_unicode(query, start, out);
    }
    if fold_bytes(tail, after_space, out) && out.len() > start {
        out.pop();
    }
    Ok(())
}

/// Folds ASCII `bytes` one at a time, any whitespace in them; says whether the last one was whitespace.
fn fold_bytes(bytes: &[u8], mut after_space: bool, out: &mut Vec<u8>) -> bool {
    for &byte in bytes {
        let is_space = matches!(byte, b'\t'..=b'\r' | 0x1c..=0x20);
        if !is_space {
            out.push(byte.to_ascii_lowercase());
        } else if !after_space {
            out.push(b' ');
        }
        after_space = is_space;
    }
    after_space
}

/// Folds a text that is not all ASCII, in place of what the ASCII pass has appended behind `start`.
#[cold]
fn normalise_unicode(query: &[u8], start: usize, out: &mut Vec<u8>) -> Result<(), NotUtf8> {
    out.truncate(start);
    let query = str::from_utf8(query).map_err(|_| NotUtf8)?;
    // The one character whose lower case depends on its neighbours; std knows which of them count.
    if query.contains('Σ') {
        fold_characters(&query.to_lowercase(), out);
    } else {
        fold_characters(query, out);
    }
    Ok(())
}

/// Folds a text without capital sigma; what is lower case already stays as it is.
fn fold_characters(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    let mut after_space = true;
    for character in text.chars() {
        let is_space = is_python_space(character);
        if is_space {
            if !after_space {
                out.push(b' ');
            }
        } else if character.is_ascii() {
            out.push(character.to_ascii_lowercase() as u8);
        } else if let Some(&Some(lower)) = TWO_BYTE_LOWER.get(character as usize) {
            push_character(lower, out);
        } else {
            character.to_lowercase().for_each(|lower| push_character(lower, out));
        }
        after_space = is_space;
    }
    if after_space && out.len() > start {
        out.pop();
    }
}

fn push_character(character: char, out: &mut Vec<u8>) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// The lower case of the characters that UTF-8 writes in at most two bytes (Latin, Greek, Cyrillic, Hebrew, Arabic …);
/// none where it is more than one character. std searches its table for each character, which takes a Russian question
/// longer than its hash.
static TWO_BYTE_LOWER: LazyLock<Vec<Option<char>>> = LazyLock::new(|| {
    ('\0'..='\u{7ff}')
        .map(|character| {
            let mut lower = character.to_lowercase();
            lower.next().filter(|_| lower.next().is_none())
        })
        .collect()
});

/// Python's `str.isspace`: Unicode's whitespace and the four separators whose bidirectional class is B or S.
fn is_python_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

/// 1 in each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;

/// The bit that no ASCII byte has.
const HIGH_BITS: u64 = 0x80 * ONES;

/// Whether eight ASCII bytes hold no whitespace but spaces, and none of those behind another.
///
/// Any control character is a no too: rare, and [`fold_bytes`] knows which of them are whitespace. No sum below carries
/// into the next byte, as every byte is under 0x80.
fn is_single_spaced(word: u64, after_space: bool) -> bool {
    let spaces = !((word ^ (0x20 * ONES)) + 0x7f * ONES) & HIGH_BITS;
    let controls = !(word + 0x60 * ONES) & HIGH_BITS;
    let behind_spaces = (spaces << 8) | (u64::from(after_space) << 7);
    (spaces & behind_spaces) | controls == 0
}

/// Lower-cases eight ASCII bytes. No sum carries into the next byte, as every byte is under 0x80.
fn to_lower(word: u64) -> u64 {
    let from_a = word + u64::from(0x80 - b'A') * ONES;
    let past_z = word + u64::from(0x7f - b'Z') * ONES;
    word | ((from_a & !past_z & HIGH_BITS) >> 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normalised(query: &str) -> String {
        let mut out = Vec::new();
        normalise(query.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// The definition, word for word.
    fn by_definition(query: &str) -> String {
        query.to_lowercase().split(is_python_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// Keys depend on std's tables. A toolchain with newer ones is a decision: run the comparison with Python in
    /// `tests/keys`, read what changed in lower case, whitespace and the sigma contexts, then change this line.
    #[test]
    fn the_unicode_version_is_the_one_that_was_compared() {
        assert_eq!(char::UNICODE_VERSION, (17, 0, 0));
    }

    #[test]
    fn every_spelling_of_a_question_is_one_text() {
        for query in [
            "how do i open an account?",
            "  How do\tI open\r\nan  ACCOUNT?\u{1c} ",
            "how do i open\u{a0}an account?\u{2003}",
        ] {
            assert_eq!(normalised(query), "how do i open an account?");
        }
        assert_eq!(normalised(""), "");
        assert_eq!(normalised(" \t\u{1f}\u{85}\u{3000}"), "");
        assert_eq!(normalised("ΟΔΟΣ ΟΔΟΣ"), "οδος οδος");
        assert_eq!(normalised("İĞ"), "i̇ğ");
        assert_eq!(normalised("a\u{200b}b"), "a\u{200b}b");
    }

    #[test]
    fn text_is_appended_and_bytes_that_are_no_text_append_nothing() {
        let mut out = b"kept ".to_vec();
        normalise(b" A ", &mut out).unwrap();
        normalise(b"", &mut out).unwrap();
        assert_eq!(out, b"kept a");
        for bytes in [&b"\xff"[..], b"long enough for words \xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"] {
            assert_eq!(normalise(bytes, &mut out), Err(NotUtf8));
            assert_eq!(out, b"kept a");
        }
    }

    #[test]
    fn every_ascii_byte_folds_alike_at_every_place_of_a_word() {
        for byte in 0..0x80_u8 {
            for place in 0..24 {
                for neighbour in [b'x', b' ', b'\t', b'Z', 0x1f] {
                    let mut query = *b"Q w E r T y U i O p A s ";
                    query[(place + 1) % 24] = neighbour;
                    query[place] = byte;
                    let query = str::from_utf8(&query).unwrap();
                    assert_eq!(normalised(query), by_definition(query), "{query:?}");
                }
            }
        }
    }

    #[test]
    fn every_character_folds_as_the_definition_says() {
        let mut compared = 0;
        let mut query = String::new();
        for character in ('\0'..=char::MAX).filter(|c| !c.is_ascii()) {
            use fmt::Write as _;
            query.clear();
            write!(query, "{character}A{character}Σ{character}Σ {character}Σ {character} ").unwrap();
            assert_eq!(normalised(&query), by_definition(&query), "{query:?}");
            compared += 1;
        }
        assert_eq!(compared, 0x11_0000 - 0x800 - 0x80);
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(query in "\\PC{0,40}|[ -~\t\n]{0,80}") {
            let once = normalised(&query);
            prop_assert_eq!(&once, &by_definition(&query));
            prop_assert_eq!(normalised(&once), once);
        }

        #[test]
        fn any_bytes_are_folded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut out = Vec::new();
            prop_assert_eq!(normalise(&bytes, &mut out).is_ok(), str::from_utf8(&bytes).is_ok());
            prop_assert!(str::from_utf8(&out).is_ok());
        }
    }
}
