//! The account of one reading: the faults, the keys that were asked for, the keys that nobody asked for.
//!
//! Which keys exist is not listed anywhere but in the code that reads them; a key is unknown when that code has run
//! and did not ask for it. So what to suggest in its place is decided at the end.

use super::fault::{ConfigError, Fault, Origin};

/// Filled while a configuration is read.
#[derive(Default)]
pub(super) struct Report {
    faults: Vec<Fault>,
    /// The full path of every key that was asked for, in the order of asking.
    known: Vec<String>,
    /// Those of them that are tables.
    tables: Vec<String>,
    unknown: Vec<Unknown>,
    /// The variables that hold secrets by the configuration's own word (`password_env`), and so are no unknown keys
    /// even if their names look like it.
    secret_variables: Vec<String>,
}

/// A key that stands where none is expected.
struct Unknown {
    origin: Origin,
    /// The path of its table, empty at the top level.
    table: String,
    key: String,
    is_table: bool,
}

impl Report {
    /// Notes a fault of a key; of the whole file with an empty key.
    pub(super) fn fault(&mut self, origin: Origin, key: &str, text: String) {
        self.faults.push(Fault { origin, key: key.to_owned(), text });
    }

    /// Notes that there is a key of this path.
    pub(super) fn know(&mut self, path: String) {
        self.known.push(path);
    }

    /// Notes that the key of this path is a table.
    pub(super) fn know_table(&mut self, path: String) {
        self.tables.push(path);
    }

    /// Notes a key that nobody asked for.
    pub(super) fn unknown(&mut self, origin: Origin, table: &str, key: &str, is_table: bool) {
        self.unknown.push(Unknown { origin, table: table.to_owned(), key: key.to_owned(), is_table });
    }

    /// Notes that a variable holds a secret.
    pub(super) fn secret_variable(&mut self, variable: &str) {
        self.secret_variables.push(variable.to_owned());
    }

    /// The keys that were asked for and are no tables.
    pub(super) fn keys(self) -> Vec<String> {
        let Self { known, tables, .. } = self;
        known.into_iter().filter(|key| !tables.contains(key)).collect()
    }

    /// What was read, if nothing was wrong.
    pub(super) fn verdict<T>(mut self, read: T) -> Result<T, ConfigError> {
        let unknown = std::mem::take(&mut self.unknown);
        for key in unknown {
            let is_secret =
                matches!(&key.origin, Origin::Environment(variable) if self.secret_variables.contains(variable));
            if !is_secret {
                let text = self.suggestion(&key);
                self.fault(key.origin, &path(&key.table, &key.key), text);
            }
        }
        // Stable, so that the faults of one place keep the order in which they were found.
        self.faults.sort_by(|a, b| a.origin.cmp(&b.origin));
        if self.faults.is_empty() { Ok(read) } else { Err(ConfigError { faults: self.faults }) }
    }

    fn suggestion(&self, unknown: &Unknown) -> String {
        let Unknown { table, key, .. } = unknown;
        if unknown.is_table && table.starts_with("namespaces.") {
            return "unknown key; a namespace with a dot in its name is written in quotes, for example \
                    [namespaces.\"faq.en\"]"
                .to_owned();
        }
        let siblings: Vec<&str> = self.known.iter().filter_map(|known| child(known, table)).collect();
        if let Some(nearest) = nearest(key, &siblings) {
            return format!("unknown key; did you mean {nearest}?");
        }
        let elsewhere = self.known.iter().find(|known| known.rsplit('.').next() == Some(key));
        match elsewhere {
            Some(known) => format!("unknown key; did you mean {known}?"),
            None => format!("unknown key; expected one of {}", siblings.join(", ")),
        }
    }
}

/// The path of a key in a table, with quotes around a name that TOML does not take bare.
pub(super) fn path(table: &str, key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let key = if is_bare { key.to_owned() } else { format!("{key:?}") };
    if table.is_empty() { key } else { format!("{table}.{key}") }
}

/// The name of a key if it stands directly in this table.
fn child<'k>(known: &'k str, table: &str) -> Option<&'k str> {
    let name = if table.is_empty() { known } else { known.strip_prefix(table)?.strip_prefix('.')? };
    (!name.contains('.')).then_some(name)
}

/// The name that a mistyped one most likely stands for: one slip, and one more for every four letters.
fn nearest<'k>(typed: &str, names: &[&'k str]) -> Option<&'k str> {
    let slips_max = 1 + typed.len() / 4;
    let distance = |name: &str| strsim::damerau_levenshtein(typed, name);
    names.iter().copied().filter(|name| distance(name) <= slips_max).min_by_key(|name| distance(name))
}
