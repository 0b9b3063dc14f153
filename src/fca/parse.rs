//! From the arguments of an FCA command to what it asks for.
//!
//! Guarantees: options in any order and any case; each at most once; Redis's own error texts; nothing is copied.
//! An option is looked for only where it can stand: the word `params` in a query's own place is a query. The one
//! ambiguity is `FCA.DEL ns a params`, where the last word is the option; put a query that is called so before others.
//! Leaves to others: whether a query is UTF-8 or JSON, lengths, and whether the namespace is configured.

use crate::command::Fca;
use crate::key;
use crate::resp::ReplyError;

/// One request of the FCA family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// `FCA.GET ns query [PARAMS]`
    Get {
        /// The namespace, valid by its form.
        namespace: &'a [u8],
        /// The one query.
        query: Query<'a>,
    },
    /// `FCA.SET ns query value [EX seconds | PX milliseconds] [PARAMS]`
    Set {
        /// The namespace, valid by its form.
        namespace: &'a [u8],
        /// The one query.
        query: Query<'a>,
        /// What is to be cached, byte for byte.
        value: &'a [u8],
        /// The life that the call asks for.
        expiry: Option<Expiry>,
    },
    /// `FCA.MGET ns query [query …]`
    Mget {
        /// The namespace, valid by its form.
        namespace: &'a [u8],
        /// At least one query.
        queries: &'a [&'a [u8]],
    },
    /// `FCA.MSET ns query value [query value …]`
    Mset {
        /// The namespace, valid by its form.
        namespace: &'a [u8],
        /// Queries and values in turn: an even number, at least two.
        pairs: &'a [&'a [u8]],
    },
    /// `FCA.DEL ns query [query …] [PARAMS]`
    Del {
        /// The namespace, valid by its form.
        namespace: &'a [u8],
        /// At least one query.
        queries: &'a [&'a [u8]],
        /// How all the queries are to be read.
        form: Form,
    },
    /// `FCA.TTL ns query [PARAMS]`
    Ttl {
        /// The namespace, valid by its form.
        namespace: &'a [u8],
        /// The one query.
        query: Query<'a>,
    },
    /// `FCA.PTTL ns query [PARAMS]`
    Pttl {
        /// The namespace, valid by its form.
        namespace: &'a [u8],
        /// The one query.
        query: Query<'a>,
    },
    /// `FCA.KEY ns query [PARAMS]`
    Key {
        /// The namespace, valid by its form.
        namespace: &'a [u8],
        /// The one query.
        query: Query<'a>,
    },
    /// `FCA.FLUSH ns [MATCH glob]`
    Flush {
        /// The namespace, valid by its form.
        namespace: &'a [u8],
        /// What the digest part of a key has to match.
        glob: Option<&'a [u8]>,
    },
    /// `FCA.AVAILABLE`
    Available,
    /// `FCA.STATS [ns]`
    Stats {
        /// The namespace asked about; none: the whole proxy.
        namespace: Option<&'a [u8]>,
    },
    /// `FCA.HELP`
    Help,
}

/// A query as the client sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query<'a> {
    /// A question, to be normalised.
    Text(&'a [u8]),
    /// JSON, to be written canonically.
    Params(&'a [u8]),
}

/// How the queries of one request are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As questions.
    Text,
    /// As JSON: the request says `PARAMS`.
    Params,
}

impl Form {
    /// A query of this form.
    pub const fn query(self, bytes: &[u8]) -> Query<'_> {
        match self {
            Self::Text => Query::Text(bytes),
            Self::Params => Query::Params(bytes),
        }
    }
}

/// How long a call wants its entry to live; never 0, and at most some 292 million years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// `EX`
    Seconds(u64),
    /// `PX`
    Milliseconds(u64),
}

/// The longest life that a call can ask for. Redis refuses one whose end, in milliseconds since 1970, is beyond
/// `i64::MAX` (`getExpireMillisecondsOrReply` in `t_string.c`); the margin of 2⁴² ms stands for the present, up to the
/// year 2109, so that parsing needs no clock.
pub(super) const EXPIRY_MILLISECONDS_MAX: i64 = i64::MAX - (1 << 42);

