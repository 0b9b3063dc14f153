//! CLIENT LIST, KILL and UNBLOCK: what one client asks about the others, whatever worker they are on.
//!
//! A question is put to every worker of the process ([`Crew`]); each looks through its own clients ([`answer`]), and
//! what they found becomes one reply ([`Inquiry`]). Guarantees: no further request of the asker is carried out before
//! its answer, and it waits no longer than a request's budget; what is told and what is closed are the proxy's clients,
//! never the connections towards the upstream; a user whom the upstream would not let do this may not do it here. Errors
//! and replies are Redis's (`networking.c` of Redis 7.0). Leaves crossing the threads to the worker, which clients are
//! meant to `select.rs`, what is told of one to `line.rs`.

mod help;
mod select;

pub use select::Question;

use self::select::{Filter, KillForm, Redirect, Seen, Selection};
use super::call::{Call, Handled};
use super::client_line::{self, client_line};
use super::step::{Reply, Step, Task, To, Turn, is_outage};
use super::tracking::{self, Target, Tracking};
use super::{Client, Route, forward, login, pubsub, transaction};
use crate::clock;
use crate::metrics::{Family, Outcome};
use crate::resp::{Arguments, Protocol, ReplyError, encode};
use crate::session::{Ending, Session, Slot};
use crate::upstream::Failure;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Carries a question to all workers of the process, and what they found back to who asked.
pub trait Crew {
    /// Hands every worker's findings to [`Inquiry::found`], then calls [`Inquiry::conclude`], at the latest when its
    /// time is up.
    fn ask(&self, inquiry: Inquiry);
}

/// What the clients of one worker, or of several, have to say to a question.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Lines of CLIENT LIST, each with its place in the list.
    lines: Vec<(u64, String)>,
    /// How many clients were closed.
    killed: u64,
    /// The number that the server gave the connection in which the client in question waits.
    blocked_in: Option<u64>,
    /// Where invalidations are to go.
    redirect: Option<Target>,
}

/// A question, and the place where its answer goes.
pub struct Inquiry {
    client: Rc<Client>,
    slot: Slot,
    family: Family,
    question: Arc<Question>,
    deadline: Instant,
    findings: Findings,
}

/// What CLIENT carries out elsewhere than on the session that asks.
enum Errand {
    /// It is about the proxy's clients.
    Others(Who),
    /// It is the upstream that is to stand still, or to go on.
    Upstream,
    /// It lists what there is.
    Help,
}

/// The subcommands about other clients.
#[derive(Clone, Copy)]
enum Who {
    List,
    Kill,
    Unblock,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::List => "LIST",
            Self::Kill => "KILL",
            Self::Unblock => "UNBLOCK",
        }
    }
}

/// CLIENT's subcommands as [`Session::last_command`] names them.
const SUBCOMMANDS: [&str; 18] = [
    "CLIENT|CACHING",
    "CLIENT|GETNAME",
    "CLIENT|GETREDIR",
    "CLIENT|HELP",
    "CLIENT|ID",
    "CLIENT|INFO",
    "CLIENT|KILL",
    "CLIENT|LIST",
    "CLIENT|NO-EVICT",
    "CLIENT|NO-TOUCH",
    "CLIENT|PAUSE",
    "CLIENT|REPLY",
    "CLIENT|SETINFO",
    "CLIENT|SETNAME",
    "CLIENT|TRACKING",
    "CLIENT|TRACKINGINFO",
    "CLIENT|UNBLOCK",
    "CLIENT|UNPAUSE",
];

/// Notes which subcommand of CLIENT the session has asked for, as Redis tells it.
pub(super) fn note(session: &mut Session, arguments: &[&[u8]]) {
    let is_it = |name: &&&str| arguments.get(1).is_some_and(|word| name.as_bytes()[7..].eq_ignore_ascii_case(word));
    if let Some(name) = SUBCOMMANDS.iter().find(is_it) {
        session.last_command = name;
    }
}

/// Carries out a CLIENT that is about more than the connection it came on; `None` for any other.
pub(super) fn handle(
    call: &Call<'_>,
    session: &mut Session,
    request: Arguments<'_>,
    arguments: &[&[u8]],
) -> Option<Handled> {
    if let Some(redirect) = Redirect::parse(&request) {
        return Some(match tracking::begin(call, session, &arguments[2..]) {
            Ok(_) => ask(call, session, Question::Redirect(redirect)),
            Err(handled) => handled,
        });
    }
    Some(match errand(arguments.get(1)?)? {
        Errand::Help if arguments.len() > 2 => call.reject(session, &ReplyError::wrong_arity("client|help")),
        Errand::Help => call.say(session, Outcome::Ok, help::append_help),
        Errand::Upstream => forward::forward(call, session, request),
        Errand::Others(who) => match question(who, session.id, &arguments[2..]) {
            Ok(question) => ask(call, session, question),
            Err(error) => call.reject(session, &error),
        },
    })
}

