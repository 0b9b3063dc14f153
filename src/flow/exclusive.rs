//! The upstream connection that a session has for itself while it is in a stateful mode.
//!
//! Guarantees: a session changes connections only while nothing of it is in flight, so its commands stay in order;
//! while it has one of its own everything goes there, so that nothing overtakes; the connection goes back to the pool
//! only when no trace of the session is left on it, else it is ended.

use super::step::Waiter;
use super::{Client, Route, lane_key};
use crate::session::Session;
use crate::upstream::{Lane, Tenure};
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
pub(super) fn take(client: &Client, session: &Session, route: &Route) -> Taken {
    let has_none = client.exclusive.borrow().as_ref().is_none_or(|lane| lane.is_dead());
    if session.looks_up() || (has_none && session.replies.in_flight() > 0) {
        return Taken::WaitUntilAnswered;
    }
    own(client, session, route).map_or(Taken::Unreachable, Taken::Lane)
}

/// The same for a session of which nothing is in flight elsewhere, if there is one to be had.
pub(super) fn own(client: &Client, session: &Session, route: &Route) -> Option<Rc<Lane<Waiter>>> {
    let mut exclusive = client.exclusive.borrow_mut();
    if exclusive.as_ref().is_none_or(|lane| lane.is_dead())
        && let Route::Lane(_, node) = route
    {
        *exclusive = Some(node.exclusive_lane(lane_key(session)));
    }
    exclusive.clone().filter(|lane| lane.accepts().is_ok())
}

/// Whether a lane is the session's own connection, and can be told something. Where that one is lost, the session is on
/// one that others share, whose state is not its to change.
pub(super) fn is_its_own(lane: &Lane<Waiter>) -> bool {
    lane.tenure == Tenure::Exclusive && lane.accepts().is_ok()
}

/// The session's own connection, if it has one, can't go back to the pool.
pub(super) fn taint(client: &Client) {
    if let Some(lane) = &*client.exclusive.borrow() {
        lane.taint();
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
pub(super) fn route(client: &Client, shared: &Route) -> Option<Route> {
    let exclusive = client.exclusive.borrow();
    match (&*exclusive, shared) {
        (Some(lane), Route::Lane(_, node)) if !lane.is_dead() => Some(Route::Lane(Rc::clone(lane), Rc::clone(node))),
        _ => None,
    }
}

/// Nothing is in flight: gives the connection back that is no longer needed.
pub(super) fn settle(client: &Client, session: &Session) {
    if session.transaction.is_none()
        && !session.modes.need_connection()
        && let Some(lane) = client.exclusive.borrow_mut().take()
        && let Route::Lane(_, node) = &*client.route.borrow()
    {
        drop(lane.listen(None));
        node.release(lane);
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
