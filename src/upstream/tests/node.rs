//! Shared and exclusive lanes, the breaker at work, and the bounds of a node.

use super::dialogue::{Dialogue, HELLO_2, HELLO_3, Peer, WELCOME, WELCOME_OLD, WHO, run_id};
use super::rig::{Outcome, RESP2, RESP3, Rig, TestLane, options, reply, run, until};
use crate::clock;
use crate::config::{Credentials, Secret};
use crate::metrics::{Counter, Gauge, Limit};
use crate::upstream::{Address, Failure, LaneKey, Made, NodeOptions, NodeState, Refused};
use std::rc::Rc;
use std::time::Duration;

/// An address at which nobody listens.
async fn deserted() -> Address {
    Peer::listen().await.address()
}

#[test]
fn an_old_server_serves_resp2_and_refuses_resp3_in_its_own_words() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let mut server = peer.accept_saying(HELLO_2, WELCOME_OLD).await;
        server.expect(b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n").await;
        let asked = rig.send(&rig.main_lane(), b"GET a\r\n");
        server.expect(b"GET a\r\n").await;
        server.send(b"+a\r\n").await;
        assert_eq!(rig.outcome(asked).await, reply(b"+a\r\n"));
        assert!(!rig.node.facts().speaks_resp3);
        assert_eq!(rig.main_lane().server_id(), Some(9));

        let resp3 = rig.node.shared_lane(RESP3);
        for _ in 0..2 {
            let refused = rig.send(&resp3, b"GET b\r\n");
            let mut other = peer.accept_saying(HELLO_3, WELCOME_OLD).await;
            let Outcome::Failed(Failure::LaneRefused(words)) = rig.outcome(refused).await else {
                panic!("{:?}", rig.heard.of(refused))
            };
            assert!(words.starts_with("ERR unknown command `HELLO`"), "{words}");
            other.expect_end().await;
        }
        assert!(rig.is_reachable(), "one lane that is refused is not an outage");
    });
}

#[test]
fn a_server_that_refuses_us_is_unreachable_until_it_serves() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let lane = rig.main_lane();
        let waiting = rig.send(&lane, b"GET a\r\n");
        let loading = WELCOME.strip_suffix(b"+PONG\r\n").unwrap();
        let loading = [loading, b"-LOADING Redis is loading the dataset in memory\r\n"].concat();
        peer.accept_saying(HELLO_2, &loading).await;
        assert_eq!(rig.outcome(waiting).await, Outcome::Failed(Failure::Unsent));
        assert_eq!(rig.status.state(), NodeState::Unreachable);
        assert_eq!(lane.accepts(), Err(Refused::Down));
        // The probe is told the same, then not any more.
        peer.accept_saying(HELLO_2, &loading).await;
        peer.serve_probe().await;
        let mut server = peer.accept_lane().await;
        until(|| rig.is_reachable()).await;
        let served = rig.send(&lane, b"GET b\r\n");
        server.expect(b"GET b\r\n").await;
        server.send(b"+b\r\n").await;
        assert_eq!(rig.outcome(served).await, reply(b"+b\r\n"));
        assert_eq!(rig.counter(Counter::BreakerOpened), 1);
    });
}

#[test]
fn without_a_server_requests_are_refused_at_once() {
    run(async {
        let rig = Rig::start(options(deserted().await));
        let lane = rig.main_lane();
        let early = rig.send(&lane, b"GET a\r\n");
        assert_eq!(rig.outcome(early).await, Outcome::Failed(Failure::Unsent));
        assert_eq!(lane.accepts(), Err(Refused::Down));
        assert!(rig.node.exclusive_lane(RESP2).is_dead());
        let database_1 = rig.node.shared_lane(LaneKey { database: 1, ..RESP2 });
        assert_eq!(database_1.accepts(), Err(Refused::Down));
    });
}

#[test]
fn a_server_that_comes_up_is_in_service_within_one_backoff() {
    run(async {
        let options = options(deserted().await);
        let (address, longest) = (options.address.clone(), options.backoff.max);
        let rig = Rig::start(options);
        // So many failures would make a wait of a minute, were it not bounded.
        until(|| rig.counter(Counter::UpstreamConnectFailures) >= 13).await;
        let (up_at, peer) = (clock::now(), Peer::listen_at(&address).await);
        let failures = rig.counter(Counter::UpstreamConnectFailures);
        peer.serve_probe().await;
        let took = clock::now() - up_at;
        let lane = rig.main_lane();
        let mut server = peer.accept_lane().await;
        until(|| lane.is_ready()).await;
        // One may have begun before.
        assert!(rig.counter(Counter::UpstreamConnectFailures) <= failures + 1, "the next probe finds it");
        assert!(took < 200 * longest, "it took {took:?}");
        let served = rig.send(&lane, b"GET a\r\n");
        server.expect(b"GET a\r\n").await;
        server.send(b"+a\r\n").await;
        assert_eq!(rig.outcome(served).await, reply(b"+a\r\n"));
        assert!(rig.is_reachable());
        assert_eq!(rig.counter(Counter::BreakerOpened), 1);
    });
}

