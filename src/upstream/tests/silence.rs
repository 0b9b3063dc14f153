//! Budgets, and servers that say nothing, too little, or too late.

use super::dialogue::{HELLO_3, Peer, WELCOME};
use super::rig::{Outcome, RESP3, Rig, options, reply, run, until};
use crate::clock;
use crate::metrics::Counter;
use crate::upstream::{Failure, NodeOptions};
use std::time::Duration;
use tokio::time::sleep;

/// Both are waited for, and long enough for a busy machine to do in time what is to be done before their end.
const DEAD_AFTER: Duration = Duration::from_secs(2);
const BUDGET: Duration = Duration::from_millis(700);

#[test]
fn a_late_reply_is_swallowed_and_the_next_request_gets_its_own() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        let sent_at = clock::now();
        let slow = rig.send_within(BUDGET, &lane, b"GET slow\r\n");
        let patient = rig.send(&lane, b"GET patient\r\n");
        server.expect(b"GET slow\r\nGET patient\r\n").await;
        assert_eq!(rig.outcome(slow).await, Outcome::Failed(Failure::TimedOut));
        assert!(rig.heard.of(slow).unwrap().at >= sent_at + BUDGET);
        let next = rig.send(&lane, b"GET next\r\n");
        server.expect(b"GET next\r\n").await;
        server.send(b"+slow\r\n+patient\r\n+next\r\n").await;
        assert_eq!(rig.outcome(patient).await, reply(b"+patient\r\n"));
        assert_eq!(rig.outcome(next).await, reply(b"+next\r\n"));
        assert_eq!(rig.counter(Counter::UpstreamLateReplies), 1);
        assert_eq!(rig.counter(Counter::UpstreamTimeouts), 1);
    });
}

#[test]
fn a_connection_is_closed_once_it_was_silent_for_dead_after() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(NodeOptions { dead_after: DEAD_AFTER, ..options(peer.address()) });
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        let (answered, waiting) = (rig.send(&lane, b"GET a\r\n"), rig.send(&lane, b"GET b\r\n"));
        let impatient = rig.send_within(BUDGET, &lane, b"GET c\r\n");
        server.expect(b"GET a\r\nGET b\r\nGET c\r\n").await;
        let silent_since = clock::now();
        server.send(b"+a\r\n").await;
        assert_eq!(rig.outcome(waiting).await, Outcome::Failed(Failure::Broken));
        assert!(rig.heard.of(waiting).unwrap().at >= silent_since + DEAD_AFTER);
        server.expect_end().await;
        assert_eq!(rig.heard.of(answered).unwrap().outcome, reply(b"+a\r\n"));
        assert_eq!(rig.heard.of(impatient).unwrap().outcome, Outcome::Failed(Failure::TimedOut));
        assert_eq!(rig.counter(Counter::UpstreamDeadConnections), 1);
    });
}

#[test]
fn a_silent_connection_does_not_fail_its_neighbours() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(NodeOptions { dead_after: DEAD_AFTER, ..options(peer.address()) });
        let mut silent = peer.accept_lane().await;
        let resp3 = rig.node.shared_lane(RESP3);
        let first = rig.send(&resp3, b"GET first\r\n");
        let mut serving = peer.accept_saying(HELLO_3, WELCOME).await;
        serving.expect(b"GET first\r\n").await;
        serving.send(b"+1\r\n").await;
        assert_eq!(rig.outcome(first).await, reply(b"+1\r\n"));

        let lost = rig.send(&rig.main_lane(), b"GET lost\r\n");
        silent.expect(b"GET lost\r\n").await;
        assert_eq!(rig.outcome(lost).await, Outcome::Failed(Failure::Broken));
        assert!(!rig.node.is_up());
        assert_eq!(resp3.accepts(), Ok(()));
        let second = rig.send(&resp3, b"GET second\r\n");
        serving.expect(b"GET second\r\n").await;
        serving.send(b"+2\r\n").await;
        assert_eq!(rig.outcome(second).await, reply(b"+2\r\n"));
    });
}

