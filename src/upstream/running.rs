//! A lane's connection while it lives: what moves between the socket and the pipeline, and the time.
//!
//! Guarantees: one read buffer a connection, grown only for a reply that really comes and given back after it; what was
//! enqueued in a turn leaves in one write; a connection that makes no progress for `dead_after` with replies due is closed,
//! unless it is a client that keeps it waiting. Leaves pairing to `pipeline.rs`, large replies to `incoming.rs`, and what a
//! reply means to [`Replies`].

use super::lane::{Lane, STREAM_BUFFER_BYTES, Tenure, Upload};
use super::node::{Connection, Node};
use super::pipeline::Popped;
use super::{Failure, Replies};
use crate::alarm::Alarm;
use crate::clock;
use crate::metrics::{Counter, Gauge, Limit};
use crate::resp::{BadReply, ReplyScanner, ReplyTail};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a lane reads into, in bytes; also what it keeps between replies.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Room behind a partial reply below which it is moved to the front before the next read, in bytes.
const READ_ROOM_MIN: usize = 16 * 1024;

/// How many times a lane reads before it writes, looks at the time, and lets the sessions of its worker have their turn.
const READS_PER_TURN_MAX: usize = 16;

/// An output buffer that grew beyond this is given back once it is empty, in bytes.
const OUTPUT_KEEP_BYTES: usize = 1024 * 1024;

/// Bytes within `dead_after` that count as progress without a whole reply: a large value on its way, not a drip.
const PROGRESS_BYTES_MIN: u64 = 16 * 1024;

/// Who holds a lane that no session uses: the node's list, its task, and the task that watches over that one.
pub(super) const UNUSED_HOLDERS: usize = 3;

/// A reply that is handed over in pieces.
pub(super) struct Incoming<W> {
    /// Whose it is; none when nobody wants it any more.
    pub(super) answered: Option<Popped<W>>,
    pub(super) tail: ReplyTail,
}

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Its session has no more use for it.
    Released,
    /// The upstream closed it.
    Closed,
    Io(io::Error),
    /// No progress for `upstream.dead_after`.
    Silent,
    BadReply(BadReply),
    /// A reply that nobody asked for: the pairing is lost.
    UnexpectedReply,
    /// A reply larger than `upstream.reply_bytes_max`.
    TooLargeReply,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Released => f.write_str("released"),
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Silent => f.write_str("no answer within upstream.dead_after"),
            Self::BadReply(error) => write!(f, "what listens there does not speak RESP: {error}"),
            Self::UnexpectedReply => f.write_str("the server sent a reply that nothing had asked for"),
            Self::TooLargeReply => f.write_str("a reply larger than upstream.reply_bytes_max"),
        }
    }
}

/// A lane with a connection.
pub(super) struct Running<'a, R: Replies> {
    pub(super) node: &'a Rc<Node<R>>,
    pub(super) lane: &'a Rc<Lane<R::Waiter>>,
    connection: Connection,
    /// Bytes read; those from `start` to `end` were not consumed.
    pub(super) buffer: Vec<u8>,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) scanner: ReplyScanner,
    /// The oldest reply, while it is handed over in pieces; a tombstone stands for it in the pipeline.
    pub(super) incoming: Option<Incoming<R::Waiter>>,
    /// The note of the reply in hand; kept for its allocation.
    note: Vec<u8>,
    alarm: Alarm,
    pub(super) connected_at: Instant,
    /// Whether a session's request was answered.
    pub(super) served: bool,
    /// Since when there is no progress; bytes read since then.
    pub(super) quiet_since: Instant,
    pub(super) quiet_bytes: u64,
    /// Bytes of the reply that has arrived in part, as far as they came since the alarm went off last.
    pub(super) step_bytes: u64,
    /// Whether no reply was due at the end of the last turn.
    was_idle: bool,
    /// Whether it was a client that kept the upstream from answering, or us from reading, at the end of the last turn.
    was_excused: bool,
    /// Until when the replies behind a large one are not late.
    pub(super) excused_until: Instant,
    /// What this lane has added to the gauge of requests in flight.
    in_flight: i64,
}

