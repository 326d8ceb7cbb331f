//! Counters of the requests to Azure Resource Manager. Labels are enums: no
//! zone, subscription or text of Azure's becomes one.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::exporter::float;
use super::{Export, Exporter};

/// Upper bounds of the buckets of a request's duration, seconds.
const BOUNDS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// Upper bounds of the buckets of waits, seconds.
const WAIT_BOUNDS: [f64; 6] = [0.1, 1.0, 5.0, 15.0, 60.0, 300.0];

/// Most scopes whose remaining quota is kept: subscriptions and zones.
const MAX_SCOPES: usize = 20_000;

/// The kinds of requests that Azure limits apart from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AzureFamily {
    /// Subscriptions, management groups, permissions.
    Resources,
    /// Interfaces, endpoints, zone groups, virtual networks.
    Network,
    /// Zones and links.
    PrivateDns,
    /// Record sets, of all zones.
    RecordSets,
    /// Registries and replications.
    Registry,
    /// Resource Graph.
    Graph,
}

impl AzureFamily {
    /// Every family.
    pub const ALL: [Self; 6] =
        [Self::Resources, Self::Network, Self::PrivateDns, Self::RecordSets, Self::Registry, Self::Graph];

    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Resources => "resources",
            Self::Network => "network",
            Self::PrivateDns => "private_dns",
            Self::RecordSets => "record_sets",
            Self::Registry => "registry",
            Self::Graph => "graph",
        }
    }
}

/// Why a request waited before it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AzureWait {
    /// Our own budget, which stays below Azure's limits.
    Budget,
    /// Azure asked for it: 429 or `Retry-After`.
    Throttled,
    /// The pause before a request that failed is sent again.
    Backoff,
}

impl AzureWait {
    const fn label(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Throttled => "throttled",
            Self::Backoff => "backoff",
        }
    }
}

/// The limits whose remainder Azure tells in response headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AzureQuota {
    /// `x-ms-ratelimit-remaining-subscription-reads`.
    SubscriptionReads,
    /// `x-ms-ratelimit-remaining-subscription-global-reads`: of all principals together.
    SubscriptionGlobalReads,
    /// `x-ms-ratelimit-remaining-tenant-reads`.
    TenantReads,
    /// `x-ms-ratelimit-remaining-subscription-resource-requests`: of the resource provider.
    ResourceRequests,
    /// `x-ms-ratelimit-remaining-subscription-resource-entities-read`: of the resource provider.
    ResourceEntities,
    /// `x-ms-user-quota-remaining`: Resource Graph.
    GraphQueries,
}

impl AzureQuota {
    const fn label(self) -> &'static str {
        match self {
            Self::SubscriptionReads => "subscription_reads",
            Self::SubscriptionGlobalReads => "subscription_global_reads",
            Self::TenantReads => "tenant_reads",
            Self::ResourceRequests => "resource_requests",
            Self::ResourceEntities => "resource_entities",
            Self::GraphQueries => "graph_queries",
        }
    }
}

/// What the requests count. The lock is held for a few additions.
#[derive(Debug, Default)]
pub struct AzureMetrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    results: BTreeMap<(AzureFamily, &'static str), u64>,
    durations: BTreeMap<AzureFamily, Histogram<{ BOUNDS.len() }>>,
    waits: BTreeMap<(AzureFamily, AzureWait), Histogram<{ WAIT_BOUNDS.len() }>>,
    quotas: BTreeMap<(AzureFamily, AzureQuota), BTreeMap<String, u64>>,
}

#[derive(Debug)]
struct Histogram<const N: usize> {
    buckets: [u64; N],
    count: u64,
    seconds: f64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { buckets: [0; N], count: 0, seconds: 0.0 }
    }
}

impl<const N: usize> Histogram<N> {
    fn add(&mut self, bounds: &[f64; N], took: Duration) {
        let seconds = took.as_secs_f64();
        for (bound, bucket) in bounds.iter().zip(&mut self.buckets) {
            *bucket += u64::from(seconds <= *bound);
        }
        self.count += 1;
        self.seconds += seconds;
    }

    fn export(
        &self,
        out: &mut Exporter,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        bounds: &[f64; N],
    ) {
        let buckets: Vec<(f64, u64)> = bounds.iter().copied().zip(self.buckets).collect();
        out.histogram(name, help, labels, &buckets, self.count, self.seconds);
    }
}

impl AzureMetrics {
    fn with<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a request that was sent: `result` is `ok` or the label of an error.
    pub fn request(&self, family: AzureFamily, result: &'static str, took: Duration) {
        self.with(|counts| {
            *counts.results.entry((family, result)).or_default() += 1;
            counts.durations.entry(family).or_default().add(&BOUNDS, took);
        });
    }

