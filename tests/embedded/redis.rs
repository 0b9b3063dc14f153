//! A real redis-server, and the least client that can compare replies: it hands out their raw bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often a port that was free a moment ago may turn out to be taken.
const STARTS_MAX: usize = 10;

/// A reply that takes longer is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server process, ended when dropped.
pub(crate) struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    pub(crate) fn start() -> Self {
        (0..STARTS_MAX).find_map(|_| Self::try_start()).expect("redis-server finds no free port")
    }

    pub(crate) fn connect(&self) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection { stream: BufReader::new(stream) }
    }

    /// `None` when the port was taken by somebody else meanwhile.
    fn try_start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is needed for this test and could not be started");
        let log = BufReader::new(process.stdout.take().unwrap());
        // Declared first, so that the process is ended whatever happens below.
        let redis = Self { process, port };
        let mut version = None;
        for line in log.lines() {
            let line = line.unwrap();
            if let Some((_, rest)) = line.split_once("Redis version=") {
                version = Some(rest.to_owned());
            }
            if line.contains("Ready to accept connections") {
                let version = version.expect("the log names the version first");
                assert!(version.starts_with("7.0."), "the replies are those of Redis 7.0, this is {version}");
                return Some(redis);
            }
        }
        None
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One connection.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Sends a command; the reply is fetched with [`Self::receive`].
    pub(crate) fn send(&mut self, command: &[Vec<u8>]) {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for argument in command {
            bytes.extend(format!("${}\r\n", argument.len()).into_bytes());
            bytes.extend(argument);
            bytes.extend(b"\r\n");
        }
        self.stream.get_mut().write_all(&bytes).unwrap();
    }

    /// The bytes of the next reply.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        let mut reply = Vec::new();
        self.receive_into(&mut reply);
        reply
    }

    fn receive_into(&mut self, reply: &mut Vec<u8>) {
        let start = reply.len();
        self.stream.read_until(b'\n', reply).unwrap();
        let line = reply[start..].strip_suffix(b"\r\n").expect("a line ends in CRLF");
        let count = || std::str::from_utf8(&line[1..]).unwrap().parse::<i64>().unwrap();
        match line[0] {
            b'+' | b'-' | b':' | b'_' => {}
            b'$' if count() >= 0 => {
                let bytes = count() as u64 + 2;
                self.stream.by_ref().take(bytes).read_to_end(reply).unwrap();
            }
            b'*' => (0..count()).for_each(|_| self.receive_into(reply)),
            b'%' => (0..2 * count()).for_each(|_| self.receive_into(reply)),
            b'$' => {}
            other => panic!("a reply of kind {:?}", char::from(other)),
        }
    }
}
