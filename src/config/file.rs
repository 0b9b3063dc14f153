//! The TOML file: from its text to the tree of what was written.
//!
//! Guarantees a line for every value and every fault. Text that is not TOML is reported in full and yields nothing,
//! since what a parser guesses behind a fault leads to faults that are none; duplicate keys are reported beside all
//! other faults. Reads at most [`FILE_BYTES_MAX`].

use super::fault::Origin;
use super::report::Report;
use super::written::{Entry, Table, Value, shorten};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The longest configuration file: some ten thousand namespaces, far more than are allowed.
const FILE_BYTES_MAX: usize = 4 << 20;

/// The tree of a file; none, with faults reported, for one that can't be read or is not TOML.
pub(super) fn read(path: &Path, report: &mut Report) -> Option<Table> {
    let path: Arc<Path> = path.into();
    let fault = |line, text: String| (Origin::File { path: Arc::clone(&path), line }, text);
    let (origin, text) = match read_bytes(&path) {
        Err(error) => fault(None, format!("the file can't be read: {error}")),
        Ok(bytes) if bytes.len() > FILE_BYTES_MAX => {
            fault(None, format!("expected a file of at most {FILE_BYTES_MAX} bytes"))
        }
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => return parse(&text, &path, report),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let line = 1 + error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count();
                fault(Some(line), "expected UTF-8 text".to_owned())
            }
        },
    };
    report.fault(origin, "", text);
    None
}

/// The tree of a file's text; none, with faults reported, for text that is not TOML.
pub(super) fn parse(text: &str, path: &Arc<Path>, report: &mut Report) -> Option<Table> {
    let source = Source { text, path, line_starts: line_starts(text) };
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut is_toml = true;
    for error in errors {
        let span = error.span().unwrap_or_default();
        let origin = source.origin(error.span().map(|span| span.start));
        if error.message() == "duplicate key" {
            let key = text.get(span).unwrap_or_default();
            report.fault(origin, key, "expected once; it stands in this table already".to_owned());
        } else {
            is_toml = false;
            report.fault(origin, "", format!("not TOML: {}", error.message().trim().replace('\n', "; ")));
        }
    }
    is_toml.then(|| source.table(document.get_ref()))
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file and where its lines start.
struct Source<'a> {
    text: &'a str,
    path: &'a Arc<Path>,
    line_starts: Vec<usize>,
}

impl Source<'_> {
    fn table(&self, table: &DeTable<'_>) -> Table {
        let entries = table.iter().map(|(key, value)| {
            let entry = Entry { origin: self.origin(Some(key.span().start)), ..self.entry(value) };
            (key.get_ref().clone().into_owned(), entry)
        });
        entries.collect()
    }

    fn entry(&self, value: &Spanned<DeValue<'_>>) -> Entry {
        let shown = shorten(self.text.get(value.span()).unwrap_or_default());
        let origin = self.origin(Some(value.span().start));
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(integer) => {
                let outside = if integer.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
                Value::Integer(i128::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(outside))
            }
            DeValue::Boolean(boolean) => Value::Boolean(*boolean),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.entry(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Float(_) | DeValue::Datetime(_) => Value::Other,
        };
        Entry { value, shown, origin }
    }

    fn origin(&self, offset: Option<usize>) -> Origin {
        let line = offset.map(|offset| self.line_starts.partition_point(|&start| start <= offset));
        Origin::File { path: Arc::clone(self.path), line }
    }
}

/// The offset of the first byte of every line.
fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1)).collect()
}
