//! What is counted is what is read, over buckets, recorders, threads and namespaces.

use super::histogram::{BUCKETS, Distribution, Histogram, bucket_of};
use super::*;
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

fn registry(namespaces: &[&str]) -> Arc<Registry> {
    let build = BuildInfo { version: "1.2.3", revision: "abc" };
    Registry::new(build, namespaces.iter().map(|&name| name.to_owned()))
}

/// The value of the sample of this name and these labels, as they stand in the page.
fn sample(registry: &Registry, sample: &str) -> f64 {
    let page = registry.render();
    let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in\n{page}")).parse().unwrap()
}

/// The definition: an edge belongs to the bucket below it.
fn bucket_by_search(nanos: u64) -> usize {
    EDGES_NS.partition_point(|&edge| edge < nanos)
}

#[test]
fn edges_rise_from_20_us_to_5_s() {
    assert!(EDGES_NS.is_sorted_by(|a, b| a < b));
    assert_eq!((EDGES_NS[0], EDGES_NS[EDGES_NS.len() - 1]), (20_000, 5_000_000_000));
}

#[test]
fn an_edge_belongs_to_the_bucket_below_it() {
    for (index, edge) in EDGES_NS.into_iter().enumerate() {
        assert_eq!([bucket_of(edge - 1), bucket_of(edge), bucket_of(edge + 1)], [index, index, index + 1], "{edge}");
    }
    assert_eq!([bucket_of(0), bucket_of(1), bucket_of(u64::MAX)], [0, 0, BUCKETS - 1]);
    for bits in 0..64 {
        let power = 1_u64 << bits;
        assert_eq!(bucket_of(power), bucket_by_search(power));
        assert_eq!(bucket_of(power - 1), bucket_by_search(power - 1));
    }
}

proptest! {
    #[test]
    fn every_time_finds_its_bucket(mantissa in any::<u64>(), shift in 0_u32..64) {
        let nanos = mantissa >> shift;
        prop_assert_eq!(bucket_of(nanos), bucket_by_search(nanos));
    }

    #[test]
    fn a_distribution_is_what_was_observed(nanos in prop::collection::vec(0_u64..10_000_000_000, 0..200)) {
        let halves = [Histogram::new(), Histogram::new()];
        let mut expected = [0; BUCKETS];
        for (index, &nanos) in nanos.iter().enumerate() {
            halves[index % 2].observe(Duration::from_nanos(nanos).into());
            expected[bucket_by_search(nanos)] += 1;
        }
        let mut distribution = Distribution::default();
        halves.iter().for_each(|half| distribution.add(half));
        prop_assert_eq!(distribution.buckets, expected);
        prop_assert_eq!(distribution.count(), nanos.len() as u64);
        let sum = nanos.iter().sum::<u64>() as f64 / 1e9;
        prop_assert!((distribution.sum_seconds - sum).abs() < 1e-9 * (1.0 + sum));
    }
}

#[test]
fn the_longest_time_there_is_goes_into_the_last_bucket() {
    let histogram = Histogram::new();
    histogram.observe(Duration::MAX.into());
    let mut distribution = Distribution::default();
    distribution.add(&histogram);
    assert_eq!(distribution.buckets[BUCKETS - 1], 1);
    assert!(distribution.sum_seconds.is_finite());
}

#[test]
fn a_recorder_shares_no_cache_line() {
    assert_eq!(align_of::<Recorder>(), 128);
    assert_eq!(size_of::<Recorder>() % 128, 0);
}

