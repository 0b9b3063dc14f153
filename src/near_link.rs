//! The task that keeps the near cache's link: connects, says what it hears to the [`NearCache`], connects anew.
//!
//! Guarantees: whatever ends a link empties the near cache before anything else is done; it answers again only once
//! tracking runs on another, or, where the configuration says so, once a server has said that it can't track. One log
//! line when it begins to serve and one when it stops, however often connecting fails in between. Runs on the control
//! thread: a thread that is busy delays what is heard, and the near cache stops serving by itself where nothing is heard
//! for too long. What the bytes mean is [`Link`]'s.

use crate::clock;
use crate::config::{Config, Credentials, WithoutTracking, show_bytes};
use crate::metrics::{Counter, Recorder};
use crate::near_cache::{Link, LinkError, LinkEvent, NearCache};
use crate::resp::Protocol;
use crate::upstream::{Address, Backoff, Breaker, ConnectError, Identity, LaneKey, RunId, Stream, connect};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How long a server that can't track is left alone, unless it ends the connection before: it may be given the
/// permission, or be replaced by a newer one.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// For how many times `link_timeout` a link is not made anew for lanes at another server, once one was: where an address
/// leads to two servers by turns, each new lane would empty the near cache for nothing.
const FOLLOWS_LANES_EVERY_TIMEOUTS: u32 = 10;

/// How long a link that failed by a fault of ours rests.
const REST_AFTER_PANIC: Duration = Duration::from_secs(1);

/// What is read at once: some thousand keys.
const READ_BYTES: usize = 64 << 10;

/// Keys that are told in one turn of the task: the control thread has clients to accept as well, and one push may hold
/// hundreds of thousands.
const KEYS_PER_TURN: u32 = 512;

/// What the link needs to know of the upstream and the configuration.
#[derive(Debug)]
struct Options {
    address: Address,
    credentials: Option<Credentials>,
    database: u32,
    connect_timeout: Duration,
    link_timeout: Duration,
    without_tracking: WithoutTracking,
    /// For the log: what is served, and for how long without tracking.
    scope: String,
    ttl_max_without_tracking: Duration,
}

/// Keeps the link of this near cache to the upstream at `address` until `ended`. A panic of its own costs the link, which is
/// made anew.
pub async fn keep(
    near_cache: Arc<NearCache>,
    address: Address,
    config: Arc<Config>,
    recorder: Arc<Recorder>,
    ended: CancellationToken,
) {
    let wanted = Arc::new(Notify::new());
    let notified = Arc::clone(&wanted);
    near_cache.set_notifier(Box::new(move || notified.notify_one()));
    loop {
        let (cache, config, recorder_too) = (Arc::clone(&near_cache), Arc::clone(&config), Arc::clone(&recorder));
        let kept =
            keep_until_it_fails(cache, address.clone(), config, recorder_too, Arc::clone(&wanted), ended.clone());
        let Err(panic) = tokio::task::spawn_local(kept).await else { return };
        near_cache.close();
        recorder.add(Counter::SessionPanics, 1);
        tracing::error!("the near cache's link failed and is made anew: {panic}");
        sleep(REST_AFTER_PANIC).await;
    }
}

async fn keep_until_it_fails(
    near_cache: Arc<NearCache>,
    address: Address,
    config: Arc<Config>,
    recorder: Arc<Recorder>,
    wanted: Arc<Notify>,
    ended: CancellationToken,
) {
    let (upstream, table) = (&config.upstream, &config.near_cache);
    let options = Options {
        address,
        credentials: upstream.credentials(),
        database: upstream.database,
        connect_timeout: upstream.connect_timeout,
        link_timeout: table.link_timeout,
        without_tracking: table.without_tracking,
        scope: scope(&table.prefixes, table.memory),
        ttl_max_without_tracking: table.ttl_max_without_tracking,
    };
    let mut keeper = Keeper {
        near_cache,
        options,
        recorder,
        wanted,
        breaker: Breaker::new(Backoff { min: upstream.backoff_min, max: upstream.backoff_max }),
        random: RandomState::new(),
        serves: Serves::Nothing,
        followed_at: None,
        said: Said::Nothing,
    };
    tokio::select! {
        () = keeper.keep() => {}
        () = ended.cancelled() => {}
    }
    keeper.stop_serving();
}

