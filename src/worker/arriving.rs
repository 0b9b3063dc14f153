//! A large request of a session that is passed on while it arrives.
//!
//! Guarantees: holds none of its bytes; knows where it ends, and by when its client has to send more of it. Leaves to
//! the flow where the bytes go, to the session's task reading them.

use crate::flow::{Client, Upload};
use crate::resp::{ProtocolError, ReplyError, RequestLimits, RequestTail};
use crate::session::Session;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What a client has to send of a large request within `limits.frame_timeout`, in bytes: a slow network is no drip.
const PROGRESS_BYTES_MIN: usize = 64 * 1024;

/// The request.
pub(super) struct Arriving {
    tail: RequestTail,
    upload: Upload,
    /// Since when its client owes more bytes; none while there is no room for them.
    owed_since: Option<Instant>,
    /// Bytes that came since then.
    came: usize,
}

impl Arriving {
    /// A request whose beginning, taken by the upload, is `begun`.
    pub(super) fn new(
        upload: Upload,
        begun: &[u8],
        limits: &RequestLimits,
        now: Instant,
    ) -> Result<Self, (Upload, ProtocolError)> {
        let mut tail = RequestTail::default();
        match tail.feed(begun, limits) {
            Ok(_) => Ok(Self { tail, upload, owed_since: Some(now), came: 0 }),
            Err(error) => Err((upload, error)),
        }
    }

    /// Ready when more of it can be read.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>, session: &Session, now: Instant) -> Poll<()> {
        let room = self.upload.poll_room(cx, session);
        if room.is_pending() {
            self.owed_since = None;
        } else if self.owed_since.is_none() {
            (self.owed_since, self.came) = (Some(now), 0);
        }
        room
    }

    /// Passes on what was read; returned is how many bytes end the request, if it ends there.
    pub(super) fn pass_on(
        &mut self,
        session: &Session,
        bytes: &[u8],
        limits: &RequestLimits,
        now: Instant,
    ) -> Result<Option<usize>, ProtocolError> {
        let end = self.tail.feed(bytes, limits)?;
        self.upload.append(session, &bytes[..end.unwrap_or(bytes.len())]);
        self.came += bytes.len();
        if self.came >= PROGRESS_BYTES_MIN {
            (self.owed_since, self.came) = (Some(now), 0);
        }
        Ok(end)
    }

    /// It is whole.
    pub(super) fn finish(self, client: &Rc<Client>, session: &mut Session, now: Instant) {
        self.upload.finish(client, session, now);
    }

    /// It is no request.
    pub(super) fn refuse(self, client: &Rc<Client>, session: &mut Session, error: &ReplyError) {
        self.upload.refuse(client, session, error);
    }

    /// The rest will not come.
    pub(super) fn abandon(self) {
        self.upload.abandon();
    }

    /// By when its client has to have sent more of it.
    pub(super) fn deadline(&self, frame_timeout: Duration) -> Option<Instant> {
        self.owed_since.map(|since| since + frame_timeout)
    }
}
