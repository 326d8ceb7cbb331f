//! What budgets and health of upstreams show: plain numbers, gathered at a
//! scrape.
//!
//! The label `upstream` comes from the configuration or from resolv.conf. The
//! label `prefix` is the one that clients bring: a few per upstream and scrape,
//! of limited upstreams alone, each a prefix of an admitted client and never
//! text that one sent.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Exporter;
use super::exporter::float;

/// What is counted of one upstream.
#[derive(Debug, Default)]
pub struct HealthCounters {
    /// Times that it went down, by cause.
    pub downs: [AtomicU64; 3],
    /// Probes sent.
    pub probes: AtomicU64,
    /// Probes answered.
    pub probes_answered: AtomicU64,
    /// Queries sent again.
    pub resends: AtomicU64,
    /// Queries sent since another upstream took long.
    pub hedges: AtomicU64,
}

impl HealthCounters {
    /// Counts one.
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads one.
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// One upstream at a scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpstreamSample {
    /// Its name: an address, or a URL.
    pub upstream: String,
    /// Whether it is up.
    pub up: bool,
    /// Times that it went down, by the cause's label.
    pub downs: Vec<(&'static str, u64)>,
    /// Smoothed round trip time in seconds.
    pub rtt_seconds: Option<f64>,
    /// What nineteen of twenty round trips take at most, in seconds.
    pub p95_seconds: Option<f64>,
    /// Probes: answered, and not.
    pub probes: (u64, u64),
    /// Queries sent again.
    pub resends: u64,
    /// Queries sent since another upstream took long.
    pub hedges: u64,
}

/// One upstream address' budget at a scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BudgetSample {
    /// The address.
    pub upstream: String,
    /// Queries that it may be sent in a second.
    pub rate_limit: Option<u32>,
    /// Queries within the last second.
    pub rate: u32,
    /// Queries that may be in flight.
    pub in_flight_limit: Option<u32>,
    /// Queries in flight.
    pub in_flight: u32,
    /// Seconds until a limit is reached, if it is in sight.
    pub exhausted_in: Option<f64>,
    /// Queries admitted, by the class' label.
    pub admitted: Vec<(&'static str, u64)>,
    /// Queries refused, by the labels of class and reason.
    pub refused: Vec<(&'static str, &'static str, u64)>,
    /// Who spends most: prefixes with their queries within the last second.
    pub spenders: Vec<(String, u32)>,
}

/// Adds the families of upstreams.
pub fn export_upstream(sample: &UpstreamSample, out: &mut Exporter) {
    let upstream = [("upstream", sample.upstream.as_str())];
    let up = f64::from(u8::from(sample.up));
    out.gauge("upstream_up", "Whether an upstream counts as up.", &upstream, up);
    for (cause, count) in &sample.downs {
        let labels = [("upstream", sample.upstream.as_str()), ("cause", cause)];
        out.counter("upstream_downs_total", "Times that an upstream went down, by cause.", &labels, *count);
    }
    if let Some(rtt) = sample.rtt_seconds {
        out.gauge("upstream_rtt_seconds", "Smoothed round trip time of an upstream.", &upstream, rtt);
    }
    if let Some(p95) = sample.p95_seconds {
        let help = "What nineteen of twenty round trips of an upstream take at most.";
        out.gauge("upstream_rtt_p95_seconds", help, &upstream, p95);
    }
    for (result, count) in [("answered", sample.probes.0), ("unanswered", sample.probes.1)] {
        let labels = [("upstream", sample.upstream.as_str()), ("result", result)];
        out.counter(
            "upstream_probes_total",
            "Probes of upstreams that were down or suspect.",
            &labels,
            count,
        );
    }
    for (kind, count) in [("resend", sample.resends), ("hedge", sample.hedges)] {
        let labels = [("upstream", sample.upstream.as_str()), ("kind", kind)];
        out.counter("upstream_retries_total", "Queries sent again, or to a second upstream.", &labels, count);
    }
}

/// Adds the families of budgets.
pub fn export_budget(sample: &BudgetSample, out: &mut Exporter) {
    let upstream = [("upstream", sample.upstream.as_str())];
    for (class, count) in &sample.admitted {
        let labels = [("upstream", sample.upstream.as_str()), ("class", class)];
        out.counter("budget_admitted_total", "Queries that a budget admitted, by class.", &labels, *count);
    }
    for (class, reason, count) in &sample.refused {
        let labels = [("upstream", sample.upstream.as_str()), ("class", *class), ("reason", *reason)];
        let help = "Queries that a budget refused, by class and reason.";
        out.counter("budget_refused_total", help, &labels, *count);
    }
    let help = "Queries sent to an upstream within about the last second.";
    out.gauge("budget_rate", help, &upstream, f64::from(sample.rate));
    let help = "Queries in flight to an upstream, as its budget counts them.";
    out.gauge("budget_in_flight", help, &upstream, f64::from(sample.in_flight));
    if let Some(limit) = sample.rate_limit {
        let help = "Queries that an upstream may be sent in any second.";
        out.gauge("budget_rate_limit", help, &upstream, f64::from(limit));
    }
    if let Some(limit) = sample.in_flight_limit {
        let help = "Queries that may be in flight to an upstream.";
        out.gauge("budget_in_flight_limit", help, &upstream, f64::from(limit));
    }
    if sample.rate_limit.is_none() && sample.in_flight_limit.is_none() {
        return;
    }
    let help = "Time until a budget is spent if its use goes on growing; a day where that is not in sight.";
    out.gauge("budget_exhaustion_seconds", help, &upstream, sample.exhausted_in.unwrap_or(float(DAY)));
    for (prefix, queries) in &sample.spenders {
        let labels = [("upstream", sample.upstream.as_str()), ("prefix", prefix)];
        let help = "Queries within about the last second of the client prefixes that spend most.";
        out.gauge("budget_prefix_rate", help, &labels, f64::from(*queries));
    }
}

/// Farther than any forecast looks, in seconds.
const DAY: u64 = 86_400;
