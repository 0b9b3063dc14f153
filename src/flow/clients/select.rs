//! Which clients CLIENT LIST, KILL and UNBLOCK mean.
//!
//! Guarantees that arguments are read, and refused, as `clientKillCommand` and `clientCommand` in `networking.c` of
//! Redis 7.0 do, with `MAXAGE` of 7.4. A filter is a value that looks at a [`Seen`]; leaves sockets, workers and what
//! is done with a client to others.

use crate::flow::client_line::ClientKind;
use crate::resp::{Arguments, ReplyError, strict_number};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// What a client asks about the others.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// CLIENT LIST.
    List(Selection),
    /// CLIENT KILL.
    Kill {
        /// Which clients.
        filter: Filter,
        /// How it is answered.
        form: KillForm,
        /// Who asks: it is answered before it is closed itself.
        asker: u64,
    },
    /// CLIENT TRACKING with REDIRECT: which connection of the server's is this client's?
    Redirect(Redirect),
    /// CLIENT UNBLOCK.
    Unblock {
        /// Which client.
        id: u64,
        /// What its blocking command is to be told.
        mode: UnblockMode,
    },
}

/// A CLIENT TRACKING that names the client which the invalidations are to go to.
#[derive(Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Whether tracking is turned on; what is turned off may name a client too.
    pub(super) on: bool,
    /// That client, by the number that CLIENT ID told it.
    pub(super) id: u64,
    /// The words of the request.
    pub(super) words: Vec<Vec<u8>>,
    /// Which of them is that number.
    pub(super) place: usize,
}

impl Redirect {
    /// What a CLIENT TRACKING that names a client asks for; also one that is to turn tracking off: the server looks for the
    /// client in either case. None for any other request.
    pub(super) fn parse(request: &Arguments<'_>) -> Option<Self> {
        if !request.at(1)?.eq_ignore_ascii_case(b"TRACKING") {
            return None;
        }
        let place = 1 + request.iter().position(|word| word.eq_ignore_ascii_case(b"REDIRECT"))?;
        let id = std::str::from_utf8(request.at(place)?).ok()?.parse().ok()?;
        let on = request.at(2)?.eq_ignore_ascii_case(b"ON");
        Some(Self { on, id, words: request.iter().map(<[u8]>::to_vec).collect(), place })
    }
}

/// What a command that is woken by CLIENT UNBLOCK answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnblockMode {
    /// The same as when its time is up.
    Timeout,
    /// An error that says so.
    Error,
}

impl UnblockMode {
    /// As Redis takes it.
    pub(super) fn word(self) -> &'static [u8] {
        match self {
            Self::Timeout => b"TIMEOUT",
            Self::Error => b"ERROR",
        }
    }
}

/// The two ways to write CLIENT KILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillForm {
    /// An address alone: answered OK or an error.
    Address,
    /// Filters: answered with the number of clients.
    Filters,
}

impl ClientKind {
    /// `getClientTypeByName`.
    fn parse(word: &[u8]) -> Result<Self, ReplyError> {
        const WORDS: [(&[u8], ClientKind); 5] = [
            (b"normal", ClientKind::Normal),
            (b"slave", ClientKind::Replica),
            (b"replica", ClientKind::Replica),
            (b"pubsub", ClientKind::PubSub),
            (b"master", ClientKind::Master),
        ];
        let known = WORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        known
            .map(|(_, kind)| *kind)
            .ok_or_else(|| ReplyError::new(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(word))))
    }
}

/// What a filter looks at.
pub(super) struct Seen {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) kind: ClientKind,
    pub(super) user: String,
    pub(super) age: Duration,
}

/// Which clients CLIENT LIST tells of.
#[derive(Debug, PartialEq, Eq)]
pub enum Selection {
    /// All.
    All,
    /// Those of one kind.
    Kind(ClientKind),
    /// Those with these numbers, each with its place in the list. One that is asked for twice is told once: else a
    /// short request could ask for a reply without bounds.
    Ids(BTreeMap<u64, u64>),
}

impl Selection {
    /// Reads what stands behind CLIENT LIST.
    pub(super) fn parse(rest: &[&[u8]]) -> Result<Self, ReplyError> {
        match rest {
            [] => Ok(Self::All),
            [option, kind] if option.eq_ignore_ascii_case(b"TYPE") => ClientKind::parse(kind).map(Self::Kind),
            [option, ids @ ..] if option.eq_ignore_ascii_case(b"ID") && !ids.is_empty() => {
                let mut places = BTreeMap::new();
                for (place, id) in (0..).zip(ids) {
                    let id = strict_number(id).ok_or_else(|| ReplyError::new("ERR Invalid client ID"))?;
                    // No client has a negative number.
                    if let Ok(id) = u64::try_from(id) {
                        places.entry(id).or_insert(place);
                    }
                }
                Ok(Self::Ids(places))
            }
            _ => Err(ReplyError::syntax()),
        }
    }

