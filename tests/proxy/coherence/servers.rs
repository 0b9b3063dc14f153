//! Two servers behind one address: nobody is given the one's values for the other's. And one that closes idle
//! connections: its near cache goes on, for it is the same server.

use super::{Bench, LONG_SILENCE, count, hits, is_up, tracking_proxy};
use crate::support::client::Client;
use crate::support::fault::{Carries, Pipe};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::value::Value;
use crate::support::wait::{MachineStalls, SOON, wait_until};
use std::time::Duration;

const KEY: &str = "fca:key";
/// How many workers a proxy of these tests has.
const WORKERS: f64 = 2.0;
/// Of the first server alone.
const OTHER: &str = "fca:other";

/// An address that leads to the first, a proxy whose lanes of RESP2 are connected to it, and a session on one of them.
struct Two {
    first: Redis,
    second: Redis,
    pipe: Pipe,
    proxy: Proxy,
    session: Client,
}

impl Two {
    fn start() -> Self {
        let (first, second) = (Redis::start(), Redis::start());
        set(&first, KEY, "of the first");
        set(&second, KEY, "of the second");
        let pipe = Pipe::to(first.address());
        let proxy = tracking_proxy(pipe.url(), LONG_SILENCE);
        let connections = || proxy.metrics().sum("fca_proxy_upstream_connections");
        wait_until(SOON, "each worker is connected", || connections() >= WORKERS);
        let mut session = proxy.client();
        wait_until_hit(&proxy, &mut session, "of the first");
        Self { first, second, pipe, proxy, session }
    }

    /// The link has been made anew since it was made so often.
    fn wait_until_anew(&self, flushes: u64) {
        wait_until(SOON, "it was emptied", || self.flushes() > flushes);
        wait_until(SOON, "it is up again", || is_up(&self.proxy));
    }

    fn flushes(&self) -> u64 {
        count(&self.proxy, "flushes_total") as u64
    }

    /// What was served from the near cache, and kept in it, so far.
    fn used(&self) -> [f64; 2] {
        [hits(&self.proxy), count(&self.proxy, "fills_total")]
    }
}

#[track_caller]
fn set(redis: &Redis, key: &str, value: &str) {
    assert_eq!(redis.client().command(["SET", key, value, "EX", "1000"]), Value::ok());
}

/// Reads this, and nothing else, until it comes from the near cache.
#[track_caller]
fn wait_until_hit(proxy: &Proxy, session: &mut Client, value: &str) {
    wait_until(SOON, "it is served from the near cache", || {
        let before = hits(proxy);
        assert_eq!(session.command(["GET", KEY]), Value::bulk(value));
        hits(proxy) > before
    });
}

/// What is written to the server is what its sessions read at once.
#[track_caller]
fn assert_reads_are_of(server: &Redis, sessions: &mut [&mut Client]) {
    const ROUNDS: usize = 20;
    for round in 0..ROUNDS {
        let value = round.to_string();
        set(server, KEY, &value);
        for session in &mut *sessions {
            assert_eq!(session.command(["GET", KEY]), Value::bulk(&value));
        }
    }
}

#[test]
fn where_the_address_moves_each_session_reads_from_its_own_server() {
    let mut two = Two::start();
    two.pipe.lead_to(two.second.address());
    // The first of its protocol: its lane connects now.
    let mut moved = two.proxy.client_resp3();
    assert_eq!(moved.command(["GET", OTHER]), Value::Nil);
    two.wait_until_anew(0);
    wait_until_hit(&two.proxy, &mut moved, "of the second");
    assert_eq!(two.session.command(["GET", KEY]), Value::bulk("of the first"));
    wait_until_hit(&two.proxy, &mut moved, "of the second");
    set(&two.second, KEY, "newer");
    wait_until(SOON, "what is written to the second is seen", || moved.command(["GET", KEY]) == Value::bulk("newer"));
    wait_until_hit(&two.proxy, &mut moved, "newer");
    assert_reads_are_of(&two.first, &mut [&mut two.session]);
    wait_until_hit(&two.proxy, &mut moved, "newer");
    assert_eq!(two.flushes(), 1);
}

