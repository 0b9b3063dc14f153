//! A real Redis server, to be frozen, killed and brought back.
//!
//! Each has a port and a directory of its own and writes nothing to disk unless told to. A kill is SIGKILL, a freeze
//! is SIGSTOP, and a restart listens on the same port, as a supervised Redis would. Without `redis-server` on the PATH
//! the tests that need it fail and say what to install.

use super::client::Client;
use super::port::free_address;
use super::process::Process;
use super::wait::{SOON, wait_until};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What a test wants of its Redis beyond the usual.
#[derive(Clone, Debug, Default)]
pub(crate) struct RedisOptions {
    /// `requirepass`
    pub(crate) password: Option<&'static str>,
    /// Further words of the command line.
    pub(crate) arguments: Vec<String>,
}

/// A running Redis; killed when dropped.
pub(crate) struct Redis {
    options: RedisOptions,
    address: SocketAddr,
    directory: TempDir,
    process: Option<Process>,
}

impl Redis {
    /// A fresh, empty Redis.
    pub(crate) fn start() -> Self {
        Self::start_with(RedisOptions::default())
    }

    /// A fresh, empty Redis with these options.
    pub(crate) fn start_with(options: RedisOptions) -> Self {
        let mut redis = Self::not_started(options);
        redis.restart();
        redis
    }

    /// The address of a Redis that nobody has started yet.
    pub(crate) fn not_started(options: RedisOptions) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self { options, address: free_address(), directory, process: None }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as the proxy's `--upstream` takes it.
    pub(crate) fn url(&self) -> String {
        match self.options.password {
            Some(password) => format!("redis://:{password}@{}", self.address),
            None => format!("redis://{}", self.address),
        }
    }

    /// Its unix socket as the proxy's `--upstream` takes it.
    pub(crate) fn unix_url(&self) -> String {
        format!("unix://{}", self.directory.path().join("socket").display())
    }

    /// A direct connection, logged in.
    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        let mut client = Client::connect(self.address);
        if let Some(password) = self.options.password {
            assert_eq!(client.command(["AUTH", password]).text(), "OK");
        }
        client
    }

    /// A section of INFO, by field.
    #[track_caller]
    pub(crate) fn info(&self, section: &str) -> BTreeMap<String, String> {
        let info = self.client().command(["INFO", section]);
        info.text()
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(field, value)| (field.to_owned(), value.to_owned()))
            .collect()
    }

    /// How often it has carried out a command, named as in INFO COMMANDSTATS.
    #[track_caller]
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let stats = self.info("commandstats");
        let calls = |stat: &String| stat.split(',').next()?.strip_prefix("calls=")?.parse().ok();
        stats.get(&format!("cmdstat_{command}")).map_or(0, |stat| calls(stat).expect("calls come first"))
    }

    /// SIGKILL; waits for the end.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// SIGSTOP: connections stay open, nothing is answered.
    pub(crate) fn stop(&self) {
        let process = self.process.as_ref().expect("Redis runs");
        process.signal(Signal::STOP);
        wait_until(SOON, "Redis stands still", || process.is_stopped());
    }

    /// SIGCONT: goes on where it stopped, with what had piled up.
    pub(crate) fn cont(&self) {
        self.process.as_ref().expect("Redis runs").signal(Signal::CONT);
    }

    /// Starts again on the same port, and waits until it answers.
    pub(crate) fn restart(&mut self) {
        self.spawn(&[]);
        wait_until(SOON, "Redis answers PING", || self.answers_ping());
    }

    /// Starts again with `keys` keys to load, each taking a while: it listens, and says `-LOADING` for some time.
    pub(crate) fn restart_loading(&mut self, keys: u32) {
        const DELAY_PER_KEY_MICROS: &str = "1000";
        let mut client = self.client();
        let script = "for i = 1, ARGV[1] do redis.call('SET', 'load:' .. i, string.rep('x', 1024)) end";
        client.command(["EVAL", script, "0", &keys.to_string()]);
        assert_eq!(client.command(["SAVE"]).text(), "OK");
        self.kill();
        self.spawn(&["--key-load-delay", DELAY_PER_KEY_MICROS, "--loading-process-events-interval-bytes", "1024"]);
        wait_until(SOON, "Redis says LOADING", || {
            let reply = Client::try_connect(self.address).and_then(|mut client| client.try_command(["GET", "load:1"]));
            reply.is_ok_and(|reply| reply.is_error() && reply.text().starts_with("LOADING"))
        });
    }

    /// Whether it answers a PING at all, were it only by asking for a password.
    pub(crate) fn answers_ping(&self) -> bool {
        let reply = Client::try_connect(self.address).and_then(|mut client| client.try_command(["PING"]));
        reply.is_ok_and(|reply| matches!(reply.bytes(), b"PONG") || reply.bytes().starts_with(b"NOAUTH"))
    }

    fn spawn(&mut self, extra: &[&str]) {
        self.process = None;
        let log = File::create(self.log_path()).expect("a log file");
        let mut command = Command::new("redis-server");
        command
            .current_dir(self.directory.path())
            .args(["--bind", "127.0.0.1", "--port", &self.address.port().to_string()])
            .args(["--unixsocket", "socket", "--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(self.options.password.iter().flat_map(|password| ["--requirepass", password]))
            .args(&self.options.arguments)
            .args(extra)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => {
                panic!("redis-server is not on the PATH; on Debian or Ubuntu: apt-get install redis-server")
            }
            _ => panic!("redis-server does not start: {error}"),
        });
        let mut process = Process::guard(child);
        wait_until(SOON, "Redis listens", || {
            if let Some(status) = process.ended() {
                let log = fs::read_to_string(self.log_path()).unwrap_or_default();
                panic!("redis-server ended with {status}:\n{log}");
            }
            Client::try_connect(self.address).is_ok()
        });
        self.process = Some(process);
    }

    fn log_path(&self) -> std::path::PathBuf {
        self.directory.path().join("log")
    }
}
