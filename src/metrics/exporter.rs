//! Turns counters into Prometheus families and those into text.

use std::collections::BTreeMap;

use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::outside;

/// What every name of ours starts with.
const PREFIX: &str = "hubdns_";

/// The family of names that Prometheus' client libraries share: no prefix of ours.
const PROCESS: &str = "process_";

/// Collects families during a scrape. Samples of one name may come from
/// several calls; label values come from enums or the configuration.
#[derive(Debug, Default)]
pub struct Exporter {
    families: BTreeMap<&'static str, Family>,
}

#[derive(Debug)]
struct Family {
    help: &'static str,
    kind: MetricType,
    samples: Vec<Metric>,
}

/// A family as a scrape shows it, for tables and tests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Described {
    /// The whole name, prefix included.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The help text.
    pub help: &'static str,
    /// The names of its labels, sorted.
    pub labels: Vec<String>,
}

impl Exporter {
    /// Adds a sample of a counter; the name ends in `_total`.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        debug_assert!(name.ends_with("_total"), "{name} is a counter");
        let mut counter = Counter::default();
        counter.set_value(float(value));
        let mut sample = Metric::from_label(pairs(labels));
        sample.set_counter(counter);
        self.add(name, help, MetricType::COUNTER, sample);
    }

    /// Adds a sample of a gauge.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        debug_assert!(!name.ends_with("_total"), "{name} is no counter");
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut sample = Metric::from_label(pairs(labels));
        sample.set_gauge(gauge);
        self.add(name, help, MetricType::GAUGE, sample);
    }

    /// Adds a histogram: `buckets` are `(upper bound, cumulative count)`
    /// without the last, infinite one; `count` and `sum` cover all samples.
    pub fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        buckets: &[(f64, u64)],
        count: u64,
        sum: f64,
    ) {
        let mut histogram = Histogram::default();
        let buckets = buckets.iter().map(|&(bound, cumulative)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let mut sample = Metric::from_label(pairs(labels));
        sample.set_histogram(histogram);
        self.add(name, help, MetricType::HISTOGRAM, sample);
    }

    fn add(&mut self, name: &'static str, help: &'static str, kind: MetricType, sample: Metric) {
        let family = self.families.entry(name).or_insert(Family { help, kind, samples: Vec::new() });
        debug_assert!(family.kind == kind && family.help == help, "{name} means one thing");
        // A sample of another type would make the whole scrape unreadable.
        if family.kind == kind {
            family.samples.push(sample);
        }
    }

    /// The families in Prometheus' text format, sorted by name.
    pub fn encode(self) -> String {
        let mut families: Vec<MetricFamily> = self
            .families
            .into_iter()
            .map(|(name, family)| {
                let mut encoded = MetricFamily::default();
                encoded.set_name(full_name(name));
                encoded.set_help(family.help.to_owned());
                encoded.set_field_type(family.kind);
                encoded.set_metric(family.samples);
                encoded
            })
            .collect();
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = String::new();
        // Encoding fails only for a family without a name or a sample; `add` makes neither.
        let _ = TextEncoder::new().encode_utf8(&families, &mut text);
        text
    }

    /// What the families are, without their values.
    pub fn describe(&self) -> Vec<Described> {
        let families = self.families.iter().map(|(name, family)| {
            let labels = family.samples.iter().flat_map(Metric::get_label);
            let mut labels: Vec<String> = labels.map(|pair| pair.name().to_owned()).collect();
            labels.sort_unstable();
            labels.dedup();
            let kind = match family.kind {
                MetricType::COUNTER => "counter",
                MetricType::HISTOGRAM => "histogram",
                _ => "gauge",
            };
            Described { name: full_name(name), kind, help: family.help, labels }
        });
        families.collect()
    }
}

/// A count as Prometheus' model has it.
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53, which counts and times never reach")]
pub(crate) fn float(value: u64) -> f64 {
    value as f64
}

/// The only place that puts the prefix in front of a name.
fn full_name(name: &str) -> String {
    if name.starts_with(PROCESS) { name.to_owned() } else { format!("{PREFIX}{name}") }
}

fn pairs(labels: &[(&'static str, &str)]) -> Vec<LabelPair> {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        // From enums and the configuration alone; whoever looks at a scrape in a terminal is safe anyway.
        pair.set_value(outside::plain(value));
        pair
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_name_share_a_family_and_families_are_sorted() {
        let mut out = Exporter::default();
        out.counter("queries_total", "Queries.", &[("transport", "udp")], 3);
        out.gauge("ready", "Ready.", &[], 1.0);
        out.counter("queries_total", "Queries.", &[("transport", "tcp")], 4);
        out.gauge("process_open_fds", "Files.", &[], 9.0);
        let expected = [
            "# HELP hubdns_queries_total Queries.",
            "# TYPE hubdns_queries_total counter",
            "hubdns_queries_total{transport=\"udp\"} 3",
            "hubdns_queries_total{transport=\"tcp\"} 4",
            "# HELP hubdns_ready Ready.",
            "# TYPE hubdns_ready gauge",
            "hubdns_ready 1",
            "# HELP process_open_fds Files.",
            "# TYPE process_open_fds gauge",
            "process_open_fds 9",
        ];
        let text = out.encode();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn histograms_end_in_an_infinite_bucket() {
        let mut out = Exporter::default();
        out.histogram("answer_duration_seconds", "Time.", &[], &[(0.001, 1), (0.01, 2)], 3, 0.5);
        let text = out.encode();
        assert!(text.contains("hubdns_answer_duration_seconds_bucket{le=\"0.001\"} 1\n"), "{text}");
        assert!(text.contains("hubdns_answer_duration_seconds_bucket{le=\"+Inf\"} 3\n"), "{text}");
        assert!(text.contains("hubdns_answer_duration_seconds_count 3\n"), "{text}");
    }

    #[test]
    fn label_values_are_escaped() {
        let mut out = Exporter::default();
        out.gauge("source_up", "Up.", &[("source", "a\"b\\c\nd")], 1.0);
        let text = out.encode();
        assert!(text.contains(r#"{source="a\"b\\c\\u{a}d"} 1"#), "{text}");
    }
}
