//! One cycle: read, merge, guard, build, save, publish.

mod background;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tracing::{debug, info, warn};

use super::guard::{self, Circumstances, Pending, Rules, Verdict};
use super::memory::Memory;
use super::merge::merge;
use super::persist::{self, Facts, PersistError, StateDir};
use super::policy::{Policy, answer_options};
use super::provenance::Provenance;
use super::status::{SourceStatus, State, Status};
use crate::config::Config;
use crate::findings::{Code, Finding};
use crate::metrics::sync::SyncMetrics;
use crate::snapshot::Snapshot;
use crate::snapshot::model::{AnswerOptions, RecordSet};
use crate::snapshot::publish::Publisher;
use crate::sources::error::chain;
use crate::sources::facts::{Listing, SourceKind};
use crate::sources::{self, Changed, Failure, ReadRecords, Reading, SourceError, unix_now};

/// Keeps the published set in step with the sources.
pub struct Sync {
    policy: Policy,
    options: AnswerOptions,
    rules: Rules,
    sources: Vec<Box<dyn ReadRecords>>,
    /// Whom sources that read in the background tell of news, once they do.
    changed: Option<Changed>,
    /// The last complete listings of each source in the configuration.
    listings: BTreeMap<String, Vec<Listing>>,
    health: BTreeMap<String, Health>,
    memory: Memory,
    /// The generation whose saved facts are still to be read.
    unread_facts: Option<u64>,
    pending: Option<Pending>,
    current: Current,
    /// The next generation lies above this.
    highest: u64,
    store: Store,
    publisher: Arc<Publisher>,
    status: Status,
    metrics: Arc<SyncMetrics>,
    load_findings: Vec<Finding>,
    watch_finding: Option<Finding>,
    merge_findings: Vec<Finding>,
}

/// What is published.
#[derive(Default)]
struct Current {
    loaded: bool,
    set: Arc<RecordSet>,
    provenance: Arc<Provenance>,
    generation: u64,
    created: u64,
}

#[derive(Default)]
struct Health {
    last_success: Option<u64>,
    last_error: Option<String>,
}

/// Where sets are saved.
struct Store {
    path: std::path::PathBuf,
    directory: Option<StateDir>,
    /// Why the last set was not saved.
    problem: Option<String>,
    /// What of the published set is not on disk yet.
    unsaved: Unsaved,
}

/// What is not on disk yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unsaved {
    Nothing,
    /// The memory, or facts that were lost.
    Facts,
    /// The set and all beside it.
    Set,
}

/// Why a cycle runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Something changed, or it is time.
    Routine,
    /// The configuration changed; removals are meant.
    Reconfigured,
}

/// What a cycle did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether another set was published.
    pub changed: bool,
    /// The generation that is published now.
    pub generation: u64,
    /// Sources that failed, with the reason.
    pub failed: Vec<(String, String)>,
    /// Removals that are held back.
    pub held_back: usize,
}

