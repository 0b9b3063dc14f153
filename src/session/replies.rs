//! The replies of one session: n requests, n replies, in order, each once.
//!
//! Every request opens a slot; slots are filled in any order; bytes leave in the order of the slots. The usual case
//! costs nothing: the oldest slot is filled first, and its bytes go straight to the output.
//!
//! ```text
//!   open ─▶ [ waiting | parked | waiting ] ──fill──▶ output ─▶ unsent / advance ─▶ socket
//! ```
//!
//! Holds no buffer while nothing is in flight. Leaves bounds to the session, which stops asking.

use std::collections::VecDeque;

/// The place of one request's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u64);

/// The replies of one session.
#[derive(Debug, Default)]
pub struct ReplyQueue {
    /// Number of the oldest open slot.
    first: u64,
    /// Open slots, oldest first.
    open: VecDeque<Open>,
    /// Whether the slots that are opened now get no bytes.
    muted: bool,
    /// Bytes of replies that wait for an older one.
    parked_bytes: usize,
    /// Replies to write, from `start` on.
    output: Vec<u8>,
    start: usize,
}

/// An open slot.
#[derive(Debug)]
enum Open {
    /// Its reply is to come.
    Waiting,
    /// Its reply is to come, and the client does not want it.
    Muted,
    /// Its reply waits for an older one.
    Parked(Box<[u8]>),
}

/// How many slots are kept allocated while none is open.
const SLOTS_KEPT: usize = 32;

impl ReplyQueue {
    /// The place for the reply to the next request.
    #[inline]
    pub fn open(&mut self) -> Slot {
        self.open.push_back(if self.muted { Open::Muted } else { Open::Waiting });
        Slot(self.first + self.open.len() as u64 - 1)
    }

    /// Puts a reply into its place. A slot that was filled before keeps what it has.
    #[inline]
    pub fn fill(&mut self, slot: Slot, frame: &[u8]) {
        if slot.0 == self.first
            && let Some(open) = self.open.pop_front()
        {
            if !matches!(open, Open::Muted) {
                self.output.extend_from_slice(frame);
            }
            self.first += 1;
            if !matches!(self.open.front(), Some(Open::Waiting | Open::Muted)) {
                self.unpark();
            }
        } else if let Some(index) = slot.0.checked_sub(self.first)
            && let Some(open) = usize::try_from(index).ok().and_then(|index| self.open.get_mut(index))
        {
            match open {
                Open::Waiting => {
                    self.parked_bytes += frame.len();
                    *open = Open::Parked(frame.into());
                }
                Open::Muted => *open = Open::Parked(Box::default()),
                Open::Parked(_) => {}
            }
        }
    }

    /// Whether this slot's reply is the next to leave.
    pub fn is_first(&self, slot: Slot) -> bool {
        slot.0 == self.first && !self.open.is_empty()
    }

    /// Whether this slot's reply has not come.
    pub fn is_due(&self, slot: Slot) -> bool {
        let index = slot.0.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let open = index.and_then(|index| self.open.get(index));
        open.is_some_and(|open| !matches!(open, Open::Parked(_)))
    }

    /// A piece of the first slot's reply, more of which is to come; [`Self::fill`] gives the last.
    pub fn append_to_first(&mut self, piece: &[u8]) {
        if matches!(self.open.front(), Some(Open::Muted)) {
            return;
        }
        if self.start == self.output.len() {
            self.output.clear();
            self.start = 0;
        }
        self.output.extend_from_slice(piece);
    }

