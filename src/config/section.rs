//! One table of a configuration, read key by key.
//!
//! Every read names a key, a default and bounds; what is written and does not fit is reported with what was expected,
//! and the default takes its place, so that reading goes on and finds the other faults. A key that no read has named
//! when the table is left is unknown.

use super::Environment;
use super::fault::Origin;
use super::quantity::{parse_bytes, parse_duration, show_bytes, show_duration};
use super::report::{Report, path};
use super::written::{Entry, Table, Value};
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A table that is being read.
pub(super) struct Section<'r, 'd> {
    /// Empty at the top level.
    path: String,
    /// None for a table that is not written, of which every key has its default.
    table: Option<&'d Table>,
    /// Where the variables that `_env` keys name are looked up.
    environment: &'d Environment,
    report: &'r mut Report,
    known: Vec<&'static str>,
    faulty: Vec<&'static str>,
}

/// What a key gives, and where.
pub(super) struct Given<'d, T> {
    pub(super) key: &'static str,
    pub(super) value: T,
    pub(super) entry: &'d Entry,
}

/// Reads the top level of a configuration and reports what is left over.
pub(super) fn read_top<T>(
    document: &Table,
    environment: &Environment,
    report: &mut Report,
    read: impl FnOnce(&mut Section<'_, '_>) -> T,
) -> T {
    let top = Section::new(String::new(), Some(document), environment, report);
    top.read(read)
}

impl<'r, 'd> Section<'r, 'd> {
    fn new(path: String, table: Option<&'d Table>, environment: &'d Environment, report: &'r mut Report) -> Self {
        Self { path, table, environment, report, known: Vec::new(), faulty: Vec::new() }
    }

