//! One upstream server, as one worker sees it.
//!
//! Guarantees: one shared lane for each protocol, database and login in use; exclusive lanes come from a pool of warm
//! ones and go back to it clean or not at all; the number of connections of the whole process is bounded; one breaker
//! for all of them, one prober while it is open. [`NodeStatus`] is the little that workers share: counts, and who says
//! in the log that the upstream went or came back.

use super::breaker::{Backoff, Breaker};
use super::connect::{Address, ConnectError, ServerFacts, Stream, connect};
use super::lane::{Lane, LaneKey, LaneState, Tenure};
use super::{Replies, task};
use crate::clock;
use crate::config::Credentials;
use crate::metrics::{Counter, Gauge, Limit, Recorder};
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until, timeout};

/// How a worker deals with its upstream.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Where it listens.
    pub address: Address,
    /// Whom sessions are that did not log in; none means no AUTH.
    pub credentials: Option<Credentials>,
    /// The database of sessions that did not SELECT one.
    pub database: u32,
    /// What a step of a large reply may take: the budget of a request.
    pub timeout: Duration,
    /// A connection that is silent for so long with replies due is closed.
    pub dead_after: Duration,
    /// Time for connecting and shaking hands.
    pub connect_timeout: Duration,
    /// A connection beside the main one that no session has for so long is closed.
    pub idle_timeout: Duration,
    /// Waits between probes of an upstream that is gone.
    pub backoff: Backoff,
    /// Unsent bytes of one lane; past it requests are refused.
    pub queue_bytes_max: usize,
    /// Bytes of one reply.
    pub reply_bytes_max: usize,
    /// Connections of the whole process.
    pub connections_max: usize,
}

/// How many idle exclusive lanes a worker keeps for the next sessions in a stateful mode; one that nobody takes for a
/// while ends by itself. Enough for every connection that `upstream.connections_max` allows by default.
const IDLE_EXCLUSIVE_MAX: usize = 512;

/// From how many shared lanes on a worker ends one that nobody uses for each that it makes: two protocols times the
/// databases that clients select, and some users.
const SHARED_MAX: usize = 64;

/// Who holds a lane that no session uses: the node's list, its task, and the task that watches over that one.
pub(super) const UNUSED_HOLDERS: usize = 3;

/// How often a lane looks whether there may be one more connection.
const PERMIT_RETRY_EVERY: Duration = Duration::from_millis(5);

/// What all workers know of the upstream together.
#[derive(Debug)]
pub struct NodeStatus {
    name: String,
    connections: AtomicUsize,
    workers_without: AtomicUsize,
    connected_once: AtomicBool,
    /// Whether it asks for a password that the configuration does not name.
    wants_login: AtomicBool,
}

/// Whether the upstream is there, as all workers together see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// No worker has connected yet.
    Connecting,
    /// Every worker's breaker is closed.
    Reachable,
    /// At least one worker's breaker is open.
    Unreachable,
}

impl NodeStatus {
    /// The status of an upstream that nobody has connected to.
    pub fn new(address: &Address) -> Arc<Self> {
        Arc::new(Self {
            name: address.to_string(),
            connections: AtomicUsize::new(0),
            workers_without: AtomicUsize::new(0),
            connected_once: AtomicBool::new(false),
            wants_login: AtomicBool::new(false),
        })
    }

    /// The upstream's address, without credentials.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the upstream is there.
    pub fn state(&self) -> NodeState {
        if self.workers_without.load(Ordering::Relaxed) > 0 {
            NodeState::Unreachable
        } else if self.connected_once.load(Ordering::Relaxed) {
            NodeState::Reachable
        } else {
            NodeState::Connecting
        }
    }

    fn opened(&self, reason: &dyn std::fmt::Display) {
        if self.workers_without.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(upstream = %self.name, "upstream is unreachable, answering nil until it is back: {reason}");
        }
    }

    fn closed(&self) {
        if self.workers_without.fetch_sub(1, Ordering::Relaxed) == 1 {
            tracing::info!(upstream = %self.name, "upstream is reachable again");
        }
    }

    /// A connection without a login was made.
    fn connected_without_login(&self, wants_login: bool) {
        if !self.wants_login.swap(wants_login, Ordering::Relaxed) && wants_login {
            tracing::warn!(
                upstream = %self.name,
                "the upstream asks for a password: clients have to authenticate, or set upstream.password_file or \
                 FCA_PROXY_UPSTREAM_PASSWORD"
            );
        }
    }

    fn connected(&self) {
        if !self.connected_once.swap(true, Ordering::Relaxed) {
            tracing::info!(upstream = %self.name, "upstream is reachable");
        }
    }
}

