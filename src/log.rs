//! The log: lines on stderr, for people or for collectors.
//!
//! Guarantees colours only on a terminal (and not with `NO_COLOR`), and from libraries nothing below a warning, as
//! they log what is only of use to their authors. That no query, value or secret is logged is the duty of whoever
//! logs. `RUST_LOG` is not read: the level has one place, `log.level`.

use crate::config::{Log, LogFormat, LogLevel};
use std::io::{self, IsTerminal};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;

/// What the events of this program are called by.
const OWN_TARGET: &str = "fca_proxy";

/// Whether lines have colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colours {
    Plain,
    Ansi,
}

/// Sends the events of the whole process to stderr. Does nothing if they go somewhere already.
pub fn init(log: &Log) {
    let is_wanted = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let colours = if is_wanted { Colours::Ansi } else { Colours::Plain };
    // An error says that there is a subscriber already, which then is the one that was meant.
    let _ = subscriber(log, colours, io::stderr).try_init();
}

/// What turns events into lines.
fn subscriber<W>(log: &Log, colours: Colours, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = level(log.level);
    let targets = Targets::new().with_default(level.min(LevelFilter::WARN)).with_target(OWN_TARGET, level);
    let lines = fmt::layer().with_writer(writer).with_ansi(colours == Colours::Ansi);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(targets))
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::mpsc::{Sender, channel};

    /// A writer that sends what is written to a test.
    #[derive(Clone)]
    struct Lines(Sender<Vec<u8>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: Log, colours: Colours, events: impl FnOnce()) -> String {
        let (sender, receiver) = channel();
        let lines = Lines(sender);
        let subscriber = subscriber(&log, colours, move || lines.clone());
        tracing::subscriber::with_default(subscriber, events);
        let bytes: Vec<u8> = receiver.try_iter().flatten().collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_for_people_has_time_level_message_and_fields() {
        let text = logged(Log::default(), Colours::Plain, || tracing::warn!(node = "a:1", "upstream lost"));
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.ends_with('Z') && time.contains('T'), "{text}");
        assert_eq!(rest.trim_start(), "WARN upstream lost node=\"a:1\"\n");
    }

    #[test]
    fn a_line_for_collectors_is_one_flat_object() {
        let log = Log { format: LogFormat::Json, ..Log::default() };
        let text = logged(log, Colours::Ansi, || tracing::info!(clients = 3, "drain begins"));
        assert!(text.starts_with("{\"timestamp\":\"") && text.ends_with("}\n"), "{text}");
        for field in ["\"level\":\"INFO\"", "\"message\":\"drain begins\"", "\"clients\":3"] {
            assert!(text.contains(field), "{text}");
        }
        assert_eq!(text.matches('\n').count(), 1);
    }

    #[test]
    fn the_level_cuts_off_what_is_less_important() {
        let events = || {
            tracing::error!("1");
            tracing::warn!("2");
            tracing::info!("3");
            tracing::debug!("4");
            tracing::warn!(target: "hyper", "5");
            tracing::info!(target: "hyper", "6");
        };
        let cases =
            [(LogLevel::Error, "1"), (LogLevel::Warn, "125"), (LogLevel::Info, "1235"), (LogLevel::Debug, "12345")];
        for (level, expected) in cases {
            let text = logged(Log { level, ..Log::default() }, Colours::Plain, events);
            let numbers: String = text.lines().filter_map(|line| line.chars().last()).collect();
            assert_eq!(numbers, expected, "{level:?}");
        }
    }

    #[test]
    fn colours_are_on_request_only() {
        let plain = logged(Log::default(), Colours::Plain, || tracing::error!("x"));
        let ansi = logged(Log::default(), Colours::Ansi, || tracing::error!("x"));
        assert!(!plain.contains('\u{1b}') && ansi.contains('\u{1b}'), "{plain} {ansi}");
    }
}