#[test]
fn one_probe_at_a_time_looks_for_a_server_however_many_lanes_miss_it() {
    run(async {
        let options = NodeOptions { connect_timeout: Duration::from_millis(500), ..options(deserted().await) };
        let address = options.address.clone();
        let rig = Rig::start(options);
        for database in 1..5 {
            rig.node.shared_lane(LaneKey { database, ..RESP2 });
        }
        until(|| !rig.node.is_up()).await;
        let peer = Peer::listen_at(&address).await;
        for _ in 0..4 {
            // It accepts and says nothing, which is not enough.
            let mut probe = peer.accept().await;
            probe.expect(HELLO_2).await;
            tokio::select! {
                biased;
                () = probe.expect_end() => {}
                _ = peer.accept() => panic!("a second connection while a probe is under way"),
            }
            assert!(!rig.node.is_up());
        }
    });
}

#[test]
fn connections_are_bounded_and_counted() {
    run(async {
        let peer = Peer::listen().await;
        let timeout = Duration::from_millis(50);
        let rig = Rig::start(NodeOptions { connections_max: 2, timeout, ..options(peer.address()) });
        let mut main = peer.accept_lane().await;
        let held = rig.node.exclusive_lane(RESP2);
        let mut server = peer.accept_lane().await;
        until(|| held.is_ready()).await;
        assert_eq!(rig.gauge(Gauge::UpstreamConnections), 2);

        let third = rig.node.exclusive_lane(RESP2);
        let refused = rig.send(&third, b"MULTI\r\n");
        assert_eq!(rig.outcome(refused).await, Outcome::Failed(Failure::Unsent));
        until(|| third.is_dead()).await;
        let database_1 = rig.node.shared_lane(LaneKey { database: 1, ..RESP2 });
        let refused = rig.send(&database_1, b"GET a\r\n");
        assert_eq!(rig.outcome(refused).await, Outcome::Failed(Failure::Unsent));
        assert_eq!(rig.limit(Limit::UpstreamConnections), 2);
        assert!(rig.is_reachable(), "a bound of our own is not an outage");

        let served = rig.send(&rig.main_lane(), b"GET b\r\n");
        main.expect(b"GET b\r\n").await;
        main.send(b"+b\r\n").await;
        assert_eq!(rig.outcome(served).await, reply(b"+b\r\n"));
        // A connection that ends makes room.
        let sent = rig.send(&held, b"MULTI\r\n");
        server.expect(b"MULTI\r\n").await;
        server.send(b"+OK\r\n").await;
        assert_eq!(rig.outcome(sent).await, reply(b"+OK\r\n"));
        held.end();
        server.expect_end().await;
        until(|| rig.gauge(Gauge::UpstreamConnections) == 1).await;
        exclusive(&rig, &peer).await;
    });
}

#[test]
fn a_queue_past_its_bound_takes_no_more_until_it_has_left() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(NodeOptions { queue_bytes_max: 1000, ..options(peer.address()) });
        let lane = rig.main_lane();
        let request = [b'x'; 600];
        assert_eq!(lane.accepts(), Ok(()));
        rig.send(&lane, &request);
        assert_eq!(lane.accepts(), Ok(()));
        rig.send(&lane, &request);
        assert_eq!(lane.accepts(), Err(Refused::QueueFull));
        let mut server = peer.accept_lane().await;
        server.expect(&[b'x'; 1200]).await;
        until(|| lane.accepts().is_ok()).await;
    });
}

/// An exclusive lane and its server, after one exchange.
async fn exclusive(rig: &Rig, peer: &Peer) -> (TestLane, Dialogue) {
    let lane = rig.node.exclusive_lane(RESP2);
    let asked = rig.send(&lane, b"WATCH a\r\n");
    let mut server = peer.accept_lane().await;
    server.expect(b"WATCH a\r\n").await;
    server.send(b"+OK\r\n").await;
    assert_eq!(rig.outcome(asked).await, reply(b"+OK\r\n"));
    (lane, server)
}

