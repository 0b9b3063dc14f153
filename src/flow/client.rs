//! A session and its socket, as the tasks of its worker share it.
//!
//! Guarantees: a reply is written by whoever brings it, at the end of that turn, without waking the session's own
//! task; a socket that takes no more is left to that task. Holds no buffer while nothing is to be written.

use super::{Core, Route, Waiter, exclusive};
use crate::metrics::{Counter, Limit, Took};
use crate::near_cache::Written;
use crate::resp::ReplyError;
use crate::session::{Ending, Mode, Session, Slot};
use crate::upstream::{Lane, STREAM_BUFFER_BYTES};
use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;
use tokio::net::TcpStream;

/// One client of a worker.
pub struct Client {
    /// The worker's common things.
    pub core: Rc<Core>,
    /// The socket. Borrowed for one system call at a time.
    pub stream: RefCell<TcpStream>,
    /// The connection's state. Borrowed for one turn at a time.
    pub session: RefCell<Session>,
    /// Where its requests go while it is in no stateful mode.
    pub(super) route: RefCell<Route>,
    /// The connection that it has for itself while it is.
    pub(super) exclusive: RefCell<Option<Rc<Lane<Waiter>>>>,
    /// What its transaction may change, as far as commands were queued.
    pub(super) queued_writes: RefCell<Option<Box<Written>>>,
    /// What the session's task carries out itself, a step a turn.
    pub(super) work: RefCell<Option<Box<dyn Work>>>,
    /// The large reply that it is handed in pieces.
    pub(super) receiving: RefCell<Option<Receiving>>,
    /// Whether it was handed one since this was taken: what waited behind that was held up by the client itself.
    pub held_up: Cell<bool>,
    /// Whether it stands in the list of those to be flushed at the end of the turn.
    pub(super) dirty: Cell<bool>,
    /// The session's task.
    task: RefCell<Option<Waker>>,
    /// The socket takes no more at present.
    blocked: Cell<bool>,
    /// The session's task has stopped reading until replies have left.
    pub stalled: Cell<bool>,
    /// The connection failed, or exceeded a limit: nothing is written or read any more.
    pub broken: Cell<bool>,
}

/// A reply that is handed to a client in pieces.
pub(super) struct Receiving {
    /// Where it comes from.
    pub(super) lane: Rc<Lane<Waiter>>,
    /// Bytes that may still pass over a lane that others share.
    pub(super) allowance: Cell<usize>,
    /// Whether the client goes on writing what is not read, and so may take no reply before it is done.
    pub(super) insists: Cell<bool>,
}

impl Receiving {
    /// Goes on with the reply.
    pub(super) fn resume(&self) {
        self.lane.resume();
    }
}

/// What the session's task carries out itself, so that the other sessions of its worker are served in between.
pub(super) trait Work {
    /// Takes one step; true while there is more.
    fn step(&mut self, client: &Rc<Client>, session: &mut Session) -> bool;
}

impl Client {
    /// A client whose session has just begun.
    pub fn new(core: Rc<Core>, stream: TcpStream, session: Session, route: Route) -> Rc<Self> {
        Rc::new(Self {
            core,
            stream: RefCell::new(stream),
            session: RefCell::new(session),
            route: RefCell::new(route),
            exclusive: RefCell::new(None),
            queued_writes: RefCell::new(None),
            work: RefCell::new(None),
            receiving: RefCell::new(None),
            held_up: Cell::new(false),
            dirty: Cell::new(false),
            task: RefCell::new(None),
            blocked: Cell::new(false),
            stalled: Cell::new(false),
            broken: Cell::new(false),
        })
    }

    /// Called by the session's task at the start of each turn.
    pub fn begin_turn(&self, task: &Waker) {
        let known = &mut *self.task.borrow_mut();
        match known {
            Some(known) if known.will_wake(task) => {}
            _ => *known = Some(task.clone()),
        }
    }

    /// Wakes the session's task.
    pub fn wake(&self) {
        if let Some(task) = self.task.borrow().as_ref() {
            task.wake_by_ref();
        }
    }

    /// The socket may take bytes again.
    pub fn unblock(&self) {
        self.blocked.set(false);
    }