/// What becomes of such a CLIENT between MULTI and EXEC; `None` for any other.
pub(super) fn queue(
    call: &Call<'_>,
    session: &mut Session,
    request: Arguments<'_>,
    arguments: &[&[u8]],
) -> Option<Handled> {
    Some(match errand(arguments.get(1)?)? {
        Errand::Upstream | Errand::Help => transaction::queue_one(call, session, request),
        // It would have to be carried out in the middle of EXEC, which is the upstream's.
        Errand::Others(who) => {
            let text = format!("ERR CLIENT {} is not supported by fca-proxy inside MULTI", who.name());
            call.reject(session, &ReplyError::new(text))
        }
    })
}

fn errand(subcommand: &[u8]) -> Option<Errand> {
    const ERRANDS: [(&[u8], Errand); 6] = [
        (b"LIST", Errand::Others(Who::List)),
        (b"KILL", Errand::Others(Who::Kill)),
        (b"UNBLOCK", Errand::Others(Who::Unblock)),
        (b"PAUSE", Errand::Upstream),
        (b"UNPAUSE", Errand::Upstream),
        (b"HELP", Errand::Help),
    ];
    ERRANDS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(subcommand)).map(|(_, errand)| errand)
}

fn question(who: Who, asker: u64, rest: &[&[u8]]) -> Result<Question, ReplyError> {
    match who {
        Who::List => Selection::parse(rest).map(Question::List),
        Who::Kill => Filter::parse(rest, asker).map(|(filter, form)| Question::Kill { filter, form, asker }),
        Who::Unblock => Question::parse_unblock(rest),
    }
}

/// Asks all workers; nothing that the session sends overtakes the answer.
fn ask(call: &Call<'_>, session: &mut Session, question: Question) -> Handled {
    let is_judged = is_judged(call, session);
    let lane = match call.route {
        Route::Lane(lane, _) if is_judged && lane.accepts().is_ok() => Some(lane),
        _ if is_judged => return call.reject(session, &ReplyError::new(UNJUDGED)),
        _ => None,
    };
    let slot = session.open_gated();
    let inquiry = Inquiry {
        client: Rc::clone(call.client),
        slot,
        family: call.family,
        question: Arc::new(question),
        deadline: call.deadline,
        findings: Findings::default(),
    };
    match lane {
        Some(lane) => {
            let probe = inquiry.question.probe();
            let waiter = call.waiter(To::Slot(slot), inquiry);
            lane.push_with(call.deadline, waiter, &[], |out| encode::command(out, probe));
        }
        None => call.client.core.crew.ask(inquiry),
    }
    Handled::Done
}

const UNJUDGED: &str = "ERR upstream unreachable: it can't be asked whether this user may do this";

/// Whether the upstream has a say in what this session may do: it is logged in as a user of its own, or has yet to log
/// in. Any other does what the proxy's own user does.
fn is_judged(call: &Call<'_>, session: &Session) -> bool {
    match &*call.client.route.borrow() {
        Route::Lane(_, node) => session.login.is_some() || login::is_wanted(session, node),
        _ => false,
    }
}

impl Task for Inquiry {
    /// The upstream was asked to do the same to nobody: it has said whether this user may.
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        let frame = reply.frame;
        if frame.starts_with(b"-NOPERM") || frame.starts_with(b"-NOAUTH") {
            return turn.finish(frame, Outcome::Error);
        }
        if is_outage(frame) {
            return turn.finish_error(UNJUDGED);
        }
        turn.client.core.crew.ask(*self);
    }

    fn on_failure(self: Box<Self>, turn: Turn<'_>, failure: &Failure) {
        if let Some(turn) = turn.unless_refused(failure) {
            turn.finish_error(UNJUDGED);
        }
    }
}

/// Looks through the clients of one worker.
pub fn answer<'a>(question: &Question, clients: impl Iterator<Item = &'a Rc<Client>>) -> Findings {
    let (now, mut findings) = (clock::now(), Findings::default());
    // One whose connection is over is a client no longer, though its task may still be winding up.
    for client in clients.filter(|client| !client.broken.get()) {
        let session = &mut *client.session.borrow_mut();
        match question {
            Question::List(selection) => {
                if let Some(place) = selection.place(&seen(session, now)) {
                    findings.lines.push((place, client_line(client, session, now)));
                }
            }
            Question::Kill { filter, asker, .. } => {
                if filter.matches(&seen(session, now)) {
                    findings.killed += 1;
                    kill(client, session, *asker);
                }
            }
            Question::Unblock { id, .. } => {
                if session.id == *id && session.blocks {
                    findings.blocked_in = client.exclusive.borrow().as_ref().and_then(|lane| lane.server_id());
                }
            }
            Question::Redirect(redirect) => {
                if session.id == redirect.id {
                    findings.redirect = Some(tracking::become_target(client, session));
                }
            }
        }
    }
    findings
}

