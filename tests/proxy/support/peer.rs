//! A scripted upstream: it reads what the proxy sends and answers what the test says.
//!
//! A script is a function over a [`Dialogue`] and reads as one: expect this, send that, close. Every connection gets
//! the script from its beginning, with its number, so the second may behave better than the first. A connection that
//! the proxy closes ends the script quietly; an expectation that is not met fails the test when the peer is dropped.

use super::client::encode;
use super::port::listener;
use super::wait::wait_until;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a stalled connection looks whether the test is over.
const STALL_POLL: Duration = Duration::from_millis(20);

/// A listening upstream; its connections end when it is dropped.
pub(crate) struct Peer {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the connections of a peer tell the test.
#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    connections: AtomicUsize,
    /// Every command that arrived, in the order of arrival per connection.
    commands: Mutex<Vec<Vec<Vec<u8>>>>,
    faults: Mutex<Vec<String>>,
}

/// The peer's side of one connection.
pub(crate) struct Dialogue {
    stream: TcpStream,
    shared: Arc<Shared>,
    number: usize,
    resp3: bool,
    buffer: Vec<u8>,
}

impl Peer {
    /// Plays `script` on every connection.
    pub(crate) fn playing(script: impl Fn(&mut Dialogue) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = listener();
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared, &Arc::new(script))
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Accepts, reads, and never says a word.
    pub(crate) fn black_hole() -> Self {
        Self::playing(Dialogue::swallow)
    }

    /// Shakes hands, and then never says a word.
    pub(crate) fn falls_silent_after_handshake() -> Self {
        Self::playing(|dialogue| {
            dialogue.next_command_after_handshake()?;
            dialogue.swallow()
        })
    }

    /// Answers everything with `reply`, the handshake too.
    pub(crate) fn always_answering(reply: &'static [u8]) -> Self {
        Self::playing(move |dialogue| {
            loop {
                dialogue.next_command()?;
                dialogue.send(reply)?;
            }
        })
    }

    /// Shakes hands and answers every command after that with `reply`.
    pub(crate) fn answering(reply: impl Into<Vec<u8>>) -> Self {
        let reply = reply.into();
        Self::playing(move |dialogue| {
            loop {
                dialogue.next_command_after_handshake()?;
                dialogue.send(&reply)?;
            }
        })
    }

    /// Shakes hands and answers every command with `reply`, one byte per `pause`.
    pub(crate) fn dripping(reply: &'static [u8], pause: Duration) -> Self {
        Self::playing(move |dialogue| {
            loop {
                dialogue.next_command_after_handshake()?;
                dialogue.drip(reply, pause)?;
            }
        })
    }

    /// A Redis that is loading, in its own words.
    pub(crate) fn loading() -> Self {
        Self::always_answering(b"-LOADING Redis is loading the dataset in memory\r\n")
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as the proxy's `--upstream` takes it.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How often exactly this command has arrived.
    pub(crate) fn count_of(&self, command: &[&str]) -> usize {
        let commands = self.shared.commands.lock().expect("no script panics");
        commands
            .iter()
            .filter(|seen| seen.iter().map(Vec::as_slice).eq(command.iter().map(|word| word.as_bytes())))
            .count()
    }

    /// Waits until this command has arrived.
    #[track_caller]
    pub(crate) fn wait_for(&self, deadline: Duration, command: &[&str]) {
        wait_until(deadline, &format!("{command:?} reaches the upstream"), || self.count_of(command) > 0);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let faults = self.shared.faults.lock().expect("no script panics");
        if !thread::panicking() {
            assert!(faults.is_empty(), "the upstream's script: {}", faults.join("; "));
        }
    }
}

impl Dialogue {
    /// Which connection this is, counted from 0.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Waits for a command of any kind.
    pub(crate) fn next_command(&mut self) -> io::Result<Vec<Vec<u8>>> {
        loop {
            if let Some((command, length)) = request(&self.buffer)? {
                self.buffer.drain(..length);
                self.shared.commands.lock().expect("no script panics").push(command.clone());
                return Ok(command);
            }
            self.fill()?;
        }
    }

    /// Answers what a connection says about itself as a Redis would, and returns the first command that asks for more.
    pub(crate) fn next_command_after_handshake(&mut self) -> io::Result<Vec<Vec<u8>>> {
        loop {
            let command = self.next_command()?;
            match self.handshake_reply(&command) {
                Some(reply) => self.send(&reply)?,
                None => return Ok(command),
            }
        }
    }

