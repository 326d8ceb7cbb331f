//! Every metric: names and help texts, and the exporter that turns counters
//! into Prometheus families.
//!
//! Counters live as plain atomics beside the code that counts
//! (`metrics/queries.rs`, `metrics/forward.rs`, `metrics/sync.rs`); a scrape
//! reads them. So a packet costs an uncontended add, and nothing is
//! registered at run time.

pub mod forward;
pub mod sync;

/// Something with counters to show.
pub trait Export: Send + Sync {
    /// Adds its families to `out`.
    fn export(&self, out: &mut Exporter);
}

/// Collects families during a scrape. Samples of one name may come from
/// several calls; label values come from enums or the configuration.
#[derive(Debug, Default)]
pub struct Exporter {}

impl Exporter {
    /// Adds a sample of a counter; the name ends in `_total`.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        let _ = (name, help, labels, value);
    }

    /// Adds a sample of a gauge.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        let _ = (name, help, labels, value);
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
        let _ = (name, help, labels, buckets, count, sum);
    }
}
