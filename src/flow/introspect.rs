//! What the proxy tells of itself: INFO, FCA.STATS, and COMMAND with the FCA family in it.
//!
//! Guarantees: the upstream's own answer comes first and as it is, where there is one; the proxy's sections follow, and
//! stand alone while it is gone.

use super::call::{Call, Handled};
use super::step::{Reply, Task, To, Turn, is_outage};
use super::{Client, Route};
use crate::command;
use crate::embedded;
use crate::fca::Introspection;
use crate::metrics::{Counter, NamespaceTotals, Outcome, Registry};
use crate::resp::{Arguments, Protocol, ReplyError, encode, payload};
use crate::session::Session;
use crate::upstream::Failure;
use std::fmt::Write as _;

/// What is known of a COMMAND request while the upstream's answer is awaited.
struct CommandMerge {
    arguments: Vec<Vec<u8>>,
}

/// Which sections of INFO a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sections {
    /// All of them, so that the proxy's own belongs to them.
    All,
    /// Some, by their names, which are the upstream's.
    Named,
}

/// INFO: the upstream's, with the proxy's own section where the client asked for everything or for it.
pub(super) fn info(call: &Call<'_>, session: &mut Session, request: Arguments<'_>, arguments: &[&[u8]]) -> Handled {
    let asks = |names: &[&str]| {
        arguments[1..].iter().any(|asked| names.iter().any(|name| asked.eq_ignore_ascii_case(name.as_bytes())))
    };
    if arguments.len() == 2 && asks(&["fca_proxy"]) {
        return say_info(call, session, &[]);
    }
    let all = arguments.len() == 1 || asks(&["all", "default", "everything", "fca_proxy"]);
    match call.route {
        Route::Lane(lane, _) if lane.accepts().is_ok() => {
            let slot = session.replies.open();
            let sections = if all { Sections::All } else { Sections::Named };
            lane.push(call.deadline, call.waiter(To::Slot(slot), sections), request.bytes());
            Handled::Done
        }
        _ => say_info(call, session, SERVER_SECTION.as_bytes()),
    }
}

/// What clients look for in INFO before they believe that they speak to a Redis.
const SERVER_SECTION: &str = concat!(
    "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nfca_proxy_version:",
    env!("CARGO_PKG_VERSION"),
    "\r\n\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n# Persistence\r\nloading:0\r\n\r\n",
);

fn say_info(call: &Call<'_>, session: &mut Session, before: &[u8]) -> Handled {
    let text = [before, section(call.client).as_bytes()].concat();
    call.say(session, Outcome::Ok, |out| append_text(out, call.protocol, &text))
}

impl Task for Sections {
    /// The upstream's INFO came.
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        let frame = reply.frame;
        match (*self, payload(frame)) {
            _ if is_outage(frame) => finish_info(turn, SERVER_SECTION.as_bytes()),
            _ if frame[0] == b'-' => turn.finish(frame, Outcome::Error),
            (Self::All, Some(text)) => finish_info(turn, text),
            _ => turn.finish(frame, Outcome::Ok),
        }
    }

    /// The upstream's INFO can't be had. A client that asks for a section looks for a Redis behind it, as one that asks
    /// for all of them does.
    fn on_failure(self: Box<Self>, turn: Turn<'_>, failure: &Failure) {
        if let Some(turn) = turn.unless_refused(failure) {
            finish_info(turn, SERVER_SECTION.as_bytes());
        }
    }
}

