//! The command line: its flags, its help, and how it ends when there is nothing to serve.
//!
//! Guarantees the exit codes of `sysexits.h`: 0 for help, version and a check that found nothing; 64 for a command
//! line that makes no sense; 78 for a configuration with faults. Values of flags are checked by `config`, together
//! with those of the file, so that all that is wrong is said at once.

use crate::config::{Config, ConfigError, Environment, FORMATS, FlagValue, LEVELS, Origin, Sources};
use clap::builder::PossibleValuesParser;
use clap::{CommandFactory, FromArgMatches, Parser};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The command line can't be understood: `EX_USAGE`.
const EXIT_USAGE: u8 = 64;

/// The running program is not well: what Docker's HEALTHCHECK calls unhealthy.
const EXIT_UNHEALTHY: u8 = 1;

/// The configuration has faults: `EX_CONFIG`.
const EXIT_CONFIG: u8 = 78;

/// What stands below the flags in the long help.
const FIRST_MINUTE: &str = "\
First minute:
  fca-proxy
      a cache inside this process, for clients of 127.0.0.1:6380
  redis-cli -p 6380 FCA.SET faq 'How do I pay?' 'With a card.'
  redis-cli -p 6380 FCA.GET faq 'how do i  pay'
      answers \"With a card.\", as it is the same question
  fca-proxy --upstream redis://127.0.0.1:6379
      the same before a Redis
  curl http://127.0.0.1:9180/metrics
      what it has done

Environment (flags override it, and it overrides the file):
  FCA_PROXY_CONFIG             the configuration file
  FCA_PROXY_LISTEN             addresses for clients, separated by commas
  FCA_PROXY_ADMIN_LISTEN       address for metrics and health, or off
  FCA_PROXY_UPSTREAM           URL of the upstream
  FCA_PROXY_UPSTREAM_PASSWORD  its password, unseen in the list of processes
  FCA_PROXY_WORKERS            number of threads
  FCA_PROXY_LOG_LEVEL          error, warn, info or debug
  FCA_PROXY_LOG_FORMAT         text or json
  FCA_PROXY_TABLE__KEY         any other key: FCA_PROXY_LIMITS__CLIENTS_MAX=500,
                               FCA_PROXY_NAMESPACES__FAQ__TTL=10m

Every key of the file is explained in config.toml.example.
Exit codes: 0 ended as asked, 1 could not start, 64 wrong usage,
78 wrong configuration.";

/// A caching proxy that speaks RESP.
///
/// Any Redis client can point at it. FCA.GET and FCA.SET cache answers to
/// questions; every other command is forwarded to the upstream. While that is
/// unreachable, the answer is nil and not an error.
#[derive(Parser)]
#[command(name = "fca-proxy", version, verbatim_doc_comment, after_long_help = FIRST_MINUTE, args_override_self = true)]
#[command(after_help = "Try: fca-proxy --upstream redis://127.0.0.1:6379   (--help says more)")]
struct Flags {
    /// Read this configuration file (TOML)
    ///
    /// Every key is optional; without a file the defaults hold.
    /// Example: --config /etc/fca-proxy/config.toml
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    config: Option<PathBuf>,

    /// Check the configuration, say what it amounts to, and end
    ///
    /// Lists every fault with its line and ends with 78 if there is one.
    #[arg(long)]
    check: bool,

    /// Ask the running program's /healthz, and end with 0 if it is well
    ///
    /// For container health checks. Looks where --admin-listen says.
    #[arg(long, conflicts_with = "check")]
    health: bool,

    /// Accept clients on this address; may be repeated [default: 127.0.0.1:6380]
    ///
    /// An IP address and a port. Examples: --listen 0.0.0.0:6380 for all
    /// interfaces, --listen '[::1]:6380' for IPv6.
    #[arg(long, value_name = "ADDR", value_delimiter = ',', verbatim_doc_comment)]
    listen: Vec<String>,

    /// Serve /metrics, /healthz and /readyz here, or "off" [default: 127.0.0.1:9180]
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,

    /// Stand before this Redis [default: embedded]
    ///
    /// redis://[user:password@]host[:port][/database]
    /// rediss://...               the same with TLS
    /// unix:///path[?db=number]   the same on a socket
    /// embedded                   a store in this process, not shared, not kept
    /// disabled                   no cache: every get is nil
    /// Whoever lists processes sees this flag: give a password by
    /// FCA_PROXY_UPSTREAM_PASSWORD or upstream.password_file.
    #[arg(long, value_name = "URL", verbatim_doc_comment)]
    upstream: Option<String>,