/// One upstream of one worker.
pub struct Node<R: Replies> {
    pub(super) options: NodeOptions,
    status: Arc<NodeStatus>,
    pub(super) replies: Rc<R>,
    pub(super) recorder: Arc<Recorder>,
    breaker: RefCell<Breaker>,
    breaker_opened: Notify,
    random: RandomState,
    shared: RefCell<Vec<Rc<Lane<R::Waiter>>>>,
    idle_exclusive: RefCell<Vec<Rc<Lane<R::Waiter>>>>,
    facts: RefCell<ServerFacts>,
    /// How often the main lane has connected.
    main_connections: Cell<u64>,
}

impl<R: Replies> Node<R> {
    /// A node and its tasks, on the current worker; starts to connect at once.
    pub fn start(options: NodeOptions, status: Arc<NodeStatus>, replies: Rc<R>, recorder: Arc<Recorder>) -> Rc<Self> {
        let node = Rc::new(Self {
            breaker: RefCell::new(Breaker::new(options.backoff)),
            options,
            status,
            replies,
            recorder,
            breaker_opened: Notify::new(),
            random: RandomState::new(),
            shared: RefCell::default(),
            idle_exclusive: RefCell::default(),
            facts: RefCell::default(),
            main_connections: Cell::new(0),
        });
        tokio::task::spawn_local(Rc::clone(&node).probe());
        node.shared_lane(node.main_key());
        node
    }