fn finish_info(turn: Turn<'_>, before: &[u8]) {
    let mut text = before.to_vec();
    if !text.ends_with(b"\r\n\r\n") {
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(section(turn.client).as_bytes());
    let mut reply = Vec::new();
    append_text(&mut reply, turn.session.protocol, &text);
    turn.finish(&reply, Outcome::Ok);
}

fn append_text(out: &mut Vec<u8>, protocol: Protocol, text: &[u8]) {
    match protocol {
        Protocol::Resp2 => encode::bulk(out, text),
        Protocol::Resp3 => encode::verbatim(out, text),
    }
}

/// The proxy's own section of INFO.
fn section(client: &Client) -> String {
    let core = &client.core;
    let (totals, fca) = (core.registry.totals(), core.registry.namespace_totals(None));
    let mut text = String::from("# FCA_Proxy\r\n");
    let lines: [(&str, &dyn std::fmt::Display); 20] = [
        ("fca_proxy_version", &env!("CARGO_PKG_VERSION")),
        ("fca_proxy_uptime_seconds", &totals.uptime.as_secs()),
        ("fca_proxy_upstream", &core.upstream.as_ref().map_or("none", |status| status.name())),
        ("fca_proxy_upstream_state", &core.upstream_state()),
        ("fca_proxy_upstream_connections", &totals.upstream_connections),
        ("fca_proxy_upstream_in_flight", &totals.upstream_in_flight),
        ("fca_proxy_upstream_timeouts", &totals.upstream_timeouts),
        ("fca_proxy_clients", &totals.clients),
        ("fca_proxy_connections_accepted", &totals.connections_accepted),
        ("fca_proxy_connections_rejected", &totals.connections_rejected),
        ("fca_proxy_commands", &totals.commands),
        ("fca_proxy_bytes_in", &totals.bytes_in),
        ("fca_proxy_bytes_out", &totals.bytes_out),
        ("fca_proxy_limit_hits", &totals.limit_hits),
        ("fca_proxy_gets", &fca.gets),
        ("fca_proxy_hits", &fca.hits),
        ("fca_proxy_misses", &fca.misses),
        ("fca_proxy_misses_by_outage", &fca.unreachable),
        ("fca_proxy_sets", &fca.sets),
        ("fca_proxy_hit_ratio", &format_args!("{:.4}", fca.hit_ratio())),
    ];
    for (name, value) in lines {
        // Writing to a string can't fail.
        let _ = write!(text, "{name}:{value}\r\n");
    }
    let (state, counts) = near_cache(&core.registry);
    let _ = write!(text, "fca_proxy_near_cache:{state}\r\n");
    for (name, count) in counts {
        let _ = write!(text, "fca_proxy_{name}:{count}\r\n");
    }
    text
}

/// What the near cache does, in a word, and what it has done.
fn near_cache(registry: &Registry) -> (&'static str, [(&'static str, u64); 7]) {
    let observed = registry.observed();
    let counts = [
        ("near_cache_hits", registry.counter(Counter::NearHits)),
        ("near_cache_fills", registry.counter(Counter::NearFills)),
        ("near_cache_fills_refused", registry.counter(Counter::NearFillsRefused)),
        ("near_cache_invalidations", registry.counter(Counter::NearInvalidations)),
        ("near_cache_evictions", observed.near_cache.evictions),
        ("near_cache_entries", observed.near_cache.entries),
        ("near_cache_bytes", observed.near_cache.bytes),
    ];
    (observed.near_cache_state.word(), counts)
}

/// FCA.STATS: counts since the start, of all namespaces or of one.
pub(super) fn stats(call: &Call<'_>, session: &mut Session, namespace: Option<&[u8]>) -> Result<Handled, ReplyError> {
    let frame = stats_frame(call, namespace)?;
    Ok(call.say(session, Outcome::Ok, |out| out.extend_from_slice(&frame)))
}

/// The reply to FCA.STATS.
pub(super) fn stats_frame(call: &Call<'_>, namespace: Option<&[u8]>) -> Result<Vec<u8>, ReplyError> {
    let label = namespace.map(|name| call.settings.namespace(name)).transpose()?;
    let totals = call.client.core.registry.namespace_totals(label.map(|namespace| namespace.label));
    let mut frame = Vec::new();
    // One namespace has no near cache of its own; how many of its gets were near hits is among its counts.
    let near_cache = namespace.is_none().then(|| near_cache(&call.client.core.registry));
    append_stats(&mut frame, call.protocol, &totals, near_cache);
    Ok(frame)
}

