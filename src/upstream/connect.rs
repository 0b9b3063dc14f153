//! Making a connection and shaking hands: TCP or a unix socket, AUTH, HELLO, SELECT, PING, INFO.
//!
//! Guarantees: what comes back is a connection on which the upstream has answered a PING in the asked-for protocol and
//! database, so a server that only accepts, is loading, or does not take a password is found out here; only one that
//! asks for a password where none is known may leave it at saying so. The caller bounds the time. Sends nothing that a
//! Redis older than 6 does not survive: an unknown HELLO is tolerated for RESP2. Who the server is, it may keep to itself.

use super::lane::LaneKey;
use super::run_id::RunId;
use super::tls::Tls;
use crate::config::Credentials;
use crate::resp::{BadReply, Protocol, ReplyScanner, elements, encode, error_words, payload};
use socket2::{SockRef, TcpKeepalive};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// After how much silence the kernel asks an upstream's whether it is still there, and how often; after three times
/// without an answer the connection is broken.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);

/// Where an upstream listens.
#[derive(Clone, Debug)]
pub enum Address {
    /// A host (resolved anew for every connection) and a port.
    Tcp(String, u16),
    /// The same, with TLS.
    Tls(String, u16, Tls),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "redis://{}:{port}", Host(host)),
            Self::Tls(host, port, _) => write!(f, "rediss://{}:{port}", Host(host)),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// A host as it stands in a URL.
struct Host<'a>(&'a str);

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

/// The bytes to and from an upstream.
pub(crate) type Stream = Either<TcpStream, Either<UnixStream, Box<TlsStream<TcpStream>>>>;

/// Whether a server is asked who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// It is, in the same write as all else.
    Asked,
    /// It makes no difference.
    Ignored,
}

/// What the upstream told of itself while hands were shaken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// `redis_version`, where the server knows HELLO.
    pub version: Option<String>,
    /// Whether it speaks RESP3 (Redis 6 and later).
    pub speaks_resp3: bool,
    /// Whether it asks for a password that was not given to it: it serves those who log in.
    pub wants_login: bool,
    /// What it calls the connection on which it said so (Redis 5 and later).
    pub connection_id: Option<u64>,
    /// Which server it is, where that was asked and is told.
    pub run_id: Option<RunId>,
}

