//! All recorders together: hands them out, adds them up, renders them.
//!
//! Guarantees that reading disturbs no worker, that every series exists from the start, and that one recorder can be
//! added or a namespace labelled at any time. Sums are taken number by number: two of them may be some microseconds
//! apart, each was true when it was read.

use super::catalog::{Counter, Gauge, Metric, Values, catalog};
use super::exposition::{Exposition, Samples};
use super::histogram::{Distribution, Histogram};
use super::labels::{Family, GetResult, Limit, Outcome, SetResult};
use super::namespaces::{NamespaceLabel, NamespaceLabels};
use super::observed::Observed;
use super::recorder::Recorder;
use super::totals::{NamespaceTotals, Totals};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// What is running, for `fca_proxy_build_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// The version of the release, as in `0.1.0`.
    pub version: &'static str,
    /// The commit that it was built from, or `unknown`.
    pub revision: &'static str,
}

/// Everything that the process counts.
pub struct Registry {
    build: BuildInfo,
    started: Instant,
    /// The same moment, counted from 1970.
    started_unix: Duration,
    /// One for each thread that counts. Changes only while the process starts.
    recorders: ArcSwap<Vec<Arc<Recorder>>>,
    /// Changes when a configuration is loaded.
    namespaces: ArcSwap<NamespaceLabels>,
    source: ArcSwapOption<Source>,
    exposition: Exposition,
}

/// Boxed once more, as `ArcSwap` holds sized values only.
struct Source(Box<dyn Fn() -> Observed + Send + Sync>);

impl Registry {
    /// A registry of a process that starts now, with a label for each of these namespaces.
    #[expect(clippy::disallowed_methods, reason = "the one moment that is not an argument: nothing is decided by it")]
    pub fn new(build: BuildInfo, namespaces: impl IntoIterator<Item = String>) -> Arc<Self> {
        let registry = Self {
            build,
            started: Instant::now(),
            started_unix: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            recorders: ArcSwap::default(),
            namespaces: ArcSwap::from_pointee(NamespaceLabels::new()),
            source: ArcSwapOption::empty(),
            exposition: Exposition::new(),
        };
        registry.add_namespaces(namespaces);
        Arc::new(registry)
    }

    /// A recorder for one more thread, which keeps it for good: what it has counted stays in the sums.
    pub fn recorder(&self) -> Arc<Recorder> {
        let recorder = Arc::new(Recorder::new());
        self.recorders.rcu(|recorders| {
            let mut recorders = Vec::clone(recorders);
            recorders.push(Arc::clone(&recorder));
            recorders
        });
        recorder
    }

    /// The label of the namespace; [`NamespaceLabel::OTHER`] if it has none of its own. A hash of the name, so it is
    /// best asked when a configuration is loaded.
    pub fn namespace(&self, name: &str) -> NamespaceLabel {
        self.namespaces.load().label(name)
    }

    /// Gives these namespaces a label each, as far as [`super::NAMESPACES_MAX`] allows. Known ones keep theirs.
    pub fn add_namespaces(&self, names: impl IntoIterator<Item = String>) {
        let names: Vec<_> = names.into_iter().collect();
        self.namespaces.rcu(|labels| {
            let mut labels = NamespaceLabels::clone(labels);
            names.iter().for_each(|name| labels.add(name));
            labels
        });
    }

    /// Says who knows the state of the other parts. Asked in every [`Self::observed`], on the thread that asks.
    pub fn set_gauges_source(&self, source: impl Fn() -> Observed + Send + Sync + 'static) {
        self.source.store(Some(Arc::new(Source(Box::new(source)))));
    }

    /// The state of the other parts, as they tell it now.
    pub fn observed(&self) -> Observed {
        self.source.load().as_ref().map(|source| source.0()).unwrap_or_default()
    }

    /// The sums that `INFO` tells.
    pub fn totals(&self) -> Totals {
        Totals {
            uptime: self.started.elapsed(),
            clients: self.gauge(Gauge::Clients),
            connections_accepted: self.counter(Counter::ConnectionsAccepted),
            connections_rejected: self.counter(Counter::ConnectionsRejected),
            commands: self.sum(|recorder| recorder.requests.iter().flatten().map(|cell| cell.read()).sum()),
            bytes_in: self.counter(Counter::BytesIn),
            bytes_out: self.counter(Counter::BytesOut),
            limit_hits: self.sum(|recorder| recorder.limits.iter().map(|cell| cell.read()).sum()),
            upstream_connections: self.gauge(Gauge::UpstreamConnections),
            upstream_in_flight: self.gauge(Gauge::UpstreamInFlight),
            upstream_reconnects: self.counter(Counter::UpstreamReconnects),
            upstream_timeouts: self.counter(Counter::UpstreamTimeouts),
        }
    }

