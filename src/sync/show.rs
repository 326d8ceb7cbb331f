//! The state that others see after a cycle.

use std::sync::Arc;

use super::alerts;
use super::cycle::Sync;
use super::findings::Facts;
use super::status::{SourceStatus, State};
use super::store::Unsaved;
use crate::findings::{Code, Finding};

impl Sync {
    /// Replaces the state that others see.
    pub(super) fn show(&mut self) {
        let zone = |zone: &crate::snapshot::model::Zone| (zone.apex.to_string(), zone.rrsets.len());
        let zones = self.current.set.zones.iter().map(zone).collect();
        self.metrics.published(self.current.generation, self.current.created, zones);
        self.metrics.waiting(self.waits.held(), self.waits.pending());
        self.metrics.pinned(self.pin.is_some());
        self.metrics.saved_generations(self.store.generations());
        let sources = self.readings.status();
        let said = self.said(&sources);
        let listings = self.readings.listings();
        let incomplete = self.readings.is_some_incomplete();
        let facts = Facts { listings: &listings, set: &self.current.set, policy: &self.policy, incomplete };
        let updated = self.findings.update(&facts, said, self.clock.wall(), &self.metrics);
        // Their times outlast this process. Not before what is saved was read:
        // this would take its place.
        if updated.changed && self.unread_facts.is_none() {
            self.store.needs(Unsaved::Facts);
        }
        let findings = updated.findings;
        self.status.set(State {
            loaded: self.current.loaded,
            generation: self.current.generation,
            created: self.current.created,
            set: Arc::clone(&self.current.set),
            provenance: Arc::clone(&self.current.provenance),
            sources,
            findings,
            not_saved: self.store.problem().map(str::to_owned),
            wanted: Arc::clone(&self.wanted),
            waits: Arc::new(self.waits.clone()),
            grace: self.rules.grace,
            now: self.clock.steady(),
            is_blocked: self.readings.is_some_silent(),
            pin: self.pin,
            state_dir: self.store.path().to_owned(),
        });
    }

    /// Everything that was noticed: by the merge, and here.
    fn said(&self, sources: &[SourceStatus]) -> Vec<Finding> {
        let mut findings = self.merge_findings.clone();
        alerts::held_back(&self.waits, &mut findings);
        if let Some(pin) = self.pin {
            alerts::pinned(pin, self.current.generation, &mut findings);
        }
        findings
            .extend(self.load_findings.iter().chain(&self.facts_finding).chain(&self.watch_finding).cloned());
        if let Some(text) = self.store.problem() {
            let path = self.store.path().display().to_string();
            findings.push(Finding::new(Code::SaveFailed, "state", path, text));
        }
        for source in sources {
            alerts::failed(source, &mut findings);
        }
        findings
    }
}