    /// Whether the client wants no replies to the requests that come now (CLIENT REPLY).
    pub fn mute(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Puts in what is no reply to any request: between the replies that are there and those to come.
    pub fn push(&mut self, frame: &[u8]) {
        self.output.extend_from_slice(frame);
    }

    /// Answers the next request at once: `write` appends its reply.
    #[inline]
    pub fn say(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.say_if(|out| {
            write(out);
            true
        });
    }

    /// The same, if `write` has a reply; else it appends nothing, and the request is still to be answered.
    #[inline]
    pub fn say_if(&mut self, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        if self.open.is_empty() && !self.muted {
            let said = write(&mut self.output);
            self.first += u64::from(said);
            return said;
        }
        let mut frame = Vec::new();
        if !write(&mut frame) {
            return false;
        }
        if self.muted {
            frame.clear();
        }
        if self.open.is_empty() {
            self.first += 1;
        } else {
            self.parked_bytes += frame.len();
            self.open.push_back(Open::Parked(frame.into_boxed_slice()));
        }
        true
    }

    fn unpark(&mut self) {
        while let Some(Open::Parked(frame)) = self.open.pop_front_if(|open| matches!(open, Open::Parked(_))) {
            self.first += 1;
            self.parked_bytes -= frame.len();
            self.output.extend_from_slice(&frame);
        }
        if self.open.is_empty() && self.open.capacity() > SLOTS_KEPT {
            self.open = VecDeque::new();
        }
    }

    /// Requests without a reply, and replies that wait for them.
    pub fn in_flight(&self) -> usize {
        self.open.len()
    }

    /// Bytes held: to be written, or waiting for an older reply.
    pub fn bytes(&self) -> usize {
        self.output.len() - self.start + self.parked_bytes
    }

    /// What is to be written next.
    pub fn unsent(&self) -> &[u8] {
        &self.output[self.start..]
    }

    /// So many bytes of [`Self::unsent`] were written.
    pub fn advance(&mut self, written: usize) {
        self.start += written;
        if self.start > self.output.len() / 2 && self.start < self.output.len() {
            self.output.drain(..self.start);
            self.start = 0;
        }
    }

    /// Whether the output has memory to write into.
    pub fn has_buffer(&self) -> bool {
        self.output.capacity() > 0
    }

    /// Gives the output memory, which must be empty.
    pub fn lend_buffer(&mut self, buffer: Vec<u8>) {
        debug_assert!(buffer.is_empty() && self.output.is_empty());
        self.output = buffer;
    }

    /// Takes the output's memory back once everything is written.
    pub fn take_buffer(&mut self) -> Option<Vec<u8>> {
        if self.start < self.output.len() {
            return None;
        }
        self.start = 0;
        self.output.clear();
        Some(std::mem::take(&mut self.output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against the plainest model: a list of replies, written as far as they are there.
        #[test]
        fn replies_leave_in_the_order_of_their_requests(
            order in (1usize..40).prop_flat_map(|n| Just((0..n).collect::<Vec<_>>()).prop_shuffle()),
            at_once in proptest::collection::vec(any::<bool>(), 40),
            writes in proptest::collection::vec(0usize..9, 1..80),
        ) {
            let mut queue = ReplyQueue::default();
            let reply = |n: usize| format!("+{n}\r\n").into_bytes();
            let slots: Vec<Option<Slot>> = (0..order.len())
                .map(|n| {
                    if at_once[n] {
                        queue.say(|out| out.extend_from_slice(&reply(n)));
                        None
                    } else {
                        Some(queue.open())
                    }
                })
                .collect();
            let mut written = Vec::new();
            let mut writes = writes.iter().cycle();
            for &n in &order {
                if let Some(slot) = slots[n] {
                    queue.fill(slot, &reply(n));
                    queue.fill(slot, b"+twice\r\n");
                }
                let some = queue.unsent().len().min(*writes.next().unwrap());
                written.extend_from_slice(&queue.unsent()[..some]);
                queue.advance(some);
            }
            prop_assert_eq!(queue.in_flight(), 0);
            written.extend_from_slice(queue.unsent());
            queue.advance(queue.unsent().len());
            let expected: Vec<u8> = (0..order.len()).flat_map(reply).collect();
            prop_assert_eq!(written, expected);
            prop_assert_eq!(queue.bytes(), 0);
        }
    }

    #[test]
    fn muted_requests_take_their_turn_without_a_word() {
        let mut queue = ReplyQueue::default();
        let first = queue.open();
        queue.mute(true);
        queue.say(|out| out.extend_from_slice(b"+unsaid\r\n"));
        let second = queue.open();
        queue.mute(false);
        let third = queue.open();
        queue.fill(second, b"+muted\r\n");
        queue.fill(third, b"+3\r\n");
        queue.push(b">1\r\n:0\r\n");
        queue.fill(first, b"+1\r\n");
        queue.mute(true);
        queue.say(|out| out.extend_from_slice(b"+unsaid\r\n"));
        assert_eq!(queue.unsent().escape_ascii().to_string(), b">1\r\n:0\r\n+1\r\n+3\r\n".escape_ascii().to_string());
        assert_eq!((queue.in_flight(), queue.bytes()), (0, queue.unsent().len()));
    }

    #[test]
    fn a_reply_in_pieces_leaves_as_it_comes_and_in_its_place() {
        let mut queue = ReplyQueue::default();
        let (first, second) = (queue.open(), queue.open());
        assert!(queue.is_first(first) && !queue.is_first(second));
        queue.append_to_first(b"$6\r\nab");
        queue.fill(second, b"+2\r\n");
        assert_eq!(queue.unsent(), b"$6\r\nab");
        queue.advance(6);
        queue.append_to_first(b"cd");
        assert!(queue.is_due(first) && !queue.is_due(second));
        queue.fill(first, b"ef\r\n");
        assert_eq!(queue.unsent(), b"cdef\r\n+2\r\n");
        assert!(!queue.is_due(first) && !queue.is_first(first));
        assert_eq!(queue.in_flight(), 0);

        queue.mute(true);
        let muted = queue.open();
        assert!(queue.is_first(muted) && queue.is_due(muted));
        let before = queue.bytes();
        queue.append_to_first(b"$2\r\na");
        queue.fill(muted, b"b\r\n");
        assert_eq!(queue.bytes(), before);
    }

    #[test]
    fn an_idle_queue_holds_no_buffer() {
        let mut queue = ReplyQueue::default();
        let slots: Vec<Slot> = (0..100).map(|_| queue.open()).collect();
        for slot in slots {
            queue.fill(slot, b"+OK\r\n");
        }
        assert!(queue.take_buffer().is_none());
        queue.advance(500);
        assert!(queue.take_buffer().is_some());
        assert!(!queue.has_buffer());
        assert!(queue.open.capacity() <= SLOTS_KEPT);
    }
}