#[test]
fn exclusive_lanes_are_used_again_and_dead_ones_are_not() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let _main = peer.accept_lane().await;
        let (first, server) = exclusive(&rig, &peer).await;
        let (second, mut other) = exclusive(&rig, &peer).await;
        assert!(!Rc::ptr_eq(&first, &second), "two sessions on one exclusive lane");
        rig.node.release(Rc::clone(&first));
        let elsewhere = rig.node.exclusive_lane(LaneKey { database: 1, ..RESP2 });
        assert!(!Rc::ptr_eq(&first, &elsewhere), "a lane of another database");
        let again = rig.node.exclusive_lane(RESP2);
        assert!(Rc::ptr_eq(&first, &again), "a warm lane was left");
        rig.node.release(again);

        // One dies in the pool, one is dead when it is given back.
        drop(server);
        until(|| first.is_dead()).await;
        let fresh = rig.node.exclusive_lane(RESP2);
        assert!(!Rc::ptr_eq(&first, &fresh), "a lane that died in the pool was handed out");
        second.end();
        other.expect_end().await;
        rig.node.release(Rc::clone(&second));
        let fresh = rig.node.exclusive_lane(RESP2);
        assert!(!Rc::ptr_eq(&second, &fresh), "a lane that was given back dead was handed out");
        assert!(!fresh.is_dead());
    });
}

#[test]
fn an_exclusive_lane_ends_with_its_connection_and_does_not_come_back() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let _main = peer.accept_lane().await;
        let (lane, server) = exclusive(&rig, &peer).await;
        let lost = rig.send(&lane, b"MULTI\r\n");
        drop(server);
        assert_eq!(rig.outcome(lost).await, Outcome::Failed(Failure::Broken));
        until(|| lane.is_dead()).await;
        assert_eq!(lane.accepts(), Err(Refused::Down));
        assert!(rig.is_reachable());
    });
}

#[test]
fn an_ended_lane_tells_every_request_and_closes() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let _main = peer.accept_lane().await;
        let (lane, mut server) = exclusive(&rig, &peer).await;
        let sent = rig.send(&lane, b"GET sent\r\n");
        server.expect(b"GET sent\r\n").await;
        let unsent = rig.send(&lane, b"GET unsent\r\n");
        lane.end();
        assert_eq!(rig.outcome(sent).await, Outcome::Failed(Failure::Broken));
        assert_eq!(rig.outcome(unsent).await, Outcome::Failed(Failure::Unsent));
        server.expect_end().await;
    });
}

#[test]
fn idle_exclusive_lanes_are_kept_for_a_while() {
    const LANES: usize = 20;
    run(async {
        let peer = Peer::listen().await;
        let idle_timeout = Duration::from_millis(200);
        let rig = Rig::start(NodeOptions { idle_timeout, ..options(peer.address()) });
        let _main = peer.accept_lane().await;
        let mut held = Vec::new();
        for _ in 0..LANES {
            held.push(exclusive(&rig, &peer).await);
        }
        held.iter().for_each(|(lane, _)| rig.node.release(Rc::clone(lane)));
        assert!(held.iter().all(|(lane, _)| !lane.is_dead()), "as many as were in use at a time");
        let taken = rig.node.exclusive_lane(RESP2);
        assert!(Rc::ptr_eq(&taken, &held[LANES - 1].0), "the one given back last");
        until(|| held.iter().filter(|(lane, _)| lane.is_dead()).count() == LANES - 1).await;
        assert!(!taken.is_dead(), "one that a session has does not age");
        until(|| rig.gauge(Gauge::UpstreamConnections) == 2).await;
        assert!(rig.is_reachable());
    });
}

#[test]
fn sessions_of_one_protocol_and_database_share_a_lane() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let keys = [RESP2, RESP3, LaneKey { database: 1, ..RESP2 }, LaneKey { database: 1, ..RESP3 }];
        let lanes = keys.clone().map(|key| rig.node.shared_lane(key));
        for (n, lane) in lanes.iter().enumerate() {
            assert!(Rc::ptr_eq(lane, &rig.node.shared_lane(keys[n].clone())));
            assert!(lanes[..n].iter().all(|other| !Rc::ptr_eq(lane, other)));
        }
    });
}

/// The key of a session that said AUTH with these words.
fn logged_in(user: &str, password: &str) -> LaneKey {
    let login = Credentials::new(Some(user.as_bytes()), Secret::new(password.into()));
    LaneKey { login: Some(Rc::new(login)), ..RESP2 }
}

