//! Literal text inside a glob of Redis (`SCAN … MATCH`).
//!
//! Guarantees: the escaped text matches the literal and nothing else, by the rules of `stringmatchlen` in Redis's
//! `util.c`, where a backslash makes the next byte literal everywhere but inside brackets, and none are left open.

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

    /// The parts of Redis's `stringmatchlen` that one byte of a pattern can start, brackets without ranges.
    fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            ([b'*', pattern @ ..], text) => (0..=text.len()).any(|skipped| glob_matches(pattern, &text[skipped..])),
            ([b'?', pattern @ ..], [_, text @ ..]) => glob_matches(pattern, text),
            ([b'[', pattern @ ..], [byte, text @ ..]) => {
                let end = pattern.iter().position(|&b| b == b']').unwrap_or(pattern.len());
                pattern[..end].contains(byte) && glob_matches(pattern.get(end + 1..).unwrap_or(&[]), text)
            }
            ([b'\\', literal, pattern @ ..], [byte, text @ ..]) | ([literal, pattern @ ..], [byte, text @ ..]) => {
                literal == byte && glob_matches(pattern, text)
            }
            (_, []) => false,
        }
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
