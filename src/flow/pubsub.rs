//! What the server says unasked, and the commands that make it speak: SUBSCRIBE and its kin, MONITOR.
//!
//! Guarantees: everything that a connection says goes to its session in the order in which it was said, replies to
//! their requests and pushes between them; a subscribing command is answered once the server has confirmed every
//! channel that it names. In RESP2 a push is an array that says by its first word what it is, in RESP3 a type of its
//! own (<https://redis.io/docs/latest/develop/interact/pubsub/>). A session that loses the connection on which it hears
//! pushes loses its own, as it would Redis's: nothing else tells a client to subscribe anew.

use super::call::{Call, Handled};
use super::exclusive::{self, Taken};
use super::step::{Reply, Step, Task, To, Turn, Waiter};
use super::{Client, Route, forward, tell};
use crate::command::Command;
use crate::metrics::{Family, Outcome};
use crate::resp::{Arguments, Protocol, ReplyError, encode};
use crate::session::{Ending, Mode, Session, Subscription};
use crate::upstream::{Failure, Lane};
use std::rc::Rc;

/// A subscribing or unsubscribing command whose confirmations are on their way.
struct Subscribe {
    kind: Subscription,
    subscribes: bool,
    /// Confirmations still to come; not known for UNSUBSCRIBE from everything, before its first.
    left: Option<u64>,
}

/// What such commands are answered while there is no upstream: nil would be a lie, and never a message.
const UNREACHABLE: &str = "ERR upstream unreachable: can't subscribe now";

/// SUBSCRIBE, UNSUBSCRIBE and their kin for patterns and shards.
pub(super) fn handle(
    call: &Call<'_>,
    session: &mut Session,
    command: &'static Command,
    request: Arguments<'_>,
    arguments: &[&[u8]],
) -> Handled {
    if let Route::Embedded(_) = call.route {
        return forward::forward(call, session, request);
    }
    let Some((kind, subscribes)) = meaning(command.name.as_bytes()) else {
        return forward::forward(call, session, request);
    };
    if !command.takes(request.len()) {
        return call.reject(session, &ReplyError::wrong_arity(&command.name.to_ascii_lowercase()));
    }
    if !subscribes && !session.modes.has(Mode::Subscribed) {
        return confirm_nothing(call, session, command, &arguments[1..]);
    }
    if session.replies.in_flight() > 0 {
        return Handled::WaitUntilAnswered;
    }
    let left = arguments.len() as u64 - 1;
    let subscribe = Subscribe { kind, subscribes, left: Some(left).filter(|left| *left > 0) };
    enter(call, session, request, subscribe)
}

/// MONITOR.
pub(super) fn monitor(call: &Call<'_>, session: &mut Session, request: Arguments<'_>) -> Handled {
    match call.route {
        Route::Embedded(_) => forward::forward(call, session, request),
        _ if request.len() > 1 => call.reject(session, &ReplyError::wrong_arity("monitor")),
        // Redis says nothing to it a second time (`monitorCommand` in `replication.c`).
        _ if session.modes.has(Mode::Monitor) => Handled::Done,
        _ if session.replies.in_flight() > 0 => Handled::WaitUntilAnswered,
        _ => enter(call, session, request, Monitor),
    }
}

/// Sends a command after which the server speaks unasked, on the session's own connection.
fn enter(call: &Call<'_>, session: &mut Session, request: Arguments<'_>, task: impl Task + 'static) -> Handled {
    let taken = match call.route {
        Route::Lane(..) => exclusive::take(call.client, session, call.route),
        _ => Taken::Unreachable,
    };
    match taken {
        Taken::WaitUntilAnswered => Handled::WaitUntilAnswered,
        Taken::Unreachable => call.say(session, Outcome::Unreachable, |out| encode::error(out, UNREACHABLE)),
        Taken::Lane(lane) => {
            listen(call.client, &lane);
            let slot = session.open_gated();
            lane.push(call.deadline, call.waiter(To::Slot(slot), task), request.bytes());
            Handled::Done
        }
    }
}

/// From now on the session hears what the server says unasked on this connection.
pub(super) fn listen(client: &Rc<Client>, lane: &Lane<Waiter>) {
    let (client, family) = (Rc::clone(client), Family::PubSub);
    drop(lane.listen(Some(Waiter { client, to: To::Nowhere, step: Step::Swallow, family })));
}

