//! What clients cost while they are idle, and what is left of them when they have gone.
//!
//! `docs/performance.md` has the figures of a release build; these bounds are those of a debug build on a busy machine,
//! and are there to notice a buffer that is kept, or memory that is not given back.

use crate::support::client::{Client, encode};
use crate::support::proxy::{Patience, Proxy, ProxyOptions};
use crate::support::redis::Redis;
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::time::Duration;

const CLIENTS: usize = 2000;
/// What every client has sent and received once.
const VALUE_BYTES: usize = 16 * 1024;
/// A buffer of a session's own would be more.
const IDLE_CLIENT_BYTES_MAX: u64 = 5 * 1024;
/// What stays of tables that have grown, and of the upstream connection's buffers.
const LEFT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The allocator gives memory back over ten seconds.
const GIVEN_BACK: Duration = Duration::from_secs(60);

#[test]
fn idle_clients_cost_little_and_leave_nothing_behind() {
    let mut files = getrlimit(Resource::Nofile);
    if files.current.is_some_and(|soft| soft < 20_000) {
        files.current = files.maximum.map_or(Some(20_000), |hard| Some(hard.min(20_000)));
        setrlimit(Resource::Nofile, files).expect("the soft limit may rise to the hard one");
    }
    let redis = Redis::start();
    let proxy = Proxy::start(ProxyOptions {
        upstream: Some(redis.url()),
        config: format!("[limits]\nclients_max = {}\n", CLIENTS + 1),
        patience: Patience::Long,
        ..ProxyOptions::default()
    });
    let value = vec![b'v'; VALUE_BYTES];
    let set = encode([b"SET".as_slice(), b"large", &value]);
    let use_it = |client: &mut Client| {
        client.send_raw(&set);
        assert_eq!(client.reply(), Value::ok());
        assert_eq!(client.command(["GET", "large"]), Value::bulk(&value));
    };
    use_it(&mut proxy.client());
    let before = proxy.resident_bytes();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(use_it);
    let each = proxy.resident_bytes().saturating_sub(before) / CLIENTS as u64;
    assert!(each <= IDLE_CLIENT_BYTES_MAX, "{each} bytes for an idle client");
    drop(clients);
    wait_until(SOON, "all have left", || proxy.metrics().sum("fca_proxy_clients") == 0.0);
    wait_until(GIVEN_BACK, "their memory is given back", || proxy.resident_bytes() <= before + LEFT_BYTES_MAX);
}
