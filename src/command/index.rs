//! From a name as a client spelled it to its command.
//!
//! Guarantees: no allocation, no loop over the name's bytes, any mixture of cases, bytes that are no ASCII letter
//! compared as they are. A name is read as three overlapping machine words, upper-cased eight bytes at a time, and
//! looked for in an open-addressed table that the compiler builds. A name longer than [`NAME_BYTES_MAX`] is unknown.

use super::kind::{effect_of, family_of, kind_of};
use super::{Command, Effect, Kind, fca_table, table};

/// The longest name that can be in the table, in bytes: three machine words. Redis 7.0's longest has 20.
pub const NAME_BYTES_MAX: usize = 24;

/// How many commands the table holds: Redis's, then the FCA family.
const COMMANDS_COUNT: usize = table::FACTS.len() + fca_table::FACTS.len();

/// Four times the commands, so that nearly every look-up ends at the first slot that it looks at.
const SLOTS_COUNT: usize = (COMMANDS_COUNT * 4).next_power_of_two();

/// An odd number found by trying six thousand: no name of the table is found later than at the third slot, and those
/// that a cache uses at the first. A table with other names works with it too, only more slowly.
const MIX: u64 = 0xAD5C_AD29_AE96_994B;

/// What an unused slot holds; no command has this number.
const EMPTY: u16 = u16::MAX;

static COMMANDS: [Command; COMMANDS_COUNT] = commands();
static NAMES: [Name; COMMANDS_COUNT] = names();
static SLOTS: [u16; SLOTS_COUNT] = slots();

/// The command of this name.
#[inline]
pub fn find(name: &[u8]) -> Option<&'static Command> {
    let name = Name::of(name)?;
    let mut slot = name.slot();
    loop {
        let number = usize::from(SLOTS[slot]);
        // An empty slot's number is behind the end, so this bounds check is the end of the search.
        let found = NAMES.get(number)?;
        if *found == name {
            return COMMANDS.get(number);
        }
        slot = (slot + 1) % SLOTS_COUNT;
    }
}

/// Every command: Redis's sorted by name, then the FCA family in the order of [`fca`].
pub fn all() -> &'static [Command] {
    &COMMANDS
}

/// The FCA family, in the order in which it is listed to people.
pub fn fca() -> &'static [Command] {
    &COMMANDS[table::FACTS.len()..]
}

/// A name as machine words, in upper case. Two names of one length have the same words precisely when they are the
/// same but for the case of ASCII letters.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Name {
    words: [u64; 3],
    bytes: u64,
}

impl Name {
    #[inline]
    const fn of(name: &[u8]) -> Option<Self> {
        // Each length makes only the words that it needs: most names fill one.
        let words = match name.len() {
            0 => return None,
            1..4 => {
                let (first, middle, last) = (name[0], name[name.len() / 2], name[name.len() - 1]);
                [upper(first as u64 | (middle as u64) << 8 | (last as u64) << 16), 0, 0]
            }
            4..8 => match (name.first_chunk(), name.last_chunk()) {
                (Some(first), Some(last)) => {
                    [upper(u32::from_le_bytes(*first) as u64 | (u32::from_le_bytes(*last) as u64) << 32), 0, 0]
                }
                _ => return None,
            },
            8..=16 => match (name.first_chunk(), name.last_chunk()) {
                (Some(first), Some(last)) => [upper(u64::from_le_bytes(*first)), upper(u64::from_le_bytes(*last)), 0],
                _ => return None,
            },
            17..=NAME_BYTES_MAX => match (name.first_chunk(), name.split_at(8).1.first_chunk(), name.last_chunk()) {
                (Some(first), Some(middle), Some(last)) => [
                    upper(u64::from_le_bytes(*first)),
                    upper(u64::from_le_bytes(*middle)),
                    upper(u64::from_le_bytes(*last)),
                ],
                _ => return None,
            },
            _ => return None,
        };
        Some(Self { words, bytes: name.len() as u64 })
    }

    /// The slot at which the search for this name starts.
    #[inline]
    const fn slot(&self) -> usize {
        let [a, b, c] = self.words;
        let mixed = (a ^ b.rotate_left(23) ^ c.rotate_left(41) ^ self.bytes).wrapping_mul(MIX);
        (mixed >> (u64::BITS - SLOTS_COUNT.trailing_zeros())) as usize
    }
}

