//! The FCA family: from a namespace and a question to commands on keys, and from their replies to answers.
//!
//! Guarantees: a hit costs one GET, or none where the near cache has it; an entry is written with its time to live in
//! one command; a question is never asked of the upstream in clear; an upstream fault is a nil. Commands that concern one
//! entry are carried out in the order of the session, also where a look-up takes two steps. Leaves look-ups to
//! `fca/lookup.rs`, writes to `fca/store.rs`, FCA.FLUSH to `flush.rs`, the embedded store's way to `fca/embedded.rs`,
//! transactions to `fca/queued.rs`.

mod ask;
mod embedded;
mod lookup;
mod queued;
mod store;

pub(super) use queued::queue;

use super::call::{Call, Handled};
use super::entry::Entry;
use super::step::{Reply, Task, To, Turn, is_outage};
use super::{Route, flush, introspect};
use crate::command::Fca;
use crate::fca::{self, Query, Request};
use crate::metrics::Outcome;
use crate::resp::{ReplyError, encode};
use crate::session::Session;
use crate::upstream::Failure;
use ask::{Answer, Ask};
use lookup::{look_up, look_up_all};
use store::{delete, store};

/// FCA.GET of a question and no more, which is nearly every request of the family: there are no options to look for.
pub(super) fn get(call: &Call<'_>, session: &mut Session, namespace: &[u8], question: &[u8]) -> Handled {
    let looked_up = fca::valid(namespace)
        .and_then(|namespace| look_up(call, session, namespace, Query::Text(question), Ask::Value));
    looked_up.unwrap_or_else(|error| call.reject(session, &error))
}

/// Carries out an FCA command outside a transaction.
pub(super) fn handle(call: &Call<'_>, session: &mut Session, which: Fca, arguments: &[&[u8]]) -> Handled {
    match fca::parse(which, arguments).and_then(|request| carry_out(call, session, &request)) {
        Ok(handled) => handled,
        Err(error) => call.reject(session, &error),
    }
}

fn carry_out(call: &Call<'_>, session: &mut Session, request: &Request<'_>) -> Result<Handled, ReplyError> {
    match *request {
        Request::Get { namespace, query } => look_up(call, session, namespace, query, Ask::Value),
        Request::Ttl { namespace, query } => look_up(call, session, namespace, query, Ask::Ttl),
        Request::Pttl { namespace, query } => look_up(call, session, namespace, query, Ask::Pttl),
        Request::Mget { namespace, queries } => look_up_all(call, session, namespace, queries),
        Request::Set { namespace, query, value, expiry } => {
            let items = [(query, value)];
            store(call, session, namespace, &items, expiry, Answer::Single)
        }
        Request::Mset { namespace, pairs } => {
            let items: Vec<_> = pairs.chunks_exact(2).map(|pair| (Query::Text(pair[0]), pair[1])).collect();
            store(call, session, namespace, &items, None, Answer::Count)
        }
        Request::Del { namespace, queries, form } => delete(call, session, namespace, queries, form),
        Request::Key { namespace, query } => {
            let entry = Entry::derive(call, namespace, query, Vec::new())?;
            Ok(call.say(session, Outcome::Ok, |out| encode::bulk(out, entry.key())))
        }
        Request::Flush { namespace, glob } => flush::start(call, session, namespace, glob),
        Request::Available => Ok(available(call, session)),
        Request::Stats { namespace } => introspect::stats(call, session, namespace),
        Request::Help => Ok(call.say(session, Outcome::Ok, fca::append_help)),
    }
}

fn available(call: &Call<'_>, session: &mut Session) -> Handled {
    match call.route {
        Route::Embedded(_) => call.say(session, Outcome::Ok, |out| encode::integer(out, 1)),
        Route::Lane(lane, _) if lane.accepts().is_ok() => {
            let slot = session.replies.open();
            // A server that can't serve keys at present (LOADING, MASTERDOWN, CLUSTERDOWN) may still answer a PING.
            lane.push_with(call.deadline, call.waiter(To::Slot(slot), Available), &[], |out| {
                encode::command(out, &[b"EXISTS", &call.settings.key_prefix]);
            });
            Handled::Done
        }
        _ => call.say(session, Outcome::Ok, |out| encode::integer(out, 0)),
    }
}

/// FCA.AVAILABLE: whether the upstream answers now.
struct Available;

impl Task for Available {
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        turn.finish(if is_outage(reply.frame) { b":0\r\n" } else { b":1\r\n" }, Outcome::Ok);
    }

    fn on_failure(self: Box<Self>, turn: Turn<'_>, _: &Failure) {
        turn.finish(b":0\r\n", Outcome::Ok);
    }
}
