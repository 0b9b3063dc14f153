//! The splitting of an inline request, the form that a person types into telnet.
//!
//! Guarantees the rules of `sdssplitargs` in Redis's `sds.c`: double quotes with `\n \r \t \b \a \xHH` escapes, single
//! quotes with `\'`, a closing quote only before white space or the end.

/// A quotation mark is not closed, or something follows it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnbalancedQuotes;

/// Splits a line of text into the arguments that it spells; none for a blank line.
///
/// # Errors
/// [`UnbalancedQuotes`], upon which Redis refuses the line and closes the connection.
pub fn split_inline(line: &[u8]) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
    let mut rest = line;
    let mut arguments = Vec::new();
    loop {
        let blank = rest.iter().take_while(|&&b| is_space(b)).count();
        rest = &rest[blank..];
        if rest.is_empty() {
            return Ok(arguments);
        }
        let (argument, behind) = next_argument(rest)?;
        arguments.push(argument);
        rest = behind;
    }
}

fn next_argument(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), UnbalancedQuotes> {
    let mut argument = Vec::new();
    loop {
        rest = match rest {
            [] => return Ok((argument, rest)),
            [b'"', behind @ ..] => return double_quoted(argument, behind),
            [b'\'', behind @ ..] => return single_quoted(argument, behind),
            [first, ..] if is_space(*first) || *first == 0 => return Ok((argument, &rest[1..])),
            [first, behind @ ..] => {
                argument.push(*first);
                behind
            }
        };
    }
}

fn double_quoted(mut argument: Vec<u8>, mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), UnbalancedQuotes> {
    loop {
        rest = match rest {
            [b'\\', b'x', high, low, behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                argument.push(hex(*high) << 4 | hex(*low));
                behind
            }
            [b'\\', escaped, behind @ ..] => {
                argument.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                behind
            }
            [b'"', behind @ ..] => return closed(argument, behind),
            [other, behind @ ..] => {
                argument.push(*other);
                behind
            }
            [] => return Err(UnbalancedQuotes),
        };
    }
}

fn single_quoted(mut argument: Vec<u8>, mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), UnbalancedQuotes> {
    loop {
        rest = match rest {
            [b'\\', b'\'', behind @ ..] => {
                argument.push(b'\'');
                behind
            }
            [b'\'', behind @ ..] => return closed(argument, behind),
            [other, behind @ ..] => {
                argument.push(*other);
                behind
            }
            [] => return Err(UnbalancedQuotes),
        };
    }
}

/// A closing quote ends its argument; what follows must be white space or the end.
fn closed(argument: Vec<u8>, rest: &[u8]) -> Result<(Vec<u8>, &[u8]), UnbalancedQuotes> {
    match rest.first() {
        Some(first) if !is_space(*first) => Err(UnbalancedQuotes),
        _ => Ok((argument, rest)),
    }
}

/// C's `isspace`, which has the vertical tab that [`u8::is_ascii_whitespace`] lacks.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_sdssplitargs_does() {
        let cases: &[(&[u8], &[&[u8]])] = &[
            (b"PING\r\n", &[b"PING"]),
            (b"  set  k\tv \r\n", &[b"set", b"k", b"v"]),
            (b"FCA.GET faq \"how do i \\x41\\n\"\n", &[b"FCA.GET", b"faq", b"how do i A\n"]),
            (b"a 'it\\'s' b\n", &[b"a", b"it's", b"b"]),
            (b"a \"\" ''\n", &[b"a", b"", b""]),
            (b"a\"b c\"\n", &[b"ab c"]),
            (b"\x0b\r\n", &[]),
        ];
        for (line, expected) in cases {
            assert_eq!(split_inline(line).unwrap(), *expected, "{}", line.escape_ascii());
        }
        for bad in [&b"\"open"[..], b"'open", b"\"a\"b", b"'a'b", b"\"\\"] {
            assert_eq!(split_inline(bad), Err(UnbalancedQuotes), "{}", bad.escape_ascii());
        }
    }
}
