//! One client's connection: its state and its replies.
//!
//! A [`Session`] is a value without a socket: what a client has asked for (protocol, database, name, transaction) and
//! the [`ReplyQueue`] that keeps its replies in order. The bytes are moved by the worker, requests are carried out by
//! the flow.

mod modes;
mod reads;
mod replies;
mod transaction;

pub use modes::{Mode, Modes, Subscription, Subscriptions};
pub use reads::{Read, Reads};
pub use replies::{ReplyQueue, Slot};
pub use transaction::{Queued, Shape, Transaction};

use crate::config::Credentials;
use crate::resp::Protocol;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

/// What one client's connection is.
#[derive(Debug)]
pub struct Session {
    /// Unique in this process, what CLIENT ID answers.
    pub id: u64,
    /// The client's address.
    pub peer: SocketAddr,
    /// The address it connected to.
    pub local: SocketAddr,
    /// When it connected.
    pub connected_at: Instant,
    /// When its last request was carried out.
    pub active_at: Instant,
    /// In which version of the protocol it is answered.
    pub protocol: Protocol,
    /// The database it selected.
    pub database: u32,
    /// Whom it has logged in as; none is whom the configuration names, if anybody.
    pub login: Option<Rc<Credentials>>,
    /// What it said of itself, once it has: most sessions idle most of the time, so room is kept small.
    identity: Option<Box<Identity>>,
    /// Its replies, in order.
    pub replies: ReplyQueue,
    /// The transaction it is in.
    pub transaction: Transaction,
    /// The stateful modes it is in.
    pub modes: Modes,
    /// FCA.GETs that may still ask for a second spelling, as hashes of their entries, oldest first. A later write to
    /// one of these entries waits for them: else it would overtake the second question.
    pub lookups: VecDeque<u64>,
    /// Reads under way that an answer from the near cache could overtake.
    pub reads: Reads,
    /// Commands under way whose outcome the near cache has to hear of: what they may have changed, or will show.
    pub untold: u32,
    /// No further request is carried out before this slot is filled: the last one changes what they mean.
    gate: Option<Slot>,
    /// Whether that one is a blocking command, which waits in the server on a connection that the session has for itself.
    pub blocks: bool,
    /// Nor before this is over.
    pub lesson: Lesson,
    /// Whether the last that was heard of a request sent upstream is that its time was up.
    pub timed_out: bool,
    /// For how many more reads it is kept off the connections that others share, since its replies are large.
    pub reads_apart: u8,
    /// What happens once all replies are written.
    pub ending: Ending,
    /// The last command carried out, for CLIENT LIST.
    pub last_command: &'static str,
}

/// What a client said of itself with CLIENT SETNAME and SETINFO.
#[derive(Debug, Default)]
pub struct Identity {
    /// CLIENT SETNAME; empty for none.
    pub name: Vec<u8>,
    /// CLIENT SETINFO LIB-NAME.
    pub library: Vec<u8>,
    /// CLIENT SETINFO LIB-VER.
    pub library_version: Vec<u8>,
}

/// Whether the upstream is being asked what the session's next command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// It is not.
    None,
    /// It is: the request waits.
    Awaited,
    /// It was, in vain: the request is carried out all the same.
    Failed,
}

/// Whether a session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It does.
    No,
    /// The client sends no more: what it asked for is still answered.
    InputClosed,
    /// Nothing more is read; the connection is closed once all replies are written (QUIT, a protocol error, a drain).
    AfterReplies,
}

impl Session {
    /// A session that has just connected.
    pub fn new(id: u64, peer: SocketAddr, local: SocketAddr, database: u32, now: Instant) -> Self {
        Self {
            id,
            peer,
            local,
            connected_at: now,
            active_at: now,
            protocol: Protocol::Resp2,
            database,
            login: None,
            identity: None,
            replies: ReplyQueue::default(),
            transaction: Transaction::None,
            modes: Modes::default(),
            lookups: VecDeque::new(),
            reads: Reads::default(),
            untold: 0,
            gate: None,
            blocks: false,
            lesson: Lesson::None,
            timed_out: false,
            reads_apart: 0,
            ending: Ending::No,
            last_command: "NULL",
        }
    }

    /// Whether the next request may be carried out.
    pub fn takes_requests(&self, pipeline_max: usize, output_bytes_pause: usize) -> bool {
        self.ending != Ending::AfterReplies
            && self.gate.is_none()
            && self.lesson != Lesson::Awaited
            && self.replies.in_flight() < pipeline_max
            && self.replies.bytes() < output_bytes_pause
    }

    /// What it said of itself.
    pub fn identity(&self) -> &Identity {
        const SILENT: &Identity = &Identity { name: Vec::new(), library: Vec::new(), library_version: Vec::new() };
        self.identity.as_deref().unwrap_or(SILENT)
    }

    /// What it said of itself, to be changed.
    pub fn identity_mut(&mut self) -> &mut Identity {
        self.identity.get_or_insert_default()
    }

    /// Forgets what it said of itself.
    pub fn forget_identity(&mut self) {
        self.identity = None;
    }

    /// Whether it is in no mode and no transaction: its requests may go over a connection that others share.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.modes.is_plain() && !self.transaction.is_queueing()
    }

    /// Whether an earlier request may still ask for a second spelling.
    #[inline]
    pub fn looks_up(&self) -> bool {
        !self.lookups.is_empty() && self.replies.in_flight() > 0
    }

    /// The near cache has heard of the outcome of a command, or it has none.
    pub fn told(&mut self) {
        self.untold = self.untold.saturating_sub(1);
    }

    /// Whether everything that was asked for is answered and written, and nothing more will be.
    pub fn has_ended(&self) -> bool {
        self.ending != Ending::No && self.replies.in_flight() == 0 && self.replies.unsent().is_empty()
    }

    /// The place for the reply to the next request, before which no further one is carried out.
    pub fn open_gated(&mut self) -> Slot {
        let slot = self.replies.open();
        self.gate = Some(slot);
        slot
    }

    /// Whether a request is on its way that changes what later ones mean.
    pub fn is_gated(&self) -> bool {
        self.gate.is_some()
    }

    /// Fills a slot and opens the gate that waited for it.
    #[inline]
    pub fn fill(&mut self, slot: Slot, frame: &[u8]) {
        self.replies.fill(slot, frame);
        if self.gate == Some(slot) {
            self.gate = None;
            self.blocks = false;
        }
    }
}

#[cfg(test)]
mod tests;
