//! One entry of the cache: from a namespace and a question to where its answer stands upstream.
//!
//! Guarantees that the key is the one that the spec names, and that the text behind it is there for whoever has to derive
//! the other spelling. Leaves out what is done with the key.

use super::call::Call;
use super::namespace::Namespace;
use crate::fca::{Form, Query};
use crate::key::{self, Digest, ParamsError};
use crate::metrics::Limit;
use crate::resp::{ReplyError, encode};
use std::hash::BuildHasher;
use std::rc::Rc;

/// One entry, by one spelling.
pub(super) struct Entry {
    pub(super) namespace: Rc<Namespace>,
    /// The key (the prefix and the digest) and, behind it, the text that was hashed.
    text: Vec<u8>,
    prefix_bytes: usize,
    /// Whether it may have a second spelling.
    pub(super) has_twin: bool,
}

impl Entry {
    /// Derives an entry's key. `text` is for its bytes, and is cleared first.
    pub(super) fn derive(
        call: &Call<'_>,
        name: &[u8],
        query: Query<'_>,
        mut text: Vec<u8>,
    ) -> Result<Self, ReplyError> {
        let settings = call.settings;
        text.clear();
        let Query::Text(question) = query else { return Self::derive_anew(call, name, query, text) };
        let (spellings, prefix_bytes) = (&settings.spellings, settings.key_prefix.len() + name.len() + 1);
        let hash = spellings.hash(name, question);
        let known = spellings.find(hash, name, question, |namespace, known| {
            text.extend_from_slice(known);
            Rc::clone(namespace)
        });
        if let Some(namespace) = known {
            let has_twin = namespace.twins;
            return Ok(Self { namespace, text, prefix_bytes, has_twin });
        }
        let entry = Self::derive_anew(call, name, query, text)?;
        spellings.asked(hash, name, question, &entry.namespace, &entry.text);
        Ok(entry)
    }

    /// The entries of several queries, all of this form.
    pub(super) fn derive_all(
        call: &Call<'_>,
        name: &[u8],
        queries: &[&[u8]],
        form: Form,
    ) -> Result<Vec<Self>, ReplyError> {
        queries.iter().map(|query| Self::derive(call, name, form.query(query), Vec::new())).collect()
    }

    fn derive_anew(call: &Call<'_>, name: &[u8], query: Query<'_>, mut text: Vec<u8>) -> Result<Self, ReplyError> {
        let settings = call.settings;
        let namespace = Rc::clone(settings.namespace(name)?);
        let (Query::Text(bytes) | Query::Params(bytes)) = query;
        if bytes.len() > settings.limits.query_bytes_max {
            call.client.core.recorder.limit(Limit::QueryBytes);
            return Err(ReplyError::new(format!(
                "ERR query exceeds limits.query_bytes_max ({} bytes)",
                settings.limits.query_bytes_max
            )));
        }
        text.extend_from_slice(&settings.key_prefix);
        text.extend_from_slice(name);
        text.push(b':');
        let prefix_bytes = text.len();
        text.extend_from_slice(&Digest::default());
        let key_bytes = text.len();
        let has_twin = match query {
            Query::Text(bytes) => {
                key::normalise(bytes, &mut text).map_err(|_| ReplyError::new("ERR query is not valid UTF-8"))?;
                namespace.twins
            }
            Query::Params(json) => {
                key::canonical_params(json, &mut text).map_err(|fault| {
                    if matches!(fault, ParamsError::TooDeep { .. }) {
                        call.client.core.recorder.limit(Limit::Depth);
                    }
                    ReplyError::new(format!("ERR PARAMS is not JSON: {fault}"))
                })?;
                false
            }
        };
        let digest = key::digest(&text[key_bytes..], namespace.secret.as_ref());
        text[prefix_bytes..key_bytes].copy_from_slice(&digest);
        Ok(Self { namespace, text, prefix_bytes, has_twin })
    }

    /// Where the entry stands upstream.
    pub(super) fn key(&self) -> &[u8] {
        &self.text[..self.prefix_bytes + size_of::<Digest>()]
    }

    /// What is left with a look-up, so that [`twin_key`] can make the other spelling's key of it.
    pub(super) fn note(&self) -> &[u8] {
        &self.text
    }

    /// How much of the note the key's prefix is.
    pub(super) fn prefix_bytes(&self) -> usize {
        self.prefix_bytes
    }

    /// The key of the other spelling.
    pub(super) fn twin_key(&self) -> Option<Vec<u8>> {
        if self.has_twin { twin_key(&self.namespace, &self.text, self.prefix_bytes) } else { None }
    }

    /// What both spellings have in common, as a hash. Two entries that share one only wait for each other.
    pub(super) fn identity(&self) -> u64 {
        let (prefix, text) = (&self.text[..self.prefix_bytes], &self.text[self.key().len()..]);
        let end = text.iter().rposition(|&b| b != b'?' && b != b' ').map_or(0, |last| last + 1);
        foldhash::fast::FixedState::default().hash_one((prefix, &text[..end]))
    }

    /// Gives back the memory that was handed to [`Self::derive`].
    pub(super) fn into_text(self) -> Vec<u8> {
        self.text
    }
}

/// The key in a note, by its prefix's length.
pub(super) fn key_of_note(note: &[u8], prefix_bytes: usize) -> &[u8] {
    &note[..note.len().min(prefix_bytes + size_of::<Digest>())]
}

/// The key of the other spelling, where there is one.
pub(super) fn twin_key(namespace: &Namespace, note: &[u8], prefix_bytes: usize) -> Option<Vec<u8>> {
    let normalised = note.get(prefix_bytes + size_of::<Digest>()..)?;
    let mut twin = Vec::with_capacity(normalised.len() + 1);
    key::twin(normalised, &mut twin)
        .then(|| [&note[..prefix_bytes], &key::digest(&twin, namespace.secret.as_ref())].concat())
}

/// Appends a command whose only argument is a key.
pub(super) fn write_read(out: &mut Vec<u8>, command: &[u8], key: &[u8]) {
    encode::header(out, b'*', 2);
    encode::bulk(out, command);
    encode::bulk(out, key);
}
