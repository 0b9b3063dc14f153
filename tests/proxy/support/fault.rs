//! A TCP pipe between the proxy and a real server, with hands on both directions.
//!
//! Cuts a connection after so many bytes, in the middle of a frame if the test wants; holds one direction and lets it
//! go on; delays; refuses connections by not listening, as a dead host's kernel does; leads to another server, as a moved
//! address does. A cut is counted from the moment
//! it is asked for, over all connections. The near cache's link is told from the other connections by what it asks for,
//! so that either can be silenced while the other goes on.

use super::port::{listener, listener_again};
use super::wait::{SOON, wait_until};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the proxy to the server.
    Requests,
    /// From the server to the proxy.
    Replies,
}

/// What a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    /// What the near cache hears of changes.
    Invalidations,
    /// Anything else: clients' requests.
    Requests,
}

/// The name that the near cache's link gives itself, before it asks for anything.
const LINK_WORD: &[u8] = b"fca-proxy-link";

/// A listening pipe; all its connections are cut when it is dropped.
pub(crate) struct Pipe {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Where new connections lead.
    server: Mutex<SocketAddr>,
}

#[derive(Default)]
struct State {
    ended: bool,
    refusing: bool,
    connections: usize,
    requests: Flow,
    replies: Flow,
    open: Vec<(Arc<Kind>, TcpStream)>,
}

/// What is known of one connection.
#[derive(Default)]
struct Kind {
    /// Whether it is the near cache's link.
    is_link: AtomicBool,
}

impl Kind {
    fn carries(&self) -> Carries {
        match self.is_link.load(Ordering::SeqCst) {
            true => Carries::Invalidations,
            false => Carries::Requests,
        }
    }
}

/// What the test asked of one direction.
#[derive(Default)]
struct Flow {
    invalidations_held: bool,
    requests_held: bool,
    link_delay: Duration,
    delay: Duration,
    /// Bytes until the cut; `None` is no cut.
    cut_after: Option<usize>,
}

impl Pipe {
    /// A pipe to this server, at first without faults.
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = listener();
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), server: Mutex::new(server) });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(listener, &shared)
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Its address as the proxy's `--upstream` takes it.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads to another server from now on; the connections that are there go on.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        *self.shared.server.lock().expect("no pump panics") = server;
    }

    /// Lets `bytes` more bytes pass this way, then cuts the connection that carries the next one.
    pub(crate) fn cut_after(&self, direction: Direction, bytes: usize) {
        self.change(|state| state.flow(direction).cut_after = Some(bytes));
    }

    /// Whether a cut that was asked for is still to come.
    pub(crate) fn cut_is_due(&self, direction: Direction) -> bool {
        self.shared.state.lock().expect("no pump panics").flow(direction).cut_after.is_some()
    }

    /// Lets nothing pass this way, and closes nothing.
    pub(crate) fn hold(&self, direction: Direction) {
        self.hold_what(Carries::Invalidations, direction);
        self.hold_what(Carries::Requests, direction);
    }

    /// Lets nothing of this kind pass this way, and closes nothing.
    pub(crate) fn hold_what(&self, what: Carries, direction: Direction) {
        self.change(|state| *state.flow(direction).held(what) = true);
    }

    /// Ends [`Self::hold`]; what was held arrives late.
    pub(crate) fn go_on(&self, direction: Direction) {
        self.go_on_what(Carries::Invalidations, direction);
        self.go_on_what(Carries::Requests, direction);
    }

    /// Ends [`Self::hold_what`]; what was held arrives late.
    pub(crate) fn go_on_what(&self, what: Carries, direction: Direction) {
        self.change(|state| *state.flow(direction).held(what) = false);
    }

    /// Delays every chunk that passes this way.
    pub(crate) fn delay(&self, direction: Direction, by: Duration) {
        self.change(|state| state.flow(direction).delay = by);
    }

    /// Delays every chunk of the near cache's link that passes this way.
    pub(crate) fn delay_link(&self, direction: Direction, by: Duration) {
        self.change(|state| state.flow(direction).link_delay = by);
    }

    /// Cuts all connections now.
    pub(crate) fn cut_all(&self) {
        self.change(|state| state.close(|_| true));
    }

    /// Cuts the connections that carry this now.
    pub(crate) fn cut(&self, what: Carries) {
        self.change(|state| state.close(|kind| kind.carries() == what));
    }

    /// Stops to listen: new connections are refused.
    pub(crate) fn refuse(&self) {
        self.change(|state| state.refusing = true);
        // Dialling also wakes the acceptor, which waits for a connection.
        wait_until(SOON, "the pipe refuses", || TcpStream::connect(self.address).is_err());
    }

    /// Listens again.
    pub(crate) fn admit(&self) {
        self.change(|state| state.refusing = false);
        wait_until(SOON, "the pipe listens", || TcpStream::connect(self.address).is_ok());
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state.lock().expect("no pump panics").connections
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock().expect("no pump panics"));
        self.shared.changed.notify_all();
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.change(|state| {
            state.ended = true;
            state.close(|_| true);
        });
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl State {
    fn flow(&mut self, direction: Direction) -> &mut Flow {
        match direction {
            Direction::Requests => &mut self.requests,
            Direction::Replies => &mut self.replies,
        }
    }

    fn close(&mut self, chosen: impl Fn(&Kind) -> bool) {
        self.open.retain(|(kind, stream)| {
            let keep = !chosen(kind);
            if !keep {
                let _ = stream.shutdown(Shutdown::Both);
            }
            keep
        });
    }
}

