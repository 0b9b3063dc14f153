//! Large requests and replies, passed on while they arrive, but for values that the near cache is to keep.
//!
//! Guarantees: of a request that is only forwarded, or of its reply, no more is held than [`STREAM_BUFFER_BYTES`] each
//! way, however large it is and however slow the other end (but for a client that writes and does not read: of its
//! replies as much is held as `limits.output_bytes_pause` says, since it may be about to read); it has a budget for
//! each step, not for the whole; nobody else waits behind it. A request whose upstream goes away is still read to its
//! end, and answered nil in its place; a reply that can't be finished ends its client's connection. Leaves the bytes'
//! boundaries to `resp`, reading to the session's task and the lane's.
//!
//! ```text
//!   request   session's task ──begin / append / finish──▶ exclusive lane        full lane: the client is not read
//!   reply     lane's task ──takes_parts / part / last_part──▶ reply queue       full client: the lane is not read
//! ```

use super::call::Call;
use super::client::Receiving;
use super::step::{Step, To, Waiter, unreachable_frame};
use super::tell::{self, Tell};
use super::transaction::{self, Member};
use super::{Client, Route, exclusive, lane_key};
use crate::command::{self, Command, Fca, Kind};
use crate::metrics::{Family, Limit, Outcome};
use crate::near_cache::Written;
use crate::resp::{Arguments, ReplyError, encode};
use crate::session::{Mode, Session, Shape, Slot};
use crate::upstream::{Lane, Popped, Room, STREAM_BUFFER_BYTES};
use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What an argument of the FCA family may exceed its bound by and still be held, for the words of the error to be
/// found as for any other: its header, its line end.
const ARGUMENT_SLACK_BYTES: usize = 64;

/// How much of one reply passes over a lane that others share.
const SHARED_REPLY_BYTES_MAX: usize = 1024 * 1024;

/// For how many reads after a reply for which a lane was retired a session is kept off the shared lanes.
const READS_APART: u8 = 32;

/// What is to be done with a request that has arrived in part.
pub enum Begun {
    /// Hold it until it is whole.
    Held,
    /// Offer it again once everything before it is answered.
    WaitUntilAnswered,
    /// What there is of it was taken; the rest goes to the upload.
    Upload(Upload),
}

/// A request that is passed on, or thrown away, while it arrives.
pub struct Upload(Target);

enum Target {
    /// To this lane, as long as its reply is due.
    Lane { lane: Rc<Lane<Waiter>>, slot: Slot },
    /// Nowhere: it is answered so once it is whole.
    Nowhere { answer: Answer, family: Family },
}

/// How a request is answered that was thrown away.
enum Answer {
    /// It was, when its upstream went away.
    Given,
    /// As every command whose upstream is gone.
    Unreachable,
    /// As one in a transaction whose upstream is gone.
    Queued,
    /// With an error.
    Rejected(ReplyError),
}

/// Decides on a request of which `begun` is there and of whose last argument so many bytes were declared.
pub fn begin(
    client: &Rc<Client>,
    session: &mut Session,
    begun: Arguments<'_>,
    argument_bytes: usize,
    arrived: Instant,
    now: Instant,
) -> Begun {
    let settings = Rc::clone(&client.core.settings.borrow());
    // A name as long as this is none that is known.
    let command = command::find(begun.at(0).unwrap_or_default());
    let family = command.map_or(Family::Other, |command| command.family);
    let nowhere = |answer| Begun::Upload(Upload(Target::Nowhere { answer, family }));
    if matches!(&*client.route.borrow(), Route::Embedded(_)) {
        return Begun::Held;
    }
    match command {
        Some(Command { kind: Kind::Fca(which), .. }) => {
            return match too_long(client, *which, argument_bytes) {
                Some(error) => nowhere(Answer::Rejected(error)),
                None => Begun::Held,
            };
        }
        Some(command) if command.kind != Kind::Forward => return Begun::Held,
        None if begun.at(0).is_some_and(command::is_http) => return Begun::Held,
        // Who has no use for one reply can hold its request.
        _ if session.modes.has(Mode::ReplySkip) => return Begun::Held,
        Some(_) | None => {}
    }
    if session.replies.in_flight() > 0 {
        return Begun::WaitUntilAnswered;
    }
    let deadline = arrived + settings.timeout;
    exclusive::mind(client, session);
    session.last_command = command.map_or("NULL", |command| command.name);
    let queueing = session.transaction.is_queueing();
    let is_hopeless = deadline <= now || (queueing && session.transaction.is_lost());
    let lane = if is_hopeless { None } else { exclusive::own(client, session, &client.route.borrow()) };
    let Some(lane) = lane else {
        if queueing {
            transaction::lose(client, session);
        }
        return nowhere(if queueing { Answer::Queued } else { Answer::Unreachable });
    };
    if queueing {
        session.transaction.queue(Shape::One);
    }
    let slot = session.replies.open();
    // Of what it writes, that much is known which has arrived.
    let step = match tell::written_by_part(client, command, begun) {
        written if queueing => {
            transaction::queue_write(client, written);
            Member::Queued.into()
        }
        Written::Nothing => Step::Forward,
        written => {
            session.untold += 1;
            Tell::Change(written).into()
        }
    };
    let waiter = Waiter { client: Rc::clone(client), to: To::Slot(slot), step, family };
    lane.begin(deadline, waiter, begun.bytes());
    Begun::Upload(Upload(Target::Lane { lane, slot }))
}

