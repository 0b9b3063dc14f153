//! From start to end: command line, configuration, signals, health, logs.
//!
//! Exit codes are 0 for a drained end, 1 for a port that is taken, 64 for a wrong command line and 78 for a faulty
//! configuration; each failure says why on stderr.

use crate::support::peer::Peer;
use crate::support::proxy::{Patience, Proxy, ProxyOptions, run_to_end};
use crate::support::redis::Redis;
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};
use std::net::TcpListener;
use std::time::Duration;

/// A Redis URL that is well-formed, for tests that never dial it.
const ANY_UPSTREAM: &str = "redis://127.0.0.1:6379";

#[test]
fn sigterm_lets_a_request_in_flight_finish_and_turns_new_clients_away() {
    let peer = Peer::playing(|dialogue| {
        dialogue.expect(&["GET", "slow"])?;
        dialogue.pause(Duration::from_millis(600))?;
        dialogue.send(b"$4\r\nlate\r\n")?;
        dialogue.swallow()
    });
    let mut proxy = Proxy::start(ProxyOptions {
        upstream: Some(peer.url()),
        config: "drain = \"20s\"".into(),
        patience: Patience::Long,
        ..ProxyOptions::default()
    });
    let mut client = proxy.client();
    client.send(["GET", "slow"]);
    peer.wait_for(SOON, &["GET", "slow"]);
    proxy.terminate();
    wait_until(SOON, "new clients are turned away", || {
        crate::support::client::Client::try_connect(proxy.address())
            .and_then(|mut late| late.try_command(["PING"]))
            .is_err()
    });
    assert_eq!(client.reply(), Value::bulk("late"));
    assert_eq!(client.read_until_closed(), b"");
    assert_eq!(proxy.exit_status(SOON).code(), Some(0));
}

#[test]
fn sigterm_does_not_wait_for_clients_that_ask_for_nothing() {
    // Longer than the wait for its end.
    let config = "drain = \"10m\"".to_owned();
    let mut proxy = Proxy::start(ProxyOptions { config, ..ProxyOptions::default() });
    let mut idle: Vec<_> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut idle {
        assert_eq!(client.command(["PING"]), Value::simple("PONG"));
    }
    proxy.terminate();
    assert_eq!(proxy.exit_status(SOON).code(), Some(0), "the drain is for requests, not for idle clients");
}

#[test]
fn sigterm_gives_up_on_a_request_when_the_drain_is_over() {
    let peer = Peer::falls_silent_after_handshake();
    let mut proxy = Proxy::start(ProxyOptions {
        upstream: Some(peer.url()),
        config: "drain = \"300ms\"\n[upstream]\ntimeout = \"1m\"\ndead_after = \"2m\"\n".into(),
        ..ProxyOptions::default()
    });
    let mut client = proxy.client();
    client.send(["GET", "k"]);
    peer.wait_for(SOON, &["GET", "k"]);
    proxy.terminate();
    assert_eq!(proxy.exit_status(SOON).code(), Some(0));
}

#[test]
fn sighup_takes_a_good_file_and_keeps_the_running_configuration_over_a_bad_one() {
    let redis = Redis::start();
    let config = |ttl: &str| format!("[defaults]\nttl = {ttl}\n");
    let mut proxy = Proxy::start(ProxyOptions {
        upstream: Some(redis.url()),
        config: config("\"60s\""),
        patience: Patience::Long,
        ..ProxyOptions::default()
    });
    let mut client = proxy.client();
    let mut ttl_of_a_new_entry = || {
        assert_eq!(client.command(["FCA.SET", "faq", "q", "v"]), Value::ok());
        client.command(["FCA.TTL", "faq", "q"]).integer()
    };
    assert!((55..=60).contains(&ttl_of_a_new_entry()));

    proxy.reload_with(&config("\"90s\""));
    wait_until(SOON, "the new time to live holds", || (85..=90).contains(&ttl_of_a_new_entry()));

    let lines = proxy.log_lines().len();
    proxy.reload_with(&config("\"nonsense\""));
    wait_until(SOON, "the log says what is wrong", || {
        proxy.log_lines()[lines..].iter().any(|line| line.contains("ttl"))
    });
    assert!((85..=90).contains(&ttl_of_a_new_entry()), "the running configuration stays");
    wait_until(SOON, "both are counted", || {
        let metrics = proxy.metrics();
        (metrics.sum("fca_proxy_config_reloads_total"), metrics.sum("fca_proxy_config_reload_failures_total"))
            == (1.0, 1.0)
    });
    assert!(proxy.runs());
}

