//! One upstream server, as one worker sees it.
//!
//! Guarantees: the number of connections of the whole process is bounded; one breaker for all of them, one prober while it is
//! open. Which lanes there are, and who gets one, is `lanes.rs`'s.

use super::Replies;
use super::breaker::{Backoff, Breaker};
use super::connect::{Address, ConnectError, ServerFacts, Stream, connect};
use super::lane::{Lane, LaneKey, LaneState, Tenure};
use super::status::{NodeStatus, Permit};
use crate::clock;
use crate::config::Credentials;
use crate::metrics::{Counter, Limit, Recorder};
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
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

/// How often a lane looks whether there may be one more connection.
const PERMIT_RETRY_EVERY: Duration = Duration::from_millis(5);

/// One upstream of one worker.
pub struct Node<R: Replies> {
    pub(super) options: NodeOptions,
    pub(super) status: Arc<NodeStatus>,
    pub(super) replies: Rc<R>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) breaker: RefCell<Breaker>,
    breaker_opened: Notify,
    random: RandomState,
    pub(super) shared: RefCell<Vec<Rc<Lane<R::Waiter>>>>,
    pub(super) idle_exclusive: RefCell<Vec<Rc<Lane<R::Waiter>>>>,
    facts: RefCell<ServerFacts>,
    /// How often the main lane has connected.
    main_connections: Cell<u64>,
}

impl<R: Replies> Node<R> {
    /// A node without lanes, which does nothing yet.
    pub(super) fn new(options: NodeOptions, status: Arc<NodeStatus>, replies: Rc<R>, recorder: Arc<Recorder>) -> Self {
        Self {
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
        }
    }

    /// The key of the lane of a session that has just connected.
    pub(super) fn main_key(&self) -> LaneKey {
        LaneKey { protocol: crate::resp::Protocol::Resp2, database: self.options.database, login: None }
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
    pub(super) async fn probe(self: Rc<Self>) {
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
                    tracing::debug!(upstream = %self.status.name(), "probe failed: {error}");
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

/// A connection that counts against `upstream.connections_max` while it lives.
pub(super) struct Connection {
    pub(super) stream: Stream,
    /// What the server calls it.
    pub(super) server_id: Option<u64>,
    _permit: Permit,
}
