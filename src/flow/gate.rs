//! Commands that are not for every client: those of operators, of replicas, and of a cluster's clients.
//!
//! Guarantees that an operator's command reaches the upstream only where `upstream.admin_commands` names it, and that
//! none changes what a connection means that other sessions use after it. Whoever is refused is told why. Leaves the
//! embedded store to its own words.

use super::call::{Call, Handled};
use super::{Route, forward, near, transaction};
use crate::command::{Command, Kind};
use crate::metrics::Outcome;
use crate::resp::{Arguments, ReplyError};
use crate::session::{Session, Shape};

/// Carries out, or refuses, a command of kind `Admin`, `Script`, `ClusterClient` or `Refused`.
pub(super) fn handle(call: &Call<'_>, session: &mut Session, command: &Command, request: Arguments<'_>) -> Handled {
    if matches!(call.route, Route::Embedded(_)) {
        return forward::forward(call, session, request);
    }
    match refusal(call, command, request) {
        Some(refusal) => call.reject(session, &refusal),
        None if command.kind == Kind::ClusterClient => {
            let error = without_cluster();
            call.say(session, Outcome::Error, |out| error.append_to(out))
        }
        None => near::forward(call, session, command.effect, request),
    }
}

/// The same between MULTI and EXEC.
pub(super) fn queue(call: &Call<'_>, session: &mut Session, command: &Command, request: Arguments<'_>) -> Handled {
    match refusal(call, command, request) {
        Some(refusal) => call.reject(session, &refusal),
        None if command.kind == Kind::ClusterClient => {
            let mut frame = Vec::new();
            without_cluster().append_to(&mut frame);
            transaction::queue_shaped(call, session, Shape::Here(frame), |_| {})
        }
        None => transaction::queue_one(call, session, request),
    }
}

fn refusal(call: &Call<'_>, command: &Command, request: Arguments<'_>) -> Option<ReplyError> {
    let name = command.name;
    let text = match command.kind {
        Kind::Admin if call.settings.admin_commands.contains(&name) => return None,
        Kind::Admin => format!("ERR {name} is refused by fca-proxy: allow it with upstream.admin_commands"),
        // Its connection would be a debugger's from then on, until it is closed.
        Kind::Script if !begins_debugging(request) => return None,
        Kind::Script => "ERR SCRIPT DEBUG is refused by fca-proxy: a debugger must connect to Redis itself".to_owned(),
        Kind::ClusterClient if command.takes(request.len()) => return None,
        Kind::ClusterClient => return Some(ReplyError::wrong_arity(name)),
        _ => format!("ERR {name} is refused by fca-proxy: a replica must connect to Redis itself"),
    };
    Some(ReplyError::new(text))
}

fn begins_debugging(request: Arguments<'_>) -> bool {
    let is = |place, word: &str| request.at(place).is_some_and(|other| other.eq_ignore_ascii_case(word.as_bytes()));
    is(1, "DEBUG") && (is(2, "YES") || is(2, "SYNC"))
}

/// What a Redis says that is no node of a cluster, as the proxy is none to its clients. On a node these commands would
/// set a state of the connection, which its next user would inherit.
fn without_cluster() -> ReplyError {
    ReplyError::new("ERR This instance has cluster support disabled")
}
