//! One connection: what is written together, what is paired with what, and what its end means for each request.

use super::dialogue::Peer;
use super::rig::{Outcome, PATIENT, RESP2, Rig, options, reply, run, until};
use crate::clock;
use crate::metrics::{Counter, Gauge, Limit};
use crate::upstream::{Failure, NodeOptions};

/// More than the socket buffers of both ends hold: such a request can't leave while the server does not read.
const UNSENDABLE_BYTES: usize = 48 * 1024 * 1024;

#[test]
fn what_is_sent_in_one_turn_arrives_in_one_read() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        until(|| lane.is_ready()).await;
        // Two sessions that are ready in the same turn.
        let other = tokio::task::spawn_local({
            let (lane, heard) = (rig.main_lane(), rig.number());
            async move { lane.push(clock::now() + PATIENT, heard, b"GET other\r\n") }
        });
        let mut sent = Vec::new();
        for n in 0..100 {
            let request = format!("GET {n}\r\n");
            rig.send(&lane, request.as_bytes());
            sent.extend_from_slice(request.as_bytes());
        }
        other.await.unwrap();
        sent.extend_from_slice(b"GET other\r\n");
        assert_eq!(server.read_once().await.escape_ascii().to_string(), sent.escape_ascii().to_string());
        assert_eq!(rig.gauge(Gauge::UpstreamInFlight), 101);
        assert_eq!(rig.counter(Counter::UpstreamBytesOut), sent.len() as u64);
    });
}

#[test]
fn each_request_gets_its_own_reply_and_note_however_the_bytes_are_cut() {
    let script = b"+one\r\n$3\r\ntwo\r\n>2\r\n+a push\r\n:0\r\n*2\r\n$-1\r\n%1\r\n+k\r\n_\r\n-ERR four\r\n";
    let expected: [&[u8]; 4] = [b"+one\r\n", b"$3\r\ntwo\r\n", b"*2\r\n$-1\r\n%1\r\n+k\r\n_\r\n", b"-ERR four\r\n"];
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        for piece in [1, 2, 3, 7, script.len()] {
            let requests: Vec<usize> = (0..expected.len())
                .map(|n| {
                    let number = rig.number();
                    let note = format!("note {n}");
                    lane.push_with(clock::now() + PATIENT, number, note.as_bytes(), |out| out.extend(b"GET\r\n"));
                    number
                })
                .collect();
            server.expect(b"GET\r\nGET\r\nGET\r\nGET\r\n").await;
            for bytes in script.chunks(piece) {
                server.send(bytes).await;
                tokio::task::yield_now().await;
            }
            for (n, request) in requests.into_iter().enumerate() {
                assert_eq!(rig.outcome(request).await, reply(expected[n]), "in pieces of {piece}");
                assert_eq!(rig.heard.of(request).unwrap().note, format!("note {n}").as_bytes());
            }
        }
        assert_eq!(rig.heard.unturned.get(), 0, "a reply was handed over and no turn ended");
        until(|| rig.gauge(Gauge::UpstreamInFlight) == 0).await;
    });
}

#[test]
fn a_large_reply_arrives_whole_and_the_next_one_too() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        for length in [70_000, 5 * 1024 * 1024, 1] {
            let (large, small) = (rig.send(&lane, b"GET large\r\n"), rig.send(&lane, b"GET small\r\n"));
            server.expect(b"GET large\r\nGET small\r\n").await;
            let value: Vec<u8> = (0..length).map(|n: u32| b'a' + (n % 23) as u8).collect();
            let frame = [format!("${length}\r\n").as_bytes(), &value, b"\r\n"].concat();
            server.send(&frame).await;
            server.send(b"$-1\r\n").await;
            assert!(rig.outcome(large).await == reply(&frame), "a reply of {length} bytes came out differently");
            assert_eq!(rig.outcome(small).await, reply(b"$-1\r\n"));
        }
    });
}

#[test]
fn a_reply_past_its_bound_ends_the_connection() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(NodeOptions { reply_bytes_max: 256 * 1024, ..options(peer.address()) });
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        let large = rig.send(&lane, b"GET large\r\n");
        server.expect(b"GET large\r\n").await;
        server.send(b"$1000000000\r\n").await;
        let chunk = [b'x'; 64 * 1024];
        let mut taken = 0;
        while server.try_send(&chunk).await {
            taken += chunk.len();
            assert!(taken < 64 * 1024 * 1024, "a reply without a bound");
            tokio::task::yield_now().await;
        }
        assert_eq!(rig.outcome(large).await, Outcome::Failed(Failure::Broken));
        assert_eq!(rig.limit(Limit::ReplyBytes), 1);
    });
}