    /// Whether the socket takes no more at present.
    pub fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// Whether the socket, which is not ready for a large write, takes at least one byte: its system tells of room only
    /// once there is a good deal of it, which a slow network may take minutes to make.
    pub fn takes_a_byte(&self) -> bool {
        let session = &mut *self.session.borrow_mut();
        let stream = self.stream.borrow();
        // The runtime would not ask the system again before that told it so.
        let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return false };
        match std::net::TcpStream::from(socket).write(session.replies.unsent()) {
            Ok(bytes) if bytes > 0 => {
                session.replies.advance(bytes);
                self.core.recorder.add(Counter::BytesOut, bytes as u64);
                true
            }
            _ => false,
        }
    }

    /// How long a request has taken whose budget ends at `deadline`.
    #[inline(always)]
    pub(super) fn took(&self, deadline: Instant, now: Instant) -> Took {
        match self.core.took.get() {
            Some((known, at, took)) if known == deadline && at == now => took,
            _ => self.took_anew(deadline, now),
        }
    }

    fn took_anew(&self, deadline: Instant, now: Instant) -> Took {
        let began = deadline.checked_sub(self.core.settings.borrow().timeout);
        let took = now.saturating_duration_since(began.unwrap_or(now)).into();
        self.core.took.set(Some((deadline, now, took)));
        took
    }

    /// Puts a reply into its place, to be written at the end of the turn.
    #[inline(always)]
    pub(super) fn fill(self: &Rc<Self>, session: &mut Session, slot: Slot, frame: &[u8]) {
        self.lend_buffer(session);
        session.fill(slot, frame);
        self.mark_dirty();
    }

    /// Hands over a piece of the reply in the first place, to be written at the end of the turn.
    pub(super) fn append(self: &Rc<Self>, session: &mut Session, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        self.lend_buffer(session);
        session.replies.append_to_first(piece);
        self.mark_dirty();
    }

    /// Says whether a client that takes a large reply, and is not read meanwhile, goes on writing all the same.
    pub fn set_insists(&self, insists: bool) {
        if let Some(receiving) = &*self.receiving.borrow() {
            receiving.insists.set(insists);
            if insists {
                receiving.resume();
            }
        }
    }

    /// Whether a large reply is on its way to it.
    pub fn is_receiving(&self) -> bool {
        self.receiving.borrow().is_some()
    }

    /// Answers a request at once.
    #[inline]
    pub(super) fn say(self: &Rc<Self>, session: &mut Session, write: impl FnOnce(&mut Vec<u8>)) {
        self.lend_buffer(session);
        session.replies.say(write);
        self.mark_dirty();
    }

    /// Answers a request at once, if `write` has a reply.
    #[inline]
    pub(super) fn say_if(self: &Rc<Self>, session: &mut Session, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        self.lend_buffer(session);
        let said = session.replies.say_if(write);
        if said {
            self.mark_dirty();
        }
        said
    }

    /// Passes on what is no reply to any request.
    pub(super) fn push(self: &Rc<Self>, session: &mut Session, frame: &[u8]) {
        // As `prepareClientToWrite` in Redis's `networking.c`: CLIENT REPLY OFF silences what MONITOR tells, yet neither
        // messages nor confirmations, in RESP2 as in RESP3 (`CLIENT_PUSHING` in `pubsub.c`).
        if session.modes.has(Mode::ReplyOff) && frame[0] == b'+' {
            return;
        }
        self.lend_buffer(session);
        session.replies.push(frame);
        self.mark_dirty();
    }

    /// Answers a request that is none with an error.
    pub fn say_error(self: &Rc<Self>, session: &mut Session, error: &ReplyError) {
        self.say(session, |out| error.append_to(out));
    }

    /// The session is about to be given something to write.
    #[inline]
    fn lend_buffer(&self, session: &mut Session) {
        if !session.replies.has_buffer() {
            session.replies.lend_buffer(self.core.take_buffer());
        }
    }

    #[inline]
    fn mark_dirty(self: &Rc<Self>) {
        if !self.dirty.replace(true) {
            self.core.dirty.borrow_mut().push(Rc::clone(self));
        }
    }

    /// Writes what is to be written as far as the socket takes it; wakes the session's task where that has to act.
    pub fn flush(self: &Rc<Self>) {
        if self.broken.get() {
            return self.wake();
        }
        let session = &mut *self.session.borrow_mut();
        let mut written = 0;
        let stream = self.stream.borrow();
        while !self.blocked.get() && !self.broken.get() && !session.replies.unsent().is_empty() {
            match stream.try_write(session.replies.unsent()) {
                Ok(bytes) => {
                    session.replies.advance(bytes);
                    written += bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked.set(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.broken.set(true),
            }
        }
        self.core.recorder.add(Counter::BytesOut, written as u64);
        if let Some(receiving) = &*self.receiving.borrow() {
            if session.replies.bytes() < STREAM_BUFFER_BYTES / 2 {
                receiving.resume();
            }
        } else if let Some(buffer) = session.replies.take_buffer() {
            self.core.keep_buffer(buffer);
        }
        if session.replies.bytes() > self.core.settings.borrow().limits.output_bytes_max {
            self.core.recorder.limit(Limit::OutputBytes);
            tracing::info!(client = session.id, "client closed: it reads too slowly (limits.output_bytes_max)");
            self.broken.set(true);
        }
        if session.replies.in_flight() == 0 {
            exclusive::settle(self, session);
        }
        if self.blocked.get() || self.broken.get() || self.stalled.get() || session.ending != Ending::No {
            self.wake();
        }
    }

    /// Takes one step of what the session's task carries out itself; true while there is more.
    pub fn work(self: &Rc<Self>) -> bool {
        let Some(mut work) = self.work.take() else { return false };
        let goes_on = work.step(self, &mut self.session.borrow_mut());
        if goes_on {
            self.work.replace(Some(work));
        }
        goes_on
    }
}
