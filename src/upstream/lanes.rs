//! The lanes of a node: which there are, and who gets one.
//!
//! Guarantees: one shared lane for each protocol, database and login in use; exclusive lanes come from a pool of warm ones and
//! go back to it clean or not at all.

use super::lane::{Lane, LaneKey, LaneState, Tenure};
use super::node::{Node, NodeOptions};
use super::running::UNUSED_HOLDERS;
use super::status::NodeStatus;
use super::{Replies, task};
use crate::metrics::{Counter, Recorder};
use std::rc::Rc;
use std::sync::Arc;

/// How many idle exclusive lanes a worker keeps for the next sessions in a stateful mode; one that nobody takes for a
/// while ends by itself. Enough for every connection that `upstream.connections_max` allows by default.
const IDLE_EXCLUSIVE_MAX: usize = 512;

/// From how many shared lanes on a worker ends one that nobody uses for each that it makes: two protocols times the
/// databases that clients select, and some users.
const SHARED_MAX: usize = 64;

impl<R: Replies> Node<R> {
    /// A node and its tasks, on the current worker; starts to connect at once.
    pub fn start(options: NodeOptions, status: Arc<NodeStatus>, replies: Rc<R>, recorder: Arc<Recorder>) -> Rc<Self> {
        let node = Rc::new(Self::new(options, status, replies, recorder));
        tokio::task::spawn_local(Rc::clone(&node).probe());
        node.shared_lane(node.main_key());
        node
    }

    /// The lane that sessions with this key share; made when there is none.
    pub fn shared_lane(self: &Rc<Self>, key: LaneKey) -> Rc<Lane<R::Waiter>> {
        let mut shared = self.shared.borrow_mut();
        if let Some(lane) = shared.iter().find(|lane| lane.key == key) {
            return Rc::clone(lane);
        }
        if shared.len() >= SHARED_MAX
            && let Some(unused) = shared.iter().position(|lane| is_unused(lane) && lane.key != self.main_key())
        {
            shared.swap_remove(unused).end();
        }
        let lane = Rc::new(Lane::new(key, Tenure::Shared, self.options.queue_bytes_max));
        if !self.breaker.borrow().is_closed() {
            lane.set_state(LaneState::Down);
        }
        shared.push(Rc::clone(&lane));
        task::spawn(Rc::clone(self), Rc::clone(&lane));
        lane
    }

    /// A lane for one session alone, warm where possible; dead from the start when the upstream is known to be gone.
    pub fn exclusive_lane(self: &Rc<Self>, key: LaneKey) -> Rc<Lane<R::Waiter>> {
        let mut idle = self.idle_exclusive.borrow_mut();
        idle.retain(|lane| !lane.is_dead());
        // The one given back last: those that are needed no more are left to age.
        if let Some(warm) = idle.iter().rposition(|lane| lane.key == key) {
            let lane = idle.remove(warm);
            lane.set_pooled(false);
            return lane;
        }
        if self.status.connections() >= self.options.connections_max && !idle.is_empty() {
            // Its connection is another key's, and this one can't be had beside it.
            idle.remove(0).end();
        }
        drop(idle);
        let lane = Rc::new(Lane::new(key, Tenure::Exclusive, self.options.queue_bytes_max));
        if self.breaker.borrow().is_closed() {
            task::spawn(Rc::clone(self), Rc::clone(&lane));
        } else {
            lane.end();
        }
        lane
    }

    /// An exclusive lane for a session that could do without one; none where it would take the last connections, or
    /// the upstream is known to be gone.
    pub fn spare_exclusive_lane(self: &Rc<Self>, key: LaneKey) -> Option<Rc<Lane<R::Waiter>>> {
        let is_warm = self.idle_exclusive.borrow().iter().any(|lane| lane.key == key && !lane.is_dead());
        (is_warm || (self.is_up() && self.may_connect())).then(|| self.exclusive_lane(key))
    }

    /// Takes a shared lane out of use, because one client holds up the others on it, unless there may be no connection in
    /// its place.
    pub(super) fn retire(self: &Rc<Self>, lane: &Rc<Lane<R::Waiter>>) {
        if lane.is_retired() || !self.may_connect() {
            return;
        }
        lane.retire();
        self.recorder.add(Counter::UpstreamRetiredLanes, 1);
        self.shared.borrow_mut().retain(|other| !Rc::ptr_eq(other, lane));
        if lane.key == self.main_key() {
            self.shared_lane(lane.key.clone());
        }
    }

    /// Whether one more connection is likely to be had.
    fn may_connect(&self) -> bool {
        self.status.connections() < self.options.connections_max
    }

    /// Nobody may be on this lane of a login any more: it is kept for the next one only where the server has taken the
    /// login and others may use it, so that who guesses passwords leaves nothing behind.
    pub fn left(&self, key: &LaneKey) {
        let Some(login) = &key.login else { return };
        let shared = &mut *self.shared.borrow_mut();
        let useless = |lane: &Lane<_>| !lane.is_ready() || login.unverified_of.is_some();
        if let Some(at) = shared.iter().position(|lane| lane.key == *key && useless(lane) && is_unused(lane)) {
            shared.swap_remove(at).end();
        }
    }

    /// Ends a shared lane that nobody uses.
    pub(super) fn forget(&self, lane: &Rc<Lane<R::Waiter>>) {
        self.shared.borrow_mut().retain(|other| !Rc::ptr_eq(other, lane));
        lane.end();
    }

    /// Takes back an exclusive lane that its session has no more use for: kept for the next one, or ended where anything
    /// is left on it.
    pub fn release(&self, lane: Rc<Lane<R::Waiter>>) {
        let mut idle = self.idle_exclusive.borrow_mut();
        idle.retain(|lane| !lane.is_dead());
        if lane.is_dead() {
            return;
        }
        // A session whose login is verified goes on with the others of its user.
        let is_one_sessions = lane.key.login.as_ref().is_some_and(|login| login.unverified_of.is_some());
        if is_one_sessions || !lane.is_clean() {
            return lane.end();
        }
        if idle.len() >= IDLE_EXCLUSIVE_MAX {
            idle.remove(0).end();
        }
        lane.set_pooled(true);
        idle.push(lane);
    }

    /// Ends an exclusive lane that nobody has taken for a while.
    pub(super) fn forget_idle(&self, lane: &Rc<Lane<R::Waiter>>) {
        self.idle_exclusive.borrow_mut().retain(|other| !Rc::ptr_eq(other, lane));
        lane.end();
    }
}

/// Whether nobody but its own tasks and the node's list holds a lane, and nobody waits for it.
fn is_unused<W>(lane: &Rc<Lane<W>>) -> bool {
    Rc::strong_count(lane) <= UNUSED_HOLDERS && !lane.has_requests()
}
