//! The life of one request across session, upstream, embedded store and keys.
//!
//! [`handle`] carries out one request of a session: answers it here, sends one command upstream, or several. Every
//! command that is sent carries a [`Waiter`], which says what its reply is for; [`Core`] hears the replies
//! of all lanes of its worker and takes each the next step. Each kind of request is a file of its own.
//!
//! Guarantees: every slot that is opened is filled exactly once, with a reply, a nil, or an error in Redis's words;
//! nothing here waits.

mod blocking;
mod call;
mod client;
mod client_line;
mod clients;
mod connection;
mod entry;
mod exclusive;
mod fca;
mod flush;
mod forward;
mod gate;
mod gather;
mod introspect;
mod learned;
mod local;
mod login;
mod namespace;
mod near;
mod pubsub;
mod queue;
mod request;
mod settings;
mod shared_store;
mod spellings;
mod step;
mod stream;
mod tell;
mod tracking;
mod transaction;

pub use call::Handled;
pub use client::Client;
pub use clients::{Crew, Findings, Inquiry, Question, answer};
pub use local::abandon;
pub use namespace::Namespace;
pub use request::handle;
pub use settings::Settings;
pub use shared_store::SharedStore;
pub use step::Waiter;
pub use stream::{Begun, Upload, begin};

use crate::command::Learned;
use crate::metrics::{Counter, Recorder, Registry, Took};
use crate::near_cache::NearCache;
use crate::upstream::{Failure, Lane, LaneKey, Made, Node, NodeState, NodeStatus, Popped, Replies, Room};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Where a session's requests go.
#[derive(Clone)]
pub enum Route {
    /// To the store inside the process.
    Embedded(SharedStore),
    /// Nowhere: the cache is switched off.
    Disabled,
    /// Nowhere: the time for asking is up.
    Unreachable,
    /// To a lane of this node.
    Lane(Rc<Lane<Waiter>>, Rc<Node<Core>>),
}

/// What all sessions of one worker have in common.
pub struct Core {
    /// What the configuration says; swapped as a whole by a reload.
    pub settings: RefCell<Rc<Settings>>,
    /// This worker's counters.
    pub recorder: Arc<Recorder>,
    /// All workers' counters, for INFO and FCA.STATS.
    pub registry: Arc<Registry>,
    /// The upstream as all workers see it; none when there is none.
    pub upstream: Option<Arc<NodeStatus>>,
    /// The near cache, where there is one.
    pub(self) near_cache: Option<Arc<NearCache>>,
    /// Who reaches the clients of the other workers.
    crew: Box<dyn Crew>,
    /// Commands that the built-in table lacks.
    learned: Learned,
    /// Clients with something to write.
    dirty: RefCell<Vec<Rc<Client>>>,
    /// The list of the last turn, kept for its allocation.
    flushing: RefCell<Vec<Rc<Client>>>,
    /// Output buffers that no session uses.
    buffers: RefCell<Vec<Vec<u8>>>,
    /// How long a request took that had this deadline and was answered at this time. Those that a client sends together
    /// have one deadline, and their replies mostly come together.
    took: Cell<Option<(Instant, Instant, Took)>>,
    /// Room for a key's text while it is derived.
    text: RefCell<Vec<u8>>,
    /// Whether the program is ending: sessions close once they are answered.
    pub draining: Cell<bool>,
}

/// How many idle output buffers a worker keeps, and how large each may be, in bytes.
const BUFFERS_KEPT: usize = 256;
const BUFFER_KEPT_BYTES: usize = 16 * 1024;

impl Core {
    /// The common things of a worker.
    pub fn new(
        settings: Settings,
        recorder: Arc<Recorder>,
        registry: Arc<Registry>,
        upstream: Option<Arc<NodeStatus>>,
        near_cache: Option<Arc<NearCache>>,
        crew: Box<dyn Crew>,
    ) -> Rc<Self> {
        Rc::new(Self {
            settings: RefCell::new(Rc::new(settings)),
            recorder,
            registry,
            upstream,
            near_cache,
            crew,
            learned: Learned::default(),
            dirty: RefCell::default(),
            flushing: RefCell::default(),
            buffers: RefCell::default(),
            took: Cell::default(),
            text: RefCell::default(),
            draining: Cell::new(false),
        })
    }

    fn take_buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1024))
    }

    fn keep_buffer(&self, buffer: Vec<u8>) {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < BUFFERS_KEPT && (1..=BUFFER_KEPT_BYTES).contains(&buffer.capacity()) {
            buffers.push(buffer);
        }
    }

    /// Writes what the sessions of this worker were answered in this turn.
    pub fn flush_dirty(&self) {
        let mut flushing = self.flushing.take();
        std::mem::swap(&mut flushing, &mut *self.dirty.borrow_mut());
        for client in flushing.drain(..) {
            client.dirty.set(false);
            // A fault of one client's must not keep the others behind it from their replies.
            if catch_unwind(AssertUnwindSafe(|| client.flush())).is_err() {
                self.recorder.add(Counter::SessionPanics, 1);
                client.broken.set(true);
                client.wake();
            }
        }
        self.flushing.replace(flushing);
    }

    /// Whether the upstream is there, in a word for people.
    pub fn upstream_state(&self) -> &'static str {
        match self.upstream.as_ref().map(|status| status.state()) {
            None | Some(NodeState::Reachable) => "up",
            Some(NodeState::Connecting) => "connecting",
            Some(NodeState::Unreachable) => "down",
        }
    }
}

impl Replies for Core {
    type Waiter = Waiter;

    #[inline]
    fn reply(&self, lane: &Rc<Lane<Waiter>>, answered: Popped<Waiter>, note: &[u8], frame: &[u8], now: Instant) {
        step::on_reply(lane, answered, note, frame, now);
    }

    fn failed(&self, waiter: Waiter, deadline: Instant, failure: &Failure, now: Instant) {
        step::on_failure(waiter, deadline, failure, now);
    }

    fn takes_parts(&self, lane: &Rc<Lane<Waiter>>, waiter: &Waiter, declared: usize) -> Option<Room> {
        stream::takes_parts(lane, waiter, declared)
    }

    fn part(&self, waiter: &Waiter, piece: &[u8]) -> Room {
        stream::part(waiter, piece)
    }

    fn last_part(&self, answered: Popped<Waiter>, piece: &[u8], now: Instant) {
        stream::last_part(answered, piece, now);
    }

    fn cut(&self, waiter: Waiter) {
        stream::cut(&waiter);
    }

    fn is_held_up_by_itself(&self, waiter: &Waiter) -> bool {
        waiter.client.is_receiving()
    }

    fn push(&self, lane: &Rc<Lane<Waiter>>, frame: &[u8]) -> bool {
        pubsub::on_frame(lane, frame)
    }

    fn lost(&self, listener: Waiter) {
        pubsub::on_lost(listener);
    }

    fn connected(&self, lane: &Lane<Waiter>, made: Made) {
        near::connected(self, lane, made);
    }

    fn turn_ended(&self, _now: Instant) {
        self.flush_dirty();
    }
}

/// The lane that a session's requests go to while it is in no stateful mode.
fn lane_key(session: &crate::session::Session) -> LaneKey {
    LaneKey { protocol: session.protocol, database: session.database, login: session.login.clone() }
}