    /// Fails the test unless the next command, the handshake aside, is this one.
    pub(crate) fn expect(&mut self, command: &[&str]) -> io::Result<()> {
        let came = self.next_command_after_handshake()?;
        if encode(&came) == encode(command) {
            return Ok(());
        }
        let shown: Vec<_> = came.iter().map(|word| word.escape_ascii().to_string()).collect();
        let fault = format!("expected {command:?}, and {shown:?} came");
        self.shared.faults.lock().expect("no script panics").push(fault);
        Err(ErrorKind::InvalidData.into())
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends one byte per `pause`.
    pub(crate) fn drip(&mut self, bytes: &[u8], pause: Duration) -> io::Result<()> {
        for byte in bytes {
            self.pause(pause)?;
            self.send(&[*byte])?;
        }
        Ok(())
    }

    /// Reads everything and answers nothing, until the proxy closes or the test ends.
    pub(crate) fn swallow(&mut self) -> io::Result<()> {
        loop {
            while let Some((command, length)) = request(&self.buffer)? {
                self.buffer.drain(..length);
                self.shared.commands.lock().expect("no script panics").push(command);
            }
            self.fill()?;
        }
    }

    /// Does nothing for a while.
    pub(crate) fn pause(&mut self, span: Duration) -> io::Result<()> {
        let slices = span.as_micros() / STALL_POLL.as_micros();
        for _ in 0..slices {
            self.check_ended()?;
            thread::sleep(STALL_POLL);
        }
        self.check_ended()?;
        thread::sleep(span.saturating_sub(STALL_POLL * slices as u32));
        Ok(())
    }

    /// What a Redis answers to the commands by which clients introduce themselves; `None` for all others.
    pub(crate) fn handshake_reply(&mut self, command: &[Vec<u8>]) -> Option<Vec<u8>> {
        let word = |at: usize| command.get(at).map(|word| word.to_ascii_uppercase()).unwrap_or_default();
        let reply: &[u8] = match (word(0).as_slice(), word(1).as_slice()) {
            (b"HELLO", version) => {
                self.resp3 = version == b"3";
                let head = if self.resp3 { "%7\r\n" } else { "*14\r\n" };
                let facts = "$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n";
                let rest = "$2\r\nid\r\n:7\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";
                let version = if self.resp3 { ":3\r\n" } else { ":2\r\n" };
                return Some([head, facts, version, rest].concat().into_bytes());
            }
            (b"PING", _) => b"+PONG\r\n",
            // The near cache's link asks whether it may ask that.
            (b"PTTL", b"FCA:") => b":-2\r\n",
            (b"SELECT" | b"AUTH" | b"RESET", _) => b"+OK\r\n",
            (b"CLIENT", b"ID") => b":7\r\n",
            (b"CLIENT", _) => b"+OK\r\n",
            (b"COMMAND", _) => b"*0\r\n",
            (b"INFO", _) => b"$22\r\nredis_version:7.0.15\r\n\r\n",
            _ => return None,
        };
        Some(reply.to_vec())
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        loop {
            self.check_ended()?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.buffer.extend_from_slice(&chunk[..read]);
                    return Ok(());
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn check_ended(&self) -> io::Result<()> {
        match self.shared.ended.load(Ordering::SeqCst) {
            true => Err(ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }
}

fn accept<S>(listener: &TcpListener, shared: &Arc<Shared>, script: &Arc<S>)
where
    S: Fn(&mut Dialogue) -> io::Result<()> + Send + Sync + 'static,
{
    let mut connections = Vec::new();
    for stream in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        let (shared, script) = (Arc::clone(shared), Arc::clone(script));
        connections.push(thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            let _ = stream.set_read_timeout(Some(STALL_POLL));
            let mut dialogue = Dialogue { stream, shared, number, resp3: false, buffer: Vec::new() };
            let _ = script(&mut dialogue);
            let _ = dialogue.stream.shutdown(Shutdown::Both);
        }));
    }
    for connection in connections {
        let _ = connection.join();
    }
}

/// The request that starts the buffer, and its length; the proxy speaks only arrays of bulk strings upstream.
fn request(bytes: &[u8]) -> io::Result<Option<(Vec<Vec<u8>>, usize)>> {
    let parsed = super::value::parse(bytes).map_err(|fault| io::Error::new(ErrorKind::InvalidData, fault.0))?;
    let Some((value, length)) = parsed else { return Ok(None) };
    Ok(Some((value.items().iter().map(|word| word.bytes().to_vec()).collect(), length)))
}
