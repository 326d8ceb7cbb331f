//! From what merge, guard, sources and the rules say to the findings that are
//! shown: ignored ones left out, times stamped, changes told.

use std::collections::{BTreeMap, HashSet};

use tracing::{info, warn};

use super::Sync;
use super::policy::Policy;
use crate::config::Config;
use crate::events::outside;
use crate::findings::{Code, Evidence, Finding, Ignored, Ledger, Notices, Severity, Stamped, examine};
use crate::metrics::sync::SyncMetrics;
use crate::routes::{Routes, Upstreams};
use crate::snapshot::model::RecordSet;
use crate::sources::Reading;
use crate::sources::facts::Listing;

/// Changes that are logged within [`WINDOW`] seconds; more are counted.
const MAX_TOLD: usize = 50;
/// See [`MAX_TOLD`].
const WINDOW: u64 = 600;

/// The findings from one cycle to the next.
#[derive(Debug, Default)]
pub(super) struct Findings {
    ignored: Ignored,
    ledger: Ledger,
    routes: Routes,
    upstreams: Upstreams,
    notices: Notices,
    told: Told,
}

/// How many changes were logged lately.
#[derive(Debug, Default)]
struct Told {
    since: u64,
    count: usize,
    left_out: usize,
}

impl Findings {
    pub(super) fn new(config: &Config) -> Self {
        let mut findings = Self::default();
        findings.configure(config);
        findings
    }

    /// Takes what `config` ignores.
    pub(super) fn configure(&mut self, config: &Config) {
        let ignored = Ignored::new(&config.ignored_findings);
        if ignored != self.ignored {
            for code in ignored.unknown() {
                warn!(code = %outside(code), "findings.ignore names an unknown finding");
            }
            self.ignored = ignored;
        }
    }

    /// Takes the handles that the route checks and the upstreams' checks fill.
    pub(super) fn attach(&mut self, routes: Routes, upstreams: Upstreams) {
        (self.routes, self.upstreams) = (routes, upstreams);
    }

    /// Takes over what an earlier process saved.
    pub(super) fn restore(&mut self, saved: Vec<Finding>) {
        self.ledger.adopt(saved);
    }

    /// What the next process is to take over.
    pub(super) fn saved(&self) -> Vec<Finding> {
        self.ledger.saved()
    }

    /// The findings of now: what was `said` and what the rules find.
    pub(super) fn update(
        &mut self,
        facts: &Facts<'_>,
        said: Vec<Finding>,
        now: u64,
        metrics: &SyncMetrics,
    ) -> Updated {
        let (routes, upstreams) = (self.routes.get(), self.upstreams.get());
        let evidence = Evidence { routes: &routes, upstreams: &upstreams, ..facts.evidence() };
        let mut fresh = said;
        fresh.extend(examine(&evidence));
        fresh.extend(self.notices.get());
        fresh.retain(|finding| !self.ignored.covers(finding));
        let stamped = self.ledger.stamp(now, fresh);
        self.told.tell(&stamped, now);
        metrics.findings(counts(&stamped.findings));
        let changed = !stamped.appeared.is_empty() || !stamped.gone.is_empty();
        Updated { findings: stamped.findings, changed }
    }
}

/// What an update brought.
#[derive(Debug)]
pub(super) struct Updated {
    /// All findings, the worst first.
    pub(super) findings: Vec<Finding>,
    /// Others than before.
    pub(super) changed: bool,
}

impl Sync {
    /// Takes the handles that the checks of routes and of upstreams fill.
    pub fn attach_checks(&mut self, routes: Routes, upstreams: Upstreams) {
        self.routes = routes.clone();
        self.findings.attach(routes, upstreams);
    }

    /// Takes the handle of a part of the process that has findings of its own.
    pub fn attach_notices(&mut self, notices: Notices) {
        self.findings.notices = notices;
    }
}

/// How many findings there are of each code; those without any are 0.
fn counts(findings: &[Finding]) -> Vec<(&'static str, &'static str, u64)> {
    let mut by_code: BTreeMap<Code, u64> = BTreeMap::new();
    for finding in findings {
        *by_code.entry(finding.code).or_default() += 1;
    }
    let count = |code: &Code| by_code.get(code).copied().unwrap_or(0);
    Code::ALL.iter().map(|code| (code.label(), code.severity().label(), count(code))).collect()
}

impl Told {
    /// Logs what appeared and what is gone, so much of it that a flapping
    /// estate cannot fill the log.
    fn tell(&mut self, stamped: &Stamped, now: u64) {
        // Also on a clock that was set back.
        if now < self.since || now - self.since >= WINDOW {
            if self.left_out > 0 {
                info!(count = self.left_out, "changes of findings not logged");
            }
            *self = Self { since: now, ..Self::default() };
        }
        let mut appeared: Vec<&Finding> = stamped.appeared.iter().collect();
        appeared.sort_by_key(|finding| std::cmp::Reverse(finding.code.severity()));
        for finding in appeared.into_iter().filter(|_| self.may_tell()) {
            let (code, name) = (finding.code.label(), outside(&finding.name));
            let (resource, text) = (outside(&finding.resource_id), outside(&finding.text));
            if finding.code.severity() == Severity::Info {
                info!(code, %name, %resource, %text, "finding appeared");
            } else {
                warn!(code, %name, %resource, %text, "finding appeared");
            }
        }
        for finding in stamped.gone.iter().filter(|_| self.may_tell()) {
            let (name, resource) = (outside(&finding.name), outside(&finding.resource_id));
            info!(code = finding.code.label(), %name, %resource, "finding gone");
        }
    }

    const fn may_tell(&mut self) -> bool {
        let may = self.count < MAX_TOLD;
        if may {
            self.count += 1;
        } else {
            self.left_out += 1;
        }
        may
    }
}

/// What the rules look at, as the sync has it.
pub struct Facts<'a> {
    /// The last complete listings, those of better sources first.
    pub listings: &'a [&'a Listing],
    /// The published set.
    pub set: &'a RecordSet,
    /// The settings of the merge.
    pub policy: &'a Policy,
    /// Something was never read.
    pub incomplete: bool,
}

impl Facts<'_> {
    /// As evidence, without checks of ways out.
    pub fn evidence(&self) -> Evidence<'_> {
        Evidence {
            listings: self.listings,
            set: self.set,
            suffixes: &self.policy.suffixes,
            own_registries: &self.policy.own_registries,
            vnets: &self.policy.vnets,
            routes: Evidence::no_routes(),
            upstreams: &[],
            incomplete: self.incomplete,
        }
    }
}

/// Whether a reading leaves out something that no earlier one told of either.
pub(super) fn is_incomplete(held: Option<&Vec<Listing>>, reading: &Reading) -> bool {
    if reading.failures.is_empty() {
        return reading.is_pending;
    }
    let listings = held.into_iter().flatten().chain(&reading.listings);
    let known: HashSet<&str> = listings.map(|listing| listing.id.scope.as_str()).collect();
    reading.is_pending || reading.failures.iter().any(|failure| !known.contains(failure.scope.as_str()))
}
