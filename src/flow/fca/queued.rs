//! FCA commands between MULTI and EXEC: both spellings are asked for, and EXEC's reply holds the one answer.
//!
//! Guarantees that what is queued upstream and the shape that is kept for EXEC's reply have the same width.

use super::super::entry::{Entry, write_read};
use super::super::transaction::{queue_shaped, queue_write};
use super::super::{introspect, tell};
use super::ask::{Answer, Ask};
use super::store::{derive_all_to_store, write_delete, write_store, write_within};
use super::{Call, Handled};
use crate::command::Fca;
use crate::fca::{self, Form, Query, Request};
use crate::resp::{ReplyError, encode};
use crate::session::{Session, Shape};

/// Queues an FCA command.
pub(in crate::flow) fn queue(call: &Call<'_>, session: &mut Session, which: Fca, arguments: &[&[u8]]) -> Handled {
    match fca::parse(which, arguments).and_then(|request| queue_request(call, session, &request)) {
        Ok(handled) => handled,
        Err(error) => call.reject(session, &error),
    }
}

fn queue_request(call: &Call<'_>, session: &mut Session, request: &Request<'_>) -> Result<Handled, ReplyError> {
    match *request {
        Request::Get { namespace, query } => queue_lookup(call, session, namespace, query, Ask::Value),
        Request::Ttl { namespace, query } => queue_lookup(call, session, namespace, query, Ask::Ttl),
        Request::Pttl { namespace, query } => queue_lookup(call, session, namespace, query, Ask::Pttl),
        Request::Mget { namespace, queries } => {
            let entries = Entry::derive_all(call, namespace, queries, Form::Text)?;
            entries.iter().for_each(|entry| queue_written(call, entry));
            let shapes = entries.iter().map(|entry| lookup_shape(call, entry, Ask::Value)).collect();
            Ok(queue_shaped(call, session, Shape::Each(shapes), |commands| {
                entries.iter().for_each(|entry| append_lookups(commands, entry, Ask::Value));
            }))
        }
        Request::Set { namespace, query, value, expiry } => {
            queue_store(call, session, namespace, &[(query, value)], expiry, Answer::Single)
        }
        Request::Mset { namespace, pairs } => {
            let items: Vec<_> = pairs.chunks_exact(2).map(|pair| (Query::Text(pair[0]), pair[1])).collect();
            queue_store(call, session, namespace, &items, None, Answer::Count)
        }
        Request::Del { namespace, queries, form } => {
            let entries = Entry::derive_all(call, namespace, queries, form)?;
            if !entries.iter().all(|entry| entry.namespace.enabled) {
                return Ok(queue_shaped(call, session, Shape::Here(b":0\r\n".to_vec()), |_| {}));
            }
            entries.iter().for_each(|entry| queue_written(call, entry));
            Ok(queue_shaped(call, session, Shape::Count(vec![Shape::One; entries.len()]), |commands| {
                commands.extend(
                    entries
                        .iter()
                        .map(|entry| command(|out| write_delete(out, entry.key(), entry.twin_key().as_deref()))),
                );
            }))
        }
        Request::Key { namespace, query } => {
            let entry = Entry::derive(call, namespace, query, Vec::new())?;
            let frame = command(|out| encode::bulk(out, entry.key()));
            Ok(queue_shaped(call, session, Shape::Here(frame), |_| {}))
        }
        Request::Flush { .. } => Err(ReplyError::new("ERR FCA.FLUSH is not allowed inside a transaction")),
        Request::Available => Ok(queue_shaped(call, session, Shape::Here(b":1\r\n".to_vec()), |_| {})),
        Request::Stats { namespace } => {
            let frame = introspect::stats_frame(call, namespace)?;
            Ok(queue_shaped(call, session, Shape::Here(frame), |_| {}))
        }
        Request::Help => Ok(queue_shaped(call, session, Shape::Here(command(fca::append_help)), |_| {})),
    }
}

/// The bytes of one command.
fn command(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// EXEC may write this entry, or show it.
fn queue_written(call: &Call<'_>, entry: &Entry) {
    queue_write(call.client, tell::written_entry(call.client, entry.key(), entry.twin_key().as_deref()));
}

fn queue_lookup(
    call: &Call<'_>,
    session: &mut Session,
    namespace: &[u8],
    query: Query<'_>,
    ask: Ask,
) -> Result<Handled, ReplyError> {
    let entry = Entry::derive(call, namespace, query, Vec::new())?;
    let shape = lookup_shape(call, &entry, ask);
    queue_written(call, &entry);
    Ok(queue_shaped(call, session, shape, |commands| append_lookups(commands, &entry, ask)))
}

fn lookup_shape(call: &Call<'_>, entry: &Entry, ask: Ask) -> Shape {
    if !entry.namespace.enabled {
        let nothing: &[u8] = if ask == Ask::Value { encode::nil_frame(call.protocol) } else { b":-2\r\n" };
        Shape::Here(nothing.to_vec())
    } else if entry.twin_key().is_some() {
        Shape::FirstOf2
    } else {
        Shape::One
    }
}

fn append_lookups(commands: &mut Vec<Vec<u8>>, entry: &Entry, ask: Ask) {
    if !entry.namespace.enabled {
        return;
    }
    commands.push(command(|out| write_read(out, ask.command(), entry.key())));
    if let Some(twin) = entry.twin_key() {
        commands.push(command(|out| encode::command(out, &[ask.command(), &twin])));
    }
}

fn queue_store(
    call: &Call<'_>,
    session: &mut Session,
    namespace: &[u8],
    items: &[(Query<'_>, &[u8])],
    expiry: Option<fca::Expiry>,
    answer: Answer,
) -> Result<Handled, ReplyError> {
    let entries = derive_all_to_store(call, namespace, items)?;
    let Some(first) = entries.first() else { return Err(ReplyError::syntax()) };
    if !first.namespace.enabled {
        let frame = encode::nil_frame(call.protocol).to_vec();
        return Ok(queue_shaped(call, session, Shape::Here(frame), |_| {}));
    }
    let write = write_within(call, &first.namespace, expiry, entries.len());
    let mut shapes: Vec<Shape> =
        entries.iter().map(|entry| Shape::Stored { twin: entry.twin_key().is_some() }).collect();
    let shape = match (answer, shapes.pop()) {
        (Answer::Single, Some(single)) => single,
        (_, last) => Shape::Count(shapes.into_iter().chain(last).collect()),
    };
    entries.iter().for_each(|entry| queue_written(call, entry));
    Ok(queue_shaped(call, session, shape, |commands| {
        for (entry, (_, value)) in entries.iter().zip(items) {
            commands.push(command(|out| write_store(out, entry.key(), value, &write)));
            if let Some(twin) = entry.twin_key() {
                commands.push(command(|out| encode::command(out, &[b"DEL", &twin])));
            }
        }
    }))
}