impl Flow {
    fn held(&mut self, what: Carries) -> &mut bool {
        match what {
            Carries::Invalidations => &mut self.invalidations_held,
            Carries::Requests => &mut self.requests_held,
        }
    }
}

fn accept(mut listener: TcpListener, shared: &Arc<Shared>) {
    let address = listener.local_addr().expect("it is bound");
    loop {
        for stream in listener.incoming() {
            let state = shared.state.lock().expect("no pump panics");
            if state.ended || state.refusing {
                break;
            }
            drop(state);
            let server = *shared.server.lock().expect("no pump panics");
            if let (Ok(client), Ok(server)) = (stream, TcpStream::connect_timeout(&server, SOON)) {
                join_up(client, server, shared);
            }
        }
        drop(listener);
        let mut state = shared.state.lock().expect("no pump panics");
        while state.refusing && !state.ended {
            state = shared.changed.wait(state).expect("no pump panics");
        }
        if state.ended {
            return;
        }
        drop(state);
        listener = listener_again(address);
    }
}

fn join_up(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) {
    let duplicate = |stream: &TcpStream| stream.try_clone().expect("a descriptor is left");
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let mut state = shared.state.lock().expect("no pump panics");
    state.connections += 1;
    let kind = Arc::new(Kind::default());
    state.open.extend([(Arc::clone(&kind), duplicate(&client)), (Arc::clone(&kind), duplicate(&server))]);
    drop(state);
    let ways = [(Direction::Requests, duplicate(&client), duplicate(&server)), (Direction::Replies, server, client)];
    for (direction, from, to) in ways {
        let (shared, kind) = (Arc::clone(shared), Arc::clone(&kind));
        // Ends with its sockets, which the pipe closes at the latest when it is dropped.
        thread::spawn(move || pump(direction, from, to, &kind, &shared));
    }
}

fn pump(direction: Direction, mut from: TcpStream, mut to: TcpStream, kind: &Kind, shared: &Shared) {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut chunk).unwrap_or(0);
        if read == 0 {
            break;
        }
        if direction == Direction::Requests && chunk[..read].windows(LINK_WORD.len()).any(|word| word == LINK_WORD) {
            kind.is_link.store(true, Ordering::SeqCst);
        }
        let mut state = shared.state.lock().expect("no pump panics");
        while *state.flow(direction).held(kind.carries()) && !state.ended {
            state = shared.changed.wait(state).expect("no pump panics");
        }
        let flow = state.flow(direction);
        let delay = match kind.carries() {
            Carries::Invalidations => flow.delay.max(flow.link_delay),
            Carries::Requests => flow.delay,
        };
        let (pass, cut) = match flow.cut_after {
            Some(left) if left < read => (left, true),
            Some(left) => {
                flow.cut_after = Some(left - read);
                (read, false)
            }
            None => (read, false),
        };
        if cut {
            flow.cut_after = None;
        }
        drop(state);
        thread::sleep(delay);
        if to.write_all(&chunk[..pass]).is_err() || cut {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
