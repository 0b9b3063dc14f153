//! What `COMMAND` says of the FCA family, in the form of the rows that Redis's own commands have.
//!
//! Key positions are 0 throughout: the key of an entry is derived and stands nowhere among the arguments, and a client
//! library that routes by keys has to send these commands to this proxy anyway. What is answered without the upstream
//! has the flags `loading` and `stale`, as PING's kin have in Redis.

use super::Fca;
use super::facts::{Facts, row};

/// The family, in the order in which `FCA.HELP` and `COMMAND` list it.
pub(super) const FACTS: [(Facts, Fca); 12] = [
    (row("FCA.GET", -3, "readonly fast", "read string fast", 0, 0, 0), Fca::Get),
    (row("FCA.SET", -4, "write denyoom", "write string slow", 0, 0, 0), Fca::Set),
    (row("FCA.MGET", -3, "readonly fast", "read string fast", 0, 0, 0), Fca::Mget),
    (row("FCA.MSET", -4, "write denyoom", "write string slow", 0, 0, 0), Fca::Mset),
    (row("FCA.DEL", -3, "write", "keyspace write slow", 0, 0, 0), Fca::Del),
    (row("FCA.TTL", -3, "readonly fast", "keyspace read fast", 0, 0, 0), Fca::Ttl),
    (row("FCA.PTTL", -3, "readonly fast", "keyspace read fast", 0, 0, 0), Fca::Pttl),
    (row("FCA.KEY", -3, "loading stale fast", "fast", 0, 0, 0), Fca::Key),
    (row("FCA.FLUSH", -2, "write", "keyspace write slow dangerous", 0, 0, 0), Fca::Flush),
    (row("FCA.AVAILABLE", 1, "loading stale fast", "fast connection", 0, 0, 0), Fca::Available),
    (row("FCA.STATS", -1, "loading stale", "slow", 0, 0, 0), Fca::Stats),
    (row("FCA.HELP", 1, "loading stale", "slow", 0, 0, 0), Fca::Help),
];
