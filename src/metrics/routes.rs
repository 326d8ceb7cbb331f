//! Counters of the periodic route checks. Results come from an enum; no name
//! and no address is a label.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::exporter::float;
use super::{Export, Exporter};

/// What the route checks count.
#[derive(Debug, Default)]
pub struct RouteMetrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    results: BTreeMap<&'static str, u64>,
    failed: usize,
}

impl RouteMetrics {
    /// All counters at zero: `results` are the words that may come.
    pub fn new(results: impl IntoIterator<Item = &'static str>) -> Self {
        let results = results.into_iter().map(|result| (result, 0)).collect();
        Self(Mutex::new(Counts { results, failed: 0 }))
    }

    /// Counts a check: `result` is `ok` or the label of a problem.
    pub fn checked(&self, result: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).results.entry(result).or_default() += 1;
    }

    /// Tells how many addresses count as failed.
    pub fn failed(&self, count: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).failed = count;
    }
}

impl Export for RouteMetrics {
    fn export(&self, out: &mut Exporter) {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (result, count) in &counts.results {
            let help = "Checks of the way to a registry's address, by result.";
            out.counter("route_checks_total", help, &[("result", result)], *count);
        }
        let help = "Addresses of registries that failed the last two checks or more.";
        out.gauge("routes_failed", help, &[], float(counts.failed as u64));
    }
}
