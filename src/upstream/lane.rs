//! A lane: one connection that many sessions, or one, send on.
//!
//! Guarantees: what is sent in one turn of the worker leaves in one write at its end; a request is accepted only when
//! its lane can be expected to carry it, else the caller is told at once. Belongs to one worker and is never borrowed
//! across a call to a stranger, but for what `with_listener` is given, which may touch no lane. Leaves reading and writing
//! to `running.rs`, connecting to `task.rs`.

use super::pipeline::Pipeline;
use super::run_id::RunId;
use crate::config::Credentials;
use crate::resp::Protocol;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// What must be alike for two sessions to share a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneKey {
    /// The version of the protocol in which replies come.
    pub protocol: Protocol,
    /// The selected database.
    pub database: u32,
    /// Whom the server takes it for; none is whom the configuration names, if anybody.
    pub login: Option<Rc<Credentials>>,
}

/// Whose a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenure {
    /// Every session's; reconnects by itself.
    Shared,
    /// One session's while it is in a stateful mode; ends when its connection breaks.
    Exclusive,
}

/// Requests of one lane that may be without a reply, those included whose time is up.
const REQUESTS_MAX: usize = 1024 * 1024;

/// How many requests may be in flight on an exclusive lane that is given back: the one that cleaned it (DISCARD, UNWATCH).
/// What else its session has left there may be slow, and the next one would wait behind it.
const CLEANING_REQUESTS_MAX: usize = 1;

/// Bytes that a lane has for its upstream, or a client has to take, from which on no more is read of what is passed on
/// in pieces. So far below what a lane keeps of its output buffer that one buffer does for all pieces.
pub const STREAM_BUFFER_BYTES: usize = 512 * 1024;

/// A request, or a reply, above so many bytes is passed on while it arrives: below, holding it is cheaper than a
/// connection of its own.
pub const STREAM_BYTES_MIN: usize = 256 * 1024;

/// Why a lane takes no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The upstream is known to be unreachable, or this exclusive lane's connection broke.
    Down,
    /// More than `upstream.queue_bytes_max` bytes wait to be sent, or too many replies are due.
    QueueFull,
}

/// Where a lane's connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneState {
    /// No connection, or one that is being made: requests queue within their budget.
    Connecting,
    /// Connected.
    Ready,
    /// The upstream is unreachable: requests are refused.
    Down,
    /// Ended for good.
    Dead,
}

/// One connection towards the upstream; `W` is what its requests are known by.
#[derive(Debug)]
pub struct Lane<W> {
    /// What its sessions have in common.
    pub key: LaneKey,
    /// Whose it is.
    pub tenure: Tenure,
    queue_bytes_max: usize,
    state: Cell<LaneState>,
    /// What the server calls its connection.
    server_id: Cell<Option<u64>>,
    /// Which server its connection is to, or its last one was.
    run_id: Cell<Option<RunId>>,
    pub(super) queue: RefCell<Queue<W>>,
    /// Whether an exclusive lane waits in the pool for its next session.
    pooled: Cell<bool>,
    /// Whether its connection has, or may have, a state that no other session is to find.
    tainted: Cell<bool>,
    /// Who hears what the server says unasked on an exclusive lane.
    listener: RefCell<Option<W>>,
    has_listener: Cell<bool>,
    /// The lane's task, woken when there is something to write.
    task: RefCell<Option<Waker>>,
    /// Whether the task was woken since its last turn.
    woken: Cell<bool>,
    /// Whether no session is to begin anything here: it ends once its replies have come.
    retired: Cell<bool>,
    /// Whether nothing is read at present, since the client that a reply is passed on to takes no more.
    pub(super) paused: Cell<bool>,
    /// Who sends a large request, waiting until there is room for more of it.
    sender: RefCell<Option<Waker>>,
}

/// What a lane has to send and to hear.
#[derive(Debug)]
pub(super) struct Queue<W> {
    pub(super) pipeline: Pipeline<W>,
    /// Bytes to send, from `start` on.
    pub(super) out: Vec<u8>,
    pub(super) start: usize,
    /// Bytes sent since the connection began.
    pub(super) sent: u64,
    /// Whether the youngest request is one that is sent while it arrives.
    pub(super) upload: Upload,
}

