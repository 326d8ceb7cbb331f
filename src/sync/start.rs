//! How a sync begins: with what was saved, and under another configuration.

use std::sync::Arc;

use tracing::info;

use super::asked::Asked;
use super::clock::{Clock, SystemClock};
use super::cycle::{Current, Report, Sync, Trigger};
use super::findings::Findings;
use super::guard::{Rules, Waits};
use super::memory::Memory;
use super::persist;
use super::policy::{Policy, answer_options};
use super::reading::Readings;
use super::status::Status;
use super::store::{Store, Unsaved, not_loaded};
use crate::config::{Config, Guard};
use crate::findings::{Code, Finding};
use crate::metrics::sync::SyncMetrics;
use crate::routes::Routes;
use crate::snapshot::Snapshot;
use crate::snapshot::publish::Publisher;
use crate::sources::Budgets;

impl Sync {
    /// Publishes the saved set, if there is one; no source is read yet.
    pub fn start(config: &Config, metrics: Arc<SyncMetrics>) -> Self {
        Self::start_at(config, metrics, Box::<SystemClock>::default())
    }

    /// The same by another clock.
    pub fn start_at(config: &Config, metrics: Arc<SyncMetrics>, clock: Box<dyn Clock>) -> Self {
        // Before loading: a daemon that still runs may be about to save.
        let store = Store::open(&config.server, &metrics);
        Self::with_store(config, metrics, clock, store)
    }

    /// A sync that saves nothing and leaves the state directory to others: to
    /// see what a cycle would do.
    pub fn rehearse(config: &Config) -> Self {
        let store = Store::closed(&config.server);
        Self::with_store(config, Arc::default(), Box::<SystemClock>::default(), store)
    }

    fn with_store(config: &Config, metrics: Arc<SyncMetrics>, clock: Box<dyn Clock>, store: Store) -> Self {
        let loaded = persist::newest(store.path());
        let load_findings = loaded.problems.iter().map(|problem| not_loaded(problem, store.path())).collect();
        let options = answer_options(config);
        let mut current = Current::default();
        if let Some(saved) = loaded.saved {
            current = Current {
                loaded: true,
                set: Arc::new(saved.set),
                provenance: Arc::default(),
                generation: saved.header.generation,
                created: saved.header.created,
            };
            let generation = current.generation;
            info!(generation, zones = current.set.zones.len(), "saved record set loaded");
        }
        let snapshot = Snapshot::build(&current.set, &options, current.generation);
        let mut sync = Self {
            policy: Policy::new(config),
            options,
            rules: rules(&config.guard),
            clock,
            readings: Readings::open(config, &metrics),
            routes: Routes::default(),
            memory: Memory::default(),
            waits: Waits::default(),
            asked: Asked::default(),
            pin: None,
            scope: None,
            findings: Findings::new(config),
            unread_facts: current.loaded.then_some(current.generation),
            wanted: Arc::clone(&current.set),
            highest: loaded.highest.max(current.generation),
            compiled: Arc::clone(&current.set),
            current,
            store,
            publisher: Publisher::new(snapshot),
            status: Status::default(),
            metrics,
            load_findings,
            facts_finding: None,
            watch_finding: None,
            merge_findings: Vec::new(),
        };
        sync.show();
        sync
    }

    /// Reads what was saved beside the set that [`Self::start`] published, if
    /// that is still to be done: after the first answers, not before.
    pub(super) fn recall(&mut self) {
        let Some(generation) = self.unread_facts.take() else { return };
        let now = self.clock.steady();
        let path = self.store.path().to_owned();
        match persist::load_facts(&path, generation, &self.current.set) {
            Ok(facts) => {
                self.memory = facts.memory;
                self.current.provenance = Arc::new(facts.provenance);
                self.readings.restore(facts.listings, &self.metrics);
                self.waits = facts.waits;
                self.asked.restore(facts.asked, now);
                self.pin = facts.pin;
                self.scope = facts.scope;
                self.findings.restore(facts.findings);
            }
            Err(problem) => {
                self.facts_finding = Some(not_loaded(&problem, &path));
                // What is ours stays ours, but for what the configuration alone says.
                let own = self.current.set.own.iter();
                let learned = own.filter(|name| !self.policy.own_registries.contains(name));
                self.memory.own = learned.cloned().collect();
                self.store.needs(Unsaved::Facts);
            }
        }
        if self.highest > generation {
            // The set of a later generation is damaged; that it was a rollback
            // is told beside it.
            self.pin = persist::load_pin(&path, self.highest).or(self.pin);
        }
    }

    /// Lets what the sources ask for addresses draw on `budgets`; before they are started.
    pub fn draw_on(&mut self, budgets: Arc<dyn Budgets>) {
        self.readings.draw_on(budgets);
    }

    /// Tells that changes are found by polling, and why.
    pub(super) fn set_watch_problem(&mut self, problem: Option<String>) {
        self.watch_finding = problem.map(|text| Finding::new(Code::FilesPolled, "files", "", text));
    }

    /// Takes a new configuration and runs a cycle under it. A source that
    /// keeps its name keeps its last listing; one that is gone loses it.
    pub fn reconfigure(&mut self, config: &Config) -> Report {
        self.recall();
        self.policy = Policy::new(config);
        self.options = answer_options(config);
        self.rules = rules(&config.guard);
        self.findings.configure(config);
        self.readings.reopen(config, &self.metrics);
        if self.store.reconfigure(&config.server, &self.metrics) {
            self.highest = self.highest.max(persist::highest(&config.server.state_dir));
        }
        self.cycle(Trigger::Reconfigured)
    }
}

/// The guard's limits.
fn rules(guard: &Guard) -> Rules {
    Rules {
        grace: guard.grace.as_secs(),
        max_removed_percent: guard.max_removed_percent as usize,
        asked_within: guard.asked_within.as_secs(),
    }
}
