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
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// How often a port that was free a moment ago may turn out to be taken.
const STARTS_MAX: usize = 10;

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
    #[track_caller]
    pub(crate) fn start_with(options: RedisOptions) -> Self {
        for _ in 1..STARTS_MAX {
            let mut redis = Self::not_started(options.clone());
            match redis.try_spawn(&[]) {
                Ok(()) => return redis,
                // Somebody who knows nothing of our ports has just taken one.
                Err(log) if log.contains("Address already in use") => {}
                Err(log) => panic!("redis-server ended:\n{log}"),
            }
        }
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
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.spawn(&[]);
    }

    /// Starts again with so much to load that it says `-LOADING` until [`Self::finish_loading`].
    pub(crate) fn restart_loading(&mut self) {
        const KEYS: &str = "2000";
        const DELAY_PER_KEY_MICROS: &str = "50000";
        let mut client = self.client();
        let script = "for i = 1, ARGV[1] do redis.call('SET', 'load:' .. i, string.rep('x', 1024)) end";
        client.command(["EVAL", script, "0", KEYS]);
        assert_eq!(client.command(["SAVE"]).text(), "OK");
        self.kill();
        self.spawn(&["--key-load-delay", DELAY_PER_KEY_MICROS, "--loading-process-events-interval-bytes", "1024"]);
        wait_until(SOON, "Redis says LOADING", || {
            let reply = Client::try_connect(self.address).and_then(|mut client| client.try_command(["GET", "load:1"]));
            reply.is_ok_and(|reply| reply.is_error() && reply.text().starts_with("LOADING"))
        });
    }

    /// Lets it load the rest at once, and waits until it has.
    pub(crate) fn finish_loading(&self) {
        assert_eq!(self.client().say("CONFIG SET key-load-delay 0").text(), "OK");
        wait_until(SOON, "Redis has loaded its data", || self.info("persistence")["loading"] == "0");
    }

    /// Whether it answers a PING at all, were it only by asking for a password.
    pub(crate) fn answers_ping(&self) -> bool {
        let reply = Client::try_connect(self.address).and_then(|mut client| client.try_command(["PING"]));
        reply.is_ok_and(|reply| matches!(reply.bytes(), b"PONG") || reply.bytes().starts_with(b"NOAUTH"))
    }

    #[track_caller]
    fn spawn(&mut self, extra: &[&str]) {
        self.try_spawn(extra).unwrap_or_else(|log| panic!("redis-server ended:\n{log}"));
    }

    /// Starts it and waits until it answers; its log, if it ends instead.
    #[track_caller]
    fn try_spawn(&mut self, extra: &[&str]) -> Result<(), String> {
        self.process = None;
        let log = File::create(self.log_path()).expect("a log file");
        let mut command = Command::new("redis-server");
        command
            .current_dir(self.directory.path())
            .args(["--bind", "127.0.0.1", "--port", &self.address.port().to_string()])
            .args(["--unixsocket", "socket", "--save", "", "--appendonly", "no", "--daemonize", "no"])
            // What is slow on a busy machine, and who is told that it is, differs from one time to the next.
            .args(["--slowlog-log-slower-than", "-1", "--busy-reply-threshold", "0"])
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
        let number = child.id().to_string();
        let mut process = Process::guard(child);
        let mut has_ended = false;
        wait_until(SOON, "Redis answers", || {
            has_ended = process.ended().is_some();
            // It, and not another that has the port.
            has_ended || self.number_of_who_answers().is_ok_and(|answers| answers == number)
        });
        if has_ended {
            return Err(fs::read_to_string(self.log_path()).unwrap_or_default());
        }
        self.process = Some(process);
        Ok(())
    }

    /// The process that listens on this port.
    fn number_of_who_answers(&self) -> io::Result<String> {
        let mut client = Client::try_connect(self.address)?;
        if let Some(password) = self.options.password {
            client.try_command(["AUTH", password])?;
        }
        let info = client.try_command(["INFO", "server"])?;
        let number = String::from_utf8_lossy(info.bytes())
            .lines()
            .find_map(|line| Some(line.strip_prefix("process_id:")?.to_owned()));
        number.ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn log_path(&self) -> std::path::PathBuf {
        self.directory.path().join("log")
    }
}
