//! Requests made up from the documented syntax: most of them right and on the right type, some on another or on no key,
//! some with words missing or too many.

use super::lists::{REQUESTS, TYPES, WRITTEN_ONLY};
use super::syntax::{Argument, Command, Kind};
use crate::support::random::Random;

/// Words of a request.
pub(super) type Words = Vec<Vec<u8>>;

/// Payloads that no one can make up.
pub(super) struct Payloads {
    /// DUMP of a string.
    pub(super) dump: Vec<u8>,
    /// FUNCTION DUMP of the fixtures' library.
    pub(super) functions: Vec<u8>,
    /// The digest of the fixtures' script.
    pub(super) script: Vec<u8>,
}

/// Makes requests up.
pub(super) struct Author<'a> {
    seed: u64,
    pub(super) random: Random,
    payloads: &'a Payloads,
    /// Grows with each id of a stream that is asked for, so that the next entry is above the last.
    id: usize,
}

/// What is known of the request under way.
struct Draft<'a> {
    command: &'a Command,
    words: Words,
    /// Where the number of keys has to be said, once it is known.
    numkeys_at: Option<usize>,
    /// How many keys were said behind that.
    keys: usize,
}

impl<'a> Author<'a> {
    pub(super) fn new(seed: u64, payloads: &'a Payloads) -> Self {
        let mut random = Random::seeded(seed);
        // The first numbers of small seeds resemble each other.
        (0..16).for_each(|_| _ = random.below(2));
        Self { seed, random, payloads, id: 100 }
    }

    /// Requests for this command: one as its syntax says, one as it is written in the list, if it is there.
    pub(super) fn requests(&mut self, command: &Command) -> Vec<Words> {
        let written = REQUESTS.iter().find(|(name, _)| *name == command.name).map(|(_, lines)| *lines);
        let mut requests = Vec::new();
        if let Some(lines) = written {
            // The first of a list succeeds.
            let line = if self.seed.is_multiple_of(2) { lines[0] } else { self.random.one_of(lines) };
            requests.push(self.words(line));
        }
        if !WRITTEN_ONLY.contains(&command.name.as_str()) {
            requests.push(self.documented(command));
        }
        requests
    }

    /// The words of a line; quotes keep spaces, `%` stands for a payload.
    pub(super) fn words(&mut self, line: &str) -> Words {
        let mut words: Words = Vec::new();
        let mut rest = line;
        while !rest.is_empty() {
            let quote = rest.chars().next().filter(|first| matches!(first, '\'' | '"'));
            let (word, behind) = match quote {
                Some(quote) => rest[1..].split_once(quote).expect("quotes are closed"),
                None => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
            };
            words.push(match word {
                "%D" => self.payloads.dump.clone(),
                "%F" => self.payloads.functions.clone(),
                "%S" => self.payloads.script.clone(),
                word => word.replace("%N", &self.next_id().to_string()).into(),
            });
            rest = behind.strip_prefix(' ').unwrap_or(behind);
        }
        words
    }

    /// The request with something wrong: a word less or more, another word, or letters of another case.
    pub(super) fn spoilt(&mut self, request: &Words) -> Words {
        let mut words = request.clone();
        match self.random.below(5) {
            0 if words.len() > 1 => _ = words.pop(),
            1 if words.len() > 2 => {
                let at = 1 + self.random.below(words.len() - 1);
                words[at] = b"junk".to_vec();
            }
            2 => words[0].make_ascii_lowercase(),
            3 if words.len() > 2 => words.swap(1, 2),
            _ => words.push(b"junk".to_vec()),
        }
        words
    }

    fn next_id(&mut self) -> usize {
        self.id += 1;
        self.id
    }

    fn documented(&mut self, command: &Command) -> Words {
        let words = command.name.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let mut draft = Draft { command, words, numkeys_at: None, keys: 0 };
        for argument in &command.arguments {
            self.say(&mut draft, argument);
        }
        if let Some(at) = draft.numkeys_at {
            draft.words[at] = draft.keys.to_string().into_bytes();
        }
        draft.words
    }

    fn say(&mut self, draft: &mut Draft<'_>, argument: &Argument) {
        if argument.optional && self.random.below(3) > 0 {
            return;
        }
        let times = match argument.name.as_str() {
            // As many as there are keys.
            "weight" => draft.keys,
            _ if argument.multiple => 1 + self.random.below(3),
            _ => 1,
        };
        for time in 0..times {
            if let Some(token) = argument.token.as_ref().filter(|_| time == 0 || argument.multiple_token) {
                draft.words.push(token.as_bytes().to_vec());
            }
            match &argument.kind {
                Kind::Token => {}
                Kind::OneOf(choices) => {
                    let choice = &choices[self.random.below(choices.len())];
                    self.say(draft, choice);
                }
                Kind::Block(parts) => parts.iter().for_each(|part| self.say(draft, part)),
                _ if argument.name == "numkeys" => {
                    (draft.numkeys_at, draft.keys) = (Some(draft.words.len()), 0);
                    draft.words.push(Vec::new());
                }
                Kind::Key => {
                    draft.keys += 1;
                    let key = self.key(draft.command, &argument.name);
                    draft.words.push(key);
                }
                _ => {
                    let word = self.word(draft, argument);
                    draft.words.push(word);
                }
            }
        }
    }