/// Leaving what one never entered is confirmed as Redis does (`pubsub.c`): once for each name, or once with none.
fn confirm_nothing(call: &Call<'_>, session: &mut Session, command: &Command, names: &[&[u8]]) -> Handled {
    let protocol = call.protocol;
    let word = command.name.to_ascii_lowercase();
    // A confirmation is no reply that CLIENT REPLY is about.
    session.replies.mute(false);
    call.say(session, Outcome::Ok, |out| {
        for index in 0..names.len().max(1) {
            encode::header(out, if protocol == Protocol::Resp3 { b'>' } else { b'*' }, 3);
            encode::bulk(out, word.as_bytes());
            match names.get(index) {
                Some(name) => encode::bulk(out, name),
                None => encode::nil(out, protocol),
            }
            encode::integer(out, 0);
        }
    })
}

/// What the first word of a confirmation, or the name of a command, is about; and whether it subscribes.
fn meaning(word: &[u8]) -> Option<(Subscription, bool)> {
    const WORDS: [(&[u8], Subscription, bool); 6] = [
        (b"subscribe", Subscription::Channel, true),
        (b"unsubscribe", Subscription::Channel, false),
        (b"psubscribe", Subscription::Pattern, true),
        (b"punsubscribe", Subscription::Pattern, false),
        (b"ssubscribe", Subscription::Shard, true),
        (b"sunsubscribe", Subscription::Shard, false),
    ];
    let found = WORDS.iter().find(|(name, ..)| name.eq_ignore_ascii_case(word))?;
    Some((found.1, found.2))
}

/// What a frame on a connection with a listener is.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// A confirmation: of which kind, whether it subscribes, and how many there are now.
    Confirmation(Subscription, bool, u64),
    /// Anything else that nobody asked for.
    Push,
    /// A reply.
    Reply,
}

fn said(frame: &[u8], in_resp2_mode: bool, monitors: bool) -> Said {
    match frame[0] {
        // A timestamp: no status that a command answers begins with a digit (`replicationFeedMonitors`).
        b'+' if monitors && frame.get(1).is_some_and(u8::is_ascii_digit) => Said::Push,
        b'>' => confirmation(frame).unwrap_or(Said::Push),
        b'*' if in_resp2_mode => match first_word(frame) {
            Some(b"message" | b"pmessage" | b"smessage") => Said::Push,
            _ => confirmation(frame).unwrap_or(Said::Reply),
        },
        _ => Said::Reply,
    }
}

fn confirmation(frame: &[u8]) -> Option<Said> {
    let (kind, subscribes) = meaning(first_word(frame)?)?;
    let count = frame.rsplit(|byte| *byte == b':').next()?;
    let count = std::str::from_utf8(count.strip_suffix(b"\r\n")?).ok()?.parse().ok()?;
    Some(Said::Confirmation(kind, subscribes, count))
}

/// The first element of an array or push, which must be a string.
fn first_word(frame: &[u8]) -> Option<&[u8]> {
    let behind_line = |bytes: &'_ [u8]| memchr::memchr(b'\n', bytes).map(|end| end + 1);
    let elements = &frame[behind_line(frame)?..];
    let word = elements.strip_prefix(b"$").and_then(|rest| Some(&rest[behind_line(rest)?..]))?;
    word.get(..memchr::memchr(b'\r', word)?)
}

/// A frame came on a connection whose session hears pushes. False for a reply.
pub(super) fn on_frame(lane: &Rc<Lane<Waiter>>, frame: &[u8]) -> bool {
    let heard = lane.with_listener(|listener, front| {
        let client = &listener.client;
        let session = &mut *client.session.borrow_mut();
        let subscribing = match front {
            Some(Waiter { step: Step::Task(task), .. }) if task.subscribes() => Some(task),
            _ => None,
        };
        let in_resp2_mode = session.modes.has(Mode::Subscribed) || subscribing.is_some();
        match said(frame, in_resp2_mode && session.protocol == Protocol::Resp2, session.modes.has(Mode::Monitor)) {
            Said::Reply => return false,
            Said::Push => tell::on_push(client, frame),
            Said::Confirmation(kind, subscribes, count) => {
                let before = session.modes.subscriptions.of(kind);
                session.modes.confirm(kind, subscribes, count);
                if subscribing.is_some_and(|task| task.is_last_confirmation(kind, subscribes, before)) {
                    return false;
                }
            }
        }
        // One that is over hears nothing more; what this frame is has to be known all the same.
        if !client.broken.get() {
            client.push(session, frame);
        }
        true
    });
    heard.unwrap_or(false)
}

