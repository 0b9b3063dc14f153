//! The table `[near_cache]`: what lately read values may take, for how long, and which keys they are of.
//!
//! Guarantees prefixes that Redis tracks together (none begins with another), `key_prefix` among what they cover, and
//! room for at least [`VALUES_MIN`] of the largest values.

use super::quantity::show_bytes;
use super::section::{Section, expected, quoted};
use super::written::Entry;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The store inside the process for values lately read from a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearCache {
    /// Whether there is one. It needs a server behind the proxy: neither `embedded` nor `disabled` has one.
    pub enabled: bool,
    /// Bytes of all entries, their overhead included; past it entries are evicted. 64 MiB.
    pub memory: u64,
    /// Bytes of one value; a longer one is not kept. At most a quarter of `memory`. 64 KiB.
    pub value_bytes_max: usize,
    /// The longest time for which a value is served without asking the upstream. 1 minute.
    pub ttl_max: Duration,
    /// What the keys begin with that are tracked, and whose reads are served: `key_prefix` first where none of those in
    /// the file covers it. None begins with another.
    pub prefixes: Vec<String>,
    /// A link that is silent for so long is lost, and nothing is served. 1 s.
    pub link_timeout: Duration,
    /// What is done with a server that does not track keys.
    pub without_tracking: WithoutTracking,
    /// The longest time for which a value is served where changes are not heard of. Never above `ttl_max`. 2 s.
    pub ttl_max_without_tracking: Duration,
}

/// What is done with a server that does not say which keys have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutTracking {
    /// Nothing is served from the near cache.
    Off,
    /// Values are served for a short time, whether or not they have changed meanwhile.
    Ttl,
}

/// From some hundred entries up to the largest machines.
const MEMORY: RangeInclusive<u64> = 1 << 20..=1 << 40;

/// From one byte up to the longest string of Redis.
const VALUE_BYTES: RangeInclusive<u64> = 1..=4 << 20;

/// So many of the largest values fit at least: with fewer, each pushes the others out.
const VALUES_MIN: u64 = 4;

/// A day is beyond what tells a popular answer from one that was, and any change is heard of.
const TTL: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);

/// Within a quarter of it a PING has to be answered: below, a busy server seems lost; above, a lost one seems well.
const LINK_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(1);

/// Nobody hears of changes meanwhile: more than some seconds is what nobody expects of a cache that has none.
const TTL_WITHOUT_TRACKING: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(1);

/// Redis compares every key that is written with each of them.
const PREFIXES_MAX: usize = 16;

/// A prefix is to be short; keys of whole sentences are nobody's.
const PREFIX_BYTES_MAX: usize = 256;

/// The words of `without_tracking`.
const WITHOUT_TRACKING: [(&str, WithoutTracking); 2] = [("off", WithoutTracking::Off), ("ttl", WithoutTracking::Ttl)];

impl NearCache {
    /// What holds when nothing is written, with this `key_prefix`.
    pub(super) fn default_for(key_prefix: &str) -> Self {
        Self {
            enabled: true,
            memory: 64 << 20,
            value_bytes_max: 64 << 10,
            ttl_max: Duration::from_mins(1),
            prefixes: vec![key_prefix.to_owned()],
            link_timeout: Duration::from_secs(1),
            without_tracking: WithoutTracking::Off,
            ttl_max_without_tracking: Duration::from_secs(2),
        }
    }

    pub(super) fn read(section: &mut Section<'_, '_>, key_prefix: &str) -> Self {
        let default = Self::default_for(key_prefix);
        let memory = section.bytes("memory", default.memory, MEMORY);
        let value_bytes_max = section.memory("value_bytes_max", default.value_bytes_max, VALUE_BYTES);
        if let Some(entry) = section.entry("value_bytes_max")
            && value_bytes_max as u64 > memory / VALUES_MIN
            && section.is_sound(&["memory", "value_bytes_max"])
        {
            let text = format!(
                "expected at most a quarter of memory, which is {}; found {}",
                show_bytes(memory / VALUES_MIN),
                entry.shown
            );
            section.fault("value_bytes_max", entry, text);
        }
        let ttl_max = section.duration("ttl_max", default.ttl_max, TTL);
        let without_tracking = "ttl_max_without_tracking";
        Self {
            enabled: section.truth("enabled", default.enabled),
            memory,
            value_bytes_max,
            ttl_max,
            prefixes: section.value("prefixes", |entry| prefixes(entry, key_prefix)).unwrap_or(default.prefixes),
            link_timeout: section.duration("link_timeout", default.link_timeout, LINK_TIMEOUT),
            without_tracking: section.choice("without_tracking", default.without_tracking, &WITHOUT_TRACKING),
            // Who shortens the one must not have to know of the other.
            ttl_max_without_tracking: section
                .duration(without_tracking, default.ttl_max_without_tracking, TTL_WITHOUT_TRACKING)
                .min(ttl_max),
        }
    }
}

/// The prefixes of a list, and `key_prefix` where none of them covers it.
fn prefixes(entry: &Entry, key_prefix: &str) -> Result<Vec<String>, String> {
    let is_prefix = |text: &&str| text.len() <= PREFIX_BYTES_MAX && !text.contains(char::is_control);
    let given = entry
        .as_texts()
        .filter(|texts| texts.len() <= PREFIXES_MAX && texts.iter().all(is_prefix))
        .ok_or_else(|| {
            let what = format!(
                "a list of at most {PREFIXES_MAX} texts of at most {PREFIX_BYTES_MAX} bytes without control characters"
            );
            expected(&what, "[\"fca:\", \"session:\"]", entry)
        })?;
    for (at, prefix) in given.iter().enumerate() {
        let mut others = given.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| *other);
        if let Some(short) = others.find(|short| prefix.starts_with(short)) {
            return Err(format!(
                "expected prefixes of which none begins with another; found {}, which begins with {}",
                quoted(prefix),
                quoted(short)
            ));
        }
    }
    if let Some(longer) = given.iter().find(|prefix| prefix.len() > key_prefix.len() && prefix.starts_with(key_prefix))
    {
        return Err(format!(
            "expected none that begins with key_prefix ({}), which is tracked in any case; found {}",
            quoted(key_prefix),
            quoted(longer)
        ));
    }
    let own = (!given.iter().any(|prefix| key_prefix.starts_with(prefix))).then_some(key_prefix);
    Ok(own.into_iter().chain(given).map(str::to_owned).collect())
}