/// Why an FCA command with an argument of so many bytes can't be carried out, whatever else it says.
fn too_long(client: &Client, which: Fca, argument_bytes: usize) -> Option<ReplyError> {
    let limits = &client.core.settings.borrow().limits;
    let (value, query) = (limits.value_bytes_max, limits.query_bytes_max);
    if argument_bytes <= value.max(query) + ARGUMENT_SLACK_BYTES {
        return None;
    }
    let (limit, text) = match which {
        Fca::Set | Fca::Mset => {
            (Limit::ValueBytes, format!("ERR value exceeds limits.value_bytes_max ({value} bytes)"))
        }
        _ => (Limit::QueryBytes, format!("ERR query exceeds limits.query_bytes_max ({query} bytes)")),
    };
    client.core.recorder.limit(limit);
    Some(ReplyError::new(text))
}

impl Upload {
    /// Ready when the next piece can be taken.
    pub fn poll_room(&self, cx: &mut Context<'_>, session: &Session) -> Poll<()> {
        match &self.0 {
            Target::Lane { lane, slot, .. } if session.replies.is_due(*slot) => lane.poll_room(cx),
            _ => Poll::Ready(()),
        }
    }

    /// Takes the next piece.
    pub fn append(&mut self, session: &Session, piece: &[u8]) {
        self.mind_reply(session);
        if let Target::Lane { lane, .. } = &self.0 {
            lane.append(piece);
        }
    }

    /// The request is whole.
    pub fn finish(mut self, client: &Rc<Client>, session: &mut Session, now: Instant) {
        self.mind_reply(session);
        let (answer, family) = match self.0 {
            Target::Lane { lane, .. } => return lane.finish(now + client.core.settings.borrow().timeout),
            Target::Nowhere { answer, family } => (answer, family),
        };
        let say = |session: &mut Session, outcome, write: &dyn Fn(&mut Vec<u8>)| {
            client.core.recorder.request(family, outcome, Duration::ZERO);
            client.say(session, write);
        };
        match answer {
            Answer::Given => {}
            Answer::Unreachable => {
                let frame = unreachable_frame(client, session.protocol);
                say(session, Outcome::Unreachable, &|out| out.extend_from_slice(frame));
            }
            Answer::Queued => say(session, Outcome::Unreachable, &|out| encode::simple(out, "QUEUED")),
            Answer::Rejected(error) => {
                session.transaction.abort();
                say(session, Outcome::Rejected, &|out| error.append_to(out));
            }
        }
    }

    /// The rest is no RESP: that is what the request is answered.
    pub fn refuse(self, client: &Rc<Client>, session: &mut Session, error: &ReplyError) {
        match self.0 {
            Target::Lane { lane, slot, .. } if session.replies.is_due(slot) => {
                let mut frame = Vec::new();
                error.append_to(&mut frame);
                client.fill(session, slot, &frame);
                lane.end();
            }
            _ => client.say_error(session, error),
        }
    }

    /// The rest will not come.
    pub fn abandon(self) {
        if let Target::Lane { lane, .. } = self.0 {
            lane.end();
        }
    }