impl Sync {
    /// Publishes the saved set, if there is one; no source is read yet.
    pub fn start(config: &Config, metrics: Arc<SyncMetrics>) -> Self {
        let path = config.server.state_dir.clone();
        // Before loading: a daemon that still runs may be about to save.
        let store = Store::open(&path, &metrics);
        let loaded = persist::newest(&path);
        let mut load_findings = Vec::new();
        for problem in &loaded.problems {
            load_findings.push(not_loaded(problem, &path));
        }
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
            rules: Rules::default(),
            sources: sources::open(config),
            changed: None,
            listings: BTreeMap::new(),
            health: BTreeMap::new(),
            memory: Memory::default(),
            unread_facts: current.loaded.then_some(current.generation),
            pending: None,
            highest: loaded.highest.max(current.generation),
            current,
            store,
            publisher: Publisher::new(snapshot),
            status: Status::default(),
            metrics,
            load_findings,
            watch_finding: None,
            merge_findings: Vec::new(),
        };
        sync.forget_removed_sources();
        sync.show(0);
        sync
    }

    /// Reads what was saved beside the set that [`Self::start`] published, if
    /// that is still to be done: after the first answers, not before.
    fn recall(&mut self) {
        let Some(generation) = self.unread_facts.take() else { return };
        match persist::load_facts(&self.store.path, generation) {
            Ok(facts) => {
                self.memory = facts.memory;
                self.current.provenance = Arc::new(facts.provenance);
                for listing in facts.listings {
                    self.listings.entry(listing.id.source.clone()).or_default().push(listing);
                }
                self.forget_removed_sources();
                self.start_sources();
            }
            Err(problem) => {
                self.load_findings.push(not_loaded(&problem, &self.store.path));
                self.store.needs(Unsaved::Facts);
            }
        }
    }

    /// Where snapshots are published.
    pub fn publisher(&self) -> Arc<Publisher> {
        Arc::clone(&self.publisher)
    }

    /// How the sync fares, for other threads.
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// The sources, for the watcher.
    pub(super) fn sources(&self) -> &[Box<dyn ReadRecords>] {
        &self.sources
    }

    /// Whether another cycle is due though no file changes: a source failed,
    /// a removal waits for confirmation, or a set waits to be saved.
    pub(super) fn wants_retry(&self) -> bool {
        self.pending.is_some()
            || self.store.unsaved > Unsaved::Nothing && self.store.directory.is_some()
            || self.health.values().any(|health| health.last_error.is_some())
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
        self.sources = sources::open_reusing(config, std::mem::take(&mut self.sources));
        self.forget_removed_sources();
        self.start_sources();
        if self.store.path != config.server.state_dir {
            self.store = Store::open(&config.server.state_dir, &self.metrics);
            self.store.needs(Unsaved::Set);
        }
        self.cycle(Trigger::Reconfigured)
    }

    fn forget_removed_sources(&mut self) {
        let names: Vec<&str> = self.sources.iter().map(|source| source.name()).collect();
        self.listings.retain(|name, _| names.contains(&name.as_str()));
        self.health.retain(|name, _| names.contains(&name.as_str()));
        self.metrics.sources(names.iter().copied());
        for (name, listings) in &self.listings {
            let read_at = listings.iter().map(|listing| listing.read_at).max();
            let health = self.health.entry(name.clone()).or_default();
            health.last_success = health.last_success.or(read_at);
            self.metrics.last_success(name, health.last_success.unwrap_or(0));
        }
    }

    /// Runs one cycle.
    pub fn cycle(&mut self, trigger: Trigger) -> Report {
        self.recall();
        let failed = self.read_all();
        let listings: Vec<&Listing> =
            self.sources.iter().filter_map(|source| self.listings.get(source.name())).flatten().collect();
        let nothing_known = !self.sources.is_empty() && listings.is_empty() && !self.current.loaded;
        let merged = merge(&listings, &self.policy, &self.memory);
        let silent = self.sources.iter().any(|source| !self.listings.contains_key(source.name()));
        let circumstances = Circumstances {
            suffixes: &self.policy.suffixes,
            reconfigured: trigger == Trigger::Reconfigured,
            incomplete: silent,
            now: unix_now(),
        };
        let verdict =
            guard::judge(&self.current.set, merged.set, self.pending.as_ref(), &self.rules, &circumstances);
        let Verdict { set, held, pending } = verdict;
        if pending.is_some() && pending != self.pending {
            warn!(removals = held.len(), "removal held back");
        }
        self.pending = pending;
        let mut provenance = merged.provenance;
        provenance.hold_back(&self.current.provenance, &held);
        self.merge_findings = merged.findings;
        for (name, rtype) in &held {
            let text = format!("the {rtype} record is in no source any more and awaits confirmation");
            self.merge_findings.push(Finding::new(Code::HeldBack, name, "", text));
        }
        if self.memory != merged.memory {
            self.memory = merged.memory;
            self.store.needs(Unsaved::Facts);
        }
        let changed = *self.current.set != set || (!self.current.loaded && !nothing_known);
        if changed {
            self.adopt(set);
        }
        self.current.provenance = Arc::new(provenance);
        if changed || trigger == Trigger::Reconfigured {
            let snapshot = Snapshot::build(&self.current.set, &self.options, self.current.generation);
            self.save();
            self.publisher.publish(snapshot);
        } else {
            self.save();
        }
        self.show(held.len());
        let generation = self.current.generation;
        if changed {
            let rrsets: usize = self.current.set.zones.iter().map(|zone| zone.rrsets.len()).sum();
            let aliases = self.current.set.aliases.len();
            info!(generation, rrsets, aliases, held_back = held.len(), "snapshot published");
        } else {
            debug!(generation, failed = failed.len(), "sync ran without change");
        }
        Report { changed, generation, failed, held_back: held.len() }
    }

    /// Makes `set` the current one, with a generation of its own.
    fn adopt(&mut self, set: RecordSet) {
        self.highest += 1;
        self.current.loaded = true;
        self.current.set = Arc::new(set);
        self.current.generation = self.highest;
        self.current.created = unix_now();
        self.store.needs(Unsaved::Set);
    }

    /// Reads every source; what fails keeps its last listing.
    fn read_all(&mut self) -> Vec<(String, String)> {
        let mut failed = Vec::new();
        for source in &self.sources {
            let name = source.name();
            let start = Instant::now();
            let result = read_contained(source.as_ref()).and_then(|reading| {
                accept(self.listings.get(name).map(Vec::as_slice), reading, source.kind())
            });
            let health = self.health.entry(name.to_owned()).or_default();
            let (reading, problem) = match result {
                Ok(reading) if reading.is_pending && reading.listings.is_empty() => continue,
                Ok(reading) => {
                    let first = reading.failures.first();
                    let problem = first.map(|failure| (failure.error.label(), part(failure, &reading)));
                    (reading, problem)
                }
                Err(error) => (Reading::default(), Some((error.label(), chain(&error)))),
            };
            self.metrics.read(name, problem.as_ref().map_or("ok", |(label, _)| label), start.elapsed());
            replace(self.listings.entry(name.to_owned()).or_default(), reading);
            if let Some((_, text)) = problem {
                if health.last_error.as_ref() != Some(&text) {
                    warn!(source = name, error = %text, "sync failed");
                }
                health.last_error = Some(text.clone());
                failed.push((name.to_owned(), text));
            } else {
                if health.last_error.take().is_some() {
                    info!(source = name, "source recovered");
                }
                let now = unix_now();
                health.last_success = Some(now);
                self.metrics.last_success(name, now);
            }
        }
        self.listings.retain(|_, listings| !listings.is_empty());
        failed
    }

    /// Saves what is not saved yet. A failure is a finding, a metric and a log
    /// line; what was published stays published.
    fn save(&mut self) {
        if self.store.unsaved == Unsaved::Nothing || !self.current.loaded {
            return;
        }
        let Some(directory) = &self.store.directory else { return };
        let facts = Facts {
            listings: self.listings.values().flatten().cloned().collect(),
            memory: self.memory.clone(),
            provenance: (*self.current.provenance).clone(),
        };
        let current = &self.current;
        let saved = if self.store.unsaved == Unsaved::Set {
            directory.save(current.generation, current.created, &current.set, &facts)
        } else {
            directory.save_facts(current.generation, current.created, &facts)
        };
        match saved {
            Ok(()) => {
                self.store.unsaved = Unsaved::Nothing;
                self.store.problem = None;
            }
            Err(error) => self.store.fail(&error, &self.metrics),
        }
    }

    /// Replaces the state that others see.
    fn show(&self, held_back: usize) {
        let zone = |zone: &crate::snapshot::model::Zone| (zone.apex.to_string(), zone.rrsets.len());
        let zones = self.current.set.zones.iter().map(zone).collect();
        self.metrics.published(self.current.generation, self.current.created, zones);
        self.metrics.held_back(held_back);
        let mut findings = self.merge_findings.clone();
        findings.extend(self.load_findings.iter().chain(&self.watch_finding).cloned());
        let not_saved = self.store.problem.clone();
        let path = self.store.path.display().to_string();
        findings.extend(
            not_saved
                .iter()
                .map(|text| Finding::new(Code::SaveFailed, "state", path.as_str(), text.as_str())),
        );
        let mut sources = Vec::new();
        for source in &self.sources {
            let status = self.source_status(source.as_ref());
            let failed = status.last_error.as_ref();
            findings
                .extend(failed.map(|text| Finding::new(Code::SourceFailed, &status.name, "", text.as_str())));
            sources.push(status);
        }
        self.status.set(State {
            loaded: self.current.loaded,
            generation: self.current.generation,
            created: self.current.created,
            set: Arc::clone(&self.current.set),
            provenance: Arc::clone(&self.current.provenance),
            sources,
            findings,
            not_saved,
        });
    }

    fn source_status(&self, source: &dyn ReadRecords) -> SourceStatus {
        let health = self.health.get(source.name());
        let listings = self.listings.get(source.name()).map(Vec::as_slice).unwrap_or_default();
        SourceStatus {
            name: source.name().to_owned(),
            kind: source.kind(),
            last_success: health.and_then(|health| health.last_success),
            last_error: health.and_then(|health| health.last_error.clone()),
            facts: listings.iter().map(|listing| listing.facts.len()).sum(),
        }
    }
}

