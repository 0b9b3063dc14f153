//! What the tests with sockets share: a runtime like a worker's, a node, and a [`Replies`] that writes down.
//!
//! Guarantees that a test that hangs fails, and that no waiter has heard twice by the end of any test.

use crate::clock;
use crate::metrics::{BuildInfo, Counter, Gauge, Limit, Registry};
use crate::resp::Protocol;
use crate::upstream::{
    Address, Backoff, Failure, Lane, LaneKey, Made, Node, NodeOptions, NodeState, NodeStatus, Popped, Replies, Room,
    RunId,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::{sleep, timeout};

/// After so long a test has failed: far above what any takes on a busy machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A budget that no test waits for.
pub(super) const PATIENT: Duration = Duration::from_secs(60);

pub(super) const RESP2: LaneKey = LaneKey { protocol: Protocol::Resp2, database: 0, login: None };
pub(super) const RESP3: LaneKey = LaneKey { protocol: Protocol::Resp3, database: 0, login: None };

/// Runs a test on a runtime like a worker's.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async { timeout(TEST_TIMEOUT, test).await.expect("the test hangs") });
}

/// Returns once the condition holds.
pub(super) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        sleep(Duration::from_millis(1)).await;
    }
}

/// Short times; `dead_after` and `connect_timeout` long enough not to interfere where a test does not set them.
pub(super) fn options(address: Address) -> NodeOptions {
    NodeOptions {
        address,
        credentials: None,
        database: 0,
        timeout: PATIENT,
        dead_after: PATIENT,
        connect_timeout: PATIENT,
        idle_timeout: PATIENT,
        backoff: Backoff { min: Duration::from_millis(10), max: Duration::from_millis(50) },
        queue_bytes_max: 1024 * 1024,
        reply_bytes_max: 64 * 1024 * 1024,
        connections_max: 64,
        asks_run_id: false,
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its reply, as text.
    Reply(String),
    Failed(Failure),
    /// Its reply came in part.
    Cut,
}

/// `reply` as [`Outcome::Reply`].
pub(super) fn reply(frame: &[u8]) -> Outcome {
    Outcome::Reply(frame.escape_ascii().to_string())
}

/// A lane whose requests are known by their numbers.
pub(super) type TestLane = Rc<Lane<usize>>;

/// A node whose every word is written down.
pub(super) struct Rig {
    pub(super) node: Rc<Node<Heard>>,
    pub(super) heard: Rc<Heard>,
    pub(super) status: Arc<NodeStatus>,
    registry: Arc<Registry>,
    requests: Cell<usize>,
}

impl Rig {
    pub(super) fn start(options: NodeOptions) -> Self {
        let registry = Registry::new(BuildInfo { version: "0", revision: "test" }, []);
        let (heard, status) = (Rc::new(Heard::default()), NodeStatus::new(&options.address));
        let node = Node::start(options, Arc::clone(&status), Rc::clone(&heard), registry.recorder());
        Self { node, heard, status, registry, requests: Cell::new(0) }
    }

    /// The lane that every session begins on.
    pub(super) fn main_lane(&self) -> TestLane {
        self.node.shared_lane(RESP2)
    }

    /// Sends a request that nobody gives up; returned is its number.
    pub(super) fn send(&self, lane: &TestLane, request: &[u8]) -> usize {
        self.send_within(PATIENT, lane, request)
    }

    /// Sends a request that is given up after `budget`.
    pub(super) fn send_within(&self, budget: Duration, lane: &TestLane, request: &[u8]) -> usize {
        let number = self.number();
        lane.push(clock::now() + budget, number, request);
        number
    }

    /// The number of the next request.
    pub(super) fn number(&self) -> usize {
        self.requests.replace(self.requests.get() + 1)
    }

    /// What became of a request, once that is known.
    pub(super) async fn outcome(&self, request: usize) -> Outcome {
        until(|| self.heard.of(request).is_some()).await;
        self.heard.of(request).unwrap().outcome
    }

    pub(super) fn counter(&self, counter: Counter) -> u64 {
        self.registry.counter(counter)
    }

    pub(super) fn gauge(&self, gauge: Gauge) -> u64 {
        self.registry.gauge(gauge)
    }

    pub(super) fn limit(&self, limit: Limit) -> u64 {
        self.registry.limit(limit)
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.node.is_up() && self.status.state() == NodeState::Reachable
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.heard.twice.get(), None, "this request came back twice");
        }
    }
}

