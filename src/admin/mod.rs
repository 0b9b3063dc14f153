//! The HTTP endpoints for people and monitoring: `/metrics`, `/healthz`, `/readyz`.
//!
//! Guarantees that whatever comes in costs a bounded amount of time, memory and sockets, and that a lack of file
//! descriptors makes it pause rather than spin. Runs on the control thread and keeps away from the workers; its futures
//! are `Send`, so any tokio runtime will do. Plain HTTP/1 without authentication: the address that it listens on is what
//! protects it.

mod pages;

use crate::metrics::Registry;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the endpoints tell.
#[derive(Clone)]
pub struct Admin {
    /// What `/metrics` renders.
    pub registry: Arc<Registry>,
    /// Asked for each `/readyz`; must not block.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
}

/// Whether clients should be sent here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// True while clients are accepted: not while starting, nor while draining. Says nothing about the upstream, since
    /// the proxy serves its clients without it.
    pub ready: bool,
    /// Lines for people, as `upstream redis://127.0.0.1:6379: reachable`; no secrets.
    pub detail: String,
}

/// Connections at once. Past it the next ones wait in the kernel's queue. A scraper and some probes need five.
pub const CONNECTIONS_MAX: usize = 64;

/// Bytes of a request's line and headers; past it the answer is 431. A scraper sends some 300.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;

/// Headers of a request; past it the answer is 431.
pub const HEADERS_MAX: usize = 64;

/// For how long a connection may take to send a request's headers, and for how long it may be idle before.
pub const HEADER_TIME_MAX: Duration = Duration::from_secs(10);

/// For how long a connection is kept, busy or not, so that one that never reads its answers ends too.
pub const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);

/// For how long an answer that was begun may take once its connection is to end.
pub const LAST_ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// The pause after an error of `accept` that would come again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The most that hyper buffers of a connection's requests; what comes behind it waits in the kernel. Twice the headers,
/// so that it is their own bound which they meet.
const BUFFER_BYTES: usize = 2 * HEADER_BYTES_MAX;

/// Serves the endpoints until `shutdown`, which is for the end of a drain: meanwhile `/readyz` has something to say.
/// Returns when the last answers are sent or [`LAST_ANSWER_TIME_MAX`] is over.
pub async fn serve(listener: TcpListener, admin: Admin, shutdown: CancellationToken) {
    let mut connections = JoinSet::new();
    let mut accepting = Accepting::Well;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((socket, _)) => {
                    accepting = Accepting::Well;
                    connections.spawn(attend(socket, admin.clone(), shutdown.clone()));
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    if accepting == Accepting::Well {
                        tracing::warn!(%error, "the admin listener cannot accept connections for now");
                    }
                    accepting = Accepting::Failing;
                    tokio::select! {
                        () = shutdown.cancelled() => break,
                        () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                    }
                }
            },
        }
    }
    drop(listener);
    // Each connection ends by itself within the bound.
    while connections.join_next().await.is_some() {}
}

/// Whether the last `accept` failed for a reason that stays, so that only the change is logged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepting {
    Well,
    Failing,
}

/// True if `accept` failed because of the connection that it would have given, and the next one may be fine; false for
/// a lack of file descriptors or memory, which lasts. See "Error handling" in accept(2).
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
    )
}

/// Answers the requests of one connection, one after the other.
async fn attend(socket: TcpStream, admin: Admin, shutdown: CancellationToken) {
    let answer = service_fn(move |request| {
        let reply = pages::answer(&request, &admin);
        async move { Ok::<_, Infallible>(reply) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(socket), answer);
    let mut connection = pin!(connection);
    tokio::select! {
        // What a connection ends of is its client's concern.
        _ = connection.as_mut() => return,
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(CONNECTION_TIME_MAX) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(LAST_ANSWER_TIME_MAX, connection).await;
}

#[cfg(test)]
mod tests;