#[test]
fn a_connection_that_ends_breaks_what_was_sent_and_sends_the_rest_once_on_the_next() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        let served = rig.send(&lane, b"GET served\r\n");
        server.expect(b"GET served\r\n").await;
        server.send(b"+yes\r\n").await;
        assert_eq!(rig.outcome(served).await, reply(b"+yes\r\n"));

        let halfway = rig.send(&lane, b"GET halfway\r\n");
        let in_part = rig.send(&lane, &vec![b'x'; UNSENDABLE_BYTES]);
        let unsent = rig.send(&lane, b"GET unsent\r\n");
        server.expect(b"GET halfway\r\nxxx").await;
        server.send(b"$10\r\nhalf").await;
        drop(server);
        assert_eq!(rig.outcome(halfway).await, Outcome::Failed(Failure::Broken));
        assert_eq!(rig.outcome(in_part).await, Outcome::Failed(Failure::Broken));

        let mut server = peer.accept_lane().await;
        let after = rig.send(&lane, b"GET after\r\n");
        server.expect(b"GET unsent\r\nGET after\r\n").await;
        server.send(b"+1\r\n+2\r\n").await;
        assert_eq!(rig.outcome(unsent).await, reply(b"+1\r\n"));
        assert_eq!(rig.outcome(after).await, reply(b"+2\r\n"));
        assert!(rig.is_reachable(), "a connection that served was taken for a failure");
    });
}

#[test]
fn a_reply_that_nothing_asked_for_ends_the_connection() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        let asked = rig.send(&lane, b"GET a\r\n");
        server.expect(b"GET a\r\n").await;
        server.send(b"+a\r\n").await;
        assert_eq!(rig.outcome(asked).await, reply(b"+a\r\n"));
        server.send(b"+surplus\r\n").await;
        server.expect_end().await;
        assert_eq!(rig.counter(Counter::UpstreamReplyMismatches), 1);

        // What was lost with the pairing is not found on the next connection.
        let mut server = peer.accept_lane().await;
        let next = rig.send(&lane, b"GET b\r\n");
        server.expect(b"GET b\r\n").await;
        server.send(b"+b\r\n").await;
        assert_eq!(rig.outcome(next).await, reply(b"+b\r\n"));
    });
}

#[test]
fn bytes_that_are_no_reply_end_the_connection() {
    for garbage in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"$-2\r\n", b"$1\r\nab\r\n", b"*x\r\n", b"\r\n", b"$?\r\n"] {
        run(async {
            let peer = Peer::listen().await;
            let rig = Rig::start(options(peer.address()));
            let mut server = peer.accept_lane().await;
            let lane = rig.main_lane();
            let before = rig.send(&lane, b"GET a\r\n");
            let broken = [rig.send(&lane, b"GET b\r\n"), rig.send(&lane, b"GET c\r\n")];
            server.expect(b"GET a\r\nGET b\r\nGET c\r\n").await;
            server.send(b"+a\r\n").await;
            assert_eq!(rig.outcome(before).await, reply(b"+a\r\n"));
            server.send(garbage).await;
            for request in broken {
                let outcome = rig.outcome(request).await;
                assert_eq!(outcome, Outcome::Failed(Failure::Broken), "{}", garbage.escape_ascii());
            }
            server.expect_end().await;
        });
    }
}

#[test]
fn a_panic_over_one_reply_costs_that_connection_and_not_the_lane() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        let (fatal, neighbour) = (rig.send(&lane, b"GET fatal\r\n"), rig.send(&lane, b"GET neighbour\r\n"));
        rig.heard.panic_at.set(Some(fatal));
        server.expect(b"GET fatal\r\nGET neighbour\r\n").await;
        server.send(b"+1\r\n").await;
        assert_eq!(rig.outcome(neighbour).await, Outcome::Failed(Failure::Broken));
        let mut server = peer.accept_lane().await;
        let next = rig.send(&lane, b"GET next\r\n");
        server.expect(b"GET next\r\n").await;
        server.send(b"+2\r\n").await;
        assert_eq!(rig.outcome(next).await, reply(b"+2\r\n"));
        assert_eq!(rig.counter(Counter::SessionPanics), 1);
    });
}

#[test]
fn whoever_listens_on_a_lane_hears_of_its_end_whatever_ended_it() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let _main = peer.accept_lane().await;
        for (listener, panics) in [(7, false), (8, true)] {
            let lane = rig.node.exclusive_lane(RESP2);
            lane.listen(Some(listener));
            let request = rig.send(&lane, b"GET k\r\n");
            let mut server = peer.accept_lane().await;
            server.expect(b"GET k\r\n").await;
            rig.heard.panic_at.set(panics.then_some(request));
            server.send(b"+1\r\n").await;
            if !panics {
                rig.outcome(request).await;
                drop(server);
            }
            until(|| rig.heard.lost.get() == Some(listener)).await;
            assert!(lane.is_dead());
        }
    });
}

#[test]
fn a_connection_that_answered_is_no_failure_however_it_ends() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        let asked = rig.send(&lane, b"GET a\r\n");
        server.expect(b"GET a\r\n").await;
        server.send(b"+a\r\n+surplus\r\n").await;
        assert_eq!(rig.outcome(asked).await, reply(b"+a\r\n"));
        server.expect_end().await;
        peer.accept_lane().await;
        assert_eq!(rig.counter(Counter::BreakerOpened), 0);
    });
}