    fn key(&mut self, command: &Command, name: &str) -> Vec<u8> {
        if matches!(name, "destination" | "destkey" | "dst" | "newkey") && self.random.below(2) == 0 {
            return b"out".to_vec();
        }
        let of_group = TYPES.iter().find(|kind| **kind == command.group);
        let kind = match self.random.below(20) {
            // Of elements that weigh the same, those of a list alone have an order.
            _ if command.name.starts_with("SORT") => "list",
            0 => "none",
            1..=17 => of_group.copied().unwrap_or_else(|| self.random.one_of(TYPES)),
            _ => self.random.one_of(TYPES),
        };
        format!("{kind}:{}", 1 + self.random.below(3)).into_bytes()
    }

    fn word(&mut self, draft: &Draft<'_>, argument: &Argument) -> Vec<u8> {
        let group = draft.command.group.as_str();
        let command = draft.command.name.as_str();
        let choices: &[&str] = match (argument.name.as_str(), group) {
            ("timeout", _) if matches!(argument.kind, Kind::Double) => &["0.01"],
            ("milliseconds", _) if argument.token.as_deref() == Some("BLOCK") => &["5"],
            ("seconds", _) => &["1000", "1000", "1000", "0", "-1"],
            ("milliseconds" | "ttl", _) => &["100000", "100000", "1000000", "0", "-5"],
            ("unix-time-seconds", _) => &["4102444800", "4102444801", "1"],
            ("unix-time-milliseconds", _) => &["4102444800000", "4102444800001", "1"],
            ("cursor", _) => &["0"],
            ("db" | "destination-db" | "index1" | "index2", _) => &["0", "1", "2"],
            ("index" | "start" | "end" | "stop", "list" | "string" | "bitmap") => &["0", "1", "2", "-1", "-2", "100"],
            ("start" | "stop" | "min" | "max", "sorted-set") if command.contains("LEX") => {
                &["-", "+", "[a", "(c", "[d"]
            }
            ("start" | "stop", "sorted-set") if command.contains("RANK") || command == "ZREVRANGE" => &["0", "1", "-1"],
            ("start" | "stop", "sorted-set") => &["0", "-1", "1", "[a", "+", "(2", "-inf"],
            ("min" | "max", "sorted-set") => &["-inf", "+inf", "1", "(2", "3"],
            ("start" | "end", "stream") => &["-", "+", "1-1", "2", "(1-1", "5-1"],
            ("id" | "last-id", "stream") => &["1-1", "2-1", "5-1", "9-9", "0-0"],
            ("max_deleted_entry_id", _) => &["1-1", "2-1"],
            ("group" | "groupname", "stream") => &["g1", "g1", "g1", "g2", "nobody"],
            ("consumer" | "consumername", _) => &["c1", "c2"],
            ("min-idle-time", _) => &["0"],
            ("threshold", _) => &["2", "1-1"],
            ("offset", "bitmap") if command.starts_with("BITFIELD") => &["0", "3", "#1", "100"],
            ("encoding", _) => &["u8", "i5", "u1", "i64"],
            ("value", "bitmap") if command == "SETBIT" => &["0", "1"],
            ("bit", _) => &["0", "1"],
            ("operation", _) => &["AND", "OR", "XOR", "NOT"],
            ("longitude", _) => &["13.36", "15", "2.3", "-179.9"],
            ("latitude", _) => &["38.1", "37", "48.9"],
            ("radius" | "width" | "height", _) => &["200", "1", "3000.5"],
            ("member" | "member1" | "member2", "geo") => &["Palermo", "Catania", "Berlin", "Nowhere"],
            ("field", "hash") => &["f1", "f2", "f3", "f4"],
            ("member" | "element" | "pivot", _) => &["a", "b", "c", "1", "z"],
            ("value", _) => &["v", "10", "", "\0\r\n\u{ff}", "another value"],
            ("username", _) => &["default", "u1", "nobody"],
            ("command" | "command-name", _) => &["get", "SET", "client|list", "nonsense"],
            ("category" | "categoryname", _) => &["string", "read", "nonsense"],
            ("parameter", _) => &["maxmemory", "hz", "nonsense"],
            ("event", _) => &["command", "fork"],
            ("channel" | "shardchannel", _) => &["a", "b"],
            ("section", _) => &["server", "clients", "nonsense"],
            ("library-name" | "library-name-pattern", _) => &["lib", "l*", "nonsense"],
            ("sha1", _) => &["ffffffffffffffffffffffffffffffffffffffff", "x"],
            ("rank", _) => &["1", "-1", "2", "0"],
            ("len", "string") => &["0", "2", "4"],
            ("path" | "module-name", _) => &["/nonsense"],
            ("seed" | "version" | "samples", _) => &["0", "5"],
            ("bits", _) => &["8", "64", "0"],
            (_, _) => match argument.kind {
                Kind::Integer => &["0", "1", "1", "2", "2", "3", "5", "-1"],
                Kind::Double => &["1", "1.5", "-2", "1e3", "nan"],
                Kind::UnixTime => &["4102444800"],
                Kind::Pattern if command.starts_with("SORT") => &["w:*", "nothing:*", "hash:*->f1"],
                Kind::Pattern => &["*", "string:*", "[a-c]*", "f?"],
                _ => &["a", "x", "10", "", "some text"],
            },
        };
        self.random.one_of(choices).into()
    }
}