#[test]
fn a_port_that_is_taken_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    for flags in [
        ["--listen", &address, "--admin-listen", "127.0.0.1:0"],
        ["--listen", "127.0.0.1:0", "--admin-listen", &address],
    ] {
        let finished = run_to_end(&flags, None);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let about: Vec<&str> = finished.stderr.lines().filter(|line| line.contains(&address)).collect();
        assert_eq!(about.len(), 1, "{finished:?}");
        assert!(!finished.stderr.contains("panicked"), "{finished:?}");
    }
}

#[test]
fn two_proxies_never_share_a_port() {
    let proxy = Proxy::embedded();
    let finished = run_to_end(&["--listen", &proxy.address().to_string(), "--admin-listen", "127.0.0.1:0"], None);
    assert_eq!(finished.code, Some(1), "{finished:?}");
}

#[test]
fn every_fault_of_a_configuration_is_listed_with_its_line() {
    let config = "listne = \"127.0.0.1:0\"\n\n[defaults]\nttl = 300\n\n[limits]\nclients_max = 0\n[upstream]\nurl = \"http://x\"\n";
    for flags in [["--check"].as_slice(), &["--listen", "127.0.0.1:0"]] {
        let finished = run_to_end(flags, Some(config));
        assert_eq!(finished.code, Some(78), "{finished:?}");
        for (line, key) in [(1, "listne"), (4, "ttl"), (7, "clients_max"), (9, "url")] {
            let said = finished.stderr.lines().any(|said| said.contains(key) && said.contains(&line.to_string()));
            assert!(said, "{key} in line {line} is not in {}", finished.stderr);
        }
    }
}

#[test]
fn check_accepts_a_good_configuration_and_does_nothing_else() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let config = format!("listen = \"{}\"\n", taken.local_addr().expect("it is bound"));
    let finished = run_to_end(&["--check", "--upstream", ANY_UPSTREAM], Some(&config));
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
fn a_wrong_command_line_is_exit_64_and_help_and_version_are_exit_0() {
    for flags in [["--nonsense"].as_slice(), &["--listen"], &["extra"]] {
        let finished = run_to_end(flags, None);
        assert_eq!(finished.code, Some(64), "{flags:?}: {finished:?}");
        assert!(!finished.stderr.is_empty());
    }
    let help = run_to_end(&["--help"], None);
    assert_eq!(help.code, Some(0));
    for flag in
        ["--config", "--check", "--listen", "--admin-listen", "--upstream", "--workers", "--log-level", "--log-format"]
    {
        assert!(help.stdout.contains(flag), "{flag} is not in --help");
    }
    let version = run_to_end(&["--version"], None);
    assert_eq!((version.code, version.stdout.contains(env!("CARGO_PKG_VERSION"))), (Some(0), true));
}

#[test]
fn a_missing_configuration_file_is_a_fault_that_names_it() {
    let finished = run_to_end(&["--config", "/no/such/fca-proxy.toml"], None);
    assert_eq!(finished.code, Some(78), "{finished:?}");
    assert!(finished.stderr.contains("/no/such/fca-proxy.toml"), "{finished:?}");
}

#[test]
fn health_readiness_and_metrics_answer_and_nothing_else_does() {
    let mut redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    assert_eq!(proxy.client().command(["SET", "k", "v"]), Value::ok());
    assert_eq!(proxy.admin("/healthz").0, 200);
    let (status, body) = proxy.admin("/readyz");
    assert_eq!(status, 200, "{body}");
    assert_eq!(proxy.admin("/nothing").0, 404);
    redis.kill();
    assert_eq!(proxy.client().command(["GET", "k"]), Value::Nil);
    wait_until(SOON, "/readyz tells the upstream's state", || {
        let (status, now) = proxy.admin("/readyz");
        assert_eq!(status, 200, "an outage of the upstream is no reason to take the proxy away");
        now != body
    });
    assert_eq!(proxy.admin("/healthz").0, 200);
    assert_ne!(proxy.admin_address(), proxy.address());
}

