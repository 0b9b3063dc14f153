//! A worker: one thread with a runtime of its own, on which sessions and their lanes live and die.
//!
//! Guarantees: nothing of a session is ever touched by another thread; what crosses is a [`Message`]. Clients are
//! handed in by the acceptor, which picks the worker with the fewest. A worker that dies takes the process with it:
//! half a proxy is worse than a restart.

mod arriving;
mod crew;
mod session;

use crate::clock;
use crate::config::{Config, Upstream, UpstreamTarget};
use crate::flow::{self, Client, Core, Findings, Question, Route, Settings, SharedStore};
use crate::metrics::{Counter, Gauge, Recorder, Registry};
use crate::near_cache::NearCache;
use crate::resp::Protocol;
use crate::session::{Ending, Session};
use crate::upstream::{Address, Backoff, LaneKey, Node, NodeOptions, NodeStatus, Tls, TlsError, TlsOptions};
use crew::Inboxes;
use hashbrown::HashMap;
use session::Reader;
use socket2::{SockRef, TcpKeepalive};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpStream as StdTcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc};

/// What crosses to a worker from the control thread, or from another worker.
pub enum Message {
    /// A client that was accepted.
    Client(StdTcpStream),
    /// The configuration was read anew.
    Reload(Arc<Config>),
    /// A client, here or elsewhere, asks about the clients of this worker.
    Question(Arc<Question>, mpsc::Sender<Findings>),
    /// The program ends: finish what is in flight, then end the worker.
    Drain,
}

/// After how much silence the kernel asks a client's whether it is still there: Redis's `tcp-keepalive`.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(300);

/// Messages that may wait for a worker; past it the acceptor waits.
const MESSAGES_MAX: usize = 1024;

/// After how many tasks a runtime looks for new events of its sockets while there are tasks to run. Far above tokio's
/// default of 61: a turn ends when all sessions that are ready have been served, and lanes write once a turn.
const EVENT_INTERVAL: u32 = 4096;

/// What all workers have in common.
#[derive(Clone)]
pub struct Shared {
    /// The configuration at the start.
    pub config: Arc<Config>,
    /// The counters of all workers.
    pub registry: Arc<Registry>,
    /// Where the upstream is; none for the embedded store and `disabled`.
    pub address: Option<Address>,
    /// The upstream, as all workers see it together.
    pub upstream: Option<Arc<NodeStatus>>,
    /// The embedded store, where there is no upstream.
    pub store: Option<SharedStore>,
    /// Values lately read from the upstream; none where it is switched off, or there is no upstream.
    pub near_cache: Option<Arc<NearCache>>,
    /// Numbers for CLIENT ID.
    pub session_ids: Arc<AtomicU64>,
}

/// The control thread's end of a worker.
pub struct Worker {
    messages: mpsc::Sender<Message>,
    /// How many clients the worker has.
    clients: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Starts so many workers, which know of each other.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start_all(shared: &Shared, count: usize) -> io::Result<Vec<Self>> {
        let (inboxes, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(MESSAGES_MAX)).unzip();
        let crew = Inboxes::from(inboxes.clone());
        let workers = inboxes.into_iter().zip(receivers).enumerate();
        workers.map(|(index, (messages, inbox))| Self::start(index, shared, messages, inbox, crew.clone())).collect()
    }

    fn start(
        index: usize,
        shared: &Shared,
        messages: mpsc::Sender<Message>,
        inbox: mpsc::Receiver<Message>,
        crew: Inboxes,
    ) -> io::Result<Self> {
        let shared = shared.clone();
        let clients = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&clients);
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .event_interval(EVENT_INTERVAL)
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => runtime.block_on(run(shared, inbox, crew, count)),
                Err(error) => tracing::error!("worker {index} can't start: {error}"),
            }
        })?;
        Ok(Self { messages, clients, thread })
    }

    /// How many clients the worker has, those included that are on their way to it.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// Hands a client over. False when the worker is gone.
    pub async fn accept(&self, stream: StdTcpStream) -> bool {
        self.clients.fetch_add(1, Ordering::Relaxed);
        self.messages.send(Message::Client(stream)).await.is_ok()
    }

    /// Tells the worker something. False when it is gone.
    pub async fn tell(&self, message: Message) -> bool {
        self.messages.send(message).await.is_ok()
    }

    /// Whether the worker's thread has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// What a worker's sessions share besides the flow's [`Core`].
struct Local {
    core: Rc<Core>,
    reader: Reader,
    route: Route,
    shared: Shared,
    sessions: RefCell<HashMap<u64, Rc<Client>, foldhash::fast::RandomState>>,
    session_ended: Notify,
    count: Arc<AtomicUsize>,
    database: Cell<u32>,
}

