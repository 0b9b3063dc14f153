//! The endpoints over real sockets, with requests written by hand. Where time matters it is tokio's paused clock, which
//! moves on only when nothing else can happen.

use super::*;
use crate::metrics::BuildInfo;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// So small that a page of metrics does not fit into the kernel's buffers.
const SOCKET_BUFFER_BYTES: u32 = 4 * 1024;

/// A served set of endpoints.
struct Served {
    address: SocketAddr,
    ready: Arc<AtomicBool>,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

async fn served() -> Served {
    let ready = Arc::new(AtomicBool::new(true));
    let readiness = {
        let ready = Arc::clone(&ready);
        move || Readiness { ready: ready.load(Ordering::Relaxed), detail: "upstream redis://h:1: reachable".into() }
    };
    let registry = Registry::new(BuildInfo { version: "1.2.3", revision: "abc" }, ["faq".to_owned()]);
    let _ = registry.recorder();
    let listener = TcpSocket::new_v4().unwrap();
    listener.set_send_buffer_size(SOCKET_BUFFER_BYTES).unwrap();
    listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.listen(2 * CONNECTIONS_MAX as u32).unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let admin = Admin { registry, readiness: Arc::new(readiness) };
    let server = Handle::current().spawn(serve(listener, admin, shutdown.clone()));
    Served { address, ready, shutdown, server }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Everything that is answered to these bytes, until the connection ends. The last request has to ask for that.
    async fn exchange(&self, requests: &[u8]) -> String {
        let mut socket = self.connect().await;
        socket.write_all(requests).await.unwrap();
        rest_of(&mut socket).await
    }

    async fn get(&self, path: &str) -> String {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await
    }
}

/// What still comes, however the connection ends.
async fn rest_of(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

fn status(reply: &str) -> &str {
    reply.get(..12).unwrap_or(reply)
}

fn body(reply: &str) -> &str {
    reply.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn each_path_has_its_page() {
    let served = served().await;
    let pages = [
        ("/", "HTTP/1.1 200", "content-type: text/html; charset=utf-8\r\n", "/metrics"),
        ("/healthz", "HTTP/1.1 200", "content-type: text/plain; charset=utf-8\r\n", "ok\n"),
        ("/healthz?verbose", "HTTP/1.1 200", "content-type: text/plain; charset=utf-8\r\n", "ok\n"),
        (
            "/metrics",
            "HTTP/1.1 200",
            "content-type: text/plain; version=0.0.4; charset=utf-8\r\n",
            "fca_proxy_clients 0",
        ),
        ("/metrics/", "HTTP/1.1 404", "content-type: text/plain; charset=utf-8\r\n", "not found\n"),
        ("/../etc/passwd", "HTTP/1.1 404", "content-type: text/plain; charset=utf-8\r\n", "not found\n"),
    ];
    for (path, expected, content_type, text) in pages {
        let reply = served.get(path).await;
        assert_eq!(status(&reply), expected, "{path}");
        assert!(reply.contains(content_type), "{path}: {reply}");
        assert!(body(&reply).contains(text), "{path}: {reply}");
    }
}

#[tokio::test]
async fn readiness_is_told_with_the_state_of_the_upstream() {
    let served = served().await;
    let reply = served.get("/readyz").await;
    assert_eq!((status(&reply), body(&reply)), ("HTTP/1.1 200", "ready\nupstream redis://h:1: reachable\n"));

    served.ready.store(false, Ordering::Relaxed);
    let reply = served.get("/readyz").await;
    assert_eq!((status(&reply), body(&reply)), ("HTTP/1.1 503", "not ready\nupstream redis://h:1: reachable\n"));
    assert_eq!(status(&served.get("/healthz").await), "HTTP/1.1 200");
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let served = served().await;
    for path in ["/", "/metrics", "/healthz", "/readyz", "/nowhere"] {
        let get = served.get(path).await;
        let head =
            served.exchange(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(status(&head), status(&get), "{path}");
        assert_eq!(body(&head), "", "{path}");
        // The uptime in /metrics changes the length from one moment to the next.
        if path != "/metrics" {
            assert!(head.contains(&format!("content-length: {}\r\n", body(&get).len())), "{path}: {head}");
        }
    }
}

#[tokio::test]
async fn other_methods_are_told_which_are_allowed() {
    let served = served().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PURGE"] {
        let request = format!("{method} /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let reply = served.exchange(request.as_bytes()).await;
        assert_eq!(status(&reply), "HTTP/1.1 405", "{method}");
        assert!(reply.contains("allow: GET, HEAD\r\n"), "{method}: {reply}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let served = served().await;
    let reply = served
        .exchange(
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n\
              GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await;
    let statuses: Vec<_> = reply.match_indices("HTTP/1.1 ").map(|(at, _)| status(&reply[at..])).collect();
    assert_eq!(statuses, ["HTTP/1.1 200", "HTTP/1.1 404", "HTTP/1.1 200"]);
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let served = served().await;
    let reply = served.exchange(b"GET /healthz HTTP/1.0\r\n\r\n").await;
    assert_eq!((status(&reply), body(&reply)), ("HTTP/1.0 200", "ok\n"));
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_closed() {
    let served = served().await;
    for request in [&b"*1\r\n$4\r\nPING\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01", b"GET\r\n\r\n"] {
        let reply = served.exchange(request).await;
        assert_eq!(status(&reply), "HTTP/1.1 400", "{}", request.escape_ascii());
    }
    assert_eq!(status(&served.get("/healthz").await), "HTTP/1.1 200");
}

#[tokio::test]
async fn oversized_headers_are_refused_and_closed() {
    let served = served().await;
    let long = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(HEADER_BYTES_MAX));
    assert_eq!(status(&served.exchange(long.as_bytes()).await), "HTTP/1.1 431");

    let many = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(HEADERS_MAX + 1));
    assert_eq!(status(&served.exchange(many.as_bytes()).await), "HTTP/1.1 431");

    let most = format!("GET /healthz HTTP/1.1\r\nConnection: close\r\n{}\r\n", "X: x\r\n".repeat(HEADERS_MAX - 1));
    assert_eq!(status(&served.exchange(most.as_bytes()).await), "HTTP/1.1 200");
}

#[tokio::test(start_paused = true)]
async fn a_body_is_not_waited_for() {
    let served = served().await;
    let started = Instant::now();
    let reply = served.exchange(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nabc").await;
    assert_eq!((status(&reply), body(&reply)), ("HTTP/1.1 200", "ok\n"));
    assert!(started.elapsed() < HEADER_TIME_MAX);
}

#[tokio::test(start_paused = true)]
async fn headers_that_never_end_cost_a_bounded_time() {
    let served = served().await;
    let started = Instant::now();
    let reply = served.exchange(b"GET /healthz HTTP/1.1\r\nX: ").await;
    assert!(!reply.contains("200"), "{reply}");
    assert!(started.elapsed() >= HEADER_TIME_MAX);
    assert!(started.elapsed() < 2 * HEADER_TIME_MAX);
}

#[tokio::test(start_paused = true)]
async fn headers_that_drip_gain_no_time_by_it() {
    let served = served().await;
    let started = Instant::now();
    let mut socket = served.connect().await;
    socket.write_all(b"GET /healthz HTTP/1.1\r\nX: ").await.unwrap();
    let drips = 4 * HEADER_TIME_MAX.as_secs();
    let mut ended = false;
    for _ in 0..drips {
        sleep(Duration::from_secs(1)).await;
        if socket.write_all(b"x").await.is_err() {
            ended = true;
            break;
        }
    }
    assert!(ended, "still open after {:?}", started.elapsed());
    assert!(started.elapsed() < 2 * HEADER_TIME_MAX);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends() {
    let served = served().await;
    for (request, expected) in [(&b""[..], ""), (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200")] {
        let started = Instant::now();
        assert_eq!(status(&served.exchange(request).await), expected);
        let idle = started.elapsed();
        assert!((HEADER_TIME_MAX..2 * HEADER_TIME_MAX).contains(&idle), "{idle:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_never_reads_holds_a_place_for_a_bounded_time() {
    let served = served().await;
    let started = Instant::now();
    let mut holders = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES).unwrap();
        let mut socket = socket.connect(served.address).await.unwrap();
        socket.write_all("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(10).as_bytes()).await.unwrap();
        holders.push(socket);
    }
    assert_eq!(status(&served.get("/healthz").await), "HTTP/1.1 200");
    let held = started.elapsed();
    let most = CONNECTION_TIME_MAX + 2 * LAST_ANSWER_TIME_MAX;
    assert!((CONNECTION_TIME_MAX..most).contains(&held), "{held:?}");
}

#[tokio::test(start_paused = true)]
async fn connections_past_the_bound_wait_their_turn() {
    let served = served().await;
    let started = Instant::now();
    let mut holders = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut socket = served.connect().await;
        socket.write_all(b"GET /").await.unwrap();
        holders.push(socket);
    }
    let reply = served.get("/healthz").await;
    assert_eq!(status(&reply), "HTTP/1.1 200");
    assert!(started.elapsed() >= HEADER_TIME_MAX, "answered past the bound, after {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_idle_connections_and_the_server() {
    let served = served().await;
    let mut idle = served.connect().await;
    let mut half = served.connect().await;
    half.write_all(b"GET /").await.unwrap();
    assert_eq!(status(&served.get("/healthz").await), "HTTP/1.1 200");

    let started = Instant::now();
    served.shutdown.cancel();
    served.server.await.unwrap();
    assert!(started.elapsed() <= LAST_ANSWER_TIME_MAX + Duration::from_millis(10), "{:?}", started.elapsed());
    assert_eq!(rest_of(&mut idle).await, "");
    assert_eq!(rest_of(&mut half).await, "");
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[test]
fn accept_pauses_for_what_lasts_only() {
    // EMFILE, ENFILE, ENOBUFS, ENOMEM in Linux's numbers.
    for lasting in [24, 23, 105, 12] {
        assert!(!concerns_one_connection(&io::Error::from_raw_os_error(lasting)), "{lasting}");
    }
    // ECONNABORTED, EINTR.
    for passing in [103, 4] {
        assert!(concerns_one_connection(&io::Error::from_raw_os_error(passing)), "{passing}");
    }
}
