//! The machines that every request passes: the pipeline of a lane, the replies of a session, the worker's counters.

use crate::case::{Case, repeat};
use fca_proxy::clock;
use fca_proxy::flow;
use fca_proxy::metrics::{BuildInfo, Family, Outcome, Registry};
use fca_proxy::session::ReplyQueue;
use fca_proxy::upstream::Pipeline;
use std::hint::black_box;
use std::time::Duration;

/// As large as what the flow leaves with a request, which can't be made out here.
type Waiter = [u8; size_of::<flow::Waiter>()];

const WAITER: Waiter = [0; size_of::<flow::Waiter>()];

/// In which order sixteen replies come.
const IN_ORDER: [usize; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const REVERSED: [usize; 16] = [15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0];

/// How many requests are in flight before and after each turn.
const IN_FLIGHT: usize = 16;

/// What FCA.GET leaves with its question: the key's prefix and 60 bytes of text.
const NOTE: [u8; 68] = [b'n'; 68];

/// A value of 64 bytes as a reply.
const REPLY: [u8; 71] = *b"$64\r\nvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv\r\n";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("pipeline/turn", |operations| pipeline(operations, b"")),
        Case::new("pipeline/turn-note", |operations| pipeline(operations, &NOTE)),
        Case::new("replies/turn", |operations| replies::<1>(operations, [0])),
        Case::new("replies/turn-16", |operations| replies(operations, IN_ORDER)).of(16),
        Case::new("replies/turn-16-reversed", |operations| replies(operations, REVERSED)).of(16),
        Case::new("metrics/request", metrics),
    ]
}

/// A request in, the reply to an older one out.
fn pipeline(operations: u64, note: &[u8]) -> Duration {
    let mut pipeline = Pipeline::default();
    let now = clock::now();
    (0..IN_FLIGHT).for_each(|_| pipeline.push(now, WAITER, note, 100));
    let mut popped = Vec::new();
    repeat(operations, |_| {
        pipeline.push(black_box(now), WAITER, black_box(note), 100);
        let answered = pipeline.pop(&mut popped).expect("a reply is expected");
        assert!(answered.is_some() && popped.len() == note.len());
    })
}

/// As many requests as there are numbers in `order`, their replies in that order, and all bytes written.
fn replies<const SLOTS: usize>(operations: u64, order: [usize; SLOTS]) -> Duration {
    let mut queue = ReplyQueue::default();
    let mut buffers = vec![Vec::with_capacity(16 * 1024)];
    repeat(operations, |_| {
        let slots = [(); SLOTS].map(|()| queue.open());
        queue.lend_buffer(buffers.pop().expect("it was given back"));
        for slot in black_box(order) {
            queue.fill(slots[slot], black_box(&REPLY));
        }
        let unsent = black_box(queue.unsent()).len();
        assert!(unsent == SLOTS * REPLY.len());
        queue.advance(unsent);
        buffers.push(queue.take_buffer().expect("everything is written"));
    })
}

/// Counts requests of three families whose times differ.
fn metrics(operations: u64) -> Duration {
    let registry = Registry::new(BuildInfo { version: "0", revision: "none" }, []);
    let recorder = registry.recorder();
    let families = [Family::FcaGet, Family::Read, Family::Write];
    let took = repeat(operations, |number| {
        let family = families[number as usize % families.len()];
        recorder.request(black_box(family), Outcome::Ok, black_box(Duration::from_micros(number % 1000)));
    });
    assert_eq!(registry.totals().commands, operations);
    took
}