impl Task for Subscribe {
    /// The server's last word: the last confirmation, or an error.
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        if reply.frame[0] == b'-' {
            return turn.finish(reply.frame, Outcome::Error);
        }
        // Nothing is in flight before it. As what is pushed it also reaches a client that wants no replies.
        turn.client.push(turn.session, reply.frame);
        turn.finish(b"", Outcome::Ok);
    }

    fn on_failure(self: Box<Self>, turn: Turn<'_>, failure: &Failure) {
        fail(turn, failure);
    }

    fn subscribes(&self) -> bool {
        true
    }

    fn is_last_confirmation(&mut self, kind: Subscription, subscribes: bool, before: u64) -> bool {
        if (self.kind, self.subscribes) != (kind, subscribes) {
            return false;
        }
        let left = self.left.unwrap_or_else(|| before.max(1)) - 1;
        self.left = Some(left);
        left == 0
    }
}

/// MONITOR, whose answer is on its way.
struct Monitor;

impl Task for Monitor {
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        let accepted = reply.frame[0] == b'+';
        turn.session.modes.set(Mode::Monitor, accepted);
        turn.finish(reply.frame, if accepted { Outcome::Ok } else { Outcome::Error });
    }

    fn on_failure(self: Box<Self>, turn: Turn<'_>, failure: &Failure) {
        fail(turn, failure);
    }
}

/// The server did not answer a command that was to make it speak.
pub(super) fn fail(turn: Turn<'_>, failure: &Failure) {
    let Some(turn) = turn.unless_refused(failure) else { return };
    if *failure == Failure::TimedOut {
        // Whether it speaks now is not known.
        exclusive::end(turn.client, turn.session);
    }
    let mut frame = Vec::new();
    encode::error(&mut frame, UNREACHABLE);
    turn.finish(&frame, Outcome::Unreachable);
}

/// The connection on which a session heard pushes is gone.
pub(super) fn on_lost(listener: Waiter) {
    let Waiter { client, .. } = listener;
    let session = &mut *client.session.borrow_mut();
    if !client.broken.get() && session.modes.hear_pushes() {
        tracing::debug!(client = session.id, "client closed: the upstream connection that it listened on broke");
        session.ending = Ending::AfterReplies;
        client.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_what_it_is() {
        let subscribed = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:12\r\n";
        assert_eq!(said(subscribed, true, false), Said::Confirmation(Subscription::Channel, true, 12));
        assert_eq!(said(subscribed, false, false), Said::Reply, "an array like any other");
        let left = b">3\r\n$12\r\npunsubscribe\r\n_\r\n:0\r\n";
        assert_eq!(said(left, false, false), Said::Confirmation(Subscription::Pattern, false, 0));
        // A name with a colon before the count.
        let colon = b"*3\r\n$9\r\nsubscribe\r\n$3\r\na:7\r\n:1\r\n";
        assert_eq!(said(colon, true, false), Said::Confirmation(Subscription::Channel, true, 1));
        for push in [
            &b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"[..],
            b"*4\r\n$8\r\npmessage\r\n$1\r\nc\r\n$1\r\nc\r\n$1\r\nm\r\n",
        ] {
            assert_eq!(said(push, true, false), Said::Push);
        }
        assert_eq!(said(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n", false, false), Said::Push);
        assert_eq!(said(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n", true, false), Said::Reply);
        assert_eq!(said(b"+1700000000.1 [0 127.0.0.1:1] \"ping\"\r\n", false, true), Said::Push);
        assert_eq!(said(b"+OK\r\n", false, true), Said::Reply);
        assert_eq!(said(b"-ERR no\r\n", true, true), Said::Reply);
        for odd in [&b"*0\r\n"[..], b"*-1\r\n", b">0\r\n", b"*1\r\n:1\r\n", b"*1\r\n$-1\r\n"] {
            assert_ne!(said(odd, true, false), Said::Confirmation(Subscription::Channel, true, 0));
        }
    }
}