impl Store {
    fn open(path: &std::path::Path, metrics: &SyncMetrics) -> Self {
        let mut store =
            Self { path: path.to_owned(), directory: None, problem: None, unsaved: Unsaved::Nothing };
        match StateDir::open(path) {
            Ok(directory) => store.directory = Some(directory),
            Err(error) => store.fail(&error, metrics),
        }
        store
    }

    fn needs(&mut self, what: Unsaved) {
        self.unsaved = self.unsaved.max(what);
    }

    fn fail(&mut self, error: &PersistError, metrics: &SyncMetrics) {
        let text = chain(error);
        metrics.save_failed(error.label());
        if self.problem.as_ref() != Some(&text) {
            warn!(error = %text, "record sets are not saved");
        }
        self.problem = Some(text);
    }
}

/// Logs and tells that a saved file does not count.
fn not_loaded(problem: &PersistError, directory: &std::path::Path) -> Finding {
    let text = chain(problem);
    warn!(error = %text, "saved record set skipped");
    Finding::new(Code::SavedSetDamaged, "state", directory.display().to_string(), text)
}

/// Reads a source; a panic in it is an error like others.
fn read_contained(source: &dyn ReadRecords) -> Result<Reading, SourceError> {
    catch_unwind(AssertUnwindSafe(|| source.read())).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(SourceError::Defect { message })
    })
}