#[test]
fn recorders_are_added_up() {
    let registry = registry(&["faq"]);
    let faq = registry.namespace("faq");
    let workers = [registry.recorder(), registry.recorder(), registry.recorder()];
    for (worker, n) in workers.iter().zip(1..) {
        for _ in 0..n {
            worker.request(Family::FcaGet, Outcome::Ok, Duration::from_micros(50));
            worker.upstream_round_trip(Duration::from_millis(2));
            worker.fca_get(faq, GetResult::Hit);
            worker.fca_set(faq, SetResult::Stored);
            worker.limit(Limit::Pipeline);
        }
        worker.fca_deleted(faq, n);
        worker.add(Counter::BytesIn, 100 * n);
    }
    for (name, expected) in [
        ("fca_proxy_requests_total{family=\"fca_get\",outcome=\"ok\"}", 6.0),
        ("fca_proxy_requests_total{family=\"fca_get\",outcome=\"error\"}", 0.0),
        ("fca_proxy_request_duration_seconds_bucket{family=\"fca_get\",le=\"0.000035\"}", 0.0),
        ("fca_proxy_request_duration_seconds_bucket{family=\"fca_get\",le=\"0.00005\"}", 6.0),
        ("fca_proxy_request_duration_seconds_bucket{family=\"fca_get\",le=\"+Inf\"}", 6.0),
        ("fca_proxy_request_duration_seconds_sum{family=\"fca_get\"}", 0.0003),
        ("fca_proxy_request_duration_seconds_count{family=\"fca_set\"}", 0.0),
        ("fca_proxy_upstream_round_trip_seconds_bucket{le=\"0.001\"}", 0.0),
        ("fca_proxy_upstream_round_trip_seconds_bucket{le=\"0.0025\"}", 6.0),
        ("fca_proxy_upstream_round_trip_seconds_count", 6.0),
        ("fca_proxy_fca_gets_total{namespace=\"faq\",result=\"hit\"}", 6.0),
        ("fca_proxy_fca_gets_total{namespace=\"other\",result=\"hit\"}", 0.0),
        ("fca_proxy_fca_sets_total{namespace=\"faq\",result=\"stored\"}", 6.0),
        ("fca_proxy_fca_deleted_entries_total{namespace=\"faq\"}", 6.0),
        ("fca_proxy_limit_hits_total{limit=\"pipeline\"}", 6.0),
        ("fca_proxy_client_received_bytes_total", 600.0),
    ] {
        let value = sample(&registry, name);
        assert!((value - expected).abs() < 1e-12, "{name}: {value}");
    }
    let totals = registry.totals();
    assert_eq!((totals.commands, totals.bytes_in, totals.limit_hits), (6, 600, 6));
}