/// What is tracked and how much is kept of it, for people.
fn scope(prefixes: &[String], bytes: u64) -> String {
    let keys = match prefixes {
        [all] if all.is_empty() => "all keys".to_owned(),
        prefixes => format!("keys that begin with {}", prefixes.join(" or ")),
    };
    format!("{keys}, at most {}", show_bytes(bytes))
}

struct Keeper {
    near_cache: Arc<NearCache>,
    options: Options,
    recorder: Arc<Recorder>,
    /// Told of a fence that is wanted, and of lanes that may be, or are, connected to another server.
    wanted: Arc<Notify>,
    /// Paces the attempts; a request of it is a link that was answered.
    breaker: Breaker,
    random: RandomState,
    serves: Serves,
    /// When the link was last made anew because lanes are connected to another server.
    followed_at: Option<Instant>,
    said: Said,
}

/// What the near cache was told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serves {
    Nothing,
    Tracked,
    Untracked,
}

/// What the last log line said. A server that can't track is not said to be lost as well: its next connection can't
/// track either, and each would be a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Serves,
    Lost,
    CannotTrack,
}

/// Why there is no link.
#[derive(Debug)]
enum End {
    /// It could not be made, or broke: another may do.
    Lost(Reason),
    /// The server can't say what changes. Its connection is held, where there is one, to hear of its end.
    CannotTrack(Reason, Option<Stream>),
}

/// The same, for the log.
#[derive(Debug)]
enum Reason {
    Connect(ConnectError),
    Closed,
    Io(io::Error),
    Link(LinkError),
    /// The worker's connections may be to another server by now.
    Distrusted,
    /// At least one of them is.
    Missed,
}

/// What the near cache had been told of lanes before a link was begun.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// How often they may have connected to another server than the link's.
    distrusted: u64,
    /// How often they have.
    missed: u64,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "{error}"),
            Self::Closed => f.write_str("the server has closed the connection"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Link(error) => write!(f, "{error}"),
            Self::Distrusted => f.write_str("the workers have connected anew, maybe to another server"),
            Self::Missed => f.write_str("a worker has connected to another server behind the same address"),
        }
    }
}

impl Keeper {
    /// One link after the other.
    async fn keep(&mut self) {
        loop {
            match self.link().await {
                End::Lost(reason) => {
                    self.stop_serving();
                    match reason {
                        // No state that lasts: the next link is made at once.
                        Reason::Distrusted | Reason::Missed => tracing::debug!("near cache is made anew: {reason}"),
                        reason => self.say_lost(&reason),
                    }
                }
                End::CannotTrack(reason, held) => {
                    self.serve_without_tracking();
                    self.say_cannot_track(&reason);
                    if until_closed(held, ASK_AGAIN_AFTER).await == Held::Closed {
                        self.stop_serving();
                    }
                }
            }
            self.rest().await;
        }
    }

    /// Waits before the next attempt, longer each time.
    async fn rest(&mut self) {
        let now = clock::now();
        self.breaker.on_failure(now, self.random.hash_one(now));
        if let Some(until) = self.breaker.poll_timeout() {
            sleep_until(until.into()).await;
        }
        self.breaker.handle_timeout(clock::now());
    }

    /// Makes a link and follows it to its end.
    async fn link(&mut self) -> End {
        let told = Told { distrusted: self.near_cache.distrusted(), missed: self.near_cache.missed() };
        let (mut stream, server) = match self.connect(Protocol::Resp3, Identity::Asked).await {
            Ok(connected) => connected,
            Err(error @ (ConnectError::LaneRefused(_) | ConnectError::LoginWanted(_))) => {
                // Older than Redis 6, or for those who log in: it does speak RESP2.
                let held = self.connect(Protocol::Resp2, Identity::Ignored).await.ok();
                return End::CannotTrack(Reason::Connect(error), held.map(|(stream, _)| stream));
            }
            Err(error) => return End::Lost(Reason::Connect(error)),
        };
        self.breaker.on_connected();
        match self.follow(&mut stream, server, told).await {
            Reason::Link(LinkError::Refused(words)) => {
                End::CannotTrack(Reason::Link(LinkError::Refused(words)), Some(stream))
            }
            reason => End::Lost(reason),
        }
    }