/// Reads a request; `args` with the command's name first.
///
/// # Errors
/// The reply that Redis gives to such a mistake, or `ERR invalid namespace`.
pub fn parse<'a>(fca: Fca, args: &'a [&'a [u8]]) -> Result<Request<'a>, ReplyError> {
    if !fca.command().takes(args.len()) {
        return Err(wrong_arity(fca));
    }
    let [_, rest @ ..] = args else { return Err(wrong_arity(fca)) };
    match (fca, rest) {
        (Fca::Available, _) => Ok(Request::Available),
        (Fca::Help, _) => Ok(Request::Help),
        (Fca::Stats, []) => Ok(Request::Stats { namespace: None }),
        (Fca::Stats, [namespace]) => Ok(Request::Stats { namespace: Some(valid(namespace)?) }),
        (_, [namespace, rest @ ..]) => parse_in_namespace(fca, valid(namespace)?, rest),
        _ => Err(wrong_arity(fca)),
    }
}

fn parse_in_namespace<'a>(fca: Fca, namespace: &'a [u8], rest: &'a [&'a [u8]]) -> Result<Request<'a>, ReplyError> {
    match (fca, rest) {
        (Fca::Get, [query, options @ ..]) => Ok(Request::Get { namespace, query: form(options)?.query(query) }),
        (Fca::Ttl, [query, options @ ..]) => Ok(Request::Ttl { namespace, query: form(options)?.query(query) }),
        (Fca::Pttl, [query, options @ ..]) => Ok(Request::Pttl { namespace, query: form(options)?.query(query) }),
        (Fca::Key, [query, options @ ..]) => Ok(Request::Key { namespace, query: form(options)?.query(query) }),
        (Fca::Set, [query, value, options @ ..]) => {
            let options = SetOptions::read(options)?;
            Ok(Request::Set { namespace, query: options.form.query(query), value, expiry: options.expiry()? })
        }
        (Fca::Mget, queries @ [_, ..]) => Ok(Request::Mget { namespace, queries }),
        (Fca::Mset, pairs @ [_, _, ..]) if pairs.len().is_multiple_of(2) => Ok(Request::Mset { namespace, pairs }),
        // One word is a query, whatever it says: what else should be deleted?
        (Fca::Del, [queries @ .., last]) if !queries.is_empty() && is(last, b"PARAMS") => {
            Ok(Request::Del { namespace, queries, form: Form::Params })
        }
        (Fca::Del, queries @ [_, ..]) => Ok(Request::Del { namespace, queries, form: Form::Text }),
        (Fca::Flush, []) => Ok(Request::Flush { namespace, glob: None }),
        (Fca::Flush, [option, glob]) if is(option, b"MATCH") => Ok(Request::Flush { namespace, glob: Some(glob) }),
        (Fca::Flush, _) => Err(ReplyError::syntax()),
        _ => Err(wrong_arity(fca)),
    }
}

/// The options of the commands that have no other than `PARAMS`.
fn form(options: &[&[u8]]) -> Result<Form, ReplyError> {
    match options {
        [] => Ok(Form::Text),
        [option] if is(option, b"PARAMS") => Ok(Form::Params),
        _ => Err(ReplyError::syntax()),
    }
}

/// The options of `FCA.SET` as they were written; only when all of them are understood is the number looked at, as in
/// Redis's `SET`.
struct SetOptions<'a> {
    form: Form,
    expiry: Option<(Unit, &'a [u8])>,
}

/// The unit of an expiry.
#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Milliseconds,
}

impl<'a> SetOptions<'a> {
    fn read(options: &[&'a [u8]]) -> Result<Self, ReplyError> {
        let mut found = Self { form: Form::Text, expiry: None };
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            if is(option, b"PARAMS") && found.form == Form::Text {
                found.form = Form::Params;
                continue;
            }
            let unit = match () {
                () if is(option, b"EX") => Unit::Seconds,
                () if is(option, b"PX") => Unit::Milliseconds,
                () => return Err(ReplyError::syntax()),
            };
            let (None, Some(number)) = (found.expiry, rest.next()) else { return Err(ReplyError::syntax()) };
            found.expiry = Some((unit, number));
        }
        Ok(found)
    }

    fn expiry(&self) -> Result<Option<Expiry>, ReplyError> {
        let Some((unit, text)) = self.expiry else { return Ok(None) };
        let Some(number) = integer(text) else {
            return Err(ReplyError::new("ERR value is not an integer or out of range"));
        };
        let (expiry, max) = match unit {
            Unit::Seconds => (Expiry::Seconds(number.unsigned_abs()), EXPIRY_MILLISECONDS_MAX / 1000),
            Unit::Milliseconds => (Expiry::Milliseconds(number.unsigned_abs()), EXPIRY_MILLISECONDS_MAX),
        };
        if (1..=max).contains(&number) {
            Ok(Some(expiry))
        } else {
            Err(ReplyError::new("ERR invalid expire time in 'fca.set' command"))
        }
    }
}

/// The integer that these bytes spell in the only form that Redis takes (`string2ll` in `util.c`): no plus sign, no
/// leading zero, no space.
fn integer(text: &[u8]) -> Option<i64> {
    let number: i64 = str::from_utf8(text).ok()?.parse().ok()?;
    (itoa::Buffer::new().format(number).as_bytes() == text).then_some(number)
}

fn is(word: &[u8], option: &[u8]) -> bool {
    word.eq_ignore_ascii_case(option)
}

/// The namespace, if it is one by its form.
///
/// # Errors
/// `ERR invalid namespace`.
pub fn valid(namespace: &[u8]) -> Result<&[u8], ReplyError> {
    if key::namespace_is_valid(namespace) { Ok(namespace) } else { Err(ReplyError::new("ERR invalid namespace")) }
}

fn wrong_arity(fca: Fca) -> ReplyError {
    ReplyError::wrong_arity(fca.command().name)
}

#[cfg(test)]
mod tests;
