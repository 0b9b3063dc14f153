//! The decimal numbers of a header line (`$64\r\n`), as strictly as Redis reads them.
//!
//! Guarantees what `string2ll` in Redis's `util.c` does: no plus sign, no leading zeros, no spaces, no overflow.
//! Looks at one line only, at most [`HEADER_BYTES_MAX`] bytes of it.

/// The longest header line that can be a number: a sign, 19 digits, CR and LF.
const HEADER_BYTES_MAX: usize = 22;

/// What stands at the place where a number and its line end are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A number, and the offset behind its CRLF.
    Number(i64, usize),
    /// The line has not arrived whole.
    Partial,
    /// This can't become a number any more.
    Invalid,
}

/// Reads the number that starts at `at` and the CRLF behind it.
#[inline(always)]
pub(super) fn read(buffer: &[u8], at: usize) -> Line {
    // Nearly every header has one or two digits: no loop, no sign, no overflow.
    if let Some(&[a, b, c, d]) = buffer.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        let (tens, ones) = (a.wrapping_sub(b'0'), b.wrapping_sub(b'0'));
        if tens < 10 && b == b'\r' && c == b'\n' {
            return Line::Number(i64::from(tens), at + 3);
        }
        if tens.wrapping_sub(1) < 9 && ones < 10 && c == b'\r' && d == b'\n' {
            return Line::Number(i64::from(tens * 10 + ones), at + 4);
        }
    }
    read_any(buffer, at)
}

/// How many digits are read without looking for an overflow.
const SHORT_DIGITS_MAX: usize = 9;

fn read_any(buffer: &[u8], at: usize) -> Line {
    let (mut value, mut digits) = (0_u32, 0);
    while let Some(digit) = buffer.get(at + digits).map(|b| b.wrapping_sub(b'0')).filter(|digit| *digit < 10)
        && digits < SHORT_DIGITS_MAX
    {
        (value, digits) = (value * 10 + u32::from(digit), digits + 1);
    }
    let ends = buffer.get(at + digits..).is_some_and(|rest| rest.starts_with(b"\r\n"));
    if ends && digits > 1 && buffer[at] != b'0' {
        return Line::Number(i64::from(value), at + digits + 2);
    }
    read_strictly(buffer, at)
}

fn read_strictly(buffer: &[u8], at: usize) -> Line {
    let rest = &buffer[at.min(buffer.len())..];
    let line = &rest[..rest.len().min(HEADER_BYTES_MAX)];
    let Some(end) = line.iter().position(|&b| b == b'\r') else {
        return if line.len() == HEADER_BYTES_MAX { Line::Invalid } else { Line::Partial };
    };
    let Some(number) = strict_number(&line[..end]) else { return Line::Invalid };
    match rest.get(end + 1) {
        None => Line::Partial,
        Some(b'\n') => Line::Number(number, at + end + 2),
        Some(_) => Line::Invalid,
    }
}

/// The integer that these bytes spell in the only form that Redis takes (`string2ll` in `util.c`).
pub fn strict_number(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [] => return None,
        [b'0', _, ..] => return None,
        [b'0'] if negative => return None,
        _ => {}
    }
    let mut value: i64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // Downwards, because the smallest number has no positive twin.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_strictly_as_redis_does() {
        let cases: &[(&[u8], Line)] = &[
            (b"0\r\n", Line::Number(0, 3)),
            (b"7\r\nx", Line::Number(7, 3)),
            (b"64\r\n", Line::Number(64, 4)),
            (b"512\r\n", Line::Number(512, 5)),
            (b"1024\r\n*", Line::Number(1024, 6)),
            (b"123456789\r\n", Line::Number(123_456_789, 11)),
            (b"1234567890\r\n", Line::Number(1_234_567_890, 12)),
            (b"0512\r\n", Line::Invalid),
            (b"00\r\n", Line::Invalid),
            (b"512\r", Line::Partial),
            (b"512\rx", Line::Invalid),
            (b"512 \r\n", Line::Invalid),
            (b"512", Line::Partial),
            (b"-1\r\n", Line::Number(-1, 4)),
            (b"9223372036854775807\r\n", Line::Number(i64::MAX, 21)),
            (b"-9223372036854775808\r\n", Line::Number(i64::MIN, 22)),
            (b"9223372036854775808\r\n", Line::Invalid),
            (b"05\r\n", Line::Invalid),
            (b"+5\r\n", Line::Invalid),
            (b"-0\r\n", Line::Invalid),
            (b" 5\r\n", Line::Invalid),
            (b"\r\n", Line::Invalid),
            (b"5x\r\n", Line::Invalid),
            (b"5\rx", Line::Invalid),
            (b"5\r", Line::Partial),
            (b"64", Line::Partial),
            (b"", Line::Partial),
            (b"99999999999999999999999999999", Line::Invalid),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read(bytes, 0), *expected, "{}", bytes.escape_ascii());
        }
    }
}
