//! Counters of the sync. Source names and zones come from the configuration
//! and the published set, results from an enum.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::azure::AzureMetrics;
use super::{Export, Exporter};

/// Upper bounds of the duration buckets, seconds.
const BOUNDS: [f64; 8] = [0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0];

/// The same for making a snapshot.
const BUILD_BOUNDS: [f64; 7] = [0.001, 0.005, 0.02, 0.05, 0.2, 1.0, 5.0];

/// What the sync counts. The lock is held for a few additions per cycle or scrape.
#[derive(Debug, Default)]
pub struct SyncMetrics(Mutex<Counts>, Arc<AzureMetrics>);

#[derive(Debug, Default)]
struct Counts {
    sources: BTreeMap<String, Source>,
    generation: u64,
    created: u64,
    zones: BTreeMap<String, usize>,
    save_failures: BTreeMap<&'static str, u64>,
    whole: Builds,
    incremental: Builds,
    held_back: usize,
    pending: usize,
    pinned: bool,
    saved_generations: usize,
    /// Code, severity, count.
    findings: Vec<(&'static str, &'static str, u64)>,
}

/// Snapshots that were made.
#[derive(Debug, Default)]
struct Builds {
    buckets: [u64; BUILD_BOUNDS.len()],
    count: u64,
    seconds: f64,
}

#[derive(Debug, Default)]
struct Source {
    results: BTreeMap<&'static str, u64>,
    last_success: u64,
    buckets: [u64; BOUNDS.len()],
    count: u64,
    seconds: f64,
}

impl SyncMetrics {
    fn with(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What requests to Azure count, of all sources together.
    pub fn azure(&self) -> &Arc<AzureMetrics> {
        &self.1
    }

    /// Keeps the metrics of these sources alone, each present from the start.
    pub fn sources<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let names: Vec<&str> = names.collect();
        self.with(|counts| {
            counts.sources.retain(|name, _| names.contains(&name.as_str()));
            for name in names {
                counts.sources.entry(name.to_owned()).or_default().results.entry("ok").or_default();
            }
        });
    }

    /// Counts a reading: `result` is `ok` or the label of an error.
    pub fn read(&self, source: &str, result: &'static str, took: Duration) {
        self.with(|counts| {
            let source = counts.sources.entry(source.to_owned()).or_default();
            *source.results.entry(result).or_default() += 1;
            let seconds = took.as_secs_f64();
            for (bound, bucket) in BOUNDS.iter().zip(&mut source.buckets) {
                *bucket += u64::from(seconds <= *bound);
            }
            source.count += 1;
            source.seconds += seconds;
        });
    }

    /// Tells when a source was last read whole.
    pub fn last_success(&self, source: &str, at: u64) {
        self.with(|counts| counts.sources.entry(source.to_owned()).or_default().last_success = at);
    }

    /// Tells what is published: generation, its time, RRsets by zone.
    pub fn published(&self, generation: u64, created: u64, zones: BTreeMap<String, usize>) {
        self.with(|counts| {
            counts.generation = generation;
            counts.created = created;
            counts.zones = zones;
        });
    }

    /// Counts a snapshot that was made and published, and the time it took.
    pub fn built(&self, incrementally: bool, took: Duration) {
        self.with(|counts| {
            let build = if incrementally { &mut counts.incremental } else { &mut counts.whole };
            let seconds = took.as_secs_f64();
            for (bound, bucket) in BUILD_BOUNDS.iter().zip(&mut build.buckets) {
                *bucket += u64::from(seconds <= *bound);
            }
            build.count += 1;
            build.seconds += seconds;
        });
    }

    /// Counts a set that was not saved.
    pub fn save_failed(&self, reason: &'static str) {
        self.with(|counts| *counts.save_failures.entry(reason).or_default() += 1);
    }