/// Turns the ASCII letters among these eight bytes into upper case.
#[inline]
const fn upper(word: u64) -> u64 {
    const EVERY: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EVERY;
    // Without its high bit no byte can carry into the next: the high bits of the two sums are eight comparisons.
    let low = word & !HIGH;
    let from_a = low + (0x80 - b'a' as u64) * EVERY;
    let behind_z = low + (0x7F - b'z' as u64) * EVERY;
    let letters = from_a & !behind_z & !word & HIGH;
    word ^ (letters >> 2)
}

const fn commands() -> [Command; COMMANDS_COUNT] {
    let mut commands = [command(&table::FACTS[0], Kind::Forward, Effect::None); COMMANDS_COUNT];
    let mut number = 0;
    while number < COMMANDS_COUNT {
        commands[number] = if number < table::FACTS.len() {
            let facts = &table::FACTS[number];
            command(facts, kind_of(facts), effect_of(facts))
        } else {
            let (facts, fca) = &fca_table::FACTS[number - table::FACTS.len()];
            command(facts, Kind::Fca(*fca), Effect::None)
        };
        number += 1;
    }
    commands
}

const fn command(facts: &super::facts::Facts, kind: Kind, effect: Effect) -> Command {
    Command {
        name: facts.name,
        arity: facts.arity,
        flags: facts.flags,
        categories: facts.categories,
        keys: facts.keys,
        has_subcommands: facts.has_subcommands,
        kind,
        family: family_of(facts, kind),
        effect,
    }
}

#[expect(clippy::panic, reason = "runs in the compiler only: a name that is too long has to stop the build")]
const fn names() -> [Name; COMMANDS_COUNT] {
    let mut names = [Name { words: [0; 3], bytes: 0 }; COMMANDS_COUNT];
    let mut number = 0;
    while number < COMMANDS_COUNT {
        names[number] = match Name::of(COMMANDS[number].name.as_bytes()) {
            Some(name) => name,
            None => panic!("a name of the table is empty or too long"),
        };
        number += 1;
    }
    names
}

const fn slots() -> [u16; SLOTS_COUNT] {
    let mut slots = [EMPTY; SLOTS_COUNT];
    // From the last to the first, so that the FCA family has the first choice.
    let mut number = COMMANDS_COUNT;
    while number > 0 {
        number -= 1;
        let mut slot = NAMES[number].slot();
        while slots[slot] != EMPTY {
            slot = (slot + 1) % SLOTS_COUNT;
        }
        slots[slot] = number as u16;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_looks_at_few_slots() {
        let mut longest = 0;
        let mut sum = 0;
        for (number, name) in NAMES.iter().enumerate() {
            let mut slot = name.slot();
            let mut looked = 1;
            while usize::from(SLOTS[slot]) != number {
                slot = (slot + 1) % SLOTS_COUNT;
                looked += 1;
            }
            longest = longest.max(looked);
            sum += looked;
        }
        assert!(longest <= 3, "one name is found at the {longest}. slot only");
        assert!(sum * 10 <= COMMANDS_COUNT * 11, "{sum} slots are looked at for {COMMANDS_COUNT} names");
    }

    #[test]
    fn the_names_of_the_hot_path_are_found_at_the_first_slot() {
        for name in ["FCA.GET", "FCA.SET", "FCA.MGET", "GET", "SET", "SETEX", "MGET", "DEL", "EXPIRE", "TTL", "PING"] {
            let wanted = Name::of(name.as_bytes()).unwrap();
            assert!(NAMES[usize::from(SLOTS[wanted.slot()])] == wanted, "{name}");
        }
    }

    #[test]
    fn upper_case_is_what_ascii_says_for_every_byte_at_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut bytes = *b"aZ\0\xFFz@[`";
                bytes[place] = byte;
                let expected = u64::from_le_bytes(bytes.map(|byte| byte.to_ascii_uppercase()));
                assert_eq!(upper(u64::from_le_bytes(bytes)), expected, "{byte:#x} at {place}");
            }
        }
    }
}
