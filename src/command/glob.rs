//! Glob patterns as Redis matches them, without regard to case.
//!
//! The rules are those of `stringmatchlen` in Redis 7.0's `util.c`: `*`, `?`, `[a-z]`, `[^a-z]`, `\x`. Guarantees time
//! within the product of the two lengths, where the original can be exponential. Used for names of commands; keys are
//! matched by the server.

/// Whether the pattern matches the whole name; ASCII letters in either case.
pub fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    // Behind the last `*`: the pattern, and the part of the name that has not been tried for it.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            retry = Some((rest, name));
            pattern = rest;
        } else if let Some((&byte, rest)) = name.split_first()
            && let Some(behind) = one(pattern, byte.to_ascii_lowercase())
        {
            (pattern, name) = (behind, rest);
        } else if name.is_empty() && pattern.is_empty() {
            return true;
        } else if let Some((behind_star, [_, untried @ ..])) = retry {
            retry = Some((behind_star, untried));
            (pattern, name) = (behind_star, untried);
        } else {
            return false;
        }
    }
}

/// The pattern behind its first unit when that unit matches `byte`, which is in lower case.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => class(rest, byte),
        [b'\\', escaped, rest @ ..] => (escaped.to_ascii_lowercase() == byte).then_some(rest),
        [plain, rest @ ..] => (plain.to_ascii_lowercase() == byte).then_some(rest),
    }
}

/// The pattern behind a class when it holds `byte`. A class that is not closed ends with the pattern, as in Redis.
fn class(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    loop {
        rest = match rest {
            [b'\\', escaped, rest @ ..] => {
                found |= escaped.to_ascii_lowercase() == byte;
                rest
            }
            [b']', rest @ ..] => return (found != negated).then_some(rest),
            [] => return (found != negated).then_some(rest),
            [from, b'-', to, rest @ ..] => {
                let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
                found |= (from.min(to)..=from.max(to)).contains(&byte);
                rest
            }
            [plain, rest @ ..] => {
                found |= plain.to_ascii_lowercase() == byte;
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        let cases: &[(&str, &str, bool)] = &[
            ("*", "", true),
            ("", "", true),
            ("", "get", false),
            ("get", "", false),
            ("fca.*", "FCA.GET", true),
            ("FCA.?ET", "fca.get", true),
            ("*get", "fca.mget", true),
            ("*.*.*", "fca.get", false),
            ("*a*b*c", "xaxbxbxc", true),
            ("[fg]*", "fca.get", true),
            ("[^f]*", "fca.get", false),
            ("[A-f]ca*", "fca.get", true),
            ("[f-a]ca*", "fca.get", true),
            ("[", "get", false),
            ("[g", "g", true),
            ("[]", "g", false),
            ("[^]", "g", true),
            ("fca\\.get", "fca.get", true),
            ("fca\\*", "fca.get", false),
            ("g\\", "g\\", true),
            ("get**", "get", true),
            ("ge", "get", false),
            ("gett", "get", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches_name(pattern.as_bytes(), name.as_bytes()), *expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_exponential_time() {
        let pattern = [b"*a".repeat(50_000), b"*b".to_vec()].concat();
        assert!(!matches_name(&pattern, &b"a".repeat(24)));
    }
}
