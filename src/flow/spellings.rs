//! Questions as they were asked lately, letter for letter, with what was made of them: whoever asks one in the same words
//! again has its key without normalising or hashing anew.
//!
//! Guarantees that a question is taken for another only where every byte is the same, so it changes no key, ever. A table
//! of fixed size for each worker, in sets of two that take one line of the processor's cache, since waiting for memory is
//! what a look-up costs; a question enters when it is asked for the second time within a while, so that those that are
//! asked once drive nobody out. Belongs to the settings, by which keys are derived, and goes with them.

use super::namespace::Namespace;
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

/// How many sets there are: twice as many questions, half a megabyte of table.
const SETS_COUNT: usize = 8192;

/// A longer question is not kept, so that all of them take some ten megabytes at the very most, and two as a rule.
const QUERY_BYTES_MAX: usize = 256;

/// How many questions it is remembered of that they were asked once.
const ASKED_ONCE_COUNT: usize = 4096;

/// What was made of a question.
pub(super) struct Spelling {
    pub(super) namespace: Rc<Namespace>,
    hash: u64,
    /// The lengths of the namespace's name and of the question, a byte and two; the two themselves; their entry's text.
    bytes: Box<[u8]>,
}

impl Spelling {
    fn new(hash: u64, name: &[u8], query: &[u8], namespace: &Rc<Namespace>, text: &[u8]) -> Option<Self> {
        if query.len() > QUERY_BYTES_MAX {
            return None;
        }
        let [low, high] = u16::try_from(query.len()).ok()?.to_le_bytes();
        let head = [u8::try_from(name.len()).ok()?, low, high];
        let bytes = [&head, name, query, text].concat().into_boxed_slice();
        Some(Self { namespace: Rc::clone(namespace), hash, bytes })
    }

    /// The entry's text, if this is the question.
    #[inline]
    fn text(&self, name: &[u8], query: &[u8]) -> Option<&[u8]> {
        let [name_bytes, low, high, rest @ ..] = &*self.bytes else { return None };
        if (usize::from(*name_bytes), usize::from(u16::from_le_bytes([*low, *high]))) != (name.len(), query.len()) {
            return None;
        }
        let (own, text) = rest.split_at_checked(name.len() + query.len())?;
        let (own_name, own_query) = own.split_at(name.len());
        (own_name == name && own_query == query).then_some(text)
    }
}

/// Two questions whose hashes end alike.
#[derive(Default)]
#[repr(align(64))]
struct Set([Option<Spelling>; 2]);

/// The questions that a worker was asked lately.
pub(super) struct Spellings {
    sets: RefCell<Box<[Set]>>,
    asked_once: Box<[Cell<u32>]>,
    seed: foldhash::fast::RandomState,
}

impl Default for Spellings {
    fn default() -> Self {
        Self {
            sets: RefCell::new((0..SETS_COUNT).map(|_| Set::default()).collect()),
            asked_once: (0..ASKED_ONCE_COUNT).map(|_| Cell::new(0)).collect(),
            seed: foldhash::fast::RandomState::default(),
        }
    }
}

impl Spellings {
    /// What a question is known by.
    #[inline]
    pub(super) fn hash(&self, name: &[u8], query: &[u8]) -> u64 {
        let mut hasher = self.seed.build_hasher();
        // Where the one ends and the other begins is compared later.
        hasher.write(name);
        hasher.write(query);
        hasher.finish()
    }

    /// Hands what was made of this question, with its entry's text, to `take`, if it is known.
    #[inline]
    pub(super) fn find<T>(
        &self,
        hash: u64,
        name: &[u8],
        query: &[u8],
        take: impl FnOnce(&Rc<Namespace>, &[u8]) -> T,
    ) -> Option<T> {
        let Set(ways) = &self.sets.borrow()[hash as usize % SETS_COUNT];
        let spelling = ways.iter().flatten().find(|spelling| spelling.hash == hash)?;
        Some(take(&spelling.namespace, spelling.text(name, query)?))
    }

    /// A question was asked that is not known.
    pub(super) fn asked(&self, hash: u64, name: &[u8], query: &[u8], namespace: &Rc<Namespace>, text: &[u8]) {
        let mark = (hash >> 32) as u32;
        if self.asked_once[hash as usize % ASKED_ONCE_COUNT].replace(mark) != mark {
            return;
        }
        let Some(spelling) = Spelling::new(hash, name, query, namespace, text) else { return };
        let Set(ways) = &mut self.sets.borrow_mut()[hash as usize % SETS_COUNT];
        let victim = (hash >> 31 & 1) as usize;
        let way = ways.iter().position(Option::is_none).unwrap_or(victim);
        ways[way] = Some(spelling);
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
        spellings.find(hash, name.as_bytes(), query, |_, text| text.to_vec())
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
        assert!(spellings.find(hash, b"faq", b"What", |_, _| ()).is_none(), "also where the hash is the same");
        assert!(spellings.find(hash, b"fqa", b"How?", |_, _| ()).is_none());
    }

    #[test]
    fn many_questions_take_each_others_places_and_long_ones_none() {
        assert_eq!(size_of::<Set>(), 64);
        let spellings = Spellings::default();
        let long = [b'x'; QUERY_BYTES_MAX + 1];
        for _ in 0..2 {
            ask(&spellings, "faq", &long, b"text");
        }
        assert_eq!(text(&spellings, "faq", &long), None);
        let queries: Vec<String> = (0..40_000).map(|number| format!("question {number}")).collect();
        for query in &queries {
            for _ in 0..2 {
                ask(&spellings, "faq", query.as_bytes(), query.as_bytes());
            }
        }
        let known =
            queries.iter().filter_map(|query| text(&spellings, "faq", query.as_bytes()).map(|text| (query, text)));
        let known: Vec<_> = known.collect();
        assert!(known.len() > SETS_COUNT && known.len() <= 2 * SETS_COUNT, "{}", known.len());
        assert!(known.iter().all(|(query, text)| query.as_bytes() == text));
    }
}
