//! The task of one session: reads requests, offers them to the flow, writes what the socket did not take at once.
//!
//! Guarantees: reads into one buffer that all sessions of the worker share; a session holds memory of its own only
//! while a request has arrived in part, or waits. It stops reading, and so slows the client down, while too much is in
//! flight or unwritten. A request that was begun has to be finished in time. A panic is this session's alone.

use crate::alarm::Alarm;
use crate::clock;
use crate::flow::{self, Client, Handled};
use crate::metrics::{Counter, Limit};
use crate::resp::{ProtocolError, ReplyError, Request, RequestScanner, encode, split_inline};
use crate::session::{Ending, Session};
use bytes::{Buf, BytesMut};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio_util::io::poll_read_buf;

/// What a worker reads requests into, in bytes.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// The least room that is made for the rest of a request, in bytes.
const PARTIAL_ROOM_MIN: usize = 4 * 1024;

/// How long, and for how many bytes, a connection that is closed for an error is still read: closing it with input
/// unread would reset it, and the client might never see why.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 1024 * 1024;

/// What the sessions of a worker read with, one at a time.
pub(super) struct Reader {
    buffer: RefCell<Vec<u8>>,
    scanner: Cell<RequestScanner>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { buffer: RefCell::new(vec![0; READ_BUFFER_BYTES]), scanner: Cell::default() }
    }
}

/// The session's task panicked.
pub(super) struct Panicked;

/// Serves one client until its connection ends.
pub(super) async fn serve(client: &Rc<Client>, reader: &Reader) -> Result<(), Panicked> {
    let mut task = Task { client, reader, kept: None, alarm: Alarm::default(), active_at: clock::now(), waited: false };
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| task.poll_turn(cx))).map_or(Poll::Ready(Err(Panicked)), |p| p.map(Ok))
    })
    .await?;
    if task.kept.as_ref().is_some_and(|kept| kept.faulty) {
        // Nobody writes to its socket any more.
        client.broken.set(true);
        // Boxed: a session's task should not have room for this from its beginning.
        Box::pin(linger(client)).await;
    }
    Ok(())
}

/// Says that no more will come, and reads on for a moment.
#[expect(clippy::await_holding_refcell_ref, reason = "the session is over: nobody else touches its socket")]
async fn linger(client: &Client) {
    let mut stream = client.stream.borrow_mut();
    let drained = async {
        stream.shutdown().await?;
        let (mut read, mut waste) = (0, [0; 4096]);
        while read < LINGER_BYTES {
            match tokio::io::AsyncReadExt::read(&mut *stream, &mut waste).await? {
                0 => break,
                bytes => read += bytes,
            }
        }
        io::Result::Ok(())
    };
    // Whatever comes of it, the connection is closed.
    let _ = tokio::time::timeout(LINGER, drained).await;
}

struct Task<'a> {
    client: &'a Rc<Client>,
    reader: &'a Reader,
    /// What was read and is not carried out.
    kept: Option<Box<Kept>>,
    alarm: Alarm,
    /// When something was read last, or replies were seen to be due.
    active_at: Instant,
    /// Whether replies were due when the time was looked at last.
    waited: bool,
}

/// Bytes of requests that have arrived in part, or have to wait.
struct Kept {
    bytes: BytesMut,
    scanner: RequestScanner,
    /// What the first request in there waits for, if it may be whole, and since when.
    waits: Option<(Wait, Instant)>,
    /// Since when the first request is incomplete.
    since: Instant,
    /// Whether these are no requests: the connection ends for it.
    faulty: bool,
}

impl Kept {
    fn waiting_for_room(bytes: &[u8], now: Instant) -> Self {
        let (scanner, waits) = (RequestScanner::default(), Some((Wait::Room, now)));
        Self { bytes: bytes.into(), scanner, waits, since: now, faulty: false }
    }
}

/// What a whole request may have to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// For room: fewer requests in flight, fewer unwritten bytes, an open gate.
    Room,
    /// For the replies to all requests before it.
    Answers,
}

/// How far a buffer was carried out.
enum Progress {
    /// All whole requests are; the rest is the beginning of one.
    Partial(usize),
    /// The request at this offset has to wait.
    Waits(usize, Wait),
    /// From here on it is no RESP.
    Faulty,
}

