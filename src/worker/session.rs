//! The task of one session: reads requests, offers them to the flow, writes what the socket did not take at once.
//!
//! Guarantees: reads into one buffer that all sessions of the worker share; a session holds memory of its own only
//! while a request has arrived in part, or waits; a large one that is only forwarded goes on as it comes. It stops
//! reading, and so slows the client down, while too much is in flight or unwritten. A request that was begun has to be
//! finished in time, and what waits for the client has to be taken. A panic is this session's alone.

use super::arriving::Arriving;
use crate::alarm::Alarm;
use crate::clock;
use crate::flow::{self, Begun, Client, Handled, Settings};
use crate::metrics::{Counter, Limit};
use crate::resp::{ProtocolError, ReplyError, Request, RequestScanner, encode, split_inline};
use crate::session::{Ending, Session};
use crate::upstream::STREAM_BYTES_MIN;
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

/// After how many requests of one turn the time is looked at anew: what is answered here may end by its time.
const REQUESTS_PER_LOOK: u32 = 64;

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
    let mut task = Task {
        client,
        reader,
        kept: None,
        arriving: None,
        alarm: Alarm::default(),
        active_at: clock::now(),
        waited: false,
        blocked_since: None,
        time: None,
    };
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
    /// A large request that is passed on as it arrives; nothing is kept meanwhile.
    arriving: Option<Box<Arriving>>,
    alarm: Alarm,
    /// When something was read last, or replies were seen to be due.
    active_at: Instant,
    /// Whether replies were due when the time was looked at last.
    waited: bool,
    /// Since when the client's socket takes nothing.
    blocked_since: Option<Instant>,
    /// The time, if it was looked at since anything was read last: what has just come must not be carried out at a time
    /// before that, when what the near cache has may still have been true.
    time: Option<Instant>,
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
    /// What is no request: nothing of it is kept.
    fn faulty(now: Instant) -> Self {
        Self { bytes: BytesMut::new(), scanner: RequestScanner::default(), waits: None, since: now, faulty: true }
    }

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
        self.time = None;
        if self.client.work() {
            // A yield, not a mere wake: the runtime looks for the other sessions' events before the next step.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
        let ended = self.poll_io(cx);
        if !self.client.stalled.get() {
            self.client.set_insists(false);
        }
        self.client.core.flush_dirty();
        if ended.is_ready() || self.client.broken.get() {
            return Poll::Ready(());
        }
        let now = self.now();
        if self.client.is_blocked() {
            self.blocked_since.get_or_insert(now);
        }
        while self.alarm.poll(cx, now, self.deadline(now)) {
            let now = clock::now();
            if self.has_timed_out(now) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// The time of this turn.
    fn now(&mut self) -> Instant {
        *self.time.get_or_insert_with(clock::now)
    }

    /// The time at which something was read.
    fn read_at(&mut self) -> Instant {
        self.time = None;
        self.now()
    }

    /// Moves bytes until there is nothing to do but wait; ready when the connection has ended.
    fn poll_io(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.client.broken.get() {
                return Poll::Ready(());
            }
            if self.client.is_blocked() && self.client.stream.borrow().poll_write_ready(cx).is_ready() {
                self.client.unblock();
                self.blocked_since = None;
                self.client.flush();
            }
            let takes_requests = {
                let session = self.client.session.borrow();
                if session.has_ended() {
                    return Poll::Ready(());
                }
                takes_requests(self.client, &session)
            };
            if self.arriving.is_some() {
                // What was begun is ended, also while the session is.
                ready!(self.poll_room(cx));
            } else {
                let waits = self.kept.as_ref().and_then(|kept| kept.waits);
                let unanswered = self.client.session.borrow().replies.in_flight() > 0;
                if !takes_requests || (matches!(waits, Some((Wait::Answers, _))) && unanswered) {
                    self.client.stalled.set(true);
                    if self.client.is_receiving() {
                        self.client.set_insists(self.has_input(cx));
                    }
                    let blocks = self.client.session.borrow().blocks;
                    return if blocks { self.poll_hang_up(cx) } else { Poll::Pending };
                }
                if waits.is_some() {
                    let now = self.now();
                    self.carry_out_kept(now);
                    continue;
                }
                if self.client.session.borrow().ending != Ending::No {
                    return Poll::Pending;
                }
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) => {
                    self.client.session.borrow_mut().ending = Ending::InputClosed;
                    if let Some(arriving) = self.arriving.take() {
                        arriving.abandon();
                    }
                }
                Ok(read) => {
                    self.active_at = self.now();
                    self.client.core.recorder.add(Counter::BytesIn, read as u64);
                    // What was answered on the spot leaves before more is read.
                    self.client.core.flush_dirty();
                }
                Err(_) => return Poll::Ready(()),
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = &self.client.stream;
        if let Some(kept) = &mut self.kept {
            let missing = kept.scanner.declared().saturating_sub(kept.bytes.len());
            // At most doubled: a declared length is not believed before its bytes are there.
            let room = missing.clamp(PARTIAL_ROOM_MIN, kept.bytes.len().max(READ_BUFFER_BYTES));
            kept.bytes.reserve(room);
            let read = ready!(poll_read_buf(Pin::new(&mut *stream.borrow_mut()), cx, &mut kept.bytes))?;
            if read > 0 {
                let now = self.read_at();
                self.carry_out_kept(now);
            }
            return Poll::Ready(Ok(read));
        }
        let mut buffer = self.reader.buffer.borrow_mut();
        let mut into = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut *stream.borrow_mut()).poll_read(cx, &mut into))?;
        let bytes = into.filled();
        let now = self.read_at();
        let behind = if self.arriving.is_some() { self.pass_on(bytes, now) } else { 0 };
        if behind < bytes.len() {
            let bytes = &bytes[behind..];
            let mut scanner = self.reader.scanner.take();
            match carry_out(self.client, &mut scanner, bytes, now, now) {
                Progress::Partial(at) if at == bytes.len() => self.reader.scanner.set(scanner),
                progress => {
                    self.keep(bytes, scanner, &progress, now);
                    self.begin_large(now, now);
                }
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    /// Whether the client has sent what was not read; where it has not, the task is woken once it does.
    fn has_input(&self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0; 1];
        let peeked = self.client.stream.borrow().poll_peek(cx, &mut ReadBuf::new(&mut byte));
        matches!(peeked, Poll::Ready(Ok(bytes)) if bytes > 0)
    }

    /// Waits until more of a large request can be passed on.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.now();
        let Some(arriving) = &mut self.arriving else { return Poll::Ready(()) };
        let room = arriving.poll_room(cx, &self.client.session.borrow(), now);
        // Its reply, should it come before there is room, is a reason to go on as well.
        self.client.stalled.set(room.is_pending());
        room
    }

    /// Passes on what was read of a large request; returned is how many of the bytes belong to it.
    fn pass_on(&mut self, bytes: &[u8], now: Instant) -> usize {
        let Some(mut arriving) = self.arriving.take() else { return 0 };
        let session = &mut *self.client.session.borrow_mut();
        let limits = self.client.core.settings.borrow().request_limits;
        match arriving.pass_on(session, bytes, &limits, now) {
            Ok(Some(length)) => {
                arriving.finish(self.client, session, now);
                return length;
            }
            Ok(None) => self.arriving = Some(arriving),
            Err(error) => {
                let words = refusal(self.client, session, &error);
                arriving.refuse(self.client, session, &words);
                self.kept = Some(Box::new(Kept::faulty(now)));
            }
        }
        bytes.len()
    }

    /// Where what is kept is the beginning of a large request that can be passed on: begins to.
    fn begin_large(&mut self, arrived: Instant, now: Instant) {
        let Some(kept) = self.kept.as_mut().filter(|kept| kept.waits.is_none() && !kept.faulty) else { return };
        let declared = kept.scanner.declared();
        if declared == 0 || declared.max(kept.bytes.len()) <= STREAM_BYTES_MIN {
            return;
        }
        let session = &mut *self.client.session.borrow_mut();
        let (begun, argument) = (kept.scanner.arguments(&kept.bytes), kept.scanner.partial_argument_bytes());
        let upload = match flow::begin(self.client, session, begun, argument, arrived, now) {
            Begun::Held => return,
            Begun::WaitUntilAnswered => {
                self.client.held_up.set(false);
                kept.waits = Some((Wait::Answers, now));
                return;
            }
            Begun::Upload(upload) => upload,
        };
        let limits = self.client.core.settings.borrow().request_limits;
        match Arriving::new(upload, &kept.bytes, &limits, now) {
            Ok(arriving) => {
                self.kept = None;
                self.arriving = Some(Box::new(arriving));
            }
            // The scanner has found no fault in the same bytes.
            Err((upload, error)) => {
                let words = refusal(self.client, session, &error);
                upload.refuse(self.client, session, &words);
                **kept = Kept::faulty(now);
            }
        }
    }

    /// A client that waits in a blocking command is still listened to, so that its going away is noticed: what it asks
    /// meanwhile is kept, up to one buffer. Ready when it has gone.
    fn poll_hang_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.kept.as_ref().is_none_or(|kept| kept.bytes.len() < READ_BUFFER_BYTES) {
            let mut buffer = self.reader.buffer.borrow_mut();
            let mut into = ReadBuf::new(&mut buffer);
            let read = ready!(Pin::new(&mut *self.client.stream.borrow_mut()).poll_read(cx, &mut into));
            let bytes = into.filled();
            if read.is_err() || bytes.is_empty() {
                return Poll::Ready(());
            }
            let now = self.now();
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
        self.client.held_up.set(false);
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
            // Nor is having been slow oneself to take a reply.
            Some((Wait::Answers, since)) if !self.client.held_up.take() => since,
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
                self.kept = Some(kept);
                // The same silence is not waited for twice.
                let timed_out = self.client.session.borrow().timed_out;
                return self.begin_large(if timed_out { arrived } else { now }, now);
            }
            Progress::Waits(at, wait) => {
                kept.bytes.advance(at);
                // Where requests before it were answered meanwhile, its own time begins only now; the same silence is
                // not waited for twice.
                let same = at == 0 || self.client.session.borrow().timed_out;
                kept.waits = Some((wait, if wait == Wait::Answers && same { arrived } else { now }));
                self.client.held_up.set(false);
            }
            Progress::Faulty => *kept = Kept::faulty(now),
        }
        self.kept = Some(kept);
    }

    /// When the task has to look at the time.
    fn deadline(&self, now: Instant) -> Option<Instant> {
        // Most sessions, most of the time.
        let is_bound = self.kept.is_some() || self.arriving.is_some() || self.blocked_since.is_some();
        if !is_bound && self.client.core.settings.borrow().limits.idle_timeout.is_none() {
            return None;
        }
        self.deadlines(now).into_iter().filter_map(|(_, deadline)| deadline).min()
    }

    /// When the client will have been too slow, and over what.
    fn deadlines(&self, now: Instant) -> [(Limit, Option<Instant>); 3] {
        let limits = &self.client.core.settings.borrow().limits;
        let frame = match &self.arriving {
            Some(arriving) => arriving.deadline(limits.frame_timeout),
            None => {
                let begun = self.kept.as_ref().filter(|kept| kept.waits.is_none());
                begun.map(|kept| kept.since + limits.frame_timeout)
            }
        };
        // A client that waits for a reply is not idle; it is looked at again later.
        let idle_since = if self.is_waiting() { now } else { self.active_at };
        let idle = limits.idle_timeout.map(|timeout| idle_since + timeout);
        let write = self.blocked_since.map(|since| since + limits.write_timeout);
        [(Limit::FrameTimeout, frame), (Limit::WriteTimeout, write), (Limit::IdleTimeout, idle)]
    }

    /// Whether the client waits for us, or we for the rest of what it has begun.
    fn is_waiting(&self) -> bool {
        self.client.session.borrow().replies.in_flight() > 0 || self.kept.is_some() || self.arriving.is_some()
    }

    fn has_timed_out(&mut self, now: Instant) -> bool {
        let waits = self.is_waiting();
        if waits || std::mem::replace(&mut self.waited, waits) {
            // Its time as an idle client begins when the last reply was given, at the latest now.
            (self.active_at, self.waited) = (now, waits);
        }
        let due =
            self.deadlines(now).into_iter().find(|(_, deadline)| deadline.is_some_and(|deadline| deadline <= now));
        let Some((limit, _)) = due else { return false };
        if limit == Limit::WriteTimeout && self.client.takes_a_byte() {
            self.blocked_since = Some(now);
            return false;
        }
        let session = self.client.session.borrow();
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
    // What holds for all of them is looked up once.
    let settings = Rc::clone(&client.core.settings.borrow());
    let deadline = arrived + settings.timeout;
    let (mut at, mut now, mut requests) = (0, now, 0_u32);
    loop {
        requests = requests.wrapping_add(1);
        if requests.is_multiple_of(REQUESTS_PER_LOOK) {
            now = clock::now();
        }
        let rest = &bytes[at..];
        let (length, handled) = match scanner.scan(rest, &settings.request_limits) {
            Ok(Request::Partial) => return Progress::Partial(at),
            Ok(Request::Nothing(length)) => (length, Handled::Done),
            Ok(Request::Multibulk(length)) => {
                let request = scanner.arguments(&rest[..length]);
                (length, flow::handle(client, session, &settings, request, deadline, now))
            }
            Ok(Request::Inline(length)) => {
                match carry_out_inline(client, session, &settings, &rest[..length], deadline, now) {
                    Ok(handled) => (length, handled),
                    Err(error) => return refuse(client, session, &error),
                }
            }
            Err(error) => return refuse(client, session, &error),
        };
        if handled == Handled::WaitUntilAnswered {
            return Progress::Waits(at, Wait::Answers);
        }
        at += length;
        let limits = &settings.limits;
        if at < bytes.len() && !session.takes_requests(limits.pipeline_max, limits.output_bytes_pause) {
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
    settings: &Settings,
    line: &[u8],
    deadline: Instant,
    now: Instant,
) -> Result<Handled, ProtocolError> {
    let arguments = split_inline(line).map_err(|_| ProtocolError::UnbalancedQuotes)?;
    let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    let mut request = Vec::with_capacity(line.len() * 2);
    encode::command(&mut request, &slices);
    let mut scanner = RequestScanner::default();
    match scanner.scan(&request, &settings.request_limits)? {
        Request::Multibulk(_) => {
            Ok(flow::handle(client, session, settings, scanner.arguments(&request), deadline, now))
        }
        Request::Inline(_) | Request::Nothing(_) | Request::Partial => Ok(Handled::Done),
    }
}

/// Says in Redis's words why the bytes are no request; the connection ends once that is written.
fn refuse(client: &Rc<Client>, session: &mut Session, error: &ProtocolError) -> Progress {
    let words = refusal(client, session, error);
    client.say_error(session, &words);
    Progress::Faulty
}

/// Counts bytes that are no request, ends the session for them, and returns what it is to be told.
fn refusal(client: &Client, session: &mut Session, error: &ProtocolError) -> ReplyError {
    client.core.recorder.add(Counter::ProtocolErrors, 1);
    match error {
        ProtocolError::InvalidMultibulkLength => client.core.recorder.limit(Limit::RequestArgs),
        ProtocolError::TooBigRequest | ProtocolError::TooBigInline | ProtocolError::InvalidBulkLength => {
            client.core.recorder.limit(Limit::RequestBytes);
        }
        _ => {}
    }
    session.ending = Ending::AfterReplies;
    ReplyError::new(format!("ERR {error}"))
}
