//! The page that Prometheus reads, in its text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).
//!
//! Counters and gauges go through the `metrics` façade and its Prometheus exporter; both are touched during a scrape
//! only. The exporter's histograms keep every sample until the next scrape, so the buckets of [`super::histogram`] are
//! written here. Guarantees the catalogue's order of metrics and, within one, the same order of samples every time.

use super::catalog::{Kind, Metric, catalog};
use super::histogram::{Distribution, EDGES_NS};
use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use std::collections::HashMap;
use std::fmt::Write;

/// What the façade wants to know of a call site; the exporter ignores it.
const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// The exporter, fed at each scrape. It is not installed as the process's recorder, so that several can be in one test.
pub(super) struct Exposition {
    exporter: PrometheusRecorder,
}

/// The samples of a histogram: the values of its labels, in the catalogue's order, and what was observed.
pub(super) type Samples = Vec<(Vec<&'static str>, Distribution)>;

impl Exposition {
    pub(super) fn new() -> Self {
        let exporter = PrometheusBuilder::new().build_recorder();
        for metric in catalog() {
            match metric.kind {
                Kind::Counter => exporter.describe_counter(metric.name.into(), None, metric.help.into()),
                Kind::Gauge => exporter.describe_gauge(metric.name.into(), None, metric.help.into()),
                Kind::Histogram => {}
            }
        }
        Self { exporter }
    }

    /// Sets a counter. It can't go back: of two scrapes at once the later value stays.
    pub(super) fn counter(&self, metric: &Metric, labels: &[&str], value: u64) {
        self.exporter.register_counter(&key(metric, labels), &METADATA).absolute(value);
    }

    /// Sets a gauge.
    pub(super) fn gauge(&self, metric: &Metric, labels: &[&str], value: f64) {
        self.exporter.register_gauge(&key(metric, labels), &METADATA).set(value);
    }

    /// Writes the page, with the samples of each histogram.
    pub(super) fn page(&self, samples: impl Fn(&Metric) -> Samples) -> String {
        let rendered = self.exporter.handle().render();
        let families = families(&rendered);
        let mut page = String::with_capacity(2 * rendered.len());
        for metric in catalog() {
            if metric.kind == Kind::Histogram {
                histogram(&mut page, metric, samples(metric));
            } else {
                for line in families.get(metric.name).into_iter().flatten() {
                    page.push_str(line);
                    page.push('\n');
                }
            }
        }
        page
    }
}

fn key(metric: &Metric, labels: &[&str]) -> Key {
    let labels: Vec<_> =
        metric.labels.iter().zip(labels).map(|(&name, &value)| Label::new(name, value.to_owned())).collect();
    Key::from_parts(metric.name, labels)
}

/// The exporter's lines by metric: HELP and TYPE first, then the samples, sorted, since it keeps both in hash maps.
fn families(rendered: &str) -> HashMap<&str, Vec<&str>> {
    let mut families = HashMap::new();
    for family in rendered.split("\n\n") {
        let mut lines: Vec<_> = family.lines().collect();
        if let Some(name) = lines.first().and_then(|help| help.split(' ').nth(2)) {
            // '#' sorts before every name, and HELP before TYPE.
            lines.sort_unstable();
            families.insert(name, lines);
        }
    }
    families
}

/// Writes one histogram. The labels' values are words of closed sets, so nothing in them needs escaping.
fn histogram(page: &mut String, metric: &Metric, samples: Samples) {
    let name = metric.name;
    // Writing to a String cannot fail.
    let _ = writeln!(page, "# HELP {name} {}\n# TYPE {name} {}", metric.help, metric.kind.word());
    for (values, distribution) in samples {
        let labels: Vec<_> =
            metric.labels.iter().zip(values).map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let bucket_labels = if labels.is_empty() { String::new() } else { format!("{},", labels.join(",")) };
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };

        let mut below = 0;
        for (edge, bucket) in EDGES_NS.iter().zip(distribution.buckets) {
            below += bucket;
            let _ = writeln!(page, "{name}_bucket{{{bucket_labels}le=\"{}\"}} {below}", *edge as f64 / 1e9);
        }
        let count = distribution.count();
        let _ = writeln!(page, "{name}_bucket{{{bucket_labels}le=\"+Inf\"}} {count}");
        let _ = writeln!(page, "{name}_sum{labels} {}\n{name}_count{labels} {count}", distribution.sum_seconds);
    }
}
