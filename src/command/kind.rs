//! What the proxy does with each command: answers it, forwards it, or enters a mode for it.
//!
//! Guarantees that every command has exactly one kind and one family, decided by the compiler from the table's facts
//! and the short lists below. Leaves to others how a kind is carried out, and the subcommands of containers.

use super::facts::Facts;
use super::{Categories, Command, Flags, fca};
use crate::metrics::Family;

/// What the proxy does with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sent to the upstream as it came; any shared connection will do.
    Forward,
    /// One of the proxy's own commands.
    Fca(Fca),
    /// Answered here, because it is about the client's connection to the proxy, or about the proxy.
    Local(Local),
    /// Begins, ends or guards a transaction: the client holds an upstream connection of its own meanwhile.
    Transaction(Transaction),
    /// May wait in the server ([`super::blocks`] decides by the arguments) and would stall a shared connection.
    Blocking,
    /// Subscribes or unsubscribes: what the connection hears from then on is pushed.
    PubSub,
    /// `MONITOR`: turns the connection into a stream of the server's requests.
    Monitor,
    /// An operator's, which may stop the server or stall it: sent only where the configuration says so.
    Admin,
    /// `SCRIPT`: sent, but for `SCRIPT DEBUG`, after which a connection is of no use to anyone else.
    Script,
    /// A cluster client's, which sets a state of the connection: answered as a server without cluster mode does.
    ClusterClient,
    /// Speaks as a replica.
    Refused,
}

/// What a command does with the values of keys, as far as the near cache is concerned. To show a value in another way
/// than `GET` does is as much as to change it: who was shown the newer one is not to be given the older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// It is `GET`.
    Get,
    /// It is `MGET`.
    Mget,
    /// It asks how long a key has still to live, and may be told that it is gone.
    Life,
    /// It may change or show the values of keys that stand among its arguments.
    Keys,
    /// It may change or show the values of any keys.
    AnyKeys,
    /// It changes those of a whole database.
    AllKeys,
}

/// The proxy's own commands, in the order in which they are listed to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fca {
    /// `FCA.GET`
    Get,
    /// `FCA.SET`
    Set,
    /// `FCA.MGET`
    Mget,
    /// `FCA.MSET`
    Mset,
    /// `FCA.DEL`
    Del,
    /// `FCA.TTL`
    Ttl,
    /// `FCA.PTTL`
    Pttl,
    /// `FCA.KEY`
    Key,
    /// `FCA.FLUSH`
    Flush,
    /// `FCA.AVAILABLE`
    Available,
    /// `FCA.STATS`
    Stats,
    /// `FCA.HELP`
    Help,
}

impl Fca {
    /// What the table says of this command.
    #[inline]
    pub fn command(self) -> &'static Command {
        // The table's last rows stand in the order of the variants.
        &fca()[self as usize]
    }
}

/// Redis's commands that the proxy answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// `PING`
    Ping,
    /// `ECHO`
    Echo,
    /// `HELLO`
    Hello,
    /// `AUTH`
    Auth,
    /// `SELECT`
    Select,
    /// `CLIENT` and its subcommands
    Client,
    /// `COMMAND` and its subcommands
    Command,
    /// `INFO`
    Info,
    /// `QUIT`
    Quit,
    /// `RESET`
    Reset,
}

/// Redis's commands of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// `MULTI`
    Multi,
    /// `EXEC`
    Exec,
    /// `DISCARD`
    Discard,
    /// `WATCH`
    Watch,
    /// `UNWATCH`
    Unwatch,
}

/// What is not forwarded, by name. A command that may block says so in its flags, but for `WAIT`, which does not.
const KINDS: [(&str, Kind); 33] = [
    ("PING", Kind::Local(Local::Ping)),
    ("ECHO", Kind::Local(Local::Echo)),
    ("HELLO", Kind::Local(Local::Hello)),
    ("AUTH", Kind::Local(Local::Auth)),
    ("SELECT", Kind::Local(Local::Select)),
    ("CLIENT", Kind::Local(Local::Client)),
    ("COMMAND", Kind::Local(Local::Command)),
    ("INFO", Kind::Local(Local::Info)),
    ("QUIT", Kind::Local(Local::Quit)),
    ("RESET", Kind::Local(Local::Reset)),
    ("MULTI", Kind::Transaction(Transaction::Multi)),
    ("EXEC", Kind::Transaction(Transaction::Exec)),
    ("DISCARD", Kind::Transaction(Transaction::Discard)),
    ("WATCH", Kind::Transaction(Transaction::Watch)),
    ("UNWATCH", Kind::Transaction(Transaction::Unwatch)),
    ("WAIT", Kind::Blocking),
    ("SUBSCRIBE", Kind::PubSub),
    ("UNSUBSCRIBE", Kind::PubSub),
    ("PSUBSCRIBE", Kind::PubSub),
    ("PUNSUBSCRIBE", Kind::PubSub),
    ("SSUBSCRIBE", Kind::PubSub),
    ("SUNSUBSCRIBE", Kind::PubSub),
    ("MONITOR", Kind::Monitor),
    ("SYNC", Kind::Refused),
    ("PSYNC", Kind::Refused),
    ("REPLCONF", Kind::Refused),
    ("ASKING", Kind::ClusterClient),
    ("READONLY", Kind::ClusterClient),
    ("READWRITE", Kind::ClusterClient),
    ("DEBUG", Kind::Admin),
    ("FAILOVER", Kind::Admin),
    ("SHUTDOWN", Kind::Admin),
    ("SCRIPT", Kind::Script),
];

