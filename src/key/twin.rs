//! The other spelling under which a question may have been stored: with or without its question mark.
//!
//! Guarantees: a text that ends otherwise and the same text with one `?` are each other's twins. A text that ends in
//! several question marks, or in a space and some, looks at the bare text, which in turn looks only at its own `?`.
//! Leaves to others: which of the two keys is read first, and what a write does with the second.

/// Appends the twin of a normalised text; says whether there is one, and appends nothing when there is none.
///
/// The twin of a text that ends in `?` is the text without its trailing question marks and the space before them, that
/// of any other is the text followed by `?`. A text of question marks alone has none.
pub fn twin(normalised: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(marked) = normalised.strip_suffix(b"?") else {
        out.extend_from_slice(normalised);
        out.push(b'?');
        return true;
    };
    let end = marked.iter().rposition(|&byte| byte != b'?').map_or(0, |last| last + 1);
    let unmarked = &marked[..end];
    let bare = unmarked.strip_suffix(b" ").unwrap_or(unmarked);
    out.extend_from_slice(bare);
    !bare.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn twin_of(normalised: &str) -> Option<String> {
        let mut out = b"kept".to_vec();
        let found = twin(normalised.as_bytes(), &mut out);
        let appended = String::from_utf8(out.split_off(4)).unwrap();
        assert_eq!(out, b"kept");
        assert_eq!(found, !appended.is_empty());
        found.then_some(appended)
    }

    #[test]
    fn a_question_mark_is_added_or_every_trailing_one_is_taken() {
        let cases = [
            ("how do i open an account", Some("how do i open an account?")),
            ("how do i open an account?", Some("how do i open an account")),
            ("how do i open an account ?", Some("how do i open an account")),
            ("a ??", Some("a")),
            ("a??", Some("a")),
            ("a? b", Some("a? b?")),
            ("a ? ?", Some("a ?")),
            ("?a", Some("?a?")),
            ("¿qué?", Some("¿qué")),
            ("a？", Some("a？?")),
            ("", Some("?")),
            ("?", None),
            ("???", None),
        ];
        for (text, expected) in cases {
            assert_eq!(twin_of(text).as_deref(), expected, "{text:?}");
        }
    }

    proptest! {
        /// What keeps at most one of the two in the store: each write removes the other one's entry.
        #[test]
        fn a_bare_text_and_its_question_are_twins_of_each_other(bare in "[a-z? ]{0,20}[a-z]") {
            let question = twin_of(&bare).unwrap();
            prop_assert_eq!(&question, &format!("{bare}?"));
            prop_assert_eq!(twin_of(&question).unwrap(), bare);
        }
    }
}
