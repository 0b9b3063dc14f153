//! What becomes of each command between MULTI and EXEC.
//!
//! Guarantees that a command is queued upstream, or answered here with what stands for it kept for EXEC's reply, or refused,
//! which aborts the transaction. Leaves the transaction itself to `transaction.rs`.

use super::call::{Call, Handled};
use super::connection::{answer, is_about_the_connection};
use super::transaction::{discard, exec, exec_abort, queue_one, queue_shaped, queue_write, send_refused};
use super::{clients, exclusive, fca, gate, local, tell};
use crate::command::{Command, Effect, Kind, Local, Transaction as Which};
use crate::resp::{Arguments, ReplyError};
use crate::session::{Session, Shape};

/// A command between MULTI and EXEC.
pub(super) fn queue(
    call: &Call<'_>,
    session: &mut Session,
    command: Option<&'static Command>,
    request: Arguments<'_>,
    arguments: &[&[u8]],
) -> Handled {
    let effect = command.map_or(Effect::AnyKeys, |command| command.effect);
    queue_write(call.client, tell::written_by(call.client, effect, request));
    match command.map(|command| (command, command.kind)) {
        Some((_, Kind::Transaction(Which::Exec))) if request.len() > 1 => exec_abort(call, session),
        Some((_, Kind::Transaction(Which::Exec))) => exec(call, session, request),
        Some((_, Kind::Transaction(Which::Discard))) if request.len() > 1 => {
            call.reject(session, &ReplyError::wrong_arity("discard"))
        }
        Some((_, Kind::Transaction(Which::Discard))) => discard(call, session, request),
        // Refused in Redis's own words, and not queued.
        Some((_, Kind::Transaction(Which::Multi | Which::Watch))) => send_refused(call, session, request),
        Some((_, Kind::Transaction(Which::Unwatch))) => queue_one(call, session, request),
        Some((_, Kind::Fca(which))) => fca::queue(call, session, which, arguments),
        Some((_, Kind::Local(which))) => queue_local(call, session, which, request, arguments),
        Some((command, Kind::Admin | Kind::Script | Kind::ClusterClient | Kind::Refused)) => {
            gate::queue(call, session, command, request)
        }
        // Their confirmations would stand in EXEC's reply, or behind it, as many as there are names.
        Some((command, Kind::PubSub)) => {
            let text = format!("ERR {} inside MULTI is not supported by fca-proxy", command.name);
            call.reject(session, &ReplyError::new(text))
        }
        Some((_, Kind::Forward | Kind::Blocking | Kind::Monitor)) | None => queue_one(call, session, request),
    }
}

/// Commands that are answered here would run at once if they were not queued with their answer.
fn queue_local(
    call: &Call<'_>,
    session: &mut Session,
    which: Local,
    request: Arguments<'_>,
    arguments: &[&[u8]],
) -> Handled {
    match which {
        Local::Quit | Local::Reset => local::handle(call, session, which, request, arguments),
        Local::Hello | Local::Auth => {
            call.reject(session, &ReplyError::new("ERR Command not allowed inside a transaction"))
        }
        Local::Select => {
            let database = arguments.get(1).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            match database {
                Some(database) if arguments.len() == 2 => {
                    exclusive::taint(call.client);
                    queue_shaped(call, session, Shape::Select(database), |commands| {
                        commands.push(request.bytes().to_vec());
                    })
                }
                // Redis says what is wrong with it.
                _ => queue_one(call, session, request),
            }
        }
        Local::Client if let Some(handled) = clients::queue(call, session, request, arguments) => handled,
        Local::Client if is_about_the_connection(arguments) => {
            let arguments = arguments.iter().map(|argument| argument.to_vec()).collect();
            queue_shaped(call, session, Shape::Connection(arguments), |_| {})
        }
        Local::Client => match answer(call.client, session, which, arguments, call.now) {
            Ok(frame) => queue_shaped(call, session, Shape::Here(frame), |_| {}),
            Err(error) => call.reject(session, &error),
        },
        Local::Ping | Local::Echo | Local::Info | Local::Command => queue_one(call, session, request),
    }
}
