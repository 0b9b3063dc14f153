//! FCA.FLUSH: removes the keys of one namespace by SCAN and UNLINK in batches.
//!
//! Guarantees: only keys that this program derives (the namespace's prefix and 16 hexadecimal digits) are removed; no
//! step asks the upstream for more than [`SCAN_COUNT`] keys, so other clients are served between the steps; each step
//! has the budget of a command. The session's later requests wait until it is done.
//!
//! ```text
//!   SCAN cursor MATCH prefix* COUNT n ──▶ keys? ──yes──▶ UNLINK keys ──▶ cursor 0? ──yes──▶ reply
//!        ▲                                  └──no──────────────────────────┘  │ no
//!        └────────────────────────────────────────────────────────────────────┘
//! ```

use super::call::{Call, Handled};
use super::client::Work;
use super::step::{Reply, Step, Task, To, Turn, is_outage};
use super::{Client, Route, SharedStore, tell};
use crate::clock;
use crate::key;
use crate::metrics::{Counter, Family, Outcome};
use crate::near_cache::Written;
use crate::resp::{Protocol, ReplyError, elements, encode, payload};
use crate::session::{Session, Slot};
use crate::upstream::Failure;
use std::rc::Rc;
use std::time::Duration;

/// How many keys one SCAN looks at, and so how many one UNLINK removes at most (SCAN may return a few more).
const SCAN_COUNT: &[u8] = b"500";

/// One FCA.FLUSH on its way.
struct Flush {
    /// What SCAN matches: the escaped prefix and the caller's glob.
    pattern: Vec<u8>,
    prefix_bytes: usize,
    /// Where the next SCAN goes on; `0` when there is none.
    cursor: Vec<u8>,
    removed: i64,
    /// Whether the reply to come is UNLINK's.
    unlinking: bool,
}

impl Flush {
    fn new(prefix: &[u8], glob: Option<&[u8]>) -> Self {
        let mut pattern = Vec::new();
        key::escape_glob(prefix, &mut pattern);
        pattern.extend_from_slice(glob.unwrap_or(b"*"));
        Self { pattern, prefix_bytes: prefix.len(), cursor: b"0".to_vec(), removed: 0, unlinking: false }
    }

    fn scan(&self) -> [&[u8]; 6] {
        [b"SCAN", &self.cursor, b"MATCH", &self.pattern, b"COUNT", SCAN_COUNT]
    }

    /// Takes what a SCAN found: the keys to remove, with UNLINK before them. `None` for anything else.
    fn take_scan<'a>(&mut self, frame: &'a [u8]) -> Option<Vec<&'a [u8]>> {
        let [cursor, keys] = elements(frame)?.try_into().ok()?;
        self.cursor = payload(cursor)?.to_vec();
        let mut unlink: Vec<&[u8]> = vec![b"UNLINK"];
        let found = elements(keys)?;
        unlink.extend(
            found
                .into_iter()
                .filter_map(payload)
                .filter(|key| key.get(self.prefix_bytes..).is_some_and(key::is_digest)),
        );
        Some(unlink)
    }

    fn is_done(&self) -> bool {
        self.cursor == b"0"
    }
}

/// Begins an FCA.FLUSH.
pub(super) fn start(
    call: &Call<'_>,
    session: &mut Session,
    name: &[u8],
    glob: Option<&[u8]>,
) -> Result<Handled, ReplyError> {
    let namespace = call.settings.namespace(name)?;
    if session.looks_up() {
        return Ok(Handled::WaitUntilAnswered);
    }
    let prefix = [&*call.settings.key_prefix, name, b":"].concat();
    let flush = Flush::new(&prefix, glob);
    Ok(match call.route {
        _ if !namespace.enabled => call.say(session, Outcome::Ok, |out| encode::integer(out, 0)),
        Route::Embedded(store) => {
            let slot = session.open_gated();
            let work = Flushing { store: store.clone(), flush, slot, family: call.family };
            *call.client.work.borrow_mut() = Some(Box::new(work));
            call.client.wake();
            Handled::Done
        }
        Route::Lane(lane, _) if lane.accepts().is_ok() => {
            let slot = session.open_gated();
            let mut command = Vec::new();
            encode::command(&mut command, &flush.scan());
            lane.push(call.deadline, call.waiter(To::Slot(slot), flush), &command);
            Handled::Done
        }
        Route::Lane(..) | Route::Disabled | Route::Unreachable => {
            call.say(session, Outcome::Unreachable, |out| encode::nil(out, call.protocol))
        }
    })
}

