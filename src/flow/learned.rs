//! Commands that the built-in table lacks: a module's, or a newer server's.
//!
//! Guarantees that one that may block never gets onto a connection that others share: before the first request with a
//! name that nobody knows the upstream is asked what it is (`COMMAND INFO`), and what it says is remembered by the
//! worker until its main connection is made anew. Asked is for the one name, when it is used: the whole table would be
//! a large reply at every connect, for a question that most clients never have. What can't be learned is forwarded as
//! it is: the server itself says what is wrong with it.

use super::Route;
use super::request::Call;
use super::step::{Step, To, Turn};
use crate::command::Flags;
use crate::resp::{elements, encode};
use crate::session::{Lesson, Session};
use hashbrown::HashMap;
use std::cell::{Cell, RefCell};

/// How many names a worker remembers; past it, it begins anew.
const NAMES_MAX: usize = 1024;

/// The longest name that is asked about, in bytes; what is longer is no command.
const NAME_BYTES_MAX: usize = 64;

/// What a worker was told of commands that its table lacks.
#[derive(Default)]
pub(super) struct Learned {
    flags: RefCell<HashMap<Box<[u8]>, Flags, foldhash::fast::RandomState>>,
    /// On which main connection it was told so, by its number.
    connection: Cell<u64>,
}

impl Learned {
    /// Forgets what was told on an earlier connection: the server may be another.
    fn renew(&self, connection: u64) {
        if self.connection.replace(connection) != connection {
            self.flags.borrow_mut().clear();
        }
    }

    fn find(&self, name: &[u8]) -> Option<Flags> {
        let mut upper = [0; NAME_BYTES_MAX];
        let upper = upper.get_mut(..name.len())?;
        upper.copy_from_slice(name);
        upper.make_ascii_uppercase();
        self.flags.borrow().get(&*upper).copied()
    }

    fn remember(&self, name: &[u8], flags: Flags) {
        let known = &mut *self.flags.borrow_mut();
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        known.insert(name.to_ascii_uppercase().into(), flags);
    }
}

/// What the upstream says of a command that the table lacks, as far as it can be known; `None` where it has just been
/// asked, and the request is to be offered again.
pub(super) fn flags(call: &Call<'_>, session: &mut Session, name: &[u8]) -> Option<Flags> {
    let plain = Some(Flags::default());
    // What one request could not learn is no word about the next.
    let lesson = std::mem::replace(&mut session.lesson, Lesson::None);
    let Route::Lane(lane, node) = call.route else { return plain };
    if name.len() > NAME_BYTES_MAX || lane.accepts().is_err() {
        return plain;
    }
    let learned = &call.client.core.learned;
    learned.renew(node.main_connections());
    if let Some(flags) = learned.find(name) {
        return Some(flags);
    }
    if lesson == Lesson::Failed {
        return plain;
    }
    session.lesson = Lesson::Awaited;
    let waiter = call.waiter(To::Nowhere, Step::Learn(name.into()));
    lane.push_with(call.deadline, waiter, &[], |out| encode::command(out, &[b"COMMAND", b"INFO", name]));
    None
}

/// The upstream has said what it knows of a command, or could not be asked.
pub(super) fn on_told(turn: Turn<'_>, name: &[u8], frame: Option<&[u8]>) {
    turn.session.lesson = Lesson::None;
    match (frame.and_then(told_flags), &*turn.client.route.borrow()) {
        (Some(flags), Route::Lane(_, node)) => {
            let learned = &turn.client.core.learned;
            // The question may have waited for that connection.
            learned.renew(node.main_connections());
            learned.remember(name, flags);
        }
        // It may be there the next time: a module can be loaded.
        _ => turn.session.lesson = Lesson::Failed,
    }
    turn.client.wake();
}

/// The flags in a reply to COMMAND INFO about one command.
fn told_flags(frame: &[u8]) -> Option<Flags> {
    let about = elements(frame)?;
    let [command] = about.as_slice() else { return None };
    let words = elements(elements(command)?.get(2)?)?;
    Some(Flags::of(words.into_iter().filter_map(|word| word.strip_prefix(b"+")?.strip_suffix(b"\r\n"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_from_what_either_protocol_says() {
        let facts = b"$3\r\nfoo\r\n:-2\r\n*3\r\n+readonly\r\n+blocking\r\n+made_up\r\n:1\r\n:1\r\n:1\r\n";
        let told = |head: &[u8], facts: &[u8]| told_flags(&[head, facts].concat());
        let expected = Flags::of([b"blocking".as_slice(), b"readonly"]);
        assert_eq!(told(b"*1\r\n*6\r\n", facts), Some(expected));
        let set = facts.iter().map(|&byte| if byte == b'*' { b'~' } else { byte }).collect::<Vec<u8>>();
        assert_eq!(told(b"*1\r\n*6\r\n", &set), Some(expected));
        for nothing in
            ["*0\r\n", "*1\r\n*-1\r\n", "*1\r\n$-1\r\n", "*1\r\n_\r\n", "-ERR no\r\n", "*1\r\n*1\r\n:1\r\n", "+OK\r\n"]
        {
            assert_eq!(told_flags(nothing.as_bytes()), None, "{nothing:?}");
        }
    }

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
