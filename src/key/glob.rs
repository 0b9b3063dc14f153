//! Glob patterns as Redis has them: `KEYS h?llo*`, `SCAN … MATCH [a-z]\*`, and literal text inside of one.
//!
//! Guarantees the verdict of `stringmatchlen` in `util.c` of Redis 7.0 for every pattern and text, its corners
//! included: an unclosed class ends with the pattern, a range may stand backwards and compares signed bytes, `*` does
//! not match the empty text. An escaped literal matches itself and nothing else.
//! Bounded: a mismatch goes back to the last star only, so the work is at most pattern times text, and nothing recurses.
//! Leaves to the callers: that `KEYS *` takes every key without asking, the empty one too; to put both sides into lower
//! case where letters are alike in either, as Redis does for names of commands.

/// Whether the whole `text` matches `pattern`.
pub fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        // Redis's loop never starts on an empty text, so not even a star matches it.
        return pattern.is_empty();
    }
    let (mut rest, mut tail) = (pattern, text);
    // What follows the last star, and the text that it was last tried on.
    let mut retry: Option<(&[u8], &[u8])> = None;
    while let [byte, after @ ..] = tail {
        if rest.first() == Some(&b'*') {
            rest = skip_stars(rest);
            if rest.is_empty() {
                return true;
            }
            retry = Some((rest, tail));
            continue;
        }
        let (matched, width) = token(rest, *byte);
        if matched {
            (rest, tail) = (&rest[width..], after);
            continue;
        }
        // An earlier star need not be tried again: what follows it matched at the earliest place already.
        let Some((after_star, [_, next @ ..])) = retry else { return false };
        (rest, tail) = (after_star, next);
        retry = Some((rest, tail));
    }
    skip_stars(rest).is_empty()
}

fn skip_stars(pattern: &[u8]) -> &[u8] {
    let stars = pattern.iter().take_while(|&&byte| byte == b'*').count();
    &pattern[stars..]
}

/// Whether the first token of the pattern takes `byte`, and the token's length. An empty pattern takes nothing.
fn token(pattern: &[u8], byte: u8) -> (bool, usize) {
    match pattern {
        [] => (false, 0),
        [b'?', ..] => (true, 1),
        [b'[', class @ ..] => {
            let (matched, width) = class_matches(class, byte);
            (matched, width + 1)
        }
        [b'\\', literal, ..] => (*literal == byte, 2),
        [literal, ..] => (*literal == byte, 1),
    }
}

/// Whether the class that starts behind its `[` has `byte`, and the length up to and with its `]`.
fn class_matches(class: &[u8], byte: u8) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at..] {
            [b'\\', literal, ..] => {
                found |= *literal == byte;
                at += 2;
            }
            [b']', ..] => return (found != negated, at + 1),
            [] => return (found != negated, at),
            [from, b'-', to, ..] => {
                found |= in_range(*from, *to, byte);
                at += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                at += 1;
            }
        }
    }
}

/// Redis compares C's `char`, which is signed on the machines that it is mostly built for.
fn in_range(from: u8, to: u8, byte: u8) -> bool {
    let (from, to, byte) = (from.cast_signed(), to.cast_signed(), byte.cast_signed());
    (from.min(to)..=from.max(to)).contains(&byte)
}

/// Appends `literal` with a backslash before each of `* ? [ ] \`.
pub fn escape_glob(literal: &[u8], out: &mut Vec<u8>) {
    out.reserve(literal.len());
    for &byte in literal {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(literal: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        escape_glob(literal, &mut out);
        out
    }

    #[test]
    fn patterns_match_as_in_redis() {
        let cases: &[(&[u8], &[u8], bool)] = &[
            (b"", b"", true),
            (b"*", b"", false),
            (b"*", b"a", true),
            (b"a**", b"a", true),
            (b"*a*", b"a", true),
            (b"h?llo", b"hello", true),
            (b"h?llo", b"hllo", false),
            (b"h*llo", b"heeeello", true),
            (b"h[ae]llo", b"hallo", true),
            (b"h[^e]llo", b"hello", false),
            (b"h[a-c]llo", b"hbllo", true),
            (b"h[c-a]llo", b"hbllo", true),
            (b"h\\*llo", b"h*llo", true),
            (b"h\\*llo", b"hello", false),
            (b"[\\]]", b"]", true),
            (b"[]a]", b"a]", false),
            (b"[", b"[", false),
            (b"[^", b"x", true),
            (b"[ab", b"b", true),
            (b"[a-", b"-", true),
            (b"[a-]", b"]", true),
            (b"[\\", b"\\", true),
            (b"\\", b"\\", true),
            (b"[\x80-\x7f]", b"a", true),
            (b"[a-\xff]", b"z", false),
            (b"*ab*cd*", b"xabxxcdx", true),
            (b"*ab*cd", b"xabxxcdx", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(glob_matches(pattern, text), *expected, "{} on {}", pattern.escape_ascii(), text.escape_ascii());
        }
    }

    /// With backtracking to every star this pattern takes longer than the universe lasts.
    #[test]
    fn many_stars_cost_no_more_than_pattern_times_text() {
        let pattern = [b"*a".repeat(500), b"b".to_vec()].concat();
        assert!(!glob_matches(&pattern, &b"a".repeat(2000)));
    }

    #[test]
    fn what_is_special_is_escaped_and_nothing_else() {
        assert_eq!(escaped(b"fca:a.b_c-9:"), b"fca:a.b_c-9:");
        assert_eq!(escaped(br"a*b?c[d]e\f^-"), br"a\*b\?c\[d\]e\\f^-");
    }

    proptest! {
        #[test]
        fn an_escaped_literal_matches_itself_alone(
            literal in "[ab*?\\[\\]\\\\^-]{0,8}",
            other in "[ab*?\\[\\]\\\\^-]{0,8}",
        ) {
            let pattern = escaped(literal.as_bytes());
            prop_assert!(glob_matches(&pattern, literal.as_bytes()));
            prop_assert_eq!(glob_matches(&pattern, other.as_bytes()), literal == other);
        }
    }
}