impl Task for Flush {
    /// One step was answered: takes the next.
    fn on_reply(mut self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        let Reply { frame, lane, .. } = reply;
        let mut command = Vec::new();
        if self.unlinking {
            let Some(removed) = integer(frame) else { return fail(turn, frame) };
            self.removed += removed;
            turn.client.core.recorder.add(Counter::FlushedKeys, removed.unsigned_abs());
            self.unlinking = false;
        } else {
            let Some(unlink) = self.take_scan(frame) else { return fail(turn, frame) };
            if unlink.len() > 1 {
                encode::command(&mut command, &unlink);
                self.unlinking = true;
            }
        }
        if !self.unlinking {
            if self.is_done() {
                let mut reply = Vec::new();
                encode::integer(&mut reply, self.removed);
                turn.client.core.recorder.add(Counter::Flushes, 1);
                tell::written(turn.client, &Written::Unknown);
                return turn.finish(&reply, Outcome::Ok);
            }
            encode::command(&mut command, &self.scan());
        }
        if lane.accepts().is_err() {
            return turn.finish_nil(Outcome::Unreachable);
        }
        let deadline = turn.now + turn.client.core.settings.borrow().timeout;
        lane.push(deadline, turn.into_waiter(Step::Task(self)), &command);
    }

    fn on_failure(self: Box<Self>, turn: Turn<'_>, _: &Failure) {
        turn.finish_nil(Outcome::Unreachable);
    }
}

/// A step went wrong: an upstream that refuses SCAN or UNLINK says why.
fn fail(turn: Turn<'_>, frame: &[u8]) {
    if frame[0] == b'-' && !is_outage(frame) {
        turn.finish(frame, Outcome::Error);
    } else {
        turn.finish_nil(Outcome::Unreachable);
    }
}

fn integer(frame: &[u8]) -> Option<i64> {
    let digits = frame.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// An FCA.FLUSH of the embedded store on its way.
struct Flushing {
    store: SharedStore,
    flush: Flush,
    slot: Slot,
    family: Family,
}

impl Work for Flushing {
    fn step(&mut self, client: &Rc<Client>, session: &mut Session) -> bool {
        let Self { store, flush, slot, family } = self;
        let removed = step_of(store, session.database, flush);
        let recorder = &client.core.recorder;
        recorder.add(Counter::FlushedKeys, removed.unsigned_abs());
        flush.removed += removed;
        if !flush.is_done() {
            return true;
        }
        let mut reply = Vec::new();
        encode::integer(&mut reply, flush.removed);
        recorder.add(Counter::Flushes, 1);
        let now = clock::now();
        let deadline = now + client.core.settings.borrow().timeout;
        let (to, family, took) = (To::Slot(*slot), *family, Duration::ZERO.into());
        Turn { client, session, to, family, deadline, took, now }.finish(&reply, Outcome::Ok);
        false
    }
}

/// One SCAN and its UNLINK: how many keys were removed.
fn step_of(store: &SharedStore, database: u32, flush: &mut Flush) -> i64 {
    let mut store = store.lock();
    let (mut found, mut removed) = (Vec::new(), Vec::new());
    store.execute(clock::unix_ms(), database, Protocol::Resp2, &flush.scan(), &mut found);
    let Some(unlink) = flush.take_scan(&found) else {
        flush.cursor = b"0".to_vec();
        return 0;
    };
    if unlink.len() > 1 {
        store.execute(clock::unix_ms(), database, Protocol::Resp2, &unlink, &mut removed);
    }
    integer(&removed).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_derived_keys_of_the_namespace_are_removed() {
        let mut flush = Flush::new(b"fca:a*[b]:", None);
        assert_eq!(flush.pattern, b"fca:a\\*\\[b\\]:*");
        let key = b"fca:a*[b]:0123456789abcdef";
        let mut frame = b"*2\r\n$2\r\n17\r\n".to_vec();
        encode::command(
            &mut frame,
            &[key, b"fca:a*[b]:0123456789abcdeX", b"fca:a*[b]:0123", b"fca:a*[b]:lock:456789abcdef"],
        );
        assert_eq!(flush.take_scan(&frame).unwrap(), [&b"UNLINK"[..], key]);
        assert!(!flush.is_done());
        assert_eq!(flush.take_scan(b"*2\r\n$1\r\n0\r\n*0\r\n").unwrap(), [b"UNLINK"]);
        assert!(flush.is_done());
        for bad in [&b"-ERR no\r\n"[..], b"*0\r\n", b"*2\r\n:1\r\n:2\r\n", b"$-1\r\n"] {
            assert!(flush.take_scan(bad).is_none());
        }
    }
}