    /// The key of the lane of a session that has just connected.
    pub(super) fn main_key(&self) -> LaneKey {
        LaneKey { protocol: crate::resp::Protocol::Resp2, database: self.options.database, login: None }
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
        if self.status.connections.load(Ordering::Relaxed) >= self.options.connections_max && !idle.is_empty() {
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
        self.status.connections.load(Ordering::Relaxed) < self.options.connections_max
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

    /// The database of sessions that did not select one.
    pub fn database(&self) -> u32 {
        self.options.database
    }

    /// What the upstream told of itself when it was last connected to.
    pub fn facts(&self) -> ServerFacts {
        self.facts.borrow().clone()
    }

    /// How often the lane of sessions that have just connected was connected: what the server said of itself on an
    /// earlier connection may not be true any more.
    pub fn main_connections(&self) -> u64 {
        self.main_connections.get()
    }

    /// A lane has a connection.
    pub(super) fn on_ready(&self, lane: &Lane<R::Waiter>) {
        if lane.tenure == Tenure::Shared && lane.key == self.main_key() {
            self.main_connections.set(self.main_connections.get() + 1);
        }
    }

    /// Whether the upstream is not known to be gone.
    pub fn is_up(&self) -> bool {
        self.breaker.borrow().is_closed()
    }

    /// Makes a connection for a lane with this key, bounded in number and in time.
    pub(super) async fn connect(&self, key: &LaneKey) -> Result<Connection, ConnectError> {
        let permit = self.permit().await?;
        let credentials = key.login.as_deref().or(self.options.credentials.as_ref());
        let attempt = connect(&self.options.address, credentials, key);
        let result = timeout(self.options.connect_timeout, attempt).await.unwrap_or(Err(ConnectError::TimedOut));
        match result {
            Ok((stream, facts)) => {
                self.recorder.add(Counter::UpstreamConnects, 1);
                self.status.connected();
                let server_id = facts.connection_id;
                self.learn(key, facts);
                Ok(Connection { stream, server_id, _permit: permit })
            }
            Err(error) => {
                if matches!(error, ConnectError::LoginWanted(_)) {
                    self.status.connected();
                    self.learn(key, ServerFacts { wants_login: true, ..self.facts() });
                }
                self.recorder.add(Counter::UpstreamConnectFailures, 1);
                Err(error)
            }
        }
    }

    /// What a new connection with this key has told of the server.
    fn learn(&self, key: &LaneKey, mut told: ServerFacts) {
        let known = &mut *self.facts.borrow_mut();
        if key.login.is_none() {
            self.status.connected_without_login(told.wants_login);
            if told.wants_login {
                // Who has not logged in is not told the rest; another connection may have been.
                told.version = known.version.take();
            }
        } else {
            // One that has logged in does not hear whether the others have to.
            told.wants_login = known.wants_login;
        }
        *known = told;
    }

    /// Waits for one of `connections_max` connections, as long as a request may take: others are given back meanwhile.
    async fn permit(&self) -> Result<Permit, ConnectError> {
        let until = clock::now() + self.options.timeout;
        loop {
            match Permit::take(&self.status, self.options.connections_max, &self.recorder) {
                Err(_) if clock::now() < until => sleep(PERMIT_RETRY_EVERY).await,
                Err(error) => {
                    self.recorder.limit(Limit::UpstreamConnections);
                    return Err(error);
                }
                Ok(permit) => return Ok(permit),
            }
        }
    }

    /// A connection could not be made, or broke without having served anything.
    pub(super) fn on_failure(&self, reason: &dyn std::fmt::Display) {
        let random = self.random.hash_one(clock::now());
        if self.breaker.borrow_mut().on_failure(clock::now(), random) {
            self.recorder.add(Counter::BreakerOpened, 1);
            self.status.opened(reason);
            // A lane whose connection still serves goes on serving.
            for lane in self.shared.borrow().iter().filter(|lane| lane.state() == LaneState::Connecting) {
                lane.set_state(LaneState::Down);
                lane.wake();
            }
        }
        self.breaker_opened.notify_one();
    }

    /// The upstream answered a request of a session.
    pub(super) fn on_served(&self) {
        self.breaker.borrow_mut().on_served();
    }

    /// Looks for an upstream that is gone until it is back, one probe at a time.
    async fn probe(self: Rc<Self>) {
        loop {
            let Some(until) = self.breaker.borrow().poll_timeout() else {
                self.breaker_opened.notified().await;
                continue;
            };
            sleep_until(until.into()).await;
            if !self.breaker.borrow_mut().handle_timeout(clock::now()) {
                continue;
            }
            match self.connect(&self.main_key()).await {
                // A server that serves those who log in is back as well.
                Ok(_) | Err(ConnectError::LoginWanted(_)) => self.on_recovered(),
                Err(error) => {
                    tracing::debug!(upstream = %self.status.name, "probe failed: {error}");
                    self.on_failure(&error);
                }
            }
        }
    }

    fn on_recovered(&self) {
        if self.breaker.borrow_mut().on_connected() {
            self.status.closed();
        }
        for lane in self.shared.borrow().iter().filter(|lane| lane.state() == LaneState::Down) {
            lane.set_state(LaneState::Connecting);
            lane.wake();
        }
    }
}

/// Whether nobody but its own tasks and the node's list holds a lane, and nobody waits for it.
fn is_unused<W>(lane: &Rc<Lane<W>>) -> bool {
    Rc::strong_count(lane) <= UNUSED_HOLDERS && !lane.has_requests()
}

/// A connection that counts against `upstream.connections_max` while it lives.
pub(super) struct Connection {
    pub(super) stream: Stream,
    /// What the server calls it.
    pub(super) server_id: Option<u64>,
    _permit: Permit,
}

struct Permit {
    status: Arc<NodeStatus>,
    recorder: Arc<Recorder>,
}

impl Permit {
    fn take(status: &Arc<NodeStatus>, max: usize, recorder: &Arc<Recorder>) -> Result<Self, ConnectError> {
        if status.connections.fetch_add(1, Ordering::Relaxed) >= max {
            status.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(ConnectError::TooMany);
        }
        recorder.gauge(Gauge::UpstreamConnections, 1);
        Ok(Self { status: Arc::clone(status), recorder: Arc::clone(recorder) })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.status.connections.fetch_sub(1, Ordering::Relaxed);
        self.recorder.gauge(Gauge::UpstreamConnections, -1);
    }
}