/// What a reading that failed in part says of its first failure.
fn part(failure: &Failure, reading: &Reading) -> String {
    let others = reading.failures.len() - 1;
    let more = if others == 0 { String::new() } else { format!(" (and {others} more)") };
    format!("{}: {}{more}", failure.scope, chain(&failure.error))
}

/// Puts fresh listings in the place of those with their ids, and drops those
/// whose scope is gone.
fn replace(held: &mut Vec<Listing>, reading: Reading) {
    let fresh: BTreeSet<&str> = reading.listings.iter().map(|listing| listing.id.scope.as_str()).collect();
    held.retain(|listing| {
        let scope = listing.id.scope.as_str();
        !fresh.contains(scope) && reading.scopes.as_ref().is_none_or(|scopes| scopes.contains(scope))
    });
    held.extend(reading.listings);
    held.sort_by(|a, b| a.id.cmp(&b.id));
}

/// An empty listing never takes away what there was: that a whole estate is
/// gone is said by removing its source. The configuration itself may say so.
fn accept(previous: Option<&[Listing]>, fresh: Reading, kind: SourceKind) -> Result<Reading, SourceError> {
    let empty = |listings: &[Listing]| listings.iter().all(|listing| listing.facts.is_empty());
    let had = previous.is_some_and(|previous| !empty(previous));
    let is_file = !matches!(kind, SourceKind::Static | SourceKind::Azure);
    if is_file && had && empty(&fresh.listings) {
        return Err(SourceError::EmptyListing);
    }
    Ok(fresh)
}