    /// A request that was answered before it is whole (its upstream is gone, its time was up, or the upstream refuses
    /// it) has no use for a lane, nor the lane for anybody.
    fn mind_reply(&mut self, session: &Session) {
        if let Target::Lane { lane, slot, .. } = &self.0
            && !session.replies.is_due(*slot)
        {
            lane.end();
            self.0 = Target::Nowhere { answer: Answer::Given, family: Family::Other };
        }
    }
}

/// Where a read goes of a session that has lately received large replies: to a connection of its own, if one is to be
/// had, so that nobody else waits behind the next one.
#[cold]
pub(super) fn go_apart(call: &Call<'_>, session: &mut Session) -> Option<Route> {
    session.reads_apart -= 1;
    let Route::Lane(_, node) = call.route else { return None };
    let exclusive = &mut *call.client.exclusive.borrow_mut();
    if session.replies.in_flight() > 0 || !session.transaction.is_none() || exclusive.is_some() {
        return None;
    }
    let lane = node.spare_exclusive_lane(lane_key(session))?;
    *exclusive = Some(Rc::clone(&lane));
    Some(Route::Lane(lane, Rc::clone(node)))
}

/// Whether the reply to this request may be handed to its client in pieces, from now on.
pub(super) fn takes_parts(lane: &Rc<Lane<Waiter>>, waiter: &Waiter, declared: usize) -> Option<Room> {
    let client = &waiter.client;
    if client.broken.get() {
        // Nobody wants it.
        return Some(Room::Free);
    }
    let as_it_is = match &waiter.step {
        Step::Forward => true,
        Step::Task(task) => task.takes_parts(client, declared),
        Step::Foretell | Step::Swallow => false,
    };
    match waiter.to {
        To::Slot(slot) if as_it_is && client.session.borrow().replies.is_first(slot) => {
            // Its client has what it says from now on.
            if let Step::Task(task) = &waiter.step {
                task.on_first_part(client);
            }
            let allowance = if declared > SHARED_REPLY_BYTES_MAX { 0 } else { SHARED_REPLY_BYTES_MAX };
            *client.receiving.borrow_mut() =
                Some(Receiving { lane: Rc::clone(lane), allowance: Cell::new(allowance), insists: Cell::new(false) });
            Some(room(client, &mut client.session.borrow_mut(), 0))
        }
        _ => None,
    }
}

/// The next piece of a reply.
pub(super) fn part(waiter: &Waiter, piece: &[u8]) -> Room {
    let client = &waiter.client;
    if client.broken.get() {
        return Room::Free;
    }
    let session = &mut *client.session.borrow_mut();
    client.append(session, piece);
    room(client, session, piece.len())
}

/// What there is room for after so many more bytes.
fn room(client: &Client, session: &mut Session, more: usize) -> Room {
    let (mut is_long, mut bytes_max) = (false, STREAM_BUFFER_BYTES);
    if let Some(receiving) = &*client.receiving.borrow() {
        receiving.allowance.set(receiving.allowance.get().saturating_sub(more));
        is_long = receiving.allowance.get() == 0;
        if receiving.insists.get() {
            bytes_max = client.core.settings.borrow().limits.output_bytes_pause;
        }
    }
    let room = if session.replies.bytes() >= bytes_max {
        Room::Full
    } else if is_long {
        Room::FreeButLong
    } else {
        return Room::Free;
    };
    session.reads_apart = READS_APART;
    room
}

/// The last piece of a reply.
pub(super) fn last_part(answered: Popped<Waiter>, piece: &[u8], now: Instant) {
    let Popped { waiter: Waiter { client, to, step, family }, deadline } = answered;
    if client.broken.get() {
        return;
    }
    client.receiving.take();
    client.held_up.set(true);
    let session = &mut *client.session.borrow_mut();
    session.timed_out = false;
    if let Step::Task(task) = &step {
        task.on_last_part(session);
    }
    let took = client.took(deadline, now);
    client.core.recorder.upstream_round_trip(took);
    client.core.recorder.request(family, Outcome::Ok, took);
    if let To::Slot(slot) = to {
        client.fill(session, slot, piece);
    }
}

/// The rest of a reply will not come: a client that has a part of it can be told nothing more.
pub(super) fn cut(waiter: &Waiter) {
    let client = &waiter.client;
    if client.broken.replace(true) {
        return;
    }
    client.receiving.take();
    client.core.recorder.request(waiter.family, Outcome::Unreachable, Duration::ZERO);
    tracing::debug!(client = client.session.borrow().id, "client closed: its reply broke off in the upstream");
    client.wake();
}
