//! The table `[upstream]`: which Redis, how to prove who we are, how long to wait for it.
//!
//! Guarantees a target that this build can reach, bounds that do not contradict each other, and files that could be
//! read when the program started. Certificates are not looked into here.

use super::credentials::Credentials;
use super::fault::Origin;
use super::quantity::show_duration;
use super::secret::Secret;
use super::secret_keys::SecretKeys;
use super::section::{Given, Section, expected, quoted};
use super::url::{self, UpstreamTarget, UpstreamUrl};
use super::written::Entry;
use std::path::PathBuf;
use std::time::Duration;

/// The upstream and how it is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// What `url` names.
    pub target: UpstreamTarget,
    /// The whole time budget of a command: waiting for a connection, the round trip, any retry. 250 ms.
    pub timeout: Duration,
    /// A connection with requests pending that is silent for so long is closed. Never below `timeout`. 1 s.
    pub dead_after: Duration,
    /// The time for connecting, TLS and the handshake of Redis together. 1 s.
    pub connect_timeout: Duration,
    /// The first pause between attempts to come back. 50 ms.
    pub backoff_min: Duration,
    /// The longest pause between attempts to come back. Never below `backoff_min`. 2 s.
    pub backoff_max: Duration,
    /// After how long without a session a connection beside the main one is closed.
    pub idle_timeout: Duration,
    /// The most connections that the whole process opens towards the upstream, without the near cache's link. 512.
    pub connections_max: usize,
    /// The most bytes that wait to be sent on one connection. 64 MiB.
    pub queue_bytes_max: usize,
    /// The longest reply that is held in memory as a whole. 1 GiB.
    pub reply_bytes_max: usize,
    /// What a forwarded command gets while the upstream is unreachable.
    pub on_unreachable: OnUnreachable,
    /// The operators' commands that clients may send, in upper case. None.
    pub admin_commands: Vec<&'static str>,
    /// The user of Redis's ACL, from the URL or the key `username`.
    pub username: Option<String>,
    /// The password, from the URL, a file or the environment.
    pub password: Option<Secret>,
    /// The database, from the URL; 0 where it names none.
    pub database: u32,
    /// Only for [`UpstreamTarget::Tls`] of any effect.
    pub tls: UpstreamTls,
}

/// How TLS towards the upstream is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The certificates, in PEM, that are trusted in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate that the proxy shows, in PEM. Comes with `client_key_file` or not at all.
    pub client_certificate_file: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    pub client_key_file: Option<PathBuf>,
    /// The name in the upstream's certificate when it is not the host of the URL.
    pub server_name: Option<String>,
}

/// What a forwarded command gets while the upstream is unreachable. FCA commands get nil in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnreachable {
    /// A nil.
    Nil,
    /// `-ERR upstream unreachable`.
    Error,
}

/// The range of the waits for one answer or one connection.
const WAIT: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);

/// The range of `dead_after`, `backoff_max` and `idle_timeout`.
const LONG_WAIT: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(600);

/// A file descriptor and two buffers each; more than this is no pool any more.
const CONNECTIONS_MAX: usize = 65_536;

/// From one socket buffer up to what a small machine has in all.
const QUEUE_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=16 << 30;

/// From the longest reply of a handshake up to many times Redis's own limit of 512 MiB a value.
const REPLY_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=16 << 30;

const PASSWORD: SecretKeys =
    // Tokens that cloud providers issue in place of passwords have some kilobytes.
    SecretKeys { direct: "password", file: "password_file", variable: "password_env", length: 1..=65_536 };

/// The words of `on_unreachable`.
const ON_UNREACHABLE: [(&str, OnUnreachable); 2] = [("nil", OnUnreachable::Nil), ("error", OnUnreachable::Error)];

/// The words of `admin_commands`, with the commands that they stand for.
const ADMIN_COMMANDS: [(&str, &str); 3] = [("debug", "DEBUG"), ("failover", "FAILOVER"), ("shutdown", "SHUTDOWN")];