/// Why a connection could not be made.
#[derive(Debug)]
pub enum ConnectError {
    /// The name did not resolve, or the connection was refused, reset or closed.
    Io(io::Error),
    /// Not done within `upstream.connect_timeout`.
    TimedOut,
    /// `upstream.connections_max` connections are open.
    TooMany,
    /// The bytes that came are not RESP.
    NotRedis(BadReply),
    /// The server is there and won't serve us: its words (a wrong password, LOADING, …).
    Refused(String),
    /// The server serves others but not this lane: no such database, no RESP3, a wrong password. Its words.
    LaneRefused(String),
    /// The server serves those who log in, and this lane does not. Its words.
    LoginWanted(String),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::TimedOut => f.write_str("no answer within upstream.connect_timeout"),
            Self::TooMany => f.write_str("upstream.connections_max connections are open"),
            Self::NotRedis(error) => write!(f, "what listens there does not speak RESP: {error}"),
            Self::Refused(words) | Self::LaneRefused(words) | Self::LoginWanted(words) => {
                write!(f, "the server says: {words}")
            }
        }
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Connects and shakes hands; the caller bounds the time.
pub(crate) async fn connect(
    address: &Address,
    credentials: Option<&Credentials>,
    key: &LaneKey,
    identity: Identity,
) -> Result<(Stream, ServerFacts), ConnectError> {
    let mut stream = match address {
        Address::Tcp(host, port) => Either::Left(connect_tcp(host, *port).await?),
        Address::Tls(host, port, tls) => {
            let stream = tls.connect(connect_tcp(host, *port).await?).await?;
            Either::Right(Either::Right(Box::new(stream)))
        }
        Address::Unix(path) => Either::Right(Either::Left(UnixStream::connect(path).await?)),
    };
    let facts = shake_hands(&mut stream, credentials, key, identity).await?;
    Ok((stream, facts))
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    // Where a client waits or listens nothing is sent for hours: a server that has vanished is noticed by this alone.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY).with_retries(3);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

async fn shake_hands(
    stream: &mut Stream,
    credentials: Option<&Credentials>,
    key: &LaneKey,
    identity: Identity,
) -> Result<ServerFacts, ConnectError> {
    let database = key.database.to_string();
    let version = match key.protocol {
        Protocol::Resp2 => b"2",
        Protocol::Resp3 => b"3",
    };
    let mut hello = Vec::new();
    if let Some(credentials) = credentials {
        encode::command(&mut hello, &credentials.auth());
    }
    encode::command(&mut hello, &[b"HELLO", version]);
    // Not for the database that every connection starts in: an ACL user may lack the permission.
    if key.database != 0 {
        encode::command(&mut hello, &[b"SELECT", database.as_bytes()]);
    }
    encode::command(&mut hello, &[b"PING"]);
    if identity == Identity::Asked {
        encode::command(&mut hello, &[b"INFO", b"server"]);
    }
    stream.write_all(&hello).await?;
    stream.flush().await?;

    let mut replies = Replies::new(stream);
    if credentials.is_some()
        && let Some(words) = error_words(&replies.next().await?)
    {
        return Err(refusal(words, key));
    }
    let mut facts = server_facts(&replies.next().await?, key, credentials)?;
    if key.database != 0
        && let Some(words) = error_words(&replies.next().await?)
    {
        return Err(match () {
            // Not to be kept for later: should the server give up asking, its database would be another.
            () if credentials.is_none() && wants_login(&words) => ConnectError::LoginWanted(words),
            // A database that is not there, or that this user may not select, is about the lane.
            () if words.starts_with("ERR ") || words.starts_with("NOPERM") => ConnectError::LaneRefused(words),
            () => refusal(words, key),
        });
    }
    match error_words(&replies.next().await?) {
        Some(words) if credentials.is_none() && wants_login(&words) => facts.wants_login = true,
        // A user that may not PING has been answered all the same.
        Some(words) if !words.starts_with("NOPERM") => return Err(refusal(words, key)),
        _ => {}
    }
    if identity == Identity::Asked {
        // A refusal says nothing, and is none of the connection.
        facts.run_id = RunId::from_info(&replies.next().await?);
    }
    if !facts.speaks_resp3 && !facts.wants_login {
        // Its HELLO would have told. Older than 5: an error, and nobody can be unblocked there.
        replies.stream.write_all(b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n").await?;
        replies.stream.flush().await?;
        facts.connection_id = connection_id(&replies.next().await?);
    }
    Ok(facts)
}

/// The number in an integer reply.
fn connection_id(reply: &[u8]) -> Option<u64> {
    std::str::from_utf8(reply.strip_prefix(b":")?).ok()?.trim_end().parse().ok()
}

/// A refusal is about the login where a client has chosen it, unless the server says that it serves nobody.
fn refusal(words: String, key: &LaneKey) -> ConnectError {
    const ABOUT_THE_SERVER: &[&str] = &["LOADING", "MASTERDOWN", "CLUSTERDOWN", "ERR max number of clients"];
    if key.login.is_some() && !ABOUT_THE_SERVER.iter().any(|start| words.starts_with(start)) {
        ConnectError::LaneRefused(words)
    } else {
        ConnectError::Refused(words)
    }
}

/// Whether a server asks for a password.
fn wants_login(words: &str) -> bool {
    words.starts_with("NOAUTH")
}

/// Reads the reply to HELLO: a map in RESP3, a flat array in RESP2, an error from a server older than 6.
fn server_facts(reply: &[u8], key: &LaneKey, credentials: Option<&Credentials>) -> Result<ServerFacts, ConnectError> {
    match (error_words(reply), key.protocol) {
        // RESP2 is what every connection begins with.
        (Some(words), Protocol::Resp2) if credentials.is_none() && wants_login(&words) => {
            Ok(ServerFacts { speaks_resp3: true, wants_login: true, ..ServerFacts::default() })
        }
        (Some(words), Protocol::Resp3) if credentials.is_none() && wants_login(&words) => {
            Err(ConnectError::LoginWanted(words))
        }
        (Some(words), _) if !is_unknown(&words) => Err(refusal(words, key)),
        (Some(words), Protocol::Resp3) => Err(ConnectError::LaneRefused(words)),
        (Some(_), Protocol::Resp2) => Ok(ServerFacts::default()),
        (None, _) => {
            let pairs = elements(reply).unwrap_or_default();
            let value = |name: &[u8]| Some(pairs.chunks_exact(2).find(|pair| payload(pair[0]) == Some(name))?[1]);
            let version = value(b"version").and_then(payload).map(|v| String::from_utf8_lossy(v).into_owned());
            let connection_id = value(b"id").and_then(connection_id);
            Ok(ServerFacts { version, speaks_resp3: true, wants_login: false, connection_id, run_id: None })
        }
    }
}

/// Whether a server does not know HELLO, or not this version of the protocol.
fn is_unknown(words: &str) -> bool {
    words.starts_with("ERR unknown command") || words.starts_with("NOPROTO")
}

/// Reads whole replies during a handshake, a bounded number of bytes in all.
struct Replies<'a> {
    stream: &'a mut Stream,
    buffer: Vec<u8>,
}

/// How many bytes a server may send during the handshake.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

impl<'a> Replies<'a> {
    fn new(stream: &'a mut Stream) -> Self {
        Self { stream, buffer: Vec::with_capacity(1024) }
    }

    async fn next(&mut self) -> Result<Vec<u8>, ConnectError> {
        let mut scanner = ReplyScanner::default();
        loop {
            if let Some(length) = scanner.scan(&self.buffer).map_err(ConnectError::NotRedis)? {
                let behind = self.buffer.split_off(length);
                return Ok(std::mem::replace(&mut self.buffer, behind));
            }
            if self.buffer.len() > HANDSHAKE_BYTES_MAX {
                return Err(ConnectError::NotRedis(BadReply::TooLongLine));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(ConnectError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}