/// What one request has heard.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) outcome: Outcome,
    pub(super) note: Vec<u8>,
    pub(super) at: Instant,
}

/// Writes down what becomes of requests.
#[derive(Default)]
pub(super) struct Heard {
    /// By number.
    entries: RefCell<Vec<Option<Entry>>>,
    /// Reply or failure calls that no end of a turn has followed yet.
    pub(super) unturned: Cell<usize>,
    /// A request whose reply makes [`Replies::reply`] panic.
    pub(super) panic_at: Cell<Option<usize>>,
    /// The listener that was told last of the end of its lane.
    pub(super) lost: Cell<Option<usize>>,
    /// The shared lanes' connections, in their order.
    pub(super) connected: RefCell<Vec<(Option<RunId>, Made)>>,
    /// A request that came back a second time.
    twice: Cell<Option<usize>>,
    /// Whether large replies are taken in pieces.
    pub(super) takes_parts: Cell<bool>,
    /// The pieces so far, by number.
    pub(super) parts: RefCell<Vec<Vec<u8>>>,
    /// What there is room for.
    pub(super) room: Cell<Room>,
}

impl Heard {
    /// What a request has heard so far.
    pub(super) fn of(&self, request: usize) -> Option<Entry> {
        self.entries.borrow().get(request).cloned().flatten()
    }

    fn record(&self, request: usize, entry: Entry) {
        let entries = &mut *self.entries.borrow_mut();
        if entries.len() <= request {
            entries.resize(request + 1, None);
        }
        if entries[request].replace(entry).is_some() {
            self.twice.set(Some(request));
        }
        self.unturned.set(self.unturned.get() + 1);
    }
}

impl Replies for Heard {
    type Waiter = usize;

    fn reply(&self, _lane: &TestLane, answered: Popped<usize>, note: &[u8], frame: &[u8], now: Instant) {
        let request = answered.waiter;
        assert!(self.panic_at.get() != Some(request), "the test asks for this panic");
        self.record(request, Entry { outcome: reply(frame), note: note.to_vec(), at: now });
    }

    fn failed(&self, waiter: usize, _deadline: Instant, failure: &Failure, now: Instant) {
        self.record(waiter, Entry { outcome: Outcome::Failed(failure.clone()), note: Vec::new(), at: now });
    }

    fn takes_parts(&self, _lane: &TestLane, _request: &usize, _declared: usize) -> Option<Room> {
        self.takes_parts.get().then_some(self.room.get())
    }

    fn part(&self, request: &usize, piece: &[u8]) -> Room {
        let parts = &mut *self.parts.borrow_mut();
        parts.resize(parts.len().max(request + 1), Vec::new());
        parts[*request].extend_from_slice(piece);
        self.room.get()
    }

    fn last_part(&self, answered: Popped<usize>, piece: &[u8], now: Instant) {
        self.part(&answered.waiter, piece);
        let whole = std::mem::take(&mut self.parts.borrow_mut()[answered.waiter]);
        self.record(answered.waiter, Entry { outcome: reply(&whole), note: Vec::new(), at: now });
    }

    fn cut(&self, request: usize) {
        self.record(request, Entry { outcome: Outcome::Cut, note: Vec::new(), at: clock::now() });
    }

    fn is_held_up_by_itself(&self, _request: &usize) -> bool {
        self.room.get() == Room::Full
    }

    fn push(&self, _lane: &TestLane, frame: &[u8]) -> bool {
        frame[0] == b'>'
    }

    fn lost(&self, listener: usize) {
        self.lost.set(Some(listener));
    }

    fn connected(&self, lane: &Lane<usize>, made: Made) {
        self.connected.borrow_mut().push((lane.run_id(), made));
    }

    fn turn_ended(&self, _now: Instant) {
        self.unturned.set(0);
    }
}