    /// A connection, and which server it is to.
    async fn connect(&self, protocol: Protocol, identity: Identity) -> Result<(Stream, Option<RunId>), ConnectError> {
        let key = LaneKey { protocol, database: self.options.database, login: None };
        let attempt = connect(&self.options.address, self.options.credentials.as_ref(), &key, identity);
        let connected = timeout(self.options.connect_timeout, attempt).await.unwrap_or(Err(ConnectError::TimedOut));
        connected.map(|(stream, facts)| (stream, facts.run_id))
    }

    /// Follows a link to this server until it ends.
    async fn follow(&mut self, stream: &mut Stream, server: Option<RunId>, told: Told) -> Reason {
        let began = clock::now();
        let mut link = Link::new(&self.near_cache.options().prefixes, self.options.link_timeout, began);
        let mut input = Vec::with_capacity(READ_BYTES);
        loop {
            if self.near_cache.distrusted() != told.distrusted {
                return Reason::Distrusted;
            }
            if self.near_cache.missed() != told.missed && self.may_follow_lanes() {
                return Reason::Missed;
            }
            link.handle_turn(clock::now(), self.near_cache.fence_wanted());
            if let Some(bytes) = link.poll_transmit()
                && let Err(reason) = self.send(stream, &bytes).await
            {
                return reason;
            }
            // What has arrived comes before what is late: an answer may wait among it.
            let heard = tokio::select! {
                biased;
                read = stream.read_buf(&mut input) => match read {
                    Ok(0) => return Reason::Closed,
                    Ok(_) => {
                        link.handle_bytes(&input);
                        input.clear();
                        self.hear(&mut link, server, told.distrusted, began).await
                    }
                    Err(error) => return Reason::Io(error),
                },
                () = self.wanted.notified() => Ok(()),
                () = sleep_until(link.poll_timeout().into()) => link.handle_timeout(clock::now()),
            };
            if let Err(error) = heard {
                return Reason::Link(error);
            }
        }
    }

    /// Whether the link may be made anew for the lanes' sake: the address may have moved, and the next link with it.
    fn may_follow_lanes(&mut self) -> bool {
        let now = clock::now();
        let may =
            self.followed_at.is_none_or(|at| now >= at + FOLLOWS_LANES_EVERY_TIMEOUTS * self.options.link_timeout);
        self.followed_at = if may { Some(now) } else { self.followed_at };
        may
    }

    async fn send(&self, stream: &mut Stream, bytes: &[u8]) -> Result<(), Reason> {
        let send = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        match timeout(self.options.link_timeout, send).await {
            Ok(sent) => sent.map_err(Reason::Io),
            Err(_) => Err(Reason::Link(LinkError::Silent)),
        }
    }

    /// Tells the near cache what came on a link to this server that began then, when others had been distrusted so often.
    async fn hear(
        &mut self,
        link: &mut Link,
        server: Option<RunId>,
        distrusted: u64,
        began: Instant,
    ) -> Result<(), LinkError> {
        let mut keys = 0;
        while let Some(event) = link.poll_event()? {
            match event {
                LinkEvent::Tracking { sent } => {
                    self.near_cache.open(sent + self.options.link_timeout, server.map(RunId::number));
                    self.serves = Serves::Tracked;
                    if self.near_cache.distrusted() != distrusted {
                        // This one is distrusted as well, which it had not been told when it was opened.
                        self.near_cache.close();
                    }
                }
                LinkEvent::Invalidate(key) => {
                    self.near_cache.invalidate(key);
                    self.recorder.add(Counter::NearInvalidations, 1);
                    keys += 1;
                    if keys % KEYS_PER_TURN == 0 {
                        yield_now().await;
                    }
                }
                LinkEvent::InvalidateAll => {
                    self.near_cache.invalidate_all();
                    self.recorder.add(Counter::NearFlushes, 1);
                }
                LinkEvent::Answered { sent, fence } => {
                    if let Some(number) = fence {
                        self.near_cache.fence_reached(number);
                    }
                    if self.serves == Serves::Tracked {
                        self.near_cache.extend(sent + self.options.link_timeout);
                        self.say_serves();
                    }
                    if sent > began {
                        self.breaker.on_served();
                    }
                }
            }
        }
        Ok(())
    }

    /// Empties the near cache, which answers nothing from now on.
    fn stop_serving(&mut self) {
        if self.serves != Serves::Nothing {
            self.near_cache.close();
            self.recorder.add(Counter::NearFlushes, 1);
            self.serves = Serves::Nothing;
        }
    }

