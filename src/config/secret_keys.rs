//! Where a secret comes from: a file, a variable that the configuration names, or the environment directly.
//!
//! Guarantees that a secret does not stand in the configuration file, that a later source (file, environment, flags)
//! overrides an earlier one, and that two of one source are a fault. No fault repeats a secret.

use super::secret::Secret;
use super::section::{Given, Section};
use super::written::Entry;
use std::ops::RangeInclusive;

/// The keys that can give one secret, and how long it may be.
pub(super) struct SecretKeys {
    /// Holds the secret itself; for the environment only.
    pub(super) direct: &'static str,
    /// Names a file.
    pub(super) file: &'static str,
    /// Names an environment variable.
    pub(super) variable: &'static str,
    /// The bounds of its length in bytes.
    pub(super) length: RangeInclusive<usize>,
}

impl SecretKeys {
    /// The secret, if there is one.
    pub(super) fn read<'d>(&self, section: &mut Section<'_, 'd>) -> Option<Given<'d, Secret>> {
        let (key, entry) = self.written(section)?;
        let value = match key {
            key if key == self.file => section.value(key, |entry| self.read_file(entry)),
            key if key == self.variable => self.read_variable(entry, section),
            key => section.value(key, |entry| self.checked(Secret::new(entry.as_text().unwrap_or_default().into()))),
        };
        Some(Given { key, value: value?, entry })
    }

    /// The key that counts.
    fn written<'d>(&self, section: &mut Section<'_, 'd>) -> Option<(&'static str, &'d Entry)> {
        let mut counts: Option<(&'static str, &'d Entry)> = None;
        for key in [self.direct, self.file, self.variable] {
            let entry = if key == self.direct { section.unlisted_entry(key) } else { section.entry(key) };
            let Some(entry) = entry else { continue };
            if key == self.direct && entry.origin.is_file() {
                let Self { file, variable, .. } = self;
                section.fault(key, entry, format!("a secret does not stand in this file; use {file} or {variable}"));
                continue;
            }
            match counts {
                Some((other, earlier)) if earlier.origin.is_beside(&entry.origin) => {
                    section.fault(key, entry, format!("{other} gives it already; leave one of them"));
                }
                Some((_, earlier)) if earlier.origin > entry.origin => {}
                _ => counts = Some((key, entry)),
            }
        }
        counts
    }

    // What these keys hold is not repeated in a fault: people do put the secret itself where its place belongs.

    fn read_file(&self, entry: &Entry) -> Result<Secret, String> {
        let example = "expected the path of a file, for example \"/run/secrets/name\"";
        let path = entry.as_text().filter(|path| !path.is_empty()).ok_or(example)?;
        match Secret::read(&entry.resolve(path), *self.length.end()) {
            Ok(secret) => self.checked(secret),
            Err(error) => Err(format!("the file can't be read: {error}")),
        }
    }

    fn read_variable(&self, entry: &Entry, section: &mut Section<'_, '_>) -> Option<Secret> {
        let variable = entry.as_text().filter(|name| !name.is_empty());
        let read = match variable.map(|variable| section.secret_variable(variable)) {
            None => Err("expected the name of an environment variable, for example \"FAQ_SECRET\"".to_owned()),
            Some(None) => Err("the environment variable of this name is not set".to_owned()),
            Some(Some(value)) => self.checked(Secret::new(value.as_encoded_bytes().to_vec())),
        };
        read.map_err(|text| section.fault(self.variable, entry, text)).ok()
    }

    /// A secret of a length within the bounds.
    fn checked(&self, secret: Secret) -> Result<Secret, String> {
        let length = secret.expose().len();
        if self.length.contains(&length) {
            return Ok(secret);
        }
        let (least, most) = (self.length.start(), self.length.end());
        let found = if length > *most { "more".to_owned() } else { length.to_string() };
        Err(format!("expected a secret of {least} to {most} bytes; found {found}"))
    }
}
