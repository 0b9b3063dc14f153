//! A command that the upstream carries out: its bytes go there as they came, and the reply comes back as it comes.
//!
//! Guarantees: nothing is decoded but the name; a command that can't be sent is answered at once, nil or an error as
//! the configuration says.

use super::call::{Call, Handled};
use super::step::{Step, To, unreachable_frame};
use super::{Route, SharedStore};
use crate::clock;
use crate::metrics::{Limit, Outcome};
use crate::resp::Arguments;
use crate::session::Session;
use crate::upstream::{Lane, Refused};

/// Sends a request on the lane that the session is on.
#[inline]
pub(super) fn forward(call: &Call<'_>, session: &mut Session, request: Arguments<'_>) -> Handled {
    match call.route {
        Route::Lane(lane, _) => send(call, session, lane, request, Step::Forward),
        Route::Embedded(store) => execute(call, session, store, &request.iter().collect::<Vec<_>>()),
        Route::Disabled | Route::Unreachable => unreachable(call, session),
    }
}

/// Sends a request on a lane, or answers it where the lane takes none.
#[inline]
pub(super) fn send(
    call: &Call<'_>,
    session: &mut Session,
    lane: &Lane<super::Waiter>,
    request: Arguments<'_>,
    step: impl Into<Step>,
) -> Handled {
    match lane.accepts() {
        Ok(()) => {
            let slot = session.replies.open();
            lane.push(call.deadline, call.waiter(To::Slot(slot), step), request.bytes());
            Handled::Done
        }
        Err(refused) => {
            if refused == Refused::QueueFull {
                call.client.core.recorder.limit(Limit::UpstreamQueueBytes);
            }
            unreachable(call, session)
        }
    }
}

/// Answers a command whose upstream is gone.
pub(super) fn unreachable(call: &Call<'_>, session: &mut Session) -> Handled {
    let frame = unreachable_frame(call.client, call.protocol);
    call.say(session, Outcome::Unreachable, |out| out.extend_from_slice(frame))
}

/// Carries out a command on the embedded store.
pub(super) fn execute(call: &Call<'_>, session: &mut Session, store: &SharedStore, command: &[&[u8]]) -> Handled {
    let (mut outcome, mut out_of_memory) = (Outcome::Ok, false);
    let (database, protocol) = (session.database, session.protocol);
    call.client.say(session, |out| {
        let before = out.len();
        store.lock().execute(clock::unix_ms(), database, protocol, command, out);
        if out.get(before) == Some(&b'-') {
            outcome = Outcome::Error;
            out_of_memory = out[before..].starts_with(b"-OOM ");
        }
    });
    if out_of_memory {
        call.client.core.recorder.limit(Limit::EmbeddedMemory);
    }
    call.client.core.recorder.request(call.family, outcome, std::time::Duration::ZERO);
    Handled::Done
}