/// Whether the youngest request of a lane is sent while it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upload {
    /// It is not.
    No,
    /// More of it is to come.
    Open,
    /// All of it is in the lane's output.
    Whole,
}

impl<W> Queue<W> {
    /// How many bytes are to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.out.len() - self.start
    }

    /// Whether the upstream can't answer, because the rest of the only request has not come from its client.
    pub(super) fn waits_for_client(&self) -> bool {
        self.upload == Upload::Open && self.unsent() == 0 && self.pipeline.len() == 1
    }
}

impl<W> Lane<W> {
    /// A lane without a connection.
    pub(super) fn new(key: LaneKey, tenure: Tenure, queue_bytes_max: usize) -> Self {
        let queue = Queue { pipeline: Pipeline::default(), out: Vec::new(), start: 0, sent: 0, upload: Upload::No };
        Self {
            key,
            tenure,
            queue_bytes_max,
            state: Cell::new(LaneState::Connecting),
            server_id: Cell::new(None),
            run_id: Cell::new(None),
            queue: RefCell::new(queue),
            pooled: Cell::new(false),
            tainted: Cell::new(false),
            listener: RefCell::new(None),
            has_listener: Cell::new(false),
            task: RefCell::new(None),
            woken: Cell::new(false),
            retired: Cell::new(false),
            paused: Cell::new(false),
            sender: RefCell::new(None),
        }
    }

    /// Whether a request may be pushed now.
    ///
    /// # Errors
    /// The reason to answer the request without the upstream.
    #[inline]
    pub fn accepts(&self) -> Result<(), Refused> {
        match self.state.get() {
            LaneState::Ready | LaneState::Connecting => {}
            LaneState::Down | LaneState::Dead => return Err(Refused::Down),
        }
        let queue = self.queue.borrow();
        if queue.out.len() - queue.start > self.queue_bytes_max || queue.pipeline.len() >= REQUESTS_MAX {
            return Err(Refused::QueueFull);
        }
        Ok(())
    }

    /// Sends a request as it came.
    #[inline(always)]
    pub fn push(&self, deadline: Instant, waiter: W, request: &[u8]) {
        let queue = &mut *self.queue.borrow_mut();
        queue.out.extend_from_slice(request);
        queue.pipeline.push(deadline, waiter, &[], request.len());
        self.wake();
    }

    /// Sends a request that `write` appends to the bytes it is given; `note` comes back with its reply.
    #[inline]
    pub fn push_with(&self, deadline: Instant, waiter: W, note: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let queue = &mut *self.queue.borrow_mut();
        let before = queue.out.len();
        write(&mut queue.out);
        let bytes = queue.out.len() - before;
        queue.pipeline.push(deadline, waiter, note, bytes);
        self.wake();
    }

    /// Sends the beginning of a request of which more is to come, by [`Self::append`] until [`Self::finish`]. Until then
    /// nothing else may be pushed: for exclusive lanes.
    pub fn begin(&self, deadline: Instant, waiter: W, beginning: &[u8]) {
        self.push(deadline, waiter, beginning);
        self.queue.borrow_mut().upload = Upload::Open;
    }

    /// Sends more of the request that was begun.
    pub fn append(&self, piece: &[u8]) {
        let queue = &mut *self.queue.borrow_mut();
        queue.out.extend_from_slice(piece);
        queue.pipeline.grow_last(piece.len());
        self.wake();
    }

    /// The request that was begun is whole; its budget counts from its last byte on.
    pub fn finish(&self, deadline: Instant) {
        let queue = &mut *self.queue.borrow_mut();
        queue.upload = Upload::Whole;
        queue.pipeline.extend_last(deadline);
        self.wake();
    }

