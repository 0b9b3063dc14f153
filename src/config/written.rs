//! A configuration as it was written: a tree of values, each with the place where it stands.
//!
//! The file, the environment and the flags all end up in one tree, in which the later source has replaced the value
//! of the earlier. Nothing is checked here but the shape; what the values mean is [`super::section`]'s.

use super::fault::Origin;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The longest piece of a written value that a fault repeats, in characters.
const SHOWN_CHARS_MAX: usize = 40;

/// The keys of one table, in the order of their names.
pub(super) type Table = BTreeMap<String, Entry>;

/// What stands behind one key.
pub(super) struct Entry {
    pub(super) value: Value,
    /// The value as it was written, cut short, for the end of a fault.
    pub(super) shown: String,
    pub(super) origin: Origin,
}

/// A value by its type in the file. What comes from elsewhere is `Text` and is read as the type that its key needs.
pub(super) enum Value {
    Text(String),
    /// Numbers outside of this type are at its ends, which is outside of every range.
    Integer(i128),
    Boolean(bool),
    List(Vec<Entry>),
    Table(Table),
    /// A type that no key takes (float, date).
    Other,
}

impl Entry {
    /// A value from the environment or a flag.
    pub(super) fn text(text: &str, origin: Origin) -> Self {
        Self { value: Value::Text(text.to_owned()), shown: shorten(&format!("{text:?}")), origin }
    }

    /// The integer that stands here.
    pub(super) fn as_integer(&self) -> Option<i128> {
        match &self.value {
            Value::Integer(integer) => Some(*integer),
            Value::Text(text) if !self.origin.is_file() => text.parse().ok(),
            _ => None,
        }
    }

    /// The boolean that stands here.
    pub(super) fn as_boolean(&self) -> Option<bool> {
        match &self.value {
            Value::Boolean(boolean) => Some(*boolean),
            Value::Text(text) if !self.origin.is_file() => text.parse().ok(),
            _ => None,
        }
    }

    /// The text that stands here.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The texts of a list. One text alone will do in a file; elsewhere they are separated by commas.
    pub(super) fn as_texts(&self) -> Option<Vec<&str>> {
        match &self.value {
            Value::List(items) => items.iter().map(Self::as_text).collect(),
            Value::Text(text) if self.origin.is_file() => Some(vec![text]),
            Value::Text(text) => Some(text.split(',').map(str::trim).filter(|text| !text.is_empty()).collect()),
            _ => None,
        }
    }

    /// A path that this value names. One in a file is relative to the directory of that file, so that a configuration
    /// means the same from wherever the program is started.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        match &self.origin {
            Origin::File { path: file, .. } => file.parent().unwrap_or_else(|| Path::new("")).join(path),
            Origin::Environment(_) | Origin::Flag(_) => PathBuf::from(path),
        }
    }
}

/// Sets the value at a path, in tables that are made where they are missing. Hands the entry back when a value that is
/// no table stands in the way, since there is no place for it then.
pub(super) fn put(table: &mut Table, path: &[&str], entry: Entry) -> Result<(), Entry> {
    match path {
        [] => Err(entry),
        [key] => {
            table.insert((*key).to_owned(), entry);
            Ok(())
        }
        [key, rest @ ..] => {
            let below = table.entry((*key).to_owned()).or_insert_with(|| Entry {
                value: Value::Table(Table::new()),
                shown: entry.shown.clone(),
                origin: entry.origin.clone(),
            });
            match &mut below.value {
                Value::Table(below) => put(below, rest, entry),
                _ => Err(entry),
            }
        }
    }
}

/// The value at a path.
pub(super) fn find<'d>(table: &'d Table, path: &[&str]) -> Option<&'d Entry> {
    match path {
        [] => None,
        [key] => table.get(*key),
        [key, rest @ ..] => match &table.get(*key)?.value {
            Value::Table(below) => find(below, rest),
            _ => None,
        },
    }
}

/// A written value, short enough for one line and without anything that moves a terminal's cursor.
pub(super) fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
