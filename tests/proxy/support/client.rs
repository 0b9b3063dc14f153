//! A RESP client that sees every byte.
//!
//! Sends what it is told, also what is no RESP, and reads exactly one reply at a time, as bytes or as a [`Value`]. It
//! never reads ahead of what the test asks for except into its own buffer, so a client that is told to read nothing
//! reads nothing. Every read has a deadline; a reply that is no RESP fails the test.

use super::value::{self, Value};
use super::wait::SOON;
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// One connection to the proxy, or to a Redis.
pub(crate) struct Client {
    stream: TcpStream,
    /// Bytes read, of which those before `taken` were handed out.
    buffer: Vec<u8>,
    taken: usize,
}

impl Client {
    /// Connects; RESP2 until it says HELLO.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the server listens")
    }

    /// Connects, unless nobody listens.
    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Self> {
        TcpStream::connect_timeout(&address, SOON).map(Self::over)
    }

    /// Connects with a receive buffer so small that a peer soon feels that nobody reads.
    #[track_caller]
    pub(crate) fn connect_with_receive_buffer(address: SocketAddr, bytes: usize) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        // The window is agreed on in the handshake, so the size is set before it.
        socket.set_recv_buffer_size(bytes).expect("a receive buffer");
        socket.connect(&address.into()).expect("the server listens");
        Self::over(socket.into())
    }

    /// Connects and switches to RESP3.
    #[track_caller]
    pub(crate) fn connect_resp3(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        let hello = client.command(["HELLO", "3"]);
        assert!(matches!(hello, Value::Map(_)), "HELLO 3 answers a map, not {hello:?}");
        client
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        stream.set_write_timeout(Some(SOON)).expect("a timeout");
        Self { stream, buffer: Vec::new(), taken: 0 }
    }

    /// How long a reply may take from now on.
    pub(crate) fn set_deadline(&mut self, deadline: Duration) {
        self.stream.set_read_timeout(Some(deadline)).expect("a timeout");
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn send_raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send_raw(bytes).expect("the server takes the bytes");
    }

    /// Sends bytes as they are; the server may have hung up.
    pub(crate) fn try_send_raw(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends as much as the server takes at once, and says how much that was; nothing when it takes no more.
    pub(crate) fn send_what_fits(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_nonblocking(true)?;
        let sent = match self.stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            other => other,
        };
        self.stream.set_nonblocking(false)?;
        sent
    }

    /// Sends one command.
    #[track_caller]
    pub(crate) fn send<A: AsRef<[u8]>>(&mut self, arguments: impl IntoIterator<Item = A>) {
        self.send_raw(encode(arguments));
    }

    /// Sends one command and reads its reply.
    #[track_caller]
    pub(crate) fn command<A: AsRef<[u8]>>(&mut self, arguments: impl IntoIterator<Item = A>) -> Value {
        self.send(arguments);
        self.reply()
    }

    /// Sends one command and reads its reply, on a server that may hang up.
    pub(crate) fn try_command<A: AsRef<[u8]>>(&mut self, arguments: impl IntoIterator<Item = A>) -> io::Result<Value> {
        self.try_send_raw(encode(arguments))?;
        self.try_reply()
    }

    /// Sends a command written with spaces between its arguments and reads its reply.
    #[track_caller]
    pub(crate) fn say(&mut self, line: &str) -> Value {
        self.command(line.split(' '))
    }

    /// Sends several commands in one write and reads all their replies.
    #[track_caller]
    pub(crate) fn pipeline<A: AsRef<[u8]>>(&mut self, commands: &[Vec<A>]) -> Vec<Value> {
        let bytes: Vec<u8> = commands.iter().flat_map(encode).collect();
        self.send_raw(bytes);
        commands.iter().map(|_| self.reply()).collect()
    }

    /// Reads one reply.
    #[track_caller]
    pub(crate) fn reply(&mut self) -> Value {
        self.try_reply().expect("a reply")
    }

    /// Reads one reply as the bytes that came.
    #[track_caller]
    pub(crate) fn raw_reply(&mut self) -> Vec<u8> {
        self.try_reply_bytes().expect("a reply")
    }

    /// Reads one reply; an error when the connection ends or the deadline passes first.
    pub(crate) fn try_reply(&mut self) -> io::Result<Value> {
        self.try_raw_reply().map(|(value, _)| value)
    }

    /// Reads one reply as the bytes that came; an error when the connection ends or the deadline passes first.
    pub(crate) fn try_reply_bytes(&mut self) -> io::Result<Vec<u8>> {
        self.try_raw_reply().map(|(_, raw)| raw)
    }

    fn try_raw_reply(&mut self) -> io::Result<(Value, Vec<u8>)> {
        // A bulk string of many MiB arrives in many reads; it says how long it is, and is walked once.
        let mut look_at = 0;
        loop {
            let arrived = &self.buffer[self.taken..];
            if arrived.len() >= look_at {
                let found = value::parse(arrived).unwrap_or_else(|fault| panic!("{fault:?} in {}", escaped(arrived)));
                if let Some((value, length)) = found {
                    let raw = arrived[..length].to_vec();
                    self.take(length);
                    return Ok((value, raw));
                }
                look_at = missing(arrived).unwrap_or(0);
            }
            self.fill()?;
        }
    }

    /// Whether nothing arrives for `span`.
    pub(crate) fn hears_nothing_for(&mut self, span: Duration) -> bool {
        if self.taken < self.buffer.len() {
            return false;
        }
        self.set_deadline(span);
        let heard = self.fill();
        self.set_deadline(SOON);
        matches!(heard, Err(error) if is_timeout(&error))
    }

    /// Reads until the server closes, and says what came before that.
    #[track_caller]
    pub(crate) fn read_until_closed(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + SOON;
        loop {
            match self.fill() {
                Ok(()) => assert!(Instant::now() < deadline, "the server closes the connection"),
                Err(error) if is_timeout(&error) => panic!("the server closes the connection"),
                Err(_) => break,
            }
        }
        let rest = self.buffer.split_off(self.taken);
        self.taken = self.buffer.len();
        rest
    }

    /// Says that nothing more will be sent; replies are still read.
    pub(crate) fn close_writing(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("an open connection");
    }

    fn fill(&mut self) -> io::Result<()> {
        const CHUNK_BYTES: usize = 64 * 1024;
        let filled = self.buffer.len();
        self.buffer.resize(filled + CHUNK_BYTES, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[filled..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn take(&mut self, length: usize) {
        self.taken += length;
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
        }
    }
}

/// A command as RESP arrays of bulk strings.
pub(crate) fn encode<A: AsRef<[u8]>>(arguments: impl IntoIterator<Item = A>) -> Vec<u8> {
    let arguments: Vec<A> = arguments.into_iter().collect();
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in &arguments {
        let argument = argument.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// How many bytes the bulk string that starts here needs, so that its prefix is not walked at every read.
fn missing(arrived: &[u8]) -> Option<usize> {
    let line = arrived.strip_prefix(b"$")?;
    let end = line.iter().position(|&byte| byte == b'\r')?;
    let length: usize = std::str::from_utf8(&line[..end]).ok()?.parse().ok()?;
    Some(1 + end + 2 + length + 2)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn escaped(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 200;
    bytes[..bytes.len().min(SHOWN_MAX)].escape_ascii().to_string()
}
