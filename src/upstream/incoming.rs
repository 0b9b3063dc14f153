//! A large reply, handed over in pieces as it comes.
//!
//! Guarantees: no more of it is held than one buffer of its lane; a lane of one client reads no faster than the client
//! takes it; a lane that others share is retired rather than that they wait. Its waiter comes back once, by
//! `last_part` or by `cut`. Leaves the socket and the time to `running.rs`.

use super::lane::{STREAM_BYTES_MIN, Tenure};
use super::running::{Ended, Incoming, Running};
use super::{Replies, Room};
use crate::metrics::Counter;
use crate::resp::{ReplyScanner, ReplyTail};
use std::time::Instant;

/// How much of a large reply must have come before any of it is handed over, in bytes: until then its client can still
/// be told nil, so a length alone is not believed. Half of a lane's buffer, which so need not grow for it.
const BEGUN_BYTES_MIN: usize = 32 * 1024;

impl<R: Replies> Running<'_, R> {
    /// Whether the reply that has arrived in part is better not held whole. A push is, and an error is short.
    pub(super) fn is_large(&self) -> bool {
        let (there, kind) = (self.end - self.start, self.buffer[self.start]);
        // Where somebody listens only a string is sure to be a reply.
        let may_be_push = kind == b'>' || (self.lane.has_listener() && kind != b'$');
        there >= BEGUN_BYTES_MIN
            && self.scanner.declared().max(there) > STREAM_BYTES_MIN
            && !may_be_push
            && kind != b'-'
    }

    /// Begins to hand over a reply in pieces, if whoever waits for it takes it so.
    #[cold]
    pub(super) fn begin_incoming(&mut self) -> bool {
        let taken = {
            let queue = &mut *self.lane.queue.borrow_mut();
            if queue.pipeline.is_empty() {
                // Nobody has asked for it, which is told once it is whole.
                return false;
            }
            queue.pipeline.take_first()
        };
        if let Some(answered) = taken {
            let declared = self.scanner.declared();
            let Some(room) = self.node.replies.takes_parts(self.lane, &answered.waiter, declared) else {
                self.lane.queue.borrow_mut().pipeline.put_back_first(answered);
                return false;
            };
            self.make_way(room);
            if !self.served {
                self.served = true;
                self.node.on_served();
            }
            self.incoming = Some(Incoming { answered: Some(answered), tail: ReplyTail::default() });
        } else {
            self.incoming = Some(Incoming { answered: None, tail: ReplyTail::default() });
        }
        // The tail follows the reply from its beginning.
        self.scanner = ReplyScanner::default();
        true
    }

    /// Hands over what has come of a large reply; true when that was its end.
    #[cold]
    pub(super) fn pass_on(&mut self, now: Instant) -> Result<bool, Ended> {
        let Some(incoming) = &mut self.incoming else { return Ok(true) };
        let unread = &self.buffer[self.start..self.end];
        let end = incoming.tail.feed(unread).map_err(Ended::BadReply)?;
        let piece = &unread[..end.unwrap_or(unread.len())];
        self.start += piece.len();
        self.excused_until = now + self.node.options.timeout;
        if end.is_none() {
            let room = incoming.answered.as_ref().map_or(Room::Free, |it| self.node.replies.part(&it.waiter, piece));
            self.make_way(room);
            return Ok(false);
        }
        self.lane.queue.borrow_mut().pipeline.forget_first();
        match self.incoming.take().and_then(|incoming| incoming.answered) {
            Some(answered) => self.node.replies.last_part(answered, piece, now),
            None => self.node.recorder.add(Counter::UpstreamLateReplies, 1),
        }
        (self.quiet_since, self.quiet_bytes) = (now, 0);
        self.step_bytes = self.step_bytes.min((self.end - self.start) as u64);
        Ok(true)
    }

    /// Nobody is to begin anything behind a reply that takes long.
    fn make_way(&self, room: Room) {
        if room != Room::Free && self.lane.tenure == Tenure::Shared {
            self.node.retire(self.lane);
        }
    }

    /// Whether the client of a large reply has no room for more. Others are never kept waiting for that: where they
    /// share the lane and there is no connection to put in its place, the client's reply is held instead.
    #[cold]
    pub(super) fn is_paused(&self) -> bool {
        let answered = self.incoming.as_ref().and_then(|incoming| incoming.answered.as_ref());
        let full = answered.is_some_and(|it| self.node.replies.part(&it.waiter, b"") == Room::Full);
        let paused = full && (self.lane.tenure == Tenure::Exclusive || self.lane.is_retired());
        self.lane.paused.set(paused);
        paused
    }
}