    fn read<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let value = read(&mut self);
        for (key, entry) in self.table.into_iter().flatten() {
            if !self.known.contains(&key.as_str()) {
                let is_table = matches!(entry.value, Value::Table(_));
                self.report.unknown(entry.origin.clone(), &self.path, key, is_table);
            }
        }
        value
    }

    /// Reads the table of this key, which need not be written.
    pub(super) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_, 'd>) -> T) -> T {
        let table = self.subtable(key);
        Section::new(path(&self.path, key), table, self.environment, self.report).read(read)
    }

    /// Reads every table below this key by `read`, under the name that it has there.
    pub(super) fn tables(&mut self, key: &'static str, mut read: impl FnMut(&str, &Origin, &mut Section<'_, 'd>)) {
        let above = path(&self.path, key);
        for (name, entry) in self.subtable(key).into_iter().flatten() {
            let path = path(&above, name);
            match &entry.value {
                Value::Table(table) => Section::new(path, Some(table), self.environment, self.report)
                    .read(|section| read(name, &entry.origin, section)),
                _ => self.report.fault(entry.origin.clone(), &path, expected("a table", format!("[{path}]"), entry)),
            }
        }
    }

    fn subtable(&mut self, key: &'static str) -> Option<&'d Table> {
        let entry = self.entry(key);
        self.report.know_table(path(&self.path, key));
        let entry = entry?;
        if let Value::Table(table) = &entry.value {
            return Some(table);
        }
        let example = format!("[{}]", path(&self.path, key));
        self.fault(key, entry, expected("a table", example, entry));
        None
    }

    /// What stands behind this key, which thereby is known.
    pub(super) fn entry(&mut self, key: &'static str) -> Option<&'d Entry> {
        if !self.known.contains(&key) {
            self.known.push(key);
            self.report.know(path(&self.path, key));
        }
        self.table?.get(key)
    }

    /// What stands behind this key, which is not to be suggested to anyone.
    pub(super) fn unlisted_entry(&mut self, key: &'static str) -> Option<&'d Entry> {
        self.known.push(key);
        self.table?.get(key)
    }

    /// Reports a fault of one of this table's keys.
    pub(super) fn fault(&mut self, key: &'static str, entry: &Entry, text: String) {
        self.faulty.push(key);
        self.report.fault(entry.origin.clone(), &path(&self.path, key), text);
    }

    /// Reports a fault of the table itself, which stands at `origin`.
    pub(super) fn table_fault(&mut self, origin: &Origin, text: String) {
        self.report.fault(origin.clone(), &self.path, text);
    }

    /// Reads a key by a function whose error is the whole text of the fault.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'d Entry) -> Result<T, String>,
    ) -> Option<T> {
        let entry = self.entry(key)?;
        read(entry).map_err(|text| self.fault(key, entry, text)).ok()
    }

    /// Like [`Self::value`], and says where it was written.
    pub(super) fn given<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'d Entry) -> Result<T, String>,
    ) -> Option<Given<'d, T>> {
        let entry = self.entry(key)?;
        self.value(key, read).map(|value| Given { key, value, entry })
    }

    /// Whether none of these keys had a fault so far.
    pub(super) fn is_sound(&self, keys: &[&'static str]) -> bool {
        !keys.iter().any(|key| self.faulty.contains(key))
    }

    /// A duration such as `"250ms"`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> Duration {
        let read = |entry: &Entry| {
            let duration = entry.as_text().and_then(parse_duration).filter(|duration| bounds.contains(duration));
            duration.ok_or_else(|| {
                let (least, most) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
                expected(&format!("a duration from {least} to {most}"), quoted(show_duration(default)), entry)
            })
        };
        self.value(key, read).unwrap_or(default)
    }

    /// A duration, or `"off"` or `"0s"` for none.
    pub(super) fn duration_or_off(
        &mut self,
        key: &'static str,
        default: Option<Duration>,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let read = |entry: &Entry| match entry.as_text() {
            Some("off") => Ok(None),
            text => match text.and_then(parse_duration) {
                Some(Duration::ZERO) => Ok(None),
                Some(duration) if bounds.contains(&duration) => Ok(Some(duration)),
                _ => {
                    let (least, most) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
                    let example = default.map_or_else(|| "10m".to_owned(), show_duration);
                    Err(expected(&format!("\"off\" or a duration from {least} to {most}"), quoted(example), entry))
                }
            },
        };
        self.value(key, read).unwrap_or(default)
    }

    /// A size such as `"64MiB"`, or bytes as an integer.
    pub(super) fn bytes(&mut self, key: &'static str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        let read = |entry: &Entry| {
            let integer = entry.as_integer().and_then(|integer| u64::try_from(integer).ok());
            let bytes = integer.or_else(|| entry.as_text().and_then(parse_bytes));
            bytes.filter(|bytes| bounds.contains(bytes)).ok_or_else(|| {
                let (least, most) = (show_bytes(*bounds.start()), show_bytes(*bounds.end()));
                expected(&format!("a size from {least} to {most}"), quoted(show_bytes(default)), entry)
            })
        };
        self.value(key, read).unwrap_or(default)
    }

    /// A size that memory has to hold.
    pub(super) fn memory(&mut self, key: &'static str, default: usize, bounds: RangeInclusive<u64>) -> usize {
        usize::try_from(self.bytes(key, default as u64, bounds)).unwrap_or(usize::MAX)
    }

    /// A whole number.
    pub(super) fn count<T>(&mut self, key: &'static str, default: T, bounds: RangeInclusive<T>) -> T
    where
        T: Copy + Display + PartialOrd + TryFrom<i128>,
    {
        let read = |entry: &Entry| {
            let count = entry.as_integer().and_then(|integer| T::try_from(integer).ok());
            count.filter(|count| bounds.contains(count)).ok_or_else(|| {
                let range = format!("a whole number from {} to {}", bounds.start(), bounds.end());
                expected(&range, default.to_string(), entry)
            })
        };
        self.value(key, read).unwrap_or(default)
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, key: &'static str, default: bool) -> bool {
        let read = |entry: &Entry| {
            entry.as_boolean().ok_or_else(|| format!("expected true or false, without quotes; found {}", entry.shown))
        };
        self.value(key, read).unwrap_or(default)
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        let read = |entry: &Entry| {
            let word = words.iter().find(|(word, _)| entry.as_text() == Some(word));
            word.map(|(_, choice)| *choice).ok_or_else(|| {
                let words: Vec<String> = words.iter().map(|(word, _)| quoted(word)).collect();
                format!("expected {}; found {}", words.join(" or "), entry.shown)
            })
        };
        self.value(key, read).unwrap_or(default)
    }

    /// The path of a file that can be read.
    pub(super) fn readable_file(&mut self, key: &'static str, example: &str) -> Option<PathBuf> {
        self.value(key, |entry| {
            let path = entry.as_text().filter(|path| !path.is_empty());
            let file = entry.resolve(path.ok_or_else(|| expected("the path of a file", quoted(example), entry))?);
            match File::open(&file) {
                Ok(_) => Ok(file),
                Err(error) => Err(format!("{} can't be read: {error}", file.display())),
            }
        })
    }

    /// The value of an environment variable that the configuration names as the place of a secret.
    pub(super) fn secret_variable(&mut self, variable: &str) -> Option<&'d OsString> {
        self.report.secret_variable(variable);
        self.environment.get(OsStr::new(variable))
    }

    /// Reports two keys of which the first must not be above the second.
    pub(super) fn in_order<T: PartialOrd>(
        &mut self,
        (low_key, low): (&'static str, T),
        (high_key, high): (&'static str, T),
        show: impl Fn(T) -> String,
    ) {
        if low <= high || !self.is_sound(&[low_key, high_key]) {
            return;
        }
        let (low, high) = (show(low), show(high));
        if let Some(entry) = self.entry(low_key) {
            self.fault(low_key, entry, format!("expected at most {high_key}, which is {high}; found {low}"));
        } else if let Some(entry) = self.entry(high_key) {
            self.fault(high_key, entry, format!("expected at least {low_key}, which is {low}; found {high}"));
        }
    }
}

/// The end of every fault about a value that does not fit.
pub(super) fn expected(what: &str, example: impl Display, entry: &Entry) -> String {
    format!("expected {what}, for example {example}; found {}", entry.shown)
}

/// A text as it is written in the file.
pub(super) fn quoted(text: impl Display) -> String {
    format!("\"{text}\"")
}
