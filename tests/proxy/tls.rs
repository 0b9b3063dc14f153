//! TLS towards Redis: what is verified, and what is answered when it can't be.

use crate::support::port::free_address;
use crate::support::proxy::{Patience, Proxy, ProxyOptions};
use crate::support::redis::{Redis, RedisOptions};
use crate::support::value::Value;
use crate::support::wait::{SOON, wait_until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// An authority, and what it has issued, as files.
struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("ca.crt"), issuer.pem()).expect("the directory is ours");
        Self { directory, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Issues `<name>.crt` and `<name>.key` for this host.
    fn issue(&self, name: &str, host: &str) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a host's name");
        // Not the authority's own name, or OpenSSL takes it for self-signed.
        params.distinguished_name.push(DnType::CommonName, host);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(self.path(&format!("{name}.crt")), certificate.pem()).expect("the directory is ours");
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("the directory is ours");
    }

    /// A Redis that shows a certificate of this authority for `localhost`, and its TLS port.
    fn redis(&self, clients: &str) -> (Redis, u16) {
        self.issue("server", "localhost");
        let port = free_address().port();
        let words = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", text(&self.path("server.crt"))),
            ("--tls-key-file", text(&self.path("server.key"))),
            ("--tls-ca-cert-file", text(&self.path("ca.crt"))),
            ("--tls-auth-clients", clients.to_owned()),
        ];
        let arguments = words.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        (Redis::start_with(RedisOptions { arguments, ..RedisOptions::default() }), port)
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn proxy(port: u16, tls: &[(&str, &Path)], patience: Patience) -> Proxy {
    let lines: String = tls.iter().map(|(key, path)| format!("{key} = \"{}\"\n", path.display())).collect();
    let config = format!("[upstream]\nurl = \"rediss://localhost:{port}\"\n{lines}");
    Proxy::start(ProxyOptions { config, patience, ..ProxyOptions::default() })
}

#[test]
fn values_of_every_size_pass_through_a_verified_connection() {
    let authority = Authority::new();
    let (redis, port) = authority.redis("no");
    let proxy = proxy(port, &[("ca_file", &authority.path("ca.crt"))], Patience::Long);
    for mut client in [proxy.client(), proxy.client_resp3()] {
        assert_eq!(client.command(["FCA.SET", "faq", "Is it safe?", "yes"]), Value::ok());
        assert_eq!(client.command(["FCA.GET", "faq", "is it safe"]), Value::bulk("yes"));
        for bytes in [0, 1, 16 << 10, 3 << 20] {
            let value = "x".repeat(bytes);
            assert_eq!(client.command(["SET", "k", &value]), Value::ok());
            assert_eq!(client.command(["GET", "k"]), Value::bulk(&value), "{bytes} bytes");
        }
        let pings: Vec<_> = (0..500).map(|n| vec!["ECHO".to_owned(), n.to_string()]).collect();
        for (n, reply) in client.pipeline(&pings).into_iter().enumerate() {
            assert_eq!(reply, Value::bulk(n.to_string()));
        }
    }
    assert_eq!(redis.client().say("DBSIZE"), Value::Integer(2));
    wait_until(SOON, "the near cache's link is up", || proxy.metrics().sum("fca_proxy_near_cache_up") > 0.0);
}

#[test]
fn a_certificate_of_another_authority_is_an_outage_with_one_line() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (_redis, port) = authority.redis("no");
    let proxy = proxy(port, &[("ca_file", &other.path("ca.crt"))], Patience::Long);
    let mut client = proxy.client();
    for _ in 0..20 {
        assert!(client.command(["FCA.GET", "faq", "q"]).is_nil());
        assert!(client.command(["GET", "k"]).is_nil());
    }
    wait_until(SOON, "the log says why", || !proxy.log_lines_containing("invalid peer certificate").is_empty());
    wait_until(SOON, "one line says what follows", || proxy.log_lines_containing("unreachable").len() == 1);
}

#[test]
fn a_server_that_asks_for_a_certificate_is_shown_one() {
    let authority = Authority::new();
    authority.issue("client", "proxy");
    let (_redis, port) = authority.redis("yes");
    let (ca, certificate, key) = (authority.path("ca.crt"), authority.path("client.crt"), authority.path("client.key"));
    let shown = [("ca_file", &*ca), ("client_certificate_file", &certificate), ("client_key_file", &key)];
    let with = proxy(port, &shown, Patience::Long);
    assert_eq!(with.client().command(["SET", "k", "v"]), Value::ok());
    let without = proxy(port, &shown[..1], Patience::Configured);
    assert!(without.client().command(["GET", "k"]).is_nil());
}
