//! What the program is told to do: one file, the environment, the flags.
//!
//! Two types. What was *written* (`written.rs`) is a tree of values, each with its place; what is *true* is
//! [`Config`], in which every value is there, of its type and within its bounds. Between them stands one reading that
//! reports every fault with its place, and a configuration with faults is none ([`Config::load`]).
//!
//! A value of the file is overridden by the environment, and that by a flag. Leaves out: what the values do, and
//! anything that can only be known by trying (whether a port is free, whether a certificate is valid).

mod credentials;
mod environment;
mod fault;
mod file;
mod limits;
mod log;
mod namespace;
mod near_cache;
mod quantity;
mod report;
mod secret;
mod secret_keys;
mod section;
mod summary;
#[cfg(test)]
mod tests;
mod upstream;
mod url;
mod written;

pub use credentials::Credentials;
pub use environment::Environment;
pub use fault::{ConfigError, Fault, Origin};
pub use limits::{Embedded, Limits};
pub(crate) use log::{FORMATS, LEVELS};
pub use log::{Log, LogFormat, LogLevel};
pub use namespace::{NAMESPACES_MAX, Namespace, Namespaces, QuestionMark, UnknownNamespaces};
pub use near_cache::{NearCache, WithoutTracking};
pub(crate) use quantity::show_bytes;
pub use secret::Secret;
pub use upstream::{OnUnreachable, Upstream, UpstreamTls};
pub use url::UpstreamTarget;

use report::Report;
use section::{Section, expected, quoted};
use std::ffi::OsStr;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use written::{Entry, Table, Value};

/// Everything that can be configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where clients connect. At least one, none twice.
    pub listen: Vec<SocketAddr>,
    /// Where metrics and health are served; none: nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// Threads that serve clients, one per core by default.
    pub workers: NonZeroUsize,
    /// What the keys of all entries begin with.
    pub key_prefix: String,
    /// What is done with namespaces that `namespaces` does not name.
    pub unknown_namespaces: UnknownNamespaces,
    /// How long a stop waits for what is in flight. 5 s.
    pub drain: Duration,
    /// The Redis behind the proxy.
    pub upstream: Upstream,
    /// How long answers live, by namespace.
    pub namespaces: Namespaces,
    /// Bounds on clients and their requests.
    pub limits: Limits,
    /// The store inside the process.
    pub embedded: Embedded,
    /// Values lately read from the upstream, inside the process.
    pub near_cache: NearCache,
    /// What is logged.
    pub log: Log,
}

/// Where a configuration is read from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file; else the one that `FCA_PROXY_CONFIG` names; else none.
    pub file: Option<PathBuf>,
    /// All environment variables, since a secret may be in any.
    pub environment: Environment,
    /// The flags that were given.
    pub flags: Vec<FlagValue>,
}

/// A flag that sets one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagValue {
    /// The flag as it is typed, for faults: `--upstream`.
    pub flag: &'static str,
    /// The path of the key that it sets: `upstream`, `url`.
    pub key: &'static [&'static str],
    /// Its value; several addresses are separated by commas.
    pub value: String,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// Every fault of the file, the environment and the flags; if the file is not TOML, the faults of that alone.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut report = Report::default();
        let named_by_variable = sources.environment.get(OsStr::new(environment::FILE_VARIABLE));
        let file =
            sources.file.clone().or_else(|| named_by_variable.filter(|file| !file.is_empty()).map(PathBuf::from));
        let written = match file {
            Some(file) => file::read(&file, &mut report),
            None => Some(Table::new()),
        };
        Self::from_written(written, sources, report)
    }

    /// The path of every key of the file (`limits.clients_max`), those of a namespace under the name `NAME`.
    pub fn keys() -> Vec<String> {
        let mut report = Report::default();
        let table = |table| Entry { value: Value::Table(table), ..Entry::text("", Origin::Flag("")) };
        let namespaces = Table::from([("NAME".to_owned(), table(Table::new()))]);
        let document = Table::from([("namespaces".to_owned(), table(namespaces))]);
        section::read_top(&document, &Environment::new(), &mut report, Self::read);
        report.keys()
    }

    /// The near cache that is to be: none where it is switched off, or no server is behind the proxy.
    pub fn near_cache(&self) -> Option<&NearCache> {
        let has_server = !matches!(self.upstream.target, UpstreamTarget::Embedded | UpstreamTarget::Disabled);
        Some(&self.near_cache).filter(|near_cache| near_cache.enabled && has_server)
    }

    /// The keys whose change takes effect only when the program starts anew, as they are in the file.
    pub fn needs_restart(&self, running: &Self) -> Vec<&'static str> {
        let reloadable = Upstream {
            timeout: running.upstream.timeout,
            on_unreachable: running.upstream.on_unreachable,
            admin_commands: running.upstream.admin_commands.clone(),
            ..self.upstream.clone()
        };
        let changes = [
            ("listen", self.listen != running.listen),
            ("admin_listen", self.admin_listen != running.admin_listen),
            ("workers", self.workers != running.workers),
            ("drain", self.drain != running.drain),
            ("[upstream] (all but timeout, on_unreachable and admin_commands)", reloadable != running.upstream),
            ("[embedded]", self.embedded != running.embedded),
            ("[near_cache] (key_prefix is one of its prefixes)", self.near_cache() != running.near_cache()),
            ("[log]", self.log != running.log),
        ];
        changes.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
    }
}

