//! The tables `[defaults]` and `[namespaces.NAME]`: how long answers live, and how their keys are derived.
//!
//! A namespace has from `[defaults]` what its own table does not say. Guarantees valid names, and that no namespace's
//! `ttl` is above its `ttl_max`.

use super::quantity::show_duration;
use super::secret::Secret;
use super::secret_keys::SecretKeys;
use super::section::Section;
use crate::key::{NAMESPACE_BYTES_MAX, namespace_is_valid};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The most namespaces that a configuration names: each is a label of the metrics, which must stay few.
pub const NAMESPACES_MAX: usize = 256;

/// What holds for the entries of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Whether it is cached at all; otherwise every get is a nil and every set too.
    pub enabled: bool,
    /// How long an entry lives when its `FCA.SET` does not say. 5 minutes.
    pub ttl: Duration,
    /// The longest life that an `FCA.SET` can ask for. 24 hours.
    pub ttl_max: Duration,
    /// Whether a question with and without its question mark is one entry.
    pub question_mark: QuestionMark,
    /// With a secret, keys are HMAC-SHA256, so that a reader of Redis can't test guesses.
    pub key_secret: Option<Secret>,
}

/// What the question mark at the end of a query means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuestionMark {
    /// Nothing: with and without it is one entry.
    Same,
    /// It makes another entry.
    Distinct,
}

/// What is done with a namespace that the configuration does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownNamespaces {
    /// It has the settings of `[defaults]`.
    Defaults,
    /// The command is an error.
    Reject,
}

/// The namespaces that the configuration names, and what holds for all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Sorted by name.
    named: Vec<(String, Namespace)>,
    defaults: Namespace,
}

impl Namespaces {
    /// Namespaces by their names, of which the last counts where two are equal.
    pub fn new(defaults: Namespace, named: impl IntoIterator<Item = (String, Namespace)>) -> Self {
        let by_name: std::collections::BTreeMap<_, _> = named.into_iter().collect();
        Self { named: by_name.into_iter().collect(), defaults }
    }

    /// The namespaces that have a table of their own, in the order of their names.
    pub fn named(&self) -> impl Iterator<Item = (&str, &Namespace)> {
        self.named.iter().map(|(name, namespace)| (name.as_str(), namespace))
    }

    /// What holds for the namespaces without a table.
    pub fn defaults(&self) -> &Namespace {
        &self.defaults
    }

    /// The namespace of this name if it has a table.
    pub fn find(&self, name: &[u8]) -> Option<&Namespace> {
        let place = self.named.binary_search_by(|(named, _)| named.as_bytes().cmp(name));
        place.ok().and_then(|place| self.named.get(place)).map(|(_, namespace)| namespace)
    }

    pub(super) fn read(top: &mut Section<'_, '_>) -> Self {
        let default = Namespace::default();
        let defaults = top.table("defaults", |section| Namespace::read(section, &default));
        let mut named = Vec::new();
        top.tables("namespaces", |name, origin, section| {
            let namespace = Namespace::read(section, &defaults);
            if !namespace_is_valid(name.as_bytes()) {
                let text = format!("expected a name of 1 to {NAMESPACE_BYTES_MAX} letters, digits, _ . or -");
                section.table_fault(origin, text);
            }
            named.push((name.to_owned(), namespace));
            if named.len() == NAMESPACES_MAX + 1 {
                section.table_fault(origin, format!("expected at most {NAMESPACES_MAX} namespaces"));
            }
        });
        Self::new(defaults, named)
    }
}

/// From the shortest that `PSETEX` takes up to ten years. An answer that shall live longer belongs in a database.
const TTL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24 * 3650);

const KEY_SECRET: SecretKeys =
    // Below 16 bytes the secret itself can be guessed, and all that it protects with it.
    SecretKeys { direct: "key_secret", file: "key_secret_file", variable: "key_secret_env", length: 16..=4096 };

/// The words of `question_mark`.
const QUESTION_MARK: [(&str, QuestionMark); 2] = [("same", QuestionMark::Same), ("distinct", QuestionMark::Distinct)];

impl Default for Namespace {
    fn default() -> Self {
        Self {
            enabled: true,
            ttl: Duration::from_mins(5),
            ttl_max: Duration::from_hours(24),
            question_mark: QuestionMark::Same,
            key_secret: None,
        }
    }
}

impl Namespace {
    /// Reads one table; what it does not say is as in `default`.
    fn read(section: &mut Section<'_, '_>, default: &Self) -> Self {
        let ttl = section.duration("ttl", default.ttl, TTL);
        let ttl_max = section.duration("ttl_max", default.ttl_max, TTL);
        section.in_order(("ttl", ttl), ("ttl_max", ttl_max), show_duration);
        Self {
            enabled: section.truth("enabled", default.enabled),
            ttl,
            ttl_max,
            question_mark: section.choice("question_mark", default.question_mark, &QUESTION_MARK),
            key_secret: KEY_SECRET.read(section).map(|given| given.value).or_else(|| default.key_secret.clone()),
        }
    }
}
