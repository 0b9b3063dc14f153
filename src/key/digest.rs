//! The part of a key that stands for the question: a hash, so that nothing personal stands in a key.
//!
//! Guarantees: the first 16 hex characters of SHA-256, or of HMAC-SHA256 (RFC 2104) where the namespace has a secret.
//! sha2 picks the processor's own SHA instructions at run time. A secret is never printed, and wiped when dropped.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use std::fmt;
use zeroize::Zeroizing;

/// 16 lower-case hex characters: the first 64 bits of the hash.
pub type Digest = [u8; 16];

/// The secret of a namespace whose questions must not be guessed from their keys.
///
/// Holds the hash state that the secret leads to, not the secret, so that each digest costs two blocks less. It is wiped
/// by the crates' own `zeroize` feature, which costs a digest without a secret some 5 ns as well.
#[derive(Clone)]
pub struct KeySecret(Hmac<Sha256>);

impl KeySecret {
    /// Takes the secret's bytes, of any length; that it is not too short to resist guessing is for `config` to see to.
    pub fn new(secret: Vec<u8>) -> Self {
        let secret = Zeroizing::new(secret);
        #[expect(
            clippy::expect_used,
            reason = "HMAC takes a key of any length; the error is that of other constructions"
        )]
        Self(Hmac::new_from_slice(&secret).expect("HMAC takes a key of any length"))
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(..)")
    }
}

/// The digest of a normalised query or of canonical params.
pub fn digest(text: &[u8], secret: Option<&KeySecret>) -> Digest {
    let hash = match secret {
        None => Sha256::digest(text),
        Some(KeySecret(keyed)) => keyed.clone().chain_update(text).finalize().into_bytes(),
    };
    let nibbles: Digest = std::array::from_fn(|place| hash[place / 2] >> (4 * (1 - place % 2)) & 0xf);
    nibbles.map(hex_digit)
}

/// Whether `bytes` has the form of a [`Digest`]: exactly 16 of `0–9 a–f`.
pub fn is_digest(bytes: &[u8]) -> bool {
    bytes.len() == size_of::<Digest>() && bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The lower-case hex digit of a value below 16.
pub(super) fn hex_digit(nibble: u8) -> u8 {
    nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_head_of_the_published_hash() {
        assert_eq!(&digest(b"", None), b"e3b0c44298fc1c14");
        assert_eq!(&digest(b"abc", None), b"ba7816bf8f01cfea");
        assert_eq!(&digest(&[b'a'; 1_000_000], None), b"cdc76e5c9914fb92");
    }

    /// RFC 4231, test cases 1, 2 and 6 (a key longer than a block).
    #[test]
    fn a_keyed_digest_is_the_head_of_the_published_hmac() {
        let keyed = |secret: &[u8], text: &[u8]| digest(text, Some(&KeySecret::new(secret.to_vec())));
        assert_eq!(&keyed(&[0x0b; 20], b"Hi There"), b"b0344c61d8db3853");
        assert_eq!(&keyed(b"Jefe", b"what do ya want for nothing?"), b"5bdcc146bf60754e");
        assert_eq!(
            &keyed(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"),
            b"60e431591ee0b67f"
        );
        assert_ne!(keyed(b"", b"abc"), digest(b"abc", None));
    }

    #[test]
    fn one_secret_serves_many_digests() {
        let secret = KeySecret::new(b"Jefe".to_vec());
        assert_eq!(digest(b"a", Some(&secret)), digest(b"a", Some(&secret.clone())));
        assert_ne!(digest(b"a", Some(&secret)), digest(b"b", Some(&secret)));
    }

    /// The HMAC state is made of these; without the crates' feature this does not compile.
    #[test]
    fn hash_states_are_wiped_when_dropped() {
        fn assert_wiped<T: zeroize::ZeroizeOnDrop>() {}
        assert_wiped::<Sha256>();
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret = KeySecret::new(b"Jefe".to_vec());
        assert_eq!(format!("{secret:?} {secret:#?}"), "KeySecret(..) KeySecret(..)");
    }

    #[test]
    fn only_16_lower_case_hex_characters_are_a_digest() {
        assert!(is_digest(&digest(b"any", None)));
        assert!(is_digest(b"0123456789abcdef"));
        for bytes in [&b""[..], b"0123456789abcde", b"0123456789abcdef0", b"0123456789ABCDEF", b"0123456789abcdeg"] {
            assert!(!is_digest(bytes));
        }
    }
}