    /// Where in the list a client stands; `None` for one that was not asked for.
    pub(super) fn place(&self, seen: &Seen) -> Option<u64> {
        match self {
            Self::All => Some(seen.id),
            Self::Kind(kind) => (seen.kind == *kind).then_some(seen.id),
            Self::Ids(places) => places.get(&seen.id).copied(),
        }
    }
}

/// Which clients CLIENT KILL closes: those that everything given here is true of.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filter {
    id: Option<u64>,
    peer: Option<Vec<u8>>,
    local: Option<Vec<u8>>,
    kind: Option<ClientKind>,
    user: Option<Vec<u8>>,
    /// The age from which on.
    age_min: Option<Duration>,
    /// Who is spared.
    spared: Option<u64>,
}

impl Filter {
    /// Reads what stands behind CLIENT KILL of client `asker`.
    pub(super) fn parse(rest: &[&[u8]], asker: u64) -> Result<(Self, KillForm), ReplyError> {
        match rest {
            [] => Err(ReplyError::wrong_arity("client|kill")),
            // In this form one may close oneself.
            [address] => Ok((Self { peer: Some(address.to_vec()), ..Self::default() }, KillForm::Address)),
            options => Ok((Self::parse_options(options, asker)?, KillForm::Filters)),
        }
    }

    fn parse_options(options: &[&[u8]], asker: u64) -> Result<Self, ReplyError> {
        let mut filter = Self { spared: Some(asker), ..Self::default() };
        for pair in options.chunks(2) {
            let [option, value] = pair else { return Err(ReplyError::syntax()) };
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            if is("ID") {
                filter.id = Some(positive(value, "ERR client-id should be greater than 0")?);
            } else if is("TYPE") {
                filter.kind = Some(ClientKind::parse(value)?);
            } else if is("ADDR") {
                filter.peer = Some(value.to_vec());
            } else if is("LADDR") {
                filter.local = Some(value.to_vec());
            } else if is("USER") {
                // Redis knows all its users, and refuses any other; the proxy knows those that are logged in.
                filter.user = Some(value.to_vec());
            } else if is("SKIPME") && value.eq_ignore_ascii_case(b"yes") {
                filter.spared = Some(asker);
            } else if is("SKIPME") && value.eq_ignore_ascii_case(b"no") {
                filter.spared = None;
            } else if is("MAXAGE") {
                if strict_number(value).is_none() {
                    return Err(ReplyError::new("ERR maxage is not an integer or out of range"));
                }
                let seconds = positive(value, "ERR maxage should be greater than 0")?;
                filter.age_min = Some(Duration::from_secs(seconds));
            } else {
                return Err(ReplyError::syntax());
            }
        }
        Ok(filter)
    }

    /// Whether a client is to be closed.
    pub(super) fn matches(&self, seen: &Seen) -> bool {
        let is_at = |wanted: &Option<Vec<u8>>, address: SocketAddr| {
            wanted.as_ref().is_none_or(|wanted| *wanted == address.to_string().as_bytes())
        };
        self.spared != Some(seen.id)
            && self.id.is_none_or(|id| id == seen.id)
            && self.kind.is_none_or(|kind| kind == seen.kind)
            && self.user.as_ref().is_none_or(|user| user == seen.user.as_bytes())
            && self.age_min.is_none_or(|age| seen.age >= age)
            && is_at(&self.peer, seen.peer)
            && is_at(&self.local, seen.local)
    }
}

impl Question {
    /// The same, asked about no client of the server's: what it answers says only whether one may.
    pub(super) fn probe(&self) -> &'static [&'static [u8]] {
        // A number that no server ever comes to.
        const NOBODY: &[u8] = b"9223372036854775807";
        match self {
            Self::List(_) => &[b"CLIENT", b"LIST", b"TYPE", b"master"],
            Self::Kill { .. } => &[b"CLIENT", b"KILL", b"ID", NOBODY],
            Self::Unblock { .. } => &[b"CLIENT", b"UNBLOCK", NOBODY],
            Self::Redirect(_) => &[b"CLIENT", b"TRACKING", b"OFF"],
        }
    }

    /// Reads what stands behind CLIENT UNBLOCK.
    pub(super) fn parse_unblock(rest: &[&[u8]]) -> Result<Self, ReplyError> {
        let (id, mode) = match rest {
            [] => return Err(ReplyError::wrong_arity("client|unblock")),
            [id] => (id, UnblockMode::Timeout),
            [id, word] if word.eq_ignore_ascii_case(b"TIMEOUT") => (id, UnblockMode::Timeout),
            [id, word] if word.eq_ignore_ascii_case(b"ERROR") => (id, UnblockMode::Error),
            [_, _] => return Err(ReplyError::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
            _ => {
                return Err(ReplyError::new(
                    "ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.",
                ));
            }
        };
        let id = strict_number(id).ok_or_else(|| ReplyError::new("ERR value is not an integer or out of range"))?;
        // No client has a negative number, nor this one.
        Ok(Self::Unblock { id: u64::try_from(id).unwrap_or(u64::MAX), mode })
    }
}

