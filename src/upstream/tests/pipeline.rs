//! The pipeline against the plainest model: a list of requests.

use crate::clock;
use crate::upstream::{Pipeline, Popped};
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// One thing that can happen to a connection's FIFO.
#[derive(Clone, Debug)]
enum Op {
    /// A request of `bytes` bytes that is given up after `budget` from now.
    Push { budget: Duration, note: Vec<u8>, bytes: usize },
    /// A reply came.
    Pop,
    /// So much time passed.
    Expire { passed: Duration },
    /// The oldest request's reply is on its way, and may take so much longer from now.
    Extend { budget: Duration },
    /// The youngest request goes on, and may take so much longer from now.
    Grow { bytes: usize, budget: Duration },
    /// The oldest request's waiter is taken for a reply in pieces, or only looked at.
    Take { puts_back: bool },
    /// The connection broke after this share of all bytes, 255 for all.
    Close { sent: u8 },
    /// The lane gave up.
    Drain,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let note = prop_oneof![2 => Just(Vec::new()), 1 => proptest::collection::vec(any::<u8>(), 1..20)];
    let push = (1u64..60, note, 1usize..500).prop_map(|(budget, note, bytes)| {
        let budget = Duration::from_millis(budget);
        Op::Push { budget, note, bytes }
    });
    let op = prop_oneof![
        8 => push,
        5 => Just(Op::Pop),
        3 => (0u64..40).prop_map(|passed| Op::Expire { passed: Duration::from_millis(passed) }),
        1 => (1u64..60).prop_map(|budget| Op::Extend { budget: Duration::from_millis(budget) }),
        1 => (0usize..500, 1u64..60).prop_map(|(bytes, budget)| {
            Op::Grow { bytes, budget: Duration::from_millis(budget) }
        }),
        1 => any::<bool>().prop_map(|puts_back| Op::Take { puts_back }),
        1 => prop_oneof![Just(0), Just(255), any::<u8>()].prop_map(|sent| Op::Close { sent }),
        1 => Just(Op::Drain),
    ];
    proptest::collection::vec(op, 1..120)
}

/// How much longer a request may take that is excused.
const EXCUSED_FOR: Duration = Duration::from_millis(10);

/// How a waiter came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Answered,
    Expired,
    Broken,
    Dropped,
}

/// One request as the model keeps it.
#[derive(Clone, Debug)]
struct Request {
    id: usize,
    deadline: Instant,
    note: Vec<u8>,
    bytes: usize,
    live: bool,
}

impl Request {
    fn popped(&self) -> Popped<usize> {
        Popped { waiter: self.id, deadline: self.deadline }
    }
}

/// The machine, its model, and what each waiter has heard.
struct Pair {
    pipeline: Pipeline<usize>,
    model: Vec<Request>,
    /// Bytes before the model's first request that count towards this connection.
    gone_bytes: usize,
    now: Instant,
    /// By request, in the order of their pushes.
    ways: Vec<Option<Way>>,
}

impl Pair {
    fn new() -> Self {
        Self { pipeline: Pipeline::default(), model: Vec::new(), gone_bytes: 0, now: clock::now(), ways: Vec::new() }
    }

    fn came_back(
        &mut self,
        heard: &[Popped<usize>],
        expected: &[Popped<usize>],
        way: Way,
    ) -> Result<(), TestCaseError> {
        prop_assert_eq!(heard, expected);
        for Popped { waiter, .. } in heard {
            prop_assert_eq!(self.ways[*waiter].replace(way), None, "request {} came back twice", waiter);
        }
        Ok(())
    }

