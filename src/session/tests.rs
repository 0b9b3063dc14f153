//! When a session takes its next request, and when it is over.

use super::{Ending, Session};
use crate::clock;
use crate::resp::Protocol;
use std::net::SocketAddr;

const PIPELINE_MAX: usize = 3;
const OUTPUT_BYTES_PAUSE: usize = 100;

fn session() -> Session {
    let address = SocketAddr::from(([127, 0, 0, 1], 6380));
    Session::new(7, address, address, 2, clock::now())
}

fn takes_requests(session: &Session) -> bool {
    session.takes_requests(PIPELINE_MAX, OUTPUT_BYTES_PAUSE)
}

/// Everything that was answered is written.
fn write_all(session: &mut Session) {
    session.replies.advance(session.replies.unsent().len());
}

#[test]
fn a_new_session_is_as_redis_begins_one() {
    let session = session();
    assert_eq!((session.protocol, session.database), (Protocol::Resp2, 2));
    assert!(session.identity().name.is_empty() && session.transaction.is_none());
    assert!(takes_requests(&session) && !session.has_ended());
}

#[test]
fn requests_in_flight_are_bounded() {
    let mut session = session();
    let slots = [(); PIPELINE_MAX].map(|()| {
        assert!(takes_requests(&session));
        session.replies.open()
    });
    assert!(!takes_requests(&session));
    // A reply that waits for an older one is in flight still.
    session.fill(slots[1], b"+2\r\n");
    assert!(!takes_requests(&session));
    session.fill(slots[0], b"+1\r\n");
    assert_eq!(session.replies.in_flight(), 1);
    assert!(takes_requests(&session));
}

#[test]
fn bytes_that_wait_to_be_read_hold_requests_back() {
    let mut session = session();
    session.replies.say(|out| out.resize(OUTPUT_BYTES_PAUSE - 1, b'x'));
    assert!(takes_requests(&session));
    // One byte more, parked behind a slot that is open.
    let slot = session.replies.open();
    session.replies.say(|out| out.push(b'x'));
    assert!(!takes_requests(&session));
    session.fill(slot, b"");
    assert!(!takes_requests(&session));
    session.replies.advance(1);
    assert!(takes_requests(&session));
}

#[test]
fn a_gate_opens_with_its_own_reply_only() {
    let mut session = session();
    let (before, gate) = (session.replies.open(), session.open_gated());
    assert!(!takes_requests(&session));
    session.fill(before, b"+before\r\n");
    assert!(!takes_requests(&session), "an earlier reply opened the gate");
    session.fill(gate, b"+OK\r\n");
    assert!(takes_requests(&session));
    assert_eq!(session.replies.unsent(), b"+before\r\n+OK\r\n");

    // Filled ahead of an earlier one, it opens too: what it changed is known.
    let (before, gate) = (session.replies.open(), session.open_gated());
    session.fill(gate, b"+OK\r\n");
    assert!(takes_requests(&session));
    session.fill(before, b"+before\r\n");
}

#[test]
fn a_session_ends_once_all_is_answered_and_written() {
    for (ending, takes, ends) in
        [(Ending::No, true, false), (Ending::InputClosed, true, true), (Ending::AfterReplies, false, true)]
    {
        let mut session = session();
        let slot = session.replies.open();
        session.ending = ending;
        assert_eq!(takes_requests(&session), takes, "{ending:?}");
        assert!(!session.has_ended(), "{ending:?} with a request in flight");
        session.fill(slot, b"+OK\r\n");
        assert!(!session.has_ended(), "{ending:?} with a reply to write");
        session.replies.advance(2);
        assert!(!session.has_ended(), "{ending:?} in the middle of a reply");
        write_all(&mut session);
        assert_eq!(session.has_ended(), ends, "{ending:?}");
    }
}
