//! Sets of words: a command's flags and its ACL categories.
//!
//! The words are Redis 7.0's, in the order in which its `COMMAND` reply names them (`addReplyFlagsForCommand` and
//! `ACLCommandCategories` of its sources), so that a set can be written out as Redis would. Both sets are one machine
//! word; testing a flag is one instruction.

/// Defines a set of words with a constant for each of them.
macro_rules! word_set {
    ($(#[$doc:meta])* $set:ident { $($(#[$word_doc:meta])* $constant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $set(u32);

        impl $set {
            /// Every word, in Redis's order.
            pub const WORDS: &[&str] = &[$($word),*];

            $($(#[$word_doc])* pub const $constant: Self = Self::from_words($word);)*

            /// Whether every word of `other` is in this set.
            #[inline]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// The set of those among these words that are known.
            pub fn of<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> Self {
                let bit = |word: &[u8]| Self::WORDS.iter().position(|known| known.as_bytes() == word);
                Self(words.into_iter().filter_map(bit).fold(0, |bits, bit| bits | 1 << bit))
            }

            /// The words of this set, in Redis's order.
            pub fn words(self) -> impl Iterator<Item = &'static str> + Clone {
                Self::WORDS.iter().enumerate().filter(move |(bit, _)| self.0 & 1 << bit != 0).map(|(_, word)| *word)
            }

            /// The set of these words, with one space between two. For constants only: an unknown word panics.
            pub(super) const fn from_words(text: &str) -> Self {
                Self(bits(text.as_bytes(), Self::WORDS))
            }
        }
    };
}

word_set! {
    /// What Redis says of how a command behaves: the flags of its `COMMAND` reply.
    Flags {
        /// Changes data.
        WRITE = "write",
        /// Reads data and changes none.
        READONLY = "readonly",
        /// Refused while the server is out of memory.
        DENYOOM = "denyoom",
        /// For operators.
        ADMIN = "admin",
        /// Publishing and subscribing.
        PUBSUB = "pubsub",
        /// Not to be called by scripts.
        NOSCRIPT = "noscript",
        /// May wait before it answers.
        BLOCKING = "blocking",
        /// Allowed while the server loads its data.
        LOADING = "loading",
        /// Allowed on a replica without its primary.
        STALE = "stale",
        /// Not shown to MONITOR.
        SKIP_MONITOR = "skip_monitor",
        /// Not in the slow log.
        SKIP_SLOWLOG = "skip_slowlog",
        /// Allowed on a slot that is being imported.
        ASKING = "asking",
        /// Takes constant or logarithmic time.
        FAST = "fast",
        /// Allowed before AUTH.
        NO_AUTH = "no_auth",
        /// May be called without any key.
        NO_MANDATORY_KEYS = "no_mandatory_keys",
        /// Refused while a replica loads its data asynchronously.
        NO_ASYNC_LOADING = "no_async_loading",
        /// Refused inside MULTI.
        NO_MULTI = "no_multi",
        /// Its keys stand in more places than first, last and step say.
        MOVABLE_KEYS = "movablekeys",
        /// Allowed while a script runs too long.
        ALLOW_BUSY = "allow_busy",
    }
}

word_set! {
    /// The ACL categories that Redis counts a command to, without their `@`.
    Categories {
        /// Commands on keys of any type.
        KEYSPACE = "keyspace",
        /// Commands that read data.
        READ = "read",
        /// Commands that change data.
        WRITE = "write",
        /// Commands on sets.
        SET = "set",
        /// Commands on sorted sets.
        SORTEDSET = "sortedset",
        /// Commands on lists.
        LIST = "list",
        /// Commands on hashes.
        HASH = "hash",
        /// Commands on strings.
        STRING = "string",
        /// Commands on bitmaps.
        BITMAP = "bitmap",
        /// Commands on HyperLogLogs.
        HYPERLOGLOG = "hyperloglog",
        /// Commands on places.
        GEO = "geo",
        /// Commands on streams.
        STREAM = "stream",
        /// Publishing and subscribing.
        PUBSUB = "pubsub",
        /// Commands for operators.
        ADMIN = "admin",
        /// Commands of constant or logarithmic time.
        FAST = "fast",
        /// All others.
        SLOW = "slow",
        /// Commands that may wait.
        BLOCKING = "blocking",
        /// Commands to think twice about.
        DANGEROUS = "dangerous",
        /// Commands on the connection itself.
        CONNECTION = "connection",
        /// MULTI and its kin.
        TRANSACTION = "transaction",
        /// Scripts and functions.
        SCRIPTING = "scripting",
    }
}

/// The bit of each word of `text` in `words`.
const fn bits(text: &[u8], words: &[&str]) -> u32 {
    let (mut bits, mut from, mut at) = (0, 0, 0);
    while at <= text.len() {
        if at == text.len() || text[at] == b' ' {
            if at > from {
                bits |= 1 << place(text, from, at, words);
            }
            from = at + 1;
        }
        at += 1;
    }
    bits
}

/// Where the word `text[from..to]` stands in `words`.
#[expect(clippy::panic, reason = "runs in the compiler only: a word that Redis does not use has to stop the build")]
const fn place(text: &[u8], from: usize, to: usize, words: &[&str]) -> usize {
    let mut index = 0;
    while index < words.len() {
        let word = words[index].as_bytes();
        let mut same = 0;
        while word.len() == to - from && same < word.len() && word[same] == text[from + same] {
            same += 1;
        }
        if same == to - from {
            return index;
        }
        index += 1;
    }
    panic!("no such flag or category");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_lists_its_words_in_redis_order_whatever_order_they_were_given_in() {
        let set = Flags::from_words("fast write");
        assert_eq!(set.words().collect::<Vec<_>>(), ["write", "fast"]);
        assert!(set.contains(Flags::FAST) && set.contains(Flags::WRITE) && !set.contains(Flags::READONLY));
        assert_eq!(Flags::from_words(""), Flags::default());
        assert_eq!(Categories::WORDS.len(), 21, "ACL CAT of Redis 7.0 lists 21 categories");
    }

    #[test]
    #[should_panic(expected = "no such flag")]
    fn an_unknown_word_is_no_flag() {
        let _ = Flags::from_words("write wri");
    }
}