impl Default for Upstream {
    fn default() -> Self {
        Self {
            target: UpstreamTarget::Embedded,
            timeout: Duration::from_millis(250),
            dead_after: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(300),
            connections_max: 512,
            queue_bytes_max: 64 << 20,
            reply_bytes_max: 1 << 30,
            on_unreachable: OnUnreachable::Nil,
            admin_commands: Vec::new(),
            username: None,
            password: None,
            database: 0,
            tls: UpstreamTls::default(),
        }
    }
}

impl Upstream {
    /// Whom sessions are that did not log in; none means no AUTH.
    pub fn credentials(&self) -> Option<Credentials> {
        let password = self.password.clone()?;
        Some(Credentials::new(self.username.as_ref().map(String::as_bytes), password))
    }

    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        let (url, url_origin) = read_url(section);
        let (username, password) = read_credentials(section, &url, url_origin);
        let tls = read_tls(section, &url.target, url_origin);
        let timeout = section.duration("timeout", default.timeout, WAIT);
        // A user who grants a command two seconds must not have to know of this key too.
        let dead_after = section.duration("dead_after", default.dead_after.max(timeout), LONG_WAIT);
        section.in_order(("timeout", timeout), ("dead_after", dead_after), show_duration);
        let connect_timeout = section.duration("connect_timeout", default.connect_timeout, WAIT);
        let backoff_min = section.duration("backoff_min", default.backoff_min, WAIT);
        let backoff_max = section.duration("backoff_max", default.backoff_max, LONG_WAIT);
        section.in_order(("backoff_min", backoff_min), ("backoff_max", backoff_max), show_duration);
        Self {
            target: url.target,
            timeout,
            dead_after,
            connect_timeout,
            backoff_min,
            backoff_max,
            idle_timeout: section.duration("idle_timeout", default.idle_timeout, LONG_WAIT),
            connections_max: section.count("connections_max", default.connections_max, 1..=CONNECTIONS_MAX),
            queue_bytes_max: section.memory("queue_bytes_max", default.queue_bytes_max, QUEUE_BYTES),
            reply_bytes_max: section.memory("reply_bytes_max", default.reply_bytes_max, REPLY_BYTES),
            on_unreachable: section.choice("on_unreachable", default.on_unreachable, &ON_UNREACHABLE),
            admin_commands: section.value("admin_commands", read_admin_commands).unwrap_or_default(),
            username,
            password,
            database: url.database,
            tls,
        }
    }
}

/// The URL and where it was written, if it was.
fn read_url<'d>(section: &mut Section<'_, 'd>) -> (UpstreamUrl, Option<&'d Origin>) {
    // The value is not shown, since it may hold a password.
    let url = section.value("url", |entry| match entry.as_text() {
        Some(text) => url::parse(text),
        None => Err("expected a text, for example \"redis://cache.internal:6379\"".to_owned()),
    });
    let embedded = UpstreamUrl { target: UpstreamTarget::Embedded, username: None, password: None, database: 0 };
    (url.unwrap_or(embedded), section.entry("url").map(|entry| &entry.origin))
}

fn read_admin_commands(entry: &Entry) -> Result<Vec<&'static str>, String> {
    let command = |text: &str| ADMIN_COMMANDS.iter().find(|(word, _)| *word == text).map(|(_, command)| *command);
    let commands = entry.as_texts().and_then(|texts| texts.into_iter().map(command).collect());
    commands.ok_or_else(|| {
        let words: Vec<String> = ADMIN_COMMANDS.iter().map(|(word, _)| quoted(word)).collect();
        format!("expected a list of {}, or [] for none; found {}", words.join(", "), entry.shown)
    })
}