impl Task<'_> {
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.client.begin_turn(cx.waker());
        self.client.stalled.set(false);
        let now = clock::now();
        if self.client.work(now) {
            // A yield, not a mere wake: the runtime looks for the other sessions' events before the next step.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
        let ended = self.poll_io(cx, now);
        self.client.core.flush_dirty();
        if ended.is_ready() || self.client.broken.get() {
            return Poll::Ready(());
        }
        while self.alarm.poll(cx, now, self.deadline(now)) {
            let now = clock::now();
            if self.has_timed_out(now) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Moves bytes until there is nothing to do but wait; ready when the connection has ended.
    fn poll_io(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        loop {
            if self.client.broken.get() {
                return Poll::Ready(());
            }
            if self.client.is_blocked() && self.client.stream.borrow().poll_write_ready(cx).is_ready() {
                self.client.unblock();
                self.client.flush();
            }
            let takes_requests = {
                let session = self.client.session.borrow();
                if session.has_ended() {
                    return Poll::Ready(());
                }
                takes_requests(self.client, &session)
            };
            let waits = self.kept.as_ref().and_then(|kept| kept.waits);
            let unanswered = self.client.session.borrow().replies.in_flight() > 0;
            if !takes_requests || (matches!(waits, Some((Wait::Answers, _))) && unanswered) {
                self.client.stalled.set(true);
                let blocked = self.client.session.borrow().blocked.is_some();
                return if blocked { self.poll_hang_up(cx, now) } else { Poll::Pending };
            }
            if waits.is_some() {
                self.carry_out_kept(now);
                continue;
            }
            if self.client.session.borrow().ending != Ending::No {
                return Poll::Pending;
            }
            match ready!(self.poll_read(cx, now)) {
                Ok(0) => self.client.session.borrow_mut().ending = Ending::InputClosed,
                Ok(read) => {
                    self.active_at = now;
                    self.client.core.recorder.add(Counter::BytesIn, read as u64);
                    // What was answered on the spot leaves before more is read.
                    self.client.core.flush_dirty();
                }
                Err(_) => return Poll::Ready(()),
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<usize>> {
        let stream = &self.client.stream;
        if let Some(kept) = &mut self.kept {
            let missing = kept.scanner.declared().saturating_sub(kept.bytes.len());
            // At most doubled: a declared length is not believed before its bytes are there.
            let room = missing.clamp(PARTIAL_ROOM_MIN, kept.bytes.len().max(READ_BUFFER_BYTES));
            kept.bytes.reserve(room);
            let read = ready!(poll_read_buf(Pin::new(&mut *stream.borrow_mut()), cx, &mut kept.bytes))?;
            if read > 0 {
                self.carry_out_kept(now);
            }
            return Poll::Ready(Ok(read));
        }
        let mut buffer = self.reader.buffer.borrow_mut();
        let mut into = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut *stream.borrow_mut()).poll_read(cx, &mut into))?;
        let bytes = into.filled();
        let mut scanner = self.reader.scanner.take();
        match carry_out(self.client, &mut scanner, bytes, now, now) {
            Progress::Partial(at) if at == bytes.len() => self.reader.scanner.set(scanner),
            progress => self.keep(bytes, scanner, &progress, now),
        }
        Poll::Ready(Ok(bytes.len()))
    }

    /// A client that waits in a blocking command is still listened to, so that its going away is noticed: what it asks
    /// meanwhile is kept, up to one buffer. Ready when it has gone.
    fn poll_hang_up(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        while self.kept.as_ref().is_none_or(|kept| kept.bytes.len() < READ_BUFFER_BYTES) {
            let mut buffer = self.reader.buffer.borrow_mut();
            let mut into = ReadBuf::new(&mut buffer);
            let read = ready!(Pin::new(&mut *self.client.stream.borrow_mut()).poll_read(cx, &mut into));
            let bytes = into.filled();
            if read.is_err() || bytes.is_empty() {
                return Poll::Ready(());
            }
            self.active_at = now;
            self.client.core.recorder.add(Counter::BytesIn, bytes.len() as u64);
            match &mut self.kept {
                Some(kept) => {
                    kept.bytes.extend_from_slice(bytes);
                    kept.waits.get_or_insert((Wait::Room, now));
                }
                None => self.kept = Some(Box::new(Kept::waiting_for_room(bytes, now))),
            }
        }
        Poll::Pending
    }

    fn keep(&mut self, bytes: &[u8], scanner: RequestScanner, progress: &Progress, now: Instant) {
        let (rest, waits, faulty) = match *progress {
            Progress::Partial(at) => (&bytes[at..], None, false),
            Progress::Waits(at, wait) => (&bytes[at..], Some((wait, now)), false),
            Progress::Faulty => (&bytes[..0], None, true),
        };
        self.kept = Some(Box::new(Kept { bytes: rest.into(), scanner, waits, since: now, faulty }));
    }

    fn carry_out_kept(&mut self, now: Instant) {
        let Some(mut kept) = self.kept.take() else { return };
        // Waiting for answers is part of a request's budget; being slowed down is not.
        let arrived = match kept.waits {
            Some((Wait::Answers, since)) => since,
            _ => now,
        };
        match carry_out(self.client, &mut kept.scanner, &kept.bytes, arrived, now) {
            Progress::Partial(at) if at == kept.bytes.len() => {
                // The allocation of the arguments' places is worth keeping only where it is used again.
                self.reader.scanner.set(kept.scanner);
                return;
            }
            Progress::Partial(at) => {
                if at > 0 || kept.waits.is_some() {
                    kept.since = now;
                }
                kept.bytes.advance(at);
                kept.waits = None;
            }
            Progress::Waits(at, wait) => {
                kept.bytes.advance(at);
                // Where requests before it were answered meanwhile, its own time begins only now; the same silence is
                // not waited for twice.
                let same = at == 0 || self.client.session.borrow().timed_out;
                kept.waits = Some((wait, if wait == Wait::Answers && same { arrived } else { now }));
            }
            Progress::Faulty => {
                kept.bytes = BytesMut::new();
                (kept.waits, kept.faulty) = (None, true);
            }
        }
        self.kept = Some(kept);
    }

    /// When the task has to look at the time.
    fn deadline(&self, now: Instant) -> Option<Instant> {
        let limits = &self.client.core.settings.borrow().limits;
        let frame = self.begun_since().map(|since| since + limits.frame_timeout);
        // A client that waits for a reply is not idle; it is looked at again later.
        let waits = self.client.session.borrow().replies.in_flight() > 0;
        let idle_since = if waits || self.kept.is_some() { now } else { self.active_at };
        let idle = limits.idle_timeout.map(|timeout| idle_since + timeout);
        frame.into_iter().chain(idle).min()
    }

    /// Since when a request is incomplete.
    fn begun_since(&self) -> Option<Instant> {
        self.kept.as_ref().filter(|kept| kept.waits.is_none()).map(|kept| kept.since)
    }

    fn has_timed_out(&mut self, now: Instant) -> bool {
        let waits = self.client.session.borrow().replies.in_flight() > 0 || self.kept.is_some();
        if waits || std::mem::replace(&mut self.waited, waits) {
            // Its time as an idle client begins when the last reply was given, at the latest now.
            (self.active_at, self.waited) = (now, waits);
        }
        if self.deadline(now).is_none_or(|deadline| now < deadline) {
            return false;
        }
        let session = self.client.session.borrow();
        let limit = if self.begun_since().is_some() { Limit::FrameTimeout } else { Limit::IdleTimeout };
        self.client.core.recorder.limit(limit);
        tracing::debug!(client = session.id, "client closed: {limit:?}");
        true
    }
}

fn takes_requests(client: &Client, session: &Session) -> bool {
    let limits = &client.core.settings.borrow().limits;
    session.takes_requests(limits.pipeline_max, limits.output_bytes_pause)
}

/// Carries out the requests that the bytes begin with.
fn carry_out(
    client: &Rc<Client>,
    scanner: &mut RequestScanner,
    bytes: &[u8],
    arrived: Instant,
    now: Instant,
) -> Progress {
    let session = &mut *client.session.borrow_mut();
    let limits = client.core.settings.borrow().request_limits;
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let (length, handled) = match scanner.scan(rest, &limits) {
            Ok(Request::Partial) => return Progress::Partial(at),
            Ok(Request::Nothing(length)) => (length, Handled::Done),
            Ok(Request::Multibulk(length)) => {
                (length, flow::handle(client, session, scanner.arguments(&rest[..length]), arrived, now))
            }
            Ok(Request::Inline(length)) => match carry_out_inline(client, session, &rest[..length], arrived, now) {
                Ok(handled) => (length, handled),
                Err(error) => return refuse(client, session, &error),
            },
            Err(error) => return refuse(client, session, &error),
        };
        if handled == Handled::WaitUntilAnswered {
            return Progress::Waits(at, Wait::Answers);
        }
        at += length;
        if at < bytes.len() && !takes_requests(client, session) {
            let limits = &client.core.settings.borrow().limits;
            if session.replies.in_flight() >= limits.pipeline_max {
                client.core.recorder.limit(Limit::Pipeline);
            } else if session.replies.bytes() >= limits.output_bytes_pause {
                client.core.recorder.limit(Limit::OutputPause);
            }
            return Progress::Waits(at, Wait::Room);
        }
    }
}

/// A line that a person typed: becomes the request that it spells.
fn carry_out_inline(
    client: &Rc<Client>,
    session: &mut Session,
    line: &[u8],
    arrived: Instant,
    now: Instant,
) -> Result<Handled, ProtocolError> {
    let arguments = split_inline(line).map_err(|_| ProtocolError::UnbalancedQuotes)?;
    let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    let mut request = Vec::with_capacity(line.len() * 2);
    encode::command(&mut request, &slices);
    let mut scanner = RequestScanner::default();
    let limits = client.core.settings.borrow().request_limits;
    match scanner.scan(&request, &limits)? {
        Request::Multibulk(_) => Ok(flow::handle(client, session, scanner.arguments(&request), arrived, now)),
        Request::Inline(_) | Request::Nothing(_) | Request::Partial => Ok(Handled::Done),
    }
}

/// Says in Redis's words why the bytes are no request; the connection ends once that is written.
fn refuse(client: &Rc<Client>, session: &mut Session, error: &ProtocolError) -> Progress {
    client.core.recorder.add(Counter::ProtocolErrors, 1);
    match error {
        ProtocolError::InvalidMultibulkLength => client.core.recorder.limit(Limit::RequestArgs),
        ProtocolError::TooBigRequest | ProtocolError::TooBigInline | ProtocolError::InvalidBulkLength => {
            client.core.recorder.limit(Limit::RequestBytes);
        }
        _ => {}
    }
    client.say_error(session, &ReplyError::new(format!("ERR {error}")));
    session.ending = Ending::AfterReplies;
    Progress::Faulty
}
