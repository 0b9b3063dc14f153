//! What must hold for any JSON document, however it is written, and for any damage to its bytes.
//!
//! Documents are grown from a model in the plainest data structures, so that what comes out is compared with what was
//! meant and not with another reading of the same text.

use fca_proxy::key::{PARAMS_DEPTH_MAX, ParamsError, canonical_params, digest, normalise, twin};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A document as it is meant. Scalars are literals whose canonical form is known by other tests.
#[derive(Clone, Debug)]
enum Model {
    /// A number or word: as written, and its canonical form.
    Literal(&'static str, &'static str),
    Text(String),
    Array(Vec<Self>),
    /// In the order written; keys may be equal.
    Object(Vec<(String, Self)>),
}

const LITERALS: [(&str, &str); 9] = [
    ("true", "true"),
    ("null", "null"),
    ("-0", "0"),
    ("-0.0", "-0.0"),
    ("1E5", "100000.0"),
    ("1e-5", "1e-05"),
    ("2.50", "2.5"),
    ("123456789012345678901234567890", "123456789012345678901234567890"),
    ("9007199254740993.0", "9007199254740992.0"),
];

fn model() -> impl Strategy<Value = Model> {
    let leaf = prop_oneof![
        (0..LITERALS.len()).prop_map(|index| Model::Literal(LITERALS[index].0, LITERALS[index].1)),
        text().prop_map(Model::Text),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Model::Array),
            prop::collection::vec((text(), inner), 0..7).prop_map(Model::Object),
        ]
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]{0,2}", "[ -~\u{7f}-\u{9f}éß\u{ffff}\u{10000}😀\n\t\"\\\\]{0,6}"]
}

impl Model {
    /// The canonical form by its definition.
    fn canonical(&self) -> String {
        match self {
            Self::Literal(_, canonical) => (*canonical).to_owned(),
            Self::Text(text) => quoted(text, Spelling::Escaped),
            Self::Array(values) => {
                format!("[{}]", values.iter().map(Self::canonical).collect::<Vec<_>>().join(", "))
            }
            Self::Object(members) => {
                let members = members.iter().map(|(key, value)| (key.chars().collect(), value));
                let last_of_equal = members.collect::<BTreeMap<Vec<char>, _>>();
                let members = last_of_equal.iter().map(|(key, value)| {
                    format!("{}: {}", quoted(&key.iter().collect::<String>(), Spelling::Escaped), value.canonical())
                });
                format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// One way to write the document; `style` decides on spaces and escapes as it is used up.
    fn written(&self, style: &mut impl Iterator<Item = u8>) -> String {
        let choice = style.next().unwrap_or(0);
        let space = ["", " ", "\n\t", "\r"][usize::from(choice >> 4) % 4];
        let spelling = if choice.is_multiple_of(2) { Spelling::Raw } else { Spelling::Escaped };
        let body = match self {
            Self::Literal(written, _) => (*written).to_owned(),
            Self::Text(text) => quoted(text, spelling),
            Self::Array(values) => {
                let values = values.iter().map(|value| value.written(style)).collect::<Vec<_>>();
                format!("[{space}{}]", values.join(","))
            }
            Self::Object(members) => {
                let members = members
                    .iter()
                    .map(|(key, value)| format!("{space}{}{space}:{}", quoted(key, spelling), value.written(style)));
                format!("{{{}{space}}}", members.collect::<Vec<_>>().join(","))
            }
        };
        format!("{space}{body}{space}")
    }
}

#[derive(Clone, Copy)]
enum Spelling {
    /// As Python writes it.
    Escaped,
    /// With as few escapes as JSON allows.
    Raw,
}

fn quoted(text: &str, spelling: Spelling) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match (c, spelling) {
            ('"' | '\\', _) => out.extend(['\\', c]),
            ('\n', _) => out.push_str("\\n"),
            ('\t', _) => out.push_str("\\t"),
            (' '..='~', _) | ('\u{7f}'.., Spelling::Raw) => out.push(c),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    out + "\""
}

fn canonical(json: &[u8]) -> Result<String, ParamsError> {
    let mut out = b"kept".to_vec();
    let result = canonical_params(json, &mut out);
    let appended = String::from_utf8(out.split_off(4)).unwrap();
    assert_eq!(out, b"kept");
    assert!(result.is_ok() || appended.is_empty());
    result.map(|()| appended)
}

/// What holds for any bytes: no panic, and a canonical form is ASCII and its own canonical form.
fn assert_holds_for_any_bytes(json: &[u8]) {
    match canonical(json) {
        Ok(text) => {
            assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text}");
            assert_eq!(canonical(text.as_bytes()).as_ref(), Ok(&text));
        }
        Err(error) => assert!(error.to_string().is_ascii()),
    }
}

/// Whether another reader of JSON takes the bytes; it has our bounds on floats and surrogates, none on integers.
fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(bytes).is_ok()
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn every_way_to_write_a_document_is_its_canonical_form(
        model in model(),
        styles in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 3),
    ) {
        let expected = model.canonical();
        for style in styles {
            let written = model.written(&mut style.into_iter());
            prop_assert_eq!(canonical(written.as_bytes()), Ok(expected.clone()), "{}", written);
        }
        prop_assert_eq!(canonical(expected.as_bytes()), Ok(expected));
    }