#[test]
fn sessions_of_one_login_share_a_lane_and_others_do_not() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let lane = |user, password| rig.node.shared_lane(logged_in(user, password));
        let ali = lane("ali", "sesame");
        assert!(Rc::ptr_eq(&ali, &lane("ali", "sesame")));
        for other in [lane("ali", "seSame"), lane("baba", "sesame"), rig.main_lane()] {
            assert!(!Rc::ptr_eq(&ali, &other));
        }
        let unverified = Credentials { unverified_of: Some(7), ..Credentials::clone(ali.key.login.as_ref().unwrap()) };
        let unverified = LaneKey { login: Some(Rc::new(unverified)), ..RESP2 };
        assert!(!Rc::ptr_eq(&ali, &rig.node.shared_lane(unverified)));
        let warm = rig.node.exclusive_lane(logged_in("ali", "sesame"));
        rig.node.release(Rc::clone(&warm));
        assert!(!Rc::ptr_eq(&warm, &rig.node.exclusive_lane(logged_in("ali", "seSame"))));
        assert!(!Rc::ptr_eq(&warm, &rig.node.exclusive_lane(RESP2)));
        assert!(Rc::ptr_eq(&warm, &rig.node.exclusive_lane(logged_in("ali", "sesame"))));
    });
}

#[test]
fn a_refused_login_is_forgotten_and_no_failure_of_the_upstream() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let _main = peer.accept_lane().await;
        let mine = rig.node.shared_lane(logged_in("ali", "wrong"));
        let asked = rig.send(&mine, b"AUTH ali wrong\r\n");
        let lane = Rc::downgrade(&mine);
        drop(mine);
        let mut server = peer.accept().await;
        server.expect(b"*3\r\n$4\r\nAUTH\r\n$3\r\nali\r\n$5\r\nwrong\r\n").await;
        server.expect(HELLO_2).await;
        server.send(b"-WRONGPASS no\r\n").await;
        assert_eq!(rig.outcome(asked).await, Outcome::Failed(Failure::LaneRefused("WRONGPASS no".into())));
        until(|| lane.strong_count() == 0).await;
        assert!(rig.is_reachable());
        assert_eq!(rig.counter(Counter::BreakerOpened), 0);
    });
}

#[test]
fn a_lane_of_a_login_that_never_connected_ends_with_its_last_session() {
    run(async {
        let rig = Rig::start(options(deserted().await));
        until(|| !rig.node.is_up()).await;
        let (first, second) =
            (rig.node.shared_lane(logged_in("ali", "x")), rig.node.shared_lane(logged_in("ali", "x")));
        drop(first);
        rig.node.left(&second.key);
        assert!(!second.is_dead(), "somebody is on it");
        let lane = Rc::downgrade(&second);
        drop(second);
        rig.node.left(&logged_in("ali", "x"));
        until(|| lane.strong_count() == 0).await;
    });
}

#[test]
fn a_server_that_wants_a_login_is_there() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(NodeOptions { database: 3, ..options(peer.address()) });
        let lane = rig.node.shared_lane(LaneKey { database: 3, ..RESP2 });
        let refuse = async || {
            let mut server = peer.accept().await;
            server.expect(b"*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n").await;
            server.send(b"-NOAUTH a\r\n-NOAUTH b\r\n-NOAUTH c\r\n").await;
        };
        refuse().await;
        until(|| rig.is_reachable()).await;
        assert!(rig.node.facts().wants_login);
        // It is asked again for each request, and not without one.
        let sent = rig.send(&lane, b"GET a\r\n");
        refuse().await;
        assert_eq!(rig.outcome(sent).await, Outcome::Failed(Failure::LaneRefused("NOAUTH b".into())));
        assert_eq!(rig.counter(Counter::UpstreamConnectFailures), 2);
        assert_eq!(rig.counter(Counter::BreakerOpened), 0);
    });
}

#[test]
fn shared_lanes_that_nobody_uses_make_room_for_others() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let main = Rc::downgrade(&rig.main_lane());
        let mut lanes = Vec::new();
        for database in 1..200 {
            lanes.push(Rc::downgrade(&rig.node.shared_lane(LaneKey { database, ..RESP2 })));
            tokio::task::yield_now().await;
        }
        until(|| lanes.iter().filter(|lane| lane.strong_count() > 0).count() <= 64).await;
        assert!(main.upgrade().is_some_and(|main| !main.is_dead()), "the lane of new sessions is for good");
    });
}