/// The user and the password. The URL counts as one of the sources, by the place where it was written.
fn read_credentials(
    section: &mut Section<'_, '_>,
    url: &UpstreamUrl,
    url_origin: Option<&Origin>,
) -> (Option<String>, Option<Secret>) {
    let username = section.given("username", |entry| {
        let text = entry.as_text().filter(|text| !text.is_empty());
        text.map(str::to_owned).ok_or_else(|| expected("a text", quoted("app"), entry))
    });
    let password = PASSWORD.read(section);
    if matches!(url.target, UpstreamTarget::Embedded | UpstreamTarget::Disabled) {
        for key in ["username", PASSWORD.direct, PASSWORD.file, PASSWORD.variable] {
            useless(section, key, url_origin, "expected only with a server in url, for example redis://host:6379");
        }
        return (None, None);
    }
    let password = later(section, password, url.password.clone().zip(url_origin));
    let user_key = if username.is_some() { "username" } else { "url" };
    let username = later(section, username, url.username.clone().zip(url_origin));
    let is_sound = section.is_sound(&["url", "username", PASSWORD.direct, PASSWORD.file, PASSWORD.variable]);
    if let (Some(_), None, true, Some(entry)) = (&username, &password, is_sound, section.entry(user_key)) {
        let text = "expected a password beside the user; give it by password_file or password_env, or put a colon \
                    before it in the URL (redis://:password@host) if what stands there is the password";
        section.fault(user_key, entry, text.to_owned());
    }
    (username, password)
}

/// The value of the later source; a fault if a key and the URL beside it both give it.
fn later<T>(section: &mut Section<'_, '_>, key: Option<Given<'_, T>>, url: Option<(T, &Origin)>) -> Option<T> {
    match (key, url) {
        (Some(given), Some((_, origin))) if given.entry.origin.is_beside(origin) => {
            section.fault(given.key, given.entry, "the URL gives it already; leave one of them".to_owned());
            None
        }
        (Some(given), Some((_, origin))) if given.entry.origin > *origin => Some(given.value),
        (_, Some((value, _))) => Some(value),
        (Some(given), None) => Some(given.value),
        (None, None) => None,
    }
}

fn read_tls(section: &mut Section<'_, '_>, target: &UpstreamTarget, url_origin: Option<&Origin>) -> UpstreamTls {
    let tls = UpstreamTls {
        ca_file: section.readable_file("ca_file", "/etc/ssl/redis-ca.pem"),
        client_certificate_file: section.readable_file("client_certificate_file", "/etc/ssl/fca-proxy.pem"),
        client_key_file: section.readable_file("client_key_file", "/run/secrets/fca-proxy-key.pem"),
        server_name: section.value("server_name", |entry| match entry.as_text().filter(|name| url::is_host(name)) {
            Some(name) => Ok(name.to_owned()),
            None => Err(expected("a host name", quoted("redis.internal"), entry)),
        }),
    };
    let pair = ["client_certificate_file", "client_key_file"];
    for (key, other) in [(pair[0], pair[1]), (pair[1], pair[0])] {
        if let (Some(entry), None) = (section.entry(key), section.entry(other)) {
            section.fault(key, entry, format!("expected {other} beside it"));
        }
    }
    if !matches!(target, UpstreamTarget::Tls { .. }) && section.is_sound(&["url"]) {
        for key in ["ca_file", pair[0], pair[1], "server_name"] {
            useless(section, key, url_origin, "expected only with a rediss:// url, which is what makes it TLS");
        }
        return UpstreamTls::default();
    }
    tls
}

/// Reports a key that the URL leaves without effect, unless a later source gave the URL: who overrides only that for
/// a trial need not empty the rest of the file.
fn useless(section: &mut Section<'_, '_>, key: &'static str, url_origin: Option<&Origin>, text: &str) {
    if let Some(entry) = section.unlisted_entry(key)
        && url_origin.is_none_or(|url| entry.origin.is_beside(url) || entry.origin > *url)
        && section.is_sound(&["url", key])
    {
        section.fault(key, entry, text.to_owned());
    }
}
