//! The near cache end to end: what it serves is what Redis holds.
//!
//! Each rule on its own first, made certain by a pipe that holds back what the link would hear (`writes`, `reads`,
//! `news`,
//! `sessions`, `link`, `servers`, `lifetime`, `degraded`); then all of them at once under load and faults (`storm`). Whether
//! a reply came from the near cache is told by its metric and by Redis' own count of GETs, never by how long it took.

// Sessions whose reads are the server's alone.
mod sessions;
// Servers that do not track keys, and a near cache that is off.
mod degraded;
// Values that end by themselves.
mod lifetime;
// The link lost, silent, and back.
mod link;
// What a reply says of a key that is not its value.
mod news;
// What a read keeps, and that reads never go backwards.
mod reads;
// Everything at once.
mod storm;
// Two servers behind one address, and which of them the proxy is connected to.
mod servers;
// The storm's questions: who has written what, and what a read may find.
mod versions;
// Every path on which a client changes a value.
mod writes;

use crate::support::client::Client;
use crate::support::fault::{Carries, Direction, Pipe};
use crate::support::proxy::{Patience, Proxy, ProxyOptions};
use crate::support::redis::{Redis, RedisOptions};
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};

/// Longer than any test holds the link: what is served meanwhile is right by what the proxy's own clients say alone.
const LONG_SILENCE: &str = "link_timeout = \"60s\"";

/// A Redis, a proxy before it, and a pipe between them.
struct Bench {
    redis: Redis,
    pipe: Pipe,
    proxy: Proxy,
}

impl Bench {
    /// With these lines in `[near_cache]`.
    #[track_caller]
    fn start(near_cache: &str) -> Self {
        Self::start_with(RedisOptions::default(), near_cache)
    }

    #[track_caller]
    fn start_with(options: RedisOptions, near_cache: &str) -> Self {
        let password = options.password;
        let redis = Redis::start_with(options);
        let pipe = Pipe::to(redis.address());
        let url = match password {
            Some(password) => format!("redis://:{password}@{}", pipe.address()),
            None => pipe.url(),
        };
        let proxy = tracking_proxy(url, near_cache);
        Self { redis, pipe, proxy }
    }

    /// Clients of all workers, in both protocols.
    fn readers(&self) -> Vec<Client> {
        let (proxy, pair) = (&self.proxy, |proxy: &Proxy| [proxy.client(), proxy.client_resp3()]);
        [pair(proxy), pair(proxy)].into_iter().flatten().collect()
    }

    /// Puts a value into Redis and has the near cache keep it.
    #[track_caller]
    fn keep(&self, key: &str, value: &str) {
        let mut direct = self.redis.client();
        assert_eq!(direct.command(["SET", key, value, "EX", "1000"]), Value::ok());
        self.have_kept(key, value);
    }

    /// Reads what is in Redis until the near cache keeps it.
    #[track_caller]
    fn have_kept(&self, key: &str, value: &str) {
        let mut client = self.proxy.client();
        wait_until(SOON, &format!("{key} is kept"), || {
            let before = hits(&self.proxy);
            let reply = client.command(["GET", key]);
            reply == Value::bulk(value) && hits(&self.proxy) > before
        });
    }

    /// Lets the link hear nothing. What it would have heard comes with [`Self::hear_again`].
    fn hear_nothing(&self) {
        self.pipe.hold_what(Carries::Invalidations, Direction::Replies);
    }

    /// Ends [`Self::hear_nothing`], and waits until all of it was heard.
    #[track_caller]
    fn hear_again(&self) {
        self.pipe.go_on_what(Carries::Invalidations, Direction::Replies);
        // What the link hears of this key comes behind all that was held back.
        self.keep("fca:heard", "before");
        assert_eq!(self.redis.client().command(["SET", "fca:heard", "after"]), Value::ok());
        let mut client = self.proxy.client();
        wait_until(SOON, "the link hears again", || client.command(["GET", "fca:heard"]) == Value::bulk("after"));
    }

    /// How many GETs Redis has carried out.
    #[track_caller]
    fn gets(&self) -> u64 {
        self.redis.calls("get")
    }
}

/// A proxy with these lines in `[near_cache]`, whose link is up.
#[track_caller]
fn tracking_proxy(url: String, near_cache: &str) -> Proxy {
    let proxy = near_proxy(url, near_cache);
    wait_until(SOON, "the near cache is up", || is_up(&proxy));
    proxy
}

/// A proxy with these lines in `[near_cache]`.
#[track_caller]
fn near_proxy(url: String, near_cache: &str) -> Proxy {
    Proxy::start(ProxyOptions {
        upstream: Some(url),
        config: format!("[near_cache]\n{near_cache}\n"),
        patience: Patience::Long,
        ..ProxyOptions::default()
    })
}

/// Whether the near cache may answer.
fn is_up(proxy: &Proxy) -> bool {
    count(proxy, "up") > 0.0
}

/// Reads answered by the near cache.
fn hits(proxy: &Proxy) -> f64 {
    count(proxy, "hits_total")
}

/// A metric of the near cache.
#[track_caller]
fn count(proxy: &Proxy, name: &str) -> f64 {
    proxy.metrics().sum(&format!("fca_proxy_near_cache_{name}"))
}

/// The key of a question's spelling.
#[track_caller]
fn key_of(proxy: &Proxy, question: &str) -> String {
    proxy.client().command(["FCA.KEY", "faq", question]).text().to_owned()
}

/// A value too large to be sent on in one piece.
fn large(value: &str) -> String {
    const BYTES: usize = 1 << 20;
    value.repeat(BYTES / value.len())
}
