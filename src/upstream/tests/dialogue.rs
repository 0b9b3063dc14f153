//! The scripted peer: a listener on loopback whose connections are held as dialogues, expect these bytes, send those.
//!
//! It runs on the thread of the lanes under test. What it is not told to do it does not do: no reply by itself.

use crate::upstream::Address;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a lane of RESP2 and database 0 says first.
pub(super) const HELLO_2: &[u8] = b"*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n*1\r\n$4\r\nPING\r\n";

/// What a lane of RESP3 and database 0 says first.
pub(super) const HELLO_3: &[u8] = b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*1\r\n$4\r\nPING\r\n";

/// What a Redis answers to [`HELLO_2`].
pub(super) const WELCOME: &[u8] = b"*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.4.1\r\n+PONG\r\n";

/// What a Redis older than 6 answers to either, and to the CLIENT ID behind it.
pub(super) const WELCOME_OLD: &[u8] =
    b"-ERR unknown command `HELLO`, with args beginning with: `2`, \r\n+PONG\r\n:9\r\n";

/// What a lane that asks who the server is says behind that.
pub(super) const WHO: &[u8] = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n";

/// A server's answer to it.
pub(super) fn run_id(number: u64) -> String {
    let info = format!("# Server\r\nredis_version:7.4.1\r\nrun_id:{number:016x}0123456789abcdef01234567\r\n");
    format!("${}\r\n{info}\r\n", info.len())
}

/// A server that does what a test says.
pub(super) struct Peer {
    listener: TcpListener,
}

impl Peer {
    pub(super) async fn listen() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    /// Listens where `address` says, which nobody else does now.
    pub(super) async fn listen_at(address: &Address) -> Self {
        let Address::Tcp(host, port) = address else { panic!("not a port: {address}") };
        Self { listener: TcpListener::bind((host.as_str(), *port)).await.unwrap() }
    }

    pub(super) fn address(&self) -> Address {
        Address::Tcp("127.0.0.1".into(), self.listener.local_addr().unwrap().port())
    }

    /// Takes a connection and says nothing.
    pub(super) async fn accept(&self) -> Dialogue {
        let (stream, _) = self.listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        Dialogue { stream }
    }

    /// Takes the connection of a lane of RESP2 and database 0, and shakes hands.
    pub(super) async fn accept_lane(&self) -> Dialogue {
        self.accept_saying(HELLO_2, WELCOME).await
    }

    /// Takes a connection that begins with these bytes, and answers with those.
    pub(super) async fn accept_saying(&self, hello: &[u8], welcome: &[u8]) -> Dialogue {
        let mut dialogue = self.accept().await;
        dialogue.expect(hello).await;
        dialogue.send(welcome).await;
        dialogue
    }

    /// Serves one probe: a connection that shakes hands and goes.
    pub(super) async fn serve_probe(&self) {
        self.accept_lane().await.expect_end().await;
    }
}

/// One connection as its server sees it.
pub(super) struct Dialogue {
    stream: TcpStream,
}

impl Dialogue {
    /// The next bytes are these, in however many pieces.
    pub(super) async fn expect(&mut self, expected: &[u8]) {
        let mut came = vec![0; expected.len()];
        self.stream.read_exact(&mut came).await.unwrap();
        assert_eq!(came.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    /// What one read brings.
    pub(super) async fn read_once(&mut self) -> Vec<u8> {
        let mut came = Vec::with_capacity(1024 * 1024);
        self.stream.read_buf(&mut came).await.unwrap();
        came
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends these bytes for as long as they are taken; false once they are not.
    pub(super) async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Nothing more comes: the proxy has closed the connection.
    pub(super) async fn expect_end(&mut self) {
        let mut came = [0; 256];
        // With bytes unread on either side an end is told as a reset.
        let read = self.stream.read(&mut came).await.unwrap_or(0);
        assert_eq!(came[..read].escape_ascii().to_string(), "");
    }
}

impl Dialogue {
    /// A thread's work: sends these bytes so many times, as fast as they are taken.
    pub(super) fn into_flood(self, bytes: Vec<u8>, times: usize) -> impl FnOnce() + Send {
        let mut stream = self.stream.into_std().unwrap();
        move || {
            stream.set_nonblocking(false).unwrap();
            let _ends_with_the_test = (0..times).try_for_each(|_| io::Write::write_all(&mut stream, &bytes));
        }
    }
}
