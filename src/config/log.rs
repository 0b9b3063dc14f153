//! The table `[log]`: how much is logged, and in which form.

use super::section::Section;

/// What is written to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important events that are written.
    pub level: LogLevel,
    /// The form of a line.
    pub format: LogFormat,
}

/// How important an event is, from the most to the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Somebody has to act.
    Error,
    /// Something is amiss, and the program copes.
    Warn,
    /// A state has changed. Never one line per request.
    Info,
    /// What each connection does; for the search for a fault.
    Debug,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// The words of `level`.
pub(crate) const LEVELS: [(&str, LogLevel); 4] =
    [("error", LogLevel::Error), ("warn", LogLevel::Warn), ("info", LogLevel::Info), ("debug", LogLevel::Debug)];

/// The words of `format`.
pub(crate) const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text }
    }
}

impl Log {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        Self {
            level: section.choice("level", default.level, &LEVELS),
            format: section.choice("format", default.format, &FORMATS),
        }
    }
}
