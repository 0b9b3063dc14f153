//! Who somebody is to an upstream: a user and a password.
//!
//! Guarantees that they can't be printed (`Debug` says `[credentials]`) and that equality is on both, so that whoever
//! shares a connection by them has given the same password. Leaves the judgement to the server.

use super::Secret;
use std::fmt;

/// A user and a password, as AUTH takes them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The ACL user; none is AUTH with one argument, the only form that a server older than 6 knows.
    pub username: Option<Box<[u8]>>,
    /// The password.
    pub password: Secret,
    /// The one session that these count for, while the server could not be asked about them: it rides on nobody's
    /// connection until the server has seen its password. None once that is done.
    pub unverified_of: Option<u64>,
}

impl Credentials {
    /// What a configuration says, or a server has accepted or is to judge.
    pub fn new(username: Option<&[u8]>, password: Secret) -> Self {
        Self { username: username.map(Into::into), password, unverified_of: None }
    }

    /// The words of the AUTH that says so.
    pub fn auth(&self) -> Vec<&[u8]> {
        let words = [Some(&b"AUTH"[..]), self.username.as_deref(), Some(self.password.expose())];
        words.into_iter().flatten().collect()
    }

    /// The name of the user, as far as it can stand in a line of CLIENT LIST.
    pub fn display_name(&self) -> String {
        let name = self.username.as_deref().unwrap_or(b"default");
        name.iter().map(|&byte| if byte.is_ascii_graphic() { char::from(byte) } else { '_' }).collect()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[credentials]")
    }
}
