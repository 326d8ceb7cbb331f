//! What operators see of upstreams: metrics and `hubdns top`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Governor, Upstream, lock};
use crate::forward::budget::{Class, Over, Usage};
use crate::forward::health::{Cause, State};
use crate::metrics::Exporter;
use crate::metrics::governor::{self, BudgetSample, HealthCounters, UpstreamSample};

/// Prefixes per upstream in a scrape: each is a series.
const SCRAPED_PREFIXES: usize = 5;

/// How an upstream fares.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamUse {
    /// Its name: an address, or a URL.
    pub name: String,
    /// The address that its budget hangs on.
    pub address: String,
    /// Whether it is asked.
    pub state: State,
    /// Why it is down, or was last.
    pub cause: Cause,
    /// Smoothed round trip time.
    pub rtt: Option<Duration>,
    /// What nineteen of twenty round trips take at most.
    pub p95: Option<Duration>,
    /// Queries sent again.
    pub resends: u64,
    /// Queries sent since another upstream took long.
    pub hedges: u64,
    /// Probes sent, and answered.
    pub probes: (u64, u64),
}

/// How the budget of an address stands.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetUse {
    /// The address.
    pub address: String,
    /// What is used, of what.
    pub usage: Usage,
    /// Who spends most: prefixes with their queries within the last second.
    pub spenders: Vec<(String, u32)>,
}

impl Upstream {
    fn shown(&self) -> UpstreamUse {
        let (health, counters) = (lock(&self.health), &self.counters);
        let get = HealthCounters::get;
        UpstreamUse {
            name: self.name.clone(),
            address: self.purse.address.to_string(),
            state: health.state(),
            cause: health.cause(),
            rtt: health.rtt().smoothed(),
            p95: health.rtt().p95(),
            resends: get(&counters.resends),
            hedges: get(&counters.hedges),
            probes: (get(&counters.probes), get(&counters.probes_answered)),
        }
    }

    fn sample(&self) -> UpstreamSample {
        let shown = self.shown();
        let (sent, answered) = shown.probes;
        let downs = Cause::ALL.iter().zip(&self.counters.downs);
        UpstreamSample {
            upstream: shown.name,
            up: shown.state == State::Up,
            downs: downs.map(|(cause, count)| (cause.label(), count.load(Ordering::Relaxed))).collect(),
            rtt_seconds: shown.rtt.map(|rtt| rtt.as_secs_f64()),
            p95_seconds: shown.p95.map(|p95| p95.as_secs_f64()),
            probes: (answered, sent.saturating_sub(answered)),
            resends: shown.resends,
            hedges: shown.hedges,
        }
    }
}

impl Governor {
    /// All upstreams, in the order in which they were first asked.
    pub fn upstreams(&self) -> Vec<UpstreamUse> {
        lock(&self.upstreams).iter().map(|upstream| upstream.shown()).collect()
    }

    /// All budgets, each with the `most` prefixes that spend most of it.
    pub fn budgets(&self, most: usize, now: u64) -> Vec<BudgetUse> {
        let purses = lock(&self.purses).clone();
        let shown = purses.iter().map(|purse| {
            let mut inner = lock(&purse.inner);
            let bits = inner.1.bits;
            let usage = inner.0.usage(most, now);
            let spenders = usage.spenders.iter().map(|(prefix, used)| (prefix.text(bits), *used)).collect();
            BudgetUse { address: purse.address.to_string(), usage, spenders }
        });
        shown.collect()
    }

    /// Adds the families of upstreams and budgets.
    pub fn export(&self, now: u64, out: &mut Exporter) {
        let upstreams = lock(&self.upstreams).clone();
        for upstream in &upstreams {
            governor::export_upstream(&upstream.sample(), out);
        }
        for budget in self.budgets(SCRAPED_PREFIXES, now) {
            governor::export_budget(&budget_sample(budget), out);
        }
    }
}

fn budget_sample(BudgetUse { address, usage, spenders }: BudgetUse) -> BudgetSample {
    let refused = Class::ALL.iter().zip(&usage.counts.refused).flat_map(|(class, reasons)| {
        let reasons = Over::ALL.iter().zip(reasons);
        reasons.map(|(reason, count)| (class.label(), reason.label(), *count))
    });
    let admitted = Class::ALL.iter().zip(&usage.counts.admitted);
    BudgetSample {
        upstream: address,
        rate_limit: usage.limits.rate,
        rate: usage.rate,
        in_flight_limit: usage.limits.in_flight,
        in_flight: usage.in_flight,
        exhausted_in: usage.exhausted_in,
        admitted: admitted.map(|(class, count)| (class.label(), *count)).collect(),
        refused: refused.collect(),
        spenders,
    }
}
