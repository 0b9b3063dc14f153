//! Every metric of the program: its name, its help, its type, its labels, and where its values come from.
//!
//! Guarantees that nothing is exposed which does not stand here; the rows are the exposition's order. Names follow
//! Prometheus's rules (<https://prometheus.io/docs/practices/naming/>): base units, a counter ends in `_total`.
//! A new plain counter or gauge is one more row in [`Counter`] or [`Gauge`], and nothing else.

use super::observed::Observed;

/// One metric family of the exposition.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, with the unit or `_total` last.
    pub name: &'static str,
    /// One sentence for people.
    pub help: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The names of its labels, without the `le` of a histogram.
    pub labels: &'static [&'static str],
    /// Where its values come from.
    pub(super) values: Values,
}

/// The types of metrics in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations into buckets.
    Histogram,
}

impl Kind {
    /// The word behind `# TYPE <name>`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Where the values of a metric come from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values {
    BuildInfo,
    StartTime,
    Uptime,
    Requests,
    RequestTimes,
    RoundTrips,
    Gets,
    Sets,
    DeletedEntries,
    CappedTtls,
    Limits,
    Counter(Counter),
    Gauge(Gauge),
    ObservedCounter(fn(&Observed) -> u64),
    ObservedGauge(fn(&Observed) -> u64),
}

/// Declares the metrics that have one value and no label: a row is variant, name and help.
macro_rules! plain_metrics {
    ($(#[$about:meta])* $name:ident, $kind:ident { $($metric:ident = $exposed:literal, $help:literal;)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = $help] $metric,)+
        }

        impl $name {
            /// How many there are.
            pub(super) const COUNT: usize = Self::ROWS.len();

            const ROWS: &'static [Metric] = &[$(Metric {
                name: $exposed,
                help: $help,
                kind: Kind::$kind,
                labels: &[],
                values: Values::$name(Self::$metric),
            }),+];
        }
    };
}

plain_metrics! {
    /// The counters without labels.
    Counter, Counter {
        ConnectionsAccepted = "fca_proxy_connections_accepted_total", "Client connections accepted.";
        ConnectionsRejected = "fca_proxy_connections_rejected_total", "Client connections turned away.";
        BytesIn = "fca_proxy_client_received_bytes_total", "Bytes received from clients.";
        BytesOut = "fca_proxy_client_sent_bytes_total", "Bytes sent to clients.";
        ProtocolErrors = "fca_proxy_protocol_errors_total", "Client connections closed for bytes that are no request.";
        SessionPanics = "fca_proxy_session_panics_total", "Client connections lost to a bug of the proxy.";
        UpstreamBytesIn = "fca_proxy_upstream_received_bytes_total", "Bytes received from the upstream.";
        UpstreamBytesOut = "fca_proxy_upstream_sent_bytes_total", "Bytes sent to the upstream.";
        UpstreamConnects = "fca_proxy_upstream_connects_total", "Connections to the upstream that came up.";
        UpstreamReconnects = "fca_proxy_upstream_reconnects_total",
            "Connections to the upstream that came up in place of one that had ended.";
        UpstreamConnectFailures = "fca_proxy_upstream_connect_failures_total",
            "Attempts to connect to the upstream that failed.";
        UpstreamTimeouts = "fca_proxy_upstream_timeouts_total", "Commands that the upstream did not answer in time; a request may be several.";
        UpstreamLateReplies = "fca_proxy_upstream_late_replies_total",
            "Replies of the upstream that came too late and were dropped.";
        UpstreamDeadConnections = "fca_proxy_upstream_dead_connections_total",
            "Connections to the upstream closed for their silence.";
        UpstreamRetiredLanes = "fca_proxy_upstream_retired_connections_total",
            "Shared connections to the upstream replaced because a large reply to one client held up the others.";
        UpstreamReplyMismatches = "fca_proxy_upstream_reply_mismatches_total",
            "Connections to the upstream closed because a reply had no request, or was none.";
        BreakerOpened = "fca_proxy_upstream_breaker_opened_total", "Times that the upstream was found unreachable.";
        Flushes = "fca_proxy_flushes_total", "Flushes of a namespace that ran to their end.";
        FlushedKeys = "fca_proxy_flushed_keys_total", "Keys removed by flushes.";
        NearHits = "fca_proxy_near_cache_hits_total", "Reads of any command answered by the near cache.";
        NearFills = "fca_proxy_near_cache_fills_total", "Values taken into the near cache.";
        NearFillsRefused = "fca_proxy_near_cache_fills_refused_total",
            "Values kept out of the near cache, as they could have been stale or were too large.";
        NearInvalidations = "fca_proxy_near_cache_invalidations_total",
            "Keys that the upstream said had changed.";
        NearFlushes = "fca_proxy_near_cache_flushes_total",
            "Times that the near cache was emptied, since its link was lost or silent or the upstream was flushed.";
        ConfigReloads = "fca_proxy_config_reloads_total", "Reloads of the configuration that took effect.";
        ConfigReloadFailures = "fca_proxy_config_reload_failures_total",
            "Reloads of the configuration refused for its faults.";
    }
}

