//! The other end of a whole request, in a process of its own: the client, and a scripted upstream.
//!
//! Says two numbers on its output, a line each: the upstream's port, and how many nanoseconds all turns took. Fails if
//! one reply is not the expected one, byte for byte, or if the upstream was asked what it does not know: no figure can
//! come from the nils of an outage.

use crate::decode::{QUESTION, value};
use fca_proxy::clock;
use fca_proxy::resp::{Request, RequestLimits, RequestScanner, encode};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{LazyLock, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The first argument of a process that is a peer.
pub(crate) const ROLE: &str = "--peer";

/// A proxy that says nothing for so long has failed, even under valgrind.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Set by a tool that counts instructions: before it writes, this process waits so many microseconds where a turn has
/// one request. Then the proxy has always gone to sleep, as it has without valgrind; else it is chance whether it finds
/// the next bytes before that.
const PAUSE_VARIABLE: &str = "HOT_PATHS_PAUSE_MICROSECONDS";

/// What a client asks in every turn, and what it is answered.
pub(crate) struct Dialogue {
    pub(crate) name: &'static str,
    /// Requests of one turn.
    pub(crate) depth: usize,
    pub(crate) command: &'static [&'static str],
    pub(crate) upstream: Upstream,
    reply: Reply,
}

/// What stands behind the proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// This process.
    Scripted,
    /// This process, which is asked once, before the first turn: the near cache answers from then on.
    Once,
    /// Nothing: the store inside the proxy, which is told the answer first.
    Embedded,
}

#[derive(Clone, Copy)]
enum Reply {
    Nil,
    Ok,
    Value { bytes: usize },
}

const HIT: Reply = Reply::Value { bytes: 64 };
const GET: &[&str] = &["GET", "key:1234"];
const TRACKED_GET: &[&str] = &["GET", "fca:faq:0123456789abcdef"];
const FCA_GET: &[&str] = &["FCA.GET", "faq", QUESTION];
const FCA_SET: &[&str] = &["FCA.SET", "faq", QUESTION, "An answer."];

pub(crate) const DIALOGUES: &[Dialogue] = &[
    forwarded("whole/get", 1, GET, HIT),
    forwarded("whole/get-16", 16, GET, HIT),
    forwarded("whole/get-16k", 1, GET, Reply::Value { bytes: 16 * 1024 }),
    forwarded("whole/fca-get-hit", 1, FCA_GET, HIT),
    forwarded("whole/fca-get-hit-16", 16, FCA_GET, HIT),
    forwarded("whole/fca-get-miss", 1, FCA_GET, Reply::Nil),
    forwarded("whole/fca-get-miss-16", 16, FCA_GET, Reply::Nil),
    forwarded("whole/fca-set-16", 16, FCA_SET, Reply::Ok),
    Dialogue { upstream: Upstream::Once, ..forwarded("whole/near-hit", 1, TRACKED_GET, HIT) },
    Dialogue { upstream: Upstream::Once, ..forwarded("whole/near-hit-16", 16, TRACKED_GET, HIT) },
    Dialogue { upstream: Upstream::Once, ..forwarded("whole/near-fca-get-16", 16, FCA_GET, HIT) },
    Dialogue { upstream: Upstream::Embedded, ..forwarded("whole/embedded-get-16", 16, GET, HIT) },
    Dialogue { upstream: Upstream::Embedded, ..forwarded("whole/embedded-fca-get-16", 16, FCA_GET, HIT) },
];