#[test]
fn a_connection_that_goes_on_answering_is_not_silent() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(NodeOptions { dead_after: DEAD_AFTER, ..options(peer.address()) });
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        let requests: Vec<usize> = (0..7).map(|_| rig.send(&lane, b"GET\r\n")).collect();
        for request in requests {
            sleep(DEAD_AFTER / 5).await;
            server.send(b"+OK\r\n").await;
            assert_eq!(rig.outcome(request).await, reply(b"+OK\r\n"));
        }
        assert_eq!(rig.counter(Counter::UpstreamDeadConnections), 0);
    });
}

#[test]
fn an_idle_connection_is_not_silent_and_its_next_request_has_all_of_dead_after() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(NodeOptions { dead_after: DEAD_AFTER, ..options(peer.address()) });
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        until(|| lane.is_ready()).await;
        sleep(DEAD_AFTER * 2).await;
        let sent_at = clock::now();
        let request = rig.send(&lane, b"GET a\r\n");
        server.expect(b"GET a\r\n").await;
        assert_eq!(rig.outcome(request).await, Outcome::Failed(Failure::Broken));
        assert!(rig.heard.of(request).unwrap().at >= sent_at + DEAD_AFTER);
    });
}

#[test]
fn a_drip_of_single_bytes_is_silence() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(NodeOptions { dead_after: DEAD_AFTER, ..options(peer.address()) });
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        let request = rig.send(&lane, b"GET a\r\n");
        server.expect(b"GET a\r\n").await;
        server.send(b"$1000000\r\n").await;
        // The whole would take hours.
        while server.try_send(b"x").await {
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(rig.outcome(request).await, Outcome::Failed(Failure::Broken));
        assert_eq!(rig.counter(Counter::UpstreamDeadConnections), 1);
    });
}

#[test]
fn a_large_reply_on_its_way_is_no_silence() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(NodeOptions { dead_after: DEAD_AFTER, ..options(peer.address()) });
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        let request = rig.send(&lane, b"GET a\r\n");
        server.expect(b"GET a\r\n").await;
        let chunk = [b'x'; 64 * 1024];
        let (begun_at, mut frame) = (clock::now(), format!("${}\r\n", 16 * chunk.len()).into_bytes());
        server.send(&frame).await;
        for _ in 0..16 {
            sleep(DEAD_AFTER / 12).await;
            server.send(&chunk).await;
            frame.extend_from_slice(&chunk);
        }
        server.send(b"\r\n").await;
        frame.extend_from_slice(b"\r\n");
        assert!(rig.outcome(request).await == reply(&frame), "the reply came out differently");
        assert!(clock::now() > begun_at + DEAD_AFTER);
    });
}

#[test]
fn a_budget_ends_while_the_connection_is_still_being_made() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let lane = rig.main_lane();
        // The server accepts, and says nothing.
        let _silent = peer.accept().await;
        let sent_at = clock::now();
        let request = rig.send_within(BUDGET, &lane, b"GET a\r\n");
        assert_eq!(rig.outcome(request).await, Outcome::Failed(Failure::TimedOut));
        assert!(rig.heard.of(request).unwrap().at >= sent_at + BUDGET);
        assert!(rig.node.is_up(), "nothing is known of this server yet");
    });
}

#[test]
fn a_budget_ends_while_other_replies_flood_in() {
    const REQUESTS: usize = 64 * 1024;
    /// Long before the flood is over: who reads it is who minds the time.
    const BUDGET: Duration = Duration::from_millis(30);
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let mut server = peer.accept_lane().await;
        let lane = rig.main_lane();
        // Given up at once: their replies are read and swallowed, a gigabyte of them.
        for _ in 0..REQUESTS {
            rig.send_within(Duration::ZERO, &lane, b"+");
        }
        server.expect(&[b'+'; REQUESTS]).await;
        let frame = [b"$16384\r\n".as_slice(), &[b'x'; 16384], b"\r\n"].concat();
        let flood = std::thread::spawn(server.into_flood(frame.repeat(64), REQUESTS / 64));
        until(|| rig.counter(Counter::UpstreamLateReplies) > 0).await;
        let behind = rig.send_within(BUDGET, &lane, b"GET behind\r\n");
        assert_eq!(rig.outcome(behind).await, Outcome::Failed(Failure::TimedOut));
        let swallowed = rig.counter(Counter::UpstreamLateReplies);
        assert!(swallowed < REQUESTS as u64, "told when the flood was over");
        drop((rig, flood));
    });
}
