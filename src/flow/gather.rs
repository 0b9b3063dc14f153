//! A reply that is put together from the outcomes of several upstream commands: FCA.MGET, FCA.MSET, FCA.DEL.
//!
//! Guarantees that the reply is given once, when the last part is there, whatever became of each.

use super::Client;
use crate::metrics::{Family, Outcome};
use crate::resp::encode;
use crate::session::{Session, Slot};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

/// The parts of one reply.
pub(super) struct Gather {
    slot: Slot,
    family: Family,
    deadline: Instant,
    /// Parts that have no outcome yet.
    missing: Cell<u32>,
    /// Whether any part was answered by the upstream.
    reached: Cell<bool>,
    whole: Whole,
}

enum Whole {
    /// An array of the parts in order.
    Array(RefCell<Vec<Box<[u8]>>>),
    /// How many parts say that something was done; nil when the upstream answered none.
    Count(Cell<u32>),
}

impl Gather {
    /// An array of so many parts.
    pub(super) fn array(slot: Slot, family: Family, deadline: Instant, parts: u32) -> Rc<Self> {
        let whole = Whole::Array(RefCell::new(vec![Box::default(); parts as usize]));
        Self::new(slot, family, deadline, parts, whole)
    }

    /// The number of parts, of so many, that did something.
    pub(super) fn count(slot: Slot, family: Family, deadline: Instant, parts: u32) -> Rc<Self> {
        Self::new(slot, family, deadline, parts, Whole::Count(Cell::new(0)))
    }

    fn new(slot: Slot, family: Family, deadline: Instant, parts: u32, whole: Whole) -> Rc<Self> {
        Rc::new(Self { slot, family, deadline, missing: Cell::new(parts), reached: Cell::new(false), whole })
    }

    /// The outcome of one part.
    pub(super) fn put(
        &self,
        client: &Rc<Client>,
        session: &mut Session,
        index: u32,
        frame: &[u8],
        outcome: Outcome,
        now: Instant,
    ) {
        if outcome != Outcome::Unreachable {
            self.reached.set(true);
        }
        match &self.whole {
            Whole::Array(parts) => {
                if let Some(part) = parts.borrow_mut().get_mut(index as usize) {
                    *part = frame.into();
                }
            }
            Whole::Count(count) => {
                let done = frame == b"+OK\r\n" || (frame[0] == b':' && frame != b":0\r\n");
                count.set(count.get() + u32::from(done));
            }
        }
        self.missing.set(self.missing.get() - 1);
        if self.missing.get() == 0 {
            self.finish(client, session, now);
        }
    }

    fn finish(&self, client: &Rc<Client>, session: &mut Session, now: Instant) {
        let mut frame = Vec::new();
        match &self.whole {
            Whole::Array(parts) => {
                let parts = parts.borrow();
                encode::header(&mut frame, b'*', parts.len() as u64);
                parts.iter().for_each(|part| frame.extend_from_slice(part));
            }
            Whole::Count(count) if self.reached.get() => encode::integer(&mut frame, i64::from(count.get())),
            Whole::Count(_) => encode::nil(&mut frame, session.protocol),
        }
        let outcome = if self.reached.get() { Outcome::Ok } else { Outcome::Unreachable };
        client.core.recorder.request(self.family, outcome, client.took(self.deadline, now));
        client.fill(session, self.slot, &frame);
    }
}