#[test]
fn a_link_that_comes_back_to_another_server_leaves_the_lanes_alone() {
    let mut two = Two::start();
    two.pipe.lead_to(two.second.address());
    two.pipe.cut(Carries::Invalidations);
    two.wait_until_anew(0);
    let used = two.used();
    assert_reads_are_of(&two.first, &mut [&mut two.session]);
    assert_eq!(two.used(), used, "nothing was served, and nothing kept");
    // A lane that is on the link's server has all of it.
    let mut moved = two.proxy.client_resp3();
    wait_until_hit(&two.proxy, &mut moved, "of the second");
    assert_reads_are_of(&two.first, &mut [&mut two.session]);
    wait_until_hit(&two.proxy, &mut moved, "of the second");
    assert_eq!(two.flushes(), 1);
}

#[test]
fn behind_a_balancer_the_link_is_not_made_anew_for_each_lane() {
    let mut two = Two::start();
    two.pipe.lead_to(two.second.address());
    let mut moved = two.proxy.client_resp3();
    assert_eq!(moved.command(["GET", OTHER]), Value::Nil);
    two.wait_until_anew(0);
    wait_until_hit(&two.proxy, &mut moved, "of the second");

    // All lanes are on the first from now on. The read of the one that connects only now was sent off as one of the second.
    two.pipe.lead_to(two.first.address());
    set(&two.first, OTHER, "other");
    two.pipe.cut(Carries::Requests);
    let used = two.used();
    for session in [&mut moved, &mut two.session] {
        wait_until(SOON, "it is connected anew", || session.command(["GET", OTHER]) == Value::bulk("other"));
    }
    assert_reads_are_of(&two.first, &mut [&mut moved, &mut two.session]);
    assert_eq!(two.used(), used, "nothing was served, and nothing kept");
    assert_eq!(two.flushes(), 1);
}

#[test]
fn a_server_that_closes_idle_connections_empties_nothing() {
    const CLOSED: f64 = 4.0;
    /// How long the link may have been kept from saying a word, before it is idle or silent.
    const STALL_MAX: Duration = Duration::from_secs(1);
    let stalls = MachineStalls::watch();
    let bench = Bench::start("link_timeout = \"2s\"");
    bench.keep(KEY, "value");
    let (gets, flushes) = (bench.gets(), count(&bench.proxy, "flushes_total"));
    assert_eq!(bench.redis.client().say("CONFIG SET timeout 2"), Value::ok());
    let reconnects = || bench.proxy.metrics().sum("fca_proxy_upstream_reconnects_total");
    let mut reader = bench.proxy.client();
    wait_until(SOON, "idle lanes are closed", || {
        assert_eq!(reader.command(["GET", KEY]), Value::bulk("value"));
        reconnects() >= CLOSED
    });
    if stalls.worst() < STALL_MAX {
        assert_eq!((count(&bench.proxy, "flushes_total"), bench.gets()), (flushes, gets));
    }
}

#[test]
fn a_server_that_does_not_say_who_it_is_is_trusted_until_a_lane_connects_anew() {
    let redis = Redis::start();
    let mut admin = redis.client();
    assert_eq!(admin.say("ACL SETUSER default -info"), Value::ok());
    let pipe = Pipe::to(redis.address());
    let proxy = tracking_proxy(pipe.url(), "");
    let mut session = proxy.client();
    set(&redis, KEY, "value");
    wait_until_hit(&proxy, &mut session, "value");
    assert_eq!(count(&proxy, "flushes_total"), 0.0);
    pipe.cut(Carries::Requests);
    wait_until(SOON, "it was emptied", || count(&proxy, "flushes_total") > 0.0);
    wait_until(SOON, "it is connected anew", || session.command(["GET", KEY]) == Value::bulk("value"));
    wait_until(SOON, "it is up again", || is_up(&proxy));
    wait_until_hit(&proxy, &mut session, "value");
}