/// Containers, of which Redis's table says nothing but that they are slow.
const CONTAINER_FAMILIES: [(&str, Family); 14] = [
    ("ACL", Family::Admin),
    ("CLIENT", Family::Connection),
    ("CLUSTER", Family::Admin),
    ("CONFIG", Family::Admin),
    ("FUNCTION", Family::Script),
    ("LATENCY", Family::Admin),
    ("MEMORY", Family::Admin),
    ("MODULE", Family::Admin),
    ("OBJECT", Family::Read),
    ("PUBSUB", Family::PubSub),
    ("SCRIPT", Family::Script),
    ("SLOWLOG", Family::Admin),
    ("XGROUP", Family::Write),
    ("XINFO", Family::Read),
];

/// The kind of one of Redis's own commands.
pub(super) const fn kind_of(facts: &Facts) -> Kind {
    let mut index = 0;
    while index < KINDS.len() {
        if same(KINDS[index].0, facts.name) {
            return KINDS[index].1;
        }
        index += 1;
    }
    if facts.flags.contains(Flags::BLOCKING) { Kind::Blocking } else { Kind::Forward }
}

/// Commands that change all of a database at once. SWAPDB does so without a word to those who track (Redis 7.0).
const ABOUT_ALL_KEYS: [&str; 3] = ["FLUSHALL", "FLUSHDB", "SWAPDB"];

/// Commands that are about keys which do not stand among their arguments: what a script names, what a pattern makes of
/// elements.
const ABOUT_ANY_KEYS: [&str; 11] = [
    "EVAL",
    "EVALSHA",
    "FCALL",
    "EVAL_RO",
    "EVALSHA_RO",
    "FCALL_RO",
    "SORT",
    "SORT_RO",
    "DEBUG",
    "REPLICAOF",
    "SLAVEOF",
];

/// Commands that name a key and tell nothing of its value, unless that it has none.
const ABOUT_LIFE: [&str; 4] = ["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"];

/// What one of Redis's own commands does with values.
pub(super) const fn effect_of(facts: &Facts) -> Effect {
    let names_keys = facts.keys.first > 0 || facts.flags.contains(Flags::MOVABLE_KEYS);
    let reads = facts.flags.contains(Flags::READONLY) && names_keys;
    if contains(&ABOUT_ALL_KEYS, facts.name) {
        Effect::AllKeys
    } else if contains(&ABOUT_ANY_KEYS, facts.name) {
        Effect::AnyKeys
    } else if same(facts.name, "GET") {
        Effect::Get
    } else if same(facts.name, "MGET") {
        Effect::Mget
    } else if contains(&ABOUT_LIFE, facts.name) {
        Effect::Life
    } else if facts.flags.contains(Flags::WRITE) || reads {
        Effect::Keys
    } else {
        Effect::None
    }
}

const fn contains(names: &[&str], name: &str) -> bool {
    let mut index = 0;
    while index < names.len() {
        if same(names[index], name) {
            return true;
        }
        index += 1;
    }
    false
}

/// The family of a command.
pub(super) const fn family_of(facts: &Facts, kind: Kind) -> Family {
    match kind {
        Kind::Fca(Fca::Get) => return Family::FcaGet,
        Kind::Fca(Fca::Set) => return Family::FcaSet,
        Kind::Fca(Fca::Mget) => return Family::FcaMget,
        Kind::Fca(Fca::Mset) => return Family::FcaMset,
        Kind::Fca(Fca::Del) => return Family::FcaDel,
        Kind::Fca(_) => return Family::FcaOther,
        Kind::Transaction(_) => return Family::Transaction,
        Kind::Blocking => return Family::Blocking,
        _ => {}
    }
    let mut index = 0;
    while index < CONTAINER_FAMILIES.len() {
        if same(CONTAINER_FAMILIES[index].0, facts.name) {
            return CONTAINER_FAMILIES[index].1;
        }
        index += 1;
    }
    let Facts { categories, flags, .. } = facts;
    // From the particular to the general: EVAL_RO is a script before it is a read, FLUSHALL a write before it is
    // dangerous.
    if categories.contains(Categories::PUBSUB) {
        Family::PubSub
    } else if categories.contains(Categories::SCRIPTING) {
        Family::Script
    } else if categories.contains(Categories::CONNECTION) {
        Family::Connection
    } else if flags.contains(Flags::WRITE) {
        Family::Write
    } else if flags.contains(Flags::ADMIN) || categories.contains(Categories::ADMIN) {
        Family::Admin
    } else if flags.contains(Flags::READONLY) {
        Family::Read
    } else if categories.contains(Categories::DANGEROUS) {
        Family::Admin
    } else {
        Family::Other
    }
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
