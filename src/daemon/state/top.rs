//! One look at the traffic, for `hubdns top`.

use super::State;
use crate::admin::view::top::{OutcomeRow, Top, TopBudget, TopPrefix, TopUpstream};
use crate::forward::governor::{BudgetUse, UpstreamUse};
use crate::forward::health;
use crate::metrics::forward::CacheLookup;

/// Prefixes that are shown of each budget.
const PREFIXES: usize = 20;

impl State {
    pub(super) fn look(&self) -> Top {
        let forwarder = self.resolver.forwarder();
        let (governor, now) = forwarder.governor();
        let counts = self.running().map(|running| running.counts()).unwrap_or_default();
        // What came from upstreams and their cache is counted as one; the cache
        // knows its part. It is read first, so that it is never the larger.
        let cached = forwarder.metrics().lookups(CacheLookup::Hit).min(counts.forwarded);
        let outcome = |outcome: &str, queries| OutcomeRow { outcome: outcome.to_owned(), queries };
        Top {
            at_milliseconds: now,
            outcomes: vec![
                outcome("held", counts.held),
                outcome("cached", cached),
                outcome("forwarded", counts.forwarded - cached),
                outcome("error", counts.errors),
                outcome("dropped", counts.dropped),
            ],
            upstreams: governor.upstreams().into_iter().map(upstream_row).collect(),
            budgets: governor.budgets(PREFIXES, now).into_iter().map(budget_row).collect(),
        }
    }
}

fn upstream_row(shown: UpstreamUse) -> TopUpstream {
    let is_up = shown.state == health::State::Up;
    TopUpstream {
        upstream: shown.name,
        state: shown.state.label().to_owned(),
        cause: if is_up { String::new() } else { shown.cause.label().to_owned() },
        rtt_milliseconds: shown.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
        p95_milliseconds: shown.p95.map(|p95| p95.as_secs_f64() * 1000.0),
        resends: shown.resends,
        hedges: shown.hedges,
        probes: shown.probes.0,
        probes_answered: shown.probes.1,
    }
}

fn budget_row(BudgetUse { address, usage, spenders }: BudgetUse) -> TopBudget {
    TopBudget {
        address,
        rate: usage.rate,
        rate_limit: usage.limits.rate,
        in_flight: usage.in_flight,
        in_flight_limit: usage.limits.in_flight,
        refused: usage.counts.refused.iter().flatten().sum(),
        exhausted_in_seconds: usage.exhausted_in,
        prefixes: spenders.into_iter().map(|(prefix, rate)| TopPrefix { prefix, rate }).collect(),
    }
}