fn positive(text: &[u8], otherwise: &'static str) -> Result<u64, ReplyError> {
    let number = strict_number(text).and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
    number.ok_or_else(|| ReplyError::new(otherwise))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split_ascii_whitespace().map(str::as_bytes).collect()
    }

    fn seen(id: u64) -> Seen {
        Seen {
            id,
            peer: "127.0.0.1:1000".parse().unwrap(),
            local: "127.0.0.1:6380".parse().unwrap(),
            kind: ClientKind::Normal,
            user: "default".to_owned(),
            age: Duration::from_secs(10),
        }
    }

    #[test]
    fn a_client_is_closed_when_every_filter_is_true_of_it() {
        let cases = [
            ("127.0.0.1:1000", true),
            ("127.0.0.1:1001", false),
            ("ID 7 SKIPME no", true),
            ("id 7 skipme NO", true),
            ("ID 7", false),
            ("ID 8", false),
            ("SKIPME no", true),
            ("SKIPME no SKIPME yes", false),
            ("SKIPME no ADDR 127.0.0.1:1000 LADDR 127.0.0.1:6380 USER default TYPE normal MAXAGE 10", true),
            ("SKIPME no ADDR nonsense", false),
            ("SKIPME no ADDR 127.0.0.1:1000 LADDR 127.0.0.1:1000", false),
            ("SKIPME no USER somebody", false),
            ("SKIPME no TYPE pubsub", false),
            ("SKIPME no TYPE replica", false),
            ("SKIPME no MAXAGE 11", false),
        ];
        for (line, expected) in cases {
            let (filter, form) = Filter::parse(&words(line), 7).unwrap();
            assert_eq!(filter.matches(&seen(7)), expected, "{line}");
            assert_eq!(form == KillForm::Address, words(line).len() == 1, "{line}");
        }
        // Who asks is spared, the others are not.
        assert!(Filter::parse(&words("TYPE normal"), 7).unwrap().0.matches(&seen(8)));
    }

    #[test]
    fn what_redis_refuses_is_refused_in_its_words() {
        let kill = |line: &str| Filter::parse(&words(line), 7).map(drop);
        let list = |line: &str| Selection::parse(&words(line)).map(drop);
        let unblock = |line: &str| Question::parse_unblock(&words(line)).map(drop);
        let cases = [
            (kill(""), "ERR wrong number of arguments for 'client|kill' command"),
            (kill("ID 0"), "ERR client-id should be greater than 0"),
            (kill("ID -1"), "ERR client-id should be greater than 0"),
            (kill("ID x"), "ERR client-id should be greater than 0"),
            (kill("TYPE x"), "ERR Unknown client type 'x'"),
            (kill("SKIPME maybe"), "ERR syntax error"),
            (kill("ID 3 SKIPME"), "ERR syntax error"),
            (kill("FOO 3"), "ERR syntax error"),
            (kill("MAXAGE x"), "ERR maxage is not an integer or out of range"),
            (kill("MAXAGE 0"), "ERR maxage should be greater than 0"),
            (list("TYPE"), "ERR syntax error"),
            (list("TYPE x"), "ERR Unknown client type 'x'"),
            (list("TYPE normal x"), "ERR syntax error"),
            (list("ID"), "ERR syntax error"),
            (list("ID 1 a"), "ERR Invalid client ID"),
            (unblock(""), "ERR wrong number of arguments for 'client|unblock' command"),
            (unblock("x"), "ERR value is not an integer or out of range"),
            (unblock("x FOO"), "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
        ];
        for (result, expected) in cases {
            assert_eq!(result.unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn clients_are_listed_in_the_order_in_which_they_are_asked_for() {
        let selection = Selection::parse(&words("ID 9 -4 7 9")).unwrap();
        assert_eq!(selection.place(&seen(9)), Some(0));
        assert_eq!(selection.place(&seen(7)), Some(2));
        assert_eq!(selection.place(&seen(8)), None);
        assert_eq!(Selection::All.place(&seen(8)), Some(8));
        assert_eq!(Selection::Kind(ClientKind::PubSub).place(&seen(8)), None);
    }
}