    /// The server can't track: the near cache is closed, or its entries end by their time alone.
    fn serve_without_tracking(&mut self) {
        match (self.options.without_tracking, self.serves) {
            (WithoutTracking::Off, _) => self.stop_serving(),
            (WithoutTracking::Ttl, Serves::Untracked) => {}
            (WithoutTracking::Ttl, _) => {
                self.stop_serving();
                self.near_cache.open_untracked();
                self.serves = Serves::Untracked;
            }
        }
    }

    fn say_serves(&mut self) {
        if self.said != Said::Serves {
            tracing::info!(upstream = %self.options.address, "near cache is up: {}", self.options.scope);
        }
        self.said = Said::Serves;
    }

    fn say_lost(&mut self, reason: &Reason) {
        if matches!(self.said, Said::Nothing | Said::Serves) {
            tracing::warn!(
                upstream = %self.options.address,
                "near cache is down until the server says again what changes: {reason}"
            );
            self.said = Said::Lost;
        }
    }

    fn say_cannot_track(&mut self, reason: &Reason) {
        if self.said != Said::CannotTrack {
            let upstream = &self.options.address;
            match self.options.without_tracking {
                WithoutTracking::Off => tracing::warn!(
                    %upstream,
                    "near cache is off, since the server can't say what changes (CLIENT TRACKING in RESP3): {reason}"
                ),
                WithoutTracking::Ttl => tracing::warn!(
                    %upstream,
                    "near cache serves values for up to {:?}, whatever becomes of them, since the server can't say what \
                     changes (CLIENT TRACKING in RESP3): {reason}",
                    self.options.ttl_max_without_tracking
                ),
            }
        }
        self.said = Said::CannotTrack;
    }
}

/// What became of a connection that was only held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// The server has closed it.
    Closed,
    /// The time is up.
    Open,
}

/// Holds a connection, on which nothing is to come, for so long at most.
async fn until_closed(held: Option<Stream>, at_most: Duration) -> Held {
    let closed = async {
        match held {
            Some(mut stream) => {
                let mut ignored = [0; 256];
                while stream.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
            }
            None => std::future::pending().await,
        }
    };
    match timeout(at_most, closed).await {
        Ok(()) => Held::Closed,
        Err(_) => Held::Open,
    }
}

#[cfg(test)]
mod tests {
    //! The near cache hears of its link's state, and fences are asked for when they are wanted, not when a PING is due.

    use super::*;
    use crate::near_cache::{Follows, NearCacheOptions, Written};
    use std::num::NonZeroU64;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::LocalSet;

    /// Long enough for anything that happens at once.
    const SOON: Duration = Duration::from_secs(10);

    /// What the server says of who it is.
    const RUN_ID: &str = "$49\r\nrun_id:00000000000000010123456789abcdef01234567\r\n\r\n";

    /// A link that is pinged less than once in the time of a test.
    const LINK_TIMEOUT: Duration = Duration::from_secs(60);

    fn near_cache() -> Arc<NearCache> {
        let options = NearCacheOptions {
            bytes_max: 1 << 20,
            value_bytes_max: 1 << 10,
            ttl_max: Duration::from_secs(60),
            ttl_max_without_tracking: Duration::from_secs(1),
            prefixes: vec![b"fca:".to_vec()],
            workers: 1,
        };
        Arc::new(NearCache::new(options, clock::now()))
    }

    /// A near cache whose link is kept, to a server that the test plays.
    struct Bench {
        near_cache: Arc<NearCache>,
        registry: Arc<crate::metrics::Registry>,
        ended: CancellationToken,
        local: LocalSet,
        task: tokio::task::JoinHandle<()>,
    }

    impl Bench {
        fn new(listener: &TcpListener) -> Self {
            let address = Address::Tcp("127.0.0.1".to_owned(), listener.local_addr().unwrap().port());
            let (near_cache, ended, local) = (near_cache(), CancellationToken::new(), LocalSet::new());
            let mut config = Config::default();
            config.near_cache.link_timeout = LINK_TIMEOUT;
            let registry = crate::metrics::Registry::new(crate::metrics::BuildInfo { version: "", revision: "" }, []);
            let kept = keep(Arc::clone(&near_cache), address, Arc::new(config), registry.recorder(), ended.clone());
            let task = local.spawn_local(kept);
            Self { near_cache, registry, ended, local, task }
        }
    }

