//! Passwords and key secrets.
//!
//! Guarantees that a [`Secret`] can't be printed by accident (`Debug` and `Display` say `[secret]`) and that its bytes
//! are wiped when it is dropped. What else once held the bytes (the process environment, the text of a URL) is not
//! wiped, which is why the documentation recommends files.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes that nobody but their receiver may see.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A secret of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves, for the one place that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The content of a file without the line end that editors and `echo` leave behind it. Of a file longer than
    /// `bytes_max` (a log, a device) it is only the start, which still is longer than that, for the caller to refuse.
    pub(super) fn read(path: &Path, bytes_max: usize) -> io::Result<Self> {
        // One byte too many and a line end. The capacity is for all of it, since a vector that grows leaves copies
        // behind that nothing wipes.
        let read_max = bytes_max + 3;
        let mut bytes = Zeroizing::new(Vec::with_capacity(read_max + 1));
        File::open(path)?.take(read_max as u64).read_to_end(&mut bytes)?;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}
