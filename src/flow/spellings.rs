//! Questions as they were asked lately, letter for letter, with what was made of them: whoever asks one in the same words
//! again has its key without normalising or hashing anew.
//!
//! Guarantees that a question is taken for another only where every byte is the same, so it changes no key, ever. Bounded
//! in bytes for each worker; a question enters when it is asked for the second time within a while, so that those that
//! are asked once cost no memory. Belongs to the settings, by which keys are derived, and goes with them.

use super::settings::Namespace;
use quick_cache::Weighter;
use quick_cache::unsync::{Cache, DefaultLifecycle};
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::rc::Rc;

/// Bytes that a worker keeps of questions and their texts, overhead counted.
const BYTES_MAX: u64 = 4 << 20;

/// A longer question is not kept.
const QUERY_BYTES_MAX: usize = 1024;

/// Bytes that a question takes besides its own: its places in quick_cache's table and lists.
const OVERHEAD_BYTES: u64 = 160;

/// How many questions it is remembered of that they were asked once.
const ASKED_ONCE_COUNT: usize = 4096;

/// How many questions there is room made for at first.
const EXPECTED: usize = 16;

/// What was made of a question.
pub(super) struct Spelling {
    pub(super) namespace: Rc<Namespace>,
    /// The namespace's name, the question, and behind it its entry's text.
    bytes: Box<[u8]>,
    name_bytes: usize,
    query_bytes: usize,
}

impl Spelling {
    /// The entry's text, as it was given.
    pub(super) fn text(&self) -> &[u8] {
        &self.bytes[self.name_bytes + self.query_bytes..]
    }

    fn is(&self, name: &[u8], query: &[u8]) -> bool {
        let (own_name, rest) = self.bytes.split_at(self.name_bytes);
        own_name == name && rest[..self.query_bytes] == *query
    }
}

/// The questions that a worker was asked lately.
pub(super) struct Spellings {
    known: RefCell<Cache<u64, Spelling, Charge, BuildHasherDefault<AsItIs>>>,
    asked_once: Box<[Cell<u32>]>,
    seed: foldhash::fast::RandomState,
}

impl Default for Spellings {
    fn default() -> Self {
        let known =
            Cache::with(EXPECTED, BYTES_MAX, Charge, BuildHasherDefault::default(), DefaultLifecycle::default());
        Self {
            known: RefCell::new(known),
            asked_once: (0..ASKED_ONCE_COUNT).map(|_| Cell::new(0)).collect(),
            seed: foldhash::fast::RandomState::default(),
        }
    }
}

impl Spellings {
    /// What a question is known by.
    #[inline]
    pub(super) fn hash(&self, name: &[u8], query: &[u8]) -> u64 {
        self.seed.hash_one((name, query))
    }

    /// Hands what was made of this question to `take`, if it is known.
    #[inline]
    pub(super) fn find<T>(&self, hash: u64, name: &[u8], query: &[u8], take: impl FnOnce(&Spelling) -> T) -> Option<T> {
        self.known.borrow().get(&hash).filter(|spelling| spelling.is(name, query)).map(take)
    }

    /// A question was asked that is not known.
    pub(super) fn asked(&self, hash: u64, name: &[u8], query: &[u8], namespace: &Rc<Namespace>, text: &[u8]) {
        if query.len() > QUERY_BYTES_MAX {
            return;
        }
        let once = &self.asked_once[hash as usize % ASKED_ONCE_COUNT];
        let mark = (hash >> 32) as u32;
        if once.replace(mark) != mark {
            return;
        }
        let bytes = [name, query, text].concat().into_boxed_slice();
        let (namespace, name_bytes, query_bytes) = (Rc::clone(namespace), name.len(), query.len());
        let spelling = Spelling { namespace, bytes, name_bytes, query_bytes };
        self.known.borrow_mut().insert(hash, spelling);
    }
}

struct Charge;

impl Weighter<u64, Spelling> for Charge {
    fn weight(&self, _: &u64, spelling: &Spelling) -> u64 {
        spelling.bytes.len() as u64 + OVERHEAD_BYTES
    }
}

/// The hash of a question's hash is that itself.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::NamespaceLabel;
    use std::time::Duration;

    fn namespace() -> Rc<Namespace> {
        Rc::new(Namespace {
            label: NamespaceLabel::OTHER,
            enabled: true,
            ttl: Duration::from_secs(1),
            ttl_max: Duration::from_secs(1),
            twins: true,
            secret: None,
        })
    }

    fn text(spellings: &Spellings, name: &str, query: &[u8]) -> Option<Vec<u8>> {
        let hash = spellings.hash(name.as_bytes(), query);
        spellings.find(hash, name.as_bytes(), query, |spelling| spelling.text().to_vec())
    }

    fn ask(spellings: &Spellings, name: &str, query: &[u8], text: &[u8]) {
        let hash = spellings.hash(name.as_bytes(), query);
        spellings.asked(hash, name.as_bytes(), query, &namespace(), text);
    }

    #[test]
    fn a_question_is_known_once_it_was_asked_twice_and_in_the_same_words_only() {
        let spellings = Spellings::default();
        ask(&spellings, "faq", b"How?", b"text");
        assert_eq!(text(&spellings, "faq", b"How?"), None);
        ask(&spellings, "faq", b"How?", b"text");
        assert_eq!(text(&spellings, "faq", b"How?").as_deref(), Some(&b"text"[..]));
        for (name, query) in
            [("faq", &b"how?"[..]), ("faq", b"How? "), ("fa", b"qHow?"), ("faqH", b"ow?"), ("x", b"How?")]
        {
            assert_eq!(text(&spellings, name, query), None);
        }
        let hash = spellings.hash(b"faq", b"How?");
        assert!(spellings.find(hash, b"faq", b"What", |_| ()).is_none(), "also where the hash is the same");
        assert!(spellings.find(hash, b"fqa", b"How?", |_| ()).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let spellings = Spellings::default();
        let long = vec![b'x'; QUERY_BYTES_MAX + 1];
        for _ in 0..2 {
            ask(&spellings, "faq", &long, b"text");
        }
        assert_eq!(text(&spellings, "faq", &long), None);
        for number in 0_u32..20_000 {
            let query = [number.to_le_bytes().as_slice(), &[b'x'; 500]].concat();
            for _ in 0..2 {
                ask(&spellings, "faq", &query, b"text");
            }
        }
        assert!(spellings.known.borrow().weight() <= BYTES_MAX);
        assert!(spellings.known.borrow().len() > 1000);
    }
}
