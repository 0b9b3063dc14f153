//! One client as CLIENT LIST and CLIENT INFO tell of it.
//!
//! Guarantees Redis 7.0's fields in their order (`catClientInfoString` in `networking.c`), then those of 7.2 behind
//! them, so that a program that reads them by name or by place finds them. What the proxy does not keep per client (the
//! sizes of its buffers, say) is 0.

use super::Client;
use crate::resp::Protocol;
use crate::session::{Ending, Mode, Session, Transaction};
use std::os::fd::AsRawFd;
use std::time::Instant;

/// What kind of client one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// One that asks and is answered.
    Normal,
    /// The primary that a replica follows; no client of the proxy is one.
    Master,
    /// A replica; no client of the proxy is one.
    Replica,
    /// One that has subscribed to something.
    PubSub,
}

/// Who a session is logged in as.
pub(super) fn user(session: &Session) -> String {
    session.login.as_ref().map_or_else(|| "default".to_owned(), |login| login.display_name())
}

/// What kind of client a session is.
pub(super) fn kind(session: &Session) -> ClientKind {
    if session.modes.has(Mode::Subscribed) { ClientKind::PubSub } else { ClientKind::Normal }
}

/// The line of one client (<https://redis.io/docs/latest/commands/client-list/>).
pub(super) fn client_line(client: &Client, session: &Session, now: Instant) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let seconds_since = |then: Instant| now.saturating_duration_since(then).as_secs();
    let subscriptions = session.modes.subscriptions;
    let (multi, multi_bytes) = match &session.transaction {
        Transaction::Queueing { queued, .. } => (queued.count() as i64, queued.kept_bytes()),
        _ => (-1, 0),
    };
    let unwritten = session.replies.bytes();
    format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={multi} \
         qbuf=0 qbuf-free=0 argv-mem=0 multi-mem={multi_bytes} rbs=0 rbp=0 obl={unwritten} oll=0 omem={unwritten} \
         tot-mem={} events={} cmd={} user={} redir={} resp={} lib-name={} lib-ver={}\n",
        session.id,
        session.peer,
        session.local,
        // A socket that is being closed is nobody's to ask.
        client.stream.try_borrow().map_or(-1, |stream| stream.as_raw_fd()),
        text(&session.identity().name),
        seconds_since(session.connected_at),
        seconds_since(session.active_at),
        flags(session),
        session.database,
        subscriptions.channels,
        subscriptions.patterns,
        subscriptions.shards,
        unwritten + multi_bytes,
        if client.is_blocked() { "rw" } else { "r" },
        session.last_command.to_ascii_lowercase(),
        user(session),
        redirect(session),
        if session.protocol == Protocol::Resp3 { 3 } else { 2 },
        text(&session.identity().library),
        text(&session.identity().library_version),
    )
}

/// Where a client's invalidations go: -1 when it does not track, 0 to itself.
pub(super) fn redirect(session: &Session) -> i64 {
    match session.modes.redirect {
        _ if !session.modes.has(Mode::Tracking) => -1,
        target => target.and_then(|id| i64::try_from(id).ok()).unwrap_or(0),
    }
}

/// The letters of a client's modes, in Redis's order.
fn flags(session: &Session) -> String {
    let letters = [
        ('O', session.modes.has(Mode::Monitor)),
        ('P', kind(session) == ClientKind::PubSub),
        ('x', session.transaction.is_queueing()),
        ('b', session.blocks),
        ('t', session.modes.has(Mode::Tracking)),
        ('d', session.transaction.is_lost()),
        ('c', session.ending == Ending::AfterReplies),
    ];
    let flags: String = letters.into_iter().filter(|(_, holds)| *holds).map(|(letter, _)| letter).collect();
    if flags.is_empty() { "N".to_owned() } else { flags }
}
