//! Servers that do not track keys, a near cache that is off, and what the proxy tells of both.

use super::{Bench, count, hits, near_proxy};
use crate::support::peer::{Dialogue, Peer};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const KEY: &str = "fca:key";

/// What a server refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refuses {
    /// HELLO 3, as before Redis 6.
    Resp3,
    /// CLIENT TRACKING, as a managed service may.
    Tracking,
}

/// A server that refuses this, and counts the GETs that it answers with `value`.
fn old_server(refuses: Refuses, gets: &Arc<AtomicUsize>) -> Peer {
    let gets = Arc::clone(gets);
    Peer::playing(move |dialogue| serve(dialogue, refuses, &gets))
}

fn serve(dialogue: &mut Dialogue, refuses: Refuses, gets: &AtomicUsize) -> io::Result<()> {
    loop {
        let command = dialogue.next_command()?;
        let word = |at: usize| command.get(at).map(|word| word.to_ascii_uppercase()).unwrap_or_default();
        match (word(0).as_slice(), word(1).as_slice(), refuses) {
            (b"HELLO", _, Refuses::Resp3) => {
                dialogue.send(b"-ERR unknown command `HELLO`, with args beginning with: \r\n")?
            }
            (b"CLIENT", b"TRACKING", _) => {
                dialogue.send(b"-ERR Unknown subcommand or wrong number of arguments for 'TRACKING'\r\n")?;
            }
            (b"PTTL", ..) => dialogue.send(b":100000\r\n")?,
            (b"GET", ..) => {
                gets.fetch_add(1, Ordering::SeqCst);
                dialogue.send(b"$5\r\nvalue\r\n")?;
            }
            (b"SET", ..) => dialogue.send(b"+OK\r\n")?,
            _ => match dialogue.handshake_reply(&command) {
                Some(reply) => dialogue.send(&reply)?,
                None => dialogue.send(b"-ERR unknown command\r\n")?,
            },
        }
    }
}

/// Reads until so many were answered without the server.
fn read_until_near(proxy: &Proxy, reads: f64) {
    let mut client = proxy.client();
    let near = hits(proxy);
    wait_until(SOON, "reads are answered without the server", || {
        // Several before the proxy is asked how many, which may take as long as a value lives.
        for _ in 0..10 {
            assert_eq!(client.command(["GET", KEY]), Value::bulk("value"));
        }
        hits(proxy) >= near + reads
    });
}

#[test]
fn a_server_that_cannot_track_is_asked_every_time() {
    const READS: usize = 20;
    for refuses in [Refuses::Resp3, Refuses::Tracking] {
        let gets = Arc::new(AtomicUsize::new(0));
        let peer = old_server(refuses, &gets);
        let proxy = near_proxy(peer.url(), "");
        wait_until(SOON, "one log line says so", || proxy.log_lines_containing("near cache").len() == 1);
        for mut client in [proxy.client(), proxy.client()] {
            for _ in 0..READS {
                assert_eq!(client.command(["GET", KEY]), Value::bulk("value"));
            }
        }
        assert_eq!(gets.load(Ordering::SeqCst), 2 * READS, "{refuses:?}");
        assert_eq!((hits(&proxy), count(&proxy, "up")), (0.0, 0.0), "{refuses:?}");
        assert_eq!(proxy.log_lines_containing("near cache").len(), 1, "no line for each attempt");
    }
}

#[test]
fn without_tracking_it_serves_for_a_short_time_where_that_is_wanted() {
    for refuses in [Refuses::Resp3, Refuses::Tracking] {
        let gets = Arc::new(AtomicUsize::new(0));
        let peer = old_server(refuses, &gets);
        let proxy = near_proxy(peer.url(), "without_tracking = \"ttl\"\nttl_max_without_tracking = \"500ms\"");
        read_until_near(&proxy, 20.0);
        // It does not live by being read.
        let asked = gets.load(Ordering::SeqCst);
        let mut client = proxy.client();
        wait_until(SOON, "the server is asked again", || {
            assert_eq!(client.command(["GET", KEY]), Value::bulk("value"));
            gets.load(Ordering::SeqCst) > asked
        });
        // Our own writes are known.
        read_until_near(&proxy, 3.0);
        let asked = gets.load(Ordering::SeqCst);
        assert_eq!(client.command(["SET", KEY, "value"]), Value::ok());
        assert_eq!(proxy.client().command(["GET", KEY]), Value::bulk("value"));
        assert_eq!(gets.load(Ordering::SeqCst), asked + 1, "{refuses:?}: the write was taken notice of");
    }
}

#[test]
fn a_real_redis_may_refuse_it_by_its_rights() {
    let redis = Redis::start();
    let mut direct = redis.client();
    assert_eq!(direct.say("ACL SETUSER proxy on >secret ~* &* +@all -client|tracking"), Value::ok());
    assert_eq!(direct.command(["SET", KEY, "value"]), Value::ok());
    let proxy = near_proxy(format!("redis://proxy:secret@{}", redis.address()), "");
    let mut client = proxy.client();
    wait_until(SOON, "one log line says so", || proxy.log_lines_containing("near cache").len() == 1);
    for _ in 0..20 {
        assert_eq!(client.command(["GET", KEY]), Value::bulk("value"));
    }
    assert_eq!(hits(&proxy), 0.0);
}

#[test]
fn switched_off_it_is_not_there() {
    let redis = Redis::start();
    let proxy = near_proxy(redis.url(), "enabled = false");
    let mut direct = redis.client();
    assert_eq!(direct.command(["SET", KEY, "value"]), Value::ok());
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(client.command(["GET", KEY]), Value::bulk("value"));
    }
    assert_eq!(redis.calls("get"), 20);
    assert_eq!(redis.calls("pttl"), 0, "nobody asks how long a value lives");
    let tracks = direct.say("CLIENT LIST").text().lines().any(|line| line.contains("name=fca-proxy-link"));
    assert!(!tracks, "there is no link");
    assert_eq!((hits(&proxy), count(&proxy, "up")), (0.0, 0.0));
}

#[test]
fn info_stats_and_metrics_tell_of_it() {
    let bench = Bench::start("");
    let key = super::key_of(&bench.proxy, "question");
    bench.keep(&key, "answer");
    let mut client = bench.proxy.client();
    let near = hits(&bench.proxy);
    for _ in 0..5 {
        assert_eq!(client.command(["FCA.GET", "faq", "question"]), Value::bulk("answer"));
    }
    wait_until(SOON, "hits are counted", || hits(&bench.proxy) >= near + 5.0);
    for (name, least) in [("up", 1.0), ("entries", 1.0), ("bytes", 6.0), ("fills_total", 1.0), ("hits_total", 5.0)] {
        assert!(count(&bench.proxy, name) >= least, "{name}");
    }
    let (status, body) = bench.proxy.admin("/metrics");
    assert_eq!(status, 200);
    for name in ["fills_refused_total", "invalidations_total", "evictions_total", "flushes_total"] {
        assert!(body.contains(&format!("\nfca_proxy_near_cache_{name} ")), "{name}");
    }
    let info = client.command(["INFO", "fca_proxy"]).text().to_owned();
    let lines: Vec<&str> = info.lines().filter(|line| line.starts_with("fca_proxy_near_")).collect();
    assert!(lines.len() >= 6, "{info}");
    assert!(lines.contains(&"fca_proxy_near_cache:up"), "{lines:?}");
    let stats = format!("{:?}", client.command(["FCA.STATS", "faq"]));
    assert!(stats.contains("\"near_hits\", :5"), "{stats}");
}
