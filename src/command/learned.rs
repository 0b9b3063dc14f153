//! What a server said of commands that the table lacks.
//!
//! Guarantees: bounded; forgotten when the connection is another, behind which the server may be another. Leaves asking to
//! others.

use super::Flags;
use hashbrown::HashMap;
use std::cell::{Cell, RefCell};

/// How many names a worker remembers; past it, it begins anew.
const NAMES_MAX: usize = 1024;

/// The longest name that is asked about, in bytes; what is longer is no command.
pub const LEARNED_NAME_BYTES_MAX: usize = 64;

/// What a worker was told of commands that its table lacks.
#[derive(Default)]
pub struct Learned {
    flags: RefCell<HashMap<Box<[u8]>, Flags, foldhash::fast::RandomState>>,
    /// On which main connection it was told so, by its number.
    connection: Cell<u64>,
}

impl Learned {
    /// Forgets what was told on an earlier connection: the server may be another.
    pub fn renew(&self, connection: u64) {
        if self.connection.replace(connection) != connection {
            self.flags.borrow_mut().clear();
        }
    }

    /// What was told of this name.
    pub fn find(&self, name: &[u8]) -> Option<Flags> {
        let mut upper = [0; LEARNED_NAME_BYTES_MAX];
        let upper = upper.get_mut(..name.len())?;
        upper.copy_from_slice(name);
        upper.make_ascii_uppercase();
        self.flags.borrow().get(&*upper).copied()
    }

    /// This was told of this name.
    pub fn remember(&self, name: &[u8], flags: Flags) {
        let known = &mut *self.flags.borrow_mut();
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        known.insert(name.to_ascii_uppercase().into(), flags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_of_one_connection() {
        let learned = Learned::default();
        learned.renew(1);
        for n in 0..=NAMES_MAX {
            learned.remember(format!("name.{n}").as_bytes(), Flags::BLOCKING);
        }
        assert_eq!(learned.flags.borrow().len(), 1);
        assert_eq!(learned.find(format!("NAME.{NAMES_MAX}").as_bytes()), Some(Flags::BLOCKING));
        assert_eq!(learned.find(&[b'x'; 1000]), None);
        learned.renew(1);
        assert_eq!(learned.flags.borrow().len(), 1);
        learned.renew(2);
        assert_eq!(learned.flags.borrow().len(), 0);
    }
}