plain_metrics! {
    /// The gauges that workers count up and down.
    Gauge, Gauge {
        Clients = "fca_proxy_clients", "Client connections open.";
        UpstreamConnections = "fca_proxy_upstream_connections", "Connections to the upstream open.";
        UpstreamExclusive = "fca_proxy_upstream_exclusive_connections",
            "Connections to the upstream held by one client each, for a transaction, a subscription or the like.";
        UpstreamInFlight = "fca_proxy_upstream_requests_in_flight", "Requests that the upstream has yet to answer.";
    }
}

const ABOUT_PROCESS: &[Metric] = &[
    Metric {
        name: "fca_proxy_build_info",
        help: "Always 1; the labels say what is running.",
        kind: Kind::Gauge,
        labels: &["version", "revision"],
        values: Values::BuildInfo,
    },
    Metric {
        name: "fca_proxy_process_start_time_seconds",
        help: "When the process started, in seconds since 1970.",
        kind: Kind::Gauge,
        labels: &[],
        values: Values::StartTime,
    },
    Metric {
        name: "fca_proxy_uptime_seconds",
        help: "For how long the process has been running.",
        kind: Kind::Gauge,
        labels: &[],
        values: Values::Uptime,
    },
];

const ABOUT_REQUESTS: &[Metric] = &[
    Metric {
        name: "fca_proxy_requests_total",
        help: "Requests of clients, by kind of command and by how they ended.",
        kind: Kind::Counter,
        labels: &["family", "outcome"],
        values: Values::Requests,
    },
    Metric {
        name: "fca_proxy_request_duration_seconds",
        help: "Time from a request's arrival to its reply's being ready, by kind of command.",
        kind: Kind::Histogram,
        labels: &["family"],
        values: Values::RequestTimes,
    },
    Metric {
        name: "fca_proxy_upstream_round_trip_seconds",
        help: "Time from a request's arrival to the upstream's reply to a command of it.",
        kind: Kind::Histogram,
        labels: &[],
        values: Values::RoundTrips,
    },
    Metric {
        name: "fca_proxy_fca_gets_total",
        help: "Queries looked up by FCA.GET and FCA.MGET.",
        kind: Kind::Counter,
        labels: &["namespace", "result"],
        values: Values::Gets,
    },
    Metric {
        name: "fca_proxy_fca_sets_total",
        help: "Values that FCA.SET and FCA.MSET were to store.",
        kind: Kind::Counter,
        labels: &["namespace", "result"],
        values: Values::Sets,
    },
    Metric {
        name: "fca_proxy_fca_deleted_entries_total",
        help: "Entries removed by FCA.DEL.",
        kind: Kind::Counter,
        labels: &["namespace"],
        values: Values::DeletedEntries,
    },
    Metric {
        name: "fca_proxy_fca_ttl_capped_total",
        help: "Values stored for less time than the caller asked for.",
        kind: Kind::Counter,
        labels: &["namespace"],
        values: Values::CappedTtls,
    },
    Metric {
        name: "fca_proxy_limit_hits_total",
        help: "Times that a bound of the configuration was hit.",
        kind: Kind::Counter,
        labels: &["limit"],
        values: Values::Limits,
    },
];

const OBSERVED: &[Metric] = &[
    observed_gauge("fca_proxy_upstream_up", "1 while the upstream is taken to be reachable, else 0.", |seen| {
        u64::from(seen.upstream_up)
    }),
    observed_gauge("fca_proxy_embedded_entries", "Entries in the embedded store.", |seen| seen.embedded.entries),
    observed_gauge("fca_proxy_embedded_bytes", "Bytes that the embedded store takes, overhead included.", |seen| {
        seen.embedded.bytes
    }),
    observed_counter(
        "fca_proxy_embedded_evictions_total",
        "Entries that the embedded store dropped to make room.",
        |seen| seen.embedded.evictions,
    ),
    observed_gauge("fca_proxy_near_cache_up", "1 while the near cache may answer, else 0.", |seen| {
        u64::from(seen.near_cache_state.may_answer())
    }),
    observed_gauge("fca_proxy_near_cache_entries", "Entries in the near cache.", |seen| seen.near_cache.entries),
    observed_gauge("fca_proxy_near_cache_bytes", "Bytes that the near cache takes, overhead included.", |seen| {
        seen.near_cache.bytes
    }),
    observed_counter(
        "fca_proxy_near_cache_evictions_total",
        "Entries that the near cache dropped to make room.",
        |seen| seen.near_cache.evictions,
    ),
];

/// Every metric, in the order of the exposition.
pub fn catalog() -> impl Iterator<Item = &'static Metric> {
    [ABOUT_PROCESS, ABOUT_REQUESTS, Counter::ROWS, Gauge::ROWS, OBSERVED].into_iter().flatten()
}

const fn observed_gauge(name: &'static str, help: &'static str, value: fn(&Observed) -> u64) -> Metric {
    Metric { name, help, kind: Kind::Gauge, labels: &[], values: Values::ObservedGauge(value) }
}

const fn observed_counter(name: &'static str, help: &'static str, value: fn(&Observed) -> u64) -> Metric {
    Metric { name, help, kind: Kind::Counter, labels: &[], values: Values::ObservedCounter(value) }
}
