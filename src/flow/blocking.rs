//! Commands that wait in the server: BLPOP and its kin, XREAD BLOCK, WAIT.
//!
//! Guarantees: they wait on a connection of the session's own, so nobody else waits with them; their own time comes on
//! top of the budget; a client that goes away, or an answer that can't be waited for any longer, ends the connection,
//! so that the server does not pop an element for nobody. Nothing behind such a command is carried out before it is
//! answered, as in Redis.

use super::call::{Call, Handled};
use super::exclusive::{self, Taken};
use super::step::{Reply, Step, Task, To, Turn, is_outage, unreachable_frame};
use super::{Client, Route, forward, tell};
use crate::command::{self, Command, Effect};
use crate::config::OnUnreachable;
use crate::metrics::Outcome;
use crate::near_cache::Written;
use crate::resp::{Arguments, Protocol, encode};
use crate::session::Session;
use crate::upstream::Failure;
use std::time::Duration;

/// A time that nobody waits for, for commands that wait for ever.
const FOR_EVER: Duration = Duration::from_secs(1_000_000_000);

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// What a blocking command answers when there is nothing for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nothing {
    /// The nil of an array (BLPOP).
    Array,
    /// The nil of a value (BLMOVE).
    Value,
    /// What a command answers that nobody knows, and that may change any key.
    Unknown,
}

/// Carries out a command that may wait.
pub(super) fn handle(
    call: &Call<'_>,
    session: &mut Session,
    command: &'static Command,
    request: Arguments<'_>,
    arguments: &[&[u8]],
) -> Handled {
    let nothing = match command.name {
        "BLMOVE" | "BRPOPLPUSH" | "WAIT" => Nothing::Value,
        _ if command.effect == Effect::AnyKeys => Nothing::Unknown,
        _ => Nothing::Array,
    };
    match call.route {
        Route::Embedded(_) => return forward::forward(call, session, request),
        Route::Disabled | Route::Unreachable => return unreachable(call, session, nothing),
        Route::Lane(..) if session.replies.in_flight() > 0 => return Handled::WaitUntilAnswered,
        Route::Lane(..) => {}
    }
    let lane = match exclusive::take(call.client, session, call.route) {
        Taken::Lane(lane) => lane,
        Taken::WaitUntilAnswered => return Handled::WaitUntilAnswered,
        Taken::Unreachable => return unreachable(call, session, nothing),
    };
    if command.name == "WAIT" {
        // It is about the writes before the last command of its own connection (`c->woff` in Redis's `server.c`); this
        // client's went over another one, and were answered.
        lane.push(call.deadline, call.waiter(To::Nowhere, Step::Swallow), PING);
    }
    let wait = command::blocking_timeout(command, arguments).unwrap_or(FOR_EVER);
    let slot = session.open_gated();
    session.blocks = true;
    let task = Block { nothing, written: tell::written_by(call.client, command.effect, request) };
    lane.push(call.deadline + wait, call.waiter(To::Slot(slot), task), request.bytes());
    Handled::Done
}

fn unreachable(call: &Call<'_>, session: &mut Session, nothing: Nothing) -> Handled {
    let frame = frame_without_upstream(call.client, nothing, call.protocol);
    call.say(session, Outcome::Unreachable, |out| out.extend_from_slice(frame))
}

/// What such a command is answered while the upstream is gone: where that is nil, the one that it answers when there is
/// nothing for it.
fn frame_without_upstream(client: &Client, nothing: Nothing, protocol: Protocol) -> &'static [u8] {
    match (client.core.settings.borrow().on_unreachable, nothing) {
        (OnUnreachable::Nil, Nothing::Array | Nothing::Unknown) => encode::nil_array_frame(protocol),
        (OnUnreachable::Nil | OnUnreachable::Error, _) => unreachable_frame(client, protocol),
    }
}

/// A command that waits in the server.
struct Block {
    nothing: Nothing,
    /// What it may change. A list in place of a string that somebody has removed is news as well.
    written: Written,
}

impl Task for Block {
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        tell::written(turn.client, &self.written);
        if is_outage(reply.frame) {
            return finish_unreachable(turn, self.nothing);
        }
        let outcome = if reply.frame[0] == b'-' { Outcome::Error } else { Outcome::Ok };
        turn.finish(reply.frame, outcome);
    }

    /// The server did not answer, in its own time and the budget's.
    fn on_failure(self: Box<Self>, turn: Turn<'_>, failure: &Failure) {
        let Some(turn) = turn.unless_refused(failure) else { return };
        if *failure == Failure::TimedOut {
            // It may wait there still, and would take an element that nobody gets.
            exclusive::end(turn.client, turn.session);
        }
        finish_unreachable(turn, self.nothing);
    }
}

fn finish_unreachable(turn: Turn<'_>, nothing: Nothing) {
    let frame = frame_without_upstream(turn.client, nothing, turn.session.protocol);
    turn.finish(frame, Outcome::Unreachable);
}
