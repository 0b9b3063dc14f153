//! The connections towards Redis.
//!
//! A [`Node`] is one upstream server as one worker sees it: a [`Breaker`] that knows whether it is there, the shared
//! [`Lane`]s that all sessions of the worker send on, and the exclusive lanes that sessions in a stateful mode hold.
//! A lane is a connection and the [`Pipeline`] that pairs its replies with its requests:
//!
//! ```text
//!   sessions ──request──▶ out ────────────────▶ Redis
//!                 │                               │
//!              waiter ──▶ pipeline (FIFO) ◀───reply
//!                             │
//!                             └──▶ Replies::reply(waiter, frame)
//! ```
//!
//! Nothing here knows what a session or a command is: whoever sends gives a waiter of a type of its own, and hears of
//! it again exactly once through [`Replies`].

mod breaker;
mod connect;
mod incoming;
mod lane;
mod lanes;
mod node;
mod pipeline;
mod running;
mod status;
mod task;
mod tls;

pub use breaker::{Backoff, Breaker};
pub use connect::{Address, ConnectError, ServerFacts};
pub(crate) use connect::{Stream, connect};
pub use lane::{Lane, LaneKey, Refused, STREAM_BUFFER_BYTES, STREAM_BYTES_MIN, Tenure};
pub use node::{Node, NodeOptions};
pub use pipeline::{Pipeline, Popped};
pub use status::{NodeState, NodeStatus};
pub use tls::{Tls, TlsError, TlsOptions};

use std::rc::Rc;
use std::time::Instant;

/// Who hears what became of a request.
pub trait Replies: 'static {
    /// What a request is known by; handed in when it is sent, handed back exactly once.
    type Waiter: 'static;

    /// The upstream answered: `frame` is one whole reply, `note` what was left with the request.
    fn reply(
        &self,
        lane: &Rc<Lane<Self::Waiter>>,
        answered: Popped<Self::Waiter>,
        note: &[u8],
        frame: &[u8],
        now: Instant,
    );

    /// The upstream did not answer in time, or can't.
    fn failed(&self, waiter: Self::Waiter, deadline: Instant, failure: &Failure, now: Instant);

    /// The reply to this request has arrived in part and is large, as far as its length is declared so long: whether it
    /// is to be handed over in pieces. If so, it is by [`Self::part`] and then, once, [`Self::last_part`] or
    /// [`Self::cut`], in place of [`Self::reply`].
    fn takes_parts(&self, lane: &Rc<Lane<Self::Waiter>>, waiter: &Self::Waiter, declared: usize) -> Option<Room>;

    /// The next piece of a reply, which may be empty: then only the answer counts.
    fn part(&self, waiter: &Self::Waiter, piece: &[u8]) -> Room;

    /// The last piece of a reply.
    fn last_part(&self, answered: Popped<Self::Waiter>, piece: &[u8], now: Instant);

    /// The rest of a reply that was handed over in pieces will not come.
    fn cut(&self, waiter: Self::Waiter);

    /// Whether a request waits for its own client, which takes an earlier reply slowly: then its time can't end. May
    /// not touch any lane.
    fn is_held_up_by_itself(&self, waiter: &Self::Waiter) -> bool;

    /// A frame came on a lane that has a listener. True when it is no reply, and done with.
    fn push(&self, lane: &Rc<Lane<Self::Waiter>>, frame: &[u8]) -> bool;

    /// An exclusive lane has lost its connection; this was its listener.
    fn lost(&self, listener: Self::Waiter);

    /// A shared lane has a connection in place of one that ended; the server may be another.
    fn reconnected(&self);

    /// All that one turn of a lane brought was handed over: what it filled can be written.
    fn turn_ended(&self, now: Instant);
}

/// What a client has room for of a reply that is handed over in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// For more.
    #[default]
    Free,
    /// For more; yet the reply is so large that no other client should have to wait behind it.
    FreeButLong,
    /// For none at present: [`Lane::resume`] is called once there is.
    Full,
}

/// Why a request got no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was not answered within its budget; it may have been carried out.
    TimedOut,
    /// The connection broke after it was sent, at least in part; it may have been carried out.
    Broken,
    /// It was not sent: no connection could be had.
    Unsent,
    /// It was not sent: the upstream refuses this lane (its database, its protocol version) with this error.
    LaneRefused(String),
}

#[cfg(test)]
mod tests;
