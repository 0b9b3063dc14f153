//! Commands that the built-in table lacks: a module's, or a newer server's.
//!
//! Guarantees that one that may block never gets onto a connection that others share: before the first request with a
//! name that nobody knows the upstream is asked what it is (`COMMAND INFO`), and what it says is remembered by the
//! worker until its main connection is made anew. Asked is for the one name, when it is used: the whole table would be
//! a large reply at every connect, for a question that most clients never have. What can't be learned is forwarded as
//! it is: the server itself says what is wrong with it.

use super::Route;
use super::call::Call;
use super::step::{Reply, Task, To, Turn};
use crate::command::{Flags, LEARNED_NAME_BYTES_MAX};
use crate::resp::{elements, encode};
use crate::session::{Lesson, Session};
use crate::upstream::Failure;

/// What the upstream says of a command that the table lacks, as far as it can be known; `None` where it has just been
/// asked, and the request is to be offered again.
pub(super) fn flags(call: &Call<'_>, session: &mut Session, name: &[u8]) -> Option<Flags> {
    let plain = Some(Flags::default());
    // What one request could not learn is no word about the next.
    let lesson = std::mem::replace(&mut session.lesson, Lesson::None);
    let Route::Lane(lane, node) = call.route else { return plain };
    if name.len() > LEARNED_NAME_BYTES_MAX || lane.accepts().is_err() {
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
    let waiter = call.waiter(To::Nowhere, Question(name.into()));
    lane.push_with(call.deadline, waiter, &[], |out| encode::command(out, &[b"COMMAND", b"INFO", name]));
    None
}

/// What is this command, which the table lacks?
struct Question(Box<[u8]>);

impl Task for Question {
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        self.on_told(turn, told_flags(reply.frame));
    }

    fn on_failure(self: Box<Self>, turn: Turn<'_>, _: &Failure) {
        self.on_told(turn, None);
    }
}

impl Question {
    /// The upstream has said what it knows of the command, or could not be asked.
    fn on_told(&self, turn: Turn<'_>, flags: Option<Flags>) {
        turn.session.lesson = Lesson::None;
        match (flags, &*turn.client.route.borrow()) {
            (Some(flags), Route::Lane(_, node)) => {
                let learned = &turn.client.core.learned;
                // The question may have waited for that connection.
                learned.renew(node.main_connections());
                learned.remember(&self.0, flags);
            }
            // It may be there the next time: a module can be loaded.
            _ => turn.session.lesson = Lesson::Failed,
        }
        turn.client.wake();
    }
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
}
