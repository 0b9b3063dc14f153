//! The closed sets of label values.
//!
//! Guarantees that a label of these has no other values than those written here, so that every series exists from the
//! start and none can be made by a client. The one open label, the namespace, is bounded in [`super::namespaces`].

/// Declares an enum whose values are the label's values: `ALL` of them, how many, and each one's text.
macro_rules! closed_set {
    ($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $value:ident = $label:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$meaning])* $value,)+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];
            /// How many values there are.
            pub(super) const COUNT: usize = Self::ALL.len();

            /// The label's value in the exposition.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$value => $label),+
                }
            }
        }
    };
}

closed_set! {
    /// What kind of command a request was.
    Family {
        /// `FCA.GET`.
        FcaGet = "fca_get",
        /// `FCA.SET`.
        FcaSet = "fca_set",
        /// `FCA.MGET`.
        FcaMget = "fca_mget",
        /// `FCA.MSET`.
        FcaMset = "fca_mset",
        /// `FCA.DEL`.
        FcaDel = "fca_del",
        /// The rest of the FCA family.
        FcaOther = "fca_other",
        /// A forwarded command that only reads.
        Read = "read",
        /// A forwarded command that writes.
        Write = "write",
        /// MULTI, EXEC, DISCARD, WATCH, UNWATCH, and what is queued between them.
        Transaction = "transaction",
        /// A command that may wait for data. Its time is mostly the waiting that the client asked for.
        Blocking = "blocking",
        /// Publishing and subscribing.
        PubSub = "pubsub",
        /// Scripts and functions.
        Script = "script",
        /// What concerns the connection and is answered here: PING, HELLO, AUTH, SELECT, CLIENT, …
        Connection = "connection",
        /// What concerns the server: INFO, CONFIG, COMMAND, MONITOR, …
        Admin = "admin",
        /// Forwarded, and of no known kind: a module's command, one from a newer Redis.
        Other = "other",
    }
}

closed_set! {
    /// How a request ended.
    Outcome {
        /// With its answer.
        Ok = "ok",
        /// With an error reply of the upstream.
        Error = "error",
        /// With nil (or an error, where the configuration says so), since the upstream did not answer.
        Unreachable = "unreachable",
        /// Refused here: arity, namespace, limits, not supported.
        Rejected = "rejected",
    }
}

closed_set! {
    /// How the look-up of one query ended.
    GetResult {
        /// The upstream had the entry.
        Hit = "hit",
        /// The near cache had it.
        NearHit = "near_hit",
        /// There is no such entry.
        Miss = "miss",
        /// Nil, since the upstream did not answer.
        Unreachable = "unreachable",
        /// Nil, since the cache or the namespace is switched off.
        Disabled = "disabled",
        /// Nil, since the upstream answered with an error.
        Error = "error",
    }
}

closed_set! {
    /// How the storing of one value ended.
    SetResult {
        /// It is stored.
        Stored = "stored",
        /// The upstream refused it (out of memory, read only).
        Refused = "refused",
        /// Nobody knows or not stored, since the upstream did not answer.
        Unreachable = "unreachable",
        /// Not stored, since the cache or the namespace is switched off.
        Disabled = "disabled",
        /// Not stored for another reason.
        Error = "error",
    }
}

closed_set! {
    /// A bound of the configuration, counted each time that it is hit.
    Limit {
        /// A connection past `limits.clients_max` was told so and closed.
        Clients = "clients",
        /// A request had too many arguments.
        RequestArgs = "request_args",
        /// A request had too many bytes.
        RequestBytes = "request_bytes",
        /// A query was longer than `limits.query_bytes_max`.
        QueryBytes = "query_bytes",
        /// A value was longer than `limits.value_bytes_max`.
        ValueBytes = "value_bytes",
        /// A client had so many requests in flight that it was not read from for a while.
        Pipeline = "pipeline",
        /// So many bytes waited for a slow reader that its requests were not read for a while.
        OutputPause = "output_pause",
        /// So many bytes waited for a slow reader that its connection was closed.
        OutputBytes = "output_bytes",
        /// A client was silent for too long.
        IdleTimeout = "idle_timeout",
        /// A client took too long over one frame.
        FrameTimeout = "frame_timeout",
        /// A client took nothing of what waited for it for too long.
        WriteTimeout = "write_timeout",
        /// A connection to the upstream was wanted, and as many as allowed were open.
        UpstreamConnections = "upstream_connections",
        /// So many bytes waited for the upstream that a request was not sent.
        UpstreamQueueBytes = "upstream_queue_bytes",
        /// A reply was too large for the place where it had to be held whole.
        ReplyBytes = "reply_bytes",
        /// A frame was nested too deeply for what had to be understood of it.
        Depth = "depth",
        /// A longer time to live was asked for than the namespace's `ttl_max`.
        TtlMax = "ttl_max",
        /// The embedded store had no room for a value and refused it. What it drops to make room, and what the near cache
        /// does, are counters of their own.
        EmbeddedMemory = "embedded_memory",
    }
}
