//! Which names a namespace can have.
//!
//! Guarantees that a valid name can stand in a key and in a metric's label as it is: no colon, no brace (which would
//! choose the cluster slot), no space, no control character, nothing that is special in a glob.
//! Leaves to others: whether the configuration knows the namespace.

/// The longest name of a namespace, in bytes.
pub const NAMESPACE_BYTES_MAX: usize = 64;

/// Whether `name` is 1 to [`NAMESPACE_BYTES_MAX`] bytes of `A–Z a–z 0–9 _ . -`.
pub fn namespace_is_valid(name: &[u8]) -> bool {
    (1..=NAMESPACE_BYTES_MAX).contains(&name.len())
        && name.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_64_bytes_of_the_allowed_ones() {
        let allowed = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
        for byte in 0..=u8::MAX {
            assert_eq!(namespace_is_valid(&[b'a', byte, b'z']), allowed.contains(&byte), "{byte:#x}");
        }
        assert!(namespace_is_valid(b"x"));
        assert!(namespace_is_valid(&[b'x'; NAMESPACE_BYTES_MAX]));
        assert!(!namespace_is_valid(b""));
        assert!(!namespace_is_valid(&[b'x'; NAMESPACE_BYTES_MAX + 1]));
        assert!(!namespace_is_valid("né".as_bytes()));
    }
}