async fn run(shared: Shared, mut inbox: mpsc::Receiver<Message>, crew: Inboxes, count: Arc<AtomicUsize>) {
    let recorder = shared.registry.recorder();
    let settings = Settings::new(&shared.config, &shared.registry);
    let core = Core::new(
        settings,
        Arc::clone(&recorder),
        Arc::clone(&shared.registry),
        shared.upstream.clone(),
        shared.near_cache.clone(),
        Box::new(crew),
    );
    let route = route(&shared, &core, recorder);
    let database = shared.config.upstream.database;
    let local = Rc::new(Local {
        core,
        reader: Reader::default(),
        route,
        shared,
        sessions: RefCell::default(),
        session_ended: Notify::new(),
        count,
        database: Cell::new(database),
    });
    while let Some(message) = inbox.recv().await {
        match message {
            Message::Client(stream) => local.begin(stream),
            Message::Reload(config) => {
                let mut settings = Settings::new(&config, &local.shared.registry);
                // The store was made with as many databases as the configuration said at the start.
                settings.embedded_databases = local.shared.config.embedded.databases;
                *local.core.settings.borrow_mut() = Rc::new(settings);
            }
            Message::Question(question, answers) => {
                let findings = flow::answer(&question, local.sessions.borrow().values());
                // Whoever asked may have stopped listening; there is room for an answer of every worker.
                let _ = answers.try_send(findings);
            }
            Message::Drain => break,
        }
    }
    // Who asks about the clients of this worker from now on is told at once that it has none.
    drop(inbox);
    local.drain().await;
}

/// Where this worker's sessions send their requests.
fn route(shared: &Shared, core: &Rc<Core>, recorder: Arc<Recorder>) -> Route {
    let upstream = &shared.config.upstream;
    if let Some(store) = &shared.store {
        return Route::Embedded(store.clone());
    }
    let (Some(status), Some(address)) = (&shared.upstream, &shared.address) else {
        return Route::Disabled;
    };
    let options = NodeOptions {
        address: address.clone(),
        credentials: upstream.credentials(),
        database: upstream.database,
        timeout: upstream.timeout,
        dead_after: upstream.dead_after,
        connect_timeout: upstream.connect_timeout,
        idle_timeout: upstream.idle_timeout,
        backoff: Backoff { min: upstream.backoff_min, max: upstream.backoff_max },
        queue_bytes_max: upstream.queue_bytes_max,
        reply_bytes_max: upstream.reply_bytes_max,
        connections_max: upstream.connections_max,
    };
    let node = Node::start(options, Arc::clone(status), Rc::clone(core), recorder);
    let lane = node.shared_lane(LaneKey { protocol: Protocol::Resp2, database: upstream.database, login: None });
    Route::Lane(lane, node)
}

/// The address of an upstream that is a server; its certificates are read here.
///
/// # Errors
/// TLS can't be set up as the configuration says.
pub fn address(upstream: &Upstream) -> Result<Option<Address>, TlsError> {
    Ok(match &upstream.target {
        UpstreamTarget::Tcp { host, port } => Some(Address::Tcp(host.clone(), *port)),
        UpstreamTarget::Unix { path } => Some(Address::Unix(path.clone())),
        UpstreamTarget::Tls { host, port } => {
            let options = TlsOptions {
                ca_file: upstream.tls.ca_file.clone(),
                client_certificate_file: upstream.tls.client_certificate_file.clone(),
                client_key_file: upstream.tls.client_key_file.clone(),
                server_name: upstream.tls.server_name.clone(),
            };
            Some(Address::Tls(host.clone(), *port, Tls::new(&options, host)?))
        }
        UpstreamTarget::Embedded | UpstreamTarget::Disabled => None,
    })
}

impl Local {
    /// A client has connected.
    fn begin(self: &Rc<Self>, stream: StdTcpStream) {
        let client = match self.client(stream) {
            Ok(client) => client,
            Err(error) => {
                tracing::debug!("a client was gone before its session began: {error}");
                self.count.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        };
        let id = client.session.borrow().id;
        self.core.recorder.add(Counter::ConnectionsAccepted, 1);
        self.core.recorder.gauge(Gauge::Clients, 1);
        self.sessions.borrow_mut().insert(id, Rc::clone(&client));
        let local = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if session::serve(&client, &local.reader).await.is_err() {
                local.core.recorder.add(Counter::SessionPanics, 1);
                tracing::error!(client = id, "a session failed and was closed; the others go on");
            }
            flow::abandon(&client);
            local.sessions.borrow_mut().remove(&id);
            local.core.recorder.gauge(Gauge::Clients, -1);
            local.count.fetch_sub(1, Ordering::Relaxed);
            local.session_ended.notify_one();
        });
    }

    fn client(&self, stream: StdTcpStream) -> io::Result<Rc<Client>> {
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER))?;
        let stream = TcpStream::from_std(stream)?;
        let id = self.shared.session_ids.fetch_add(1, Ordering::Relaxed);
        let session = Session::new(id, peer, local, self.database.get(), clock::now());
        Ok(Client::new(Rc::clone(&self.core), stream, session, self.route.clone()))
    }

    /// Every session ends once what it has asked for is answered.
    async fn drain(&self) {
        self.core.draining.set(true);
        for client in self.sessions.borrow().values() {
            client.session.borrow_mut().ending = Ending::AfterReplies;
            client.wake();
        }
        while !self.sessions.borrow().is_empty() {
            self.session_ended.notified().await;
        }
    }
}