    fn apply(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Push { budget, note, bytes } => {
                let (id, deadline) = (self.ways.len(), self.now + budget);
                self.ways.push(None);
                self.pipeline.push(deadline, id, &note, bytes);
                self.model.push(Request { id, deadline, note, bytes, live: true });
            }
            Op::Pop => self.pop()?,
            Op::Expire { passed } => self.expire(passed)?,
            Op::Extend { budget } => {
                self.pipeline.extend_first(self.now + budget);
                if let Some(first) = self.model.first_mut() {
                    first.deadline = first.deadline.max(self.now + budget);
                }
            }
            Op::Grow { bytes, budget } => {
                self.pipeline.grow_last(bytes);
                self.pipeline.extend_last(self.now + budget);
                match self.model.last_mut() {
                    Some(last) => {
                        last.bytes += bytes;
                        last.deadline = last.deadline.max(self.now + budget);
                    }
                    None => self.gone_bytes += bytes,
                }
            }
            Op::Take { puts_back } => {
                let taken = self.pipeline.take_first();
                let first = self.model.first_mut().filter(|first| first.live);
                prop_assert_eq!(&taken, &first.as_ref().map(|first| first.popped()));
                match (taken, first) {
                    (Some(taken), _) if puts_back => self.pipeline.put_back_first(taken),
                    (Some(taken), Some(first)) => {
                        first.live = false;
                        self.came_back(std::slice::from_ref(&taken), std::slice::from_ref(&taken), Way::Answered)?;
                    }
                    _ => {}
                }
            }
            Op::Close { sent } => self.close(sent)?,
            Op::Drain => {
                let mut dropped = Vec::new();
                self.pipeline.drain(|popped| dropped.push(popped));
                let expected: Vec<_> = self.model.drain(..).filter(|r| r.live).map(|r| r.popped()).collect();
                self.gone_bytes = 0;
                self.came_back(&dropped, &expected, Way::Dropped)?;
            }
        }
        self.compare()
    }

    /// The k-th reply is the k-th request's, expired or not, and brings that request's own note.
    fn pop(&mut self) -> Result<(), TestCaseError> {
        let mut note = b"of the reply before".to_vec();
        let popped = self.pipeline.pop(&mut note);
        if self.model.is_empty() {
            prop_assert_eq!(popped, None);
            return Ok(());
        }
        let first = self.model.remove(0);
        self.gone_bytes += first.bytes;
        prop_assert_eq!(&note, &first.note);
        let Some(popped) = popped else { return Err(TestCaseError::fail("a reply was due")) };
        let expected = first.live.then(|| first.popped());
        self.came_back(popped.as_slice(), expected.as_slice(), Way::Answered)
    }

    fn expire(&mut self, passed: Duration) -> Result<(), TestCaseError> {
        self.now += passed;
        let was_due = self.pipeline.poll_timeout().is_some_and(|next| next <= self.now);
        let mut expired = Vec::new();
        let (is_excused, until) = (|id: usize| id % 7 == 3, self.now + EXCUSED_FOR);
        self.pipeline.expire(self.now, |id| is_excused(*id).then_some(until), |popped| expired.push(popped));
        let mut expected = Vec::new();
        for request in self.model.iter_mut().filter(|request| request.live && request.deadline <= self.now) {
            if was_due && is_excused(request.id) {
                request.deadline = until;
            } else {
                request.live = false;
                expected.push(request.popped());
            }
        }
        self.came_back(&expired, &expected, Way::Expired)?;
        if was_due {
            prop_assert_eq!(self.pipeline.poll_timeout(), self.next_deadline());
        }
        prop_assert!(self.pipeline.poll_timeout().is_none_or(|next| next > self.now), "asks for the same time again");
        Ok(())
    }

    /// Broken are precisely those of which a byte was sent; the others stay, and count from the first byte again.
    fn close(&mut self, share: u8) -> Result<(), TestCaseError> {
        let pushed = self.gone_bytes + self.model.iter().map(|request| request.bytes).sum::<usize>();
        let sent = pushed * usize::from(share) / 255;
        let mut broken = Vec::new();
        let kept = self.pipeline.close(sent as u64, |popped| broken.push(popped));
        let (mut expected, mut begin) = (Vec::new(), self.gone_bytes);
        while begin < sent && !self.model.is_empty() {
            let request = self.model.remove(0);
            begin += request.bytes;
            expected.extend(request.live.then(|| request.popped()));
        }
        prop_assert_eq!(kept, begin as u64);
        self.gone_bytes = 0;
        self.came_back(&broken, &expected, Way::Broken)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.model.iter().filter(|request| request.live).map(|request| request.deadline).min()
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.pipeline.len(), self.model.len());
        prop_assert_eq!(self.pipeline.is_empty(), self.model.is_empty());
        if let Some(earliest) = self.next_deadline() {
            let next = self.pipeline.poll_timeout();
            prop_assert!(next.is_some_and(|next| next <= earliest), "{next:?} is later than {earliest:?}");
        }
        for request in &self.model {
            prop_assert_eq!(self.ways[request.id].is_none(), request.live);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn every_waiter_comes_back_once_in_its_order_and_by_the_right_way(ops in ops()) {
        let mut pair = Pair::new();
        for op in ops {
            pair.apply(op)?;
        }
        pair.apply(Op::Drain)?;
        prop_assert!(pair.ways.iter().all(Option::is_some), "a waiter was lost");
    }
}

#[test]
fn a_request_of_which_one_byte_left_is_sent_and_one_of_which_none_left_is_not() {
    let now = clock::now();
    for (sent, broken_expected, kept_expected) in
        [(0, &[][..], 0), (1, &["a"], 10), (10, &["a"], 10), (11, &["a", "b"], 15), (15, &["a", "b"], 15)]
    {
        let mut pipeline = Pipeline::default();
        pipeline.push(now, "a", b"", 10);
        pipeline.push(now, "b", b"", 5);
        let mut broken = Vec::new();
        let kept = pipeline.close(sent, |popped| broken.push(popped.waiter));
        assert_eq!((broken.as_slice(), kept), (broken_expected, kept_expected), "after {sent} bytes");
    }
}

#[test]
fn a_late_reply_is_swallowed_and_the_next_is_paired() {
    let now = clock::now();
    let (soon, later) = (now + Duration::from_millis(1), now + Duration::from_millis(9));
    let mut pipeline = Pipeline::default();
    pipeline.push(soon, "slow", b"note of slow", 1);
    pipeline.push(later, "next", b"note of next", 1);
    let mut expired = Vec::new();
    pipeline.expire(soon, |_| None, |popped| expired.push(popped));
    assert_eq!(expired, [Popped { waiter: "slow", deadline: soon }]);
    let mut note = Vec::new();
    assert_eq!(pipeline.pop(&mut note), Some(None));
    assert_eq!(pipeline.pop(&mut note), Some(Some(Popped { waiter: "next", deadline: later })));
    assert_eq!(note, b"note of next");
    assert_eq!(pipeline.pop(&mut note), None);
}
