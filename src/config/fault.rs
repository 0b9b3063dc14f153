//! What is wrong with a configuration, said so that it can be mended in one go.
//!
//! A [`Fault`] names the place, the key and what was expected; a [`ConfigError`] holds all of them, in the order of
//! the file, then the environment, then the flags. No fault repeats a secret or a URL, which may hold one.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value was written. The order is that of precedence: what comes later overrides what comes earlier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A configuration file.
    File {
        /// The file, as its path was given.
        path: Arc<Path>,
        /// The line, from 1; none for what concerns the whole file.
        line: Option<usize>,
    },
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, with its dashes.
    Flag(&'static str),
}

impl Origin {
    /// Whether two values come from the same source, so that neither overrides the other.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Whether the value stands in a file, where it has a type; elsewhere all values are text.
    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::File { .. })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that has to be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it was written.
    pub origin: Origin,
    /// The full path of the key (`namespaces.faq.ttl`); empty for what concerns the whole file.
    pub key: String,
    /// What is wrong and what was expected.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.origin, self.text),
            key => write!(f, "{}: {key}: {}", self.origin, self.text),
        }
    }
}

/// A configuration that can't be used, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one, sorted by place.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    /// One fault a line, no line end behind the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
