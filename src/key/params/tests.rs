//! What the canonical form promises, on chosen inputs; `tests/keys` compares it with Python on random ones.

use super::*;

fn canonical(json: &str) -> Result<String, ParamsError> {
    let mut out = b"kept".to_vec();
    let result = canonical_params(json.as_bytes(), &mut out);
    let appended = String::from_utf8(out.split_off(4)).unwrap();
    assert_eq!(out, b"kept");
    assert!(result.is_ok() || appended.is_empty());
    result.map(|()| appended)
}

fn assert_canonical(cases: &[(&str, &str)]) {
    for (json, expected) in cases {
        assert_eq!(canonical(json).as_deref(), Ok(*expected), "{json}");
    }
}

fn assert_refused(cases: &[(&str, &str)]) {
    for (json, expected) in cases {
        assert_eq!(canonical(json).unwrap_err().to_string(), *expected, "{json}");
    }
}

#[test]
fn members_are_sorted_by_code_point_at_every_depth() {
    assert_canonical(&[
        (r#"{"b":{"d":1,"c":2},"a":3}"#, r#"{"a": 3, "b": {"c": 2, "d": 1}}"#),
        (
            r#"[{"b":[{"z":0,"y":[]}],"a":{}},{"b":1,"a":2}]"#,
            r#"[{"a": {}, "b": [{"y": [], "z": 0}]}, {"a": 2, "b": 1}]"#,
        ),
        // UTF-16 order, which some canonical forms use, has these two the other way round.
        ("{\"\u{10000}\":1,\"\u{ffff}\":2}", r#"{"\uffff": 2, "\ud800\udc00": 1}"#),
        // The order is that of the characters, not of their escapes.
        (r#"{"\u00e9":1,"z":2,"\u0041":3,"":4}"#, r#"{"": 4, "A": 3, "z": 2, "\u00e9": 1}"#),
        (r#"{"a":1,"aa":2,"a\u0000":3}"#, r#"{"a": 1, "a\u0000": 3, "aa": 2}"#),
    ]);
}

#[test]
fn the_last_of_equal_keys_stands() {
    assert_canonical(&[
        (r#"{"a":1,"a":2}"#, r#"{"a": 2}"#),
        (r#"{"a":{"z":1,"y":2},"b":0,"\u0061":{"x":1,"w":2},"b":[]}"#, r#"{"a": {"w": 2, "x": 1}, "b": []}"#),
        (r#"{"b":1,"a":2,"b":{"b":1,"b":2,"a":3}}"#, r#"{"a": 2, "b": {"a": 3, "b": 2}}"#),
    ]);
}

#[test]
fn what_is_not_printable_ascii_is_escaped() {
    assert_canonical(&[
        (r#""\"\\\/\b\f\n\r\t""#, r#""\"\\/\b\f\n\r\t""#),
        ("\"\u{7f} ~\u{80}é\u{ffff}😀\"", r#""\u007f ~\u0080\u00e9\uffff\ud83d\ude00""#),
        (r#""\uD83D\uDE00\u00E9\u001F""#, r#""\ud83d\ude00\u00e9\u001f""#),
        (r#""\ud83d\ude00a\uffff""#, r#""\ud83d\ude00a\uffff""#),
    ]);
}

#[test]
fn numbers_are_printed_as_python_prints_them() {
    assert_canonical(&[
        ("-0", "0"),
        ("-0.0", "-0.0"),
        ("-0e5", "-0.0"),
        ("0E+400", "0.0"),
        ("1e2", "100.0"),
        ("1E-4", "0.0001"),
        ("1e-5", "1e-05"),
        ("1.50e-7", "1.5e-07"),
        ("123.456", "123.456"),
        ("9999999999999998.0", "9999999999999998.0"),
        ("1e16", "1e+16"),
        ("1e22", "1e+22"),
        ("-1.25e+100", "-1.25e+100"),
        ("5e-324", "5e-324"),
        ("1e-400", "0.0"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("1059438285926254.25", "1059438285926254.2"),
        ("0.1e1", "1.0"),
        ("18446744073709551616", "18446744073709551616"),
        ("-123456789012345678901234567890", "-123456789012345678901234567890"),
    ]);
    assert_refused(&[
        ("1e99999999999999999999", "number that is not finite at byte 0"),
        ("[1, -1.7976931348623159e308]", "number that is not finite at byte 4"),
        ("[-Infinity]", "number that is not finite at byte 1"),
        ("[NaN]", "number that is not finite at byte 1"),
        ("-x", "expected a digit at byte 1"),
        ("1.e5", "expected the end at byte 1"),
        ("[1e]", "expected `,` or `]` at byte 2"),
    ]);
}

#[test]
fn integers_are_exact_up_to_python_s_bound() {
    let longest = "9".repeat(INTEGER_DIGITS_MAX);
    assert_eq!(canonical(&longest).as_deref(), Ok(&*longest));
    assert_eq!(canonical(&format!("-{longest}")), Ok(format!("-{longest}")));
    assert_eq!(canonical(&format!("[{longest}9]")), Err(ParamsError::IntegerTooLong { at: 1 }));
    // The bound is on integers: the same digits with a point behind them are a float that overflows.
    assert_eq!(canonical(&format!("{longest}9.5")), Err(ParamsError::NotFinite { at: 0 }));
}

#[test]
fn floats_are_exact_however_long_they_are() {
    // 1 + 2^-53 lies halfway between two doubles; it goes to the even one, and a digit far behind lifts it.
    let halfway = "1.00000000000000011102230246251565404236316680908203125";
    for zeros in [0, 900, 5000] {
        let zeros = "0".repeat(zeros);
        assert_canonical(&[
            (&format!("{halfway}{zeros}"), "1.0"),
            (&format!("{halfway}{zeros}1"), "1.0000000000000002"),
            (&format!("-{halfway}{zeros}1e+30"), "-1.0000000000000002e+30"),
        ]);
    }
    // Exponents that only count together with the zeros, past where std stops counting them.
    let zeros = "0".repeat(700_000);
    assert_canonical(&[
        (&format!("0.{zeros}125e700001"), "1.25"),
        (&format!("-125{zeros}e-700002"), "-1.25"),
        (&format!("125{zeros}.000e-000000700002"), "1.25"),
        (&format!("0.{zeros}"), "0.0"),
        (&format!("0.{zeros}1e99"), "0.0"),
    ]);
    assert_eq!(canonical(&format!("1{zeros}.0")), Err(ParamsError::NotFinite { at: 0 }));
}

#[test]
fn nesting_is_bounded() {
    let nested = |open: &str, depth: usize, close: &str| open.repeat(depth) + "1" + &close.repeat(depth);
    for (open, close) in [("[", "]"), (r#"{"a": "#, "}")] {
        let deepest = nested(open, PARAMS_DEPTH_MAX, close);
        assert_eq!(canonical(&deepest).as_deref(), Ok(&*deepest));
        let at = PARAMS_DEPTH_MAX * open.len();
        assert_eq!(canonical(&nested(open, PARAMS_DEPTH_MAX + 1, close)), Err(ParamsError::TooDeep { at }));
        assert_eq!(canonical(&open.repeat(200_000)), Err(ParamsError::TooDeep { at }));
    }
}

#[test]
fn disorder_at_every_depth_is_put_in_order_at_once() {
    let (mut json, mut expected) = ("0".to_owned(), "0".to_owned());
    for _ in 0..PARAMS_DEPTH_MAX {
        json = format!(r#"{{"c":1,"b":{json},"a":2}}"#);
        expected = format!(r#"{{"a": 2, "b": {expected}, "c": 1}}"#);
    }
    assert_canonical(&[(&json, &expected)]);
}

#[test]
fn what_is_not_json_is_refused_with_its_place_and_without_its_words() {
    assert_refused(&[
        ("", "expected a value at byte 0"),
        (" ", "expected a value at byte 1"),
        ("\u{feff}1", "expected a value at byte 0"),
        ("\u{a0}1", "expected a value at byte 0"),
        ("[secret]", "expected a value at byte 1"),
        ("nul", "expected a value at byte 0"),
        ("{\"a\":1,}", "expected a key in double quotes at byte 7"),
        ("{\"a\" 1}", "expected `:` at byte 5"),
        ("{\"a\":1 \"b\":2}", "expected `,` or `}` at byte 7"),
        ("[1 2]", "expected `,` or `]` at byte 3"),
        ("{\"a\":1} x", "expected the end at byte 8"),
        ("\"open", "expected `\"` at byte 5"),
        ("\"open\\", "invalid escape in a string at byte 5"),
        ("\"é\\x\"", "invalid escape in a string at byte 3"),
        (r#""\u00g0""#, "invalid escape in a string at byte 1"),
        (r#""\u+123""#, "invalid escape in a string at byte 1"),
        ("\"a\tb\"", "unescaped control character in a string at byte 2"),
        (r#"["\ud800"]"#, "lone surrogate in a string at byte 2"),
        (r#""\ud800\u0041""#, "lone surrogate in a string at byte 1"),
        (r#""\udc00\ud800""#, "lone surrogate in a string at byte 1"),
        (r#"{"\udc00":1}"#, "lone surrogate in a string at byte 2"),
        (r#"{"a":"\ud800","a":1}"#, "lone surrogate in a string at byte 6"),
        ("[[", "expected a value at byte 2"),
    ]);
    let mut out = Vec::new();
    let error = canonical_params(b"[\"ab\xff\"]", &mut out).unwrap_err();
    assert_eq!((error, error.to_string()), (ParamsError::NotUtf8 { at: 4 }, "not valid UTF-8 at byte 4".to_owned()));
}