#[test]
fn a_lane_that_is_given_up_is_no_failure_of_the_upstream() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let _main = peer.accept_lane().await;
        // While it connects.
        let lane = rig.node.exclusive_lane(RESP2);
        let mut server = peer.accept().await;
        server.expect(HELLO_2).await;
        lane.end();
        server.expect_end().await;
        assert_eq!(rig.counter(Counter::BreakerOpened), 0, "while it connects");
        // Once connected, before the first reply.
        let lane = rig.node.exclusive_lane(RESP2);
        let asked = rig.send(&lane, b"MULTI\r\n");
        let mut server = peer.accept_lane().await;
        server.expect(b"MULTI\r\n").await;
        lane.end();
        assert_eq!(rig.outcome(asked).await, Outcome::Failed(Failure::Broken));
        server.expect_end().await;
        assert_eq!(rig.counter(Counter::BreakerOpened), 0, "before the first reply");
    });
}

#[test]
fn a_connection_that_serves_nobody_opens_the_breaker() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let lane = rig.main_lane();
        let mut server = peer.accept_lane().await;
        let sent = rig.send(&lane, b"GET a\r\n");
        server.expect(b"GET a\r\n").await;
        drop(server);
        assert_eq!(rig.outcome(sent).await, Outcome::Failed(Failure::Broken));
        assert_eq!(rig.counter(Counter::BreakerOpened), 1);
        peer.serve_probe().await;
        let _server = peer.accept_lane().await;
        until(|| rig.is_reachable()).await;
    });
}

#[test]
fn nobody_gets_a_lane_on_which_its_last_session_left_more_than_the_cleaning() {
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(options(peer.address()));
        let _main = peer.accept_lane().await;
        for (requests, is_kept) in [(0, true), (1, true), (2, false)] {
            let lane = rig.node.exclusive_lane(RESP2);
            for _ in 0..requests {
                rig.send(&lane, b"GET k\r\n");
            }
            rig.node.release(Rc::clone(&lane));
            assert_eq!(!lane.is_dead(), is_kept, "{requests} in flight");
            lane.end();
        }
    });
}

/// Takes the connection of a lane of RESP2 that asks who the server is, and tells it.
async fn accept_asking(peer: &Peer, says: &[u8]) -> Dialogue {
    peer.accept_saying(&[HELLO_2, WHO].concat(), &[WELCOME, says].concat()).await
}

/// Answers a request, and ends the connection then: that is no failure of the server's.
async fn serve_and_end(rig: &Rig, lane: &TestLane, mut server: Dialogue) {
    let served = rig.send(lane, b"GET a\r\n");
    server.expect(b"GET a\r\n").await;
    server.send(b"+a\r\n").await;
    assert_eq!(rig.outcome(served).await, reply(b"+a\r\n"));
    drop(server);
    until(|| !lane.is_ready()).await;
}

#[test]
fn shared_lanes_without_a_login_ask_who_the_server_is_and_no_others() {
    const AUTH: &[u8] = b"*2\r\n$4\r\nAUTH\r\n$6\r\nsesame\r\n";
    run(async {
        let peer = Peer::listen().await;
        let rig = Rig::start(NodeOptions { asks_run_id: true, ..options(peer.address()) });
        let lane = rig.main_lane();
        let first = accept_asking(&peer, run_id(1).as_bytes()).await;
        let exclusive = rig.node.exclusive_lane(RESP2);
        let _its_server = peer.accept_lane().await;
        let login = Some(Rc::new(Credentials::new(None, Secret::new(b"sesame".to_vec()))));
        let login = rig.node.shared_lane(LaneKey { login, ..RESP2 });
        rig.send(&login, b"GET a\r\n");
        let _its_server = peer.accept_saying(&[AUTH, HELLO_2].concat(), &[b"+OK\r\n", WELCOME].concat()).await;
        until(|| [&lane, &exclusive, &login].iter().all(|lane| lane.is_ready())).await;
        let known = |lane: &TestLane| lane.run_id().map(|id| id.number().get());
        assert_eq!([&lane, &exclusive, &login].map(known), [Some(1), None, None]);

        serve_and_end(&rig, &lane, first).await;
        assert_eq!(known(&lane), Some(1), "the one before, until there is another connection");
        let second = accept_asking(&peer, run_id(2).as_bytes()).await;
        until(|| lane.is_ready()).await;
        assert_eq!(known(&lane), Some(2));
        serve_and_end(&rig, &lane, second).await;
        let _third = accept_asking(&peer, b"-NOPERM no permissions to run the 'info' command\r\n").await;
        until(|| lane.is_ready()).await;
        assert_eq!(known(&lane), None);
        let heard = rig.heard.connected.borrow();
        let heard: Vec<_> = heard.iter().map(|(id, made)| (id.map(|id| id.number().get()), *made)).collect();
        let (first, anew) = (Made::First, Made::Anew);
        assert_eq!(heard, [(Some(1), first), (None, first), (Some(2), anew), (None, anew)]);
    });
}
