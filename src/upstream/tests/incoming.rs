//! Large requests and replies in pieces: who waits for whom, and who does not.

use super::dialogue::Peer;
use super::rig::{Outcome, PATIENT, RESP2, Rig, options, reply, run, until};
use crate::clock;
use crate::metrics::Counter;
use crate::upstream::{Failure, NodeOptions, Room, STREAM_BUFFER_BYTES};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

/// Far above what is held whole.
const LARGE_BYTES: usize = 3 * 1024 * 1024;

const TIMEOUT: Duration = Duration::from_millis(30);
const DEAD_AFTER: Duration = Duration::from_millis(60);

fn large_reply() -> Vec<u8> {
    let mut frame = format!("${LARGE_BYTES}\r\n").into_bytes();
    frame.extend((0..LARGE_BYTES).map(|at| b'a' + (at % 23) as u8));
    frame.extend_from_slice(b"\r\n");
    frame
}

#[test]
fn a_large_reply_comes_in_pieces_and_what_is_behind_it_whole() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        rig.heard.takes_parts.set(true);
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        let requests =
            [rig.send(&lane, b"GET a\r\n"), rig.send(&lane, b"GET large\r\n"), rig.send(&lane, b"GET c\r\n")];
        server.expect(b"GET a\r\nGET large\r\nGET c\r\n").await;
        server.send(&[b"+a\r\n", large_reply().as_slice(), b"+c\r\n"].concat()).await;
        for (request, expected) in requests.into_iter().zip([b"+a\r\n".as_slice(), &large_reply(), b"+c\r\n"]) {
            assert!(rig.outcome(request).await == reply(expected));
        }
        assert!(!lane.is_retired() && Rc::ptr_eq(&lane, &rig.main_lane()));
    });
}

#[test]
fn a_reader_without_room_retires_a_shared_lane_and_is_waited_for() {
    run(async {
        let peer = Peer::listen().await;
        let times = NodeOptions { timeout: TIMEOUT, dead_after: DEAD_AFTER, ..options(peer.address()) };
        let rig = Rig::start(times);
        rig.heard.takes_parts.set(true);
        rig.heard.room.set(Room::Full);
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        let large = rig.send_within(TIMEOUT, &lane, b"GET large\r\n");
        server.expect(b"GET large\r\n").await;
        let frame = large_reply();
        let sending = async {
            server.send(&frame).await;
            server
        };
        let neighbour = async {
            until(|| lane.is_retired()).await;
            assert_eq!(rig.counter(Counter::UpstreamRetiredLanes), 1);
            let other = rig.main_lane();
            assert!(!Rc::ptr_eq(&lane, &other));
            let mut second = peer.accept_lane().await;
            let request = rig.send(&other, b"GET b\r\n");
            second.expect(b"GET b\r\n").await;
            second.send(b"+b\r\n").await;
            assert_eq!(rig.outcome(request).await, reply(b"+b\r\n"));
            // Longer than any silence of the upstream would be borne.
            let until_then = clock::now() + DEAD_AFTER * 3;
            until(|| clock::now() >= until_then).await;
            assert!(rig.heard.of(large).is_none() && rig.is_reachable());
            rig.heard.room.set(Room::Free);
            lane.resume();
            second
        };
        let (mut server, _second) = tokio::join!(sending, neighbour);
        assert!(rig.outcome(large).await == reply(&frame));
        server.expect_end().await;
        assert!(rig.is_reachable());
    });
}

#[test]
fn a_large_reply_that_breaks_off_is_cut_and_nothing_else_is_told_twice() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        rig.heard.takes_parts.set(true);
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        let (large, behind) = (rig.send(&lane, b"GET large\r\n"), rig.send(&lane, b"GET b\r\n"));
        server.expect(b"GET large\r\nGET b\r\n").await;
        server.send(&large_reply()[..LARGE_BYTES / 2]).await;
        drop(server);
        assert_eq!(rig.outcome(large).await, Outcome::Cut);
        assert_eq!(rig.outcome(behind).await, Outcome::Failed(Failure::Broken));
    });
}

#[test]
fn a_large_reply_that_nobody_waits_for_any_more_is_thrown_away() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        let large = rig.send_within(TIMEOUT, &lane, b"GET large\r\n");
        server.expect(b"GET large\r\n").await;
        assert_eq!(rig.outcome(large).await, Outcome::Failed(Failure::TimedOut));
        let next = rig.send(&lane, b"GET next\r\n");
        server.send(&large_reply()).await;
        server.send(b"+next\r\n").await;
        assert_eq!(rig.outcome(next).await, reply(b"+next\r\n"));
        assert_eq!(rig.counter(Counter::UpstreamLateReplies), 1);
    });
}

#[test]
fn a_request_that_comes_slowly_has_its_budget_for_each_step() {
    run(async {
        let peer = Peer::listen().await;
        let times = NodeOptions { timeout: TIMEOUT, dead_after: DEAD_AFTER, ..options(peer.address()) };
        let rig = Rig::start(times);
        let _main = peer.accept_lane().await;
        let lane = rig.node.exclusive_lane(RESP2);
        let number = rig.number();
        lane.begin(clock::now() + PATIENT, number, b"SET k ");
        let mut server = peer.accept_lane().await;
        server.expect(b"SET k ").await;
        for _ in 0..4 {
            let next = clock::now() + DEAD_AFTER;
            until(|| clock::now() >= next).await;
            assert_eq!(rig.heard.of(number).map(|entry| entry.outcome), None);
            lane.append(b"more");
            server.expect(b"more").await;
        }
        lane.append(b"\r\n");
        lane.finish(clock::now() + PATIENT);
        server.expect(b"\r\n").await;
        server.send(b"+OK\r\n").await;
        assert_eq!(rig.outcome(number).await, reply(b"+OK\r\n"));
    });
}

#[test]
fn a_request_that_the_upstream_does_not_take_has_no_room_and_runs_out_of_time() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(NodeOptions { timeout: TIMEOUT, ..options(peer.address()) });
        let _main = peer.accept_lane().await;
        let lane = rig.node.exclusive_lane(RESP2);
        let number = rig.number();
        lane.begin(clock::now() + TIMEOUT, number, b"SET k ");
        let _server = peer.accept_lane().await;
        let mut appended = 0;
        while rig.heard.of(number).is_none() {
            let room = poll_fn(|cx| std::task::Poll::Ready(lane.poll_room(cx).is_ready())).await;
            if room {
                lane.append(&[b'x'; 64 * 1024]);
                appended += 1;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(rig.outcome(number).await, Outcome::Failed(Failure::TimedOut));
        assert!(appended * 64 * 1024 > STREAM_BUFFER_BYTES);
        lane.end();
        poll_fn(|cx| lane.poll_room(cx)).await;
    });
}