    /// Ready when there is room for more of the request that was begun, or none will be needed.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_dead() || self.queue.borrow().unsent() < STREAM_BUFFER_BYTES {
            return Poll::Ready(());
        }
        *self.sender.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Lets the sender of a large request go on.
    pub(super) fn wake_sender(&self) {
        let sender = self.sender.borrow_mut().take();
        if let Some(sender) = sender {
            sender.wake();
        }
    }

    /// Goes on with a reply that its client had no room for.
    pub fn resume(&self) {
        if self.paused.get() {
            self.wake();
        }
    }

    /// Whether a session with nothing in flight here is to go elsewhere.
    #[inline]
    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    pub(super) fn retire(&self) {
        self.retired.set(true);
    }

    /// Whether the lane has a connection, so that its database and protocol are known to be accepted.
    pub fn is_ready(&self) -> bool {
        self.state.get() == LaneState::Ready
    }

    /// The number that the server gave its connection, as CLIENT ID tells it; `None` without one, or before Redis 5.
    pub fn server_id(&self) -> Option<u64> {
        self.server_id.get()
    }

    /// Which server its connection is to; none where that is not known, or was not asked. Between two connections it is
    /// the one before: what its sessions have been given is of that server.
    #[inline]
    pub fn run_id(&self) -> Option<RunId> {
        self.run_id.get()
    }

    /// Whether the lane will never carry a request again.
    pub fn is_dead(&self) -> bool {
        self.state.get() == LaneState::Dead
    }

    /// From now on this is who hears what the server says unasked; nobody for `None`. Returned is who it was before.
    pub fn listen(&self, listener: Option<W>) -> Option<W> {
        self.has_listener.set(listener.is_some());
        self.listener.replace(listener)
    }

    /// Whether somebody hears what the server says unasked.
    #[inline]
    pub(super) fn has_listener(&self) -> bool {
        self.has_listener.get()
    }

    /// What `read`, which may touch no lane, makes of the listener and of the waiter of the oldest request, as far as they
    /// are there.
    pub fn with_listener<T>(&self, read: impl FnOnce(&W, Option<&mut W>) -> T) -> Option<T> {
        let listener = self.listener.borrow();
        let queue = &mut *self.queue.borrow_mut();
        listener.as_ref().map(|listener| read(listener, queue.pipeline.front_mut()))
    }

    /// Lets `change`, which may touch no lane, at the waiter of the oldest request; none where there is no request, or its
    /// time is up.
    pub fn with_oldest(&self, change: impl FnOnce(Option<&mut W>)) {
        change(self.queue.borrow_mut().pipeline.front_mut());
    }

    /// How many replies are still to come.
    pub fn in_flight(&self) -> usize {
        self.queue.borrow().pipeline.len()
    }

    /// Ends an exclusive lane: its connection is closed, its requests are told.
    pub fn end(&self) {
        self.state.set(LaneState::Dead);
        self.wake_sender();
        self.wake();
    }

    pub(super) fn state(&self) -> LaneState {
        self.state.get()
    }

    pub(super) fn set_state(&self, state: LaneState) {
        if state != LaneState::Ready {
            self.server_id.set(None);
        }
        if self.state.get() != LaneState::Dead {
            self.state.set(state);
        }
    }

    /// The lane goes into the pool, or out of it.
    pub(super) fn set_pooled(&self, pooled: bool) {
        self.pooled.set(pooled);
        if pooled {
            // Its task sets the time at which it has been there for too long.
            self.wake();
        }
    }

    /// The connection has, or may have, a state that no other session is to find: it won't go back to the pool.
    pub fn taint(&self) {
        self.tainted.set(true);
    }

    /// Whether the next session would find the connection as if it were new: nothing is left on it, nor anything slow
    /// before it.
    pub(super) fn is_clean(&self) -> bool {
        let queue = self.queue.borrow();
        !self.tainted.get() && queue.upload != Upload::Open && queue.pipeline.len() <= CLEANING_REQUESTS_MAX
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.pooled.get()
    }

    /// The lane has a connection.
    pub(super) fn set_ready(&self, server_id: Option<u64>, run_id: Option<RunId>) {
        self.server_id.set(server_id);
        self.run_id.set(run_id);
        self.set_state(LaneState::Ready);
    }

    pub(super) fn has_requests(&self) -> bool {
        !self.queue.borrow().pipeline.is_empty()
    }

    /// Schedules the lane's task behind the tasks that are ready now, once per turn.
    #[inline]
    pub(super) fn wake(&self) {
        if !self.woken.replace(true)
            && let Some(task) = self.task.borrow().as_ref()
        {
            task.wake_by_ref();
        }
    }

    /// Called by the lane's task at the start of each turn.
    pub(super) fn begin_turn(&self, task: &Waker) {
        self.woken.set(false);
        let known = &mut *self.task.borrow_mut();
        match known {
            Some(known) if known.will_wake(task) => {}
            _ => *known = Some(task.clone()),
        }
    }
}
