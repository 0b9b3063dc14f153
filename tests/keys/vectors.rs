//! The vectors of `tests/vectors`, which are part of the contract: line by line, text and key.
//!
//! Guarantees that none of the three files is short or skipped. They test derivation alone, without twins.

use fca_proxy::key::{canonical_params, digest, is_digest, namespace_is_valid, normalise};
use serde_json::Value;

const QUERY_KEYS: &str = include_str!("../vectors/query_keys.jsonl");
const PARAMS_KEYS: &str = include_str!("../vectors/params_keys.jsonl");
const PARAMS_INVALID: &str = include_str!("../vectors/params_invalid.jsonl");

fn field<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap_or_else(|| panic!("{name} of {vector}"))
}

fn lines(file: &str, at_least: usize) -> Vec<Value> {
    let vectors = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>();
    assert!(vectors.len() >= at_least, "{} vectors", vectors.len());
    vectors
}

fn assert_key(vector: &Value, text: &[u8]) {
    let namespace = field(vector, "namespace");
    assert!(namespace_is_valid(namespace.as_bytes()), "{vector}");
    let digest = digest(text, None);
    assert!(is_digest(&digest));
    assert_eq!(format!("fca:{namespace}:{}", str::from_utf8(&digest).unwrap()), field(vector, "key"), "{vector}");
}

#[test]
fn queries_have_python_s_text_and_key() {
    for vector in lines(QUERY_KEYS, 301) {
        let mut text = Vec::new();
        normalise(field(&vector, "query").as_bytes(), &mut text).unwrap();
        assert_eq!(str::from_utf8(&text).unwrap(), field(&vector, "normalised"), "{vector}");
        assert_key(&vector, &text);
    }
}

#[test]
fn params_have_python_s_text_and_key() {
    for vector in lines(PARAMS_KEYS, 302) {
        let mut text = Vec::new();
        canonical_params(field(&vector, "params").as_bytes(), &mut text).unwrap_or_else(|e| panic!("{e}: {vector}"));
        assert_eq!(str::from_utf8(&text).unwrap(), field(&vector, "canonical"), "{vector}");
        assert_key(&vector, &text);
    }
}

#[test]
fn what_is_not_json_has_no_key() {
    for vector in lines(PARAMS_INVALID, 26) {
        let mut text = Vec::new();
        assert!(canonical_params(field(&vector, "params").as_bytes(), &mut text).is_err(), "{vector}");
        assert!(text.is_empty(), "{vector}");
    }
}