    /// What became of one namespace's queries and values, or of all namespaces' together.
    pub fn namespace_totals(&self, label: Option<NamespaceLabel>) -> NamespaceTotals {
        let mut totals = NamespaceTotals::default();
        for recorder in &**self.recorders.load() {
            match label {
                Some(label) => totals.add(&recorder.namespaces[label.index()]),
                None => recorder.namespaces.iter().for_each(|namespace| totals.add(namespace)),
            }
        }
        totals
    }

    /// The sum of a counter.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.sum(|recorder| recorder.counters[counter as usize].read())
    }

    /// The sum of a gauge. Not below zero, where it could seem to be while one worker counts up and another down.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.sum(|recorder| recorder.gauges[gauge as usize].read()).cast_signed().max(0).cast_unsigned()
    }

    /// How often a bound was hit.
    pub fn limit(&self, limit: Limit) -> u64 {
        self.sum(|recorder| recorder.limits[limit as usize].read())
    }

    /// The page for Prometheus. Takes a millisecond or two, twenty with hundreds of namespaces: not for a worker.
    pub fn render(&self) -> String {
        let observed = self.observed();
        for metric in catalog() {
            self.expose(metric, &observed);
        }
        self.exposition.page(|metric| self.samples(metric))
    }

    /// Hands the values of a counter or gauge to the exposition.
    fn expose(&self, metric: &Metric, observed: &Observed) {
        let counter = |labels: &[&str], value| self.exposition.counter(metric, labels, value);
        let gauge = |labels: &[&str], value| self.exposition.gauge(metric, labels, value);
        match metric.values {
            Values::BuildInfo => gauge(&[self.build.version, self.build.revision], 1.0),
            Values::StartTime => gauge(&[], self.started_unix.as_secs_f64()),
            Values::Uptime => gauge(&[], self.started.elapsed().as_secs_f64()),
            Values::Requests => {
                for &family in Family::ALL {
                    for &outcome in Outcome::ALL {
                        let value = self.sum(|recorder| recorder.requests[family as usize][outcome as usize].read());
                        counter(&[family.label(), outcome.label()], value);
                    }
                }
            }
            Values::Gets => self.expose_by_namespace(|name, label| {
                for &result in GetResult::ALL {
                    let value = self.sum(|recorder| recorder.namespaces[label.index()].gets[result as usize].read());
                    counter(&[name, result.label()], value);
                }
            }),
            Values::Sets => self.expose_by_namespace(|name, label| {
                for &result in SetResult::ALL {
                    let value = self.sum(|recorder| recorder.namespaces[label.index()].sets[result as usize].read());
                    counter(&[name, result.label()], value);
                }
            }),
            Values::DeletedEntries => self.expose_by_namespace(|name, label| {
                counter(&[name], self.sum(|recorder| recorder.namespaces[label.index()].deleted_entries.read()));
            }),
            Values::CappedTtls => self.expose_by_namespace(|name, label| {
                counter(&[name], self.sum(|recorder| recorder.namespaces[label.index()].capped_ttls.read()));
            }),
            Values::Limits => {
                for &limit in Limit::ALL {
                    counter(&[limit.label()], self.limit(limit));
                }
            }
            Values::Counter(of) => counter(&[], self.counter(of)),
            Values::Gauge(of) => gauge(&[], self.gauge(of) as f64),
            Values::ObservedCounter(of) => counter(&[], of(observed)),
            Values::ObservedGauge(of) => gauge(&[], of(observed) as f64),
            Values::RequestTimes | Values::RoundTrips => {}
        }
    }

    fn expose_by_namespace(&self, expose: impl Fn(&str, NamespaceLabel)) {
        for (label, name) in self.namespaces.load().iter() {
            expose(name, label);
        }
    }

    /// The samples of a histogram; none of any other metric.
    fn samples(&self, metric: &Metric) -> Samples {
        match metric.values {
            Values::RequestTimes => {
                let of = |&family: &Family| self.distribution(|recorder| &recorder.request_times[family as usize]);
                Family::ALL.iter().map(|family| (vec![family.label()], of(family))).collect()
            }
            Values::RoundTrips => vec![(vec![], self.distribution(|recorder| &recorder.round_trips))],
            _ => vec![],
        }
    }

    /// Adds up one number of every recorder. Wraps around, for the sake of gauges.
    fn sum(&self, read: impl Fn(&Recorder) -> u64) -> u64 {
        self.recorders.load().iter().map(|recorder| read(recorder)).fold(0, u64::wrapping_add)
    }

    /// Adds up one histogram of every recorder.
    fn distribution(&self, of: impl Fn(&Recorder) -> &Histogram) -> Distribution {
        let mut distribution = Distribution::default();
        self.recorders.load().iter().for_each(|recorder| distribution.add(of(recorder)));
        distribution
    }
}