#[test]
fn sums_only_grow_while_others_write_and_lose_nothing() {
    const EACH: u64 = 50_000;
    const WRITERS: u64 = 3;
    let registry = registry(&["faq"]);
    let faq = registry.namespace("faq");
    let (start, done) = (Barrier::new(WRITERS as usize + 1), AtomicBool::new(false));
    let start = &start;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let worker = registry.recorder();
                scope.spawn(move || {
                    start.wait();
                    for n in 0..EACH {
                        worker.request(Family::Read, Outcome::Ok, Duration::from_micros(n % 1000));
                        worker.fca_get(faq, GetResult::Miss);
                        worker.gauge(Gauge::Clients, 1);
                        worker.gauge(Gauge::Clients, -1);
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let (mut reads, mut before) = (0, 0);
            start.wait();
            while !done.load(Ordering::Relaxed) || reads < 3 {
                let (now, gets) = (registry.totals().commands, registry.namespace_totals(Some(faq)).gets);
                assert!(now >= before && now <= WRITERS * EACH && gets <= WRITERS * EACH);
                assert!(registry.gauge(Gauge::Clients) <= WRITERS);
                let _ = registry.render();
                (reads, before) = (reads + 1, now);
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(registry.totals().commands, WRITERS * EACH);
    assert_eq!(registry.namespace_totals(None).misses, WRITERS * EACH);
    assert_eq!(registry.gauge(Gauge::Clients), 0);
    let count = sample(&registry, "fca_proxy_request_duration_seconds_count{family=\"read\"}");
    assert_eq!(count as u64, WRITERS * EACH);
}

#[test]
fn what_one_recorder_counts_up_another_may_count_down() {
    let registry = registry(&[]);
    let (one, other) = (registry.recorder(), registry.recorder());
    one.gauge(Gauge::UpstreamConnections, 5);
    other.gauge(Gauge::UpstreamConnections, -2);
    assert_eq!(registry.totals().upstream_connections, 3);
    other.gauge(Gauge::UpstreamConnections, -4);
    assert_eq!(registry.gauge(Gauge::UpstreamConnections), 0);
}

#[test]
fn only_configured_namespaces_have_a_label() {
    let registry = registry(&["faq", "faq", "other"]);
    let faq = registry.namespace("faq");
    assert_ne!(faq, NamespaceLabel::OTHER);
    assert_eq!(registry.namespace("other"), NamespaceLabel::OTHER);
    assert_eq!(registry.namespace("FAQ"), NamespaceLabel::OTHER);
    let page = registry.render();
    assert_eq!(page.matches("fca_proxy_fca_deleted_entries_total{").count(), 2);
}

#[test]
fn a_reload_keeps_labels_and_their_counts() {
    let registry = registry(&["faq"]);
    let worker = registry.recorder();
    let faq = registry.namespace("faq");
    worker.fca_get(faq, GetResult::Hit);
    registry.add_namespaces(["rates".to_owned(), "faq".to_owned()]);
    assert_eq!(registry.namespace("faq"), faq);
    worker.fca_get(registry.namespace("rates"), GetResult::Miss);
    let totals = registry.namespace_totals(None);
    assert_eq!((totals.gets, totals.hits, totals.misses), (2, 1, 1));
    assert_eq!(registry.namespace_totals(Some(faq)).gets, 1);
}

#[test]
fn namespaces_past_the_bound_are_counted_as_other() {
    let registry = registry(&[]);
    let worker = registry.recorder();
    for reload in 0..4 {
        registry.add_namespaces((0..100).map(|n| format!("ns-{}", 100 * reload + n)));
    }
    let labelled = (0..400).filter(|n| registry.namespace(&format!("ns-{n}")) != NamespaceLabel::OTHER).count();
    assert_eq!(labelled, NAMESPACES_MAX);
    for n in 0..400 {
        worker.fca_get(registry.namespace(&format!("ns-{n}")), GetResult::Hit);
    }
    assert_eq!(registry.namespace_totals(Some(NamespaceLabel::OTHER)).hits, 400 - NAMESPACES_MAX as u64);
    assert_eq!(registry.namespace_totals(None).hits, 400);
    let page = registry.render();
    assert_eq!(page.matches("fca_proxy_fca_deleted_entries_total{").count(), NAMESPACES_MAX + 1);
}

#[test]
fn each_result_has_its_field_in_the_totals() {
    let registry = registry(&["faq"]);
    let worker = registry.recorder();
    let faq = registry.namespace("faq");
    let repeat = |n: usize, count: &dyn Fn()| (0..n).for_each(|_| count());
    for (n, &result) in GetResult::ALL.iter().enumerate() {
        repeat(n + 1, &|| worker.fca_get(faq, result));
    }
    for (n, &result) in SetResult::ALL.iter().enumerate() {
        repeat(n + 1, &|| worker.fca_set(faq, result));
    }
    worker.fca_deleted(faq, 7);
    worker.fca_ttl_capped(faq);
    let expected = NamespaceTotals {
        gets: 21,
        hits: 1,
        near_hits: 2,
        misses: 3,
        unreachable: 4,
        disabled: 5,
        errors: 6,
        sets: 15,
        sets_stored: 1,
        sets_refused: 2,
        sets_unreachable: 3,
        sets_disabled: 4,
        sets_failed: 5,
        deletes: 7,
        ttl_capped: 1,
    };
    assert_eq!(registry.namespace_totals(Some(faq)), expected);
    assert_eq!(registry.namespace_totals(None), expected);
    assert_eq!(registry.namespace_totals(Some(NamespaceLabel::OTHER)), NamespaceTotals::default());
    assert!((expected.hit_ratio() - 3.0 / 21.0).abs() < 1e-12);
    assert_eq!(NamespaceTotals::default().hit_ratio().to_bits(), 0.0_f64.to_bits());
    assert_eq!(registry.limit(Limit::TtlMax), 1);
}

#[test]
fn the_gauges_source_is_asked_at_each_scrape() {
    let registry = registry(&[]);
    assert_eq!(sample(&registry, "fca_proxy_upstream_up") as u64, 0);
    let embedded = StoreUse { entries: 3, bytes: 400, evictions: 5 };
    registry.set_gauges_source(move || Observed { upstream_up: true, embedded, ..Observed::default() });
    for (name, expected) in [
        ("fca_proxy_upstream_up", 1),
        ("fca_proxy_embedded_entries", 3),
        ("fca_proxy_embedded_bytes", 400),
        ("fca_proxy_embedded_evictions_total", 5),
        ("fca_proxy_near_cache_entries", 0),
    ] {
        assert_eq!(sample(&registry, name) as u64, expected, "{name}");
    }
    registry.set_gauges_source(Observed::default);
    assert_eq!(sample(&registry, "fca_proxy_upstream_up") as u64, 0);
}

#[test]
fn two_pages_differ_in_their_numbers_only() {
    let registry = registry(&["faq", "rates", "loans"]);
    let shape = |page: String| -> Vec<String> {
        page.lines().filter_map(|line| line.rsplit_once(' ').map(|(series, _)| series.to_owned())).collect()
    };
    let first = shape(registry.render());
    registry.recorder().request(Family::Read, Outcome::Ok, Duration::from_secs(1));
    assert_eq!(shape(registry.render()), first);
    assert!(first.len() > 400, "{}", first.len());
}
