//! The proxy under test, as users run it: a child process, with its log lines and its admin endpoints.
//!
//! Listens on ports of the kernel's choosing and reads them from its own log. What it writes to stderr is kept, so
//! that a test can count lines and look for what must not be there.

use super::client::Client;
use super::process::Process;
use super::wait::{SOON, wait_until};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::TempDir;

/// How a test wants its proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxyOptions {
    /// `--upstream`; none is the embedded store.
    pub(crate) upstream: Option<String>,
    /// The text of the configuration file; empty is no file.
    pub(crate) config: String,
    /// Further words of the command line.
    pub(crate) arguments: Vec<&'static str>,
    /// How long it waits for its upstream.
    pub(crate) patience: Patience,
}

/// How long a proxy waits for its upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As long as its configuration says, by default 250 ms: for tests of outages. A machine that is busy elsewhere is
    /// one, so that any reply may be nil.
    #[default]
    Configured,
    /// [`SHORT`], for tests that wait for the end of a budget, and count on replies besides.
    Short,
    /// So long that a machine that is busy elsewhere is no outage: for tests of everything else.
    Long,
}

/// The budget of [`Patience::Short`].
pub(crate) const SHORT: Duration = Duration::from_secs(2);

impl Patience {
    /// What is set for it, unless the configuration says otherwise.
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Configured => &[],
            Self::Short => {
                &[("timeout", "2s"), ("dead_after", "4s"), ("connect_timeout", "2s"), ("link_timeout", "20s")]
            }
            Self::Long => {
                &[("timeout", "20s"), ("dead_after", "20s"), ("connect_timeout", "20s"), ("link_timeout", "20s")]
            }
        }
    }
}

/// A running proxy; killed when dropped.
pub(crate) struct Proxy {
    process: Process,
    directory: TempDir,
    lines: Lines,
    reader: Option<JoinHandle<()>>,
    address: SocketAddr,
    admin_address: SocketAddr,
}

/// What the process wrote to stderr so far.
type Lines = Arc<Mutex<Vec<String>>>;

impl Proxy {
    /// In front of this upstream, otherwise as it comes: so impatient that any reply may be nil.
    #[track_caller]
    pub(crate) fn in_front_of(url: impl Into<String>) -> Self {
        Self::start(ProxyOptions { upstream: Some(url.into()), ..ProxyOptions::default() })
    }

    /// In front of this upstream, which is there throughout.
    #[track_caller]
    pub(crate) fn patient(url: impl Into<String>) -> Self {
        let patience = Patience::Long;
        Self::start(ProxyOptions { upstream: Some(url.into()), patience, ..ProxyOptions::default() })
    }

    /// In front of this upstream, whose silence is waited for.
    #[track_caller]
    pub(crate) fn with_short_patience(url: impl Into<String>) -> Self {
        let patience = Patience::Short;
        Self::start(ProxyOptions { upstream: Some(url.into()), patience, ..ProxyOptions::default() })
    }

    /// With its embedded store.
    #[track_caller]
    pub(crate) fn embedded() -> Self {
        // What one client asks about the others takes a budget, too.
        Self::start(ProxyOptions { patience: Patience::Long, ..ProxyOptions::default() })
    }

