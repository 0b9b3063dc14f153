//! The control thread: listeners, the admin endpoints, signals, reload and drain.
//!
//! Guarantees: the listeners are bound before anything else starts, so a port that is taken is one clear error; a
//! client goes to the worker with the fewest; past `limits.clients_max` a client is told so and closed; SIGTERM and
//! SIGINT end the program once what is in flight is answered, at the latest after `drain`; SIGHUP reloads, and a bad
//! file changes nothing. Carries no request.

use crate::admin::{self, Admin, Readiness};
use crate::clock;
use crate::config::{Config, ConfigError, UpstreamTarget, show_bytes};
use crate::embedded::StoreOptions;
use crate::flow::SharedStore;
use crate::metrics::{BuildInfo, Counter, Limit, NearCacheState, Observed, Recorder, Registry, StoreUse};
use crate::near_cache::{NearCache, NearCacheOptions};
use crate::near_link;
use crate::upstream::{NodeState, NodeStatus, TlsError};
use crate::worker::{self, Message, Shared, Worker};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, LocalOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Connections that the kernel queues for a listener; it caps this at `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// How long the acceptor rests when the operating system refuses a connection (out of descriptors, say).
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// How often the embedded store's expired entries are looked for, and how many are looked at.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
const SWEEP_ENTRIES: usize = 2000;

/// How often the control thread looks whether a worker has died.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Why the program could not start, or ended.
#[derive(Debug)]
pub enum ServerError {
    /// An address can't be listened on.
    Bind(SocketAddr, io::Error),
    /// The operating system gives no thread, signal handler or runtime.
    System(io::Error),
    /// TLS towards the upstream can't be set up.
    Tls(TlsError),
    /// A worker's thread ended.
    WorkerDied,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "can't listen on {address}: the port is taken by another program; choose one with --listen")
            }
            Self::Bind(address, error) => write!(f, "can't listen on {address}: {error}"),
            Self::System(error) => write!(f, "can't start: {error}"),
            Self::Tls(error) => write!(f, "TLS towards the upstream can't be set up: {error}"),
            Self::WorkerDied => f.write_str("a worker thread ended unexpectedly"),
        }
    }
}

impl std::error::Error for ServerError {}

impl From<io::Error> for ServerError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Runs the proxy until a signal ends it. `reload` reads the configuration anew.
///
/// # Errors
/// It could not start, or a worker died.
pub fn run(config: Config, reload: impl Fn() -> Result<Config, ConfigError> + 'static) -> Result<(), ServerError> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(serve(config, reload))
}

struct Control {
    workers: Vec<Worker>,
    recorder: Arc<Recorder>,
    /// `limits.clients_max`, which a reload may change.
    clients_max: Cell<usize>,
    draining: Arc<AtomicBool>,
}

async fn serve(config: Config, reload: impl Fn() -> Result<Config, ConfigError> + 'static) -> Result<(), ServerError> {
    let listeners = config.listen.iter().map(|address| listen(*address)).collect::<Result<Vec<_>, _>>()?;
    let admin_listener = config.admin_listen.map(listen).transpose()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;

    if config.upstream.connections_max < config.workers.get() {
        tracing::warn!(
            "upstream.connections_max ({}) is below workers ({}): workers without a connection answer nil",
            config.upstream.connections_max,
            config.workers
        );
    }
    let config = Arc::new(config);
    let shared = shared(&config)?;
    let workers = Worker::start_all(&shared, config.workers.get())?;
    let control = Rc::new(Control {
        workers,
        recorder: shared.registry.recorder(),
        clients_max: Cell::new(config.limits.clients_max),
        draining: Arc::new(AtomicBool::new(false)),
    });

    say_upstream(&config);
    let ended = CancellationToken::new();
    for listener in listeners {
        tracing::info!("listening on {}", listener.local_addr()?);
        tokio::task::spawn_local(accept(Rc::clone(&control), listener, ended.clone()));
    }
    if let Some(listener) = admin_listener {
        tracing::info!("metrics on http://{}/metrics", listener.local_addr()?);
        let admin = Admin {
            registry: Arc::clone(&shared.registry),
            readiness: readiness(&config, &shared, Arc::clone(&control.draining)),
        };
        tokio::task::spawn_local(admin::serve(listener, admin, ended.clone()));
    }
    if let Some((near_cache, address)) = shared.near_cache.clone().zip(shared.address.clone()) {
        let (config, recorder) = (Arc::clone(&config), Arc::clone(&control.recorder));
        tokio::task::spawn_local(near_link::keep(near_cache, address, config, recorder, ended.clone()));
    }
    observe(&shared);
    tokio::task::spawn_local(sweep(shared.clone()));
    tokio::task::spawn_local(reload_on(hangup, Rc::clone(&control), Arc::clone(&config), shared.clone(), reload));

    let result = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        () = until_a_worker_dies(&control) => Err(ServerError::WorkerDied),
    };
    if result.is_ok() {
        tracing::info!("draining: what is in flight is answered, for at most {:?}", config.drain);
        control.draining.store(true, Ordering::Relaxed);
        drain(&control, config.drain).await;
        tracing::info!("ended");
    }
    ended.cancel();
    result
}

fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|error| ServerError::Bind(address, error))
}

fn shared(config: &Arc<Config>) -> Result<Shared, ServerError> {
    let names = config.namespaces.named().map(|(name, _)| name.to_owned());
    let build = BuildInfo {
        version: env!("CARGO_PKG_VERSION"),
        revision: option_env!("FCA_PROXY_REVISION").unwrap_or("unknown"),
    };
    let registry = Registry::new(build, names);
    let address = worker::address(&config.upstream).map_err(ServerError::Tls)?;
    let upstream = address.as_ref().map(NodeStatus::new);
    let store = matches!(config.upstream.target, UpstreamTarget::Embedded).then(|| {
        let options = StoreOptions {
            bytes_max: config.embedded.memory,
            databases: config.embedded.databases,
            seed: RandomState::new().hash_one(clock::now()),
        };
        SharedStore::new(options)
    });
    let near_cache = config.near_cache().map(|table| {
        let options = NearCacheOptions {
            bytes_max: table.memory,
            value_bytes_max: table.value_bytes_max,
            ttl_max: table.ttl_max,
            ttl_max_without_tracking: table.ttl_max_without_tracking,
            prefixes: table.prefixes.iter().map(|prefix| prefix.clone().into_bytes()).collect(),
            workers: config.workers.get(),
        };
        Arc::new(NearCache::new(options, clock::now()))
    });
    let session_ids = Arc::new(AtomicU64::new(1));
    Ok(Shared { config: Arc::clone(config), registry, address, upstream, near_cache, store, session_ids })
}

fn say_upstream(config: &Config) {
    match &config.upstream.target {
        UpstreamTarget::Embedded => tracing::info!(
            "no upstream is configured: values are kept in this process (at most {}), neither shared nor \
             persistent; give --upstream redis://HOST:PORT for a Redis",
            show_bytes(config.embedded.memory)
        ),
        UpstreamTarget::Disabled => tracing::info!("the cache is disabled: every look-up is answered nil"),
        _ => {}
    }
}

/// What /readyz says.
fn readiness(config: &Config, shared: &Shared, draining: Arc<AtomicBool>) -> Arc<dyn Fn() -> Readiness + Send + Sync> {
    let upstream = shared.upstream.clone();
    let disabled = matches!(config.upstream.target, UpstreamTarget::Disabled);
    Arc::new(move || {
        let detail = match &upstream {
            Some(status) => {
                let state = match status.state() {
                    NodeState::Connecting => "connecting",
                    NodeState::Reachable => "reachable",
                    NodeState::Unreachable => "unreachable",
                };
                format!("upstream {}: {state}", status.name())
            }
            None if disabled => "upstream: disabled".to_owned(),
            None => "upstream: embedded store".to_owned(),
        };
        Readiness { ready: !draining.load(Ordering::Relaxed), detail }
    })
}

/// Gives the registry what only others know.
fn observe(shared: &Shared) {
    let (upstream, store, near_cache) = (shared.upstream.clone(), shared.store.clone(), shared.near_cache.clone());
    shared.registry.set_gauges_source(move || {
        let mut observed = Observed {
            upstream_up: upstream.as_ref().is_none_or(|status| status.state() == NodeState::Reachable),
            ..Observed::default()
        };
        if let Some(store) = &store {
            let stats = store.lock().stats();
            observed.embedded = StoreUse { entries: stats.entries, bytes: stats.bytes, evictions: stats.evictions };
        }
        if let Some(near_cache) = &near_cache {
            let stats = near_cache.stats(clock::now());
            observed.near_cache_state = match (stats.is_open, stats.is_untracked) {
                (false, _) => NearCacheState::Down,
                (true, false) => NearCacheState::Up,
                (true, true) => NearCacheState::Ttl,
            };
            observed.near_cache = StoreUse { entries: stats.entries, bytes: stats.bytes, evictions: stats.evictions };
        }
        observed
    });
}

async fn accept(control: Rc<Control>, listener: TcpListener, ended: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ended.cancelled() => return,
        };
        if control.draining.load(Ordering::Relaxed) {
            return;
        }
        match accepted.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => hand_over(&control, stream).await,
            Err(error) => {
                tracing::debug!("a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// Gives a client to the worker with the fewest, or tells it that there are too many.
async fn hand_over(control: &Control, mut stream: StdTcpStream) {
    let clients: usize = control.workers.iter().map(Worker::clients).sum();
    if clients >= control.clients_max.get() {
        control.recorder.add(Counter::ConnectionsRejected, 1);
        control.recorder.limit(Limit::Clients);
        // Best effort, as in Redis: a socket that has just been accepted takes a line.
        let _ = stream.write_all(b"-ERR max number of clients reached\r\n");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        return;
    }
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("a client was gone before its session began: {error}");
        return;
    }
    if let Some(worker) = control.workers.iter().min_by_key(|worker| worker.clients()) {
        worker.accept(stream).await;
    }
}

async fn until_a_worker_dies(control: &Control) {
    while !control.workers.iter().any(Worker::has_ended) {
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// Ends the workers once their sessions are answered, or the time is up.
async fn drain(control: &Control, within: Duration) {
    let all_ended = async {
        for worker in &control.workers {
            worker.tell(Message::Drain).await;
        }
        while !control.workers.iter().all(Worker::has_ended) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(within, all_ended).await.is_err() {
        let left: usize = control.workers.iter().map(Worker::clients).sum();
        tracing::warn!("{left} clients were not answered within the drain time and are closed");
    }
}

/// Reads the configuration anew on every SIGHUP.
async fn reload_on(
    mut hangup: Signal,
    control: Rc<Control>,
    started_with: Arc<Config>,
    shared: Shared,
    reload: impl Fn() -> Result<Config, ConfigError>,
) {
    let current = RefCell::new(started_with);
    while hangup.recv().await.is_some() {
        match reload() {
            Ok(config) => {
                let config = Arc::new(config);
                for key in config.needs_restart(&current.borrow()) {
                    tracing::warn!("{key} has changed, which takes effect with the next start");
                }
                shared.registry.add_namespaces(config.namespaces.named().map(|(name, _)| name.to_owned()));
                control.clients_max.set(config.limits.clients_max);
                for worker in &control.workers {
                    worker.tell(Message::Reload(Arc::clone(&config))).await;
                }
                control.recorder.add(Counter::ConfigReloads, 1);
                tracing::info!("configuration reloaded");
                current.replace(config);
            }
            Err(error) => {
                control.recorder.add(Counter::ConfigReloadFailures, 1);
                tracing::error!("the configuration was not reloaded, the running one stays:\n{error}");
            }
        }
    }
}

/// Removes expired entries of the embedded store a few at a time, as Redis does.
async fn sweep(shared: Shared) {
    let Some(store) = shared.store else { return };
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        store.lock().sweep(clock::unix_ms(), SWEEP_ENTRIES);
    }
}
