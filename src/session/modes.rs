//! The stateful modes of one session: what keeps it on a connection of its own, and what changes its replies.
//!
//! Guarantees that a session is plain, and so may share a connection, exactly while no mode is on. Leaves transactions
//! to [`super::Transaction`], and what is sent upstream for a mode to the flow.

/// One way in which a session differs from a plain one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// It is subscribed to something, so it hears pushes.
    Subscribed = 1,
    /// It hears the server's requests (MONITOR).
    Monitor = 1 << 1,
    /// The server remembers what it reads (CLIENT TRACKING).
    Tracking = 1 << 2,
    /// Its reads don't count as use of a key (CLIENT NO-TOUCH).
    NoTouch = 1 << 3,
    /// Another session's invalidations are redirected to it.
    RedirectTarget = 1 << 4,
    /// It is answered nothing (CLIENT REPLY OFF).
    ReplyOff = 1 << 5,
    /// Its next request is answered nothing (CLIENT REPLY SKIP).
    ReplySkip = 1 << 6,
    /// It asked for tracking while the upstream was gone, so it was told nothing of what it reads.
    Untracked = 1 << 7,
}

/// The modes that live in the state of an upstream connection.
const OF_THE_CONNECTION: u8 = Mode::Subscribed as u8
    | Mode::Monitor as u8
    | Mode::Tracking as u8
    | Mode::NoTouch as u8
    | Mode::RedirectTarget as u8;

/// The modes in which the server speaks without being asked.
const STREAMS: u8 = Mode::Subscribed as u8 | Mode::Monitor as u8 | Mode::Tracking as u8 | Mode::RedirectTarget as u8;

/// The modes that a session is in.
#[derive(Clone, Debug, Default)]
pub struct Modes {
    on: u8,
    /// What it is subscribed to.
    pub subscriptions: Subscriptions,
    /// The session that its invalidations go to, by the number that CLIENT ID told it; none for itself.
    pub redirect: Option<u64>,
}

impl Modes {
    /// Whether this mode is on.
    #[inline]
    pub fn has(&self, mode: Mode) -> bool {
        self.on & mode as u8 != 0
    }

    /// Switches a mode.
    pub fn set(&mut self, mode: Mode, on: bool) {
        if on {
            self.on |= mode as u8;
        } else {
            self.on &= !(mode as u8);
        }
    }

    /// Whether none is on.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.on == 0
    }

    /// Whether one is on that lives in the state of the session's own upstream connection.
    #[inline]
    pub fn need_connection(&self) -> bool {
        self.on & OF_THE_CONNECTION != 0
    }

    /// Whether the client waits for what the server says unasked, so that it has to hear of a connection that is lost.
    pub fn hear_pushes(&self) -> bool {
        self.on & STREAMS != 0
    }

    /// The server confirmed a change of the subscriptions.
    pub fn confirm(&mut self, kind: Subscription, subscribes: bool, count: u64) {
        self.subscriptions.confirm(kind, subscribes, count);
        self.set(Mode::Subscribed, !self.subscriptions.is_empty());
    }
}

/// To what a client can subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// A channel (SUBSCRIBE).
    Channel,
    /// A pattern of channels' names (PSUBSCRIBE).
    Pattern,
    /// A channel of one shard (SSUBSCRIBE).
    Shard,
}

/// How many subscriptions a session has.
///
/// Redis tells the sum of channels and patterns with each confirmation, and the number of shard channels on its own
/// (`addReplyPubsubSubscribed` in `pubsub.c`): a confirmation that does not change the sum changed nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subscriptions {
    /// Channels.
    pub channels: u64,
    /// Patterns.
    pub patterns: u64,
    /// Shard channels.
    pub shards: u64,
}

impl Subscriptions {
    /// How many of this kind.
    pub fn of(&self, kind: Subscription) -> u64 {
        match kind {
            Subscription::Channel => self.channels,
            Subscription::Pattern => self.patterns,
            Subscription::Shard => self.shards,
        }
    }

    fn is_empty(&self) -> bool {
        // Not their sum: the upstream may count as high as it likes.
        [self.channels, self.patterns, self.shards] == [0; 3]
    }

    fn confirm(&mut self, kind: Subscription, subscribes: bool, count: u64) {
        match (kind, subscribes) {
            (Subscription::Shard, _) => self.shards = count,
            (Subscription::Channel, true) => self.channels = count.saturating_sub(self.patterns),
            (Subscription::Channel, false) => self.channels = count.saturating_sub(self.patterns).min(self.channels),
            (Subscription::Pattern, true) => self.patterns = count.saturating_sub(self.channels),
            (Subscription::Pattern, false) => self.patterns = count.saturating_sub(self.channels).min(self.patterns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_subscribed_until_the_server_counts_nothing_more() {
        let mut modes = Modes::default();
        assert!(modes.is_plain());
        modes.confirm(Subscription::Channel, true, 1);
        modes.confirm(Subscription::Channel, true, 1);
        modes.confirm(Subscription::Pattern, true, 2);
        modes.confirm(Subscription::Shard, true, 1);
        assert_eq!(modes.subscriptions, Subscriptions { channels: 1, patterns: 1, shards: 1 });
        modes.confirm(Subscription::Channel, false, 1);
        modes.confirm(Subscription::Channel, false, 1);
        modes.confirm(Subscription::Shard, false, 0);
        assert!(modes.has(Mode::Subscribed) && modes.need_connection());
        modes.confirm(Subscription::Pattern, false, 0);
        assert!(modes.is_plain());
    }

    #[test]
    fn an_upstream_may_count_as_high_as_it_likes() {
        let mut modes = Modes::default();
        for kind in [Subscription::Channel, Subscription::Shard, Subscription::Pattern] {
            modes.confirm(kind, true, u64::MAX);
        }
        modes.confirm(Subscription::Shard, true, 1);
        assert!(modes.has(Mode::Subscribed));
    }

    #[test]
    fn what_changes_replies_only_needs_no_connection() {
        let mut modes = Modes::default();
        modes.set(Mode::ReplyOff, true);
        assert!(!modes.is_plain() && !modes.need_connection() && !modes.hear_pushes());
        modes.set(Mode::NoTouch, true);
        assert!(modes.need_connection() && !modes.hear_pushes());
        modes.set(Mode::Tracking, true);
        assert!(modes.hear_pushes());
    }
}