    /// Starts and waits until it listens.
    #[track_caller]
    pub(crate) fn start(options: ProxyOptions) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = program();
        command
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--workers", "2"])
            .args(options.upstream.iter().flat_map(|url| ["--upstream", url]))
            .args(&options.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        for (key, value) in options.patience.settings() {
            let table = if *key == "link_timeout" { "NEAR_CACHE" } else { "UPSTREAM" };
            let name_of = |line: &str| Some(line.split_once('=')?.0.rsplit('.').next()?.trim().to_owned());
            let is_given = options.config.lines().any(|line| name_of(line).is_some_and(|name| name == *key));
            if !is_given {
                command.env(format!("FCA_PROXY_{table}__{}", key.to_uppercase()), value);
            }
        }
        if !options.config.is_empty() {
            let path = config_path(&directory);
            fs::write(&path, &options.config).expect("the directory is ours");
            command.arg("--config").arg(path);
        }
        let mut process = Process::guard(command.spawn().expect("the binary was built"));
        let stderr = process.child_mut().stderr.take().expect("stderr is piped");
        let lines = Lines::default();
        let reader = thread::spawn({
            let lines = Arc::clone(&lines);
            move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    lines.lock().expect("no reader panics").push(line);
                }
            }
        });
        let mut addresses = None;
        wait_until(SOON, "the proxy listens", || {
            let so_far = lines.lock().expect("no reader panics").clone();
            if let Some(status) = process.ended() {
                panic!("the proxy ended with {status}:\n{}", so_far.join("\n"));
            }
            addresses = address_behind(&so_far, "listening on ").zip(address_behind(&so_far, "metrics on http://"));
            addresses.is_some()
        });
        let (address, admin_address) = addresses.expect("the wait above ends with both");
        Self { process, directory, lines, reader: Some(reader), address, admin_address }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics and health are.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// A client, RESP2.
    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// A client, RESP3.
    #[track_caller]
    pub(crate) fn client_resp3(&self) -> Client {
        Client::connect_resp3(self.address)
    }

    /// All it logged so far.
    pub(crate) fn log_lines(&self) -> Vec<String> {
        self.lines.lock().expect("no reader panics").clone()
    }

    /// Its log lines that hold `words`.
    pub(crate) fn log_lines_containing(&self, words: &str) -> Vec<String> {
        self.log_lines().into_iter().filter(|line| line.contains(words)).collect()
    }

    /// Its CPU time so far, user and system.
    pub(crate) fn cpu_time(&self) -> Duration {
        self.process.cpu_time()
    }

    /// Its resident memory now, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.process.resident_bytes()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// SIGSTOP: clients are neither answered nor disconnected.
    pub(crate) fn freeze(&self) {
        self.process.signal(Signal::STOP);
        wait_until(SOON, "the proxy stands still", || self.process.is_stopped());
    }

    /// SIGCONT: goes on where it stopped, with what had piled up.
    pub(crate) fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// SIGTERM; the caller waits with [`Self::exit_status`].
    pub(crate) fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Replaces the configuration file and sends SIGHUP.
    pub(crate) fn reload_with(&self, config: &str) {
        fs::write(config_path(&self.directory), config).expect("the directory is ours");
        self.process.signal(Signal::HUP);
    }

    /// Waits for its end, and for the last of its log.
    #[track_caller]
    pub(crate) fn exit_status(&mut self, deadline: Duration) -> ExitStatus {
        let status = self.process.wait(deadline);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        status
    }

    /// `GET path` of the admin listener: status and body.
    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect_timeout(&self.admin_address, SOON).expect("the admin listener is up");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        // HTTP/1.0: the body ends with the connection, and never comes in chunks.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").expect("the admin listener reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer in UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("an HTTP answer, not {answer:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, body.to_owned())
    }

    /// All samples of `/metrics`.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Samples {
        let (status, body) = self.admin("/metrics");
        assert_eq!(status, 200, "{body}");
        Samples::parse(&body)
    }
}

/// A program that was run to its end.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit code; none after a signal.
    pub(crate) code: Option<i32>,
    /// What it wrote to stdout.
    pub(crate) stdout: String,
    /// What it wrote to stderr.
    pub(crate) stderr: String,
}

/// Runs the proxy with these words and a configuration file (`None`: no file) and waits for its end.
#[track_caller]
pub(crate) fn run_to_end(arguments: &[&str], config: Option<&str>) -> Finished {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = program();
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(config) = config {
        let path = config_path(&directory);
        fs::write(&path, config).expect("the directory is ours");
        command.arg("--config").arg(path);
    }
    let mut process = Process::guard(command.spawn().expect("the binary was built"));
    let mut stdout = process.child_mut().stdout.take().expect("stdout is piped");
    let mut stderr = process.child_mut().stderr.take().expect("stderr is piped");
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let status = process.wait(SOON);
    let mut finished = Finished { code: status.code(), stdout: String::new(), stderr: String::new() };
    stdout.read_to_string(&mut finished.stdout).expect("stdout in UTF-8");
    finished.stderr = reader.join().expect("the reader does not panic").expect("stderr in UTF-8");
    finished
}

/// The samples of one scrape, by name with labels.
#[derive(Clone, Debug)]
pub(crate) struct Samples(BTreeMap<String, f64>);

impl Samples {
    fn parse(body: &str) -> Self {
        let lines = body.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("a sample, not {line:?}"));
            (series.to_owned(), value.parse().unwrap_or_else(|_| panic!("a number in {line:?}")))
        });
        Self(samples.collect())
    }

    /// The sum over all series of this metric.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.sum_where(name, &[])
    }

    /// The sum over the series of this metric that carry these labels.
    pub(crate) fn sum_where(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let carries =
            |series: &str| labels.iter().all(|(label, value)| series.contains(&format!("{label}=\"{value}\"")));
        let of_metric =
            |series: &str| series.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        self.0.iter().filter(|(series, _)| of_metric(series) && carries(series)).map(|(_, value)| value).sum()
    }

    /// The names of all series.
    pub(crate) fn series(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The binary, deaf to settings in the environment of whoever runs the tests.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fca-proxy"));
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FCA_PROXY_")) {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1");
    command
}

fn config_path(directory: &TempDir) -> PathBuf {
    directory.path().join("fca-proxy.toml")
}

fn address_behind(lines: &[String], words: &str) -> Option<SocketAddr> {
    lines.iter().find_map(|line| {
        let (_, rest) = line.split_once(words)?;
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '.' | ':')).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}