    /// Counts a wait before a request.
    pub fn waited(&self, family: AzureFamily, why: AzureWait, took: Duration) {
        self.with(|counts| counts.waits.entry((family, why)).or_default().add(&WAIT_BOUNDS, took));
    }

    /// Keeps what Azure says is left in `scope`, a subscription or zone.
    pub fn quota(&self, family: AzureFamily, quota: AzureQuota, scope: &str, left: u64) {
        self.with(|counts| {
            let scopes = counts.quotas.entry((family, quota)).or_default();
            if scopes.len() >= MAX_SCOPES && !scopes.contains_key(scope) {
                scopes.clear();
            }
            match scopes.get_mut(scope) {
                Some(known) => *known = left,
                None => {
                    scopes.insert(scope.to_owned(), left);
                }
            }
        });
    }

    /// The least that is left of a quota in any scope, as Azure last said.
    pub fn left(&self, family: AzureFamily, quota: AzureQuota) -> Option<u64> {
        self.with(|counts| counts.quotas.get(&(family, quota))?.values().min().copied())
    }

    /// How many requests of a family ended in `result`.
    pub fn requests(&self, family: AzureFamily, result: &'static str) -> u64 {
        self.with(|counts| counts.results.get(&(family, result)).copied().unwrap_or(0))
    }

    /// How many requests of a family waited for a reason.
    pub fn waits(&self, family: AzureFamily, why: AzureWait) -> u64 {
        self.with(|counts| counts.waits.get(&(family, why)).map_or(0, |histogram| histogram.count))
    }
}

impl Export for AzureMetrics {
    fn export(&self, out: &mut Exporter) {
        self.with(|counts| {
            // Nothing of all this where Azure is not read.
            if counts.results.is_empty() {
                return;
            }
            for family in AzureFamily::ALL {
                counts.results.entry((family, "ok")).or_default();
            }
            for ((family, result), count) in &counts.results {
                let help = "Requests to Azure Resource Manager, each try counted, by family and result.";
                let labels = [("family", family.label()), ("result", *result)];
                out.counter("azure_requests_total", help, &labels, *count);
            }
            for (family, histogram) in &counts.durations {
                let help =
                    "Time from sending a request to Azure Resource Manager to the end of its response.";
                let labels = [("family", family.label())];
                histogram.export(out, "azure_request_duration_seconds", help, &labels, &BOUNDS);
            }
            for ((family, why), histogram) in &counts.waits {
                let help =
                    "Time that requests to Azure Resource Manager waited before they were sent, by reason.";
                let labels = [("family", family.label()), ("reason", why.label())];
                histogram.export(out, "azure_wait_duration_seconds", help, &labels, &WAIT_BOUNDS);
            }
            for ((family, quota), scopes) in &counts.quotas {
                let help =
                    "What Azure last said is left of a limit, the least of all subscriptions and zones.";
                let labels = [("family", family.label()), ("limit", quota.label())];
                let least = scopes.values().min().copied().unwrap_or(0);
                out.gauge("azure_quota_remaining", help, &labels, float(least));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_enums_and_the_least_of_all_scopes_is_shown() {
        let metrics = AzureMetrics::default();
        let mut out = Exporter::default();
        metrics.export(&mut out);
        assert_eq!(out.encode(), "", "where Azure is not read nothing is shown");
        metrics.request(AzureFamily::RecordSets, "ok", Duration::from_millis(70));
        metrics.request(AzureFamily::RecordSets, "throttled", Duration::from_millis(70));
        metrics.waited(AzureFamily::RecordSets, AzureWait::Throttled, Duration::from_secs(10));
        let quota = AzureQuota::ResourceRequests;
        metrics.quota(AzureFamily::RecordSets, quota, "/subscriptions/1/zone\"a", 499);
        metrics.quota(AzureFamily::RecordSets, quota, "/subscriptions/1/zone-b", 17);
        metrics.quota(AzureFamily::RecordSets, quota, "/subscriptions/1/zone-b", 16);
        assert_eq!(metrics.left(AzureFamily::RecordSets, quota), Some(16));
        let mut out = Exporter::default();
        metrics.export(&mut out);
        let text = out.encode();
        for line in [
            "hubdns_azure_requests_total{family=\"record_sets\",result=\"throttled\"} 1",
            "hubdns_azure_requests_total{family=\"graph\",result=\"ok\"} 0",
            "hubdns_azure_request_duration_seconds_bucket{family=\"record_sets\",le=\"0.1\"} 2",
            "hubdns_azure_wait_duration_seconds_count{family=\"record_sets\",reason=\"throttled\"} 1",
            "hubdns_azure_quota_remaining{family=\"record_sets\",limit=\"resource_requests\"} 16",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("zone-"), "{text}");
    }
}