    /// Tells how many removals wait for an operator, and for time or another reading.
    pub fn waiting(&self, held_back: usize, pending: usize) {
        self.with(|counts| (counts.held_back, counts.pending) = (held_back, pending));
    }

    /// Tells whether a rollback is in force.
    pub fn pinned(&self, pinned: bool) {
        self.with(|counts| counts.pinned = pinned);
    }

    /// Tells how many generations are on disk.
    pub fn saved_generations(&self, count: usize) {
        self.with(|counts| counts.saved_generations = count);
    }

    /// Tells how many findings there are, by code and severity; codes without any too.
    pub fn findings(&self, counts: Vec<(&'static str, &'static str, u64)>) {
        self.with(|all| all.findings = counts);
    }
}

impl Export for SyncMetrics {
    fn export(&self, out: &mut Exporter) {
        self.1.export(out);
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, source) in &counts.sources {
            let label = ("source", name.as_str());
            for (result, count) in &source.results {
                let help = "Readings of a source, by result.";
                out.counter("sync_cycles_total", help, &[label, ("result", result)], *count);
            }
            let buckets: Vec<(f64, u64)> = BOUNDS.into_iter().zip(source.buckets).collect();
            let help = "Time that reading a source took.";
            out.histogram("sync_duration_seconds", help, &[label], &buckets, source.count, source.seconds);
            let help = "When a source was last read whole, Unix time; 0 for never.";
            out.gauge("sync_last_success_timestamp_seconds", help, &[label], float(source.last_success));
        }
        let help = "When the published record set was made, Unix time; 0 for never.";
        out.gauge("snapshot_created_timestamp_seconds", help, &[], float(counts.created));
        let help = "The generation of the published record set.";
        out.gauge("snapshot_generation", help, &[], float(counts.generation));
        for (zone, rrsets) in &counts.zones {
            out.gauge("snapshot_rrsets", "RRsets of a local zone.", &[("zone", zone)], float(*rrsets as u64));
        }
        for (kind, builds) in [("whole", &counts.whole), ("incremental", &counts.incremental)] {
            let buckets: Vec<(f64, u64)> = BUILD_BOUNDS.into_iter().zip(builds.buckets).collect();
            let (name, help) =
                ("snapshot_build_seconds", "Time that compiling and publishing a snapshot took.");
            out.histogram(name, help, &[("kind", kind)], &buckets, builds.count, builds.seconds);
        }
        for reason in ["io", "locked", "corrupt"] {
            let count = counts.save_failures.get(reason).copied().unwrap_or(0);
            let help = "Record sets that were published and not saved.";
            out.counter("snapshot_save_failures_total", help, &[("reason", reason)], count);
        }
        let help = "Removals that wait for an operator and are still served.";
        out.gauge("sync_held_back_removals", help, &[], float(counts.held_back as u64));
        let help = "Removals that wait for the grace time or another reading and are still served.";
        out.gauge("sync_pending_removals", help, &[], float(counts.pending as u64));
        let help = "Whether a rollback is in force: 1 until it is accepted.";
        out.gauge("sync_pinned", help, &[], f64::from(u8::from(counts.pinned)));
        let help = "Record sets in the state directory.";
        out.gauge("snapshot_saved_generations", help, &[], float(counts.saved_generations as u64));
        for (code, severity, count) in &counts.findings {
            let help = "Findings in force, by code.";
            out.gauge("findings", help, &[("code", code), ("severity", severity)], float(*count));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53, which times and counts never reach")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::azure::AzureFamily;
    use super::*;

    #[test]
    fn requests_to_azure_are_shown_with_the_sync() {
        let metrics = SyncMetrics::default();
        metrics.azure().request(AzureFamily::Graph, "forbidden", Duration::ZERO);
        let mut out = Exporter::default();
        metrics.export(&mut out);
        let line = "hubdns_azure_requests_total{family=\"graph\",result=\"forbidden\"} 1";
        assert!(out.encode().lines().any(|known| known == line));
    }
}
