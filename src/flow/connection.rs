//! What a connection is told of itself, whoever is upstream: PING, ECHO, and the subcommands of CLIENT that are about the
//! client that asks.
//!
//! Guarantees Redis's replies (`networking.c` of Redis 7.0), which depend on nothing but the session.

use super::Client;
use super::client_line::{client_line, redirect};
use crate::command::Local;
use crate::resp::{Protocol, ReplyError, encode};
use crate::session::{Mode, Session};
use std::time::Instant;

/// The reply to PING, ECHO or CLIENT, which depends on nothing but the session.
pub(super) fn answer(
    asker: &Client,
    session: &mut Session,
    which: Local,
    arguments: &[&[u8]],
    now: Instant,
) -> Result<Vec<u8>, ReplyError> {
    let mut out = Vec::new();
    match (which, arguments) {
        (Local::Ping, [_] | [_, _]) if session.protocol == Protocol::Resp2 && session.modes.has(Mode::Subscribed) => {
            encode::header(&mut out, b'*', 2);
            encode::bulk(&mut out, b"pong");
            encode::bulk(&mut out, arguments.get(1).copied().unwrap_or_default());
        }
        (Local::Ping, [_]) => encode::simple(&mut out, "PONG"),
        (Local::Ping | Local::Echo, [_, message]) => encode::bulk(&mut out, message),
        (Local::Ping, _) => return Err(ReplyError::wrong_arity("ping")),
        (Local::Client, [_, subcommand, rest @ ..]) => client(asker, session, subcommand, rest, now, &mut out)?,
        (Local::Client, _) => return Err(ReplyError::wrong_arity("client")),
        _ => return Err(ReplyError::wrong_arity("echo")),
    }
    Ok(out)
}

/// Whether this CLIENT can be carried out by what the proxy knows of the connection.
pub(super) fn is_about_the_connection(arguments: &[&[u8]]) -> bool {
    const SUBCOMMANDS: [(&str, usize); 7] =
        [("ID", 2), ("GETNAME", 2), ("SETNAME", 3), ("SETINFO", 4), ("INFO", 2), ("NO-EVICT", 3), ("GETREDIR", 2)];
    arguments.get(1).is_some_and(|subcommand| {
        SUBCOMMANDS
            .iter()
            .any(|(name, count)| subcommand.eq_ignore_ascii_case(name.as_bytes()) && arguments.len() == *count)
    })
}

/// CLIENT and its subcommands, as far as they are about this connection.
fn client(
    asker: &Client,
    session: &mut Session,
    as_written: &[u8],
    rest: &[&[u8]],
    now: Instant,
    out: &mut Vec<u8>,
) -> Result<(), ReplyError> {
    let as_written = String::from_utf8_lossy(as_written);
    let subcommand = as_written.to_ascii_uppercase();
    match (subcommand.as_str(), rest) {
        ("ID", []) => encode::integer(out, i64::try_from(session.id).unwrap_or(i64::MAX)),
        ("GETNAME", []) if session.identity().name.is_empty() => encode::nil(out, session.protocol),
        ("GETNAME", []) => encode::bulk(out, &session.identity().name),
        ("SETNAME", [name]) => {
            check_name(name)?;
            session.identity_mut().name = name.to_vec();
            encode::simple(out, "OK");
        }
        ("SETINFO", [attribute, value]) => {
            set_info(session, attribute, value)?;
            encode::simple(out, "OK");
        }
        ("INFO", []) => {
            let line = client_line(asker, session, now);
            match session.protocol {
                Protocol::Resp2 => encode::bulk(out, line.as_bytes()),
                Protocol::Resp3 => encode::verbatim(out, line.as_bytes()),
            }
        }
        ("NO-EVICT", [switch]) if is_switch(switch) => encode::simple(out, "OK"),
        ("NO-EVICT", [_]) => return Err(ReplyError::syntax()),
        ("GETREDIR", []) => encode::integer(out, redirect(session)),
        ("TRACKINGINFO", []) => append_tracking_off(out, session.protocol),
        ("ID" | "GETNAME" | "SETNAME" | "SETINFO" | "INFO" | "NO-EVICT" | "TRACKINGINFO" | "GETREDIR", _) => {
            return Err(ReplyError::wrong_arity(&format!("client|{subcommand}")));
        }
        ("REPLY" | "TRACKING" | "CACHING", _) => {
            // Elsewhere they never come here.
            let text = format!("ERR CLIENT {subcommand} is not supported by fca-proxy inside MULTI");
            return Err(ReplyError::new(text));
        }
        _ => {
            return Err(ReplyError::new(format!("ERR unknown subcommand '{as_written}'. Try CLIENT HELP.")));
        }
    }
    Ok(())
}

/// CLIENT TRACKINGINFO of a connection that does not track.
fn append_tracking_off(out: &mut Vec<u8>, protocol: Protocol) {
    encode::map(out, protocol, 3);
    encode::bulk(out, b"flags");
    encode::header(out, if protocol == Protocol::Resp3 { b'~' } else { b'*' }, 1);
    encode::bulk(out, b"off");
    encode::bulk(out, b"redirect");
    encode::integer(out, -1);
    encode::bulk(out, b"prefixes");
    encode::header(out, b'*', 0);
}

fn is_switch(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"on") || word.eq_ignore_ascii_case(b"off")
}

fn set_info(session: &mut Session, attribute: &[u8], value: &[u8]) -> Result<(), ReplyError> {
    let (place, name) = if attribute.eq_ignore_ascii_case(b"lib-name") {
        (&mut session.identity_mut().library, "lib-name")
    } else if attribute.eq_ignore_ascii_case(b"lib-ver") {
        (&mut session.identity_mut().library_version, "lib-ver")
    } else {
        let attribute = String::from_utf8_lossy(attribute);
        return Err(ReplyError::new(format!("ERR Unrecognized option '{attribute}'")));
    };
    if !is_printable(value) {
        let text = format!("ERR {name} cannot contain spaces, newlines or special characters.");
        return Err(ReplyError::new(text));
    }
    if value.len() > NAME_BYTES_MAX {
        return Err(ReplyError::new(format!("ERR {name} is too long")));
    }
    *place = value.to_vec();
    Ok(())
}

/// How long a client's name may be, in bytes; it is kept for as long as the client stays.
const NAME_BYTES_MAX: usize = 1024;

pub(super) fn check_name(name: &[u8]) -> Result<(), ReplyError> {
    if !is_printable(name) {
        return Err(ReplyError::new("ERR Client names cannot contain spaces, newlines or special characters."));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(ReplyError::new("ERR Client name is too long"));
    }
    Ok(())
}

fn is_printable(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}