fn seen(session: &Session, now: Instant) -> Seen {
    Seen {
        id: session.id,
        peer: session.peer,
        local: session.local,
        kind: client_line::kind(session),
        user: client_line::user(session),
        age: now.saturating_duration_since(session.connected_at),
    }
}

/// It is known which connection the invalidations of who asks are to go to, or that there is none.
fn redirect_to(turn: Turn<'_>, redirect: &Redirect, target: Option<Target>) {
    let exclusive = turn.client.exclusive.borrow().clone();
    match (target, exclusive.filter(|lane| lane.accepts().is_ok())) {
        (None, _) => turn.finish(b"-ERR The client ID you want redirect to does not exist\r\n", Outcome::Error),
        (Some(Target::Is(number)), Some(lane)) => {
            let number = number.to_string();
            let words = redirect.words.iter().enumerate();
            let words: Vec<&[u8]> =
                words.map(|(place, word)| if place == redirect.place { number.as_bytes() } else { word }).collect();
            let deadline = turn.deadline;
            let waiter = turn.into_waiter(Tracking { on: redirect.on, redirect: Some(redirect.id) });
            lane.push_with(deadline, waiter, &[], |out| encode::command(out, &words));
        }
        _ => pubsub::fail(turn, &Failure::Unsent),
    }
}

/// Closes a client at once, or, if it is the one who asked for it, once it has its answer.
fn kill(client: &Client, session: &mut Session, asker: u64) {
    if session.id == asker {
        session.ending = Ending::AfterReplies;
    } else {
        client.broken.set(true);
    }
    client.wake();
}

impl Inquiry {
    /// What is asked.
    pub fn question(&self) -> &Arc<Question> {
        &self.question
    }

    /// Until when it is to be answered.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// One more worker has answered.
    pub fn found(&mut self, findings: Findings) {
        self.findings.lines.extend(findings.lines);
        self.findings.killed += findings.killed;
        self.findings.blocked_in = self.findings.blocked_in.or(findings.blocked_in);
        self.findings.redirect = findings.redirect.or(self.findings.redirect);
    }

    /// Whether it is to be asked again in a moment, since who was asked could not say yet.
    pub fn is_unsettled(&self) -> bool {
        self.findings.redirect == Some(Target::Awaited)
    }

    /// Answers the client. `heard_all` unless a worker did not answer in time.
    pub fn conclude(self, heard_all: bool) {
        let client = Rc::clone(&self.client);
        if !client.broken.get() {
            self.reply(&mut client.session.borrow_mut(), heard_all);
            client.core.flush_dirty();
        }
    }

    fn reply(self, session: &mut Session, heard_all: bool) {
        let Self { client, slot, family, question, deadline, mut findings } = self;
        let protocol = session.protocol;
        let now = clock::now();
        let took = client.took(deadline, now);
        let turn = Turn { client: &client, session, to: To::Slot(slot), family, deadline, took, now };
        let mut frame = Vec::new();
        let outcome = match &*question {
            // Half a list, or a count of some, would be taken for the whole; and a client that was not found may be on the
            // worker that was not heard.
            _ if !heard_all && findings.redirect.is_none() && findings.blocked_in.is_none() => {
                encode::error(&mut frame, "ERR not all of fca-proxy's workers answered in time (upstream.timeout)");
                Outcome::Error
            }
            Question::Redirect(redirect) => return redirect_to(turn, redirect, findings.redirect),
            Question::List(_) => {
                findings.lines.sort_unstable();
                let text: String = findings.lines.into_iter().map(|(_, line)| line).collect();
                match protocol {
                    Protocol::Resp2 => encode::bulk(&mut frame, text.as_bytes()),
                    Protocol::Resp3 => encode::verbatim(&mut frame, text.as_bytes()),
                }
                Outcome::Ok
            }
            Question::Kill { form: KillForm::Address, .. } if findings.killed == 0 => {
                encode::error(&mut frame, "ERR No such client");
                Outcome::Error
            }
            Question::Kill { form: KillForm::Address, .. } => {
                encode::simple(&mut frame, "OK");
                Outcome::Ok
            }
            Question::Kill { form: KillForm::Filters, .. } => {
                encode::integer(&mut frame, i64::try_from(findings.killed).unwrap_or(i64::MAX));
                Outcome::Ok
            }
            Question::Unblock { mode, .. } => {
                // On the asker's own lane: whether it may do this is for the server to say.
                if let (Some(id), Route::Lane(lane, _)) = (findings.blocked_in, &*client.route.borrow())
                    && lane.accepts().is_ok()
                {
                    return lane.push_with(deadline, turn.into_waiter(Step::Forward), &[], |out| {
                        encode::command(out, &[b"CLIENT", b"UNBLOCK", id.to_string().as_bytes(), mode.word()]);
                    });
                }
                encode::integer(&mut frame, 0);
                Outcome::Ok
            }
        };
        turn.finish(&frame, outcome);
    }
}
