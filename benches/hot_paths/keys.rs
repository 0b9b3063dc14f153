//! Deriving the key of an entry, as the flow does it: prefix, namespace and normalised question into a buffer that is
//! used again, then the digest of the question.

use crate::case::{Case, SHA256, repeat};
use crate::decode::QUESTION;
use fca_proxy::key::{self, Digest, KeySecret};
use std::hint::black_box;
use std::time::Duration;

/// What stands before the question.
const PREFIX: &[u8] = b"fca:faq:";

/// Cut to length for the ASCII cases; spaces and capitals as people type them.
const LONG_QUESTION: &str = "How do I change the daily limit of my debit card for payments abroad,  and how long does \
                             it take until the new limit holds at cash machines, in shops and for online payments? \
                             Please answer in ENGLISH, thank you";

/// 60 bytes with three letters beyond ASCII, and 60 of which most are.
const LATIN_QUESTION: &str = "Wie ändere ich das Überweisungslimit für mein Girokonto ?";
const CYRILLIC_QUESTION: &str = "Как сменить Пароль личного счёта";

const PARAMS: &str = r#"{"question":"What is the rate for a mortgage?","lang":"en","years":10,"amount":250000.50,"tags":["rates","home"],"x":12}"#;

pub(crate) fn cases() -> Vec<Case> {
    let secret = KeySecret::new(b"a secret of thirty-two bytes here".to_vec());
    vec![
        Case::new("key/ascii-20b", question(ascii(20), None)).noting(SHA256),
        Case::new("key/ascii-60b", question(ascii(60), None)).noting(SHA256),
        Case::new("key/ascii-100b", question(ascii(100), None)).noting(SHA256),
        Case::new("key/ascii-200b", question(ascii(200), None)).noting(SHA256),
        Case::new("key/latin-60b", question(LATIN_QUESTION, None)).noting(SHA256),
        Case::new("key/cyrillic-60b", question(CYRILLIC_QUESTION, None)).noting(SHA256),
        Case::new("key/params-120b", params).noting(SHA256),
        Case::new("key/secret-60b", question(ascii(60), Some(secret))).noting(SHA256),
        Case::new("key/twin-60b", twin).noting(SHA256),
        Case::new("key/normalise-60b", normalise),
    ]
}

fn ascii(bytes: usize) -> &'static str {
    &LONG_QUESTION[..bytes]
}

fn question(question: &'static str, secret: Option<KeySecret>) -> impl Fn(u64) -> Duration {
    move |operations| {
        let mut text = Vec::new();
        repeat(operations, |_| {
            black_box(derive(&mut text, black_box(question), secret.as_ref()));
        })
    }
}

fn derive(text: &mut Vec<u8>, question: &str, secret: Option<&KeySecret>) -> Digest {
    text.clear();
    text.extend_from_slice(PREFIX);
    key::normalise(question.as_bytes(), text).expect("UTF-8");
    key::digest(&text[PREFIX.len()..], secret)
}

fn params(operations: u64) -> Duration {
    let mut text = Vec::new();
    repeat(operations, |_| {
        text.clear();
        text.extend_from_slice(PREFIX);
        key::canonical_params(black_box(PARAMS.as_bytes()), &mut text).expect("JSON");
        black_box(key::digest(&text[PREFIX.len()..], None));
    })
}

/// The digest of the other spelling of a normalised question.
fn twin(operations: u64) -> Duration {
    let mut normalised = Vec::new();
    key::normalise(ascii(60).as_bytes(), &mut normalised).expect("UTF-8");
    repeat(operations, |_| {
        let mut twin = Vec::with_capacity(normalised.len() + 1);
        assert!(key::twin(black_box(&normalised), &mut twin));
        black_box(key::digest(&twin, None));
    })
}

/// The part of a derivation that is not the hash.
fn normalise(operations: u64) -> Duration {
    assert_eq!((QUESTION.len(), LATIN_QUESTION.len(), CYRILLIC_QUESTION.len(), PARAMS.len()), (60, 60, 60, 120));
    let mut text = Vec::new();
    repeat(operations, |_| {
        text.clear();
        key::normalise(black_box(ascii(60).as_bytes()), &mut text).expect("UTF-8");
        black_box(&text);
    })
}
