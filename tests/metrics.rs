//! The page that Prometheus reads, checked line by line against its text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>) and against the catalogue.
//!
//! The checker is stricter than Prometheus: every family has its HELP and TYPE, nothing stands twice, no time stamps,
//! no spaces to spare, histograms are consistent.

use fca_proxy::metrics::{
    BuildInfo, Counter, EDGES_NS, Family, GetResult, Kind, Limit, NamespaceLabel, Outcome, Registry, SetResult, catalog,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What a page says.
#[derive(Debug, Default)]
struct Exposition {
    /// In the order of the page.
    families: Vec<ExposedFamily>,
}

#[derive(Debug)]
struct ExposedFamily {
    name: String,
    help: String,
    kind: String,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Exposition {
    /// Reads a page, or says what is wrong with it.
    fn parse(page: &str) -> Result<Self, String> {
        if !page.ends_with('\n') {
            return Err("the last line has no end".into());
        }
        let mut exposition = Self::default();
        let (mut names, mut series) = (BTreeSet::new(), BTreeSet::new());
        let mut lines = page.lines().peekable();
        while let Some(line) = lines.next() {
            let mut family = ExposedFamily::parse_head(line, lines.next())?;
            if !names.insert(family.name.clone()) {
                return Err(format!("{} stands in two places", family.name));
            }
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let sample = Sample::parse(line).map_err(|reason| format!("{reason}: {line}"))?;
                let labels: BTreeMap<_, _> = sample.labels.iter().cloned().collect();
                if !series.insert((sample.name.clone(), labels)) {
                    return Err(format!("stands twice: {line}"));
                }
                family.samples.push(sample);
            }
            family.check().map_err(|reason| format!("{}: {reason}", family.name))?;
            exposition.families.push(family);
        }
        Ok(exposition)
    }

    fn family(&self, name: &str) -> Option<&ExposedFamily> {
        self.families.iter().find(|family| family.name == name)
    }
}

impl ExposedFamily {
    fn parse_head(help: &str, kind: Option<&str>) -> Result<Self, String> {
        let parts = |line: &str, word: &str| -> Option<(String, String)> {
            let (name, text) = line.strip_prefix("# ")?.strip_prefix(word)?.strip_prefix(' ')?.split_once(' ')?;
            Some((name.to_owned(), text.to_owned()))
        };
        let (name, help) = parts(help, "HELP").ok_or_else(|| format!("no HELP line: {help}"))?;
        let (of, kind) = kind.and_then(|line| parts(line, "TYPE")).ok_or_else(|| format!("{name} has no TYPE line"))?;
        if of != name || !is_name(&name, ":") {
            return Err(format!("HELP of {name}, TYPE of {of}"));
        }
        let help = unescape(&help, "").ok_or_else(|| format!("a bad escape in the help of {name}"))?;
        Ok(Self { name, help, kind, samples: Vec::new() })
    }

    fn check(&self) -> Result<(), String> {
        if self.samples.is_empty() {
            return Err("has no samples".into());
        }
        match self.kind.as_str() {
            "histogram" => self.check_histogram(),
            "counter" | "gauge" => {
                let foreign = |sample: &&Sample| sample.name != self.name;
                let negative = |sample: &&Sample| self.kind == "counter" && sample.value < 0.0;
                match self.samples.iter().find(|sample| foreign(sample) || negative(sample)) {
                    Some(sample) => Err(format!("does not belong here: {sample:?}")),
                    None => Ok(()),
                }
            }
            other => Err(format!("is a {other}")),
        }
    }

    /// Buckets rise and are cumulative, the last is `+Inf` and equals the count; then come the sum and the count.
    fn check_histogram(&self) -> Result<(), String> {
        let mut samples = self.samples.iter().peekable();
        while samples.peek().is_some() {
            let (mut edge, mut below, mut of) = (f64::NEG_INFINITY, 0.0, None);
            while edge < f64::INFINITY {
                let bucket = samples.next().ok_or("ends before +Inf")?;
                let (le, labels) = bucket.labels.split_last().ok_or("has a bucket without labels")?;
                let next = number(&le.1).ok_or("has a bucket whose edge is no number")?;
                let belongs = bucket.name == format!("{}_bucket", self.name) && le.0 == "le";
                if !belongs || *of.get_or_insert(labels) != labels || next <= edge || bucket.value < below {
                    return Err(format!("has a bucket out of order: {bucket:?}"));
                }
                (edge, below) = (next, bucket.value);
            }
            let labels = of.unwrap_or_default();
            let (sum, count) = (samples.next().ok_or("has no sum")?, samples.next().ok_or("has no count")?);
            if sum.name != format!("{}_sum", self.name) || sum.labels != labels || sum.value < 0.0 {
                return Err(format!("has a wrong sum: {sum:?}"));
            }
            let counted = count.value.to_bits() == below.to_bits();
            if count.name != format!("{}_count", self.name) || count.labels != labels || !counted {
                return Err(format!("has a wrong count: {count:?}, +Inf is {below}"));
            }
        }
        Ok(())
    }
}

impl Sample {
    fn parse(line: &str) -> Result<Self, String> {
        let (name, mut rest) = line.split_at(line.find(['{', ' ']).ok_or("no value")?);
        let mut labels: Vec<(String, String)> = Vec::new();
        if let Some(mut inner) = rest.strip_prefix('{') {
            loop {
                let (label, behind) = inner.split_once("=\"").ok_or("a label without a value")?;
                let close = closing_quote(behind).ok_or("a label's value without an end")?;
                let value = unescape(&behind[..close], "\"").ok_or("a bad escape in a label's value")?;
                if !is_name(label, "") || label.starts_with("__") || labels.iter().any(|(other, _)| other == label) {
                    return Err(format!("a bad label {label}"));
                }
                labels.push((label.to_owned(), value));
                inner = &behind[close + 1..];
                let Some(more) = inner.strip_prefix(',') else { break };
                inner = more;
            }
            rest = inner.strip_prefix('}').ok_or("labels without an end")?;
        }
        let value = rest.strip_prefix(' ').and_then(number).ok_or("no value")?;
        if !is_name(name, ":") {
            return Err(format!("a bad name {name}"));
        }
        Ok(Self { name: name.to_owned(), labels, value })
    }
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`, and these characters too.
fn is_name(text: &str, more: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || more.contains(c);
    !text.is_empty() && text.chars().all(fits) && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Where the first quote stands that is not escaped.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })
}

/// The text without its escapes: a backslash, and behind it another, an `n` or one of these.
fn unescape(text: &str, more: &str) -> Option<String> {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        plain.push(match c {
            '\\' => match characters.next()? {
                'n' => '\n',
                c if c == '\\' || more.contains(c) => c,
                _ => return None,
            },
            c => c,
        });
    }
    Some(plain)
}

/// A number as Go's `ParseFloat` takes it, in the spellings that a page needs.
fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        _ if text.chars().all(|c| c.is_ascii_digit() || ".e+-".contains(c)) => text.parse().ok(),
        _ => None,
    }
}

fn registry() -> Arc<Registry> {
    Registry::new(BuildInfo { version: "1.2.3", revision: "abc" }, ["faq", "rates"].map(str::to_owned))
}

/// A registry in which every kind of event has happened, on two workers.
fn busy_registry() -> Arc<Registry> {
    let registry = registry();
    for worker in [registry.recorder(), registry.recorder()] {
        for (&family, n) in Family::ALL.iter().zip(0..) {
            for &outcome in Outcome::ALL {
                worker.request(family, outcome, Duration::from_micros(7) * 3_u32.pow(n));
            }
        }
        EDGES_NS.into_iter().for_each(|edge| worker.upstream_round_trip(Duration::from_nanos(edge)));
        for namespace in [registry.namespace("faq"), NamespaceLabel::OTHER] {
            GetResult::ALL.iter().for_each(|&result| worker.fca_get(namespace, result));
            SetResult::ALL.iter().for_each(|&result| worker.fca_set(namespace, result));
            worker.fca_ttl_capped(namespace);
            worker.fca_deleted(namespace, 3);
        }
        Limit::ALL.iter().for_each(|&limit| worker.limit(limit));
        worker.add(Counter::BytesOut, 1 << 40);
    }
    registry
}

#[test]
fn the_page_is_precisely_the_catalogue() {
    for registry in [registry(), busy_registry()] {
        let page = Exposition::parse(&registry.render()).unwrap();
        let exposed = page.families.iter().map(|family| (&*family.name, &*family.help, &*family.kind));
        let listed = catalog().map(|metric| (metric.name, metric.help, metric.kind.word()));
        assert_eq!(exposed.collect::<Vec<_>>(), listed.collect::<Vec<_>>());
        assert!(page.families.len() >= 40, "{}", page.families.len());

        for (family, metric) in page.families.iter().zip(catalog()) {
            for sample in &family.samples {
                let names = sample.labels.iter().map(|(name, _)| name.as_str()).filter(|&name| name != "le");
                assert_eq!(names.collect::<BTreeSet<_>>(), metric.labels.iter().copied().collect(), "{sample:?}");
            }
        }
    }
}

#[test]
fn every_series_exists_before_anything_happened() {
    let series = |registry: Arc<Registry>| -> Vec<_> {
        let page = Exposition::parse(&registry.render()).unwrap();
        page.families.into_iter().map(|family| (family.name, family.samples.len())).collect()
    };
    let fresh = series(registry());
    assert_eq!(fresh, series(busy_registry()));
    let namespaces = 3;
    for (name, expected) in [
        ("fca_proxy_requests_total", Family::ALL.len() * Outcome::ALL.len()),
        ("fca_proxy_request_duration_seconds", Family::ALL.len() * (EDGES_NS.len() + 3)),
        ("fca_proxy_upstream_round_trip_seconds", EDGES_NS.len() + 3),
        ("fca_proxy_fca_gets_total", namespaces * GetResult::ALL.len()),
        ("fca_proxy_fca_sets_total", namespaces * SetResult::ALL.len()),
        ("fca_proxy_fca_deleted_entries_total", namespaces),
        ("fca_proxy_fca_ttl_capped_total", namespaces),
        ("fca_proxy_limit_hits_total", Limit::ALL.len()),
    ] {
        assert!(fresh.contains(&(name.to_owned(), expected)), "{name}: {fresh:?}");
    }
}

#[test]
fn names_follow_prometheus_rules() {
    let mut names = BTreeSet::new();
    for metric in catalog() {
        let name = metric.name;
        assert!(name.starts_with("fca_proxy_") && names.insert(name), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
        assert!(metric.kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
        assert!(["_sum", "_count", "_bucket"].iter().all(|suffix| !name.ends_with(suffix)), "{name}");
        // The histograms' help is written as it stands.
        assert!(metric.help.ends_with('.') && !metric.help.contains(['\\', '\n']), "{name}: {}", metric.help);
    }
    assert!(names.len() >= 40, "{}", names.len());
}

#[test]
fn build_and_times_are_told() {
    let page = Exposition::parse(&registry().render()).unwrap();
    let build = &page.family("fca_proxy_build_info").unwrap().samples[0];
    let labels: Vec<_> = build.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!((labels, build.value as u64), (vec![("version", "1.2.3"), ("revision", "abc")], 1));
    // Later than 2020, and not in milliseconds.
    assert!((1.577e9..1e11).contains(&page.family("fca_proxy_process_start_time_seconds").unwrap().samples[0].value));
    assert!((0.0..3600.0).contains(&page.family("fca_proxy_uptime_seconds").unwrap().samples[0].value));
}

#[test]
fn a_namespace_cannot_break_its_line() {
    let hostile = "a\"b\\c\nd{},=\n\n# TYPE é\\";
    let registry = Registry::new(BuildInfo { version: "1", revision: "x" }, [hostile.to_owned()]);
    let page = Exposition::parse(&registry.render()).unwrap();
    let deleted = page.family("fca_proxy_fca_deleted_entries_total").unwrap();
    assert!(deleted.samples.iter().any(|sample| sample.labels[0].1 == hostile), "{deleted:?}");
}

#[test]
fn the_checker_refuses_what_prometheus_would() {
    let good = "# HELP a_total Text.\n# TYPE a_total counter\na_total{x=\"1\"} 5\na_total{x=\"2\"} 6\n";
    let histogram =
        "# HELP h T.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\n";
    Exposition::parse(good).unwrap();
    Exposition::parse(histogram).unwrap();
    let spoilt = [
        (good, "x=\"2\"", "x=\"1\""),
        (good, "6\n", "6"),
        (good, "6\n", "six\n"),
        (good, "6\n", "6 1700000000000\n"),
        (good, "6\n", "6\n\n"),
        (good, "6\n", "-6\n"),
        (good, "x=\"2\"", "x=\"2"),
        (good, "x=\"2\"", "x=\"\\t\""),
        (good, "x=\"2\"", "x=\"2\",x=\"3\""),
        (good, "x=\"2\"", "2x=\"2\""),
        (good, "counter", "count"),
        (good, "# TYPE a_total", "# TYPE b_total"),
        (good, "# HELP a_total Text.\n", ""),
        (good, "a_total{x=\"2\"}", "b_total{x=\"2\"}"),
        (good, "6\n", "6\n# HELP a_total Text.\n# TYPE a_total counter\na_total{x=\"3\"} 5\n"),
        (histogram, "h_bucket{le=\"1\"} 2", "h_bucket{le=\"1\"} 4"),
        (histogram, "h_count 3", "h_count 4"),
        (histogram, "h_bucket{le=\"+Inf\"} 3\n", ""),
        (histogram, "h_sum 4\n", ""),
        (histogram, "le=\"1\"", "le=\"one\""),
    ];
    for (page, from, to) in spoilt {
        let bad = page.replacen(from, to, 1);
        assert_ne!(bad, page);
        assert!(Exposition::parse(&bad).is_err(), "{bad}");
    }
}