impl Config {
    /// Overlays what a file says (none for one that is not TOML) and reads the whole.
    fn from_written(file: Option<Table>, sources: &Sources, mut report: Report) -> Result<Self, ConfigError> {
        let Some(mut document) = file else { return report.verdict(Self::default()) };
        environment::overlay(&sources.environment, &mut document, &mut report);
        for flag in &sources.flags {
            let entry = Entry::text(&flag.value, Origin::Flag(flag.flag));
            // What stands in the way is a value in place of a table, which is reported when that table is read.
            let _ = written::put(&mut document, flag.key, entry);
        }
        let config = section::read_top(&document, &sources.environment, &mut report, Self::read);
        report.verdict(config)
    }

    fn read(top: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        let mut config = Self {
            listen: top.value("listen", listen_addresses).unwrap_or(default.listen),
            admin_listen: top.value("admin_listen", admin_address).unwrap_or(default.admin_listen),
            workers: top.value("workers", worker_count).unwrap_or(default.workers),
            key_prefix: top.value("key_prefix", key_prefix).unwrap_or(default.key_prefix),
            unknown_namespaces: top.choice("unknown_namespaces", default.unknown_namespaces, &UNKNOWN_NAMESPACES),
            drain: top.duration("drain", default.drain, DRAIN),
            upstream: top.table("upstream", Upstream::read),
            namespaces: Namespaces::read(top),
            limits: top.table("limits", Limits::read),
            embedded: top.table("embedded", Embedded::read),
            near_cache: default.near_cache,
            log: top.table("log", Log::read),
        };
        config.near_cache = top.table("near_cache", |section| NearCache::read(section, &config.key_prefix));
        if let Some(admin) = config.admin_listen.filter(|admin| admin.port() != 0 && config.listen.contains(admin))
            && let (Some(entry), true) =
                (top.entry("admin_listen").or_else(|| top.entry("listen")), top.is_sound(&["listen"]))
        {
            top.fault("admin_listen", entry, format!("expected another address than listen, which has {admin} too"));
        }
        config
    }
}

/// The most addresses to listen on: every interface of a large machine.
const LISTEN_MAX: usize = 16;

/// More threads than this only wait for each other's cores.
const WORKERS: RangeInclusive<usize> = 1..=256;

/// The default of `key_prefix`.
const KEY_PREFIX: &str = "fca:";

/// The prefix is in every key, so it is to be short.
const KEY_PREFIX_BYTES_MAX: usize = 64;

/// Process managers kill what takes minutes to stop.
const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);

/// The words of `unknown_namespaces`.
const UNKNOWN_NAMESPACES: [(&str, UnknownNamespaces); 2] =
    [("defaults", UnknownNamespaces::Defaults), ("reject", UnknownNamespaces::Reject)];

impl Default for Config {
    /// What holds when nothing is written: an embedded store for clients of this machine.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 6380))],
            admin_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9180))),
            workers: cores.min(NonZeroUsize::new(*WORKERS.end()).unwrap_or(NonZeroUsize::MIN)),
            key_prefix: KEY_PREFIX.to_owned(),
            unknown_namespaces: UnknownNamespaces::Defaults,
            drain: Duration::from_secs(5),
            upstream: Upstream::default(),
            namespaces: Namespaces::default(),
            limits: Limits::default(),
            embedded: Embedded::default(),
            near_cache: NearCache::default_for(KEY_PREFIX),
            log: Log::default(),
        }
    }
}

impl fmt::Debug for Sources {
    /// Without the environment and the flags' values, where secrets may be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

fn listen_addresses(entry: &Entry) -> Result<Vec<SocketAddr>, String> {
    let addresses: Option<Vec<SocketAddr>> =
        entry.as_texts().and_then(|texts| texts.into_iter().map(|text| text.parse().ok()).collect());
    let addresses = addresses.filter(|addresses| (1..=LISTEN_MAX).contains(&addresses.len())).ok_or_else(|| {
        let example = "\"127.0.0.1:6380\", or \"0.0.0.0:6380\" for all interfaces";
        expected(&format!("1 to {LISTEN_MAX} IP addresses with ports"), example, entry)
    })?;
    let is_twice = |(at, address): (usize, &SocketAddr)| address.port() != 0 && addresses[..at].contains(address);
    match addresses.iter().enumerate().any(is_twice) {
        false => Ok(addresses),
        true => Err(format!("expected every address once; found {}", entry.shown)),
    }
}

fn admin_address(entry: &Entry) -> Result<Option<SocketAddr>, String> {
    match entry.as_text() {
        Some("off") => Ok(None),
        text => text
            .and_then(|text| text.parse().ok())
            .map(Some)
            .ok_or_else(|| expected("\"off\" or an IP address with a port", quoted("127.0.0.1:9180"), entry)),
    }
}

fn worker_count(entry: &Entry) -> Result<NonZeroUsize, String> {
    if entry.as_text() == Some("auto") {
        return Ok(Config::default().workers);
    }
    let count = entry.as_integer().and_then(|count| usize::try_from(count).ok());
    count.filter(|count| WORKERS.contains(count)).and_then(NonZeroUsize::new).ok_or_else(|| {
        let (least, most) = (WORKERS.start(), WORKERS.end());
        expected(&format!("\"auto\" or a whole number from {least} to {most}"), 4, entry)
    })
}

fn key_prefix(entry: &Entry) -> Result<String, String> {
    let is_prefix =
        |text: &&str| (1..=KEY_PREFIX_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    entry.as_text().filter(is_prefix).map(str::to_owned).ok_or_else(|| {
        let what = format!("1 to {KEY_PREFIX_BYTES_MAX} visible ASCII characters");
        expected(&what, quoted("fca:"), entry)
    })
}