    /// Answers as a server that tracks, until it is told to end its connections.
    async fn track(listener: TcpListener, cut: Arc<Notify>) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::select! {
                () = answer(&mut stream, "") => {}
                () = cut.notified() => {}
            }
        }
    }

    /// Answers as a server that tracks, and says this as soon as it does.
    async fn answer(stream: &mut TcpStream, push: &str) {
        let mut input = [0; 4096];
        loop {
            let read = stream.read(&mut input).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&input[..read]).into_owned();
            for word in text.lines() {
                let reply = match word {
                    "HELLO" => "%1\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n",
                    "CLIENT" => "+OK\r\n",
                    "BCAST" => push,
                    "PTTL" => ":-2\r\n",
                    "PING" => "+PONG\r\n",
                    "INFO" => RUN_ID,
                    _ => continue,
                };
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
            if read == 0 {
                return;
            }
        }
    }

    async fn until(what: &str, holds: impl Fn() -> bool) {
        let wait = async {
            while !holds() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, wait).await.unwrap_or_else(|_| panic!("not soon: {what}"));
    }

    #[tokio::test]
    async fn it_opens_fences_and_closes_the_near_cache() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cut = Arc::new(Notify::new());
        let Bench { near_cache, registry, ended, local, task } = Bench::new(&listener);
        local.spawn_local(track(listener, Arc::clone(&cut)));
        let is_open = || near_cache.is_open(clock::now());
        let flushes = || registry.counter(Counter::NearFlushes);
        let test = async {
            until("tracking runs", is_open).await;
            for _ in 0..3 {
                near_cache.written(&Written::Unknown);
                near_cache.written(&Written::Unknown);
                assert!(!is_open(), "before the fence is reached");
                until("the fence is reached", is_open).await;
            }
            assert_eq!(flushes(), 0);
            cut.notify_one();
            until("the end is noticed", || flushes() == 1).await;
            until("tracking runs again", is_open).await;
            near_cache.written(&Written::Unknown);
            until("its fences are reached", is_open).await;
            ended.cancel();
            task.await.unwrap();
            assert!(!is_open(), "nobody listens any more");
        };
        local.run_until(test).await;
    }

    #[tokio::test]
    async fn it_is_made_anew_for_a_lane_at_another_server_and_not_for_each() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let Bench { near_cache, registry, ended, local, task } = Bench::new(&listener);
        local.spawn_local(track(listener, Arc::default()));
        let (this, other) = (NonZeroU64::new(1), NonZeroU64::new(2));
        let is_open = || near_cache.is_open(clock::now());
        let test = async {
            until("tracking runs", is_open).await;
            assert_eq!([this, other].map(|server| near_cache.follows(server)), [Follows::It, Follows::Another]);
            near_cache.miss();
            until("it is emptied", || registry.counter(Counter::NearFlushes) == 1).await;
            until("tracking runs again", is_open).await;
            for _ in 0..10 {
                near_cache.miss();
                // The link looks at the one before it looks at the other.
                near_cache.written(&Written::Unknown);
                until("the fence is reached", is_open).await;
            }
            assert_eq!(registry.counter(Counter::NearFlushes), 1);
            ended.cancel();
            task.await.unwrap();
        };
        local.run_until(test).await;
    }

    #[tokio::test]
    async fn a_push_of_many_keys_leaves_turns_to_the_other_tasks_of_its_thread() {
        const KEYS: u64 = 100_000;
        /// Less than a millisecond's work.
        const IN_A_TURN_MAX: u64 = 2_000;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let Bench { registry, local, .. } = Bench::new(&listener);
        local.spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let keys: String = (0..KEYS).map(|at| format!("$14\r\nfca:x:{at:08}\r\n")).collect();
            let push = format!(">2\r\n$10\r\ninvalidate\r\n*{KEYS}\r\n{keys}");
            answer(&mut stream, &push).await;
        });
        let another_task = async {
            let (mut heard, mut most) = (0, 0);
            while heard < KEYS {
                yield_now().await;
                let now = registry.counter(Counter::NearInvalidations);
                most = most.max(now - heard);
                heard = now;
            }
            most
        };
        let most = timeout(SOON, local.run_until(another_task)).await.expect("all keys are heard of");
        assert!(most <= IN_A_TURN_MAX, "{most} keys in one turn");
    }
}
