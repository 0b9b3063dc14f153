//! The numbers of JSON as Python prints them: integers exact, floats by `repr`.
//!
//! Guarantees: integers stand as written, of any size up to [`INTEGER_DIGITS_MAX`] (so no two of them share a key);
//! floats are read exactly, however many digits they have, and written with the fewest digits that read back the same
//! (ties to even, which std's own formatting does not give).

use super::error::ParamsError;

/// The longest integer, in digits: CPython's default for `sys.set_int_max_str_digits`.
pub const INTEGER_DIGITS_MAX: usize = 4300;

/// Writes the number that `rest` starts with, which stands at byte `at`; returns how many bytes it takes.
///
/// The longest match of Python's `(-?(?:0|[1-9]\d*))(\.\d+)?([eE][-+]?\d+)?` (`json/scanner.py`); what is behind it is
/// not looked at, so the caller finds the fault in `01` or `1.`.
pub(super) fn write(rest: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, ParamsError> {
    let sign = usize::from(rest.first() == Some(&b'-'));
    let digits = match rest.get(sign) {
        Some(b'0') => 1,
        _ => count_digits(&rest[sign..]),
    };
    if digits == 0 {
        return Err(match rest.starts_with(b"-Infinity") {
            true => ParamsError::NotFinite { at },
            false => ParamsError::Expected { what: "a digit", at: at + sign },
        });
    }
    let whole = sign + digits;
    let fraction = fraction_bytes(&rest[whole..]);
    let bytes = whole + fraction + exponent_bytes(&rest[whole + fraction..]);
    if bytes > whole {
        write_float(read_float(&rest[..bytes]).ok_or(ParamsError::NotFinite { at })?, out);
    } else if digits > INTEGER_DIGITS_MAX {
        return Err(ParamsError::IntegerTooLong { at });
    } else {
        // An integer has no negative zero.
        out.extend_from_slice(if &rest[..bytes] == b"-0" { b"0" } else { &rest[..bytes] });
    }
    Ok(bytes)
}

fn count_digits(rest: &[u8]) -> usize {
    rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len())
}

/// How many bytes of a point and digits `rest` starts with; 0 if the digits are missing.
fn fraction_bytes(rest: &[u8]) -> usize {
    match rest {
        [b'.', digits @ ..] => with_digits(1, digits),
        _ => 0,
    }
}

/// How many bytes of an exponent `rest` starts with; 0 if its digits are missing.
fn exponent_bytes(rest: &[u8]) -> usize {
    match rest {
        [b'e' | b'E', b'+' | b'-', digits @ ..] => with_digits(2, digits),
        [b'e' | b'E', digits @ ..] => with_digits(1, digits),
        _ => 0,
    }
}

fn with_digits(before: usize, rest: &[u8]) -> usize {
    match count_digits(rest) {
        0 => 0,
        digits => before + digits,
    }
}

/// The finite double nearest to a number of JSON's grammar.
///
/// std gives the same double, but takes a hundred times longer for digits that end near the middle of two doubles: half
/// a second of a worker's time for a hostile MiB of them.
fn read_float(number: &[u8]) -> Option<f64> {
    serde_json::from_slice::<f64>(number).ok().filter(|value| value.is_finite())
}

/// Writes a finite double as Python's `float.__repr__` does (`PyOS_double_to_string` with format `r`): digits and a point
/// from 1e-4 up to but not including 1e16, else a point behind the first digit and an exponent of at least two digits.
fn write_float(value: f64, out: &mut Vec<u8>) {
    let mut buffer = ryu::Buffer::new();
    let (digits, point) = Digits::of(buffer.format_finite(value.abs()));
    let digits = digits.as_slice();
    if value.is_sign_negative() {
        out.push(b'-');
    }
    match point {
        -3..=0 => {
            out.extend_from_slice(b"0.");
            out.extend_from_slice(&b"000"[..point.unsigned_abs()]);
            out.extend_from_slice(digits);
        }
        1..=16 => {
            let whole = point.unsigned_abs();
            for place in 0..whole.max(digits.len()).max(whole + 1) {
                if place == whole {
                    out.push(b'.');
                }
                out.push(digits.get(place).copied().unwrap_or(b'0'));
            }
        }
        _ => {
            out.push(digits[0]);
            if digits.len() > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            let exponent = point - 1;
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            if exponent.abs() < 10 {
                out.push(b'0');
            }
            out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
        }
    }
}

/// The decimal digits of a double, without zeros at either end; one zero for zero.
struct Digits {
    /// ryu writes at most 24 bytes.
    bytes: [u8; 24],
    length: usize,
}

impl Digits {
    /// Takes apart what ryu has written (`1.5e-7`, `100.0`): the digits, and how many of them stand before the point
    /// (negative: how many zeros stand behind it first).
    fn of(shortest: &str) -> (Self, isize) {
        let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
        let mut point = mantissa.find('.').unwrap_or(mantissa.len()) as isize;
        // ryu writes no exponent that this could fail on.
        point += exponent.parse::<isize>().unwrap_or(0);
        let mut digits = Self { bytes: [0; 24], length: 0 };
        for byte in mantissa.bytes().filter(|&byte| byte != b'.') {
            if byte == b'0' && digits.length == 0 {
                point -= 1;
            } else {
                digits.bytes[digits.length] = byte;
                digits.length += 1;
            }
        }
        while digits.as_slice().ends_with(b"0") {
            digits.length -= 1;
        }
        if digits.length == 0 {
            (digits.bytes[0], digits.length, point) = (b'0', 1, 1);
        }
        (digits, point)
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
