//! Durations and sizes as people write them.
//!
//! Durations are whole numbers with a unit, alone (`250ms`) or from the largest unit down (`1h30m`), as Prometheus
//! takes them. Sizes mean what `memtoull` in Redis's `util.c` means: `k` is 1000, `kb` is 1024, in any case; the
//! unambiguous `KiB` is understood too. Leaves ranges to the caller.

use std::time::Duration;

/// The units of a duration with their milliseconds, from the largest down.
const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The units of a size in lower case, with their bytes.
const SIZE_UNITS: [(&str, u64); 11] = [
    ("", 1),
    ("b", 1),
    ("k", 1_000),
    ("kb", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1 << 30),
    ("gib", 1 << 30),
];

/// The duration that this text spells; none when it spells none, or one beyond [`u64::MAX`] milliseconds.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut units = DURATION_UNITS.as_slice();
    let mut total: u64 = 0;
    loop {
        let (number, behind) = leading_number(rest)?;
        let unit_end = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let unit = units.iter().position(|(name, _)| *name == &behind[..unit_end])?;
        total = total.checked_add(number.checked_mul(units[unit].1)?)?;
        units = &units[unit + 1..];
        rest = &behind[unit_end..];
        if rest.is_empty() {
            return Some(Duration::from_millis(total));
        }
    }
}

/// The text of a duration in its largest unit that gives a whole number; what is below a millisecond is left out.
pub(super) fn show_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    let whole = DURATION_UNITS.iter().find(|(_, unit)| milliseconds.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{milliseconds}ms"), |(name, unit)| format!("{}{name}", milliseconds / unit))
}

/// The bytes that this text spells; none when it spells no size, or one beyond [`u64::MAX`].
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = leading_number(text)?;
    let unit = unit.to_ascii_lowercase();
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*bytes)
}

/// The text of a size in its largest binary unit that gives a whole number.
pub(crate) fn show_bytes(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let whole = units.iter().find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit));
    whole.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// The digits at the start as a number, and what follows them.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_whole_numbers_with_units_from_the_largest_down() {
        let cases = [
            ("250ms", 250),
            ("0s", 0),
            ("5s", 5_000),
            ("10m", 600_000),
            ("24h", 86_400_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        let not_durations = [
            "",
            "5",
            "s",
            "5 s",
            " 5s",
            "5S",
            "1.5s",
            "-5s",
            "+5s",
            "5s5s",
            "5s1m",
            "5w",
            "5s ",
            "5ß",
            "½s",
            "99999999999999999999s",
            "18446744073709551615d",
        ];
        for text in not_durations {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_mean_what_redis_means() {
        let cases = [
            ("0", 0),
            ("123", 123),
            ("1b", 1),
            ("1k", 1_000),
            ("1kb", 1_024),
            ("64MiB", 67_108_864),
            ("64mb", 67_108_864),
            ("64M", 64_000_000),
            ("2g", 2_000_000_000),
            ("1GB", 1_073_741_824),
            ("1gib", 1_073_741_824),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "64 MiB", "1.5g", "-1", "+1", "1tb", "1kbb", "17179869184gb", "64µ"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back_as_the_same_value(number in any::<u64>(), shift in 0_u32..40) {
            let number = number >> shift;
            prop_assert_eq!(parse_bytes(&show_bytes(number)), Some(number));
            let duration = Duration::from_millis(number);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }

        #[test]
        fn no_text_makes_them_panic(text in any::<String>()) {
            let _ = (parse_duration(&text), parse_bytes(&text));
        }
    }
}