const fn forwarded(name: &'static str, depth: usize, command: &'static [&'static str], reply: Reply) -> Dialogue {
    Dialogue { name, depth, command, upstream: Upstream::Scripted, reply }
}

impl Dialogue {
    #[expect(clippy::disallowed_methods, reason = "this process is no worker")]
    fn pause(&self) {
        static PAUSE: LazyLock<Duration> = LazyLock::new(|| {
            let given = std::env::var_os(PAUSE_VARIABLE).and_then(|text| text.to_str()?.parse().ok());
            Duration::from_micros(given.unwrap_or(0))
        });
        if self.depth == 1 && !PAUSE.is_zero() {
            thread::sleep(*PAUSE);
        }
    }
}

impl Reply {
    fn frame(self) -> Vec<u8> {
        match self {
            Self::Nil => b"$-1\r\n".to_vec(),
            Self::Ok => b"+OK\r\n".to_vec(),
            Self::Value { bytes } => value(bytes),
        }
    }
}

/// Plays both parts of a dialogue against the proxy at this address.
pub(crate) fn serve(dialogue: &str, turns: u64, proxy: &str) {
    let dialogue = DIALOGUES.iter().find(|known| known.name == dialogue).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    let mut client = TcpStream::connect(proxy).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(SILENCE_MAX)).unwrap();
    let upstream = match dialogue.upstream {
        Upstream::Scripted | Upstream::Once => Some(start_upstream(listener, dialogue)),
        Upstream::Embedded => {
            tell_the_store(&mut client, dialogue);
            None
        }
    };
    if dialogue.upstream == Upstream::Once {
        ask_once(&mut client, dialogue);
    }
    let requests = command(dialogue.command).repeat(dialogue.depth);
    let replies = dialogue.reply.frame().repeat(dialogue.depth);
    let mut read = vec![0; replies.len()];
    let began = clock::now();
    for _ in 0..turns {
        dialogue.pause();
        client.write_all(&requests).unwrap();
        client.read_exact(&mut read).unwrap();
        assert!(read == replies, "the proxy answered {}", read.escape_ascii());
    }
    let took = clock::now() - began;
    let failed = upstream.is_some_and(|upstream| upstream.is_finished());
    assert!(!failed, "the upstream failed, so the nils that were expected are those of an outage");
    println!("{}", took.as_nanos());
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut request = Vec::new();
    encode::command(&mut request, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
    request
}

/// Stores what the dialogue asks for.
fn tell_the_store(client: &mut TcpStream, dialogue: &Dialogue) {
    let text = "v".repeat(64);
    let words = match dialogue.command {
        ["GET", key] => vec!["SET", key, &text],
        ["FCA.GET", namespace, question] => vec!["FCA.SET", namespace, question, &text],
        other => panic!("{other:?} has nothing to store"),
    };
    client.write_all(&command(&words)).unwrap();
    let mut read = [0; 5];
    client.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"+OK\r\n");
}

/// Has the near cache keep the answer.
fn ask_once(client: &mut TcpStream, dialogue: &Dialogue) {
    client.write_all(&command(dialogue.command)).unwrap();
    let mut read = dialogue.reply.frame();
    client.read_exact(&mut read).unwrap();
    assert!(read == dialogue.reply.frame(), "the proxy answered {}", read.escape_ascii());
}

/// An upstream on a thread of its own, whose first connection has shaken hands.
fn start_upstream(listener: TcpListener, dialogue: &'static Dialogue) -> JoinHandle<()> {
    let (is_up, up) = mpsc::channel();
    let upstream = thread::spawn(move || be_upstream(&listener, dialogue, &is_up));
    up.recv().unwrap();
    upstream
}

/// Answers one connection; says when its handshake is done.
fn be_upstream(listener: &TcpListener, dialogue: &Dialogue, is_up: &mpsc::Sender<()>) {
    let reply = dialogue.reply.frame();
    let mut reads_left = if dialogue.upstream == Upstream::Once { 1 } else { u64::MAX };
    let limits = RequestLimits { args_max: 1024, bytes_max: 1 << 20 };
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_nodelay(true).unwrap();
    let mut scanner = RequestScanner::default();
    let (mut unread, mut chunk, mut out) = (Vec::new(), vec![0; 64 * 1024], Vec::new());
    loop {
        match stream.read(&mut chunk) {
            Ok(bytes) if bytes > 0 => unread.extend_from_slice(&chunk[..bytes]),
            _ => return,
        }
        let mut at = 0;
        while let Request::Multibulk(length) = scanner.scan(&unread[at..], &limits).unwrap() {
            let request = scanner.arguments(&unread[at..at + length]);
            match &request[0] {
                b"GET" => {
                    reads_left = reads_left.checked_sub(1).expect("the near cache answers");
                    out.extend_from_slice(&reply);
                }
                b"PTTL" => out.extend_from_slice(b":3600000\r\n"),
                b"SETEX" => out.extend_from_slice(&reply),
                b"MGET" => {
                    encode::header(&mut out, b'*', request.len() as u64 - 1);
                    (1..request.len()).for_each(|_| out.extend_from_slice(&reply));
                }
                b"DEL" | b"UNLINK" => out.extend_from_slice(b":0\r\n"),
                // As a server older than Redis 6 does.
                b"HELLO" => out.extend_from_slice(b"-ERR unknown command 'HELLO'\r\n"),
                // Who it is it keeps to itself.
                b"INFO" => out.extend_from_slice(b"-NOPERM this user has no permissions\r\n"),
                // A lane asks for its number.
                b"CLIENT" => out.extend_from_slice(b":1\r\n"),
                b"PING" => {
                    out.extend_from_slice(b"+PONG\r\n");
                    is_up.send(()).unwrap();
                }
                other => panic!("the proxy sent {}", other.escape_ascii()),
            }
            at += length;
        }
        unread.drain(..at);
        dialogue.pause();
        stream.write_all(&out).unwrap();
        out.clear();
    }
}
