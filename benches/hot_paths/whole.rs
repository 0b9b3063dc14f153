//! A whole request through a worker of the proxy: socket, session, flow, lane, socket, and the reply's way back.
//!
//! The client and the upstream are the other process (`peer.rs`), so that only the proxy's instructions are counted
//! here, those of its runtime included; what the kernel does for it is not. One operation is one turn: the client
//! writes its requests at once and reads all their replies before the next turn. By the clock a turn is mostly two
//! round trips between processes.

use crate::case::{Case, SHA256};
use crate::near;
use crate::peer::{self, Dialogue, Upstream};
use fca_proxy::config::{Config, UpstreamTarget};
use fca_proxy::embedded::StoreOptions;
use fca_proxy::flow::SharedStore;
use fca_proxy::metrics::{BuildInfo, Registry};
use fca_proxy::upstream::NodeStatus;
use fca_proxy::worker::{self, Message, Shared, Worker};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    peer::DIALOGUES
        .iter()
        .map(|dialogue| {
            let hashes = dialogue.command[0].starts_with("FCA.");
            Case::new(dialogue.name, move |turns| hold(dialogue, turns))
                .of(dialogue.depth as u64)
                .counted_over(1000)
                .noting(if hashes { SHA256 } else { "" })
        })
        .collect()
}

/// Carries a dialogue on for so many turns; the peer says how long that took.
fn hold(dialogue: &Dialogue, turns: u64) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = Command::new(std::env::current_exe().unwrap())
        .args([peer::ROLE, dialogue.name, &turns.to_string(), &listener.local_addr().unwrap().to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut says =
        BufReader::new(peer.stdout.take().unwrap()).lines().map(|line| line.unwrap().parse::<u64>().unwrap());
    let upstream_port = u16::try_from(says.next().unwrap()).unwrap();

    let worker = Worker::start_all(&shared(dialogue.upstream, upstream_port), 1).unwrap().remove(0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (client, _) = listener.accept().unwrap();
    client.set_nonblocking(true).unwrap();
    client.set_nodelay(true).unwrap();
    assert!(runtime.block_on(worker.accept(client)));

    let took = says.next().expect("the peer says how long it took");
    assert!(peer.wait().unwrap().success());
    assert!(runtime.block_on(worker.tell(Message::Drain)));
    Duration::from_nanos(took)
}

/// What the server gives its workers.
fn shared(upstream: Upstream, port: u16) -> Shared {
    let mut config = Config::default();
    // Valgrind is slow: no budget may end before its reply has come.
    config.upstream.timeout = Duration::from_secs(30);
    config.upstream.connect_timeout = Duration::from_secs(30);
    config.upstream.dead_after = Duration::from_secs(60);
    if upstream != Upstream::Embedded {
        config.upstream.target = UpstreamTarget::Tcp { host: "127.0.0.1".to_owned(), port };
    }
    let address = worker::address(&config.upstream).unwrap();
    // Nobody's link keeps this one open; nothing writes either.
    let near_cache = (upstream == Upstream::Once).then(|| Arc::new(near::open(64 << 20)));
    let options = StoreOptions { bytes_max: 64 << 20, databases: 16, seed: 1 };
    Shared {
        registry: Registry::new(BuildInfo { version: "0", revision: "none" }, []),
        upstream: address.as_ref().map(NodeStatus::new),
        near_cache,
        store: address.is_none().then(|| SharedStore::new(options)),
        address,
        config: Arc::new(config),
        session_ids: Arc::new(AtomicU64::new(1)),
    }
}