#[test]
fn metrics_move_with_what_happens() {
    let mut redis = Redis::start();
    let proxy = Proxy::patient(redis.url());
    let (mut client, _idle) = (proxy.client(), proxy.client());
    for _ in 0..10 {
        assert_eq!(client.command(["SET", "k", "v"]), Value::ok());
    }
    wait_until(SOON, "requests, bytes and clients are counted", || {
        let metrics = proxy.metrics();
        metrics.sum_where("fca_proxy_requests_total", &[("family", "write"), ("outcome", "ok")]) == 10.0
            && metrics.sum("fca_proxy_client_received_bytes_total") >= 270.0
            && metrics.sum("fca_proxy_client_sent_bytes_total") >= 50.0
            && metrics.sum("fca_proxy_clients") == 2.0
            && metrics.sum("fca_proxy_upstream_up") == 1.0
            && metrics.sum_where("fca_proxy_request_duration_seconds_count", &[("family", "write")]) == 10.0
    });
    redis.kill();
    assert_eq!(client.command(["GET", "k"]), Value::Nil);
    wait_until(SOON, "the outage is counted", || {
        let metrics = proxy.metrics();
        metrics.sum("fca_proxy_upstream_up") == 0.0
            && metrics.sum_where("fca_proxy_requests_total", &[("outcome", "unreachable")]) >= 1.0
    });
}

#[test]
fn a_disabled_cache_starts_stays_healthy_and_answers_nil() {
    let proxy = Proxy::patient("disabled");
    let mut client = proxy.client();
    assert_eq!(client.command(["FCA.SET", "faq", "q", "v"]), Value::Nil);
    assert_eq!(client.command(["FCA.GET", "faq", "q"]), Value::Nil);
    assert_eq!(client.command(["GET", "k"]), Value::Nil);
    assert_eq!(client.command(["PING"]), Value::simple("PONG"));
    assert_eq!(client.command(["FCA.AVAILABLE"]), Value::Integer(0));
    assert_eq!((proxy.admin("/healthz").0, proxy.admin("/readyz").0), (200, 200));
}

#[test]
fn no_log_line_holds_a_query_a_value_or_a_key() {
    const MARKER: &str = "zqx7marker";
    for format in ["text", "json"] {
        let mut redis = Redis::start();
        let mut proxy = Proxy::start(ProxyOptions {
            upstream: Some(redis.url()),
            arguments: vec!["--log-level", "debug", "--log-format", format],
            ..ProxyOptions::default()
        });
        let mut client = proxy.client();
        let faulty_params = format!("{{\"{MARKER}");
        for words in [
            vec!["FCA.SET", "faq", MARKER, MARKER],
            vec!["FCA.GET", "faq", MARKER],
            vec!["FCA.GET", "faq", &faulty_params, "PARAMS"],
            vec!["FCA.GET", MARKER],
            vec!["SET", MARKER, MARKER],
            vec!["GET", MARKER, MARKER],
            vec![MARKER, MARKER],
            vec!["AUTH", MARKER],
            vec!["CLIENT", "SETNAME", MARKER],
            vec!["EVAL", MARKER, "0"],
        ] {
            client.command(&words);
        }
        redis.kill();
        // The near cache may have it until its link is known to be gone.
        wait_until(SOON, "nil", || client.command(["FCA.GET", "faq", MARKER]) == Value::Nil);
        assert_eq!(client.command(["SET", MARKER, MARKER]), Value::Nil);
        client.send_raw(format!("*1\r\n${MARKER}\r\n"));
        client.read_until_closed();
        proxy.terminate();
        assert_eq!(proxy.exit_status(SOON).code(), Some(0));
        let lines = proxy.log_lines();
        assert!(lines.len() >= 3, "{lines:#?}");
        let telling: Vec<_> = lines.iter().filter(|line| line.to_lowercase().contains(MARKER)).collect();
        assert!(telling.is_empty(), "{format}: {telling:#?}");
        if format == "json" {
            for line in &lines {
                assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "no JSON: {line}");
            }
        }
    }
}

#[test]
fn a_container_can_ask_the_program_how_it_is() {
    let mut proxy = Proxy::embedded();
    let address: &str = Box::leak(proxy.admin_address().to_string().into_boxed_str());
    let asked = run_to_end(&["--health", "--admin-listen", address], None);
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(0), "ok\n"));
    proxy.terminate();
    proxy.exit_status(SOON);
    let asked = run_to_end(&["--health", "--admin-listen", address], None);
    assert_eq!(asked.code, Some(1));
    assert!(asked.stderr.starts_with(&format!("http://{address}/healthz: ")), "{}", asked.stderr);
}