    /// Serve clients with so many threads [default: one per core]
    #[arg(long, value_name = "N")]
    workers: Option<String>,

    /// Log what is at least so important [default: info]
    #[arg(long, value_name = "LEVEL", value_parser = PossibleValuesParser::new(LEVELS.map(|(word, _)| word)))]
    log_level: Option<String>,

    /// Log for people (text) or for collectors (json) [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(FORMATS.map(|(word, _)| word)))]
    log_format: Option<String>,
}

/// What to run with.
#[derive(Debug)]
pub struct RunOptions {
    /// The configuration, without faults.
    pub config: Config,
    /// Where it came from, to read it anew.
    pub sources: Sources,
}

/// Why there is nothing to serve.
#[derive(Debug)]
pub enum End {
    /// Help or version was asked for, or the command line makes no sense.
    Usage(clap::Error),
    /// The configuration has faults.
    Faults(ConfigError),
    /// The configuration was checked and has none; this is what it amounts to.
    Checked(String),
    /// The running program was asked how it is: well, or what is wrong.
    Health(Result<(), String>),
}

/// Reads the command line and the environment of this process, and the file that they name.
///
/// # Errors
/// There is nothing to serve: help, version or a check was asked for, or something is wrong.
pub fn run_options() -> Result<RunOptions, End> {
    options(std::env::args_os(), std::env::vars_os().collect())
}

fn options(arguments: impl IntoIterator<Item = OsString>, environment: Environment) -> Result<RunOptions, End> {
    let mut matches = Flags::command().try_get_matches_from(arguments).map_err(End::Usage)?;
    let flags = Flags::from_arg_matches_mut(&mut matches).map_err(End::Usage)?;
    let (check, health) = (flags.check, flags.health);
    let sources = flags.into_sources(environment);
    let config = Config::load(&sources).map_err(End::Faults)?;
    if health {
        return Err(End::Health(ask_health(config.admin_listen)));
    }
    if check { Err(End::Checked(config.summary())) } else { Ok(RunOptions { config, sources }) }
}

/// How long the running program has for each step of its answer to `--health`.
const HEALTH_WAIT: Duration = Duration::from_secs(2);

/// Asks the program that serves its health here.
fn ask_health(address: Option<SocketAddr>) -> Result<(), String> {
    let mut address = address.ok_or("admin_listen is off: nobody to ask")?;
    // A program that listens on all interfaces is asked on this machine's own.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, HEALTH_WAIT)?;
        stream.set_read_timeout(Some(HEALTH_WAIT))?;
        stream.set_write_timeout(Some(HEALTH_WAIT))?;
        write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(HEALTH_BYTES_MAX).read_to_string(&mut answer)?;
        Ok(answer)
    };
    match ask() {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => Ok(()),
        Ok(answer) => Err(format!("http://{address}/healthz: {}", answer.lines().next().unwrap_or("no answer"))),
        Err(error) => Err(format!("http://{address}/healthz: {error}")),
    }
}

/// How much of the answer to `--health` is read, in bytes.
const HEALTH_BYTES_MAX: u64 = 4096;

impl Flags {
    fn into_sources(self, environment: Environment) -> Sources {
        let listen = Some(self.listen.join(",")).filter(|_| !self.listen.is_empty());
        let values: [(&'static str, &'static [&'static str], Option<String>); 6] = [
            ("--listen", &["listen"], listen),
            ("--admin-listen", &["admin_listen"], self.admin_listen),
            ("--upstream", &["upstream", "url"], self.upstream),
            ("--workers", &["workers"], self.workers),
            ("--log-level", &["log", "level"], self.log_level),
            ("--log-format", &["log", "format"], self.log_format),
        ];
        let flags = values.into_iter().filter_map(|(flag, key, value)| Some(FlagValue { flag, key, value: value? }));
        Sources { file: self.config, environment, flags: flags.collect() }
    }
}

impl End {
    /// Says it, on stdout what was asked for and on stderr what is wrong, and gives the code to exit with.
    pub fn tell(&self) -> ExitCode {
        // A reader that has gone away is no reason to end otherwise.
        let _ = match self {
            Self::Usage(error) => error.print(),
            Self::Faults(_) => writeln!(io::stderr(), "{self}"),
            Self::Checked(_) | Self::Health(Ok(())) => writeln!(io::stdout(), "{self}"),
            Self::Health(Err(_)) => writeln!(io::stderr(), "{self}"),
        };
        ExitCode::from(self.exit_code())
    }

    /// The code to exit with.
    pub fn exit_code(&self) -> u8 {
        let is_flag = |origin: &Origin| matches!(origin, Origin::Flag(_));
        match self {
            Self::Usage(error) if error.exit_code() == 0 => 0,
            Self::Usage(_) => EXIT_USAGE,
            Self::Faults(error) if error.faults.iter().all(|fault| is_flag(&fault.origin)) => EXIT_USAGE,
            Self::Faults(_) => EXIT_CONFIG,
            Self::Checked(_) | Self::Health(Ok(())) => 0,
            Self::Health(Err(_)) => EXIT_UNHEALTHY,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) => write!(f, "{error}"),
            Self::Faults(error) => write!(f, "{error}"),
            Self::Health(Ok(())) => f.write_str("ok"),
            Self::Health(Err(what)) => f.write_str(what),
            Self::Checked(summary) => write!(f, "configuration is valid\nit would {summary}"),
        }
    }
}

impl std::error::Error for End {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogFormat, LogLevel, UpstreamTarget};

    fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Result<RunOptions, End> {
        let arguments = ["fca-proxy"].iter().chain(arguments).map(OsString::from);
        options(arguments, environment.iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    #[test]
    fn no_arguments_serve_with_the_defaults() {
        assert_eq!(run(&[], &[]).unwrap().config, Config::default());
    }

    #[test]
    fn every_flag_sets_its_key() {
        let arguments = [
            "--listen=127.0.0.1:1,127.0.0.1:2",
            "--listen=[::1]:3",
            "--admin-listen=off",
            "--upstream=redis://:pw@cache",
            "--workers=3",
            "--log-level=debug",
            "--log-format=json",
        ];
        let config = run(&arguments, &[]).unwrap().config;
        assert_eq!(config.listen.len(), 3);
        assert_eq!(config.admin_listen, None);
        assert_eq!(config.upstream.target, UpstreamTarget::Tcp { host: "cache".into(), port: 6379 });
        assert_eq!(config.workers.get(), 3);
        assert_eq!((config.log.level, config.log.format), (LogLevel::Debug, LogFormat::Json));
    }

    #[test]
    fn a_flag_overrides_the_environment() {
        let config = run(&["--workers=3"], &[("FCA_PROXY_WORKERS", "2"), ("FCA_PROXY_DRAIN", "9s")]).unwrap().config;
        assert_eq!((config.workers.get(), config.drain.as_secs()), (3, 9));
    }

    #[test]
    fn each_end_has_its_exit_code() {
        let cases: [(&[&str], u8); 8] = [
            (&["--help"], 0),
            (&["-h"], 0),
            (&["--version"], 0),
            (&["--check"], 0),
            (&["--unknown"], 64),
            (&["--log-level=loud"], 64),
            (&["--workers=0", "--upstream=x"], 64),
            (&["--config=/nonexistent/config.toml"], 78),
        ];
        for (arguments, code) in cases {
            let end = run(arguments, &[]).unwrap_err();
            assert_eq!(end.exit_code(), code, "{arguments:?}: {end}");
        }
        let not_only_flags = run(&["--workers=0"], &[("FCA_PROXY_DRAIN", "soon")]).unwrap_err();
        assert_eq!(not_only_flags.exit_code(), 78);
    }

    #[test]
    fn all_faults_of_flags_are_told_at_once() {
        let end = run(&["--listen=localhost:1", "--workers=many", "--upstream=redis://:pw@"], &[]).unwrap_err();
        let said = end.to_string();
        let flags: Vec<&str> = said.lines().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(flags, ["--listen", "--upstream", "--workers"]);
        assert!(!said.contains("pw"), "{said}");
    }

    #[test]
    fn a_check_says_what_it_would_do() {
        let environment = [("FCA_PROXY_UPSTREAM_PASSWORD", "Xq7ZkW")];
        let end = run(&["--check", "--workers=1", "--upstream=redis://app@cache/2"], &environment).unwrap_err();
        assert_eq!(
            end.to_string(),
            "configuration is valid\nit would listen on 127.0.0.1:6380; metrics on 127.0.0.1:9180; 1 worker; upstream \
             redis://cache:6379, database 2 as app; near cache 64MiB; namespaces any"
        );
    }

    #[test]
    fn the_help_names_every_flag_and_stays_within_a_terminal() {
        let help = run(&["--help"], &[]).unwrap_err().to_string();
        for argument in Flags::command().get_arguments() {
            assert!(help.contains(&format!("--{}", argument.get_long().unwrap())), "{help}");
        }
        for line in help.lines() {
            assert!(line.chars().count() <= 90, "{line}");
        }
    }
}
