//! What the near cache is told: which commands may have changed what it has, or shown it to their client.
//!
//! Guarantees: whoever's command is answered, the near cache has heard of it before the client does; of a command whose
//! keys are not known, that it may have changed any. Leaves what follows from it to `near_cache`.

use super::Client;
use super::call::{Call, Handled};
use super::forward;
use super::step::{Reply, Task, Turn, Waiter};
use crate::command::{Command, Effect, Flags, KeyPositions};
use crate::near_cache::{KeyHash, NearCache, Written};
use crate::resp::{Arguments, elements, payload};
use crate::session::Session;
use crate::upstream::{Failure, Lane};

/// Within how many bytes a push of invalidations says that it is one.
const PUSH_HEAD_BYTES: usize = 64;

/// Sends a command whose reply the near cache has to hear of.
pub(super) fn send(
    call: &Call<'_>,
    session: &mut Session,
    lane: &Lane<Waiter>,
    request: Arguments<'_>,
    task: Tell,
) -> Handled {
    if lane.accepts().is_ok() {
        session.untold += 1;
    }
    forward::send(call, session, lane, request, task)
}

/// A forwarded command whose reply is the client's only once the near cache has heard of it.
pub(super) enum Tell {
    /// It may have changed this.
    Change(Written),
    /// It shows the values of these keys, as far as they are tracked (MGET).
    Values(Box<[Option<KeyHash>]>),
    /// It shows how long this key has still to live (TTL and its kin).
    Life(KeyHash),
}

/// What TTL and its kin say of a key that is not there.
const GONE: &[u8] = b":-2\r\n";

impl Task for Tell {
    fn on_reply(self: Box<Self>, turn: Turn<'_>, reply: Reply<'_>) {
        turn.session.told();
        if let Some(near) = &turn.client.core.near_cache {
            self.tell(near, reply.frame);
        }
        turn.finish_forwarded(reply.frame);
    }

    fn on_failure(self: Box<Self>, turn: Turn<'_>, failure: &Failure) {
        // It may have been carried out, and is not acknowledged: the upstream says whether its keys have changed.
        turn.session.told();
        turn.finish_failed(failure);
    }

    fn takes_parts(&self, _: &Client, _: usize) -> bool {
        true
    }

    fn on_first_part(&self, client: &Client) {
        // Of what comes in pieces nothing is looked into.
        match self {
            Self::Change(changed) => written(client, changed),
            Self::Values(keys) => written(client, &Written::any(keys.iter().flatten().map(|key| Written::One(*key)))),
            Self::Life(key) => written(client, &Written::One(*key)),
        }
    }

    fn on_last_part(&self, session: &mut Session) {
        session.told();
    }
}

impl Tell {
    fn tell(&self, near: &NearCache, frame: &[u8]) {
        match self {
            Self::Change(changed) => near.written(changed),
            Self::Values(keys) => {
                let values = elements(frame).filter(|values| values.len() == keys.len()).unwrap_or_default();
                for (place, key) in keys.iter().enumerate() {
                    if let Some(key) = key {
                        near.shown(*key, values.get(place).copied().unwrap_or_default());
                    }
                }
            }
            Self::Life(key) if frame == GONE => near.written(&Written::One(*key)),
            Self::Life(_) => {}
        }
    }
}

/// What a command of this effect may change.
pub(super) fn written_by(client: &Client, effect: Effect, request: Arguments<'_>) -> Written {
    match (&client.core.near_cache, effect) {
        (Some(near), Effect::Keys | Effect::Get | Effect::Mget | Effect::Life) => {
            near.written_by(request.iter().skip(1))
        }
        (Some(_), Effect::AnyKeys) => Written::Unknown,
        (Some(_), Effect::AllKeys) => Written::All,
        _ => Written::Nothing,
    }
}

/// The same of a request of which `begun` is there: what else it names is not known, but where its only key has come.
pub(super) fn written_by_part(client: &Client, command: Option<&Command>, begun: Arguments<'_>) -> Written {
    let effect = command.map_or(Effect::AnyKeys, |command| command.effect);
    match (client.core.near_cache.is_some() && effect != Effect::None, command) {
        (false, _) => Written::Nothing,
        (true, Some(Command { keys: KeyPositions { first: 1, last: 1, .. }, flags, .. }))
            if begun.len() > 1 && !flags.contains(Flags::MOVABLE_KEYS) =>
        {
            written_by(client, effect, begun)
        }
        (true, _) => Written::Unknown,
    }
}

/// What is told of an MGET, if any of its keys is tracked.
pub(super) fn shown_by(near: &NearCache, request: Arguments<'_>) -> Option<Tell> {
    let mut keys = request.iter().skip(1);
    if !keys.any(|key| near.tracks(key)) {
        return None;
    }
    Some(Tell::Values(request.iter().skip(1).map(|key| near.tracks(key).then(|| near.hash(key))).collect()))
}

/// What writing an entry under this key, and removing its other spelling, changes.
pub(super) fn written_entry(client: &Client, key: &[u8], twin: Option<&[u8]>) -> Written {
    match (&client.core.near_cache, twin) {
        (None, _) => Written::Nothing,
        (Some(near), None) => Written::One(near.hash(key)),
        (Some(near), Some(twin)) => Written::Two(near.hash(key), near.hash(twin)),
    }
}

/// Tells the near cache, if there is one, that there is no such key.
pub(super) fn gone(client: &Client, key: &[u8]) {
    if let Some(near) = &client.core.near_cache {
        near.invalidate(key);
    }
}

/// Tells the near cache, if there is one, what was written.
pub(super) fn written(client: &Client, written: &Written) {
    if let Some(near) = &client.core.near_cache {
        near.written(written);
    }
}

/// A client that tracks keys itself is about to be told what the link may not have said yet: it would read the old value
/// over another connection, and keep that. In RESP2 it is told so by a message
/// (<https://redis.io/docs/latest/develop/reference/client-side-caching/>, "two connections mode").
pub(super) fn on_push(client: &Client, frame: &[u8]) {
    let Some(near) = &client.core.near_cache else { return };
    let head = &frame[..frame.len().min(PUSH_HEAD_BYTES)];
    if memchr::memmem::find(head, b"invalidate").is_none() {
        return;
    }
    let Some(what) = elements(frame).and_then(|parts| parts.last().copied()) else { return };
    if let Some(keys) = elements(what) {
        keys.into_iter().filter_map(payload).for_each(|key| near.invalidate(key));
    } else if matches!(what, b"_\r\n" | b"$-1\r\n" | b"*-1\r\n") {
        near.invalidate_all();
    }
}
