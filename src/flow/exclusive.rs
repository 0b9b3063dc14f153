//! The upstream connection that a session has for itself while it is in a stateful mode.
//!
//! Guarantees: a session changes connections only while nothing of it is in flight, so its commands stay in order;
//! while it has one of its own everything goes there, so that nothing overtakes; the connection goes back to the pool
//! only when no trace of the session is left on it, else it is ended.

use super::request::{Call, looks_up};
use super::step::Waiter;
use super::{Client, Link, lane_key};
use crate::session::Session;
use crate::upstream::Lane;
use std::rc::Rc;

/// What became of asking for a connection of the session's own.
pub(super) enum Taken {
    /// It is this one.
    Lane(Rc<Lane<Waiter>>),
    /// Only once everything before is answered.
    WaitUntilAnswered,
    /// There is none to be had.
    Unreachable,
}

/// The session's own connection; it gets one where it has none.
pub(super) fn take(call: &Call<'_>, session: &Session) -> Taken {
    if looks_up(session) {
        return Taken::WaitUntilAnswered;
    }
    let mut exclusive = call.client.exclusive.borrow_mut();
    if exclusive.as_ref().is_none_or(|lane| lane.is_dead()) {
        if session.replies.in_flight() > 0 {
            return Taken::WaitUntilAnswered;
        }
        if let Link::Lane(_, node) = call.link
            && !session.transaction.is_lost()
        {
            *exclusive = Some(node.exclusive_lane(lane_key(session)));
            call.client.tainted.set(false);
        }
    }
    match exclusive.as_ref().filter(|lane| lane.accepts().is_ok()) {
        Some(lane) => Taken::Lane(Rc::clone(lane)),
        None => Taken::Unreachable,
    }
}

/// A connection of the session's own that is gone takes with it what it watched or queued; one that is no longer needed
/// is given back before anything else goes there.
pub(super) fn mind(client: &Client, session: &mut Session) {
    let is_dead = match &*client.exclusive.borrow() {
        None => return,
        Some(lane) => lane.is_dead(),
    };
    if is_dead {
        session.transaction.lose();
    }
    if session.replies.in_flight() == 0 {
        settle(client, session);
    }
}

/// Where a session's requests go while it has a connection for itself.
pub(super) fn link(client: &Client, shared: &Link) -> Option<Link> {
    let exclusive = client.exclusive.borrow();
    match (&*exclusive, shared) {
        (Some(lane), Link::Lane(_, node)) if !lane.is_dead() => Some(Link::Lane(Rc::clone(lane), Rc::clone(node))),
        _ => None,
    }
}

/// Nothing is in flight: gives the connection back that is no longer needed.
pub(super) fn settle(client: &Client, session: &Session) {
    if session.transaction.is_none()
        && !session.modes.need_connection()
        && let Some(lane) = client.exclusive.borrow_mut().take()
        && let Link::Lane(_, node) = &*client.link.borrow()
    {
        drop(lane.listen(None));
        if client.tainted.take() {
            lane.end();
        } else {
            node.release(lane);
        }
    }
}

/// Ends the connection: what the server holds for it is not known, or not wanted any more. The client of a session
/// that hears pushes on it is told by the end of its own connection.
pub(super) fn end(client: &Client, session: &mut Session) {
    if let Some(lane) = client.exclusive.borrow_mut().take() {
        lane.end();
        session.transaction.lose();
    }
}