fn append_stats(
    out: &mut Vec<u8>,
    protocol: Protocol,
    totals: &NamespaceTotals,
    near_cache: Option<(&str, [(&str, u64); 7])>,
) {
    let counts: [(&str, u64); 13] = [
        ("gets", totals.gets),
        ("hits", totals.hits),
        ("near_hits", totals.near_hits),
        ("misses", totals.misses),
        ("misses_by_outage", totals.unreachable),
        ("gets_disabled", totals.disabled),
        ("gets_failed", totals.errors),
        ("sets", totals.sets),
        ("sets_stored", totals.sets_stored),
        ("sets_refused", totals.sets_refused),
        ("sets_by_outage", totals.sets_unreachable),
        ("ttl_capped", totals.ttl_capped),
        ("deletes", totals.deletes),
    ];
    let near_pairs = near_cache.map_or(0, |(_, counts)| counts.len() as u64 + 1);
    encode::map(out, protocol, counts.len() as u64 + 1 + near_pairs);
    let append_counts = |out: &mut Vec<u8>, counts: &[(&str, u64)]| {
        for &(name, count) in counts {
            encode::bulk(out, name.as_bytes());
            encode::integer(out, i64::try_from(count).unwrap_or(i64::MAX));
        }
    };
    append_counts(out, &counts);
    if let Some((state, counts)) = near_cache {
        encode::bulk(out, b"near_cache");
        encode::bulk(out, state.as_bytes());
        append_counts(out, &counts);
    }
    encode::bulk(out, b"hit_ratio");
    let ratio = format!("{:.4}", totals.hit_ratio());
    match protocol {
        Protocol::Resp2 => encode::bulk(out, ratio.as_bytes()),
        Protocol::Resp3 => {
            out.push(b',');
            out.extend_from_slice(ratio.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// COMMAND and its subcommands: the upstream's answer with the FCA family in it.
pub(super) fn command(call: &Call<'_>, session: &mut Session, arguments: &[&[u8]]) -> Handled {
    let introspection = match Introspection::parse(arguments) {
        Ok(introspection) => introspection,
        Err(error) => return call.reject(session, &error),
    };
    match (call.route, introspection.upstream_request()) {
        (Route::Lane(lane, _), Some(request)) if lane.accepts().is_ok() => {
            let merge = CommandMerge { arguments: arguments.iter().map(|argument| argument.to_vec()).collect() };
            let slot = session.replies.open();
            lane.push_with(call.deadline, call.waiter(To::Slot(slot), merge), &[], |out| {
                encode::command(out, &request);
            });
            Handled::Done
        }
        (Route::Embedded(_), Some(_)) => {
            let table = embedded_table(&introspection, call.protocol);
            call.say(session, Outcome::Ok, |out| introspection.append_reply(out, call.protocol, table.as_deref()))
        }
        _ => call.say(session, Outcome::Ok, |out| introspection.append_reply(out, call.protocol, None)),
    }
}

/// What a server that knows only the embedded store's commands would say, where that takes no more than its table.
fn embedded_table(introspection: &Introspection<'_>, protocol: Protocol) -> Option<Vec<u8>> {
    let served: Vec<_> = command::all().iter().filter(|command| embedded::serves(command.name.as_bytes())).collect();
    let mut out = Vec::new();
    match introspection {
        Introspection::Table => {
            encode::header(&mut out, b'*', served.len() as u64);
            served.iter().for_each(|command| command::append_info(&mut out, protocol, command));
        }
        Introspection::Count => encode::integer(&mut out, i64::try_from(served.len()).unwrap_or(i64::MAX)),
        Introspection::List(None) => {
            encode::header(&mut out, b'*', served.len() as u64);
            served.iter().for_each(|command| encode::bulk(&mut out, command.name.to_ascii_lowercase().as_bytes()));
        }
        Introspection::Docs([]) => encode::map(&mut out, protocol, 0),
        _ => return None,
    }
    Some(out)
}

impl Task for CommandMerge {
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        self.finish(turn, Some(reply.frame));
    }

    fn on_failure(self: Box<Self>, turn: Turn<'_>, _: &Failure) {
        self.finish(turn, None);
    }
}

impl CommandMerge {
    /// The upstream's answer to COMMAND came, or can't be had.
    fn finish(&self, turn: Turn<'_>, frame: Option<&[u8]>) {
        let arguments: Vec<&[u8]> = self.arguments.iter().map(Vec::as_slice).collect();
        let protocol = turn.session.protocol;
        match Introspection::parse(&arguments) {
            Ok(introspection) => {
                let mut reply = Vec::new();
                introspection.append_reply(&mut reply, protocol, frame);
                turn.finish(&reply, Outcome::Ok);
            }
            // It was read before it was sent, so this can't be.
            Err(_) => turn.finish_unreachable(),
        }
    }
}