    #[test]
    fn damage_is_read_as_json_or_refused(
        model in model(),
        style in prop::collection::vec(any::<u8>(), 0..60),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..6),
    ) {
        const SIGNIFICANT: &[u8] = b"{}[]\",:\\u/0123456789.eE+-tfn \t\n\x00\x1f\x7f\x80\xbf\xc3\xed\xf0\xff";
        let mut bytes = model.written(&mut style.into_iter()).into_bytes();
        for (place, how, byte) in damage {
            let place = place.index(bytes.len() + 1);
            let byte = SIGNIFICANT[usize::from(byte) % SIGNIFICANT.len()];
            match how {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, byte),
                2 if place < bytes.len() => bytes[place] = byte,
                3 if place < bytes.len() => drop(bytes.remove(place)),
                _ => bytes.extend_from_within(place..),
            }
        }
        assert_holds_for_any_bytes(&bytes);
        prop_assert_eq!(canonical(&bytes).is_ok(), is_json(&bytes), "{}", bytes.escape_ascii());
    }

    #[test]
    fn a_soup_of_tokens_is_read_as_json_or_refused(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "\"", "\\", "\\u", "d800", "\\udc00", "\"\\ud800\\udc00\"",
            "0", "1", "-", ".", "e", "E+", "1e5", "1e400", "-0", "true", "null", "NaN", "Infinity", " ", "\t", "\u{a0}",
            "{\"a\":", "{\"b\":", "[1,", "}]", "]}",
        ]), 0..16),
    ) {
        let json = tokens.concat();
        assert_holds_for_any_bytes(json.as_bytes());
        prop_assert_eq!(canonical(json.as_bytes()).is_ok(), is_json(json.as_bytes()), "{}", json);
    }

    #[test]
    fn any_bytes_have_a_key_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        assert_holds_for_any_bytes(&bytes);
        let mut text = Vec::new();
        if normalise(&bytes, &mut text).is_ok() {
            let mut other = Vec::new();
            if twin(&text, &mut other) {
                prop_assert_ne!(digest(&text, None), digest(&other, None));
            }
        }
    }

    #[test]
    fn nesting_of_any_mixture_ends_at_the_bound(opening in prop::collection::vec(any::<bool>(), 1..400)) {
        let (mut json, mut closing) = (String::new(), String::new());
        for is_array in &opening {
            json.push_str(if *is_array { "[1, " } else { "{\"b\": 1, \"a\": " });
            closing.insert(0, if *is_array { ']' } else { '}' });
        }
        let json = json + "0" + &closing;
        match canonical(json.as_bytes()) {
            Ok(text) => {
                prop_assert!(opening.len() <= PARAMS_DEPTH_MAX);
                prop_assert_eq!(text.len(), json.len());
            }
            Err(error) => {
                let is_too_deep = matches!(error, ParamsError::TooDeep { .. });
                prop_assert!(is_too_deep);
                prop_assert!(opening.len() > PARAMS_DEPTH_MAX);
            }
        }
    }
}

/// Each of these once had another reader, or a careless one of this kind, in trouble: work that grows with the square.
#[test]
fn a_large_hostile_document_is_read_in_time_that_grows_with_its_length() {
    let size = 200_000;
    let descending = (0..size / 10).rev().map(|n| format!("\"{n:06}\":1")).collect::<Vec<_>>().join(",");
    let ascending = (0..size / 10).map(|n| format!("\"{n:06}\": 1")).collect::<Vec<_>>().join(", ");
    assert_eq!(canonical(format!("{{{descending}}}").as_bytes()), Ok(format!("{{{ascending}}}")));

    let equal_keys = "\"a\":[],".repeat(size / 7);
    assert_eq!(canonical(format!("{{{equal_keys}\"a\":0}}").as_bytes()).as_deref(), Ok(r#"{"a": 0}"#));

    let small_objects = "{\"b\":1,\"a\":2},".repeat(size / 14);
    let text = canonical(format!("[{small_objects}0]").as_bytes()).unwrap();
    assert_eq!(text.matches(r#"{"a": 2, "b": 1}"#).count(), size / 14);

    let mut nested = format!("\"{}\"", "x".repeat(size));
    for _ in 0..PARAMS_DEPTH_MAX {
        nested = format!("{{\"b\":{nested},\"a\":1}}");
    }
    assert!(canonical(nested.as_bytes()).unwrap().starts_with(r#"{"a": 1, "b": {"a": 1, "#));
}