impl<'a, R: Replies> Running<'a, R> {
    pub(super) fn new(node: &'a Rc<Node<R>>, lane: &'a Rc<Lane<R::Waiter>>, connection: Connection) -> Self {
        let now = clock::now();
        node.recorder.gauge(Gauge::UpstreamExclusive, i64::from(lane.tenure == Tenure::Exclusive));
        Self {
            node,
            lane,
            connection,
            buffer: vec![0; READ_BUFFER_BYTES],
            start: 0,
            end: 0,
            scanner: ReplyScanner::default(),
            incoming: None,
            note: Vec::new(),
            alarm: Alarm::default(),
            connected_at: now,
            served: false,
            quiet_since: now,
            quiet_bytes: 0,
            step_bytes: 0,
            was_idle: true,
            was_excused: false,
            excused_until: now,
            in_flight: 0,
        }
    }

    /// One turn: reads and hands over what came, writes what is to be sent, keeps the time.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        self.lane.begin_turn(cx.waker());
        let now = clock::now();
        if (self.was_idle || self.was_excused) && self.lane.has_requests() {
            (self.quiet_since, self.quiet_bytes) = (now, 0);
        }
        loop {
            if self.lane.is_dead() {
                return Poll::Ready(Ended::Released);
            }
            if let Poll::Ready(ended) = self.poll_read(cx, now) {
                return Poll::Ready(ended);
            }
            if let Err(error) = self.poll_write(cx, now) {
                return Poll::Ready(Ended::Io(error));
            }
            self.report_in_flight();
            if self.was_idle && self.lane.is_retired() {
                return Poll::Ready(Ended::Released);
            }
            if !self.alarm.poll(cx, now, self.next_timeout()) {
                return Poll::Pending;
            }
            let now = clock::now();
            self.grant_step(now);
            expire(self.node, self.lane, now);
            if self.is_unused(now) {
                match self.lane.tenure {
                    Tenure::Shared => self.node.forget(self.lane),
                    Tenure::Exclusive => self.node.forget_idle(self.lane),
                }
                return Poll::Ready(Ended::Released);
            }
            if self.is_far_behind(now) {
                self.node.recorder.add(Counter::UpstreamDeadConnections, 1);
                return Poll::Ready(Ended::Silent);
            }
            if self.dead_at().is_some_and(|dead_at| now >= dead_at) {
                if self.quiet_bytes < PROGRESS_BYTES_MIN {
                    self.node.recorder.add(Counter::UpstreamDeadConnections, 1);
                    return Poll::Ready(Ended::Silent);
                }
                (self.quiet_since, self.quiet_bytes) = (now, 0);
            }
        }
    }

    /// A large reply that keeps coming has the budget for each of its steps, not for the whole.
    fn grant_step(&mut self, now: Instant) {
        if self.end > self.start && self.step_bytes >= PROGRESS_BYTES_MIN {
            self.lane.queue.borrow_mut().pipeline.extend_first(now + self.node.options.timeout);
        }
        self.step_bytes = 0;
    }

    fn report_in_flight(&mut self) {
        let (in_flight, waits_for_client) = {
            let queue = &mut *self.lane.queue.borrow_mut();
            if queue.pipeline.is_empty() {
                queue.pipeline.shrink();
            }
            (queue.pipeline.len(), queue.waits_for_client())
        };
        self.was_idle = in_flight == 0;
        self.was_excused = waits_for_client || self.lane.paused.get();
        let in_flight = i64::try_from(in_flight).unwrap_or(i64::MAX);
        self.node.recorder.gauge(Gauge::UpstreamInFlight, in_flight - self.in_flight);
        self.in_flight = in_flight;
    }

    /// Whether the oldest reply is so late that those behind it can't be in time: the server answers, but too slowly.
    fn is_far_behind(&self, now: Instant) -> bool {
        if self.was_excused {
            return false;
        }
        let oldest = self.lane.queue.borrow().pipeline.oldest_deadline();
        oldest.is_some_and(|oldest| now >= oldest.max(self.excused_until) + self.node.options.dead_after)
    }

    /// Whether a shared lane beside the main one, or a pooled one, has had nothing to do for a while and has no session.
    fn is_unused(&mut self, now: Instant) -> bool {
        if !self.was_idle || !self.is_spare() || now < self.quiet_since + self.node.options.idle_timeout {
            return false;
        }
        let unused = match self.lane.tenure {
            Tenure::Shared => Rc::strong_count(self.lane) <= UNUSED_HOLDERS,
            Tenure::Exclusive => self.lane.is_pooled(),
        };
        // Looked at again after as long a while.
        self.quiet_since = now;
        unused
    }

    /// When a connection without progress is given up. On a session's own one not before the oldest request, which may
    /// be one that waits in the server, was to be answered.
    #[inline]
    fn dead_at(&self) -> Option<Instant> {
        let dead_at = self.quiet_since + self.node.options.dead_after;
        match self.lane.tenure {
            _ if self.was_idle || self.was_excused => None,
            Tenure::Shared => Some(dead_at),
            Tenure::Exclusive => self.lane.queue.borrow().pipeline.oldest_deadline().map(|oldest| oldest.max(dead_at)),
        }
    }

    fn is_spare(&self) -> bool {
        match self.lane.tenure {
            Tenure::Shared => self.lane.key != self.node.main_key(),
            Tenure::Exclusive => self.lane.is_pooled(),
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let deadline = self.lane.queue.borrow().pipeline.poll_timeout();
        let dead = self.dead_at();
        let unused = (self.was_idle && self.is_spare()).then(|| self.quiet_since + self.node.options.idle_timeout);
        deadline.into_iter().chain(dead).chain(unused).min()
    }

    /// Reads until the socket has no more, or others should have their turn; ready when the connection has ended.
    fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Ended> {
        for _ in 0..READS_PER_TURN_MAX {
            if self.incoming.is_some() && self.is_paused() {
                return Poll::Pending;
            }
            if let Err(ended) = self.make_room() {
                return Poll::Ready(ended);
            }
            let mut into = ReadBuf::new(&mut self.buffer[self.end..]);
            if let Err(error) = ready!(Pin::new(&mut self.connection.stream).poll_read(cx, &mut into)) {
                return Poll::Ready(Ended::Io(error));
            }
            let read = into.filled().len();
            if read == 0 {
                return Poll::Ready(Ended::Closed);
            }
            self.end += read;
            self.quiet_bytes += read as u64;
            self.step_bytes += read as u64;
            self.node.recorder.add(Counter::UpstreamBytesIn, read as u64);
            let consumed = self.consume(now);
            self.node.replies.turn_ended(now);
            if let Err(ended) = consumed {
                return Poll::Ready(ended);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands over every whole reply in the buffer.
    fn consume(&mut self, now: Instant) -> Result<(), Ended> {
        let before = self.start;
        while self.start < self.end {
            if self.incoming.is_some() {
                if !self.pass_on(now)? {
                    return Ok(());
                }
                continue;
            }
            let unread = &self.buffer[self.start..self.end];
            let Some(length) = self.scanner.scan(unread).map_err(Ended::BadReply)? else {
                if self.is_large() && self.begin_incoming() {
                    continue;
                }
                break;
            };
            let frame = &unread[..length];
            self.start += length;
            if self.lane.has_listener() && self.node.replies.push(self.lane, frame) {
                continue;
            }
            if frame[0] == b'>' && !self.lane.has_listener() {
                // A push is no reply; nothing on these lanes asks for one.
                continue;
            }
            let popped = self.lane.queue.borrow_mut().pipeline.pop(&mut self.note);
            match popped {
                Some(Some(answered)) => {
                    if !self.served {
                        self.served = true;
                        self.node.on_served();
                    }
                    self.node.replies.reply(self.lane, answered, &self.note, frame, now);
                }
                Some(None) => self.node.recorder.add(Counter::UpstreamLateReplies, 1),
                None => {
                    self.node.recorder.add(Counter::UpstreamReplyMismatches, 1);
                    return Err(Ended::UnexpectedReply);
                }
            }
        }
        if self.start > before {
            // What belongs to replies that are whole is no progress of the one behind them.
            self.step_bytes = self.step_bytes.min((self.end - self.start) as u64);
            (self.quiet_since, self.quiet_bytes) = (now, 0);
        }
        Ok(())
    }

    /// Makes room behind the bytes that were not consumed.
    fn make_room(&mut self) -> Result<(), Ended> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > READ_BUFFER_BYTES {
                self.buffer = vec![0; READ_BUFFER_BYTES];
            }
            return Ok(());
        }
        if self.buffer.len() - self.end >= READ_ROOM_MIN {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() - self.end >= READ_ROOM_MIN {
            return Ok(());
        }
        if self.end > self.node.options.reply_bytes_max {
            self.node.recorder.limit(Limit::ReplyBytes);
            return Err(Ended::TooLargeReply);
        }
        // Doubled as bytes arrive, never to what is only declared; rounded up to the declared length near its end.
        let doubled = self.buffer.len() * 2;
        let declared = self.scanner.declared();
        let size = if (doubled / 2..doubled).contains(&declared) { declared + READ_ROOM_MIN } else { doubled };
        self.buffer.resize(size, 0);
        Ok(())
    }

    /// Writes what is to be sent, as far as the socket takes it.
    fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> io::Result<()> {
        let queue = &mut *self.lane.queue.borrow_mut();
        let sent_before = queue.sent;
        while queue.start < queue.out.len() {
            match Pin::new(&mut self.connection.stream).poll_write(cx, &queue.out[queue.start..]) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    queue.start += written;
                    queue.sent += written as u64;
                    // A large request on its way is progress as well.
                    self.quiet_bytes += written as u64;
                    self.node.recorder.add(Counter::UpstreamBytesOut, written as u64);
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        if queue.upload != Upload::No {
            if queue.sent > sent_before {
                queue.pipeline.extend_last(now + self.node.options.timeout);
            }
            if queue.unsent() < STREAM_BUFFER_BYTES / 2 {
                self.lane.wake_sender();
            }
            if queue.upload == Upload::Whole && queue.unsent() == 0 {
                queue.upload = Upload::No;
            }
        }
        if queue.start == queue.out.len() {
            // TLS may hold back what the socket did not take; the socket's readiness brings us here again.
            if let Poll::Ready(Err(error)) = Pin::new(&mut self.connection.stream).poll_flush(cx) {
                return Err(error);
            }
            queue.start = 0;
            queue.out.clear();
            if queue.out.capacity() > OUTPUT_KEEP_BYTES {
                queue.out = Vec::new();
            }
        } else if queue.start > queue.out.len() / 2 {
            queue.out.drain(..queue.start);
            queue.start = 0;
        }
        Ok(())
    }
}

impl<R: Replies> Drop for Running<'_, R> {
    fn drop(&mut self) {
        self.lane.paused.set(false);
        if let Some(answered) = self.incoming.take().and_then(|incoming| incoming.answered) {
            self.node.replies.cut(answered.waiter);
        }
        self.node.recorder.gauge(Gauge::UpstreamInFlight, -self.in_flight);
        self.node.recorder.gauge(Gauge::UpstreamExclusive, -i64::from(self.lane.tenure == Tenure::Exclusive));
    }
}

/// Tells the requests of a lane whose time is up.
pub(super) fn expire<R: Replies>(node: &Node<R>, lane: &Lane<R::Waiter>, now: Instant) {
    let mut expired = Vec::new();
    {
        let queue = &mut *lane.queue.borrow_mut();
        let next = now + node.options.timeout;
        if queue.upload == Upload::Open && queue.unsent() == 0 {
            // It is for the client to send more.
            queue.pipeline.extend_last(next);
        }
        let excused = |waiter: &_| node.replies.is_held_up_by_itself(waiter).then_some(next);
        queue.pipeline.expire(now, excused, |popped| expired.push(popped));
    }
    node.recorder.add(Counter::UpstreamTimeouts, expired.len() as u64);
    tell(node, expired, &Failure::TimedOut);
}

/// Tells those who wait that there will be no reply.
pub(super) fn tell<R: Replies>(node: &Node<R>, waiters: Vec<Popped<R::Waiter>>, failure: &Failure) {
    if waiters.is_empty() {
        return;
    }
    let now = clock::now();
    for Popped { waiter, deadline } in waiters {
        node.replies.failed(waiter, deadline, failure, now);
    }
    node.replies.turn_ended(now);
}
